package raft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// StateMachine is what the log is applied to. Its methods are called by the
// node's applier only, one at a time.
type StateMachine interface {
	// Apply executes one entry. It must be a pure function of the state and its arguments and may
	// not fail: what it returns goes to the caller that proposed cmd. cmd is empty for an entry
	// that only carries the time. A value that is a Fatal stops the member.
	Apply(index uint64, now time.Time, cmd []byte) any
	// Freeze returns at once; the returned function writes the state as it was then. It runs
	// in another goroutine, while Apply goes on.
	Freeze() func(w io.Writer) error
	// Restore replaces the state by one written by Freeze.
	Restore(r io.Reader) error
	// NextDue is the cluster time at which the next key expires.
	NextDue() (time.Time, bool)
}

// Fatal is a result of Apply that stops the member: the command can't be executed here, and a
// member that skipped it would diverge from the others (pitfall I7).
type Fatal interface {
	error
	Fatal() bool
}

// Errors of Propose, Read and Change.
var (
	ErrStopped = errors.New("raft: the member is stopping")
	// The leader is lost, or the deadline has passed: the proposal may yet be applied.
	ErrUnknown    = errors.New("raft: the outcome is not known")
	ErrOverloaded = errors.New("raft: too much waits to be agreed")
	// The proposal was never made.
	ErrNoLeader = errors.New("raft: no leader is known")

	// Errors that end the member. A removed one can never come back.
	ErrRemoved  = errors.New("raft: this member has been removed from the cluster")
	ErrDiverged = errors.New("raft: the state of this member is not that of the majority")
)

// Node is one running member: the core and what drives it. All methods may be called from any
// goroutine.
//
// Its fields stand in groups, by the goroutine that may touch them. The group of the loop and that
// of the applier have no lock: the race detector reports any other goroutine that touches them. (A
// function that is left in the inbox is run by the loop, and counts as the loop.) Before start,
// open has the node for itself, and may touch all.
//
// The end begins when Stop or fail closes quit. Where goroutines wait, and what ends the wait once
// quit is closed:
//
//	goroutine        waits in             for                            until
//	loop             loop                 any input                      quit
//	                 startWrite           never: the channel has room for the one write
//	disk writer      writeDisk            a write from the loop          close closes toDisk
//	                 write                a call of the disk             it returns
//	                 writeDisk            never, to say done: the channel has room
//	applier          applyLoop            a job from the loop            looped
//	                 runJob               the state machine              it returns
//	                 close                disk writer, snapshot writer,  they end, or hang
//	                                      helpers, transport             with the disk
//	snapshot writer  interruptible        a call of the disk             it returns; then quit
//	                 reportSnapshot       a turn of the loop             looped
//	helper           fetch, sendSnapshot  calls of the disk              they return
//	Step             inbox.step           room in the inbox              quit
//	                 ReceiveSnapshot      the body                       Transport.Close
//	Propose, Read,   wait                 the outcome                    waiters.close, by fail
//	Change                                                               or by applyLoop
//	do               do                   a turn of the loop             looped, or abandoned
//	Stop             Stop                 done                           abandoned
//
// So only a call of the disk or of the state machine can delay done. After a failure nobody waits
// for such a call longer than failPatience: fail answers all waiters at once, and Stop returns when
// done or abandoned is closed, whichever comes first.
type Node struct {
	// Set before start, and never changed afterwards.
	Config
	id          uint64
	sm          StateMachine // called by the applier alone; before start by restore and replay
	storage     *storage     // its comment says which goroutine may call what
	epoch       time.Time    // the monotonic clock counts from here
	startCommit uint64       // commit index at the start; never64 before it is known

	loopState
	applierState
	published
	lifecycle

	// Shared: each has a mutex of its own, or only atomic fields.
	stats     Stats
	inbox     inbox   // from everybody to the loop
	waiters   waiters // callers of Propose, Read and Change
	snapshots snapshotter

	toDisk     chan *Persist // capacity 1, and one write at a time (diskBusy): sending never blocks
	fromDisk   chan uint64   // likewise: the number of the write that is done
	toApply    chan job
	membership chan struct{} // capacity 1, to announce: the membership has changed
}

