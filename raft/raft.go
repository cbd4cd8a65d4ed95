package raft

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// coreConfig are the parameters of a core.
type coreConfig struct {
	ID             uint64
	ElectionTicks  int // an election timeout; each wait is drawn from [ElectionTicks, 2·ElectionTicks)
	HeartbeatTicks int
	Rand           *rand.Rand
	Wall           int64 // wall clock at the start in Unix nanoseconds: the very first stamp of a cluster

	WallCommand func(offset time.Duration) []byte // as in Config; a pure function
	Mark        func(cmd []byte) []byte           // as in Config; nil: commands stay as they are

	MaxAppendBytes      int // entries of one Append
	MaxWriteBytes       int // entries of one write to the disk
	MaxInflightBytes    int // entries on their way to one member
	MaxUncommittedBytes int // entries proposed and not yet committed
	MaxTailBytes        int // entries kept in memory for members that lag
	MaxUnappliedBytes   int // entries committed and not yet applied
}

// boot is what a core starts from: everything that survived on its disk.
type boot struct {
	State    State
	Snapshot Snapshot // Index 0 when there is none
	Replayed Snapshot // the last entry that the state machine has applied behind Snapshot; Index 0: none
	Entries  []Entry  // after these two, without gaps
	First    uint64   // lowest index that the disk still has; 0 means Snapshot.Index+1

	Incarnation uint64 // of the disk; 0: it was made by a version that had none
}

// base returns the state that Entries follow, which is committed and applied.
func (b *boot) base() *Snapshot {
	if b.Replayed.Index > b.Snapshot.Index {
		return &b.Replayed
	}
	return &b.Snapshot
}

// last returns the index of the log's last entry.
func (b *boot) last() uint64 { return b.base().Index + uint64(len(b.Entries)) }

// core is one member's part in Raft, as a pure state machine. Inputs are advance, tick, step,
// propose, proposeChange, proposeStamp, forward, read, transfer, persisted, fetched, sent, lost,
// dropped, appliedTo and compact. After any number of them, effects returns what the driver must
// do. One goroutine owns it.
type core struct {
	coreConfig

	// Persistent on all servers: written before anything is said that depends on it (fig. 2).
	term uint64 // never falls
	vote uint64 // changes within a term only from None
	log  entryLog

	incarnation uint64 // of the disk that holds these; never changes

	// Volatile on all servers.
	role     Role
	leader   uint64 // None when not known
	commit   uint64 // applying ≤ commit ≤ log.last
	applying uint64 // highest index handed to the state machine

	applied   uint64      // highest index that the state machine has applied, as appliedTo said
	unapplied int         // bytes of the entries behind applied, up to commit
	refusing  bool        // an Append was dropped because the state machine lags; appliedTo asks for it again
	refusedIn uint64      // refusing: term of the leader that sent it
	configs   configStack // the configurations in the log; the last one is in force
	clock     clusterClock
	snapshot  Snapshot // the newest one on this member's disk

	quiet      int  // ticks since the leader was heard, or since the last campaign
	leaderLost bool // the connection to the leader was seen to break since it was last heard
	unheard    bool // the leader says that it has not heard this member for an election timeout
	longestRTT int  // longest round trip from the leader to a member, in ticks, as the leader says

	electionTimeout int // quiet ticks before the next campaign, drawn anew each time (pitfall A13)

	// Volatile on candidates.
	votes []uint64 // the members that granted the present campaign, or PreVote, without this one

	// Volatile on leaders.
	lead leadership

	// Towards the disk.
	dirty    bool    // State must be written
	stateSeq uint64  // number of the write that holds the present State
	seq      uint64  // number of the last write handed out
	written  uint64  // number of the last write that completed
	writes   []write // handed out, not complete, in order
	stalled  int     // ticks since the oldest of them was handed out

	installing *Snapshot // received, and not yet noted on disk

	reads      readQueue
	forwarding forwarding
	held       []held  // messages that wait for the disk
	out        Effects // what the driver must now do

	broken error // why this member can't go on; from then on effects returns nothing else
}

// write is one write on its way to the disk.
type write struct {
	seq  uint64
	last uint64 // highest index of the log that it makes durable; lowered when the log is truncated (pitfall B5)
}

// held is a message that may not be sent before the disk has caught up.
type held struct {
	m        Message
	stateSeq uint64 // write that holds the state it speaks of
	index    uint64 // entry that it speaks of
}

// Reasons why a proposal was not taken. Nothing of it will ever be applied.
var (
	errNotLeader   = errors.New("raft: not the leader")
	errHandingOver = errors.New("raft: the leadership is being handed over")
	errChanging    = errors.New("raft: another change of the membership is under way")
	errUnheard     = errors.New("raft: the leader has not heard yet who is there")
)

