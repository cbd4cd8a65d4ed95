package raft

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	testpace "etcd2/e2e/pace"
)

// simMutant breaks one rule from outside: it changes what goes into a core or comes out of it, or
// does, after a step, the opposite of what the rule demands. The hooks may be nil.
type simMutant struct {
	name string // M… of the test programme
	rule string // the rule that it breaks

	step    func(c *core, m *Message) (after func()) // around a message's step
	input   func(c *core)                            // after every input, before its effects
	effects func(c *core, e *Effects)                // before they are carried out
	write   func(p *simProcess, q *Persist)          // before the disk has it
	change  func(c *core) (after func())             // around a change of the membership
	files   func(fs *simFS, r *rand.Rand)            // below a real log
	open    func(d *simFiles)                        // before a real log is opened
	expiry  func(m *simStore, keys []int)            // before keys of a real store expire
	whole   bool                                     // it needs a real disk and store, or is about watchers

	windowless bool              // a restored store takes requests from before its snapshot for new ones
	peeking    bool              // a watcher looks up the past, and registers later
	forgetful  bool              // a wiped member comes back as if nothing had happened
	believing  bool              // an error of the disk is taken for success
	hanging    bool              // the process never ends because of an error of the disk
	keeping    bool              // a request that waits for a leader stays in the queue when it is answered
	waiting    bool              // a member gets one piece of the log in each round trip
	forgetting bool              // a request that is repeated after some time counts as a new one
	idle       bool              // the log is cut when the disk has nothing else to do
	unwatched  bool              // reads are judged by the history alone
	bias       func(*simProfile) // towards worlds where the fault shows
	world      string            // in which the fault shows; empty: the first kind
	from       uint64            // the first seed that caught it; 0 is 1
}

func (x *simMutant) aroundStep(c *core, m *Message) func() {
	if x == nil || x.step == nil || m.To != c.ID {
		return func() {}
	}
	return x.step(c, m)
}

func (x *simMutant) aroundChange(c *core) func() {
	if x == nil || x.change == nil {
		return func() {}
	}
	return x.change(c)
}

func (x *simMutant) afterInput(c *core) {
	if x != nil && x.input != nil {
		x.input(c)
	}
}

func (x *simMutant) afterEffects(c *core, e *Effects) {
	if x != nil && x.effects != nil {
		x.effects(c, e)
	}
}

func (x *simMutant) beforeWrite(p *simProcess, q *Persist) {
	if x != nil && x.write != nil {
		x.write(p, q)
	}
}

func (x *simMutant) spoil(fs *simFS, r *rand.Rand) {
	if x != nil && x.files != nil {
		x.files(fs, r)
	}
}

func (x *simMutant) beforeOpen(d *simFiles) {
	if x != nil && x.open != nil {
		x.open(d)
	}
}

func (x *simMutant) beforeExpiry(m *simStore, keys []int) {
	if x != nil && x.expiry != nil {
		x.expiry(m, keys)
	}
}

// piece returns the part of the entries that is read at a time.
func (x *simMutant) piece(es []Entry) []Entry {
	if x != nil && x.waiting {
		return es[:min(len(es), 2)]
	}
	return es
}

// command returns the command that a store applies.
func (x *simMutant) command(m *simStore, e *Entry, command []byte) []byte {
	r := m.w.check.requests[e.ID]
	if x == nil || r == nil || (!x.windowless || r.first > m.from) && (!x.forgetting || r.first+10 > e.Index) {
		return command
	}
	op := r.op
	op.request = 0
	return op.encode(m.w)
}

func (x *simMutant) peeks() bool { return x != nil && x.peeking }

func (x *simMutant) forgets() bool { return x != nil && x.forgetful }

// puts reports whether the cut of the log is put off until the disk has nothing else to do.
func (x *simMutant) puts(p *simProcess) bool { return x != nil && x.idle && p.writing != nil }

func (x *simMutant) afterWrite(p *simProcess) {
	if x != nil && x.idle && p.core != nil {
		p.cutLog()
	}
}

func (x *simMutant) believes() bool { return x != nil && x.believing }

func (x *simMutant) hangs() bool { return x != nil && x.hanging }