// loopState is touched by the loop alone. Times are on the monotonic clock.
type loopState struct {
	core    *core
	backlog []job // for the applier

	// Requests on their way to a leader; see the table above waiter.
	parked      parking             // requests that no leader has taken yet
	triedUnder  leadershipMark      // leadership under which they were last tried; forgotten at the next tick
	forwardFull bool                // some were parked for want of room on the way to the leader
	gatherUntil gathering           // how long what is in the inbox waits
	batch       []proposal          // room for those that proposeOrForward is passing on
	reads       map[uint64][]uint64 // id of a read at the core → ids of the requests that it stands for
	readSentAt  int64               // when the newest of these went to the core
	commits     []commitTime        // when batches were proposed that are not committed
	stampIndex  uint64              // index of the last entry appended only to let keys expire

	// Members that lag, the disk, the applier, the cluster.
	fetchers    map[uint64]*fetcher // of members that lag, but for those with a fetch under way
	diskBusy    bool                // the disk writer has something to do
	diskSince   int64               // since when
	restoring   uint64              // index of the last received snapshot that was given to the applier
	removed     bool                // this member's removal is applied
	lagTarget   uint64              // index that the applier has to reach for Stats.BehindSince to move on
	lastContact int64               // when this member was last in contact with a leader

	// Ticks until something is due.
	readRetryTicks  int // reads that have no answer are tried again
	releaseTicks    int // the log is released again, because a member lacked a part; 0: no member did
	leaderlessTicks int // counts up: ticks without a leader

	// What was last told, to tell only changes.
	loggedLeadership leadershipMark
	contactLogged    int64      // when it was last logged that no leader is in contact; 0: one is
	followedConfig   configMark // the configuration that the transport was told; zero: the applied one has changed
	followedMembers  Membership // the members that the transport was told
}

// applierState is touched by the applier alone.
type applierState struct {
	digests      digests
	lastSnapshot uint64 // index of the newest snapshot on disk or under way
}

// published has what one goroutine tells all others.
type published struct {
	// By the applier.
	applied atomic.Pointer[appliedState]
	nextDue atomic.Int64 // when the next key expires, in cluster time; 0 when none does

	// By the loop.
	newest       atomic.Pointer[Membership] // the configuration in force, applied or not
	leader       atomic.Uint64
	leaderSince  atomic.Int64 // wall clock in Unix nanoseconds
	clock        shownClock
	applierWakes atomic.Bool // the applier is to wake the loop after each batch

	looping, writing, applying worker // by the loop, the disk writer and the applier: for Stuck
}

// lifecycle has what ends a node, and what tells that it has ended.
type lifecycle struct {
	ready   chan struct{} // closed by announce
	quit    chan struct{} // closed by Stop, or by fail
	stop    sync.Once     // closes quit
	looped  chan struct{} // closed when the loop has ended
	written chan struct{} // closed when the disk writer has ended
	done    chan struct{} // closed when everything has ended

	abandoned   chan struct{} // closed when something hangs: nobody waits for done any longer
	abandonOnce sync.Once     // closes abandoned
	failure     atomic.Pointer[error]
	failed      chan struct{} // closed once failure is set

	snapshotWriters sync.WaitGroup
	helpers         sync.WaitGroup // they read the disk for members that lag
}

// Open starts the member that lives in c.Dir, or a new one when there is none. When it returns, the
// state machine has all that its disk knows to be committed. Ready tells when it has everything
// that this member may have served before.
func Open(c Config, sm StateMachine) (*Node, error) {
	c = c.withDefaults()
	if err := c.lockDirs(); err != nil {
		return nil, err
	}
	n, err := open(c, sm)
	if err != nil {
		return nil, errors.Join(c.Dirs.explain(err), c.Dirs.Close())
	}
	n.start()
	return n, nil
}

func open(c Config, sm StateMachine) (*Node, error) {
	o := c.storage()
	if err := c.bootstrap(o); err != nil {
		return nil, err
	}
	n := newNode(c, sm)
	s, r, err := openStorage(o, n)
	if err != nil {
		return nil, err
	}
	c.Dirs.settled = true
	n.storage, n.id = s, r.ID
	n.logRecovery(r)
	n.keepPrivate(o)
	if err := n.resume(r); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return n, nil
}

