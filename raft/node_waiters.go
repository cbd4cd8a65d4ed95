package raft

import (
	"math/rand/v2"
	"slices"
	"sync"
)

// A request's life: where its id is, who moves it on, and where to.
//
//	state       its id is in                     moved on by                     to
//	new         waiters.waiting, to the end      caller    enqueue               inbox
//	inbox       inbox.proposals or inbox.reads   loop      proposeOrForward      proposed, or parked
//	                                             loop      requestReadIndex      reading, or parked
//	parked      Node.parked: no leader has       loop      retryParked           the same two
//	            taken it
//	proposed    the log or a message; the term   applier   answerAll             applied
//	            is in waiter.proposedIn          loop      handleRefusal         parked
//	                                             applier   dead                  inbox
//	reading     Node.reads: the core asks for    loop      retryReads, dispatch  parked
//	            its index
//	            waiters.reads: its index is      applier   answerAll             applied
//	            not applied yet
//
// A proposal is dead when an entry of a later term is applied and it is not: it can't be applied
// any more (see forward.go). Applied means that the waiter has its result. In any state before
// that, a request may end without one:
//
//	expired     loop      expire                 ErrNoLeader; once proposed ErrUnknown
//	            caller    wait, context ended    ErrUnknown
//	refused     caller    enqueue, no room       ErrOverloaded
//	            loop      handleRefusal          the leader's reason
//	            loop      refuseYoungest         ErrNoLeader
//	lost        applier   skip                   ErrUnknown: a snapshot took the place of its entry
//	stopped     any       close                  ErrStopped; once proposed ErrUnknown
//
// Whoever unlinks the waiter from waiters.waiting answers it, and nobody else does. Other queues
// drop the id at the next tick.

// waiter is a goroutine that waits for the outcome of its request. Until the request is proposed,
// only the waiter holds its bytes: the queues on the way hold ids. So a request that nobody waits
// for any longer costs eight bytes, until the next tick.
type waiter struct {
	result     chan outcome // capacity 1: the goroutine that answers never waits
	request    request
	deadline   int64  // on the monotonic clock
	proposedIn uint64 // term in which the request has reached a leader's log, or may have; 0: it has not
}

// Limits of the requests that wait, in number and bytes. Beyond them the answer is ErrOverloaded. A
// single request may be larger than maxWaitersBytes.
const (
	maxWaiters      = 1 << 17
	maxWaitersBytes = 256 << 20
)

type outcome struct {
	Result
	err error
}

// waiters finds the waiter of a request by its id. Each is answered once: the goroutine that
// unlinks it sends the outcome.
type waiters struct {
	pool sync.Pool // of waiters that are answered

	mu      sync.Mutex // protects the rest
	next    uint64     // begins at random, so that an entry from before a restart finds no waiter (pitfall G4)
	waiting map[uint64]*waiter
	bytes   int       // of the requests in waiting
	reads   []readsAt // wait for their index to be applied
	applied uint64    // index
	term    uint64    // of the last entry applied
	closed  bool      // the node has ended: nothing is answered any more
}

// readsAt are reads that may be answered when index is applied.
type readsAt struct {
	ids   []uint64
	index uint64
}

func (ws *waiters) init() {
	ws.pool.New = func() any { return &waiter{result: make(chan outcome, 1)} }
	ws.next = rand.Uint64()
	ws.waiting = map[uint64]*waiter{}
}

// add enters a waiter and returns its id, which is also that of the request.
func (ws *waiters) add(w *waiter, r request, deadline int64) (id uint64, err error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	switch {
	case ws.closed:
		return 0, ErrStopped
	case len(ws.waiting) >= maxWaiters, len(ws.waiting) > 0 && ws.bytes+len(r.data) > maxWaitersBytes:
		return 0, ErrOverloaded
	}
	ws.next++
	if ws.next == 0 { // an entry with this id has no waiter
		ws.next++
	}
	r.id = ws.next
	w.request, w.deadline, w.proposedIn = r, deadline, 0
	ws.waiting[r.id] = w
	ws.bytes += len(r.data)
	return r.id, nil
}

// unlink removes the waiter with an id, and drops its request. The caller answers the waiter. It
// returns nil when no goroutine waits under that id. ws.mu must be held.
func (ws *waiters) unlink(id uint64) *waiter {
	w := ws.waiting[id]
	if w != nil {
		delete(ws.waiting, id)
		ws.bytes -= len(w.request.data)
		w.request = request{}
	}
	return w
}

