package raft

import (
	"context"
	"math/rand/v2"
	"time"
)

// request is a proposal on its way to the core, or a read, which has nothing but the id. The id is that of its waiter; 0 when nobody waits.
type request struct {
	proposal
	read bool
}

// How long a leader's proposals may wait, so that they go as one batch: for its own disk, and for the other members. A disk that takes longer
// holds nobody up, since the others may be a majority without it; nor do members that are far away.
const (
	gatherForDisk   = 10 * time.Millisecond
	gatherForOthers = time.Millisecond
)

// proposalsWait returns how much longer a leader's proposals wait at most, if they do: until its disk has the batch before, and that is committed.
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

// waitsForApplier has the applier wake the loop after each batch, as long as the core waits for it.
func (n *Node) waitsForApplier() { n.awaited.Store(n.core.isBehind() || n.core.refusing) }

// untilGathered is how long the loop may sleep for the sake of proposals that wait.
func (n *Node) untilGathered() time.Duration {
	if left := n.proposalsWait(); left > 0 && (len(n.proposed) > 0 || n.inbox.holds()) {
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
	if n.waitsForApplier(); n.proposalsWait() > 0 || n.core.isBehind() {
		return
	}
	proposals := n.inbox.proposals.take(&n.inbox.mu)
	n.core.advance(n.mono()) // they came after the turn began: with its time, from before they were made, keys would expire early (pitfall I1)
	last := n.core.log.last()
	for _, m := range n.proposed {
		n.core.step(m)
	}
	n.proposed = nil
	n.passAll(proposals)
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
	taken := n.core.forward(batch)
	n.stats.Forwarded.Add(uint64(taken))
	n.waiters.asked(requests[:taken], n.core.term)
	n.parked = append(n.parked, requests[taken:]...)
}

// refused deals with a proposal that the leader has not taken: some may be made again.
func (n *Node) refused(r *request, err error) {
	switch err {
	case errNotLeader, errHandingOver, errChanging, errUnheard:
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
		n.parkReads(ids)
	}
}

// parkReads lets reads wait until they are tried again.
func (n *Node) parkReads(ids []uint64) {
	for _, id := range ids {
		n.parked = append(n.parked, request{proposal: proposal{id: id}, read: true})
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
