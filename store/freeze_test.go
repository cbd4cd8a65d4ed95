package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// varied returns a store with something of every kind in it.
func varied() *Store {
	s := New(Limits{Events: 20})
	s.window.bounds = bounds{facts: 2}
	for _, id := range []string{"forgotten", "executed", "else refused", "answered"} {
		s.at(0, create("/"+id[:1], "").named(id))
	}
	s.window.bounds = windowBounds
	for i, c := range []Command{
		set("/early", "dropped from the history").named("early"), offset(-time.Second), set("/d/e/f",
			"1").ttl(time.Hour), set("/d/e/g", "\xff\x00"),
		update("/d/e", "").ttl(time.Minute), set("/_h", "2"), update("/_h",
			"").refresh().ttl(time.Hour).named("not told"), set("/x", "").dir().named("told"),
		post("/q", "a"), post("/q", "b"), swap("/_h",
			"3").prev("2", 0), del("/q").recursive(), compareDelete("/early").prev("", 4),
		set("/soon", "4").ttl(1), set("/f", "5"), set("/f", "").dir(), advance(3), set("/late", "6"), set("/late",
			"7"), create("/a/b/c", "8"), create("/x", "").named("failed"),
	} {
		s.at(int64(i)*1e9, c.after(s.applied))
	}
	return s
}

// nodes counts the nodes that tree and history hold, each once.
func (s *Store) nodes() int {
	seen := make(map[*Node]bool)
	s.roots[Keys].walk(func(n *Node) { seen[n] = true })
	for i := s.history.first; i < s.history.next; i++ {
		if e := s.history.at(i); e != nil {
			seen[e.Node] = true
			if e.Prev != nil {
				seen[e.Prev] = true
			}
		}
	}
	return len(seen)
}

// A restored store equals the one that was frozen: tree, indices, clock, timers, history, requests,
// digest, and which nodes tree and history share. pitfall E7, pitfall G5
func TestRestoreGivesWhatWasFrozen(t *testing.T) {
	s := varied()
	state := s.frozenBytes(t)

	r := restored(t, Limits{Events: 20}, state)

	r.check(t)
	expect(t, "tree", r.listing(), s.listing())
	expect(t, "applied", r.applied, s.applied)
	expect(t, "now", r.now, s.now)
	expect(t, "index", r.Index(), s.Index())
	expect(t, "nodes in memory", r.nodes(), s.nodes())
	expect(t, "requests", len(r.window.order), 5)
	expect(t, "facts", r.window.facts.count(), 2)
	expect(t, "digest", r.Digest(), s.Digest())
	due, _ := s.NextDue()
	again, _ := r.NextDue()
	expect(t, "next due", again, due)
	for i := range s.index + 2 {
		if a, b := s.history.at(i), r.history.at(i); (a == nil) != (b == nil) || a != nil && (sketch(a) != sketch(b) ||
			a.Stamp != b.Stamp) {
			t.Errorf("event %d: %v and %v", i, a, b)
		}
	}
	for i, was := range s.window.order {
		got := r.window.order[i]
		expect(t, "request", fmt.Sprint(got.name, got.check, got.entry, got.stamp, sketch(got.answer)),
			fmt.Sprint(was.name, was.check, was.entry, was.stamp, sketch(was.answer)))
		e, told := got.answer.(*Event)
		expect(t, "shared with the history", told && r.history.at(e.Index) == e,
			was.name == (&Command{RequestID: "told"}).name())
	}
	if !bytes.Equal(r.frozenBytes(t), state) {
		t.Error("frozen again it has other bytes")
	}
}

// A restored history keeps to the limits of the store that restores it.
func TestRestoreKeepsItsOwnLimits(t *testing.T) {
	s := varied()

	r := restored(t, Limits{Events: 3}, s.frozenBytes(t))

	expect(t, "first index", r.history.first, s.index-2)
	expect(t, "tree", r.listing(), s.listing())
	r.check(t)
}

// A state that is cut or wrong at any byte is refused with the reason, and the old state stays.
func TestRestoreRefusesWhatIsBroken(t *testing.T) {
	state := varied().frozenBytes(t)
	s := New(Limits{})
	s.do(set("/old", "state"))
	try := func(what string, broken []byte) {
		t.Helper()
		err := s.Restore(bytes.NewReader(broken))
		if err == nil || !strings.HasPrefix(err.Error(), "store: restore: at byte ") {
			t.Fatalf("%s: %v", what, err)
		}
		expect(t, what, s.listing(), "/old=state 1/1\n")
	}

	for i := range state {
		try("cut short", state[:i])
	}
	try("longer", append(state[:len(state):len(state)], 'x'))
	for _, head := range []string{"state 2\n", "store 4\n", "store 1\n"} { // development builds wrote "store"
		try("of another version", append([]byte(head), state[len(stateHead):]...))
	}
	if err := s.Restore(bytes.NewReader(state[:100])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut short: %v", err)
	}
	s.check(t)
}

// Whichever bit is wrong, Restore returns an error or a state that keeps every invariant.
func TestRestoreOfFlippedBitsKeepsTheInvariants(t *testing.T) {
	restoreFlipped(t, varied().frozenBytes(t))
}

// restoreFlipped tries to restore a state with each bit wrong, or a part of them without -long.
func restoreFlipped(t *testing.T, state []byte) {
	t.Helper()
	for bit := 0; bit < 8*len(state); bit += pace.Pick(31, 11, 1) { // odd: it comes to every bit of a byte
		broken := bytes.Clone(state)
		broken[bit/8] ^= 1 << (bit % 8)
		tryRestore(t, broken)
	}
}

// tryRestore restores any bytes and checks the result, and that it takes memory in proportion to
// them.
func tryRestore(t *testing.T, state []byte) {
	t.Helper()
	var before, after runtime.MemStats
	s := New(Limits{})
	runtime.ReadMemStats(&before)
	err := s.Restore(bytes.NewReader(state))
	runtime.ReadMemStats(&after)
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(64*len(state)+1<<20); got > most {
		t.Fatalf("%d bytes of state took %d bytes, at most %d are fair", len(state), got, most)
	}
	if err != nil {
		return
	}
	s.check(t)
	s.listing()
	if s.index < math.MaxUint64-10 {
		s.at(math.MaxInt64, set("/after", "x"))
		s.at(math.MaxInt64, del("/after"))
		s.check(t)
	}
	again := s.frozenBytes(t)
	if !bytes.Equal(restored(t, Limits{}, again).frozenBytes(t), again) {
		t.Fatal("restored again it has other bytes")
	}
}

// The function that Freeze returns reports the error of its writer.
func TestFreezeReportsTheWritersError(t *testing.T) {
	full := errors.New("disk full")
	reader, writer := io.Pipe()
	reader.CloseWithError(full)

	err := varied().Freeze()(writer)

	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

// The bounds of the history hold by count and by bytes, but the last event stays.
func TestHistoryKeepsItsLimits(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits Limits
		size   int
		held   uint64
	}{
		{"by count", Limits{Events: 7}, 10, 7},
		{"by bytes", Limits{Bytes: 10 * (eventOverhead + 2*2 + 2*500)}, 500, 10},
		{"one event too big", Limits{Bytes: 1000}, 5000, 1},
		{"over chunks", Limits{Events: chunkEntries + 1}, 1, chunkEntries + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(c.limits)
			for range 3 * chunkEntries {
				s.do(set("/k", strings.Repeat("v", c.size)))
			}

			expect(t, "held", s.history.next-s.history.first, c.held)
			s.check(t)
		})
	}
}
