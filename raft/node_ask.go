package raft

import (
	"context"
	"math/rand/v2"
	"sync"
)

// asking is what a request wants.
type asking uint8

const (
	askCommand asking = iota
	askChange
	askRead
)

// request is a proposal or a read on its way to the core.
type request struct {
	kind   asking
	id     uint64 // of its waiter
	data   []byte
	change *Change
}

// inbox gathers what comes to the loop from other goroutines; the loop takes all of it at once.
type inbox struct {
	wake chan struct{} // capacity 1

	mu        sync.Mutex // protects the rest
	proposals tray
	reads     tray
	calls     []func(*core)
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
	if r.kind == askRead {
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

// takeInbox passes everything that has arrived to the core, proposals as one batch. While the disk is busy and nobody else is
// to get them, proposals may as well gather where they are.
func (n *Node) takeInbox() {
	for _, f := range n.inbox.takeCalls() {
		f(n.core)
	}
	n.retake()
	n.passAll(n.inbox.reads.take(&n.inbox.mu))
	if n.diskBusy && n.core.role == Leader && len(n.core.lead.members) == 0 {
		return
	}
	last := n.core.log.last()
	n.passAll(n.inbox.proposals.take(&n.inbox.mu))
	if now := n.core.log.last(); now > last {
		n.commits = append(n.commits, commitTime{index: now, at: n.mono()})
	}
}

// passAll passes the requests on, and parks those that no leader takes.
func (n *Node) passAll(requests []request) {
	for i := range requests {
		if !n.pass(&requests[i]) {
			n.parked = append(n.parked, requests[i])
		}
	}
	clear(requests)
}

// retake tries again what no leader had taken, when there is one.
func (n *Node) retake() {
	if len(n.parked) == 0 || n.core.leader == None {
		return
	}
	parked := n.parked
	n.parked = nil
	for i := range parked {
		if n.waiters.has(parked[i].id) && !n.pass(&parked[i]) {
			n.parked = append(n.parked, parked[i])
		}
	}
}

// pass gives one request to the core; false when it must be tried again later.
func (n *Node) pass(r *request) bool {
	var err error
	switch r.kind {
	case askCommand:
		_, err = n.core.propose(proposal{kind: EntryCommand, id: r.id, data: r.data})
	case askChange:
		_, err = n.core.proposeChange(*r.change, r.id)
	case askRead:
		try := rand.Uint64() // a new one for every try (pitfall C3)
		if err = n.core.read(try); err == nil {
			n.reads[try] = r.id
		}
	}
	switch err {
	case nil:
		n.waiters.asked(r.id)
	case errNotLeader, errHandingOver, errChanging:
		return false
	default:
		n.waiters.answer(r.id, outcome{err: err})
	}
	return true
}

// retryReads tries the reads again that are out: their answers may be lost with a leader or a message (pitfall C5).
func (n *Node) retryReads() {
	n.retry = n.core.ElectionTicks
	for try, id := range n.reads {
		delete(n.reads, try)
		if n.waiters.has(id) {
			n.parked = append(n.parked, request{kind: askRead, id: id})
		}
	}
}

// ask makes a request and waits for its outcome.
func (n *Node) ask(ctx context.Context, r request) (Result, error) {
	w := waiterPool.Get().(*waiter)
	if r.id = n.waiters.add(w, n.mono()+int64(n.RequestTimeout)); r.id == 0 {
		return Result{}, ErrStopped
	}
	n.stats.Pending.Add(1)
	defer n.stats.Pending.Add(-1)
	n.inbox.ask(r)
	o := n.wait(ctx, w, r.id)
	waiterPool.Put(w)
	return o.Result, o.err
}

// wait ends by the deadline that the waiters keep, if not before.
func (n *Node) wait(ctx context.Context, w *waiter, id uint64) outcome {
	if ctx.Done() == nil { // a plain receive costs half of a select
		return <-w.result
	}
	select {
	case o := <-w.result:
		return o
	case <-ctx.Done():
		if n.waiters.remove(id) {
			return outcome{err: ErrUnknown}
		}
		return <-w.result // it came at the same moment
	}
}

var waiterPool = sync.Pool{New: func() any { return &waiter{result: make(chan outcome, 1)} }}

// waiter is a goroutine that waits for the outcome of its request.
type waiter struct {
	result   chan outcome // capacity 1: who answers never waits
	deadline int64        // on the monotonic clock
	asked    bool         // the request has reached a leader's log, or may have: its outcome is unknown from then on
}

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
	reads   []readAt // safe as soon as index is applied
	applied uint64
	closed  bool // nobody will answer any more
}

// readAt is a read that may be answered when index is applied.
type readAt struct {
	id    uint64
	index uint64
}

func (ws *waiters) init() {
	ws.next = rand.Uint64()
	ws.waiting = map[uint64]*waiter{}
}

// add returns the waiter's id; 0 when the node has ended.
func (ws *waiters) add(w *waiter, deadline int64) uint64 {
	w.deadline, w.asked = deadline, false
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return 0
	}
	ws.next++
	if ws.next == 0 { // means nobody
		ws.next++
	}
	ws.waiting[ws.next] = w
	return ws.next
}

func (ws *waiters) has(id uint64) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	_, ok := ws.waiting[id]
	return ok
}

// asked notes that a request may be applied from now on.
func (ws *waiters) asked(id uint64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w := ws.waiting[id]; w != nil {
		w.asked = true
	}
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

// answerAt answers a read as soon as index is applied.
func (ws *waiters) answerAt(id, index uint64) {
	ws.mu.Lock()
	if ws.applied < index {
		ws.reads = append(ws.reads, readAt{id, index})
		ws.mu.Unlock()
		return
	}
	ws.mu.Unlock()
	ws.answer(id, outcome{Result: Result{Index: index}})
}

// answerAll answers the proposals of one batch, and the reads that it makes safe. It sets the waiters in batch.
func (ws *waiters) answerAll(batch []answer, applied uint64) {
	ws.mu.Lock()
	ws.applied = applied
	for i := range batch {
		batch[i].to = ws.waiting[batch[i].id]
		delete(ws.waiting, batch[i].id)
	}
	var safe []readAt
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
		ws.answer(r.id, outcome{Result: Result{Index: r.index}})
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
	if w.asked {
		err = ErrUnknown
	}
	w.result <- outcome{err: err}
}
