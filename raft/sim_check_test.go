package raft

import (
	"reflect"
	"slices"
)

// simChecker knows what all members together have done, and compares each new action with it. It
// looks only at what a step has changed.
type simChecker struct {
	w       *simWorld
	log     [][]simRecord     // by index: the entries that any log has held there, seldom more than one
	agreed  []simAgreed       // by index: committed
	configs []simConfig       // committed, by index
	leaders []uint64          // by term
	digests []uint64          // by index: of the state after it
	bodies  map[uint64]uint64 // by index: hash of the snapshot's bytes

	proposals []uint64  // by id: the index it was agreed at, or refusedForEver
	moments   int       // counter that orders the beginnings and ends of calls in the histories
	events    []simTold // by index of the store

	requests map[uint64]*simRequest // by proposal: several may have the same
	loads    map[uint64]simLoad     // by proposal

	latestTerm   uint64 // the latest term that had a leader
	settledIndex uint64 // the highest index that an answered client knows of

	// The cluster clock and the simulation's at the first agreed entry that a leader stamped: from
	// then on the cluster clock runs no faster than the fastest clock (pitfalls I1, I2, I3).
	clockStart, clockStartedAt int64
}

// What becomes of a proposal that is not agreed: it was refused and is in no log (pitfall G2), or
// it is dead: no leader will ever commit it (pitfall G3).
const (
	refusedForEver = ^uint64(0) - iota
	deadForEver
)

// simRecord is what all logs that hold an entry of this index and term must agree on. By induction
// they agree on all entries before it, too (log matching, §5.3).
type simRecord struct {
	entry  Entry
	before uint64 // the term of the entry before it
	sum    uint64 // of the content
}

// simAgreed is a committed entry.
type simAgreed struct {
	term      uint64
	committer uint64 // term of the leader that committed it
	bytes     int    // of all entries up to this one
}

type simConfig struct {
	index      uint64
	membership Membership
}

// simSeen is what the checker knows of one process. Its term, its vote and spoken outlive a crash.
type simSeen struct {
	term, vote uint64
	spoken     State // the latest term in which it sent a message, and its vote in that term
	role       Role
	commit     uint64
	base, last uint64
	lastTerm   uint64
	terms      []uint64 // by index, of its log
	configs    []simConfig
	undid      bool // it has dropped a change of the membership, in some life
}

func newSimChecker(w *simWorld, first []Entry) simChecker {
	k := simChecker{w: w, bodies: map[uint64]uint64{}, requests: map[uint64]*simRequest{}, loads: map[uint64]simLoad{},
		leaders: make([]uint64, 2), proposals: make([]uint64, 1), events: make([]simTold, 1)}
	n := len(first) + 1
	k.log, k.agreed, k.digests = make([][]simRecord, n), make([]simAgreed, n), make([]uint64, n)
	k.configs = []simConfig{{membership: simCluster}}
	for i := range first {
		e := &first[i]
		k.log[e.Index] = []simRecord{{entry: *e, before: min(e.Index-1, 1), sum: simSum(e)}}
		k.agreed[e.Index] = simAgreed{term: e.Term, bytes: k.agreed[e.Index-1].bytes + entrySize(e)}
		k.noteConfig(e)
	}
	return k
}

func (k *simChecker) commit() uint64 { return uint64(len(k.agreed) - 1) }

// bytesAfter is the size of the agreed entries after an index.
func (k *simChecker) bytesAfter(index uint64) int {
	return k.agreed[k.commit()].bytes - k.agreed[index].bytes
}

func (k *simChecker) newID() uint64 {
	k.proposals = append(k.proposals, 0)
	return uint64(len(k.proposals) - 1)
}

func (k *simChecker) refused(id uint64) { k.proposals[id] = refusedForEver }

// simRequest is a write that may be proposed several times.
type simRequest struct {
	op    simOp
	first uint64 // entry that executes it
}

// asks records that a call's write is proposed, for the first time or again.
func (k *simChecker) asks(c *simCall) {
	if c.op.request == 0 {
		return
	}
	if c.request == nil {
		c.request = &simRequest{op: c.op}
	}
	k.requests[c.id] = c.request
}