func (x *simMutant) keeps() bool { return x != nil && x.keeping }

// waits returns how much longer a process reads its log for another member.
func (x *simMutant) waits(p *simProcess) int64 {
	if x == nil || !x.waiting {
		return 0
	}
	return int64(p.w.profile.roundTrip() * float64(simTick))
}

func (x *simMutant) trusted() bool { return x != nil && x.unwatched }

var simMutants = []simMutant{
	{name: "M1", rule: "only an entry of the own term is committed by counting (§5.4.2)", input: func(c *core) {
		if c.role == Leader {
			commitByForce(c, c.quorumOf(c.log.durable, matchOf))
		}
	}},
	{name: "M2", rule: "a vote is on disk before it is given",
		write: func(_ *simProcess, q *Persist) { q.State.Vote = None }},
	{name: "M3", from: 3, rule: "no read before the own term has committed", input: func(c *core) {
		if c.role == Leader {
			defer withoutStart(c)()
			c.beginReads()
		}
	}},
	{name: "M4", from: 295, bias: belated, rule: "a round of heartbeats begun before a read does not confirm it",
		step: func(c *core, m *Message) func() {
			if m.Kind == HeartbeatAnswer && c.role == Leader {
				m.Round = c.lead.round
			}
			return func() {}
		}},
	{name: "M5", rule: "no change before the own term has committed", bias: quarrelsome, change: withoutStart},
	{name: "M6", rule: "a log is truncated only at a conflict", step: func(c *core, m *Message) func() {
		last := max(m.Index, c.commit)
		if m.Kind == Append && c.role == Follower && m.Term == c.term && c.log.matches(m.Index, m.LogTerm) &&
			last < c.log.last() {
			c.truncateLog(last + 1)
		}
		return func() {}
	}},
	{name: "M7", from: 16, rule: "a follower commits no further than the message proves",
		step: func(c *core, m *Message) func() {
			return func() {
				if m.Kind == Append && c.role == Follower && c.log.matches(m.Index, m.LogTerm) {
					c.setCommit(max(c.commit, min(m.Commit, c.log.last())))
				}
			}
		}},
	{name: "M8", rule: "a PreVote changes nothing", step: func(c *core, m *Message) func() {
		return func() {
			if m.Kind == PreVote && m.Term > c.term {
				c.vote, c.dirty = None, true
			}
		}
	}},
	{name: "M9", rule: "a leader's own copy counts when it is on disk", input: func(c *core) {
		if c.role != Leader {
			return
		}
		if index := c.quorumOf(c.log.last(), matchOf); c.log.matches(index, c.term) {
			commitByForce(c, index)
		}
	}},
	{name: "M10", rule: "what a truncation drops is durable no more", step: keepDurableMarks},
	{name: "M11", from: 16, bias: forgetful, rule: "a snapshot takes the place of a log that differs",
		step: keepLogBehindSnapshot},
	{name: "M12", from: 61, rule: "an old snapshot changes nothing", step: func(c *core, m *Message) func() {
		return func() {
			if m.Kind == InstallSnapshot && m.Snapshot.Index < c.commit && c.role == Follower {
				c.install(m.Snapshot)
			}
		}
	}},
	{name: "M13", from: 14, whole: true, bias: unlucky, rule: "every write is synced",
		files: func(fs *simFS, r *rand.Rand) {
			fs.forgetsSync = func() bool { return r.IntN(1000) == 0 }
		}},
	{name: "M14", whole: true, rule: "every new name is synced", files: func(fs *simFS, _ *rand.Rand) {
		fs.forgetsNames = func() bool { return true }
	}},
	{name: "M15", whole: true, rule: "a torn tail is cut off where it begins", open: func(d *simFiles) {
		if d.half != nil {
			d.fs.cutTail("m/wal")
		}
	}},
	{name: "M16", bias: quarrelsome, rule: "an id that was removed never comes back", input: func(c *core) {
		for i := range c.configs {
			c.configs[i].membership.Removed = nil
		}
	}},
	{name: "lost write", from: 8, rule: "what is persisted is on disk", write: func(p *simProcess, q *Persist) {
		if p.w.chance(1e-3) {
			q.Entries = nil
		}
	}},
	{name: "M17", rule: "stamps come from the cluster clock, not from the wall", input: func(c *core) {
		if c.clock.running {
			c.clock.start, c.clock.startedAt = c.Wall, 0
		}
	}},
	{name: "M18", from: 12, whole: true, bias: fleeting, rule: "keys expire in one order everywhere",
		expiry: swapExpiries},
	{name: "M19", from: 31, whole: true, rule: "a snapshot holds which requests were executed", windowless: true},
	{name: "M20", whole: true, rule: "a watcher looks up the past and is registered in one step", peeking: true},
	{name: "M21", from: 7, rule: "a learner does not count", input: func(c *core) {
		if c.role == Leader {
			defer everybodyVotes(c)()
			c.advanceCommit()
		}
	}},
	{name: "M22", from: 8, rule: "no read on the strength of a lease (pitfall C7)", input: func(c *core) { // pitfall C7
		if c.role == Leader && c.commit >= c.lead.start {
			for _, r := range c.reads.waiting {
				c.out.Reads = append(c.out.Reads, SafeRead{ID: r.id, Index: c.commit})
			}
			c.reads.waiting = nil
		}
	}},
	{name: "M23", rule: "a heartbeat carries no commit index beyond what the member has",
		effects: func(c *core, e *Effects) {
			for i := range e.Messages {
				if m := &e.Messages[i]; m.Kind == Heartbeat {
					m.Commit = c.commit
				}
			}
		}},
	{name: "old proposals", from: 138, bias: belated,
		rule: "a leader takes no proposal that was meant for another term", step: func(c *core, m *Message) func() {
			if m.Kind == Propose && c.role == Leader {
				m.Term = c.term
			}
			return func() {}
		}},
	{name: "M25", from: 3, world: "wan", rule: "a learner has caught up with a mark that stands still",
		step: atHeartbeatAnswer(func(c *core, p *progress, _ *Message) {
			p.catchUp.goal = c.commit // p.catchUp is judged next
			if p.match < c.commit {
				p.catchUp = catchUp{}
			}
		})},
	{name: "M26", from: 68, world: "readers", rule: "what is overdue is measured in ticks, not in rounds of heartbeats",
		step: atHeartbeatAnswer(func(c *core, _ *progress, _ *Message) {
			c.lead.ticks++
		})},
	{name: "M27", from: 5, world: "readers", rule: "a member is quiet for ticks, not for rounds of heartbeats",
		input: func(c *core) {
			for i := range c.lead.members {
				if len(c.reads.waiting) > 0 {
					c.lead.members[i].quiet++
				}
			}
		}},
	{name: "M28", world: "busy", bias: alone, rule: "the log is cut though the disk is never idle", idle: true},
	{name: "M29", world: "silence", rule: "a request that is answered is kept nowhere", keeping: true},
	{name: "M30", bias: outpaced, rule: "a member is fed from the disk by a pipeline", waiting: true},
	{name: "M31", world: "disks", whole: true, rule: "an error of the disk is no success", believing: true},
	{name: "M32", from: 4, world: "disks", whole: true, rule: "an error of the disk ends the process", hanging: true},
	{name: "M33", rule: "no message holds a term that can't be counted on from",
		step: func(c *core, m *Message) func() {
			if m.Kind == Vote {
				m.Term = ^uint64(0)
			}
			return func() {}
		}},
	{name: "M34", from: 12, whole: true, rule: "a request that comes again is found, however late", forgetting: true},
	{name: "M35", rule: "proposals that are passed on are taken once", step: func(c *core, m *Message) func() {
		if p := c.lead.progress(m.From); p != nil && m.Kind == Propose && m.Term == c.term {
			if s := p.stream(m.LogTerm); m.Round <= s.taken {
				s.taken = m.Round - 1
			}
		}
		return func() {}
	}},
	{name: "M36", from: 2, world: "wan", bias: congested, rule: "a late answer does not end a pause",
		step: func(c *core, m *Message) func() {
			if p := c.lead.progress(m.From); p != nil && p.sending == pausing && m.Kind == AppendAnswer &&
				m.Term == c.term && !m.Reject {
				p.sending = replicating
			}
			return func() {}
		}},
	{name: "M37", world: "readers", bias: overloaded, rule: "only its own answer ends a probe",
		step: func(c *core, m *Message) func() {
			if p := c.lead.progress(m.From); p != nil && p.probe.out && m.Kind == AppendAnswer && m.Term == c.term &&
				!m.Reject && m.Index+1 >= p.next {
				p.probe.last = m.Index
			}
			return func() {}
		}},
	{name: "M24", bias: wasteful, rule: "a member without its disk never comes back under its id", forgetful: true},
	{name: "local reads", rule: "a follower asks the leader, and the history shows it when not", unwatched: true,
		input: func(c *core) {
			for i := range c.out.Messages {
				if m := &c.out.Messages[i]; m.Kind == ReadIndex {
					c.out.Reads = append(c.out.Reads, SafeRead{ID: m.Round, Index: c.applying})
				}
			}
		}},
}

