package store

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// operations has the function of each operation, and its counters in the statistics.
var operations = [...]struct {
	run   func(*Store, Command) (*Event, *Error)
	count func(*Stats) (success, fail *uint64)
}{
	OpSet:    {(*Store).set, func(t *Stats) (_, _ *uint64) { return &t.SetsSuccess, &t.SetsFail }},
	OpCreate: {(*Store).create, func(t *Stats) (_, _ *uint64) { return &t.CreateSuccess, &t.CreateFail }},
	OpCreateInOrder: {(*Store).createInOrder, func(t *Stats) (_, _ *uint64) {
		return &t.CreateSuccess, &t.CreateFail
	}},
	OpUpdate: {(*Store).update, func(t *Stats) (_, _ *uint64) { return &t.UpdateSuccess, &t.UpdateFail }},
	OpCompareAndSwap: {(*Store).compareAndSwap, func(t *Stats) (_, _ *uint64) {
		return &t.CompareAndSwapSuccess, &t.CompareAndSwapFail
	}},
	OpDelete: {(*Store).delete, func(t *Stats) (_, _ *uint64) { return &t.DeleteSuccess, &t.DeleteFail }},
	OpCompareAndDelete: {(*Store).compareAndDelete, func(t *Stats) (_, _ *uint64) {
		return &t.CompareAndDeleteSuccess, &t.CompareAndDeleteFail
	}},
}

// Apply executes the command of one log entry. First the keys that are due at now expire. Apply
// returns *Event or *Error, or nil for an empty command, OpAdvance and OpClock. cmd is not kept.
//
// A command that was checked against another revision of users and roles than the present one gives
// ErrRevision and is not executed (K9). One without a revision was checked when there was none.
//
// A command whose RequestID was executed before is not executed again: the answer is the first one,
// or an error when that is forgotten (see once). The store index stays, unless keys expire. So a
// client that got no answer can safely repeat the request (G3, diss. 6.3).
//
// Any bytes give a result (I5): bytes that are no command give an *Error of code 300, on every
// replica. A command of another version gives an error that wraps ErrVersion and changes nothing,
// not even the applied index: the caller must stop the member (I7).
//
// The clock never goes back: a now before the last one counts as the last one. An index that does
// not follow the one before would apply an entry twice or lose one: Apply panics (I6).
func (s *Store) Apply(index uint64, now time.Time, cmd []byte) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.applied != 0 && index != s.applied+1 {
		panic(fmt.Sprintf("store: apply: entry %d does not follow entry %d", index, s.applied))
	}
	if len(cmd) > 0 && cmd[0] != version {
		return fatal{fmt.Errorf("store: apply: entry %d: %w: it begins with %#x, not with %#x",
			index, ErrVersion, cmd[0], version)}
	}
	defer s.wakeWaiters()
	defer s.publish()
	s.applied = index
	s.now = max(s.now, nanoseconds(now))
	s.expire()
	s.window.expire(s.now)
	answer := s.answer(cmd)
	s.window.trim()
	s.seal(answer)
	return answer
}

func (s *Store) answer(cmd []byte) any {
	if len(cmd) == 0 {
		return nil
	}
	var c Command
	switch {
	case c.decode(cmd) != nil:
		return s.fail(CodeRaft, "unknown command")
	case c.Op < OpAdvance && c.Revision != s.revision:
		return ErrRevision
	case c.RequestID != "":
		return s.once(c)
	default:
		return s.execute(c)
	}
}

// nanoseconds returns t in nanoseconds since 1970; the nearest possible value when t is out of
// range.
func nanoseconds(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, 0)):
		return 0
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	default:
		return t.UnixNano()
	}
}

func (s *Store) execute(c Command) any {
	switch c.Op {
	case OpAdvance:
		s.advance(max(1, c.Count))
		return nil
	case OpClock:
		s.offset = int64(c.TTL)
		return nil
	}
	operation, counters := &operations[c.Op], &s.stats
	if c.Space != Keys {
		counters = new(Stats)
	}
	success, fail := operation.count(counters)
	if s.overreaches(c) {
		*fail++
		return s.fail(CodeUnauthorized, "a time to live of a directory needs the right to write all that is below it")
	}
	e, err := operation.run(s, c)
	if err != nil {
		*fail++
		return err
	}
	*success++
	return e
}