// maxUnapplied is how many committed entries the state machine may lag behind before a leader holds
// proposals back.
const maxUnapplied = 5000

// newCore starts a member from what its disk holds; as a follower, whatever it was before.
func newCore(cfg coreConfig, b boot) *core {
	c := &core{coreConfig: cfg, term: b.State.Term, vote: b.State.Vote, incarnation: b.Incarnation}
	c.forwarding.stream = c.Rand.Uint64() | 1
	c.readWall(cfg.Wall)
	c.log.reset(b.base())
	c.log.first = cmp.Or(b.First, b.Snapshot.Index+1)
	c.snapshot = b.Snapshot
	c.configs.reset(b.base())
	for _, e := range b.Entries {
		c.log.append(e)
		c.configs.append(&e)
	}
	c.checkIncarnation()
	c.log.durable, c.log.handed = c.log.last(), c.log.last()
	c.commit = max(b.State.Commit, b.Snapshot.Index)
	c.applying, c.applied = c.log.base, c.log.base
	if c.commit > c.log.last() || c.applying > c.commit { // pitfall B12
		panic(fmt.Sprintf("raft: applied %d ≤ committed %d ≤ last %d does not hold", c.applying, c.commit,
			c.log.last()))
	}
	c.unapplied = entriesSize(c.log.slice(c.applying+1, c.commit, maxInt))
	c.becomeFollower(c.term, None)
	return c
}

// advance says what this member's monotonic clock shows, in nanoseconds. It comes before any input
// of that moment.
func (c *core) advance(now int64) { c.clock.now = max(c.clock.now, now) }

// tick says that one tick has passed.
func (c *core) tick() {
	c.quiet++
	if len(c.writes) > 0 {
		c.stalled++
	}
	if c.role == Leader {
		c.tickLeader()
		return
	}
	c.tickForwarding()
	if c.quiet >= c.electionTimeout {
		c.campaign(PreVote)
	}
}

// idleTicks returns how many ticks may pass before the core has something to do though no message
// and no request comes: a heartbeat interval at most.
func (c *core) idleTicks() int {
	switch {
	case len(c.writes) > 0: // the disk is watched closely
		return 1
	case c.role == Leader:
		return max(c.HeartbeatTicks-c.lead.sinceBeat, 1)
	case len(c.forwarding.sent) > 0:
		return 1
	}
	return max(min(c.electionTimeout-c.quiet, c.HeartbeatTicks), 1)
}

// step takes a message from another member.
func (c *core) step(m Message) {
	if m.To != c.ID { // pitfall B11
		return
	}
	if m.Term > c.term && !c.stepHigherTerm(&m) {
		return
	}
	if m.Term < c.term {
		c.stepLowerTerm(&m)
		return
	}
	switch m.Kind {
	case PreVote, Vote:
		c.handleVote(&m)
		return
	case ReadIndexAnswer:
		c.handleReadIndexAnswer(&m)
		return
	case Propose:
		c.handlePropose(&m)
		return
	case ReadIndex:
		c.handleReadIndex(&m)
		return
	case ProposeAnswer:
		c.handleProposeAnswer(&m)
		return
	}
	switch c.role {
	case Leader:
		c.stepLeader(&m)
	case Follower:
		c.stepFollower(&m)
	default:
		c.stepCandidate(&m)
	}
}

// stepHigherTerm enters the later term of a message if it should, and reports whether the message
// is still to be handled (§5.1: "if one server's current term is smaller than the other's, then it
// updates its current term").
func (c *core) stepHigherTerm(m *Message) bool {
	switch {
	case m.Kind == PreVote, m.Kind == PreVoteAnswer && !m.Reject:
		return true // a term that is only asked for is not adopted (pitfall A7)
	case m.Kind == Vote && !m.Transfer && c.hearsLeader():
		return false // diss. 4.2.3: a server that hears its leader does not help to unseat it
	case m.Kind == Append, m.Kind == Heartbeat, m.Kind == InstallSnapshot:
		c.becomeFollower(m.Term, m.From)
	default:
		c.becomeFollower(m.Term, None)
	}
	return true
}

// stepLowerTerm tells the sender of a message of an earlier term which term it is now. A leader
// must learn it even though PreVote keeps this member from campaigning (pitfall A9), and so must a
// pre-candidate (pitfall A8).
func (c *core) stepLowerTerm(m *Message) {
	switch m.Kind {
	case PreVote:
		c.send(Message{Kind: PreVoteAnswer, To: m.From, Reject: true})
	case Vote:
		c.send(Message{Kind: VoteAnswer, To: m.From, Reject: true})
	case Append, Heartbeat, InstallSnapshot:
		c.send(Message{Kind: AppendAnswer, To: m.From, Reject: true})
	case ReadIndex:
		c.refuseRead(read{id: m.Round, from: m.From})
	}
}

