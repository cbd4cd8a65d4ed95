package raft

import (
	"math/rand/v2"
	"slices"
)

// simProcess is one member's process: a core and the parts of a Node around it, without goroutines.
type simProcess struct {
	w    *simWorld
	id   uint64
	rate float64 // how fast its clock runs
	disk simDisk // survives a crash

	life     int      // counts the starts
	paused   bool     // stopped (SIGSTOP), but not dead
	deferred []func() // events that happened while it was paused
	retired  bool     // stopped for good: removed from the cluster, or without its disk
	gone     bool     // its disk is gone
	ailing   bool     // its disk was told to fail

	// Of one life.
	core         *core // nil while it is down
	machine      simMachine
	bootedAt     int64
	writing      *Persist // on its way to the disk
	todo         []simJob // for the applier
	applying     bool     // the applier has been woken
	applied      uint64
	appliedEntry Entry // of the entry applied last, without data
	membership   Membership
	snapshotting bool
	wanted       bool       // a snapshot is wanted, however little there is to replay
	cut          *simCut    // waits for the disk; nil: none
	failing      error      // error of the disk; the process is about to end because of it
	failedAt     int64      // when the error came
	parked       []*simCall // writes that wait for a leader
	waiters      []*simCall
	reads        []*simCall
	retry        int // ticks until the reads are tried again

	digests digests
	born    uint64 // commit index at the start
	spoiled uint64 // first entry after which its state differs from the others'; 0: it does not

	seen     simSeen
	sentTo   map[uint64]*simSent     // by member
	learning map[uint64]*simLearning // by member
}

// simJob is one job of the applier.
type simJob struct {
	entries []Entry
	restore *Snapshot
}

func newSimProcess(w *simWorld, id uint64, first []Entry) *simProcess {
	p := &simProcess{w: w, id: id, rate: w.profile.drawRate(w.rand)}
	p.disk = w.newDisk(id, first)
	return p
}

// boot starts the process from what its disk holds.
func (p *simProcess) boot() {
	b, state, err := p.disk.open()
	if err != nil {
		p.w.count(countRefusals)
		p.w.lose(p, err.Error())
		return
	}
	p.life++
	p.w.excuse(p.id, p.id)
	p.bootedAt = p.w.now
	p.machine = p.w.newMachine(p.id)
	p.machine.restore(state)
	p.applied, p.membership = b.Snapshot.Index, b.Snapshot.Membership
	p.appliedEntry = Entry{Index: b.Snapshot.Index, Term: b.Snapshot.Term, Stamp: b.Snapshot.Stamp}
	p.writing, p.todo, p.waiters, p.reads = nil, nil, nil, nil
	p.applying, p.snapshotting, p.wanted, p.cut, p.failing, p.parked = false, false, false, nil, nil, nil
	p.sentTo, p.learning = map[uint64]*simSent{}, map[uint64]*simLearning{}
	p.digests, p.born, p.spoiled = digests{}, b.State.Commit, 0
	p.w.tracef("%s n%x starts term=%d commit=%d last=%d", p.w.clock(), p.id, b.State.Term, b.State.Commit, b.last())
	p.replay(&b)
	p.w.check.booting(p, &b)
	p.core = newCore(p.w.profile.core(p.id, p.w.rand), b)
	p.w.check.checkLog(p)
	p.input(func(*core) {})
	p.after(int64(p.w.rand.Float64()*float64(simTick)), p.tick)
}

// replay applies, before there is a core, the entries that the start knows to be committed, as
// Node.replay does.
func (p *simProcess) replay(b *boot) {
	for len(b.Entries) > 0 && b.Entries[0].Index <= b.State.Commit {
		p.apply(&b.Entries[0])
		b.Entries = b.Entries[1:]
	}
	e := p.appliedEntry
	b.Replayed = Snapshot{Index: e.Index, Term: e.Term, Stamp: e.Stamp, Membership: p.membership}
}

// crash ends the process: writes that were not synced are lost, or half done.
func (p *simProcess) crash() {
	if p.core == nil {
		return
	}
	p.w.tracef("%s n%x crashes", p.w.clock(), p.id)
	p.w.excuse(p.id, p.id)
	p.disk.crash(p.writing)
	p.core = nil
	p.resume()
	for _, c := range slices.Concat(p.waiters, p.reads, p.parked) {
		c.fail()
	}
}

// after calls do when d has passed, or at the end of a pause. It does nothing if this life of the
// process has ended by then.
func (p *simProcess) after(d int64, do func()) {
	life := p.life
	p.w.after(d, func() {
		p.whenAwake(func() {
			if p.core != nil && p.life == life {
				do()
			}
		})
	})
}

// whenAwake calls do now, or at the end of the pause.
func (p *simProcess) whenAwake(do func()) {
	if p.paused {
		p.deferred = append(p.deferred, do)
		return
	}
	do()
}

