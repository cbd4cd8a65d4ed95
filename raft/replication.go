package raft

import "fmt"

// proposal is what a caller wants to have in the log as one entry.
type proposal struct {
	kind EntryKind
	id   uint64
	data []byte
}

// propose appends a proposal to the leader's log and returns its index.
func (c *core) propose(p proposal) (uint64, error) {
	switch {
	case c.role != Leader:
		return 0, errNotLeader
	case c.lead.target != None:
		return 0, errHandingOver
	case c.lead.uncommitted+len(p.data) > c.MaxUncommittedBytes && c.lead.uncommitted > 0:
		return 0, ErrOverloaded
	}
	c.logWall()
	if p.kind == EntryCommand && c.Mark != nil {
		p.data = c.Mark(p.data)
	}
	return c.appendOwn(Entry{Kind: p.kind, ID: p.id, Data: p.data}), nil
}

// proposeStamp appends an entry that carries nothing but the cluster's time, so that the state
// machine expires what is due.
func (c *core) proposeStamp() error {
	_, err := c.propose(proposal{kind: EntryEmpty})
	return err
}

// appendOwn appends one entry to the leader's own log; the leader only ever appends (fig. 3).
func (c *core) appendOwn(e Entry) uint64 {
	e.Index, e.Term, e.Stamp = c.log.last()+1, c.term, c.clock.time(&c.log)
	c.log.append(e)
	c.configs.append(&e)
	c.lead.uncommitted += entrySize(&e)
	return e.Index
}

// tickLeader sends heartbeats when they are due. A leader steps down when no majority answers it,
// and hands over or steps down when its own disk stands still.
func (c *core) tickLeader() {
	c.lead.ticks++
	for i := range c.lead.members {
		c.lead.members[i].quiet++
	}
	if c.lead.target != None {
		if c.lead.targetTicks++; c.lead.targetTicks >= c.ElectionTicks {
			c.lead.target = None
		}
	}
	switch {
	case !c.hasQuorum(), c.removed() && c.lead.target == None:
		c.becomeFollower(c.term, None) // CheckQuorum (diss. 6.2, pitfall F2)
		return
	case c.stalled == c.ElectionTicks: // pitfall F3
		c.transferToBest()
	case c.stalled >= 2*c.ElectionTicks && c.configs.now().quorum() > 1:
		c.becomeFollower(c.term, None)
		return
	}
	if c.lead.sinceBeat++; c.lead.sinceBeat >= c.HeartbeatTicks {
		c.beat()
	}
}

// hasQuorum reports whether a majority of the voters answered within an election timeout.
func (c *core) hasQuorum() bool {
	alive := 0
	for _, v := range c.configs.now().voters {
		if c.answers(v) {
			alive++
		}
	}
	return alive >= c.configs.now().quorum()
}

// answers reports whether a member answered the leader within an election timeout. The leader
// itself counts as answering.
func (c *core) answers(id uint64) bool {
	p := c.lead.progress(id)
	return id == c.ID || p != nil && p.quiet < c.ElectionTicks
}

// beat begins a round of heartbeats.
func (c *core) beat() {
	c.lead.round++
	c.lead.sinceBeat = 0
	for i := range c.lead.members {
		c.lead.members[i].roundTrip.begin(c.lead.round, c.lead.ticks)
		c.sendHeartbeat(&c.lead.members[i], c.lead.round)
	}
}

// sendHeartbeat tells a member how far the log that it has is committed (pitfalls F7, B4), and
// whether the leader hears it. A heartbeat of round 0 asks for no answer.
func (c *core) sendHeartbeat(p *progress, round uint64) {
	commit := min(p.match, c.commit)
	p.commitSent = max(p.commitSent, commit)
	c.send(Message{Kind: Heartbeat, To: p.id, Commit: commit, Round: round, Hint: c.lead.longestRTT(),
		Reject: !c.answers(p.id)})
}

