package raft

import "sync"

// inbox gathers what comes to the loop from other goroutines. The loop takes all of it in one turn.
type inbox struct {
	wake chan struct{} // capacity 1

	mu        sync.Mutex // protects the rest
	proposals idQueue
	reads     idQueue
	calls     []func(*core)
	messages  []Message // of all kinds but Propose
	proposed  []Message // Propose messages, which may wait for the batch before them
	bytes     int       // of messages and proposed
	room      sync.Cond // signalled when messages are taken
}

// maxInboxBytes is how many bytes of messages may wait for the loop. Beyond it, step blocks.
const maxInboxBytes = 64 << 20

// messageBytes is about how many bytes of memory a message takes besides its entries.
const messageBytes = 256

func (b *inbox) init() {
	b.wake = make(chan struct{}, 1)
	b.room.L = &b.mu
}

// step leaves a message for the loop, and waits while there is no room. Once ended is closed, it
// drops the message. Propose messages may take half of the room: they wait for the batch before
// them, and heartbeats that come after them must not wait for that. A Propose that finds no room
// loses its entries, and the member that sent it sends them again.
func (b *inbox) step(m Message, ended <-chan struct{}) {
	b.mu.Lock()
	for b.bytes > maxInboxBytes && !isClosed(ended) {
		b.room.Wait()
	}
	if isClosed(ended) {
		b.mu.Unlock()
		return
	}
	to := &b.messages
	if m.Kind == Propose {
		to = &b.proposed
		if b.bytes > maxInboxBytes/2 {
			m.Entries, m.Reject = nil, true
		}
	}
	*to = append(*to, m)
	b.bytes += messageSize(&m)
	first := len(*to) == 1
	b.mu.Unlock()
	if first {
		b.ring()
	}
}

func messageSize(m *Message) int {
	size := messageBytes
	for i := range m.Entries {
		size += entrySize(&m.Entries[i])
	}
	return size
}

// dequeueMessages empties one of the two queues of messages.
func (b *inbox) dequeueMessages(from *[]Message) []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	ms := *from
	*from = nil
	for i := range ms {
		b.bytes -= messageSize(&ms[i])
	}
	b.room.Broadcast()
	return ms
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// idQueue holds the ids of requests until the loop dequeues them. It has two arrays: the loop works
// on one while the other fills.
type idQueue struct {
	filling, spare []uint64
}

// dequeue empties the queue. The result belongs to the loop until the next call.
func (q *idQueue) dequeue(mu *sync.Mutex) []uint64 {
	mu.Lock()
	defer mu.Unlock()
	q.filling, q.spare = q.spare[:0], q.filling
	return q.spare
}

// enqueue adds the ids of requests to q, one of the two queues of the inbox, and reports whether
// there was room for them.
func (b *inbox) enqueue(q *idQueue, ids ...uint64) bool {
	b.mu.Lock()
	before := len(q.filling)
	room := before < maxWaiters
	if room {
		q.filling = append(q.filling, ids...)
	}
	b.mu.Unlock()
	if before == 0 && len(ids) > 0 {
		b.ring()
	}
	return room
}

// holds reports whether there are proposals, of this member or of another one, and reads.
func (b *inbox) holds() (proposals, reads bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.proposals.filling)+len(b.proposed) > 0, len(b.reads.filling) > 0
}

func (b *inbox) call(f func(*core)) {
	b.mu.Lock()
	b.calls = append(b.calls, f)
	b.mu.Unlock()
	b.ring()
}

func (b *inbox) ring() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) dequeueCalls() []func(*core) {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls
	b.calls = nil
	return calls
}