// executes reports whether an entry executes its command. Members apply the log in order, so the
// first such entry that one of them applies is the first in the log.
func (k *simChecker) executes(e *Entry) bool {
	r := k.requests[e.ID]
	if r != nil && r.first == 0 {
		r.first = e.Index
	}
	return r == nil || r.first == e.Index
}

// dead: a proposal that a member gives up, because it applies an entry of a later term, is not
// agreed and never will be.
func (k *simChecker) dead(id uint64) {
	if at := k.proposals[id]; at != 0 {
		k.w.violated("a proposal that is given up for dead was refused, or is agreed at %d", at)
	}
	k.proposals[id] = deadForEver
}

func (k *simChecker) moment() int {
	k.moments++
	return k.moments
}

// simSum is a digest of an entry's content.
func simSum(e *Entry) uint64 {
	h := simMix(simMix(uint64(e.Kind), e.ID), uint64(e.Stamp))
	for _, b := range e.Data[:min(len(e.Data), 2000)] { // longer data differ in their beginning
		h = (h ^ uint64(b)) * 1099511628211
	}
	return simMix(h, uint64(len(e.Data)))
}

// booting compares what a start finds on the disk with what the process has said (pitfalls A1, A2,
// A4, B12).
func (k *simChecker) booting(p *simProcess, b *boot) {
	s := &p.seen
	switch {
	case b.State.Term < s.spoken.Term:
		k.w.violated("n%x spoke in term %d and remembers term %d", p.id, s.spoken.Term, b.State.Term)
	case b.State.Term == s.spoken.Term && s.spoken.Vote != None && b.State.Vote != s.spoken.Vote:
		k.w.violated("n%x voted for n%x in term %d and remembers n%x", p.id, s.spoken.Vote, b.State.Term, b.State.Vote)
	}
	base := b.base()
	*s = simSeen{term: b.State.Term, vote: b.State.Vote, spoken: s.spoken, base: base.Index, last: base.Index,
		lastTerm: base.Term, terms: make([]uint64, base.Index+1), commit: base.Index}
	s.configs = []simConfig{{base.Index, base.Membership}}
}

// after is called after every input, before its effects are carried out.
func (k *simChecker) after(p *simProcess, e *Effects) {
	c, s := p.core, &p.seen
	if e.Restore != nil {
		k.installed(p, e.Restore)
	}
	k.checkTerm(p)
	if c.role == Leader && (s.role != Leader || s.term != c.term) {
		k.elected(p)
	}
	k.checkLog(p)
	if c.commit != s.commit {
		k.checkCommit(p)
	}
	if c.refusing { // its state machine lags
		k.w.trouble(0)
	}
	k.checkBounds(p, e)
	if k.w.trace != nil && (c.role != s.role || c.term != s.term || c.commit != s.commit) {
		k.w.tracef("%s n%x %v term=%d commit=%d last=%d@%d", k.w.clock(), p.id, roleNames[c.role], c.term, c.commit,
			c.log.last(), c.log.lastTerm())
	}
	s.role, s.term, s.vote, s.commit = c.role, c.term, c.vote, c.commit
}

var roleNames = [...]string{Follower: "Follower", PreCandidate: "PreCandidate", Candidate: "Candidate",
	Leader: "Leader"}

// checkTerm: a term never falls; a member has one vote in a term (§5.2; pitfalls A1, A3, A5).
func (k *simChecker) checkTerm(p *simProcess) {
	c, s := p.core, &p.seen
	switch {
	case c.term < s.term:
		k.w.violated("n%x went back from term %d to %d", p.id, s.term, c.term)
	case c.term == s.term && s.vote != None && c.vote != s.vote:
		k.w.violated("n%x voted for n%x in term %d and now for n%x", p.id, s.vote, c.term, c.vote)
	}
}

// elected: election safety and leader completeness hold (fig. 3).
func (k *simChecker) elected(p *simProcess) {
	c := p.core
	k.w.count(countElections)
	k.checkChange(p)
	k.w.troubled = max(k.w.troubled, k.w.now)
	if other := k.leaderOf(c.term); other != None {
		k.w.violated("election safety: n%x and n%x led in term %d", other, p.id, c.term)
	}
	k.leaders[c.term] = p.id
	k.w.welcome(p)
	k.latestTerm = max(k.latestTerm, c.term)
	for i := k.commit(); i > 0; i-- {
		if k.agreed[i].committer < c.term {
			k.mustHold(p, i)
			return
		}
	}
}