// broadcastAppend answers each member's proposals, and sends the member the entries that it lacks,
// as far as its window allows.
func (c *core) broadcastAppend() {
	for i := range c.lead.members {
		p := &c.lead.members[i]
		c.answerProposals(p)
		for c.sendAppend(p) {
		}
		if p.sending == replicating && p.commitSent < min(p.match, c.commit) {
			c.sendHeartbeat(p, 0)
		}
	}
	c.beginReads()
}

// sendAppend sends one Append, and reports whether another one may follow.
func (c *core) sendAppend(p *progress) bool {
	if p.next <= c.log.base && p.takesEntries() {
		return c.sendFromDisk(p)
	}
	p.feed.drop()
	if p.paused(c.MaxInflightBytes) || p.sending == replicating && p.next > c.log.last() {
		return false
	}
	prev := p.next - 1
	var es []Entry
	if p.next <= c.log.last() {
		es = c.fitting(p, c.log.slice(p.next, c.log.last(), c.appendBytes(p)))
	}
	prevTerm, _ := c.log.term(prev)
	c.sendEntries(p, prev, prevTerm, es)
	return true
}

func (c *core) sendEntries(p *progress, prev, prevTerm uint64, es []Entry) {
	p.commitSent = max(p.commitSent, min(c.commit, prev+uint64(len(es))))
	c.send(Message{Kind: Append, To: p.id, Index: prev, LogTerm: prevTerm, Entries: es, Commit: c.commit})
	c.recordSent(p, es)
}

// sendFromDisk sends one Append of entries that are no longer in memory, and reports whether
// another one may follow. Catching up is a pipeline: while Appends are in flight, the entries of
// the last read wait to be sent, and the next read is under way.
func (c *core) sendFromDisk(p *progress) bool {
	if p.probe.out {
		return false
	}
	p.feed.from(p.next)
	if p.feed.bytes < c.MaxAppendBytes && !p.feed.fetching && !c.readOn(p) {
		c.sendSnapshot(p)
		return false
	}
	if len(p.feed.entries) == 0 || p.paused(c.MaxInflightBytes) {
		return false
	}
	part := c.fitting(p, upTo(c.appendBytes(p), p.feed.entries))
	c.sendEntries(p, p.next-1, p.feed.before, part)
	return true
}

// readOn asks the disk for the entries that follow those read ahead, unless they are in memory. It
// reports false when the disk no longer has them either: only a snapshot helps.
func (c *core) readOn(p *progress) bool {
	from := max(p.next, p.feed.last+1)
	if _, known := c.termBefore(from); !known && p.feed.last == 0 {
		from-- // the entry before it as well, for its term
	}
	switch {
	case from > c.log.base:
		return true
	case from < c.log.first:
		return false
	}
	p.feed.fetching = true
	c.out.Fetch = append(c.out.Fetch, Fetch{To: p.id, From: from, Last: c.log.base})
	return true
}

// termBefore returns the term of the entry before index, and whether it is known without the disk.
// It is known for the first index of all (term 0), and for the first one after the newest snapshot.
func (c *core) termBefore(index uint64) (uint64, bool) {
	switch index - 1 {
	case 0:
		return 0, true
	case c.snapshot.Index:
		return c.snapshot.Term, true
	}
	return 0, false
}

// fetched adds entries that were read from the disk for a member to those read ahead. No entries
// mean that they could not be read, or are longer than the newest snapshot: the member gets a
// snapshot instead (pitfall B15). Entries that do not follow those read ahead are dropped, since
// the member's progress has changed meanwhile.
func (c *core) fetched(to uint64, es []Entry) {
	p := c.lead.progress(to)
	if p == nil || !p.feed.fetching {
		return
	}
	p.feed.fetching = false
	if len(es) == 0 {
		if p.next <= c.log.base && p.takesEntries() {
			c.sendSnapshot(p)
		}
		return
	}
	f := &p.feed
	if f.last == 0 {
		var known bool
		if f.before, known = c.termBefore(es[0].Index); !known {
			f.before, es = es[0].Term, es[1:]
		}
	} else if es[0].Index != f.last+1 {
		return
	}
	if len(es) > 0 {
		f.add(es)
		f.from(p.next)
	}
}