// atHeartbeatAnswer calls do just before a leader handles the answer to a heartbeat.
func atHeartbeatAnswer(do func(*core, *progress, *Message)) func(*core, *Message) func() {
	return func(c *core, m *Message) func() {
		if p := c.lead.progress(m.From); p != nil && m.Kind == HeartbeatAnswer && m.Term == c.term {
			do(c, p, m)
		}
		return func() {}
	}
}

func matchOf(p *progress) uint64 { return p.match }

// commitByForce sets a leader's commit index without any condition.
func commitByForce(c *core, index uint64) {
	before := c.unapplied
	c.setCommit(index)
	c.lead.uncommitted -= c.unapplied - before
}

// withoutStart lets the leader believe that an entry of its own term is committed.
func withoutStart(c *core) (undo func()) {
	start := c.lead.start
	c.lead.start = 0
	return func() { c.lead.start = start }
}

func everybodyVotes(c *core) (undo func()) {
	now := c.configs.now()
	voters := now.voters
	now.voters = nil
	for _, m := range now.membership.Members {
		now.voters = append(now.voters, m.ID)
	}
	return func() { now.voters = voters }
}

func keepDurableMarks(c *core, _ *Message) func() {
	durable, writes := c.log.durable, slices.Clone(c.writes)
	return func() {
		c.log.durable = max(c.log.durable, min(durable, c.log.last()))
		for i := range c.writes {
			c.writes[i].last = max(c.writes[i].last, min(writes[i].last, c.log.last()))
		}
	}
}