func (p *simProcess) resume() {
	deferred := p.deferred
	p.w.trouble(0)
	p.paused, p.deferred = false, nil
	for _, do := range deferred {
		p.w.after(0, func() { p.whenAwake(do) })
	}
}

// mono is what the process's monotonic clock shows.
func (p *simProcess) mono() int64 { return int64(float64(p.w.now-p.bootedAt) * p.rate) }

// tick lets a tick pass. After a pause one tick is due, not many (pitfall A14).
func (p *simProcess) tick() {
	p.w.done.steps++
	p.w.mix(uint64(p.w.now))
	p.input((*core).tick)
	p.w.check.checkLearners(p)
	p.w.check.checkJobs(p)
	p.retake()
	p.expireKeys()
	p.writeOn()
	if p.retry--; p.retry <= 0 {
		p.retryReads()
	}
	p.after(int64(float64(simTick)/p.rate), p.tick)
}

// expireKeys has a leader stamp the log when a key is due, as Node.expireKeys does.
func (p *simProcess) expireKeys() {
	c := p.core
	if due, ok := p.machine.nextDue(); ok && c.role == Leader && c.clock.time(&c.log) >= due &&
		c.log.last() == p.applied {
		p.input(func(c *core) { _ = c.proposeStamp() })
	}
}

// deliver hands a message from the network to the core.
func (p *simProcess) deliver(m *Message) {
	w := p.w
	w.done.steps++
	w.mix(uint64(w.now) ^ uint64(m.Kind)<<56 ^ m.From<<48 ^ p.id<<40 ^ m.Term<<20 ^ m.Index)
	if w.trace != nil {
		w.tracef("%s %v", w.clock(), m)
	}
	w.film.arrives(m, p.id, false)
	w.done.messages[m.Kind]++
	if m.To != p.id || m.Kind == PreVote {
		defer w.check.untouched(p, m)()
	}
	commit := p.core.commit
	p.input(func(c *core) {
		undo := w.mutant.aroundStep(c, m)
		c.step(*m)
		undo()
	})
	w.check.stepped(p, m, commit)
}

// input is the only way to the core. It gives the core one input, checks the outcome, and carries
// out the effects.
func (p *simProcess) input(f func(*core)) {
	c := p.core
	c.advance(p.mono())
	c.appliedTo(p.applied)
	f(c)
	p.w.mutant.afterInput(c)
	e := c.effects(p.diskFree())
	if e.Broken != nil {
		p.w.violated("n%x: %v", p.id, e.Broken) // no disk here has forgotten anything (pitfall D11)
	}
	p.w.mutant.afterEffects(c, &e)
	p.w.check.after(p, &e)
	p.carryOut(&e)
}

// carryOut carries out the core's effects, as Node.handOut does.
func (p *simProcess) carryOut(e *Effects) {
	if e.Persist != nil {
		p.write(e.Persist)
	}
	if e.Restore != nil {
		p.todo = append(p.todo, simJob{restore: e.Restore})
	}
	if len(e.Committed) > 0 {
		p.todo = append(p.todo, simJob{entries: e.Committed})
	}
	for i := range e.Messages {
		p.w.check.said(p, &e.Messages[i])
		p.w.check.sends(p, &e.Messages[i])
		p.w.send(p, &e.Messages[i])
	}
	for _, r := range e.Reads {
		if !r.Never { // else retryReads tries again
			p.readIsSafe(r)
		}
	}
	for _, r := range e.Refused {
		p.refused(r.ID)
	}
	for _, f := range e.Fetch {
		p.fetch(f)
	}
	p.wakeApplier()
}

func (p *simProcess) diskFree() bool { return p.writing == nil && p.failing == nil }

// write starts a write that takes as long as the disk needs.
func (p *simProcess) write(q *Persist) {
	p.writing = q
	d := p.w.diskDelay()
	if d > simTick*int64(p.w.profile.electionTicks)/2 {
		p.w.excuse(p.id, p.id) // entries acknowledged that late may have been sent twice
	}
	p.after(d, func() { p.written(q) })
}

func (p *simProcess) written(q *Persist) {
	if q == nil || p.writing != q {
		return
	}
	p.w.mutant.beforeWrite(p, q)
	p.writing = nil
	if err := p.disk.write(q); err != nil && !p.w.mutant.believes() {
		p.fails(err)
		return
	}
	p.input(func(c *core) { c.persisted(q.Seq) })
	p.w.mutant.afterWrite(p)
}

// fails lets the process learn of an error of its disk, now or a little later. Until then new input
// arrives, and nothing more is written (pitfall L2).
func (p *simProcess) fails(err error) {
	if p.w.calm || p.w.chance(0.5) {
		p.failed(err)
		return
	}
	p.failing, p.failedAt = err, p.w.now
	if !p.w.mutant.hangs() {
		p.after(p.w.around(0.5), func() { p.failed(err) })
	}
}