// leaderOf returns the leader of a term, or None.
func (k *simChecker) leaderOf(term uint64) uint64 {
	for uint64(len(k.leaders)) <= term {
		k.leaders = append(k.leaders, None)
	}
	return k.leaders[term]
}

// mustHold: a leader's log holds every entry that was committed in an earlier term.
func (k *simChecker) mustHold(p *simProcess, index uint64) {
	if l := &p.core.log; index >= l.base && !l.matches(index, k.agreed[index].term) {
		k.w.violated("leader completeness: n%x leads term %d without entry %d@%d, committed in term %d",
			p.id, p.core.term, index, k.agreed[index].term, k.agreed[index].committer)
	}
}

// checkLog finds what has changed in a log since the last check: it goes back from the end to the
// first entry that is the same. All entries before that one are the same, too.
func (k *simChecker) checkLog(p *simProcess) {
	l, s := &p.core.log, &p.seen
	last, lastTerm := l.last(), l.lastTerm()
	if last == s.last && lastTerm == s.lastTerm {
		return
	}
	same := last
	for same > l.base && !(same <= s.last && s.terms[same] == l.at(same).Term) {
		same--
	}
	if same < s.last {
		k.truncated(p, same)
	}
	for i := same + 1; i <= last; i++ {
		k.appended(p, i)
	}
	s.last, s.lastTerm = last, lastTerm
	k.checkConfig(p)
}

// truncated: a leader never shortens its log (fig. 3), and no member drops a committed entry
// (pitfalls B3, E1).
func (k *simChecker) truncated(p *simProcess, last uint64) {
	s := &p.seen
	if s.role == Leader && p.core.role == Leader && s.term == p.core.term {
		k.w.violated("leader append-only: n%x dropped its entries after %d", p.id, last)
	}
	for i := max(last, p.core.log.base) + 1; i <= min(s.last, k.commit()); i++ {
		if a := &k.agreed[i]; s.terms[i] == a.term && a.committer <= p.core.term && i >= s.base {
			k.w.violated("n%x dropped entry %d@%d, which is committed", p.id, i, s.terms[i])
		}
	}
	for len(s.configs) > 1 && s.configs[len(s.configs)-1].index > last {
		s.configs = s.configs[:len(s.configs)-1]
		s.undid = true
	}
	s.terms = s.terms[:min(last+1, uint64(len(s.terms)))]
}

// appended: one term, one content, one past (log matching); the cluster clock never goes back along
// a log.
func (k *simChecker) appended(p *simProcess, index uint64) {
	l, s := &p.core.log, &p.seen
	e := l.at(index)
	before, _ := l.term(index - 1)
	if index > l.base+1 && e.Stamp < l.at(index-1).Stamp {
		k.w.violated("n%x: the stamp of entry %d is before that of the entry before it", p.id, index)
	}
	k.record(p, simRecord{entry: *e, before: before, sum: simSum(e)})
	s.terms = append(s.terms, e.Term)
	if e.Kind == EntryChange {
		change, _ := decodeChange(e.Data)
		k.w.trouble(0) // entries agreed by a quorum may now have to wait for other members
		s.configs = append(s.configs, simConfig{index, s.configs[len(s.configs)-1].membership.Apply(change)})
	}
}

func (k *simChecker) record(p *simProcess, r simRecord) {
	e := &r.entry
	if known := k.find(e.Index, e.Term); known != nil {
		if known.before != r.before || known.sum != r.sum {
			k.w.violated("log matching: n%x has another entry %d@%d, or another one before it", p.id, e.Index, e.Term)
		}
		return
	}
	if leader := k.leaderOf(e.Term); leader != p.id {
		k.w.violated("entry %d@%d came up at n%x, and the leader of that term was n%x", e.Index, e.Term, p.id, leader)
	}
	if e.ID != 0 && k.proposals[e.ID] == refusedForEver {
		k.w.violated("entry %d@%d holds a proposal that was refused", e.Index, e.Term)
	}
	if own := k.agreed[min(p.core.commit, k.commit())].term == e.Term; e.Kind == EntryChange && !own {
		// pitfall D1
		k.w.violated("n%x changes the membership by %d@%d before anything of its term is committed", p.id,
			e.Index, e.Term)
	}
	k.checkStamp(e)
	k.log[e.Index] = append(k.log[e.Index], r)
}

