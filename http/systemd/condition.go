package systemd

import (
	"cmp"
	"fmt"
	"strconv"

	"etcd2/raft"
)

// Doing is the condition of a process that does what needs no watchdog: it ends by itself, or is
// over when another member comes. To start anew would be to begin it again.
func Doing(status string) func() Condition {
	return func() Condition { return Condition{Status: status} }
}

// Replaying is the condition of a member that reads its log.
func Replaying(node *raft.Node) func() Condition {
	return func() Condition {
		index, _ := node.Applied()
		what, since := node.Stuck()
		return Condition{Status: fmt.Sprintf("replaying the log, now at %d", index), Doing: what, For: since}
	}
}

// Serving is the condition of a member that answers clients; ill says what is wrong with it, or "".
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

// role is what a member is in its cluster, in words.
func role(self, leader uint64, cluster raft.Membership) string {
	text := "no leader"
	switch leader {
	case raft.None:
	case self:
		text = "leader"
	default:
		m, _ := cluster.Find(leader) // one that is unknown here has no name
		text = "follower of " + cmp.Or(m.Name, strconv.FormatUint(leader, 16))
	}
	if len(cluster.Members) == 1 {
		return text + ", the only member"
	}
	return fmt.Sprintf("%s, one of %d members", text, len(cluster.Members))
}