// failed ends this life of the process because its disk has failed: nothing is tried again
// (pitfalls H8, H9).
func (p *simProcess) failed(err error) {
	w := p.w
	w.count(countDiskErrors)
	w.tracef("%s the disk of n%x: %v", w.clock(), p.id, err)
	if w.calm || w.chance(0.6) {
		p.crash()
		p.heal()
	}
	w.kill(p, w.between(0, 60))
}

// heal repairs the disk of a process that is down.
func (p *simProcess) heal() {
	p.ailing = false
	p.disk.makeRoom()
}

// fetch reads entries from the log on disk; this rarely fails.
func (p *simProcess) fetch(f Fetch) {
	p.w.count(countFetches)
	p.after(p.w.around(p.w.profile.diskDelay)+p.w.mutant.waits(p), func() {
		var es []Entry
		if !p.w.on(faultBadFetch) || !p.w.chance(0.02) {
			es = p.w.mutant.piece(p.disk.fetch(f))
		}
		p.input(func(c *core) { c.fetched(f.To, es) })
		if es == nil { // as Node.fetch does: perhaps a newer snapshot helps (seed 1795917155855030224, disks, whole)
			p.w.excuse(p.id, f.To)
			p.wanted = true
			p.maybeSnapshot()
		}
	})
}

// wakeApplier lets the applier work, at once or some time later.
func (p *simProcess) wakeApplier() {
	switch {
	case len(p.todo) == 0 || p.applying:
	case p.w.on(faultSlowApply):
		p.applying = true
		p.after(p.w.around(p.w.profile.applyDelay), p.applyAll)
	default:
		p.applyAll()
	}
}

func (p *simProcess) applyAll() {
	p.applying = false
	todo := p.todo
	p.todo = nil
	for _, j := range todo {
		if j.restore != nil {
			p.restore(j.restore)
		}
		for i := range j.entries {
			p.apply(&j.entries[i])
		}
	}
	p.answerReads()
	p.maybeSnapshot()
}

func (p *simProcess) restore(s *Snapshot) {
	p.w.count(countInstalls)
	p.machine.restore(p.disk.restored(s.Index))
	p.digests, p.spoiled = digests{}, 0
	p.applied, p.membership = s.Index, s.Membership
	p.appliedEntry = Entry{Index: s.Index, Term: s.Term, Stamp: s.Stamp}
	p.w.check.restored(p)
	for _, c := range slices.Clone(p.waiters) {
		c.fail() // its entry may be in the snapshot
	}
}

func (p *simProcess) apply(e *Entry) {
	p.w.check.applying(p, e)
	result := p.machine.apply(e)
	if e.Kind == EntryChange {
		change, _ := decodeChange(e.Data)
		p.membership = p.membership.Apply(change)
	}
	p.applied, p.appliedEntry = e.Index, Entry{Index: e.Index, Term: e.Term, Stamp: e.Stamp}
	p.w.check.applied(p)
	p.digest(e)
	for i, c := range p.waiters {
		if c.id == e.ID {
			p.waiters = slices.Delete(p.waiters, i, i+1)
			c.wrote(e.Index, result)
			break
		}
	}
	p.bury(e.Term)
}

// bury gives up the proposals of earlier terms when an entry of this term is applied: they are
// dead, and may be proposed again (pitfall G3).
func (p *simProcess) bury(term uint64) {
	for _, c := range slices.Clone(p.waiters) {
		if c.term < term {
			p.w.count(countDead)
			p.w.check.dead(c.id)
			p.drop(c)
			c.again()
		}
	}
}

// refused: a proposal was not accepted, so it may be proposed again.
func (p *simProcess) refused(id uint64) {
	p.w.count(countRefused)
	p.w.check.refused(id)
	if i := slices.IndexFunc(p.waiters, func(c *simCall) bool { return c.id == id }); i >= 0 {
		c := p.waiters[i]
		p.drop(c)
		c.again()
	}
}

