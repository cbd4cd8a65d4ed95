package raft

import (
	"context"
	"errors"
	"strings"

	"etcd2/store"
)

// simTold is an event as all members must show it.
type simTold struct {
	action store.Action
	path   string
	value  string
}

// told: an event has the same index and content at every member.
func (k *simChecker) told(id uint64, index uint64, t simTold) {
	switch {
	case index > uint64(len(k.events)):
		k.w.violated("n%x tells of event %d, and nobody of %d", id, index, len(k.events))
	case index == uint64(len(k.events)):
		k.events = append(k.events, t)
	case k.events[index] != t:
		k.w.violated("event %d is %v at n%x and was %v elsewhere", index, t, id, k.events[index])
	}
}

// simWatcher is a client that watches, mostly at one member. When that member is down it continues
// at any other, with the index after the last event that it has seen.
type simWatcher struct {
	w         *simWorld
	home      uint64 // member that it prefers
	path      string
	recursive bool

	at     *simProcess
	life   int // of the process at
	cursor *store.Watcher
	next   uint64 // waitIndex of the next call; 0: from now on
	looked uint64 // no event from next up to here matches
}

var simWatched = []struct {
	path      string
	recursive bool
}{{"/", true}, {"/r", true}, {simPath(0), false}, {"/ttl", true}}

func newSimWatcher(w *simWorld, number int) *simWatcher {
	what := simWatched[number%len(simWatched)]
	c := &simWatcher{w: w, home: uint64(number%w.profile.members + 1), path: what.path, recursive: what.recursive}
	c.pause()
	return c
}

func (c *simWatcher) pause() {
	c.w.after(c.w.around(4), func() {
		if !c.w.calm {
			c.look()
			c.pause()
		}
	})
}

// look takes the events that are there, and now and then leaves the member.
func (c *simWatcher) look() {
	if c.connected() && c.w.chance(0.05) {
		c.leave()
	}
	if !c.connected() {
		c.connect(c.choose())
	}
	if c.connected() && !c.at.paused {
		c.drain()
	}
}

func (c *simWatcher) connected() bool {
	return c.cursor != nil && c.at.core != nil && c.at.life == c.life
}

func (c *simWatcher) leave() {
	c.cursor.Close()
	c.cursor = nil
}

func (c *simWatcher) choose() *simProcess {
	if p := c.w.processes[c.home-1]; p.core != nil && c.w.chance(0.8) {
		return p
	}
	return c.w.anyone()
}

// connect begins to watch at a member. A client that has seen nothing yet may begin in the past or
// in the future.
func (c *simWatcher) connect(p *simProcess) {
	c.cursor = nil
	if p == nil || p.paused {
		return
	}
	c.at, c.life = p, p.life
	s := p.machine.(*simStore).store
	if c.next == 0 && c.w.chance(0.7) {
		c.next = max(s.Index()+3-min(s.Index(), uint64(c.w.rand.IntN(40))), 1)
	}
	if c.w.mutant.peeks() && c.next != 0 {
		c.peek(s)
		return
	}
	c.watch(s, c.next)
}

func (c *simWatcher) watch(s *store.Store, since uint64) {
	cursor, err := s.Watch(c.path, c.recursive, since)
	if err != nil {
		c.cleared(s, err.Code == store.CodeHistoryCleared)
		return
	}
	c.cursor = cursor
	if c.next == 0 {
		c.next = cursor.Index() + 1
	}
	c.looked = c.next - 1
	c.w.count(countWatches)
}

// peek is a mutant's way to watch: it reads the past now, and registers for the future later.
func (c *simWatcher) peek(s *store.Store) {
	if c.watch(s, c.next); c.cursor == nil {
		return
	}
	c.drain()
	if c.cursor == nil {
		return
	}
	c.leave()
	c.at.after(c.w.between(0, 3), func() {
		if c.cursor == nil {
			c.cursor, _ = s.Watch(c.path, c.recursive, 0)
		}
	})
}

// over is a context that has ended: a wait with it returns only events that are there already.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// drain takes all events that are there. They must be those of the log that match, each once and in
// order, or the news that some are gone.
func (c *simWatcher) drain() {
	s := c.at.machine.(*simStore).store
	for {
		e, err := c.cursor.Next(over)
		switch {
		case errors.Is(err, store.ErrFellBehind):
			c.leave()
			c.cleared(s, true)
			return
		case err != nil:
			c.nothingUpTo(s.Index())
			return
		}
		c.saw(e)
	}
}

func (c *simWatcher) saw(e *store.Event) {
	if e.Index < c.next || e.Index >= uint64(len(c.w.check.events)) {
		c.w.violated("a watcher of %s at n%x sees event %d where %d is next", c.path, c.at.id, e.Index, c.next)
	}
	c.nothingUpTo(e.Index - 1)
	if t := (simTold{e.Action, e.Node.Path, e.Node.Value}); t != c.w.check.events[e.Index] || !c.wants(t) {
		c.w.violated("a watcher of %s at n%x sees %v at %d, where %v happened", c.path, c.at.id, t, e.Index,
			c.w.check.events[e.Index])
	}
	c.w.count(countWatched)
	c.next, c.looked = e.Index+1, e.Index
}

// nothingUpTo: no matching event was left out (pitfall I10).
func (c *simWatcher) nothingUpTo(index uint64) {
	for ; c.looked < index; c.looked++ {
		if t := c.w.check.events[c.looked+1]; c.wants(t) {
			c.w.violated("a watcher of %s at n%x was not told of event %d, %v", c.path, c.at.id, c.looked+1, t)
		}
	}
}

func (c *simWatcher) wants(t simTold) bool {
	return t.path == c.path || c.recursive && strings.HasPrefix(t.path, strings.TrimSuffix(c.path, "/")+"/")
}

// cleared: a watcher is turned away only when the events it wants may be gone (pitfall E12). The
// history holds at least as many events as the constant says.
func (c *simWatcher) cleared(s *store.Store, so bool) {
	const held = 20
	if !so || c.next+held > s.Index() {
		c.w.violated("a watcher of %s from %d on is turned away by n%x, which is at %d", c.path, c.next,
			c.at.id, s.Index())
	}
	c.w.count(countCleared)
	c.next = 0
}

// finish: at the end every watcher has seen everything.
func (c *simWatcher) finish(leader *simProcess) {
	if !c.connected() || !c.w.check.isMember(c.at.id) {
		c.connect(leader)
	}
	if c.cursor != nil {
		c.drain()
	}
	if c.cursor != nil {
		c.nothingUpTo(uint64(len(c.w.check.events) - 1))
	}
}
