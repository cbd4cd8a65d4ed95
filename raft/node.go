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
	// not fail: what it returns goes to who proposed cmd. cmd is empty for an entry that only
	// carries the time. A value that is a Fatal stops the member.
	Apply(index uint64, now time.Time, cmd []byte) any
	// Freeze returns at once; the returned function writes the state as it was then. It runs
	// in another goroutine, while Apply goes on.
	Freeze() func(w io.Writer) error
	// Restore replaces the state by one written by Freeze.
	Restore(r io.Reader) error
	// NextDue is the cluster time at which the next key expires.
	NextDue() (time.Time, bool)
}

// Fatal is a result of Apply that stops the member: the command can't be
// executed here, and to skip it would be to diverge (pitfall I7).
type Fatal interface {
	error
	Fatal() bool
}

// Errors of Propose, Read and Change.
var (
	ErrStopped = errors.New("raft: the member is stopping")
	// leader lost or deadline passed: it may yet be applied
	ErrUnknown    = errors.New("raft: the outcome is not known")
	ErrOverloaded = errors.New("raft: too much waits to be agreed")
	// the proposal was never made
	ErrNoLeader = errors.New("raft: no leader is known")
	// and can't go on, nor ever come back
	ErrRemoved  = errors.New("raft: this member has been removed from the cluster")
	ErrDiverged = errors.New("raft: the state of this member is not that of the majority") // and it can't go on
)

// Node is one running member: the core and what drives it. All methods may be
// called from any goroutine.
//
// The end begins with quit, which Stop and fail close. Where goroutines wait, and what ends the
// wait once quit is closed:
//
//	goroutine        waits in             for                            until
//	loop             loop                 any input                      quit
//	                 giveDisk             never: the channel has room for the one write
//	disk writer      writeDisk            a write from the loop          close closes toDisk
//	                 write                a call of the disk             it returns
//	                 writeDisk            never, to say done: the channel has room
//	applier          applyLoop            a job from the loop            looped
//	                 carryOut             the state machine              it returns
//	                 close                disk writer, snapshot writer,  they end, or hang
//	                                      helpers, transport             with the disk
//	snapshot writer  interruptible        a call of the disk             it returns; then quit
//	                 noteSnapshot         a turn of the loop             looped
//	helper           fetch, sendSnapshot  calls of the disk              they return
//	Step             inbox.step           room in the inbox              quit
//	                 ReceiveSnapshot      the body                       Transport.Close
//	Propose, Read,   wait                 the outcome                    waiters.close, by fail
//	Change                                                               or by applyLoop
//	do               do                   a turn of the loop             looped, or given
//	Stop             Stop                 done                           given
//
// So only a call of the disk or of the state machine can keep done from being closed. After a
// failure nobody waits for such a call longer than failPatience: fail answers all waiters at once,
// and Stop returns when done or given is closed, whichever comes first.
type Node struct {
	Config
	id      uint64
	sm      StateMachine
	stats   Stats
	storage *storage
	epoch   time.Time // the monotonic clock counts from here

	inbox   inbox
	waiters waiters

	// Of the loop.
	core      *core
	parked    parking             // requests that no leader has taken yet
	tried     leadershipSeen      // when they were last tried; forgotten with the next tick
	forlorn   int                 // ticks without a leader
	crowded   bool                // some were parked for want of room on the way to the leader
	batch     []proposal          // room for those that passAll is passing on
	gathered  gathering           // until when what is in the inbox waits
	reads     map[uint64][]uint64 // try of a read that is out → who waits for it
	asked     int64               // when the newest of them went out, on the monotonic clock
	feeds     map[uint64]*feed    // of members that lag; a fetch that is under way has its own
	retry     int                 // ticks until reads that are out are tried again
	diskBusy  bool                // the disk writer has something to do
	diskSince int64               // since then, on the monotonic clock
	uncut     int                 // ticks until the log is cut again: a member lacked a part; 0: none did
	restoring uint64              // index of the last received snapshot that was given to the applier
	backlog   []job               // for the applier
	stamped   uint64              // index of the last entry appended only to let keys expire
	commits   []commitTime        // when batches were proposed that are not committed
	seen      leadershipSeen      // as last logged
	followed  configMark          // the configuration that the transport was last told; zero: the applied one is new
	line      Membership          // what it was told
	gone      bool                // this member's removal is applied
	touched   int64               // when this member was last in touch with a leader, on the monotonic clock
	mourned   int64               // when the log was last told that it is out of touch, likewise; 0: it is in touch
	behind    uint64              // what the applier has to reach for Stats.BehindSince to move on

	looping, writing, applying worker // of the loop, the disk writer and the applier, for Stuck

	toDisk   chan *Persist // capacity 1, and one write at a time (diskBusy): sending never blocks
	fromDisk chan uint64   // likewise: the number of the write that is done
	written  chan struct{} // closed when the disk writer has ended
	toApply  chan job

	// Of the applier, and read by others.
	applied     atomic.Pointer[appliedState]
	newest      atomic.Pointer[Membership] // the configuration in force, applied or not
	nextDue     atomic.Int64               // when the next key expires; 0 when none does
	awaited     atomic.Bool                // the applier wakes the loop after each batch
	snapshotter snapshotter
	snapshots   sync.WaitGroup
	helpers     sync.WaitGroup // that read the disk for members that lag
	membership  chan struct{}  // capacity 1: the membership has changed
	digests     digests        // of the applier

	clock       shownClock
	leader      atomic.Uint64
	leaderSince atomic.Int64 // wall clock in Unix nanoseconds
	ready       chan struct{}
	quit        chan struct{} // closed by Stop, or by fail
	stop        sync.Once
	born        uint64        // commit index at the start; never64 before it is known
	looped      chan struct{} // closed when the loop has ended
	done        chan struct{} // closed when everything has ended
	given       chan struct{} // closed when something hangs: nobody waits for done any longer
	giveUp      sync.Once
	failure     atomic.Pointer[error]
	failed      chan struct{}
}

