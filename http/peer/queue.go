package peer

import (
	"slices"

	"etcd2/raft"
)

// queue is a lane: messages, first in, first out, up to a number and a size. The zero value with
// limits is ready to use.
type queue struct {
	ms       []raft.Message
	head     int // index in ms of the oldest message
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

// isBulky reports whether a message goes into the bulky lane. Messages with entries, or with ids of
// refused proposals, may have any size. All others, about who leads, votes and what is stored, fit
// into one frame.
func isBulky(m *raft.Message) bool {
	return m.Kind == raft.Append || len(m.Entries) > 0 || len(m.Refused) > 0
}

// enqueue adds a message if there is room. An empty queue accepts a message of any size.
func (q *queue) enqueue(m raft.Message) bool {
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

// dequeue removes the oldest message.
func (q *queue) dequeue() (m raft.Message, found bool) {
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

// isHalfEmpty reports whether at most half of the queue's messages and bytes are in use.
func (q *queue) isHalfEmpty() bool {
	return 2*(len(q.ms)-q.head) <= q.maxCount && 2*q.bytes <= q.maxBytes
}

// figures returns the length of the queue, and its limits.
func (q *queue) figures() raft.Lane {
	return raft.Lane{Messages: len(q.ms) - q.head, MaxMessages: q.maxCount, Bytes: q.bytes, MaxBytes: q.maxBytes}
}

// clear removes all messages and returns their number.
func (q *queue) clear() int {
	n := len(q.ms) - q.head
	q.ms, q.head, q.bytes = nil, 0, 0
	return n
}