// probeBytes is about how many bytes of entries go with a probe. They are few, because a probe may
// have to be sent more than once.
const probeBytes = 64 << 10

// fitting returns es, or none of them for a probe that would be large. A probe finds out without
// entries whether the logs agree. And the more bytes a probe has, the later its loss is noticed:
// its timeout allows for a slow link.
func (c *core) fitting(p *progress, es []Entry) []Entry {
	if p.sending == probing && entriesSize(es) > 2*probeBytes {
		return nil
	}
	return es
}

// appendBytes is how many bytes of entries may go in one Append to a member.
func (c *core) appendBytes(p *progress) int {
	if p.sending == probing {
		return min(probeBytes, c.MaxAppendBytes)
	}
	return c.MaxAppendBytes
}

// handleAppend does what §5.3 asks of the receiver of an Append.
func (c *core) handleAppend(m *Message) {
	es, prev := m.Entries, m.Index
	switch {
	case prev < c.commit: // committed entries can't conflict, and may no longer be in memory (pitfall E3)
		skip := min(uint64(len(es)), c.commit-prev)
		es, prev = es[skip:], prev+skip
		if prev < c.commit {
			c.sendDurable(Message{Kind: AppendAnswer, To: m.From, Index: c.commit}, c.commit)
			return
		}
	case c.refusing && c.refusedIn == c.term && prev > c.log.last():
		return // it follows an Append that was dropped; a refusal would have the leader send both again
	case !c.log.matches(prev, m.LogTerm):
		hint, term := c.log.findConflict(min(prev, c.log.last()), m.LogTerm)
		c.send(Message{Kind: AppendAnswer, To: m.From, Reject: true, Index: prev, Hint: hint, LogTerm: term,
			Commit: c.commit})
		return
	}
	if prev == c.log.last() && len(es) > 0 && (c.refusing || c.isFull()) {
		// without an answer the leader's window fills up, and it sends no more until appliedTo asks
		c.refusing, c.refusedIn = true, c.term
		return
	}
	c.store(es)
	last := prev + uint64(len(es))
	c.commitTo(min(m.Commit, last)) // no further than this message proves (pitfall B4)
	c.sendDurable(Message{Kind: AppendAnswer, To: m.From, Index: last}, last)
}

// store appends the entries that the log lacks. It truncates the log only from the first entry on
// whose term differs: a message that is old, or comes twice, must not shorten the log (pitfall B3).
func (c *core) store(es []Entry) {
	for i := range es {
		e := &es[i]
		if c.log.matches(e.Index, e.Term) {
			continue
		}
		if e.Index <= c.log.last() {
			c.truncateLog(e.Index)
		}
		c.log.append(es[i:]...)
		for j := range es[i:] {
			c.configs.append(&es[i+j])
		}
		c.checkIncarnation()
		return
	}
}

// commitTo moves a follower's commit index. A leader names no entry beyond those that it sends, or
// that the member has acknowledged as on its disk. If the log ends before index, the disk has lost
// some of these: it was emptied, or an old copy took its place (pitfalls D10, D11).
func (c *core) commitTo(index uint64) {
	if index > c.log.last() {
		c.broken = fmt.Errorf("raft: the log of this member ends at %d, but it has acknowledged up to %d: its data "+
			"directory is an old copy; remove the member, empty the directory and add it anew",
			c.log.last(), index)
		return
	}
	c.setCommit(max(c.commit, index))
}

// setCommit is the only place where the commit index moves, except core.install.
func (c *core) setCommit(index uint64) {
	if index > c.commit {
		c.unapplied += entriesSize(c.log.slice(c.commit+1, index, maxInt))
		c.commit = index
	}
}

