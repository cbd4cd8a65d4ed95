package http

import (
	nethttp "net/http"
	"sync"
	"sync/atomic"
	"time"
)

// An answer that is being sent holds what it shows: a part of the tree as it was, an event with the
// values before and after. That costs memory once the tree and the history have it no longer. All
// answers together hold no more of that than what was freed there since the oldest of them began
// (store.Freed). So an answer is broken off, and its connection closed, when more was freed since
// then than answers may hold. But each has some time first: no writer can break off what is read at
// once.
const (
	leastHeld = 64 << 20
	slowAfter = 10 * time.Second
)

// slowAnswers are those that take longer than after. All methods may be called from any goroutine.
type slowAnswers struct {
	max   int64 // bytes that answers may hold
	after time.Duration
	ended atomic.Uint64

	mu    sync.Mutex           // protects begun
	begun map[*response]uint64 // what had been freed when they began
}

// held returns a bound of what they hold; freed is what has been freed by now.
func (l *slowAnswers) held(freed uint64) (bytes uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, begun := range l.begun {
		bytes = max(bytes, freed-min(begun, freed))
	}
	return bytes
}

// add makes w one of them.
func (l *slowAnswers) add(w *response) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun == nil {
		l.begun = map[*response]uint64{}
	}
	l.begun[w], w.holding.slow = w.holding.freed, true
}

func (l *slowAnswers) remove(w *response) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.begun, w)
}

// holding is when an answer began; the zero value is of one that holds nothing.
type holding struct {
	since time.Time
	freed uint64 // by then
	slow  bool   // it is one of slowAnswers
}

// hold begins to count what the answer holds: nothing that was freed before.
func (w *response) hold() {
	w.letGo()
	if w.server.store != nil {
		w.holding = holding{since: time.Now(), freed: w.server.store.Freed()}
	}
}

// letGo ends hold.
func (w *response) letGo() {
	if w.holding.slow {
		w.server.slow.remove(w)
	}
	w.holding = holding{}
}

// endIfHolding breaks the answer off when it has held too much for too long.
func (w *response) endIfHolding() {
	h := &w.holding
	if h.since.IsZero() || time.Since(h.since) < w.server.slow.after {
		return
	}
	slow := &w.server.slow
	if !h.slow {
		slow.add(w)
	}
	if w.server.store.Freed()-h.freed > uint64(slow.max) {
		slow.ended.Add(1)
		panic(nethttp.ErrAbortHandler) // without a last piece, so that the client sees it
	}
}
