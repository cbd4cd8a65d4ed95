package raft

import "fmt"

// entryLog is the part of the log that the core holds in memory: the newest
// entries. Older ones are on disk, the oldest only in the snapshot.
//
//	   snapshot        first      base              durable  handed    last
//	──────┴──────────────┼──────────┼──────────────────┼────────┼────────┤
//	 gone from the disk  │ on disk  │ in memory and on │ being  │ not yet│
//	                     │  only    │     disk         │ written│ written│
//
// Invariants: first-1 ≤ base ≤ durable ≤ handed ≤ last.
type entryLog struct {
	first    uint64  // lowest index that the disk can still give
	base     uint64  // index before entries[0]
	baseTerm uint64  // its term
	baseTime int64   // its stamp
	entries  []Entry // entries[i].Index == base+1+i, without gaps
	bytes    int     // size of entries
	durable  uint64  // highest index known to be on this member's disk
	handed   uint64  // highest index handed to the disk writer
}

// entryOverhead is what an entry costs in memory and on its way, besides its data, in bytes.
const entryOverhead = 64

func entrySize(e *Entry) int { return entryOverhead + len(e.Data) }

func entriesSize(es []Entry) (size int) {
	for i := range es {
		size += entrySize(&es[i])
	}
	return size
}

func (l *entryLog) last() uint64 { return l.base + uint64(len(l.entries)) }

func (l *entryLog) lastTerm() uint64 {
	t, _ := l.term(l.last())
	return t
}

func (l *entryLog) lastStamp() int64 {
	if len(l.entries) == 0 {
		return l.baseTime
	}
	return l.entries[len(l.entries)-1].Stamp
}

// term returns the term of the entry at index; false when it is not in memory.
func (l *entryLog) term(index uint64) (uint64, bool) {
	switch {
	case index == l.base:
		return l.baseTerm, true
	case index < l.base || index > l.last():
		return 0, false
	}
	return l.at(index).Term, true
}

// matches reports whether the entry index@term is in memory, or comes right before those in memory.
func (l *entryLog) matches(index, term uint64) bool {
	t, ok := l.term(index)
	return ok && t == term
}

func (l *entryLog) at(index uint64) *Entry { return &l.entries[index-l.base-1] }

// append adds entries that follow the last one.
func (l *entryLog) append(es ...Entry) {
	for i := range es {
		if es[i].Index != l.last()+1 {
			panic(fmt.Sprintf("raft: append of entry %d after %d", es[i].Index, l.last()))
		}
		l.entries = append(l.entries, es[i])
		l.bytes += entrySize(&es[i])
	}
}

// truncate drops the entry at index and all after it. They no longer count as durable or handed
// (pitfall B5).
func (l *entryLog) truncate(index uint64) {
	for i := index; i <= l.last(); i++ {
		l.bytes -= entrySize(l.at(i))
	}
	keep := index - l.base - 1
	l.entries = l.entries[:keep:keep] // the next append copies: readers of the old entries keep them
	l.durable = min(l.durable, index-1)
	l.handed = min(l.handed, index-1)
}

// slice returns the entries with from ≤ index ≤ to, as many as fit in maxBytes but at least one.
// The result shares memory with the log and must not be written to; entries never change in place.
func (l *entryLog) slice(from, to uint64, maxBytes int) []Entry {
	n, size := 0, 0
	for i := from; i <= to; i++ {
		size += entrySize(l.at(i))
		if n > 0 && size > maxBytes {
			break
		}
		n++
	}
	start := from - l.base - 1
	return l.entries[start : start+uint64(n) : start+uint64(n)]
}

// upTo returns the first entries, as many as fit in maxBytes but at least two.
func upTo(maxBytes int, es []Entry) []Entry {
	size := 0
	for i := range es {
		if size += entrySize(&es[i]); size > maxBytes && i >= 2 {
			return es[:i]
		}
	}
	return es
}

// trim drops the entries up to and including index from memory; they stay on disk.
func (l *entryLog) trim(index uint64) {
	if index <= l.base {
		return
	}
	l.baseTerm, l.baseTime = l.at(index).Term, l.at(index).Stamp
	for i := l.base + 1; i <= index; i++ {
		l.bytes -= entrySize(l.at(i))
	}
	// The rest moves to a new array once it is less than half of the old one, which can then be
	// freed. It is not moved within the old one, which messages on their way may still read.
	rest := l.entries[index-l.base:]
	if len(rest) < cap(l.entries)/2 {
		rest = append(make([]Entry, 0, len(rest)+len(rest)/2+16), rest...)
	}
	l.entries = rest
	l.base = index
}

// reset empties the log; its next entry is the one after the snapshot.
func (l *entryLog) reset(s *Snapshot) {
	*l = entryLog{first: s.Index + 1, base: s.Index, baseTerm: s.Term, baseTime: s.Stamp, durable: s.Index,
		handed: s.Index}
}

// findConflict returns the highest index ≤ index whose term is ≤ term, and that entry's term: above
// it this log can't match a log that has term at index (§5.3, "the protocol can be optimized").
func (l *entryLog) findConflict(index, term uint64) (uint64, uint64) {
	for index > l.base {
		t, ok := l.term(index)
		if ok && t <= term {
			return index, t
		}
		index--
	}
	return l.base, l.baseTerm
}
