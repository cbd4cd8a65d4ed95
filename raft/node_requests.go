package raft

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// request is a proposal on its way to the core, or a read, of which only the id is used. The id is
// that of its waiter. The table above waiter shows its way.
type request struct {
	proposal
	read bool
}

// How long a leader's proposals may wait for its own disk and for the other members, so that they
// go as one batch. The times are short. A slow disk must not delay proposals for longer, since the
// other members may be a majority without it; nor must members that are far away.
const (
	gatherForDisk   = 10 * time.Millisecond
	gatherForOthers = time.Millisecond
)

// gathering says until when the proposals and the reads in the inbox wait for others, on the
// monotonic clock; 0: they don't.
type gathering struct{ proposals, reads int64 }

// proposalsWait returns how much longer a leader's proposals wait at most for the batch before
// them, to be on the leader's disk and committed; 0 or less: they don't.
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

// readsWait returns how much longer reads wait at most; 0 or less: they don't. They wait for the
// answer to the ReadIndex before, so that one ReadIndex stands for all reads that come meanwhile.
func (n *Node) readsWait() time.Duration {
	if len(n.reads) == 0 {
		return 0
	}
	return gatherForOthers - time.Duration(n.mono()-n.readSentAt)
}

// waitsForApplier has the applier wake the loop after each batch while the core waits for it. A
// batch that was applied just before did not wake the loop, so the core hears of it here.
func (n *Node) waitsForApplier() {
	n.applierWakes.Store(n.core.isBehind() || n.core.refusing)
	n.core.appliedTo(n.applied.Load().index)
}

// untilGathered returns how long the loop may sleep before proposals or reads in the inbox have
// waited long enough.
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

// drainInbox gives the core everything that has arrived. All proposals go as one batch, whether
// they come from this member or from others.
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

// dequeueReads passes on the reads that have arrived, unless they had better wait a moment.
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
	// The proposals came after the turn began. The turn's time is from before that: stamped with
	// it, keys would expire early (pitfall I1).
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

// parking holds the ids of requests that no leader has taken yet. Its limit is that of waiters.
type parking struct{ proposals, reads []uint64 }

// size returns the number of ids, with those that have no waiter any longer.
func (p *parking) size() int { return len(p.proposals) + len(p.reads) }

// park keeps requests until a leader takes them. When there could be more than maxWaiters ids, it
// drops those that have no waiter.
func (n *Node) park(place *[]uint64, ids ...uint64) {
	if len(*place)+len(ids) > maxWaiters {
		*place = n.waiters.living(*place)
	}
	*place = append(*place, ids...)
}

// dropDead drops the ids of parked requests and of reads that have no waiter any longer.
func (n *Node) dropDead() {
	n.parked.proposals = n.waiters.living(n.parked.proposals)
	n.parked.reads = n.waiters.living(n.parked.reads)
	for try, ids := range n.reads {
		if n.reads[try] = n.waiters.living(ids); len(n.reads[try]) == 0 {
			delete(n.reads, try)
		}
	}
}

// When there has been no leader for leaderlessTimeouts election timeouts, the proposals that wait
// for one may have maxLeaderlessBytes. An election is soon over, and proposals made during one wait
// for its end. Hours without a majority would fill the memory with proposals that all end the same
// way.
const (
	leaderlessTimeouts = 3
	maxLeaderlessBytes = 1 << 20
)

// refuseYoungest answers the youngest proposals with ErrNoLeader when more wait than may, for a
// leader that may never come.
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

// retryParked passes on what no leader has taken, when there is a leader. This member's own core is
// tried in every turn. Another leader is tried only when (1) it is a new one, (2) a tick has
// passed, or (3) there was no room on the way to it and now there is some: what it does not take
// now, it would not take one round trip later either.
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

// proposeOrForward proposes requests, at this member if it leads or at the leader, and parks those
// that no leader takes.
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
		if err := n.core.appendProposal(p); err != nil {
			n.handleRefusal(p.id, err)
		}
	}
}

// handleRefusal deals with a proposal that the leader has not taken. Some refusals pass: then the
// proposal is parked, and tried again.
func (n *Node) handleRefusal(id uint64, err error) {
	switch {
	case !n.waiters.withdraw(id):
	case err == errNotLeader, err == errHandingOver, err == errChanging, err == errUnheard:
		n.park(&n.parked.proposals, id)
	default:
		n.waiters.answer(id, outcome{err: err})
	}
}

// handleRefusals deals with this member's proposals that the leader, another member, has not taken.
func (n *Node) handleRefusals(refused []Refusal) {
	for i := range refused {
		n.handleRefusal(refused[i].ID, refused[i].err())
	}
}

// requestReadIndex makes one ReadIndex that stands for all these reads. It parks them when there is
// no leader to ask.
func (n *Node) requestReadIndex(ids []uint64) {
	if len(ids) == 0 {
		return
	}
	try := rand.Uint64() // a new id for every try (pitfall C3)
	if n.core.read(try) != nil {
		n.park(&n.parked.reads, ids...)
		return
	}
	n.reads[try], n.readSentAt = slices.Clone(ids), n.mono()
}

// retryReads parks the reads that have no answer yet, to ask again: their answers may be lost with
// a leader or a message (pitfall C5).
func (n *Node) retryReads() {
	n.readRetryTicks = n.core.ElectionTicks
	for try, ids := range n.reads {
		delete(n.reads, try)
		n.park(&n.parked.reads, ids...)
	}
}

// submit makes a request and waits for its outcome.
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

// enqueue leaves a request for the loop. The waiter gets its outcome, or ErrStopped, within
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

// wait returns the outcome of a request. It comes at the latest at the deadline that waiters keep.
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
		return <-w.result // the outcome came at the same moment
	}
}