func (c *core) stepFollower(m *Message) {
	switch m.Kind {
	case Append:
		c.observeLeader(m)
		c.handleAppend(m)
	case Heartbeat:
		c.observeLeader(m)
		c.handleHeartbeat(m)
	case InstallSnapshot:
		c.observeLeader(m)
		c.handleSnapshot(m)
	case TimeoutNow:
		c.handleTimeoutNow(m)
	}
}

func (c *core) stepCandidate(m *Message) {
	switch m.Kind {
	case Append, Heartbeat, InstallSnapshot:
		c.becomeFollower(m.Term, m.From) // the same term: somebody else has won (§5.2)
		c.stepFollower(m)
	case PreVoteAnswer, VoteAnswer:
		c.handleVoteAnswer(m)
	}
}

func (c *core) stepLeader(m *Message) {
	switch m.Kind {
	case AppendAnswer:
		c.handleAppendAnswer(m)
	case HeartbeatAnswer:
		c.handleHeartbeatAnswer(m)
	case Append, Heartbeat:
		panic(fmt.Sprintf("raft: two leaders in term %d: %v", c.term, *m))
	}
}

// observeLeader records that the leader of this term is alive.
func (c *core) observeLeader(m *Message) {
	if c.leaderLost { // it is back: the usual timeout is in force again
		c.leaderLost = false
		c.drawElectionTimeout()
	}
	c.leader = m.From
	c.quiet = 0
	c.clock.observe(m.Term, m.Stamp)
	if m.Kind == Heartbeat {
		c.longestRTT = int(min(m.Hint, uint64(c.ElectionTicks)))
		c.unheard = m.Reject
	}
}

// hearsLeader reports whether this member leads, or has heard a leader within an election timeout
// and not seen the connection to it break (pitfall A10).
func (c *core) hearsLeader() bool {
	return c.role == Leader || c.leader != None && !c.leaderLost && c.quiet < c.ElectionTicks
}

// inTouch reports whether this member leads, or has heard the leader since the last tick and is
// heard by it. A member that the leader does not hear soon gets no new entries, so its state
// grows old though it hears heartbeats.
func (c *core) inTouch() bool {
	return c.role == Leader || c.leader != None && !c.unheard && c.quiet == 0
}

// becomeFollower enters a term, the present one or a later one, as a follower of leader, or of None
// while it is not known.
func (c *core) becomeFollower(term, leader uint64) {
	c.clock.halt(c.term)
	c.enterTerm(term)
	c.role = Follower
	c.leader = leader
	c.leaderLost, c.unheard = false, false
	c.votes = nil
	c.lead = leadership{}
	c.quiet = 0
	c.drawElectionTimeout()
	c.refuseReads()
}

// enterTerm is the only place where the term changes, and where a vote is forgotten (pitfalls A3,
// A5).
func (c *core) enterTerm(term uint64) {
	if term < c.term {
		panic(fmt.Sprintf("raft: term falls from %d to %d", c.term, term))
	}
	if term == c.term {
		return
	}
	c.term, c.vote = term, None
	c.dirty = true
	c.held = nil // they are messages of the old term
	c.forwarding.reset()
}

// castVote is the only place where a vote is given.
func (c *core) castVote(to uint64) {
	if c.vote != None && c.vote != to {
		panic(fmt.Sprintf("raft: second vote in term %d: %x after %x", c.term, to, c.vote))
	}
	c.dirty = c.dirty || c.vote != to
	c.vote = to
}

func (c *core) drawElectionTimeout() {
	c.electionTimeout = c.ElectionTicks + c.Rand.IntN(c.ElectionTicks)
}

// send sends a message of this member, once its present term and vote are on disk.
func (c *core) send(m Message) {
	c.sendDurable(m, 0)
}

// sendDurable sends a message once the present term and vote, and the log up to index, are on disk.
func (c *core) sendDurable(m Message, index uint64) {
	m.From = c.ID
	if m.Term == 0 {
		m.Term = c.term
	}
	if c.role == Leader {
		m.Stamp = c.clock.time(&c.log)
	}
	h := held{m: m, stateSeq: c.stateSeq, index: index}
	if c.dirty {
		h.stateSeq = c.seq + 1
	}
	if c.mayBeSent(&h) {
		c.out.Messages = append(c.out.Messages, m)
	} else if len(c.held) < maxHeld {
		c.held = append(c.held, h)
	}
}

// maxHeld bounds the messages that wait for the disk. Any beyond it is dropped, as a network may
// do.
const maxHeld = 4096

func (c *core) mayBeSent(h *held) bool {
	return h.stateSeq <= c.written && h.index <= c.log.durable
}

// stateDurable reports whether the present term and vote are on disk.
func (c *core) stateDurable() bool { return !c.dirty && c.stateSeq <= c.written }