func keepLogBehindSnapshot(c *core, m *Message) func() {
	if m.Kind != InstallSnapshot {
		return func() {}
	}
	entries, before := c.log.entries, c.snapshot.Index
	return func() {
		for i := range entries {
			if e := &entries[i]; c.snapshot.Index != before && e.Index == c.log.last()+1 {
				c.log.append(*e)
				c.configs.append(e)
			}
		}
	}
}

// swapExpiries lets every other member expire the first two keys of one entry in the other order.
func swapExpiries(m *simStore, keys []int) {
	if len(keys) < 2 || m.id%2 == 0 {
		return
	}
	a, b := binary.AppendUvarint(nil, uint64(m.due[keys[0]])), binary.AppendUvarint(nil, uint64(m.due[keys[1]]))
	frozen := &bytes.Buffer{}
	if err := m.store.Freeze()(frozen); err != nil {
		panic(err)
	}
	state, aside := frozen.Bytes(), bytes.Repeat([]byte{0xff}, len(a))
	state = bytes.ReplaceAll(state, a, aside)
	state = bytes.ReplaceAll(state, b, a)
	state = bytes.ReplaceAll(state, aside, b)
	if err := m.store.Restore(bytes.NewReader(state)); err != nil {
		panic(err)
	}
}

// The biases: only a few writers, faults in quick succession, and what makes the broken rule
// matter.

// hectic spends most of the steps on faults.
func hectic(p *simProfile) {
	p.pace, p.clients, p.think, p.heartbeatTicks = 0.25, 2, 3, 3
	p.faults |= faultPartition | faultReset | faultCrash
	p.faults &^= faultSlowDisk | faultStallDisk | faultBadDisk | faultFullDisk | faultRot | faultWipe
}

