package raft

import "sync"

// inbox gathers what comes to the loop from other goroutines; the loop takes all of it at once.
type inbox struct {
	wake chan struct{} // capacity 1

	mu        sync.Mutex // protects the rest
	proposals tray
	reads     tray
	calls     []func(*core)
	messages  []Message
	bytes     int       // of the messages' entries
	room      sync.Cond // signalled when the messages are taken
}

// maxInboxBytes of entries may wait for the loop; then those who bring more are held up.
const maxInboxBytes = 64 << 20

func (b *inbox) init() {
	b.wake = make(chan struct{}, 1)
	b.room.L = &b.mu
}

// step leaves a message for the loop; it waits while there is no room. Once ended is closed nobody takes it.
func (b *inbox) step(m Message, ended <-chan struct{}) {
	size := 0
	for i := range m.Entries {
		size += entrySize(&m.Entries[i])
	}
	b.mu.Lock()
	for b.bytes > maxInboxBytes && !isClosed(ended) {
		b.room.Wait()
	}
	if isClosed(ended) {
		b.mu.Unlock()
		return
	}
	b.messages = append(b.messages, m)
	b.bytes += size
	first := len(b.messages) == 1
	b.mu.Unlock()
	if first {
		b.ring()
	}
}

func (b *inbox) takeMessages() []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	ms := b.messages
	b.messages, b.bytes = nil, 0
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

// tray holds requests until the loop takes them, in one of two arrays: while the loop has one, the other fills.
type tray struct {
	full, spare []request
}

// take empties the tray. What it returns is the loop's until the next call.
func (t *tray) take(mu *sync.Mutex) []request {
	mu.Lock()
	defer mu.Unlock()
	t.full, t.spare = t.spare[:0], t.full
	return t.spare
}

func (b *inbox) ask(r request) {
	t := &b.proposals
	if r.read {
		t = &b.reads
	}
	b.mu.Lock()
	t.full = append(t.full, r)
	first := len(t.full) == 1
	b.mu.Unlock()
	if first {
		b.ring()
	}
}

// holds tells whether there are proposals.
func (b *inbox) holds() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.proposals.full) > 0
}

// again brings back proposals that were made before.
func (b *inbox) again(requests []request) {
	if len(requests) == 0 {
		return
	}
	b.mu.Lock()
	b.proposals.full = append(b.proposals.full, requests...)
	b.mu.Unlock()
	b.ring()
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