func (k *simChecker) find(index, term uint64) *simRecord {
	for uint64(len(k.log)) <= index {
		k.log = append(k.log, nil)
	}
	for i := range k.log[index] {
		if r := &k.log[index][i]; r.entry.Term == term {
			return r
		}
	}
	return nil
}

// checkStamp: the cluster clock runs no faster than the fastest of the members' clocks. Entries of
// a leader that was deposed before the latest commit are skipped: its cluster clock may differ.
func (k *simChecker) checkStamp(e *Entry) {
	const fastest = 1.1001
	if e.Term < k.agreed[k.commit()].committer {
		return
	}
	if limit := k.clockStart + int64(fastest*float64(k.w.now-k.clockStartedAt)); k.clockStart > 0 && e.Stamp > limit {
		k.w.violated("the cluster clock is %d ns too fast at entry %d@%d", e.Stamp-limit, e.Index, e.Term)
	}
}

// installed: a snapshot replaces only committed entries, and entries that follow it are kept
// (pitfall E1).
func (k *simChecker) installed(p *simProcess, snapshot *Snapshot) {
	s, base := &p.seen, snapshot.Index
	switch {
	case base > k.commit() || snapshot.Term != k.agreed[base].term:
		k.w.violated("n%x installed a snapshot %d@%d, which is not committed", p.id, base, snapshot.Term)
	case base > s.base && base < s.last && s.terms[base] == snapshot.Term:
		k.w.violated("n%x dropped what followed the snapshot at %d in its log", p.id, base)
	}
	config := k.configAt(base)
	if !reflect.DeepEqual(config.membership, snapshot.Membership) {
		k.w.violated("the snapshot at %d holds the members %v, not %v", base, snapshot.Membership, config.membership)
	}
	s.base, s.last, s.lastTerm = base, base, snapshot.Term
	s.terms = make([]uint64, base+1)
	s.configs = []simConfig{{base, config.membership}}
}

// configAt returns the committed configuration at an index.
func (k *simChecker) configAt(index uint64) simConfig {
	for i := len(k.configs) - 1; ; i-- {
		if k.configs[i].index <= index {
			return k.configs[i]
		}
	}
}

// checkConfig: the configuration in force is the last one in the log (pitfalls D3, D4), and at most
// one configuration is not yet agreed (pitfall D2).
func (k *simChecker) checkConfig(p *simProcess) {
	s, now := &p.seen, p.core.configs.now()
	top := s.configs[len(s.configs)-1]
	if now.index != top.index || !slices.Equal(now.voters, newConfig(0, 0, top.membership).voters) {
		k.w.violated("n%x goes by the configuration of entry %d, but the last one in its log is that of %d", p.id,
			now.index, top.index)
	}
	if n := len(s.configs); n > 1 && s.configs[n-2].index > k.commit() {
		k.w.violated("two changes are under way in the log of n%x: %d and %d", p.id, s.configs[n-2].index, top.index)
	}
}

// checkCommit: a committed entry stays, and is the same at all members.
func (k *simChecker) checkCommit(p *simProcess) {
	c, s := p.core, &p.seen
	if c.commit < s.commit {
		k.w.violated("the commit index of n%x fell from %d to %d", p.id, s.commit, c.commit)
	}
	if c.commit > k.commit() {
		k.agree(p)
	}
	if t, ok := c.log.term(c.commit); ok && t != k.agreed[c.commit].term {
		k.w.violated("state machine safety: n%x committed %d@%d, but %d@%d is committed", p.id, c.commit, t, c.commit,
			k.agreed[c.commit].term)
	}
}

