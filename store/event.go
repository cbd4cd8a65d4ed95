package store

import "slices"

// Action names what happened, as the API prints it.
type Action string

// The actions. ActionGet is that of the answer to a read, which is no event.
const (
	ActionGet              Action = "get"
	ActionSet              Action = "set"
	ActionCreate           Action = "create"
	ActionUpdate           Action = "update"
	ActionCompareAndSwap   Action = "compareAndSwap"
	ActionDelete           Action = "delete"
	ActionCompareAndDelete Action = "compareAndDelete"
	ActionExpire           Action = "expire"
)

// actions gives each action of an event its number, in frozen states and in the digest. New ones go
// to the end.
var actions = [...]Action{ActionSet, ActionCreate, ActionUpdate, ActionCompareAndSwap, ActionDelete,
	ActionCompareAndDelete, ActionExpire}

func (a Action) number() int { return slices.Index(actions[:], a) }

// Event is one change of the tree. It is immutable.
type Event struct {
	Action Action
	Index  uint64 // of the store, after the event
	Stamp  int64  // cluster clock at the event, in nanoseconds: the ttl shown counts from here
	Node   *Node  // for deletes and expiries: no Value, and for expiries no Dir (API section 12)
	Prev   *Node  // nil when there was none
}

// removes reports whether the event removed a node.
func (e *Event) removes() bool {
	return e.Action == ActionDelete || e.Action == ActionCompareAndDelete || e.Action == ActionExpire
}

// matches reports whether a watch at path gets e. It is the one rule for past and live events (API
// sections 14, 15.2 and 20). A watch gets
//
//   - changes of the watched key;
//   - if it is recursive, changes below that key, unless an element behind it is hidden;
//   - the removal of a directory above the key, whether the key exists or not.
func (e *Event) matches(path string, recursive bool) bool {
	key := e.Node.Path
	switch {
	case key == path:
		return true
	case recursive && below(key, path):
		return !hidden(key[stem(path):])
	default:
		return e.removes() && e.Prev.Dir && below(path, key)
	}
}

// eventOverhead is what the history counts for an event besides keys and values, in bytes: the
// event and two nodes.
const eventOverhead = 256

// size returns what the event counts against Limits.Bytes. It depends only on the event: replicas
// with the same limits have the same history.
func (e *Event) size() int {
	if e == nil {
		return 0
	}
	n := eventOverhead + len(e.Node.Path) + len(e.Node.Value)
	if e.Prev != nil {
		n += len(e.Prev.Path) + len(e.Prev.Value)
	}
	return n
}
