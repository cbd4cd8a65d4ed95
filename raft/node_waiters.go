package raft

import (
	"math/rand/v2"
	"sync"
)

// waiter is a goroutine that waits for the outcome of its request.
type waiter struct {
	result   chan outcome // capacity 1: who answers never waits
	request  request
	deadline int64  // on the monotonic clock
	asked    uint64 // term in which the request has reached a leader's log, or may have; 0: it has not
}

var waiterPool = sync.Pool{New: func() any { return &waiter{result: make(chan outcome, 1)} }}

type outcome struct {
	Result
	err error
}

// waiters finds who waits for what. An id is answered once: who takes it out
// of the map sends the outcome.
type waiters struct {
	mu      sync.Mutex // protects the rest
	next    uint64     // begins at random, so that an entry of a former life finds nobody (pitfall G4)
	waiting map[uint64]*waiter
	reads   []readsAt // safe as soon as index is applied
	applied uint64
	term    uint64 // of the last entry applied
	closed  bool   // nobody will answer any more
}

// readsAt are reads that may be answered when index is applied.
type readsAt struct {
	ids   []uint64
	index uint64
}

func (ws *waiters) init() {
	ws.next = rand.Uint64()
	ws.waiting = map[uint64]*waiter{}
}

// add returns the waiter's id; 0 when the node has ended.
func (ws *waiters) add(w *waiter, r request, deadline int64) uint64 {
	w.request, w.deadline, w.asked = r, deadline, 0
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return 0
	}
	ws.next++
	if ws.next == 0 { // means nobody
		ws.next++
	}
	w.request.id = ws.next
	ws.waiting[ws.next] = w
	return ws.next
}

func (ws *waiters) has(id uint64) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	_, ok := ws.waiting[id]
	return ok
}

// asked notes that requests may be applied from now on, in the log with a term.
func (ws *waiters) asked(requests []request, term uint64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for i := range requests {
		if w := ws.waiting[requests[i].id]; w != nil {
			w.asked = term
		}
	}
}

// unasked takes that back, and returns the request; false when nobody waits for it.
func (ws *waiters) unasked(id uint64) (request, bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.waiting[id]
	if w == nil {
		return request{}, false
	}
	w.asked = 0
	return w.request, true
}

// dead returns the proposals of former terms that wait still: an entry of term is applied, so they never will
// be, and may be made again.
func (ws *waiters) dead(term uint64) (requests []request) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if term == ws.term {
		return nil
	}
	ws.term = term
	for _, w := range ws.waiting {
		if w.asked != 0 && w.asked < term {
			w.asked = 0
			requests = append(requests, w.request)
		}
	}
	return requests
}

// skip gives up the proposals up to term: a snapshot took the place of the entries that told what became of them.
func (ws *waiters) skip(index, term uint64) {
	var lost []*waiter
	ws.mu.Lock()
	ws.term = term
	for id, w := range ws.waiting {
		if w.asked != 0 && w.asked <= term {
			lost = append(lost, w)
			delete(ws.waiting, id)
		}
	}
	ws.mu.Unlock()
	for _, w := range lost {
		w.giveUp(nil)
	}
	ws.answerAll(nil, index)
}

// remove takes a waiter out; false when somebody else has done that and answers it.
func (ws *waiters) remove(id uint64) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	_, ok := ws.waiting[id]
	delete(ws.waiting, id)
	return ok
}

func (ws *waiters) answer(id uint64, o outcome) {
	ws.mu.Lock()
	w := ws.waiting[id]
	delete(ws.waiting, id)
	ws.mu.Unlock()
	if w != nil {
		w.result <- o
	}
}

// answerAt answers reads as soon as index is applied.
func (ws *waiters) answerAt(ids []uint64, index uint64) {
	if len(ids) == 0 {
		return
	}
	ws.mu.Lock()
	if ws.applied < index {
		ws.reads = append(ws.reads, readsAt{ids, index})
		ws.mu.Unlock()
		return
	}
	ws.mu.Unlock()
	ws.answerReads(ids, index)
}

func (ws *waiters) answerReads(ids []uint64, index uint64) {
	for _, id := range ids {
		ws.answer(id, outcome{Result: Result{Index: index}})
	}
}

// answerAll answers the proposals of one batch, and the reads that it makes safe. It sets the waiters in batch.
func (ws *waiters) answerAll(batch []answer, applied uint64) {
	ws.mu.Lock()
	ws.applied = applied
	for i := range batch {
		batch[i].to = ws.waiting[batch[i].id]
		delete(ws.waiting, batch[i].id)
	}
	var safe []readsAt
	rest := ws.reads[:0]
	for _, r := range ws.reads {
		if r.index <= applied {
			safe = append(safe, r)
		} else {
			rest = append(rest, r)
		}
	}
	ws.reads = rest
	ws.mu.Unlock()
	for i := range batch {
		if batch[i].to != nil {
			batch[i].to.result <- outcome{Result: batch[i].Result}
		}
	}
	for _, r := range safe {
		ws.answerReads(r.ids, r.index)
	}
}

// answer is the result of one proposal.
type answer struct {
	Result
	id uint64
	to *waiter
}

// expire answers those whose time is over.
func (ws *waiters) expire(now int64) {
	var late []*waiter
	ws.mu.Lock()
	for id, w := range ws.waiting {
		if w.deadline <= now {
			late = append(late, w)
			delete(ws.waiting, id)
		}
	}
	ws.mu.Unlock()
	for _, w := range late {
		w.giveUp(ErrNoLeader)
	}
}

// close answers all that still wait, and makes add refuse.
func (ws *waiters) close() {
	ws.mu.Lock()
	waiting := ws.waiting
	ws.waiting, ws.closed = nil, true
	ws.mu.Unlock()
	for _, w := range waiting {
		w.giveUp(ErrStopped)
	}
}

// giveUp answers a waiter that nobody else will; unasked is the error of a request that was never made.
func (w *waiter) giveUp(unasked error) {
	err := unasked
	if w.asked != 0 {
		err = ErrUnknown
	}
	w.result <- outcome{err: err}
}