// overreaches reports whether c would give a directory a time to live without the right to write
// what is below it: its expiry would be a recursive delete.
func (s *Store) overreaches(c Command) bool {
	if !c.Shallow || !c.HasTTL {
		return false
	}
	n := s.deepest(c.Space, c.Path)
	return c.Dir && c.Op != OpCompareAndSwap || n.Dir && len(n.Path) == len(c.Path) && c.Op != OpCreateInOrder
}

// advance takes count indices at which nothing happens.
func (s *Store) advance(count uint64) {
	for range count {
		s.index++
		s.history.add(nil)
	}
}

// set: API section 8.1, and the plain refresh of section 13.
func (s *Store) set(c Command) (*Event, *Error) {
	old, err := s.target(c)
	switch {
	case err != nil:
		return nil, err
	case old == nil && c.Refresh:
		_, err := s.find(c.Space, c.Path)
		return nil, err
	case old != nil && old.Dir:
		return nil, s.fail(CodeNotFile, c.Path)
	}
	return s.write(ActionSet, c, old)
}

// create: API section 8.2. A refresh that creates is an ordinary create (section 13).
func (s *Store) create(c Command) (*Event, *Error) {
	old, err := s.target(c)
	if err != nil {
		if err.Code == CodeNotDirectory {
			s.stats.SetsFail++ // counted twice (API section 17.3)
		}
		return nil, err
	}
	if old != nil {
		return nil, s.fail(CodeKeyExists, c.Path)
	}
	c.Refresh = false
	return s.write(ActionCreate, c, nil)
}

// createInOrder: API section 9.
func (s *Store) createInOrder(c Command) (*Event, *Error) {
	path := join(c.Path, fmt.Sprintf("%020d", s.index+1))
	text := path + c.Value
	c.Path, c.Value = text[:len(path)], text[len(path):]
	return s.create(c)
}

// update: API section 8.3.
func (s *Store) update(c Command) (*Event, *Error) {
	if c.Path == "/" {
		return nil, s.fail(CodeRootReadOnly, "/")
	}
	old, err := s.find(c.Space, c.Path)
	switch {
	case err != nil:
		return nil, err
	case !old.Dir:
		return s.write(ActionUpdate, c, old)
	case c.Value != "":
		return nil, s.fail(CodeNotFile, c.Path)
	default:
		return s.extend(c, old), nil
	}
}

// compareAndSwap: API section 8.4.
func (s *Store) compareAndSwap(c Command) (*Event, *Error) {
	if c.Path == "/" {
		return nil, s.fail(CodeRootReadOnly, "/")
	}
	old, err := s.compared(c)
	if err != nil {
		return nil, err
	}
	c.Dir = false
	return s.write(ActionCompareAndSwap, c, old)
}

// delete: API section 10.
func (s *Store) delete(c Command) (*Event, *Error) {
	if c.Path == "/" {
		return nil, s.fail(CodeRootReadOnly, "/")
	}
	old, err := s.find(c.Space, c.Path)
	switch {
	case err != nil:
		return nil, err
	case old.Dir && !c.Dir && !c.Recursive:
		return nil, s.fail(CodeNotFile, c.Path)
	case old.Dir && !c.Recursive && old.inside.children.root != nil:
		return nil, s.fail(CodeNotEmpty, c.Path)
	}
	return s.remove(c.Space, ActionDelete, old), nil
}

// compareAndDelete: API section 10.
func (s *Store) compareAndDelete(c Command) (*Event, *Error) {
	old, err := s.compared(c)
	if err != nil {
		return nil, err
	}
	return s.remove(c.Space, ActionCompareAndDelete, old), nil
}

// target returns the node at the command's path; nil when there is none and one can be made.
func (s *Store) target(c Command) (*Node, *Error) {
	if c.Path == "/" {
		return nil, s.fail(CodeRootReadOnly, "/")
	}
	n := s.deepest(c.Space, c.Path)
	switch {
	case len(n.Path) == len(c.Path):
		return n, nil
	case !n.Dir:
		return nil, s.fail(CodeNotDirectory, n.Path)
	default:
		return nil, nil
	}
}