// newNode makes a node that has not read its disk yet.
func newNode(c Config, sm StateMachine) *Node {
	n := &Node{
		Config: c, sm: sm, epoch: time.Now(), startCommit: never64,
		loopState: loopState{reads: map[uint64][]uint64{}, fetchers: map[uint64]*fetcher{}},
		toDisk:    make(chan *Persist, 1), fromDisk: make(chan uint64, 1), toApply: make(chan job),
		membership: make(chan struct{}, 1),
		lifecycle: lifecycle{
			ready: make(chan struct{}), quit: make(chan struct{}), looped: make(chan struct{}),
			written: make(chan struct{}), done: make(chan struct{}),
			abandoned: make(chan struct{}), failed: make(chan struct{}),
		},
	}
	n.stats.InTouch.Store(n.epoch.UnixNano())
	n.inbox.init()
	n.waiters.init()
	return n
}

// resume makes the core of what the disk holds. The state machine has all that is committed.
func (n *Node) resume(r *recovery) error {
	now := n.applied.Load()
	n.waiters.applied, r.Replayed.Membership = now.index, now.membership
	if err := n.force(r); err != nil {
		return err
	}
	n.core = newCore(n.Config.coreConfig(n.id), r.boot)
	n.startCommit = n.core.commit
	n.publishClusterID()
	n.publishConfig()
	return cmp.Or(n.core.broken, n.refuseCopy())
}

// start lets the goroutines run.
func (n *Node) start() {
	go n.writeDisk()
	go n.applyLoop()
	config := n.core.configs.now()
	alone := config.votes(n.id) && config.quorum() == 1
	if n.Transport != nil {
		n.Transport.Start(n)
	}
	go n.announce(n.core.commit, alone)
	go n.loop(alone)
}

// loop owns the core. It never waits for the disk, the state machine or a client.
func (n *Node) loop(alone bool) {
	defer close(n.looped)
	beat := n.newPace()
	defer beat.timer.Stop()
	due, timed := time.NewTimer(never), false
	defer due.Stop()
	if alone {
		n.core.campaign(Vote) // there is no other voter to wait for
	}
	for {
		n.turn()
		beat.plan(n.core.idleTicks())
		// A millisecond at least until a key is due: the stamp may be refused for a while.
		if d := min(max(n.untilDue(), time.Millisecond), n.untilGathered()); d != never || timed {
			timed = d != never
			due.Reset(d)
		}
		toApply, next := n.nextJob()
		n.looping.idles()
		select {
		case <-n.inbox.wake:
		case <-beat.timer.C:
		case seq := <-n.fromDisk:
			n.diskBusy = false
			n.core.persisted(seq)
		case toApply <- next:
			n.backlog = n.backlog[1:]
			if next.restore != nil {
				n.restoring = next.restore.Index
			}
		case <-due.C:
		case <-n.quit:
			return
		}
		n.looping.begins(n.mono())
		n.tick(beat.passed())
	}
}

// turn takes in what has arrived and does what follows from it.
func (n *Node) turn() {
	now := time.Now() // both clocks at one moment: a pause between two readings would shift one against the other
	n.core.advance(int64(now.Sub(n.epoch)))
	n.core.readWall(now.UnixNano())
	n.core.appliedTo(n.applied.Load().index)
	n.drainInbox()
	n.expireKeys()
	e := n.core.effects(!n.diskBusy)
	n.dispatch(&e)
	if n.gatherUntil.reads != 0 && len(n.reads) == 0 { // the answer that the reads waited for has just come
		n.dequeueReads()
		e = n.core.effects(!n.diskBusy)
		n.dispatch(&e)
	}
	n.clock.set(n.core)
	n.observeLeadership()
	n.observeMembership()
	n.observeProgress()
	n.observeContact(now)
}

// dispatch hands the core's effects to the goroutines that carry them out.
func (n *Node) dispatch(e *Effects) {
	if e.Persist != nil {
		n.startWrite(e.Persist)
	}
	if n.Transport != nil {
		n.sendMessages(e)
	}
	n.handleRefusals(e.Refused)
	if e.Broken != nil {
		n.fail(e.Broken)
	}
	if e.Restore != nil {
		n.backlog = append(n.backlog, job{restore: e.Restore})
	}
	if len(e.Committed) > 0 {
		n.observeCommit(e.Committed[len(e.Committed)-1].Index)
		n.backlog = append(n.backlog, job{entries: e.Committed})
	}
	for _, r := range e.Reads {
		if r.Never {
			n.park(&n.parked.reads, n.reads[r.ID]...)
		} else {
			n.waiters.answerAt(n.reads[r.ID], r.Index)
		}
		delete(n.reads, r.ID)
	}
}

