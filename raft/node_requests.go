package raft

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// request is a proposal on its way to the core, or a read, of which only the id is used. The id is
// that of its waiter.
type request struct {
	proposal
	read bool
}

// How long a leader's proposals may wait, so that they go as one batch: for its own disk, and for
// the other members. A disk that takes longer holds nobody up, since the others may be a majority
// without it; nor do members that are far away.
const (
	gatherForDisk   = 10 * time.Millisecond
	gatherForOthers = time.Millisecond
)

// gathering is until when what is in the inbox waits, on the monotonic clock; 0: it doesn't.
type gathering struct{ proposals, reads int64 }

// proposalsWait returns how much longer a leader's proposals wait at most, if they do: until its
// disk has the batch before, and that is committed.
func (n *Node) proposalsWait() (left time.Duration) {
	if n.core.role != Leader {
		return 0
	}
	now := n.mono()
	if n.diskBusy {
		left = gatherForDisk - time.Duration(now-n.diskSince)
	}
	if before := len(n.commits) - 1; before >= 0 {
		left = max(left, gatherForOthers-time.Duration(now-n.commits[before].at))
	}
	return left
}

// readsWait returns how much longer reads wait at most, if they do: until those are answered that
// went out before, so that the next question to the leader stands for all that came meanwhile.
func (n *Node) readsWait() time.Duration {
	if len(n.reads) == 0 {
		return 0
	}
	return gatherForOthers - time.Duration(n.mono()-n.readSentAt)
}

// waitsForApplier has the applier wake the loop after each batch, as long as the core waits for it.
// A batch that it applied just before wakes nobody, so that the loop looks once more.
func (n *Node) waitsForApplier() {
	n.applierWakes.Store(n.core.isBehind() || n.core.refusing)
	n.core.appliedTo(n.applied.Load().index)
}

// untilGathered returns how long the loop may sleep before something in the inbox is due.
func (n *Node) untilGathered() time.Duration {
	if n.gatherUntil == (gathering{}) {
		return never
	}
	due := never
	proposals, reads := n.inbox.holds()
	if proposals && n.gatherUntil.proposals != 0 {
		due = time.Duration(n.gatherUntil.proposals - n.mono())
	}
	if reads && n.gatherUntil.reads != 0 {
		due = min(due, time.Duration(n.gatherUntil.reads-n.mono()))
	}
	return max(due, 0)
}

// drainInbox passes everything that has arrived to the core, proposals as one batch, from wherever
// they come.
func (n *Node) drainInbox() {
	for _, f := range n.inbox.dequeueCalls() {
		f(n.core)
	}
	messages := n.inbox.dequeueMessages(&n.inbox.messages)
	n.stats.AppendsReceived.noteAppends(messages)
	for _, m := range messages {
		n.core.step(m)
	}
	n.retryParked()
	n.dequeueReads()
	n.gatherUntil.proposals = 0
	if wait := n.proposalsWait(); wait > 0 {
		n.gatherUntil.proposals = n.mono() + int64(wait)
		return
	}
	if n.waitsForApplier(); !n.core.isBehind() {
		n.dequeueProposals()
	}
}

// dequeueReads passes the reads on that have arrived, unless they had better wait a moment.
func (n *Node) dequeueReads() {
	n.gatherUntil.reads = 0
	if wait := n.readsWait(); wait > 0 {
		n.gatherUntil.reads = n.mono() + int64(wait)
		return
	}
	n.requestReadIndex(n.inbox.reads.dequeue(&n.inbox.mu))
}

func (n *Node) dequeueProposals() {
	proposals := n.inbox.proposals.dequeue(&n.inbox.mu)
	// they came after the turn began: with its time, from before they were made, keys would expire
	// early (pitfall I1)
	n.core.advance(n.mono())
	last := n.core.log.last()
	for _, m := range n.inbox.dequeueMessages(&n.inbox.proposed) {
		n.core.step(m)
	}
	n.proposeOrForward(proposals)
	if now := n.core.log.last(); now > last {
		n.commits = append(n.commits, commitTime{index: now, at: n.mono()})
	}
}

// parking holds the ids of requests that no leader has taken yet. Its limit is that of the waiters.
type parking struct{ proposals, reads []uint64 }

// size returns the number of ids, including those that nobody waits for any longer.
func (p *parking) size() int { return len(p.proposals) + len(p.reads) }

// park keeps requests until a leader takes them. When they could be more than maxWaiters, it drops
// those that nobody waits for.
func (n *Node) park(place *[]uint64, ids ...uint64) {
	if len(*place)+len(ids) > maxWaiters {
		*place = n.waiters.living(*place)
	}
	*place = append(*place, ids...)
}

// dropDead drops the ids of parked requests and of reads that nobody waits for.
func (n *Node) dropDead() {
	n.parked.proposals = n.waiters.living(n.parked.proposals)
	n.parked.reads = n.waiters.living(n.parked.reads)
	for try, ids := range n.reads {
		if n.reads[try] = n.waiters.living(ids); len(n.reads[try]) == 0 {
			delete(n.reads, try)
		}
	}
}