// living returns the ids that have a waiter. It overwrites ids.
func (ws *waiters) living(ids []uint64) []uint64 {
	if len(ids) == 0 {
		return ids
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return slices.DeleteFunc(ids, func(id uint64) bool { return ws.waiting[id] == nil })
}

// countWithin returns how many of the first requests have together at most limit bytes, but at
// least one.
func (ws *waiters) countWithin(ids []uint64, limit int) (n int) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for bytes := 0; n < len(ids); n++ {
		if w := ws.waiting[ids[n]]; w != nil {
			bytes += len(w.request.data)
		}
		if bytes > limit && n > 0 {
			break
		}
	}
	return n
}

// propose appends to batch the proposals that still have a waiter. From now on they count as
// proposed in term: a request that was answered before is not proposed, and one that is proposed
// does not get an answer that says that it was not.
func (ws *waiters) propose(batch []proposal, ids []uint64, term uint64) []proposal {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, id := range ids {
		if w := ws.waiting[id]; w != nil {
			w.proposedIn = term
			batch = append(batch, w.request.proposal)
		}
	}
	return batch
}

// withdraw undoes propose for one proposal, which the leader has refused. It reports whether the
// proposal still has a waiter.
func (ws *waiters) withdraw(id uint64) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.waiting[id]
	if w != nil {
		w.proposedIn = 0
	}
	return w != nil
}

// dead returns the ids of proposals that were proposed in terms before term and still wait. An
// entry of term has been applied, so they can't be applied any more, and may be proposed again.
func (ws *waiters) dead(term uint64) (ids []uint64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if term == ws.term {
		return nil
	}
	ws.term = term
	for id, w := range ws.waiting {
		if w.proposedIn != 0 && w.proposedIn < term {
			w.proposedIn = 0
			ids = append(ids, id)
		}
	}
	return ids
}

// skip answers the proposals of terms up to term: a snapshot has taken the place of the entries
// that would have told whether they were applied.
func (ws *waiters) skip(index, term uint64) {
	var lost []*waiter
	ws.mu.Lock()
	ws.term = term
	for id, w := range ws.waiting {
		if w.proposedIn != 0 && w.proposedIn <= term {
			lost = append(lost, ws.unlink(id))
		}
	}
	ws.mu.Unlock()
	for _, w := range lost {
		w.giveUp(nil)
	}
	ws.answerAll(nil, index)
}

// remove unlinks a waiter. It returns false when another goroutine has done so, and answers it.
func (ws *waiters) remove(id uint64) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.unlink(id) != nil
}

func (ws *waiters) answer(id uint64, o outcome) {
	ws.mu.Lock()
	w := ws.unlink(id)
	ws.mu.Unlock()
	if w != nil {
		w.result <- o
	}
}

// answerAt answers reads when index is applied.
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

// answerAll answers the proposals of one batch that has been applied, and the reads that waited for
// it. It sets the waiters in batch.
func (ws *waiters) answerAll(batch []answer, applied uint64) {
	ws.mu.Lock()
	ws.applied = applied
	for i := range batch {
		batch[i].to = ws.unlink(batch[i].id)
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

// expire answers the waiters whose deadline has passed, and drops the ids of reads that have no
// waiter.
func (ws *waiters) expire(now int64) {
	var late []*waiter
	ws.mu.Lock()
	for id, w := range ws.waiting {
		if w.deadline <= now {
			late = append(late, ws.unlink(id))
		}
	}
	for i := range ws.reads {
		r := &ws.reads[i]
		r.ids = slices.DeleteFunc(r.ids, func(id uint64) bool { return ws.waiting[id] == nil })
	}
	ws.reads = slices.DeleteFunc(ws.reads, func(r readsAt) bool { return len(r.ids) == 0 })
	ws.mu.Unlock()
	for _, w := range late {
		w.giveUp(ErrNoLeader)
	}
}

// close answers all waiters, and makes add refuse others.
func (ws *waiters) close() {
	ws.mu.Lock()
	waiting := ws.waiting
	ws.waiting, ws.bytes, ws.closed = nil, 0, true
	ws.mu.Unlock()
	for _, w := range waiting {
		w.giveUp(ErrStopped)
	}
}

// giveUp answers an unlinked waiter without a result. The error is unproposed if its request was
// never proposed, and ErrUnknown otherwise.
func (w *waiter) giveUp(unproposed error) {
	err := unproposed
	if w.proposedIn != 0 {
		err = ErrUnknown
	}
	w.result <- outcome{err: err}
}