// maybeSnapshot freezes the state now and saves it later, and cuts the log behind it later still,
// as Node.writeSnapshot does.
func (p *simProcess) maybeSnapshot() {
	least := uint64(p.w.profile.snapshotEvery)
	if p.wanted {
		least = 1
	}
	if p.snapshotting || p.failing != nil || p.spoiled != 0 || p.applied < p.core.snapshot.Index+least {
		return
	}
	p.snapshotting, p.wanted = true, false
	e := p.appliedEntry
	s := Snapshot{Index: e.Index, Term: e.Term, Stamp: e.Stamp, Membership: p.membership}
	frozen := p.machine.freeze()
	p.after(p.w.around(5), func() {
		if s.Index <= p.core.snapshot.Index || p.failing != nil {
			p.snapshotting = false
			return // one that was received meanwhile is newer, or the disk has failed
		}
		p.w.count(countSnapshots)
		if err := p.disk.save(s, frozen); err != nil {
			p.failed(err)
			return
		}
		p.input(func(c *core) { c.compact(s, 0) })
		keep := s.Index + 1 - min(s.Index, uint64(p.w.rand.IntN(p.w.profile.keepEntries+1)))
		p.cut = &simCut{min(keep, p.core.lacked()), p.w.now}
		p.after(p.w.around(1), p.cutLog)
	})
}

// simCut is the job to release the log before keep, which a snapshot has made unnecessary.
type simCut struct {
	keep  uint64
	asked int64 // when
}

// cutLog releases a part of the log, beside the disk writer (pitfall L6).
func (p *simProcess) cutLog() {
	if p.cut == nil || p.failing != nil || p.w.mutant.puts(p) {
		return
	}
	keep := p.cut.keep
	p.cut, p.snapshotting = nil, false
	first, err := p.disk.release(keep)
	if err != nil {
		p.failed(err)
		return
	}
	p.input(func(c *core) { c.compact(Snapshot{}, first) })
}

// propose appends a client's write to the log, or passes it on to the leader. When there is no
// leader, the write may wait for one. It reports whether the write was accepted or waits.
func (p *simProcess) propose(c *simCall) bool {
	if p.core.leader == None && p.w.chance(0.5) {
		c.asked = c.tries > 0
		p.parked = append(p.parked, c)
		return true
	}
	return p.ask(c)
}

// retake proposes the writes that wait for a leader as soon as there is one, as Node.retake does.
func (p *simProcess) retake() {
	if len(p.parked) == 0 || p.core.leader == None {
		return
	}
	parked := p.parked
	p.parked = nil
	for _, c := range parked {
		if !c.done && c.at == p && !p.ask(c) {
			c.again()
		}
	}
}

// ask proposes a write once. Each try has an id of its own, so that the checker can tell which of
// them was applied.
func (p *simProcess) ask(c *simCall) bool {
	c.id, c.term, c.asked = p.w.check.newID(), p.core.term, true
	p.w.check.asks(c)
	p.waiters = append(p.waiters, c)
	var err error
	p.input(func(core *core) {
		what := proposal{kind: EntryCommand, id: c.id, data: c.op.encode(p.w)}
		if core.role == Leader {
			_, err = core.propose(what)
			return
		}
		if core.forward([]proposal{what}) == 0 {
			err = errNotLeader
			return
		}
		p.w.count(countForwarded)
	})
	if err != nil {
		p.w.check.refused(c.id)
		p.drop(c)
	}
	return err == nil
}

// read begins a client's read. It is tried repeatedly until a leader answers, with a new id each
// time (pitfall C3).
func (p *simProcess) read(c *simCall) {
	p.reads = append(p.reads, c)
	p.try(c)
}

func (p *simProcess) try(c *simCall) {
	c.id, c.safe = p.w.check.newID(), 0
	p.input(func(core *core) { _ = core.read(c.id) })
}

func (p *simProcess) retryReads() {
	p.retry = p.w.profile.electionTicks
	for _, c := range slices.Clone(p.reads) {
		if c.safe == 0 && !c.done {
			p.try(c)
		}
	}
}

func (p *simProcess) readIsSafe(r SafeRead) {
	for _, c := range p.reads {
		if c.id == r.ID && c.safe == 0 {
			c.safe = max(r.Index, 1)
		}
	}
	p.answerReads()
}

// answerReads answers the reads whose index has been applied (pitfall C6).
func (p *simProcess) answerReads() {
	p.reads = slices.DeleteFunc(p.reads, func(c *simCall) bool {
		if c.safe == 0 || c.safe > p.applied {
			return false
		}
		c.saw(p.applied, p.machine.read(c.op.key))
		return true
	})
}

// drop forgets a client that has given up (pitfall G6).
func (p *simProcess) drop(c *simCall) {
	same := func(o *simCall) bool { return o == c }
	p.waiters = slices.DeleteFunc(p.waiters, same)
	p.reads = slices.DeleteFunc(p.reads, same)
	if !p.w.mutant.keeps() {
		p.parked = slices.DeleteFunc(p.parked, same)
	}
}

// lost tells the core that the connection to a member broke.
func (p *simProcess) lost(peer uint64) {
	p.w.excuse(p.id, peer)
	p.after(p.w.around(0.2), func() { p.input(func(c *core) { c.lost(peer) }) })
}

// newRand returns a generator for one core, drawn from the run's generator.
func newRand(r *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(r.Uint64(), r.Uint64())) }