// compared returns the file at the command's path if it passes the command's comparisons.
func (s *Store) compared(c Command) (*Node, *Error) {
	n, err := s.find(c.Space, c.Path)
	switch {
	case err != nil:
		return nil, err
	case n == s.roots[c.Space]:
		return nil, s.fail(CodeNotFile, "")
	case n.Dir:
		return nil, s.fail(CodeNotFile, c.Path)
	}
	var failed []string
	if c.PrevValue != "" && c.PrevValue != n.Value {
		failed = append(failed, "["+c.PrevValue+" != "+n.Value+"]")
	}
	if c.PrevIndex != 0 && c.PrevIndex != n.Modified {
		failed = append(failed, fmt.Sprintf("[%d != %d]", c.PrevIndex, n.Modified))
	}
	if failed != nil {
		return nil, s.fail(CodeCompareFailed, strings.Join(failed, " "))
	}
	return n, nil
}

// ends returns when a node made by c expires; nil when it never does, or only after the end of the
// clock.
func (s *Store) ends(c Command) *Ends {
	if !c.HasTTL || int64(c.TTL) >= math.MaxInt64-s.now {
		return nil
	}
	due := max(1, s.now+max(0, int64(c.TTL)))
	shown := due + min(s.offset, math.MaxInt64-due)
	return &Ends{Due: due, Shown: shown}
}

// write puts the node that c makes in the place of old, which is a file or nil. A refresh keeps
// old's value; update and compareAndSwap keep its created index (API section 6).
func (s *Store) write(a Action, c Command, old *Node) (*Event, *Error) {
	if c.Frugal && c.grows(a, old) {
		return nil, s.fail(CodeQuota, c.Path)
	}
	s.index++
	n := &Node{Path: c.Path, Value: c.Value}
	switch {
	case c.Dir && a != ActionUpdate:
		n = newDirectory(strings.Clone(c.Path), s.index, s.epoch.Load())
	case c.Refresh:
		n.Path, n.Value = old.Path, old.Value
	}
	n.Created, n.Modified = s.index, s.index
	if a == ActionUpdate || a == ActionCompareAndSwap {
		n.Created = old.Created
	}
	s.put(c.Space, n, old, s.ends(c))
	return s.record(c.Space, &Event{Action: a, Node: n.shown(), Prev: old}, c.Refresh), nil
}

// extend gives a directory the time to live that c has. Only the event shows the new index, the
// directory keeps its own (API section 6).
func (s *Store) extend(c Command, old *Node) *Event {
	s.index++
	n := old.own(s.epoch.Load())
	if n == old {
		n = new(Node)
		*n = *old
	}
	n.inside.changed = s.index
	s.put(c.Space, n, old, s.ends(c))
	e := &Event{Action: ActionUpdate, Node: n.shown(), Prev: old.shown()}
	e.Node.Modified = s.index
	return s.record(c.Space, e, c.Refresh)
}

// put puts n, which is not in the tree yet, in the place of old, which may be nil, and arms its
// timer.
func (s *Store) put(space Space, n, old *Node, ends *Ends) {
	if old != nil && old.timer != nil {
		old.timer.remove()
	}
	n.Ends, n.timer = ends, nil
	if ends != nil {
		n.timer = s.clock.arm(ends.Due, n.Path)
	}
	if old != nil {
		s.gone += uint64(old.cost())
	}
	s.writableParent(space, n.Path, n.total().minus(old.total())).children.put(s.epoch.Load(), n)
}

// remove takes old, and everything below it, out of the tree. It is one event (API section 6).
func (s *Store) remove(space Space, a Action, old *Node) *Event {
	s.index++
	s.gone += uint64(old.total().cost)
	old.disarm()
	s.writableParent(space, old.Path, weight{}.minus(old.total())).children.remove(s.epoch.Load(), old.Path)
	n := &Node{Path: old.Path, Dir: old.Dir && a != ActionExpire, Created: old.Created, Modified: s.index}
	return s.record(space, &Event{Action: a, Node: n, Prev: old.shown()}, false)
}

// disarm removes the timers of n and of everything below it.
func (n *Node) disarm() {
	if n.timer != nil {
		n.timer.remove()
	}
	if n.inside != nil && n.inside.below.timers > 0 {
		for child := range n.inside.children.all {
			child.disarm()
		}
	}
}

// record completes the event, adds it to the chain and to the history, and wakes its watchers. A
// refresh, which is silent, and a change of users or roles are an empty place in the history, and
// wake nobody.
func (s *Store) record(space Space, e *Event, silent bool) *Event {
	e.Index, e.Stamp = s.index, s.now
	s.link(space, e, silent)
	switch {
	case space == Auth:
		s.revise(s.index)
		s.history.add(nil)
	case silent:
		s.history.add(nil)
	default:
		s.history.add(e)
		s.watchers.wake(e)
	}
	return e
}
