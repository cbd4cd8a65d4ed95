package raft

import "sync"

// inbox gathers what comes to the loop from other goroutines; the loop takes all of it at once.
type inbox struct {
	wake chan struct{} // capacity 1

	mu        sync.Mutex // protects the rest
	proposals tray
	reads     tray
	calls     []func(*core)
	messages  []Message // of all kinds but Propose
	proposed  []Message // Propose messages, which wait for the batch before them
	bytes     int       // of messages and proposed
	room      sync.Cond // signalled when messages are taken
}

// maxInboxBytes of messages may wait for the loop; then a goroutine that brings more is held up.
const maxInboxBytes = 64 << 20

// messageBytes is about how many bytes of memory a message takes besides its entries.
const messageBytes = 256

func (b *inbox) init() {
	b.wake = make(chan struct{}, 1)
	b.room.L = &b.mu
}

// step leaves a message for the loop, and waits while there is no room. Once ended is closed the
// message is dropped. Proposals may take half of the room, since they wait for the batch before
// them, and heartbeats that come behind them must not wait for that. A Propose that finds no room
// is dropped; its member sends it again.
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

// takeMessages empties one of the two queues of messages.
func (b *inbox) takeMessages(from *[]Message) []Message {
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

// tray holds the ids of requests until the loop takes them, in one of two arrays: while the loop
// has one, the other fills.
type tray struct {
	full, spare []uint64
}

// take empties the tray. What it returns is the loop's until the next call.
func (t *tray) take(mu *sync.Mutex) []uint64 {
	mu.Lock()
	defer mu.Unlock()
	t.full, t.spare = t.spare[:0], t.full
	return t.spare
}

// ask leaves the ids of requests, and reports whether there was room: the loop may not have taken
// the earlier ones.
func (b *inbox) ask(t *tray, ids ...uint64) bool {
	b.mu.Lock()
	before := len(t.full)
	room := before < maxWaiters
	if room {
		t.full = append(t.full, ids...)
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
	return len(b.proposals.full)+len(b.proposed) > 0, len(b.reads.full) > 0
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

func (b *inbox) takeCalls() []func(*core) {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls
	b.calls = nil
	return calls
}
