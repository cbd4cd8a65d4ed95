package store

import "slices"

// Defaults of Limits' zero fields.
const (
	DefaultEvents = 100_000
	DefaultBytes  = 64 << 20
)

// Limits bound the memory of a store. Each member has its own.
type Limits struct {
	Tree   int64 // bytes that the trees may cost before they must not grow any more, see Mark; 0: no bound
	Events int   // indices that the history keeps; 0 means DefaultEvents
	Bytes  int   // bytes that the history keeps, by Event.size; 0 means DefaultBytes
}

// chunkEntries is how many entries a chunk holds: those of the indices i*chunkEntries to
// (i+1)*chunkEntries-1, for some i.
const chunkEntries = 512

// history holds the last events of the store: an entry for every index from first to next-1. It is
// nil for an index without an event: a refresh, a change of the membership, of users or of roles.
//
//	chunks   [ · · · 3 4 5 6 7 ] [ 8 9 10 11 … ] [ 16 17 18 ⊔ ⊔ ⊔ ]
//	                 ↑ first                                ↑ next
//
// A frozen history shares the chunks. New entries go behind its end; an entry that is dropped is
// cleared in a copy of its chunk.
type history struct {
	limits Limits
	first  uint64 // first ≤ next
	next   uint64
	bytes  int    // of the events held
	gone   uint64 // of the events dropped so far
	epoch  uint64
	chunks []*chunk // the first one holds index first
}

// chunk is a part of the history. One whose epoch is older than the history's is shared with a
// frozen one.
type chunk struct {
	epoch  uint64
	events [chunkEntries]*Event
}

// newHistory returns an empty history whose first entry will have the index next.
func newHistory(l Limits, next uint64) *history {
	if l.Events <= 0 {
		l.Events = DefaultEvents
	}
	if l.Bytes <= 0 {
		l.Bytes = DefaultBytes
	}
	return &history{limits: l, first: next, next: next}
}

// at returns the event at index, or nil when there was none or the history does not hold it.
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

// drop removes the oldest entry.
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

// freeze returns a copy of the history, to be read while h goes on.
func (h *history) freeze() *history {
	frozen := *h
	frozen.chunks = slices.Clone(h.chunks)
	h.epoch++
	return &frozen
}
