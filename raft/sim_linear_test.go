package raft

import (
	"cmp"
	"math"
	"slices"
)

// checkHistory fails when the clients' calls have no order that explains all answers and keeps each call between its beginning
// and its end. Keys are independent (Lowe: "Testing for linearizability"), so each has a history of its own.
func (w *simWorld) checkHistory() {
	var byKey [simKeys][]*simCall
	for _, c := range w.history {
		if c.known || c.asked {
			byKey[c.op.key] = append(byKey[c.op.key], c)
		}
	}
	for key, calls := range byKey {
		if !linearizable(calls) {
			w.violated("linearizability: %d calls on register %d have no order", len(calls), key)
		}
		w.count(countHistories)
	}
}

// linearizable searches for an order of the calls on one register (Wing and Gong), depth first, and remembers where it has been: which
// calls it has placed, and the value after them. The values written must all be different, and not 0, which is no value.
//
// A write of unknown outcome may stand anywhere after its beginning, or never have happened. It is placed only when the next answer can't be
// explained without it: every answer that depends on a value tells that value, so one that nobody saw makes no difference.
func linearizable(calls []*simCall) bool {
	s := linearSearch{been: map[linearPlace]bool{}, writers: map[uint64][]*linearCall{}}
	for i, c := range calls {
		l := &linearCall{simCall: c, mark: simMix(uint64(i), 1)}
		switch {
		case c.known:
			s.calls = append(s.calls, l)
		case c.op.kind != simGet:
			s.writers[c.op.value] = append(s.writers[c.op.value], l)
		}
	}
	slices.SortFunc(s.calls, func(a, b *linearCall) int { return cmp.Compare(a.from, b.from) })
	return s.search(0, linearPlace{})
}

type linearSearch struct {
	calls   []*linearCall            // of known outcome, by their beginnings
	writers map[uint64][]*linearCall // of unknown outcome, by what they write
	been    map[linearPlace]bool
}

type linearCall struct {
	*simCall
	mark   uint64 // of the set of placed calls: their marks together
	placed bool
}

// linearPlace is where a search stands.
type linearPlace struct{ placed, value uint64 }

// search places the calls that are left. All before the first one are placed.
func (s *linearSearch) search(first int, at linearPlace) bool {
	for first < len(s.calls) && s.calls[first].placed {
		first++
	}
	if first == len(s.calls) {
		return true
	}
	if s.been[at] {
		return false
	}
	s.been[at] = true
	end := s.firstEnd(first)
	for _, c := range s.calls[first:] {
		if c.from > end {
			return false
		}
		if !c.placed && s.tryNext(c, end, first, at) {
			return true
		}
	}
	return false
}

// firstEnd is when the first of the calls that are left ended: what is placed next must have begun before.
func (s *linearSearch) firstEnd(first int) int {
	end := math.MaxInt
	for _, c := range s.calls[first:] {
		if c.from > end {
			break
		}
		if !c.placed {
			end = min(end, c.to)
		}
	}
	return end
}

// tryNext places a call, and before it what explains its answer, and goes on; false when that leads nowhere.
func (s *linearSearch) tryNext(c *linearCall, end, first int, at linearPlace) bool {
	placed, ok := s.explain(c, end, at.value)
	c.placed = true
	var result simResult
	for _, p := range append(placed, c) {
		at.placed ^= p.mark
		at.value, result = p.op.apply(at.value)
	}
	if ok && result == c.result && s.search(first, at) {
		return true
	}
	c.placed = false
	for _, p := range placed {
		p.placed = false
	}
	return false
}

// explain places writes of unknown outcome until the value is the one that a call saw, the last one first.
func (s *linearSearch) explain(c *linearCall, end int, value uint64) (placed []*linearCall, ok bool) {
	seen, saw := c.seen()
	for saw && seen != value {
		i := slices.IndexFunc(s.writers[seen], func(w *linearCall) bool { return !w.placed && w.from < end })
		if i < 0 {
			return placed, false
		}
		w := s.writers[seen][i]
		w.placed = true
		placed = append(placed, w)
		seen, saw = w.op.expect, w.op.kind == simCAS
	}
	slices.Reverse(placed)
	return placed, true
}

// seen is the value that a call's answer tells to have been there; false when it tells none.
func (c *linearCall) seen() (uint64, bool) {
	if c.op.kind == simCAS && c.result.ok {
		return c.op.expect, true
	}
	return c.result.value, c.op.kind != simPut
}
