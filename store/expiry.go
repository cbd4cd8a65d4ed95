package store

import (
	"cmp"
	"math/bits"
	"slices"
	"time"
)

// tick is the width of a slot of the finest wheel, in nanoseconds.
const tick = int64(time.Millisecond)

// Each wheel has 64 slots. One slot is as wide as the whole wheel of the level below. Eight levels
// reach beyond the end of the clock (2^63 ns are less than 2^44 ticks).
const (
	wheelBits   = 6
	wheelSlots  = 1 << wheelBits
	topLevel    = 7
	slotCrowded = 32 // timers in a slot before it gets a wheel of its own
)

// timer is the expiry of one node. It belongs to the wheel as long as it is armed.
type timer struct {
	expires    int64 // exact, in nanoseconds of the cluster clock
	path       string
	wheel      *wheel // nil when not armed
	next, prev *timer // in its slot
}

// wheel is one wheel of a hierarchical timing wheel. A timer's slot at a level is a digit, in base
// 64, of the tick at which it expires:
//
//	level 2   [ | |x| | ... ]   one slot is 4.096 s
//	               │
//	level 1   [ |x| | | ... ]   one slot is 64 ms
//	             │
//	level 0   [ | | |x| ... ]   one slot is 1 ms: a list of timers
//
// A slot holds a list while it has few timers, and then a finer wheel. Places are absolute: no
// timer is moved because time passes. Inserting, removing and finding the earliest timer take one
// step per level, and at most one look through a short list.
type wheel struct {
	level int
	up    *wheel // the wheel in whose slot this one is
	used  uint64 // bit i: slot i holds something
	slots [wheelSlots]slot
}

type slot struct {
	first *timer
	count int    // timers in the list
	finer *wheel // instead of a list
}

// before compares two timers by the order in which they fire.
func before(a, b *timer) int {
	return cmp.Or(cmp.Compare(a.expires, b.expires), cmp.Compare(a.path, b.path))
}

// digit returns the slot of t on a wheel of this level.
func (t *timer) digit(level int) int {
	return int(t.expires/tick>>(level*wheelBits)) & (wheelSlots - 1)
}

// add arms t in w, or in a finer wheel below it.
func (w *wheel) add(t *timer) {
	i := t.digit(w.level)
	for w.slots[i].finer != nil {
		w = w.slots[i].finer
		i = t.digit(w.level)
	}
	s := &w.slots[i]
	w.used |= 1 << i
	t.wheel, t.prev, t.next = w, nil, s.first
	if s.first != nil {
		s.first.prev = t
	}
	s.first = t
	if s.count++; s.count > slotCrowded && w.level > 0 {
		w.refine(s)
	}
}

// refine replaces the list of a slot by a finer wheel.
func (w *wheel) refine(s *slot) {
	list := s.first
	*s = slot{finer: &wheel{level: w.level - 1, up: w}}
	for list != nil {
		t := list
		list = t.next
		s.finer.add(t)
	}
}

// remove disarms t, and removes the wheels that are then empty.
func (t *timer) remove() {
	w := t.wheel
	i := t.digit(w.level)
	s := &w.slots[i]
	if t.next != nil {
		t.next.prev = t.prev
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		s.first = t.next
	}
	t.wheel, t.next, t.prev = nil, nil, nil
	if s.count--; s.count > 0 {
		return
	}
	for w.used &^= 1 << i; w.used == 0 && w.up != nil; w.used &^= 1 << i {
		w = w.up
		i = t.digit(w.level)
		w.slots[i].finer = nil
	}
}

// earliest returns the timer that fires first, or nil.
func (w *wheel) earliest() *timer {
	for w.used != 0 {
		s := &w.slots[bits.TrailingZeros64(w.used)]
		if s.finer != nil {
			w = s.finer
			continue
		}
		first := s.first
		for t := first.next; t != nil; t = t.next {
			if before(t, first) < 0 {
				first = t
			}
		}
		return first
	}
	return nil
}

// due appends the timers that are due at now to list, and reports whether these are all timers of
// w.
func (w *wheel) due(now int64, list []*timer) (_ []*timer, all bool) {
	all = true
	for used := w.used; used != 0 && all; used &= used - 1 {
		s := &w.slots[bits.TrailingZeros64(used)]
		if s.finer != nil {
			list, all = s.finer.due(now, list)
		}
		for t := s.first; t != nil; t = t.next {
			if t.expires <= now {
				list = append(list, t)
			} else {
				all = false
			}
		}
	}
	return list, all
}

// clock holds the timers of a tree.
type clock struct {
	top   wheel
	floor int64 // no timer fires before it
}

func newClock() *clock { return &clock{top: wheel{level: topLevel}} }

// arm returns a new, armed timer for the node at path.
func (c *clock) arm(expires int64, path string) *timer {
	t := &timer{expires: expires, path: path}
	c.top.add(t)
	c.floor = min(c.floor, expires)
	return t
}

// due returns the timers that are due at now, in the order in which they fire. They stay armed.
func (c *clock) due(now int64) []*timer {
	if now < c.floor {
		return nil
	}
	list, _ := c.top.due(now, nil)
	slices.SortFunc(list, before)
	return list
}

// updateFloor raises the floor to the earliest timer.
func (c *clock) updateFloor() {
	c.floor = 1<<63 - 1
	if t := c.top.earliest(); t != nil {
		c.floor = t.expires
	}
}

// NextDue returns the cluster time at which the next key expires, and whether there is one.
func (s *Store) NextDue() (time.Time, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.clock.top.earliest()
	if t == nil {
		return time.Time{}, false
	}
	return time.Unix(0, t.expires), true
}

// expire removes the nodes that are due, each by an event of its own. A directory is removed with
// all that is in it. s.mu must be held.
func (s *Store) expire() {
	due := s.clock.due(s.now)
	for _, t := range due {
		if t.wheel != nil {
			s.remove(Keys, ActionExpire, s.deepest(Keys, t.path))
			s.stats.ExpireCount++
		}
	}
	if s.now >= s.clock.floor {
		s.clock.updateFloor()
	}
}
