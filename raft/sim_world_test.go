package raft

import (
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"
)

// The simulation runs a whole cluster in one goroutine, in virtual time, from one seed: the seed
// picks the faults (simProfile), and then every delay, loss and crash. After every step it checks
// what the members must never do (simChecker), and after the last fault what they must do at last.
//
//	 clients ──▶ process 1 ◀──▶ network ◀──▶ process 2 …      agenda: what happens next, by virtual time
//	                │  core                                   nemesis: partitions, crashes, stalls, operators
//	                ├─ disk (what is synced survives)         checker: sees every input's outcome
//	                └─ machine (what the log is applied to)
//
// Two runs of one seed are the same, step by step; -sim.seed replays one that failed.

// simTick is the length of a tick on a clock that runs true, in nanoseconds.
const simTick = int64(10 * time.Millisecond)

// simElection is the election timeout in ticks, except in worlds with long distances.
const simElection = 10

// simMaxMembers bounds the ids of a run: members that are removed do not come back.
const simMaxMembers = 100

// simSetup says what to simulate.
type simSetup struct {
	seed    uint64
	steps   int               // before the faults end
	without simFaults         // faults that the seed may not switch on
	bias    func(*simProfile) // may be nil
	mutant  *simMutant
	digests bool      // members compare their states, and now and then one of them is spoiled
	world   string    // name of a simKind; empty: the seed draws one
	whole   bool      // real messages, log, snapshots and store; the disk is simulated below them
	trace   io.Writer // may be nil
	film    *film     // may be nil
}

// simWorld is one run. Everything in it belongs to one goroutine.
type simWorld struct {
	simSetup
	profile simProfile
	rand    *rand.Rand
	now     int64 // virtual time in nanoseconds
	agenda  simAgenda
	done    simCounts // so far; its steps are messages delivered and ticks passed
	hash    uint64
	calm    bool // the faults have ended

	silent   bool  // no member hears another
	struck   int64 // when a fault struck last, or when one that still lasts will end
	troubled int64 // likewise, or a leader was elected

	processes []*simProcess // by id-1; those that were removed stay in it
	network   simNetwork
	clients   []*simClient
	watchers  []*simWatcher // only of a real store
	nemeses   []simNemesis
	history   []*simCall
	check     simChecker
}

// simReport is the outcome of a run.
type simReport struct {
	profile *simProfile
	done    simCounts
	hash    uint64
	failure string // empty when all is well
}

// simViolation is a broken promise; the checker panics with it.
type simViolation string

func (w *simWorld) violated(format string, args ...any) {
	panic(simViolation(fmt.Sprintf(format, args...)))
}

// simulate runs one seed.
func simulate(setup simSetup) (r simReport) {
	w := newSimWorld(setup)
	defer func() {
		r = simReport{profile: &w.profile, done: w.done, hash: w.hash}
		switch v := recover().(type) {
		case nil:
			return
		case simViolation:
			r.failure = string(v)
		default:
			r.failure = fmt.Sprint("panic: ", v)
			w.tracef("%s", debug.Stack())
		}
		w.tracef("%s FAILURE %s", w.clock(), r.failure)
		w.cutFilm()
	}()
	for w.done.steps < setup.steps {
		w.next()
	}
	w.recoverAndSettle()
	w.checkHistory()
	return r
}

func newSimWorld(setup simSetup) *simWorld {
	w := &simWorld{simSetup: setup, now: simTick, nemeses: simNemeses()}
	w.rand = rand.New(rand.NewPCG(setup.seed, 1))
	w.profile = drawProfile(rand.New(rand.NewPCG(setup.seed, 2)), &setup)
	if setup.bias != nil {
		setup.bias(&w.profile)
	}
	w.network.spread(&w.profile, w.rand)
	w.check = newSimChecker(w, w.profile.founding())
	for range w.profile.members {
		w.addProcess(w.profile.founding())
	}
	for i := range w.profile.clients {
		w.clients = append(w.clients, newSimClient(w, i))
	}
	for i := 0; w.whole && i < w.profile.clients/2; i++ {
		w.watchers = append(w.watchers, newSimWatcher(w, i))
	}
	w.startNemeses()
	w.startLoad()
	if w.digests {
		w.scheduleSpoiling()
	}
	return w
}