// handleHeartbeat answers with the state of this member's log: its last entry, and the highest
// index on disk.
func (c *core) handleHeartbeat(m *Message) {
	c.commitTo(m.Commit)
	if l := &c.log; m.Round != 0 {
		c.send(Message{Kind: HeartbeatAnswer, To: m.From, Round: m.Round, Index: l.last(), LogTerm: l.lastTerm(),
			Hint: l.durable})
	}
}

// handleHeartbeatAnswer finds out whether an Append or its answer was lost, even while nobody
// writes (pitfall B10). If the member's last entry is in the leader's log, so is every entry before
// it (§5.3, log matching). The leader finds it in memory, or in the window when it has just been
// sent from the disk. Otherwise a probe finds out.
func (c *core) handleHeartbeatAnswer(m *Message) {
	p := c.lead.progress(m.From)
	if p == nil {
		return
	}
	p.quiet, p.heard, p.disconnected = 0, true, false
	p.roundTrip.end(m.Round, c.lead.ticks, c.ElectionTicks)
	same := c.log.matches(m.Index, m.LogTerm) || p.window.endsWith(m.Index, m.LogTerm)
	p.endPause(m.Round)
	if arrived := same && m.Index >= p.next && m.Hint < m.Index; !arrived { // if it has, only the disk is awaited
		p.giveUpProbe(m.Round, c.lead.ticks)
	}
	p.round = max(p.round, m.Round)
	switch {
	case c.overdue(p) && (m.Index < p.window.inflight[0].last || !same):
		p.losses++
		p.becomeProbing(p.match + 1)
	case p.sending == replicating && same:
		c.acknowledged(p, min(m.Index, m.Hint))
	}
	c.promote(p)
	c.releaseReads()
}

func (c *core) handleAppendAnswer(m *Message) {
	p := c.lead.progress(m.From)
	if p == nil {
		return
	}
	p.quiet, p.heard, p.disconnected = 0, true, false
	if m.Reject {
		c.handleReject(p, m)
		return
	}
	if m.Index > c.log.last() {
		return // from a life in which it had more: see pitfall D11
	}
	c.acknowledged(p, m.Index)
}

// acknowledged records that a member has the log up to index on disk.
func (c *core) acknowledged(p *progress, index uint64) {
	if p.advance(index) {
		c.advanceCommit()
		c.sendTimeoutNow(p)
	}
}

// handleReject goes back to the last entry that both logs may have. While this leader probes, only
// the refusal of the last probe counts (pitfall B8), or a member's request for the entry that it
// dropped (see appliedTo).
func (c *core) handleReject(p *progress, m *Message) {
	asked := m.Index == p.next && m.Hint == p.next-1
	stale := p.sending == probing && m.Index != p.next-1 && !asked || m.Index <= p.match
	if stale || !p.takesEntries() {
		return
	}
	hint := m.Hint
	switch {
	case hint > c.log.base:
		hint, _ = c.log.findConflict(min(hint, c.log.last()), m.LogTerm)
	case m.Index <= c.log.base && !asked: // terms not in memory; what the member knows to be committed agrees
		hint = min(hint, max(m.Commit, c.log.first))
	}
	p.becomeProbing(min(hint+1, m.Index))
}

// advanceCommit moves the commit index to the highest entry that a majority has on disk, but only
// if that entry is of the leader's own term (§5.4.2, fig. 8).
func (c *core) advanceCommit() {
	index := c.quorumOf(c.log.durable, func(p *progress) uint64 { return p.match })
	if index <= c.commit || !c.log.matches(index, c.term) {
		return
	}
	before := c.unapplied
	c.setCommit(index)
	c.lead.uncommitted -= c.unapplied - before
	c.configCommitted()
	c.beginReads()
}

// quorumOf returns the highest value that a majority of the voters has reached. The value of this
// member is own.
func (c *core) quorumOf(own uint64, value func(*progress) uint64) uint64 {
	var room [8]uint64
	values := room[:0]
	for _, v := range c.configs.now().voters {
		if v == c.ID {
			values = append(values, own)
		} else {
			values = append(values, value(c.lead.progress(v)))
		}
	}
	return majorityReached(values)
}
