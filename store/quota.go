package store

import "bytes"

// Mark returns a command as the leader puts it into the log: frugal if the leader's tree costs more
// than its Limits.Tree, and otherwise not. A frugal command gets CodeQuota at every member if it
// would make the tree grow, whatever the limits there: so Apply stays a function of the log, and
// members with different limits have the same tree. A frugal command that makes a node smaller,
// removes or refreshes it, or gives it another time to live is executed. Changes of users and roles
// are never frugal: they are few, and a tree full of keys must not keep an administrator from
// revoking rights.
//
// cmd is not changed. A command that was in the log before the tree became full is applied.
func (s *Store) Mark(cmd []byte) []byte {
	if len(cmd) < 2 || cmd[0] != version {
		return cmd
	}
	frugal := s.full.Load() && cmd[1]&headAuth == 0
	if frugal == (cmd[1]&headFrugal != 0) {
		return cmd
	}
	cmd = bytes.Clone(cmd)
	cmd[1] ^= headFrugal
	return cmd
}

// grows reports whether the node that c makes in the place of old, a file or nil, costs more
// without its time to live.
func (c *Command) grows(a Action, old *Node) bool {
	dir := c.Dir && a != ActionUpdate
	return old == nil || !c.Refresh && (dir || len(c.Value) > len(old.Value))
}

// Freed returns how many bytes of memory have left the tree and the history since the start, by the
// cost of nodes and the size of events. A view that is held for a while keeps at most as much
// memory from being collected as this number has grown meanwhile. Freed never blocks.
func (s *Store) Freed() uint64 { return s.freed.Load() }

// publish stores, for readers without the lock, whether the tree is full and how much was freed.
// s.mu must be held.
func (s *Store) publish() {
	s.freed.Store(s.gone + s.history.gone)
	if full := s.quota > 0 && s.cost() > s.quota; full != s.full.Load() {
		s.full.Store(full)
	}
}

// Cost returns about how many bytes of memory the nodes of both trees take, and the Limits.Tree of
// this member. The first is a function of the state: every member has the same.
func (s *Store) Cost() (bytes, quota int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cost(), s.quota
}

// cost is Cost; s.mu must be held.
func (s *Store) cost() (sum int64) {
	for _, root := range s.roots {
		sum += root.inside.below.cost
	}
	return sum
}