// Open starts the member that lives in c.Dir, or a new one when there is none. When it returns, the
// state machine has all that its disk knows to be committed; Ready says when it has what was served
// before.
func Open(c Config, sm StateMachine) (*Node, error) {
	c = c.withDefaults()
	if err := c.occupy(); err != nil {
		return nil, err
	}
	n, err := open(c, sm)
	if err != nil {
		return nil, errors.Join(c.Home.explain(err), c.Home.Close())
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
	c.Home.settled = true
	n.storage, n.id = s, r.ID
	n.logRecovery(r)
	n.keepPrivate(o)
	if err := n.resume(r); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return n, nil
}

// newNode makes a node that knows nothing yet of what its disk holds.
func newNode(c Config, sm StateMachine) *Node {
	n := &Node{
		Config: c, sm: sm, epoch: time.Now(), born: never64,
		reads: map[uint64][]uint64{}, feeds: map[uint64]*feed{},
		toDisk: make(chan *Persist, 1), fromDisk: make(chan uint64, 1), written: make(chan struct{}),
		toApply:    make(chan job),
		membership: make(chan struct{}, 1), ready: make(chan struct{}), quit: make(chan struct{}),
		looped: make(chan struct{}), done: make(chan struct{}), given: make(chan struct{}), failed: make(chan struct{}),
	}
	n.stats.InTouch.Store(n.epoch.UnixNano())
	n.inbox.init()
	n.waiters.init()
	return n
}

// resume brings the core to where the disk leaves off. The state machine has all that is committed.
func (n *Node) resume(r *recovery) error {
	now := n.applied.Load()
	n.waiters.applied, r.Replayed.Membership = now.index, now.membership
	if err := n.force(r); err != nil {
		return err
	}
	n.core = newCore(n.Config.core(n.id), r.boot)
	n.born = n.core.commit
	n.nameCluster()
	n.noteNewest()
	return cmp.Or(n.core.broken, n.notACopy())
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
	go n.greet(n.core.commit, alone)
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
		n.core.campaign(Vote) // there is nobody to wait for
	}
	for {
		n.turn()
		beat.plan(n.core.calm())
		// A millisecond at least until a key is due: the stamp may be refused for a while.
		if d := min(max(n.untilDue(), time.Millisecond), n.untilGathered()); d != never || timed {
			timed = d != never
			due.Reset(d)
		}
		toApply, next := n.nextJob()
		n.looping.waits()
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
		n.looping.works(n.mono())
		n.tick(beat.passed())
	}
}

// turn takes in what has arrived and does what follows from it.
func (n *Node) turn() {
	now := time.Now() // both clocks at one moment: a pause between them would set them against each other
	n.core.advance(int64(now.Sub(n.epoch)))
	n.core.readWall(now.UnixNano())
	n.core.appliedTo(n.applied.Load().index)
	n.takeInbox()
	n.expireKeys()
	e := n.core.effects(!n.diskBusy)
	n.handOut(&e)
	if n.gathered.reads != 0 && len(n.reads) == 0 { // the answer that they waited for has just come
		n.takeReads()
		e = n.core.effects(!n.diskBusy)
		n.handOut(&e)
	}
	n.clock.set(n.core)
	n.noteLeadership()
	n.noteMembership()
	n.noteProgress()
	n.noteTouch(now)
}

// handOut gives the core's wishes to those who carry them out.
func (n *Node) handOut(e *Effects) {
	if e.Persist != nil {
		n.giveDisk(e.Persist)
	}
	if n.Transport != nil {
		n.sendOut(e)
	}
	n.refusals(e.Refused)
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
		if n.retry--; n.retry <= 0 {
			n.retryReads()
		}
	}
	n.tried = leadershipSeen{}
	n.dropFeeds(ticks)
	n.cutAgain(ticks)
	n.waiters.expire(n.mono())
	n.dropDead()
	n.turnAway(ticks)
}

