package systemd

import (
	"cmp"
	"fmt"
	"strconv"

	"etcd2/raft"
)

// Starting returns the condition of a process that starts, and does a step that the watchdog does
// not limit: it ends by itself, or waits for another member, and a restart would only repeat it.
func Starting(status string) func() Condition {
	return func() Condition { return Condition{Status: status} }
}

// Replaying returns the condition of a member that replays its log.
func Replaying(node *raft.Node) func() Condition {
	return func() Condition {
		index, _ := node.Applied()
		what, since := node.Stuck()
		return Condition{Status: fmt.Sprintf("replaying the log, now at %d", index), Doing: what, For: since}
	}
}

// Serving returns the condition of a member that answers clients; ill returns what is wrong with
// it, or "".
func Serving(node *raft.Node, ill func() string) func() Condition {
	return func() Condition {
		what, since := node.Stuck()
		status := role(node.ID(), node.Leader(), node.Membership())
		if ill := ill(); ill != "" {
			status += "; " + ill
		}
		return Condition{Status: status, Doing: what, For: since}
	}
}

// role describes a member's role in its cluster.
func role(self, leader uint64, cluster raft.Membership) string {
	text := "no leader"
	switch leader {
	case raft.None:
	case self:
		text = "leader"
	default:
		m, _ := cluster.Find(leader) // a leader that is unknown here has no name
		text = "follower of " + cmp.Or(m.Name, strconv.FormatUint(leader, 16))
	}
	if len(cluster.Members) == 1 {
		return text + ", the only member"
	}
	return fmt.Sprintf("%s, one of %d members", text, len(cluster.Members))
}
