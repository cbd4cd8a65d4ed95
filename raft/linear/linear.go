package linear

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Kind is what an operation does.
type Kind uint8

// The kinds of operations.
const (
	Get Kind = iota
	Put
	CAS
	Delete
)

// Op is one operation on a register, which holds a number; 0 is no value.
type Op struct {
	Kind   Kind
	Value  uint64 // put, CAS: to be written; no other operation of the history may write it
	Expect uint64 // CAS: what must be there
}

// Result is an operation's answer.
type Result struct {
	Value uint64 // get, delete, CAS that failed: what was there
	OK    bool   // CAS: it has written
}

// Apply is the meaning of an operation on a register that holds value.
func (o Op) Apply(value uint64) (uint64, Result) {
	switch o.Kind {
	case Put:
		return o.Value, Result{}
	case Delete:
		return 0, Result{Value: value}
	case CAS:
		if value != o.Expect {
			return value, Result{Value: value}
		}
		return o.Value, Result{OK: true}
	}
	return value, Result{Value: value}
}

// Call is one operation of a client.
type Call struct {
	Op
	Result
	From, To int  // its beginning and its end, on one clock for the whole history; only their order counts
	Known    bool // its outcome is known; otherwise Result and To mean nothing
}

// seen returns the value that the register held before the call, by its answer; false when the
// answer does not tell.
func (c *Call) seen() (uint64, bool) {
	if c.Kind == CAS && c.OK {
		return c.Expect, true
	}
	return c.Result.Value, c.Kind != Put
}

// Explains reports whether the calls on one register have an order that explains them. It does not
// change them.
func Explains(history []Call) bool {
	s := newSearch(history)
	return s.from(0, place{})
}

type search struct {
	calls   []*call            // of known outcome, by their beginnings
	writers map[uint64][]*call // of unknown outcome, by what they write
	been    map[place]bool
}

type call struct {
	*Call
	mark   uint64 // a random number; the XOR of the marks of the placed calls stands for their set
	placed bool
}

// place is a state of the search: the set of placed calls, by their marks, and the register's value
// after them.
type place struct{ placed, value uint64 }

func newSearch(history []Call) *search {
	s := &search{been: map[place]bool{}, writers: map[uint64][]*call{}}
	marks := rand.NewPCG(1, 1)
	for i := range history {
		c := &call{Call: &history[i], mark: marks.Uint64()}
		switch {
		case c.Known:
			s.calls = append(s.calls, c)
		case c.Kind != Get:
			s.writers[c.Op.Value] = append(s.writers[c.Op.Value], c)
		}
	}
	slices.SortFunc(s.calls, func(a, b *call) int { return cmp.Compare(a.From, b.From) })
	return s
}

// from reports whether the calls that are left can be placed, and places them. All calls of known
// outcome before the index first are placed.
func (s *search) from(first int, at place) bool {
	first = s.skipPlaced(first)
	if first == len(s.calls) {
		return true
	}
	if s.been[at] {
		return false
	}
	s.been[at] = true
	end := s.firstEnd(first)
	for _, c := range s.calls[first:] {
		if c.From > end {
			return false
		}
		if !c.placed && s.tryNext(c, end, first, at) {
			return true
		}
	}
	return false
}

func (s *search) skipPlaced(first int) int {
	for first < len(s.calls) && s.calls[first].placed {
		first++
	}
	return first
}

// firstEnd returns when the first of the calls that are left ended. The call that is placed next
// must have begun before that.
func (s *search) firstEnd(first int) int {
	end := math.MaxInt
	for _, c := range s.calls[first:] {
		if c.From > end {
			break
		}
		if !c.placed {
			end = min(end, c.To)
		}
	}
	return end
}

// tryNext places a call, with the writes before it that explain its answer, and then the calls that
// are left. It takes them back and returns false when that is not possible.
func (s *search) tryNext(c *call, end, first int, at place) bool {
	before, ok := s.explain(c, end, at.value)
	placed := append(before, c)
	var result Result
	for _, p := range placed {
		p.placed = true
		at.placed ^= p.mark
		at.value, result = p.Apply(at.value)
	}
	if ok && result == c.Result && s.from(first, at) {
		return true
	}
	takeBack(placed)
	return false
}

func takeBack(placed []*call) {
	for _, p := range placed {
		p.placed = false
	}
}

// explain finds writes of unknown outcome that lead from value to the value that c saw, beginning
// with the last of them, and returns them in their order.
func (s *search) explain(c *call, end int, value uint64) (placed []*call, ok bool) {
	seen, saw := c.seen()
	for saw && seen != value {
		w := s.writer(seen, end)
		if w == nil {
			return placed, false
		}
		w.placed = true
		placed = append(placed, w)
		seen, saw = w.Expect, w.Kind == CAS
	}
	slices.Reverse(placed)
	return placed, true
}

// writer returns a write of value that has an unknown outcome, began before end, and is not placed
// yet; nil when there is none.
func (s *search) writer(value uint64, end int) *call {
	for _, w := range s.writers[value] {
		if !w.placed && w.From < end {
			return w
		}
	}
	return nil
}
