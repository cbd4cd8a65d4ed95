package peer

import (
	"slices"

	"etcd2/raft"
)

// queue holds messages, first in, first out, up to a number and a size of entries. Its zero value
// with limits is ready.
type queue struct {
	ms       []raft.Message
	head     int // of those in ms that are still there
	bytes    int
	maxCount int
	maxBytes int
}

// messageOverhead is about what a message, an entry or a refusal takes besides its data.
const messageOverhead = 64

func sizeOf(m *raft.Message) int {
	n := messageOverhead * (1 + len(m.Refused))
	for i := range m.Entries {
		n += messageOverhead + len(m.Entries[i].Data)
	}
	return n
}

// isBulky tells which lane a message goes: what brings entries, or names those that are refused,
// waits for its turn and may have any size. Everything else fits into a frame, and says who leads,
// who votes, and what was stored.
func isBulky(m *raft.Message) bool {
	return m.Kind == raft.Append || len(m.Entries) > 0 || len(m.Refused) > 0
}

// put adds a message if there is room. One that is larger than all of the room may come when it is
// the only one.
func (q *queue) put(m raft.Message) bool {
	size := sizeOf(&m)
	if len(q.ms)-q.head >= q.maxCount || q.bytes > 0 && q.bytes+size > q.maxBytes {
		return false
	}
	if q.head > 0 && len(q.ms) == cap(q.ms) {
		q.ms = slices.Delete(q.ms, 0, q.head)
		q.head = 0
	}
	q.ms = append(q.ms, m)
	q.bytes += size
	return true
}

// take removes the oldest message.
func (q *queue) take() (m raft.Message, found bool) {
	if q.head == len(q.ms) {
		return m, false
	}
	m, q.ms[q.head] = q.ms[q.head], m
	q.bytes -= sizeOf(&m)
	if q.head++; q.head == len(q.ms) {
		q.ms, q.head = q.ms[:0], 0
	}
	return m, true
}

// isHalfEmpty reports whether the queue could take as many messages and bytes again as it holds.
func (q *queue) isHalfEmpty() bool {
	return 2*(len(q.ms)-q.head) <= q.maxCount && 2*q.bytes <= q.maxBytes
}

// figures returns the length of the queue, and its limits.
func (q *queue) figures() raft.Lane {
	return raft.Lane{Messages: len(q.ms) - q.head, MaxMessages: q.maxCount, Bytes: q.bytes, MaxBytes: q.maxBytes}
}

// clear forgets all messages and returns how many they were.
func (q *queue) clear() int {
	n := len(q.ms) - q.head
	q.ms, q.head, q.bytes = nil, 0, 0
	return n
}