// agree records newly committed entries. Only a leader may be the first to commit them, and a
// majority must have them on disk (pitfalls A4, B9).
func (k *simChecker) agree(p *simProcess) {
	c, s := p.core, &p.seen
	if c.role != Leader && s.role != Leader {
		k.w.violated("n%x, which does not lead, committed %d", p.id, c.commit)
	}
	if term := s.terms[c.commit]; term != c.term {
		// §5.4.2, pitfall B1
		k.w.violated("n%x, which leads in term %d, commits %d@%d by counting", p.id, c.term, c.commit, term)
	}
	k.checkMajority(p)
	for i := k.commit() + 1; i <= c.commit; i++ {
		e := &k.find(i, s.terms[i]).entry
		k.agreed = append(k.agreed, simAgreed{term: e.Term, committer: c.term, bytes: k.agreed[i-1].bytes +
			entrySize(e)})
		k.noteConfig(e)
		k.noteProposal(e)
	}
	for _, q := range k.w.processes {
		if q.core != nil && q.core.role == Leader && q.core.term > c.term {
			k.mustHold(q, c.commit)
		}
	}
	if k.clockStart == 0 {
		k.startClock()
	}
}

func (k *simChecker) checkMajority(p *simProcess) {
	c, have := p.core, 0
	term := p.seen.terms[c.commit]
	voters := c.configs.now().voters
	for _, v := range voters {
		if k.w.processes[v-1].disk.has(c.commit, term) {
			have++
		}
	}
	if have <= len(voters)/2 {
		k.w.violated("n%x committed %d@%d, which %d of %d voters have on disk", p.id, c.commit, term, have, len(voters))
	}
}

// noteProposal: no proposal is agreed twice, nor after its client was told that it may propose it
// again (pitfalls G2, G3).
func (k *simChecker) noteProposal(e *Entry) {
	if e.ID == 0 {
		return
	}
	k.tookLoad(e)
	switch at := k.proposals[e.ID]; at {
	case 0:
	case refusedForEver, deadForEver:
		k.w.violated("a proposal that was refused, or given up for dead, is committed at %d", e.Index)
	default:
		k.w.violated("one proposal is committed twice, at %d and %d", at, e.Index)
	}
	k.proposals[e.ID] = e.Index
}

func (k *simChecker) noteConfig(e *Entry) {
	if e.Kind != EntryChange {
		return
	}
	change, _ := decodeChange(e.Data)
	before := k.configs[len(k.configs)-1].membership
	k.configs = append(k.configs, simConfig{e.Index, before.Apply(change)})
	k.w.trouble(0)
	if k.w.count(countChanges); change.Kind == ChangePromote {
		k.w.count(countPromotions)
	}
	if _, was := before.Find(change.Member.ID); change.Kind == ChangeRemove && was {
		k.w.retire(change.Member.ID)
	}
}

// isMember reports whether the committed membership holds a member.
func (k *simChecker) isMember(id uint64) bool {
	_, is := k.configs[len(k.configs)-1].membership.Find(id)
	return is
}

func (k *simChecker) startClock() {
	for _, p := range k.w.running() {
		p.core.advance(p.mono())
		k.clockStart = max(k.clockStart, p.core.clock.time(&p.core.log))
	}
	k.clockStartedAt = k.w.now
}

// said: a message leaves only when the disk holds what makes it true (pitfalls A1, A4, B5, B9).
func (k *simChecker) said(p *simProcess, m *Message) {
	asked := m.Kind == PreVote || m.Kind == PreVoteAnswer && !m.Reject
	d := p.disk.remembers()
	if !asked && d.Term < m.Term {
		k.w.violated("n%x speaks in term %d, and its disk knows term %d: %v", p.id, m.Term, d.Term, m)
	}
	switch {
	case m.Kind == Vote:
		k.voted(p, m, p.id)
	case m.Kind == VoteAnswer && !m.Reject:
		k.voted(p, m, m.To)
	case m.Kind == AppendAnswer && !m.Reject:
		if term, ok := k.termOf(p, m.Index); !ok || !p.disk.has(m.Index, term) {
			k.w.violated("n%x says that it has %d@%d, which is not on its disk", p.id, m.Index, term)
		}
	}
	if !asked && m.Term > p.seen.spoken.Term {
		p.seen.spoken = State{Term: m.Term}
	}
}

