package raft

import (
	"slices"
	"testing"
)

// newTestLog is a log in memory behind a snapshot at base@1, with entries of these terms.
func newTestLog(base uint64, terms ...uint64) *entryLog {
	l := &entryLog{}
	l.reset(&Snapshot{Index: base, Term: 1})
	for i, t := range terms {
		l.append(Entry{Index: base + uint64(i) + 1, Term: t, Data: []byte("xx")})
	}
	return l
}

func TestTermIsKnownFromTheBaseOn(t *testing.T) {
	l := newTestLog(3, 2, 2, 5)
	for _, c := range []struct {
		index, term uint64
		known       bool
	}{{2, 0, false}, {3, 1, true}, {4, 2, true}, {6, 5, true}, {7, 0, false}} {
		term, known := l.term(c.index)
		if term != c.term || known != c.known {
			t.Errorf("term of %d: %d, %v, want %d, %v", c.index, term, known, c.term, c.known)
		}
	}
}

// The hint skips a whole term at once, and never goes below what is known to agree.
func TestFindConflictReturnsTheLastEntryThatMayAgree(t *testing.T) {
	l := newTestLog(3, 2, 2, 4, 4, 7)
	for _, c := range []struct{ index, term, wantIndex, wantTerm uint64 }{
		{8, 7, 8, 7},
		{8, 6, 7, 4},
		{8, 3, 5, 2},
		{5, 9, 5, 2},
		{8, 1, 3, 1},
		{3, 9, 3, 1},
		{2, 9, 3, 1},
	} {
		index, term := l.findConflict(c.index, c.term)
		if index != c.wantIndex || term != c.wantTerm {
			t.Errorf("findConflict(%d, %d) = %d@%d, want %d@%d", c.index, c.term, index, term, c.wantIndex, c.wantTerm)
		}
	}
}

func TestSliceTakesAsManyAsFitAndAtLeastOne(t *testing.T) {
	l := newTestLog(0, 1, 1, 1)
	size := entrySize(l.at(1))
	for _, c := range []struct{ bytes, want int }{{0, 1}, {size, 1}, {2 * size, 2}, {3*size - 1, 2}, {9 * size, 3}} {
		if got := len(l.slice(1, 3, c.bytes)); got != c.want {
			t.Errorf("%d bytes: %d entries, want %d", c.bytes, got, c.want)
		}
	}
}

// pitfall B5: truncation lowers the marks.
func TestTruncationLowersTheDurableMark(t *testing.T) {
	l := newTestLog(0, 1, 1, 1)
	l.durable, l.handed = 2, 3

	l.truncate(2)

	if l.durable != 1 || l.handed != 1 || l.last() != 1 || l.bytes != entrySize(l.at(1)) {
		t.Fatalf("durable %d, handed %d, last %d, bytes %d", l.durable, l.handed, l.last(), l.bytes)
	}
}

// Entries that were handed out keep their content: a message, a write or the applier may still use
// them.
func TestEntriesHandedOutNeverChange(t *testing.T) {
	l := newTestLog(0, 1, 1, 1)
	before := l.slice(1, 3, maxInt)

	l.truncate(2)
	l.append(Entry{Index: 2, Term: 9}, Entry{Index: 3, Term: 9})
	l.trim(2)
	l.append(Entry{Index: 4, Term: 9})

	if entryNames(before) != "1@1 2@1 3@1" {
		t.Fatalf("they became %s", entryNames(before))
	}
}

func TestTrimForgetsEntriesAndKeepsTheTermBefore(t *testing.T) {
	l := newTestLog(0, 1, 2, 3)

	l.trim(2)

	if entryNames(l.entries) != "3@3" || !l.matches(2, 2) || l.bytes != entrySize(l.at(3)) {
		t.Fatalf("%s, base term %d, %d bytes", entryNames(l.entries), l.baseTerm, l.bytes)
	}
}

// Memory is bounded by the largest tail, however long the log grows.
func TestTrimmedArraysAreLetGo(t *testing.T) {
	l := newTestLog(0)
	for i := range uint64(10000) {
		l.append(Entry{Index: i + 1, Term: 1})
		if l.last()-l.base > 100 {
			l.trim(l.last() - 50)
		}
	}

	if cap(l.entries) > 1000 {
		t.Fatalf("room for %d entries is held for %d", cap(l.entries), len(l.entries))
	}
}

func TestAppendOfAGapPanics(t *testing.T) {
	l := newTestLog(0, 1)
	defer func() {
		if recover() == nil {
			t.Fatal("entry 3 was taken after 1")
		}
	}()
	l.append(Entry{Index: 3})
}

func TestMajorityReached(t *testing.T) {
	for _, c := range []struct {
		values []uint64
		want   uint64
	}{
		{nil, 0}, {[]uint64{5}, 5}, {[]uint64{5, 3}, 3}, {[]uint64{1, 9, 5}, 5},
		{[]uint64{4, 1, 3, 2}, 2}, {[]uint64{1, 2, 3, 4, 5}, 3},
	} {
		if got := majorityReached(slices.Clone(c.values)); got != c.want {
			t.Errorf("%v: %d, want %d", c.values, got, c.want)
		}
	}
}