// nextJob returns what the applier is to do next, and the channel to give it through; nil when
// there is nothing.
func (n *Node) nextJob() (chan job, job) {
	if len(n.backlog) == 0 {
		return nil, job{}
	}
	return n.toApply, n.backlog[0]
}

func (n *Node) tick(ticks int) {
	if ticks == 0 {
		return
	}
	for range ticks {
		n.core.tick()
		if n.readRetryTicks--; n.readRetryTicks <= 0 {
			n.retryReads()
		}
	}
	n.triedUnder = leadershipMark{}
	n.dropIdleFetchers(ticks)
	n.releaseAgain(ticks)
	n.waiters.expire(n.mono())
	n.dropDead()
	n.refuseYoungest(ticks)
}

// mono returns the time on this member's monotonic clock, in nanoseconds.
func (n *Node) mono() int64 { return int64(time.Since(n.epoch)) }

// expireKeys appends a stamp when a key is due, so that the key expires although nobody writes.
// While there are keys that will expire, it also does so once a minute: a restart of the whole
// cluster, which goes on from the last stamp, lengthens no time to live by more than that.
func (n *Node) expireKeys() {
	if n.untilDue() > 0 || n.core.role != Leader {
		return
	}
	if n.core.proposeStamp() == nil {
		n.stampIndex = n.core.log.last()
	}
}

// never is a time that no timer of the loop ever waits for.
const never = time.Duration(maxInt64)

// stampEvery is the longest that the log goes without a stamp while a key has a time to live.
const stampEvery = time.Minute

// untilDue returns how long the loop may sleep until expireKeys has something to do; 0: a stamp is
// due now.
func (n *Node) untilDue() time.Duration {
	due := n.nextDue.Load()
	if due == 0 || n.core.role != Leader || n.applied.Load().index < n.stampIndex {
		return never
	}
	due = min(due, n.core.log.lastStamp()+int64(stampEvery))
	return max(time.Duration(due-n.core.clock.time(&n.core.log)), 0)
}

// Propose offers a command to the log and waits until this member has applied it. When the context
// ends, or Config.RequestTimeout passes, the error is ErrUnknown: the command may still be applied.
// cmd belongs to the node from now on and must not be changed.
func (n *Node) Propose(ctx context.Context, cmd []byte) (Result, error) {
	n.stats.Proposals.Add(1)
	started := time.Now()
	r, err := n.submit(ctx, request{proposal: proposal{kind: EntryCommand, data: cmd}})
	n.stats.Propose.Observe(time.Since(started))
	if err != nil {
		n.stats.ProposalsFailed.Add(1)
	}
	return r, err
}

// Read waits until everything that was acknowledged anywhere before the call is applied here
// (ReadIndex, diss. 6.4): reading the state machine afterwards is linearizable.
func (n *Node) Read(ctx context.Context) error {
	n.stats.Reads.Add(1)
	_, err := n.submit(ctx, request{read: true})
	if err != nil {
		n.stats.ReadsFailed.Add(1)
	}
	return err
}

// Change makes one change of the membership and returns the membership after it. It waits while
// another change is under way. A refusal is ErrMemberExists, ErrMemberUnknown, ErrMemberRemoved,
// ErrMemberEmptied, ErrNameTaken, ErrMembershipFull or a *QuorumError.
func (n *Node) Change(ctx context.Context, c Change) (Membership, error) {
	if c.Command == nil {
		c.Command = n.Command(c.Kind)
	}
	r, err := n.submit(ctx, request{proposal: proposal{kind: EntryChange, data: appendChange(nil, &c)}})
	if err != nil {
		return Membership{}, err
	}
	return r.Value.(Membership), nil
}

// Membership returns the configuration as applied at this member.
func (n *Node) Membership() Membership { return n.applied.Load().membership }

// Applied returns the index and term of the last entry applied. It never blocks.
func (n *Node) Applied() (index, term uint64) {
	a := n.applied.Load()
	return a.index, a.term
}

// Leader returns the leader's id, or None. It never blocks.
func (n *Node) Leader() uint64 { return n.leader.Load() }

// ID returns this member's id.
func (n *Node) ID() uint64 { return n.id }