// What may wait for a leader that has not been there for so many election timeouts: as many bytes.
// An election is soon over, and who asks meanwhile waits for its end; hours without a majority
// would fill the memory with proposals that all end the same.
const (
	leaderlessTimeouts = 3
	maxLeaderlessBytes = 1 << 20
)

// refuseYoungest answers the youngest of the proposals that are too many to wait for a leader that
// may never come: they were not made.
func (n *Node) refuseYoungest(ticks int) {
	if n.leaderlessTicks += ticks; n.core.leader != None {
		n.leaderlessTicks = 0
	}
	if n.leaderlessTicks < leaderlessTimeouts*n.core.ElectionTicks {
		return
	}
	kept := n.waiters.countWithin(n.parked.proposals, maxLeaderlessBytes)
	for _, id := range n.parked.proposals[kept:] {
		n.waiters.answer(id, outcome{err: ErrNoLeader})
	}
	n.parked.proposals = n.parked.proposals[:kept]
}

// retryParked tries again what no leader had taken, when there is one. This member's own core may
// be asked in every turn; another leader only when it is a new one, a tick has passed, or there was
// no room on the way to it and is some now: what it does not take now it won't take one round trip
// later either.
func (n *Node) retryParked() {
	now := n.leadership()
	again := now != n.triedUnder || now.role == Leader || n.forwardFull && n.core.mayForward()
	if n.parked.size() == 0 || now.leader == None || !again {
		return
	}
	parked := n.parked
	n.parked, n.triedUnder, n.forwardFull = parking{}, now, false
	n.requestReadIndex(n.waiters.living(parked.reads))
	n.proposeOrForward(parked.proposals)
}

// proposeOrForward proposes, here or at the leader, and parks what no leader takes.
func (n *Node) proposeOrForward(ids []uint64) {
	if len(ids) == 0 {
		return
	}
	if n.core.leader == None {
		n.park(&n.parked.proposals, ids...)
		return
	}
	n.batch = n.waiters.propose(n.batch[:0], ids, n.core.term)
	if n.core.role == Leader {
		n.proposeHere(n.batch)
	} else {
		n.forwardBatch(n.batch)
	}
	clear(n.batch)
}

func (n *Node) forwardBatch(batch []proposal) {
	taken := n.core.forward(batch)
	n.stats.Forwarded.Add(uint64(taken))
	n.forwardFull = n.forwardFull || taken < len(batch)
	for _, p := range batch[taken:] {
		n.handleRefusal(p.id, errNotLeader)
	}
}

func (n *Node) proposeHere(batch []proposal) {
	for _, p := range batch {
		if err := n.core.takeOver(p); err != nil {
			n.handleRefusal(p.id, err)
		}
	}
}

// refused deals with a proposal that the leader has not taken: some may be made again.
func (n *Node) handleRefusal(id uint64, err error) {
	switch {
	case !n.waiters.withdraw(id):
	case err == errNotLeader, err == errHandingOver, err == errChanging, err == errUnheard:
		n.park(&n.parked.proposals, id)
	default:
		n.waiters.answer(id, outcome{err: err})
	}
}

// handleRefusals deals with what another member's core has not taken of this one's proposals.
func (n *Node) handleRefusals(refused []Refusal) {
	for i := range refused {
		n.handleRefusal(refused[i].ID, refused[i].err())
	}
}

// requestReadIndex asks for one index for all reads that wait, and parks them when nobody can tell.
func (n *Node) requestReadIndex(ids []uint64) {
	if len(ids) == 0 {
		return
	}
	try := rand.Uint64() // a new one for every try (pitfall C3)
	if n.core.read(try) != nil {
		n.park(&n.parked.reads, ids...)
		return
	}
	n.reads[try], n.readSentAt = slices.Clone(ids), n.mono()
}

// retryReads tries the reads again that are out: their answers may be lost with a leader or a
// message (pitfall C5).
func (n *Node) retryReads() {
	n.readRetryTicks = n.core.ElectionTicks
	for try, ids := range n.reads {
		delete(n.reads, try)
		n.park(&n.parked.reads, ids...)
	}
}

// ask makes a request and waits for its outcome.
func (n *Node) submit(ctx context.Context, r request) (Result, error) {
	w := n.waiters.pool.Get().(*waiter)
	id, err := n.enqueue(w, r)
	if err != nil {
		return Result{}, err
	}
	n.stats.Pending.Add(1)
	defer n.stats.Pending.Add(-1)
	o := n.wait(ctx, w, id)
	n.waiters.pool.Put(w)
	return o.Result, o.err
}

// post leaves a request for the loop. The waiter gets its outcome, or ErrStopped, within
// RequestTimeout.
func (n *Node) enqueue(w *waiter, r request) (id uint64, err error) {
	if id, err = n.waiters.add(w, r, n.mono()+int64(n.RequestTimeout)); err != nil {
		return 0, err
	}
	t := &n.inbox.proposals
	if r.read {
		t = &n.inbox.reads
	}
	if !n.inbox.enqueue(t, id) && n.waiters.remove(id) {
		return 0, ErrOverloaded
	}
	return id, nil
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
