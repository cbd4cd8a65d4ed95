package raft

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// request is a proposal on its way to the core, or a read, which has nothing but the id. The id is that of its waiter; 0 when nobody waits.
type request struct {
	proposal
	read bool
}

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

// step leaves a message for the loop; it waits while there is no room, unless ended is closed.
func (b *inbox) step(m Message, ended <-chan struct{}) {
	size := 0
	for i := range m.Entries {
		size += entrySize(&m.Entries[i])
	}
	b.mu.Lock()
	for b.bytes > maxInboxBytes && !isClosed(ended) {
		b.room.Wait()
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

// gatherFor is how long a leader's proposals may wait for its own disk, so that they go as one batch. A disk that takes longer
// holds nobody up: the others may be a majority without it.
const gatherFor = 10 * time.Millisecond

// gathers tells whether proposals wait, and how much longer at most.
func (n *Node) gathers() (time.Duration, bool) {
	left := gatherFor - time.Duration(n.mono()-n.diskSince)
	return left, n.core.role == Leader && n.diskBusy && left > 0
}

// untilGathered is how long the loop may sleep for the sake of proposals that wait for the disk.
func (n *Node) untilGathered() time.Duration {
	if left, waits := n.gathers(); waits && (len(n.proposed) > 0 || n.inbox.holds()) {
		return left
	}
	return never
}

// takeInbox passes everything that has arrived to the core, proposals as one batch, from wherever they come.
func (n *Node) takeInbox() {
	for _, f := range n.inbox.takeCalls() {
		f(n.core)
	}
	messages := n.inbox.takeMessages()
	n.stats.AppendsReceived.noteAppends(messages)
	for _, m := range messages {
		if m.Kind == Propose {
			n.proposed = append(n.proposed, m)
		} else {
			n.core.step(m)
		}
	}
	n.retake()
	n.passReads(n.inbox.reads.take(&n.inbox.mu))
	if _, wait := n.gathers(); wait {
		return
	}
	last := n.core.log.last()
	for _, m := range n.proposed {
		n.core.step(m)
	}
	n.proposed = nil
	n.passAll(n.inbox.proposals.take(&n.inbox.mu))
	if now := n.core.log.last(); now > last {
		n.commits = append(n.commits, commitTime{index: now, at: n.mono()})
	}
}

// retake tries again what no leader had taken, when there is one. This member's own core may be asked in every turn; another leader only when
// it is a new one or a tick has passed: what it does not take now it won't take one round trip later either.
func (n *Node) retake() {
	now := n.leadership()
	if len(n.parked) == 0 || now.leader == None || now.role != Leader && now == n.tried {
		return
	}
	parked := n.parked
	n.parked, n.tried = nil, now
	var reads, proposals []request
	for _, r := range parked {
		switch {
		case !n.waiters.has(r.id):
		case r.read:
			reads = append(reads, r)
		default:
			proposals = append(proposals, r)
		}
	}
	n.passReads(reads)
	n.passAll(proposals)
}

// passAll proposes, here or at the leader, and parks what no leader takes.
func (n *Node) passAll(requests []request) {
	switch {
	case len(requests) == 0:
		return
	case n.core.role == Leader:
		n.proposeAll(requests)
	case n.core.leader != None:
		n.forwardAll(requests)
	default:
		n.parked = append(n.parked, requests...)
	}
	clear(requests)
}

func (n *Node) proposeAll(requests []request) {
	for i := range requests {
		r := &requests[i]
		if err := n.core.takeOver(r.proposal); err != nil {
			n.refused(r, err)
			r.id = 0 // not asked
		}
	}
	n.waiters.asked(requests, n.core.term)
}

func (n *Node) forwardAll(requests []request) {
	batch := make([]proposal, len(requests))
	for i := range requests {
		batch[i] = requests[i].proposal
	}
	if n.core.forward(batch) == nil {
		n.stats.Forwarded.Add(uint64(len(batch)))
		n.waiters.asked(requests, n.core.term)
	}
}

// refused deals with a proposal that the leader has not taken: some may be made again.
func (n *Node) refused(r *request, err error) {
	switch err {
	case errNotLeader, errHandingOver, errChanging:
		n.parked = append(n.parked, *r)
	default:
		n.waiters.answer(r.id, outcome{err: err})
	}
}

// refusals deals with what another member's core has not taken of this one's proposals.
func (n *Node) refusals(refused []Refusal) {
	for i := range refused {
		if r, ok := n.waiters.unasked(refused[i].ID); ok {
			n.refused(&r, refused[i].err())
		}
	}
}

// passReads asks for one index for all reads that wait, and parks them when nobody can tell.
func (n *Node) passReads(requests []request) {
	if len(requests) == 0 {
		return
	}
	try := rand.Uint64() // a new one for every try (pitfall C3)
	if n.core.read(try) != nil {
		n.parked = append(n.parked, requests...)
		return
	}
	ids := make([]uint64, len(requests))
	for i := range requests {
		ids[i] = requests[i].id
	}
	n.reads[try] = ids
}

// retryReads tries the reads again that are out: their answers may be lost with a leader or a message (pitfall C5).
func (n *Node) retryReads() {
	n.retry = n.core.ElectionTicks
	for try, ids := range n.reads {
		delete(n.reads, try)
		for _, id := range ids {
			n.parked = append(n.parked, request{proposal: proposal{id: id}, read: true})
		}
	}
}

// ask makes a request and waits for its outcome.
func (n *Node) ask(ctx context.Context, r request) (Result, error) {
	w := waiterPool.Get().(*waiter)
	if r.id = n.waiters.add(w, r, n.mono()+int64(n.RequestTimeout)); r.id == 0 {
		return Result{}, ErrStopped
	}
	n.stats.Pending.Add(1)
	defer n.stats.Pending.Add(-1)
	n.inbox.ask(r)
	o := n.wait(ctx, w, r.id)
	w.request = request{}
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
	request  request
	deadline int64  // on the monotonic clock
	asked    uint64 // term in which the request has reached a leader's log, or may have; 0: it has not
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

// hurry lets the proposals of a term wait no longer than until deadline.
func (ws *waiters) hurry(term uint64, deadline int64) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.waiting {
		if w.asked == term {
			w.deadline = min(w.deadline, deadline)
		}
	}
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