// Now is the cluster clock as this member knows it. It stands still while no leader is known. It
// never blocks.
func (n *Node) Now() time.Time { return time.Unix(0, n.clock.time(n.mono())) }

// Ready is closed when clients may come: when (1) this member has applied everything that it may
// have served before (pitfall C8), or (2) three election timeouts have passed without a leader that
// could tell how far that is. A member that is new, or the only one of its cluster, waits instead
// until it has told its name and has its vote.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Failed is closed when the member can't go on (its disk failed, say); Err then says why.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// Err is the reason of Failed; nil before it.
func (n *Node) Err() error {
	if err := n.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Stats returns the node's counters and histograms, which the node goes on updating.
func (n *Node) Stats() *Stats { return &n.stats }

// Status returns a consistent view of this member. It takes a turn of the node's loop; use Applied
// on hot paths.
func (n *Node) Status() (s Status) {
	n.do(func(c *core) { s = c.status(); s.Queues = n.queues() })
	s.Applied, s.AppliedTerm = n.Applied()
	s.ClusterID = n.Membership().ClusterID
	s.LeaderSince = time.Unix(0, n.leaderSince.Load())
	return s
}

func (c *core) status() Status {
	s := Status{
		ID: c.ID, Role: c.role, Leader: c.leader, Term: c.term, Vote: c.vote,
		Commit: c.commit, First: c.log.first, Last: c.log.last(), Progress: map[uint64]Progress{},
	}
	for i := range c.lead.members {
		p := &c.lead.members[i]
		s.Progress[p.id] = Progress{Match: p.match, Next: p.next, State: sendingNames[p.sending],
			Inflight: p.window.bytes}
	}
	return s
}

// do has the loop run f with the core, and waits for it. When the loop has ended, it runs f itself.
// When the loop hangs and the member is abandoned, f is not run.
func (n *Node) do(f func(*core)) {
	ran := make(chan struct{})
	n.inbox.call(func(c *core) { f(c); close(ran) })
	select {
	case <-ran:
	case <-n.looped:
		select {
		case <-ran:
		default:
			f(n.core)
		}
	case <-n.abandoned:
	}
}

// How long Stop waits for what may hang: failPatience after a failure, stopPatience after the end
// of its context.
const (
	failPatience = 500 * time.Millisecond
	stopPatience = 5 * time.Second
)

// Stop ends the member: it hands leadership over, finishes the write in hand, and closes the log.
// It returns the first error on the way. The context bounds the handing over. Stop returns in any
// case five seconds after the end of the context, and half a second after a failure. Whatever hangs
// then keeps its goroutine, and the lock of the data directory, until the process ends.
func (n *Node) Stop(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopPatience, n.abandon) })()
	n.handOver(ctx)
	n.end()
	select {
	case <-n.done:
	case <-n.abandoned:
	}
	return n.Err()
}

// abandon ends every wait for done, because something hangs.
func (n *Node) abandon() {
	if isClosed(n.done) {
		return
	}
	doing, since := n.Stuck()
	n.fail(fmt.Errorf("raft: the member does not end, so nobody waits for it any longer: %s for %v",
		cmp.Or(doing, "it waits"), since.Round(time.Millisecond)))
	n.abandonOnce.Do(func() { close(n.abandoned) })
}

// handOver transfers leadership, and waits until another member leads, if there is one that can. A
// leader that has failed sends no more messages, and does not try.
func (n *Node) handOver(ctx context.Context) {
	for n.Leader() == n.id && n.Err() == nil {
		underWay := false
		n.do(func(c *core) { underWay = c.role == Leader && (c.lead.target != None || c.transferToBest()) })
		if !underWay {
			return
		}
		select {
		case <-time.After(n.Heartbeat / ticksPerHeartbeat):
		case <-n.looped:
			return
		case <-ctx.Done():
			return
		}
	}
}

// fail ends the member because it can't go on. All waiters get an error at once.
func (n *Node) fail(err error) {
	if n.failure.CompareAndSwap(nil, &err) {
		close(n.failed)
		time.AfterFunc(failPatience, n.abandon)
	}
	n.end()
	n.waiters.close()
}

// end makes the loop end. Everything else ends after it: see Node.
func (n *Node) end() {
	n.stop.Do(func() {
		close(n.quit)
		n.inbox.mu.Lock()
		defer n.inbox.mu.Unlock()
		n.inbox.room.Broadcast()
	})
}