// addProcess starts a new member, with an empty log or with the one that a first member begins
// with.
func (w *simWorld) addProcess(first []Entry) *simProcess {
	p := newSimProcess(w, uint64(len(w.processes)+1), first)
	w.processes = append(w.processes, p)
	p.boot()
	return p
}

// next runs the next event.
func (w *simWorld) next() {
	e := w.agenda.pop()
	w.now = e.at
	e.do()
	w.cutFilm()
}

func (w *simWorld) count(c simCount) { w.done.events[c]++ }

func (w *simWorld) at(t int64, do func()) { w.agenda.push(max(t, w.now), do) }

func (w *simWorld) after(d int64, do func()) { w.agenda.push(w.now+d, do) }

// chance is true with probability p.
func (w *simWorld) chance(p float64) bool { return p > 0 && w.rand.Float64() < p }

// around draws a duration with the given mean in ticks; it is rarely much longer.
func (w *simWorld) around(ticks float64) int64 {
	return int64(w.rand.ExpFloat64() * ticks * float64(simTick))
}

// between draws a duration, given its limits in ticks. In worlds with a longer election timeout it
// grows by the same factor.
func (w *simWorld) between(low, high int) int64 {
	unit := simTick * int64(w.profile.electionTicks) / simElection
	return int64(low)*unit + w.rand.Int64N(int64(high-low)*unit+1)
}

// running returns the processes that are up, in the order of their ids.
func (w *simWorld) running() (up []*simProcess) {
	for _, p := range w.processes {
		if p.core != nil {
			up = append(up, p)
		}
	}
	return up
}

// anyone returns a process that is up, or nil.
func (w *simWorld) anyone() *simProcess {
	up := w.running()
	if len(up) == 0 {
		return nil
	}
	return up[w.rand.IntN(len(up))]
}

// leader returns the leader of the latest term among those that are up, or nil.
func (w *simWorld) leader() (leader *simProcess) {
	for _, p := range w.processes {
		if p.core != nil && p.core.role == Leader && (leader == nil || p.core.term > leader.core.term) {
			leader = p
		}
	}
	return leader
}

// recoverAndSettle ends the faults. Within ten election timeouts there must be one leader. As soon
// as there was time to send the log, all members must have applied everything, and all clients must
// have an answer (pitfalls B10, E11, F8, G1).
func (w *simWorld) recoverAndSettle() {
	w.calm, w.silent = true, false
	w.network.heal()
	w.tracef("%s faults end", w.clock())
	applied := w.check.commit()
	for _, p := range w.processes {
		p.resume()
		if p.ailing {
			p.crash()
			w.breakOff(p)
			p.heal()
		}
		switch {
		case p.core != nil:
			p.written(p.writing)
		case !p.retired:
			p.boot()
		}
		if p.core != nil {
			applied = min(applied, p.applied)
		}
	}
	patience := w.profile.patience(w.lacking(applied))
	w.await(w.profile.patience(0), func() string {
		if w.leader() == nil {
			return "no leader"
		}
		return ""
	})
	w.await(patience, w.undiscovered)
	if w.anyLost() {
		w.await(patience+50*simTick, w.unreplaced)
	}
	w.await(patience, w.unsettled)
	for _, m := range w.leader().core.configs.now().membership.Members {
		w.check.frozen(w.processes[m.ID-1].applied, w.processes[m.ID-1].machine.freeze())
	}
	for _, c := range w.watchers {
		c.finish(w.leader())
	}
}

// lacking returns the size of all entries after an index: of those that are agreed, and of those
// that may still be.
func (w *simWorld) lacking(index uint64) int {
	open := 0
	for _, p := range w.running() {
		open = max(open, sizeOf(p.core, max(w.check.commit(), p.core.log.base)))
	}
	return w.check.bytesAfter(index) + open
}