// quarrelsome makes it likely that two leaders change the membership without knowing of each other:
// the number of members is even.
func quarrelsome(p *simProfile) {
	hectic(p)
	p.members = 4
	p.faults |= faultChange
}

// belated makes it likely that a leader does not learn that it was deposed, and then gets late
// answers to its heartbeats.
func belated(p *simProfile) {
	hectic(p)
	p.clients, p.think, p.reads = 6, 1, 0.6
	p.faults |= faultTransfer | faultClog
}

// forgetful makes it likely that a follower's own tail is longer than what the leader still has.
func forgetful(p *simProfile) {
	hectic(p)
	p.snapshotEvery, p.keepEntries, p.tailBytes = 10, 1, 500
	p.faults |= faultBurst
}

// unlucky has power cuts all the time.
func unlucky(p *simProfile) {
	hectic(p)
	p.pace, p.faults = 0.15, p.faults|faultPower
}

// fleeting makes it likely that many keys expire while there is no leader, and so at one entry.
func fleeting(p *simProfile) {
	hectic(p)
	p.faults |= faultBurst
}

// outpaced makes it likely that a member is far behind, and that all it lacks is on the disk alone.
func outpaced(p *simProfile) {
	hectic(p)
	p.members, p.think = 3, 1
	p.appendBytes, p.inflightBytes, p.tailBytes, p.uncommittedBytes = 1000, 20_000, 500, 20_000
	p.snapshotEvery, p.keepEntries = 1<<20, 1
	p.streamEvery = 0.1
}

// alone has one member, whose disk always has a next write.
func alone(p *simProfile) {
	p.members, p.streamEvery, p.diskDelay = 1, 0.05, 3
	p.faults &^= faultsOfLinks | faultsOfLives | faultsOfDisks | faultChange
}

// wasteful makes it likely that a member is wiped right after it has voted for an entry that was
// agreed.
func wasteful(p *simProfile) {
	hectic(p)
	p.members, p.faults = 3, p.faults|faultWipe
}

// congested makes it likely that the queue to a member is full while the answers to many Appends
// are still on their way: links are narrow, and windows consist of many small Appends.
func congested(p *simProfile) {
	p.members, p.faults, p.loss = 3, faultLoss, 0.001
	p.rate, p.inflightBytes, p.appendBytes = 32<<10, 512<<10, 8<<10
	p.uncommittedBytes = 8 * p.inflightBytes
	p.bulky, p.streamEvery = 64<<10, 0.05
	p.bulkyEvery = float64(p.bulky) / (0.8 * p.throughput())
}

// overloaded is congested, with links so narrow that a pause does not empty the queue.
func overloaded(p *simProfile) {
	congested(p)
	p.rate, p.loss = 24<<10, 0.01
	p.inflightBytes = 1 << 20
	p.uncommittedBytes = 8 * p.inflightBytes
	p.bulkyEvery = float64(p.bulky) / (0.8 * p.throughput())
}

// The test of the tests: each rule, broken, must be noticed within five million steps. An ordinary
// run begins with the seed that has caught it before; a campaign, with the first.
func TestEveryMutantIsCaught(t *testing.T) {
	testpace.LeftOutByShort(t)
	t.Parallel()
	for i := range simMutants {
		x := &simMutants[i]
		if *simOnly != "" && x.name != *simOnly {
			continue
		}
		seed, steps := max(x.from, 1), 0
		if *simTime != 0 {
			seed = 1
		}
		r := simReport{}
		for ; r.failure == "" && steps < 5_000_000; seed++ {
			r = simulate(simSetup{seed: seed, steps: 20_000, mutant: x, bias: x.bias, whole: x.whole,
				world: cmp.Or(x.world, "lan")})
			steps += r.done.steps
		}
		if r.failure == "" {
			t.Errorf("%s lives: %s", x.name, x.rule)
			continue
		}
		t.Logf("%-11s %8d steps, seed %3d  %s: %.120s", x.name, steps, seed-1, x.rule, r.failure)
	}
}
