package raft

import (
	"math/rand/v2"
	"strings"
	"syscall"

	"etcd2/raft/linear"
)

// simFaults is a set of faults.
type simFaults uint32

// The faults that a seed switches on or off.
const (
	faultLoss simFaults = 1 << iota
	faultDoubles
	faultReorder
	faultMisaddress
	faultPartition
	faultClog
	faultReset
	faultCrash
	faultPower
	faultPause
	faultSlowDisk
	faultStallDisk
	faultSlowApply
	faultBadFetch
	faultDrift
	faultTransfer
	faultChange
	faultBurst
	faultGiveUp
	faultBadDisk
	faultFullDisk
	faultRot
	faultWipe
	faultSilence // only in worlds of the kind "silence"
	faultsEnd
)

var simFaultNames = [...]string{
	"loss", "doubles", "reorder", "misaddress", "partition", "clog", "reset", "crash", "power", "pause", "slow-disk",
	"stall-disk", "slow-apply", "bad-fetch", "drift", "transfer", "change", "burst", "give-up",
	"bad-disk", "full-disk", "rot", "wipe", "silence",
}

func (f simFaults) String() string {
	var names []string
	for i, name := range simFaultNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// simProfile holds what a seed has drawn for a run: which faults happen, and how large and how
// frequent everything is. Durations are means in ticks.
type simProfile struct {
	kind    *simKind
	whole   bool
	faults  simFaults
	members int
	clients int

	delay, diskDelay, applyDelay, transferDelay float64
	loss, doubles                               float64
	think, reads                                float64
	pace                                        float64 // factor of the time between faults

	appendBytes, inflightBytes, uncommittedBytes, tailBytes int
	heartbeatTicks, snapshotEvery, keepEntries              int
	electionTicks                                           int

	// Only in worlds of other kinds than the first; 0: none.
	distance, near          float64 // one way to the members that are far away, and to the others; instead of delay
	rate                    float64 // bytes that a link carries in a tick
	bulky                   int     // bytes of the largest entries
	bulkyEvery, streamEvery float64 // ticks between two of the largest entries, and between two small ones, of the load
	callByCall              bool    // the disks fail at calls of each kind, also while they are opened
	orderly                 bool    // no change of the membership while any member has no vote
	readEvery               float64 // ticks between two reads of the load
}

// drawProfile draws a profile. Without a fault it draws all else the same, so that a run that fails
// can be repeated with fewer faults.
func drawProfile(r *rand.Rand, setup *simSetup) (p simProfile) {
	p.whole = setup.whole
	p.members = []int{1, 2, 3, 3, 3, 4, 4, 5, 5, 5, 6, 7}[r.IntN(12)]
	p.clients = 6 + r.IntN(7)
	p.delay, p.diskDelay = 0.02+r.Float64()*r.Float64(), 0.02+r.Float64()*r.Float64()
	p.applyDelay, p.transferDelay = 4*r.Float64(), 6*r.Float64()
	p.loss, p.doubles = 0.3*r.Float64()*r.Float64(), 0.2*r.Float64()
	p.think, p.reads = 0.3+3*r.Float64(), 0.55+0.4*r.Float64()
	p.pace = 0.15 + r.Float64()
	p.appendBytes = 100 + int(2000*r.Float64()*r.Float64())
	p.inflightBytes = p.appendBytes * (2 + r.IntN(20))
	p.uncommittedBytes = 1000 << r.IntN(8)
	p.tailBytes = 500 << r.IntN(7)
	p.heartbeatTicks = 1 + r.IntN(3)
	p.snapshotEvery, p.keepEntries = 10<<r.IntN(6), 1<<r.IntN(7)
	p.faults = simFaults(r.Uint32()) & (faultSilence - 1)
	p.electionTicks = simElection
	p.kind = drawKind(r, setup.world)
	p.kind.shape(&p, r)
	p.faults &^= setup.without
	return p
}

// on reports whether a fault may happen now.
func (w *simWorld) on(f simFaults) bool { return !w.calm && w.profile.faults&f != 0 }

// patience returns how long a healthy cluster may take to settle: ten election timeouts of the
// slowest clock, and the time to send a member the bytes that it lacks, at one window for each
// round trip, with a disk write in it. It allows no extra time for each entry: catching up is a
// pipeline.
func (p *simProfile) patience(bytes int) int64 {
	return int64((10*float64(p.electionTicks)*1.1 + 2*float64(bytes)/p.throughput()) * float64(simTick))
}

// drawRate draws how fast a member's clock runs.
func (p *simProfile) drawRate(r *rand.Rand) float64 {
	drift := 0.2*r.Float64() - 0.1
	if p.faults&faultDrift == 0 {
		return 1
	}
	return 1 + drift
}

func (p *simProfile) core(id uint64, r *rand.Rand) coreConfig {
	return coreConfig{
		ID: id, ElectionTicks: p.electionTicks, HeartbeatTicks: p.heartbeatTicks, Rand: newRand(r), Wall: p.drawWall(r),
		WallCommand:    simWall,
		MaxAppendBytes: p.appendBytes, MaxWriteBytes: p.inflightBytes, MaxInflightBytes: p.inflightBytes,
		MaxUncommittedBytes: p.uncommittedBytes, MaxTailBytes: p.tailBytes, MaxUnappliedBytes: 2 * p.inflightBytes,
	}
}

// drawWall draws what a member's wall clock shows: anything within an hour of the truth.
func (p *simProfile) drawWall(r *rand.Rand) int64 {
	const hour = 3600e9
	return int64(1e18) + r.Int64N(2*hour) - hour
}

// founding returns the entries with which the log of every first member begins.
func (p *simProfile) founding() (es []Entry) {
	for i := range p.members {
		change := Change{Kind: ChangeAdd, Member: Member{ID: uint64(i + 1)}}
		es = append(es, Entry{Index: uint64(i + 1), Term: 1, Kind: EntryChange, Data: appendChange(nil, &change)})
	}
	return es
}

// simNemesis is a fault that strikes a process now and then.
type simNemesis struct {
	fault  simFaults
	every  float64 // mean ticks between two strikes, at a pace of 1
	leader bool    // strikes members that lead, or believe so
	strike func(*simWorld, *simProcess)
}

func simNemeses() []simNemesis {
	return []simNemesis{
		{faultPartition, 150, false, (*simWorld).partition},
		{faultClog, 100, false, (*simWorld).clog},
		{faultReset, 100, false, (*simWorld).reset},
		{faultCrash, 60, false, (*simWorld).crash},
		{faultPower, 400, false, (*simWorld).power},
		{faultPause, 80, false, (*simWorld).pause},
		{faultTransfer, 50, true, (*simWorld).transfer},
		{faultChange, 40, true, (*simWorld).change},
		{faultBurst, 60, true, (*simWorld).burst},
		{faultBadDisk, 150, false, (*simWorld).spoilDisk},
		{faultFullDisk, 250, false, (*simWorld).fillDisk},
		{faultRot, 250, false, (*simWorld).rot},
		{faultWipe, 300, false, (*simWorld).wipe},
		{faultSilence, 500, false, (*simWorld).silence},
	}
}

func (w *simWorld) startNemeses() {
	for i := range w.nemeses {
		if n := &w.nemeses[i]; w.profile.faults&n.fault != 0 {
			w.schedule(n)
		}
	}
}

func (w *simWorld) schedule(n *simNemesis) {
	w.after(w.around(n.every*w.profile.pace*float64(w.profile.electionTicks)/simElection), func() {
		if !w.on(n.fault) {
			return
		}
		if p := w.victim(n.leader); p != nil {
			if n.fault&(faultChange|faultBurst) == 0 { // a change is recorded when it is agreed
				w.trouble(0)
			}
			n.strike(w, p)
		}
		w.schedule(n)
	})
}

// victim picks the process that a fault strikes: one that leads more often than its share.
func (w *simWorld) victim(leads bool) *simProcess {
	if !leads && w.chance(0.7) {
		return w.anyone()
	}
	var leaders []*simProcess
	for _, p := range w.running() {
		if p.core.role == Leader && !p.paused {
			leaders = append(leaders, p)
		}
	}
	if len(leaders) == 0 {
		return nil
	}
	return leaders[w.rand.IntN(len(leaders))]
}

// welcome lets a fault strike a new leader, when it has the most to lose.
func (w *simWorld) welcome(p *simProcess) {
	n := &w.nemeses[w.rand.IntN(len(w.nemeses))]
	switch {
	case w.chance(0.3):
		n = &simNemesis{fault: faultPartition, strike: (*simWorld).isolate}
	case w.chance(0.4):
		n = &simNemesis{fault: faultChange, leader: true, strike: (*simWorld).quarrel}
	}
	p.after(w.between(0, 3)*int64(w.rand.IntN(2)), func() {
		if w.on(n.fault) && (p.core.role == Leader || !n.leader) {
			w.trouble(0)
			n.strike(w, p)
		}
	})
}

// quarrel has a leader change the membership while it is cut off from some of the members. They may
// elect another leader, which changes it at the same time.
func (w *simWorld) quarrel(l *simProcess) {
	if w.on(faultPartition) && w.chance(0.5) {
		w.after(w.between(0, 1), func() { w.split(l) })
	} else if w.on(faultPartition) {
		w.isolate(l)
	}
	w.change(l)
}

// diskDelay draws how long a write and its sync take.
func (w *simWorld) diskDelay() (d int64) {
	switch {
	case w.on(faultStallDisk) && w.chance(0.01):
		d = w.between(10, 200)
	case w.on(faultSlowDisk):
		d = w.between(0, 20)
	default:
		return w.around(w.profile.diskDelay)
	}
	w.trouble(d)
	return d
}

// crash kills a process, which its peers may notice, and starts it again after a while.
func (w *simWorld) crash(p *simProcess) {
	w.count(countCrashes)
	w.kill(p, w.between(0, 60))
}

func (w *simWorld) kill(p *simProcess, down int64) {
	p.crash()
	w.breakOff(p)
	w.after(down, func() {
		if p.core == nil && !p.retired {
			p.boot()
		}
	})
}

// breakOff lets the others notice that a process has ended: in runs where connections break, and
// where windows are so large that timeouts would find out too late (seed 1795913457481871434,
// readers).
func (w *simWorld) breakOff(p *simProcess) {
	for _, q := range w.running() {
		if w.profile.faults&faultReset != 0 || w.profile.bulky > 0 {
			q.lost(p.id)
		}
	}
}

// power cuts the power of all processes at the same instant (pitfall H15).
func (w *simWorld) power(*simProcess) {
	w.count(countPowers)
	for _, p := range w.running() {
		w.kill(p, w.between(0, 30))
	}
}

// pause stops a process for a while; the process notices only the gap in time.
func (w *simWorld) pause(p *simProcess) {
	w.count(countPauses)
	w.tracef("%s n%x pauses", w.clock(), p.id)
	w.excuse(p.id, p.id)
	p.paused = true
	w.after(w.between(1, 50), p.resume)
}

// transfer has a leader hand its office over to some member.
func (w *simWorld) transfer(l *simProcess) {
	to := w.anyone()
	w.count(countTransfers)
	w.tracef("%s n%x is told to hand over to n%x", w.clock(), l.id, to.id)
	l.input(func(c *core) { c.transfer(to.id) })
	if w.on(faultClog) && w.chance(0.5) {
		w.clog(l) // so that it does not learn that it was deposed
	}
}

// burst has a leader append many proposals at once, from clients that do not wait for the answer.
func (w *simWorld) burst(l *simProcess) {
	l.input(func(c *core) {
		for range w.rand.IntN(40) {
			op := simOp{Op: linear.Op{Kind: linear.Put, Value: w.check.newID()}, key: uint8(w.rand.IntN(simKeys))}
			call := &simCall{op: op, from: w.check.moment(), asked: true, id: w.check.newID()}
			if _, err := c.propose(proposal{kind: EntryCommand, id: call.id, data: op.encode(w)}); err != nil {
				w.check.refused(call.id)
				return
			}
			w.history = append(w.history, call)
		}
		if w.whole {
			_, _ = c.propose(proposal{kind: EntryCommand, data: w.lease()})
		}
	})
}

// spoilDisk lets one of the next writes or syncs fail.
func (w *simWorld) spoilDisk(p *simProcess) { w.afflict(p, syscall.EIO) }

// fillDisk leaves no room on a disk, until an operator makes some and starts the process again.
func (w *simWorld) fillDisk(p *simProcess) {
	w.afflict(p, syscall.ENOSPC)
	w.after(w.between(20, 200), func() {
		if p.core != nil && p.ailing {
			w.kill(p, w.between(0, 10))
			p.heal()
		}
	})
}

func (w *simWorld) afflict(p *simProcess, errno syscall.Errno) {
	w.tracef("%s the disk of n%x is to fail: %v", w.clock(), p.id, errno)
	p.ailing = true
	p.disk.fail(errno)
}

// rot flips a bit of what a process has on disk, when the cluster could bear the loss of that disk,
// and restarts the process. It must come back with all that it had, or refuse to start (pitfalls
// H2, H14).
func (w *simWorld) rot(p *simProcess) {
	if w.whole && w.bearable(p) {
		w.count(countRots)
		w.kill(p, 0)
		p.disk.rot()
		p.boot()
	}
}

// wipe removes a member's disk, when the cluster can bear it.
func (w *simWorld) wipe(p *simProcess) {
	if !w.bearable(p) {
		return
	}
	w.count(countWipes)
	w.kill(p, 0)
	if w.mutant.forgets() {
		p.disk, p.seen = w.newDisk(p.id, nil), simSeen{}
		p.boot()
		return
	}
	w.lose(p, "wiped")
}

// bearable reports whether the cluster can do without a voter's disk: the other voters that have
// their disks are a majority, and no change of the membership is under way that might alter that. A
// member's log may have dropped such a change in memory and still hold it on disk, until the write
// that cuts it off is done (seed 1795912780753324449, wan).
func (w *simWorld) bearable(p *simProcess) bool {
	k, left := &w.check, 0
	config := newConfig(0, 0, k.configs[len(k.configs)-1].membership)
	for _, v := range config.voters {
		if q := w.processes[v-1]; q != p && !q.gone {
			left++
		}
	}
	for _, q := range w.processes {
		s, behind := q.seen.configs, q.seen.undid && (q.core == nil || q.writing != nil)
		if !q.retired && (behind || s[len(s)-1].index > k.commit()) {
			return false
		}
	}
	return config.votes(p.id) && left >= config.quorum()
}

// lose ends a process whose disk is gone. It may never come back under its old id, because it has
// forgotten its votes and its entries (pitfall D10).
func (w *simWorld) lose(p *simProcess, why string) {
	w.tracef("%s n%x has lost its disk: %s", w.clock(), p.id, why)
	p.gone, p.retired = true, true
	w.replace(p)
}

// replace has the operators remove a member that has lost its disk, and add a new one when the
// removal is agreed.
func (w *simWorld) replace(p *simProcess) {
	w.after(w.between(5, 20), func() {
		switch l := w.leader(); {
		case !w.check.isMember(p.id):
			w.replaced(p)
			return
		case l != nil && !l.paused:
			w.propose(l, Change{Kind: ChangeRemove, Member: Member{ID: p.id}})
		}
		w.replace(p)
	})
}

// replaced adds a new member, with a disk of its own, in place of one that was removed.
func (w *simWorld) replaced(p *simProcess) {
	if w.calm || len(w.processes) >= simMaxMembers {
		return
	}
	if l := w.leader(); l != nil && !l.paused && w.addMember(l) {
		w.count(countReplaced)
		return
	}
	w.after(w.between(5, 20), func() { w.replaced(p) })
}

// change has a leader add, remove or rename a member. While a member without its disk is to be
// replaced, the operators change no other; in some worlds also while any member has no vote.
func (w *simWorld) change(l *simProcess) {
	if w.anyLost() || w.profile.orderly &&
		len(l.core.configs.now().voters) < len(l.core.configs.now().membership.Members) {
		return
	}
	members := l.core.configs.now().membership.Members
	one := members[w.rand.IntN(len(members))]
	switch grow := len(members) < w.profile.members+2 && len(w.processes) < simMaxMembers; {
	case w.chance(0.1):
		w.readd(l)
	case grow && w.chance(0.5):
		w.addMember(l)
	case w.chance(0.2):
		w.propose(l, Change{Kind: ChangeUpdate, Member: Member{ID: one.ID, Name: "n", PeerURLs: []string{w.clock()}}})
	case len(l.core.configs.now().voters) > 1 || one.Learner:
		w.propose(l, Change{Kind: ChangeRemove, Member: Member{ID: one.ID}})
	}
}

// readd has a leader add an id that was removed before, which must have no effect (pitfall D9).
func (w *simWorld) readd(l *simProcess) {
	if removed := w.check.configs[len(w.check.configs)-1].membership.Removed; len(removed) > 0 {
		w.propose(l, Change{Kind: ChangeAdd, Member: Member{ID: removed[w.rand.IntN(len(removed))]}})
	}
}

// addMember adds a member and starts it, whether the proposal succeeds or not. Most begin as
// learners.
func (w *simWorld) addMember(l *simProcess) bool {
	id := uint64(len(w.processes) + 1)
	ok := w.propose(l, Change{Kind: ChangeAdd, Member: Member{ID: id, Learner: w.chance(0.7)}})
	if ok {
		w.addProcess(nil)
	}
	return ok
}

func (w *simWorld) propose(l *simProcess, change Change) bool {
	var err error
	l.input(func(c *core) {
		undo := w.mutant.aroundChange(c)
		_, err = c.proposeChange(change, 0)
		undo()
	})
	return err == nil
}

// retire stops a member for good some time after its removal was agreed.
func (w *simWorld) retire(id uint64) {
	p := w.processes[id-1]
	w.after(w.between(0, 100), func() {
		p.retired = true
		p.crash()
	})
}
