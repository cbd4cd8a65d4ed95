package store

import "slices"

// The bounds of a history that Limits leaves open.
const (
	DefaultEvents = 100_000
	DefaultBytes  = 64 << 20
)

// Limits bound what a store takes of memory. Each member has its own.
type Limits struct {
	Tree   int64 // what the tree may cost before it should grow no more, see Mark; 0: no bound
	Events int   // how many events are kept; 0 means DefaultEvents
	Bytes  int   // and how many bytes of keys and values; 0 means DefaultBytes
}

// chunkEntries is how many entries a chunk has. Chunk i holds the indices i*chunkEntries to
// (i+1)*chunkEntries-1.
const chunkEntries = 512

// history is the last events of the store, an entry for every index from first to next-1. The entry
// of an index at which nothing is told (a refresh, a change of the membership) is nil.
//
//	chunks   [ · · · 3 4 5 6 7 ] [ 8 9 10 11 … ] [ 16 17 18 ⊔ ⊔ ⊔ ]
//	                 ↑ first                                ↑ next
//
// A frozen history shares the chunks. New entries go where it does not look; one that is dropped
// is cleared in a copy of its chunk.
type history struct {
	limits Limits
	first  uint64 // first ≤ next
	next   uint64
	bytes  int    // of the events held
	gone   uint64 // of those dropped
	epoch  uint64
	chunks []*chunk // the first one is that of index first
}

// chunk is a part of the history. One whose epoch is older than the history's is shared with a
// frozen one.
type chunk struct {
	epoch  uint64
	events [chunkEntries]*Event
}

// newHistory returns an empty history that goes on with index next.
func newHistory(l Limits, next uint64) *history {
	if l.Events <= 0 {
		l.Events = DefaultEvents
	}
	if l.Bytes <= 0 {
		l.Bytes = DefaultBytes
	}
	return &history{limits: l, first: next, next: next}
}

// at returns the event at index, or nil when nothing was told there or it is not held.
func (h *history) at(index uint64) *Event {
	if index < h.first || index >= h.next {
		return nil
	}
	return h.chunks[index/chunkEntries-h.first/chunkEntries].events[index%chunkEntries]
}

// add appends the entry of index next and drops what exceeds the limits.
func (h *history) add(e *Event) {
	h.append(e)
	h.trim()
}

func (h *history) append(e *Event) {
	if h.next/chunkEntries-h.first/chunkEntries == uint64(len(h.chunks)) {
		h.chunks = append(h.chunks, &chunk{epoch: h.epoch})
	}
	h.chunks[len(h.chunks)-1].events[h.next%chunkEntries] = e
	h.next++
	h.bytes += e.size()
}

// trim drops the oldest entries until the limits hold; the last entry stays, however big.
func (h *history) trim() {
	for n := h.next - h.first; n > 1 && (n > uint64(h.limits.Events) || h.bytes > h.limits.Bytes); n-- {
		h.drop()
	}
}

// drop forgets the oldest entry.
func (h *history) drop() {
	c := h.chunks[0]
	if c.epoch != h.epoch {
		c = &chunk{h.epoch, c.events}
		h.chunks[0] = c
	}
	e := &c.events[h.first%chunkEntries]
	h.bytes -= (*e).size()
	h.gone += uint64((*e).size())
	*e = nil
	if h.first++; h.first%chunkEntries == 0 {
		h.chunks = h.chunks[1:]
	}
}

// freeze returns the history as it is now, which may be read while h goes on.
func (h *history) freeze() *history {
	frozen := *h
	frozen.chunks = slices.Clone(h.chunks)
	h.epoch++
	return &frozen
}
