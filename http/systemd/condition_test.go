package systemd

import (
	"testing"

	"etcd2/raft"
)

func TestTheStatusSaysWhoLeads(t *testing.T) {
	alone := raft.Membership{Members: []raft.Member{{ID: 1, Name: "a"}}}
	three := raft.Membership{Members: []raft.Member{{ID: 1, Name: "a"}, {ID: 2, Name: "b"}, {ID: 255}}}
	for _, c := range []struct {
		leader  uint64
		cluster raft.Membership
		want    string
	}{
		{1, alone, "leader, the only member"}, {raft.None, alone, "no leader, the only member"},
		{1, three, "leader, one of 3 members"}, {2, three, "follower of b, one of 3 members"}, {255, three,
			"follower of ff, one of 3 members"},
		{256, three, "follower of 100, one of 3 members"},
	} {
		if got := role(1, c.leader, c.cluster); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