// await lets time pass until missing returns "".
func (w *simWorld) await(patience int64, missing func() string) {
	deadline := w.now + patience
	why := missing()
	for ; why != ""; why = missing() {
		if w.now >= deadline {
			w.violated("liveness: %s, %d ticks after the faults ended", why, patience/simTick)
		}
		for until := w.now + simTick; w.now < until; {
			w.next()
		}
	}
}

// unreplaced names a member that has lost its disk and is not yet removed, or returns "".
func (w *simWorld) unreplaced() string {
	for _, p := range w.processes {
		if p.gone && w.check.isMember(p.id) {
			return fmt.Sprintf("n%x has lost its disk and is not removed", p.id)
		}
	}
	return ""
}

func (w *simWorld) anyLost() bool { return w.unreplaced() != "" }

// unsettled says what a healthy cluster still lacks, or returns "".
func (w *simWorld) unsettled() string {
	l := w.leader()
	if l == nil {
		return "the leader is gone"
	}
	for _, c := range w.clients {
		if c.call != nil {
			return fmt.Sprintf("client %d waits", c.number)
		}
	}
	for _, m := range l.core.configs.now().membership.Members {
		p := w.processes[m.ID-1]
		switch {
		case p.core == nil:
			return fmt.Sprintf("n%x is down", p.id)
		case p.core.term != l.core.term || p.core.leader != l.id:
			return fmt.Sprintf("n%x does not follow n%x", p.id, l.id)
		case p.applied != l.core.log.last():
			return fmt.Sprintf("n%x has applied %d of %d", p.id, p.applied, l.core.log.last())
		case p.machine.digest() != l.machine.digest():
			return fmt.Sprintf("n%x differs from n%x at %d", p.id, l.id, p.applied)
		}
	}
	return ""
}

func (w *simWorld) clock() string { return fmt.Sprintf("%9.2f", float64(w.now)/float64(simTick)) }

func (w *simWorld) tracef(format string, args ...any) {
	if w.trace == nil {
		return
	}
	line := fmt.Sprintf(format, args...)
	if !strings.HasSuffix(line, "\n") {
		line += "\n"
	}
	_, _ = io.WriteString(w.trace, line)
}

// mix takes one more value into the hash of the run.
func (w *simWorld) mix(v uint64) { w.hash = simMix(w.hash, v) }

// simMix is a hash of two values (the finisher of splitmix64).
func simMix(h, v uint64) uint64 {
	h ^= v + 0x9e3779b97f4a7c15 + h<<6
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	return h ^ h>>27
}

// simAgenda holds the coming events, earliest first. Events of the same moment come in the order in
// which they were entered.
type simAgenda struct {
	heap []simEvent
	seq  uint64
}

type simEvent struct {
	at  int64
	seq uint64
	do  func()
}

func (e *simEvent) before(f *simEvent) bool { return e.at < f.at || e.at == f.at && e.seq < f.seq }

func (a *simAgenda) push(at int64, do func()) {
	a.seq++
	e := simEvent{at, a.seq, do}
	a.heap = append(a.heap, e)
	i := len(a.heap) - 1
	for i > 0 && e.before(&a.heap[(i-1)/2]) {
		a.heap[i] = a.heap[(i-1)/2]
		i = (i - 1) / 2
	}
	a.heap[i] = e
}

func (a *simAgenda) pop() simEvent {
	top, last := a.heap[0], a.heap[len(a.heap)-1]
	a.heap[len(a.heap)-1] = simEvent{}
	a.heap = a.heap[:len(a.heap)-1]
	if len(a.heap) == 0 {
		return top
	}
	i := 0
	for child := 1; child < len(a.heap); child = 2*i + 1 {
		if child+1 < len(a.heap) && a.heap[child+1].before(&a.heap[child]) {
			child++
		}
		if last.before(&a.heap[child]) {
			break
		}
		a.heap[i] = a.heap[child]
		i = child
	}
	a.heap[i] = last
	return top
}