func (k *simChecker) voted(p *simProcess, m *Message, to uint64) {
	d, spoken := p.disk.remembers(), &p.seen.spoken
	if d.Term == m.Term && d.Vote != to {
		k.w.violated("n%x says that it votes for n%x in term %d, and its disk says n%x", p.id, to, m.Term, d.Vote)
	}
	if spoken.Term == m.Term && spoken.Vote != None && spoken.Vote != to {
		k.w.violated("n%x votes for n%x in term %d, after n%x", p.id, to, m.Term, spoken.Vote)
	}
	*spoken = State{Term: m.Term, Vote: to}
}

// termOf returns the term of an entry that is in a process's memory or is committed.
func (k *simChecker) termOf(p *simProcess, index uint64) (uint64, bool) {
	if t, ok := p.core.log.term(index); ok {
		return t, true
	}
	if index <= k.commit() {
		return k.agreed[index].term, true
	}
	return 0, false
}

// stepped: an Append proves only that the log agrees with the leader's up to the end of the Append
// (pitfall B4). And what a leader believes to be on a member's disk is there, unless the member has
// begun a later term (pitfalls B5, B8, B9).
func (k *simChecker) stepped(p *simProcess, m *Message, commit uint64) {
	if proven := m.Index + uint64(len(m.Entries)); p.core != nil && m.Kind == Append &&
		p.core.commit > max(commit, proven) {
		k.w.violated("n%x commits %d because of a message that ends at %d", p.id, p.core.commit, proven)
	}
	if p.core == nil || p.core.role != Leader || m.Kind != AppendAnswer && m.Kind != HeartbeatAnswer {
		return
	}
	member := p.core.lead.progress(m.From)
	if member == nil || k.w.processes[m.From-1].disk.remembers().Term > p.core.term {
		return
	}
	if t, ok := k.termOf(p, member.match); !ok || !k.w.processes[m.From-1].disk.has(member.match, t) {
		k.w.violated("n%x believes that n%x has %d@%d on its disk", p.id, m.From, member.match, t)
	}
}

// untouched: a PreVote, and a message with another member's address, change nothing (pitfalls A7,
// B11).
func (k *simChecker) untouched(p *simProcess, m *Message) func() {
	before := simFaceOf(p.core)
	return func() {
		if after := simFaceOf(p.core); after != before {
			k.w.violated("%v changed n%x from %+v to %+v", m, p.id, before, after)
		}
	}
}

// simFace is the part of a core's state that a message may change.
type simFace struct {
	term, vote, leader, commit, last, durable uint64
	role                                      Role
	quiet, patience                           int
}

func simFaceOf(c *core) simFace {
	return simFace{c.term, c.vote, c.leader, c.commit, c.log.last(), c.log.durable, c.role, c.quiet, c.electionTimeout}
}

// applying: entries are applied one after the other, each only when it is agreed, and the same one
// everywhere (state machine safety, fig. 3; pitfalls C6, I6).
func (k *simChecker) applying(p *simProcess, e *Entry) {
	switch {
	case e.Index != p.applied+1:
		k.w.violated("n%x applies %d after %d", p.id, e.Index, p.applied)
	case e.Index > k.commit() || e.Term != k.agreed[e.Index].term:
		k.w.violated("state machine safety: n%x applies %d@%d, which is not committed", p.id, e.Index, e.Term)
	case !p.disk.has(e.Index, e.Term):
		k.w.violated("n%x applies %d@%d, which is not on its disk", p.id, e.Index, e.Term)
	}
}

// applied: the same state after the same entry everywhere.
func (k *simChecker) applied(p *simProcess) {
	if p.spoiled != 0 {
		return // on purpose
	}
	for uint64(len(k.digests)) <= p.applied {
		k.digests = append(k.digests, 0)
	}
	sum := p.machine.digest()
	if k.digests[p.applied] == 0 {
		k.digests[p.applied] = sum
	}
	k.restored(p)
}

// restored: a snapshot holds the state of its index (pitfalls E7, E8).
func (k *simChecker) restored(p *simProcess) {
	if k.digests[p.applied] != p.machine.digest() {
		k.w.violated("the state of n%x at %d is not that of the others", p.id, p.applied)
	}
}