// mono is this member's monotonic clock, in nanoseconds.
func (n *Node) mono() int64 { return int64(time.Since(n.epoch)) }

// expireKeys appends a stamp when a key is due, so that it expires although nobody writes; and,
// while there are keys that will expire, once a minute, so that a restart of the whole cluster
// stretches no time to live by more.
func (n *Node) expireKeys() {
	if n.untilDue() > 0 || n.core.role != Leader {
		return
	}
	if n.core.proposeStamp() == nil {
		n.stamped = n.core.log.last()
	}
}

// never is as long as no timer of the loop ever waits.
const never = time.Duration(maxInt64)

// stampEvery is the longest that the log goes without a stamp while a key has a time to live.
const stampEvery = time.Minute

// untilDue is how long the loop may sleep for expireKeys' sake; 0: a stamp is due now.
func (n *Node) untilDue() time.Duration {
	due := n.nextDue.Load()
	if due == 0 || n.core.role != Leader || n.applied.Load().index < n.stamped {
		return never
	}
	due = min(due, n.core.log.lastStamp()+int64(stampEvery))
	return max(time.Duration(due-n.core.clock.time(&n.core.log)), 0)
}

// Propose offers a command to the log and waits until this member has applied it. The context's end
// gives ErrUnknown, and so does Config.RequestTimeout: the command may still be applied.
// cmd belongs to the node from now on and must not be changed.
func (n *Node) Propose(ctx context.Context, cmd []byte) (Result, error) {
	n.stats.Proposals.Add(1)
	started := time.Now()
	r, err := n.ask(ctx, request{proposal: proposal{kind: EntryCommand, data: cmd}})
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
	_, err := n.ask(ctx, request{read: true})
	if err != nil {
		n.stats.ReadsFailed.Add(1)
	}
	return err
}

// Change makes one change of the membership and returns the membership after it. While another one
// is under way it waits. Refused are ErrMemberExists, ErrMemberUnknown, ErrMemberRemoved,
// ErrNameTaken, ErrMembershipFull and a *QuorumError.
func (n *Node) Change(ctx context.Context, c Change) (Membership, error) {
	if c.Command == nil {
		c.Command = n.Command(c.Kind)
	}
	r, err := n.ask(ctx, request{proposal: proposal{kind: EntryChange, data: appendChange(nil, &c)}})
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

// Ready is closed when this member has applied everything that it may have served before (pitfall
// C8), or three election timeouts have passed without a leader who could tell; and, when it is a
// cluster of its own or has joined one, has told its name and has its vote: then its clients may
// come.
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

// Stats returns the node's counters and histograms; they are updated for ever after.
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
			Inflight: p.inflightBytes}
	}
	return s
}

// do runs f with the core, in the loop. After the end of the loop it runs f itself. It does not run
// f when the loop hangs and the member is given up.
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
	case <-n.given:
	}
}

// How long Stop waits for what may hang: after a failure, and after the end of its context.
const (
	failPatience = 500 * time.Millisecond
	stopPatience = 5 * time.Second
)

// Stop ends the member: it hands leadership over, finishes the write in hand, and closes the log.
// It returns the first error on the way. The context bounds the handing over; five seconds after
// its end Stop returns in any case, and half a second after a failure. What hangs then keeps its
// goroutine, and the lock of the data directory, until the process ends.
func (n *Node) Stop(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopPatience, n.giveUpOn) })()
	n.handOver(ctx)
	n.end()
	select {
	case <-n.done:
	case <-n.given:
	}
	return n.Err()
}

// giveUpOn ends every wait for done, because something hangs.
func (n *Node) giveUpOn() {
	if isClosed(n.done) {
		return
	}
	doing, since := n.Stuck()
	n.fail(fmt.Errorf("raft: the member does not end, so nobody waits for it any longer: %s for %v",
		cmp.Or(doing, "it waits"), since.Round(time.Millisecond)))
	n.giveUp.Do(func() { close(n.given) })
}

// handOver waits until another member leads, if there is one that can. A leader that has failed
// says nothing to anybody any more.
func (n *Node) handOver(ctx context.Context) {
	for n.Leader() == n.id && n.Err() == nil {
		under := false
		n.do(func(c *core) { under = c.role == Leader && (c.lead.target != None || c.transferToBest()) })
		if !under {
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
		time.AfterFunc(failPatience, n.giveUpOn)
	}
	n.end()
	n.waiters.close()
}

// end has the loop end, and all that follows from that.
func (n *Node) end() {
	n.stop.Do(func() {
		close(n.quit)
		n.inbox.mu.Lock()
		defer n.inbox.mu.Unlock()
		n.inbox.room.Broadcast()
	})
}
