package raft

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// job is one thing for the applier to do.
type job struct {
	entries []Entry
	restore *Snapshot
	look    func() // at the state between two entries
}

// appliedState is what everybody may know of what is applied. It is immutable.
type appliedState struct {
	index      uint64
	term       uint64
	stamp      int64
	membership Membership
}

// applyLoop owns the state machine. It waits for no client: an answer has room in its waiter's
// channel.
func (n *Node) applyLoop() {
	defer close(n.done)
	defer n.waiters.close()
	defer n.close()
	var answers []answer
	for {
		select {
		case j := <-n.toApply:
			n.applying.works(n.mono())
			answers = n.carryOut(j, answers[:0])
			n.applying.waits()
		case <-n.looped:
			return
		}
	}
}

// carryOut does a job, and has its answers given. It returns them, for their room.
func (n *Node) carryOut(j job, answers []answer) []answer {
	if n.Err() != nil {
		return answers // nothing may be applied behind an entry that could not be
	}
	if j.look != nil {
		j.look()
		return answers
	}
	if j.restore != nil {
		n.install(j.restore)
		return answers
	}
	answers = n.apply(j, answers)
	now := n.applied.Load()
	n.waiters.answerAll(answers, now.index)
	n.inbox.ask(&n.inbox.proposals, n.waiters.dead(now.term)...)
	n.noteDue()
	n.maybeSnapshot()
	if n.awaited.Load() {
		n.inbox.ring()
	}
	return answers
}

// apply gives a batch of entries to the state machine and gathers the answers.
func (n *Node) apply(j job, answers []answer) []answer {
	started := time.Now()
	now := *n.applied.Load()
	changed := false
	for i := range j.entries {
		if i%entriesAPiece == entriesAPiece-1 {
			n.applying.works(n.mono())
		}
		e := &j.entries[i]
		value, err := n.applyEntry(e, &now.membership)
		if err != nil {
			n.fail(fmt.Errorf("entry %d: %w", e.Index, err))
			break
		}
		now.index, now.term, now.stamp = e.Index, e.Term, e.Stamp
		n.digest(e, &now.membership)
		changed = changed || e.Kind == EntryChange
		if e.ID != 0 {
			answers = append(answers, answer{id: e.ID, Result: Result{Index: e.Index, Term: e.Term, Value: value}})
		}
	}
	n.applied.Store(&now)
	n.stats.Apply.Observe(time.Since(started))
	if changed {
		n.membershipChanged()
	}
	return answers
}

// applyEntry applies one entry: to the state machine, and a change to the membership as well.
func (n *Node) applyEntry(e *Entry, m *Membership) (any, error) {
	value, err := applyTo(n.sm, e)
	if err != nil || e.Kind != EntryChange {
		return value, err
	}
	c, err := decodeChange(e.Data)
	if err != nil {
		return nil, err
	}
	*m = m.Apply(c)
	if e.Index > n.born {
		n.Logger.Info("the membership has changed", "change", c.String(), "members", len(m.Members))
	}
	return *m, nil
}

// applyTo gives an entry to a state machine, which sees every one of them: the command that it
// holds, or that comes with a change, or none. The error is that of a command of a later version
// (pitfall I7), or of an entry that holds no change where it should.
func applyTo(sm StateMachine, e *Entry) (any, error) {
	command, err := e.command()
	if err != nil {
		return nil, err
	}
	value := sm.Apply(e.Index, time.Unix(0, e.Stamp), command)
	if f, ok := value.(Fatal); ok && f.Fatal() {
		return nil, f
	}
	return value, nil
}

// command returns what the state machine gets of an entry.
func (e *Entry) command() ([]byte, error) {
	switch e.Kind {
	case EntryCommand, EntryEmpty:
		return e.Data, nil
	case EntryChange:
		c, err := decodeChange(e.Data)
		return c.Command, err
	}
	return nil, nil
}

// install replaces the state by a received snapshot's, whose file is whole on this member's disk.
func (n *Node) install(s *Snapshot) {
	r, err := n.storage.snaps.OpenIndex(s.Index)
	if err == nil {
		n.expect(r)
		err = errors.Join(n.sm.Restore(getsOn{r, n}), r.Close())
	}
	if err != nil {
		n.fail(fmt.Errorf("the snapshot at %d, received from the leader, can't be taken over: %w", s.Index, err))
		return
	}
	n.snapshotter.last = s.Index
	n.snapshotter.size.Store(r.Size())
	n.applied.Store(&appliedState{index: s.Index, term: s.Term, stamp: s.Stamp, membership: s.Membership})
	n.Logger.Info("took over the leader's snapshot", "index", s.Index, "bytes", r.Size())
	n.waiters.skip(s.Index, s.Term)
	n.digests = digests{}
	n.membershipChanged()
	n.noteDue()
}

// noteDue tells the loop when the next key expires.
func (n *Node) noteDue() {
	due := int64(0)
	if t, ok := n.sm.NextDue(); ok {
		due = max(t.UnixNano(), 1)
	}
	if before := n.nextDue.Swap(due); before != 0 || due != 0 {
		n.inbox.ring()
	}
}

func (n *Node) membershipChanged() {
	n.inbox.call(func(*core) { n.followed = configMark{} })
	select {
	case n.membership <- struct{}{}:
	default:
	}
}

// close ends everything after the loop: the write in hand, the snapshot in hand, the log, the lock.
func (n *Node) close() {
	close(n.toDisk)
	n.snapshots.Wait()
	n.helpers.Wait()
	<-n.written
	if n.Transport != nil {
		n.Transport.Close()
	}
	if err := n.storage.close(); err != nil && n.Err() == nil {
		n.fail(err)
	}
	if err := n.Home.Close(); err != nil && n.Err() == nil {
		n.fail(err)
	}
}

// snapshotter decides when the next snapshot is due.
type snapshotter struct {
	last    uint64        // of the applier: index of the newest one
	size    atomic.Int64  // of its body in bytes
	writing atomic.Bool   // there is a snapshot writer
	wanted  atomic.Bool   // a member lags, and only a newer snapshot can help it
	checked atomic.Uint64 // index of the last one that was read because it did not arrive
}

// How many bytes of log there may be behind the newest snapshot.
const (
	replayShare = 8 << 10  // of a small state, for each entry of SnapshotCount: a start replays them in less than 0.3 s
	maxReplay   = 64 << 20 // of a small state, however many entries

	// Of fewer entries than SnapshotCount, as many times the state, up to a bound. A snapshot of
	// large values costs as much disk as their log, and byte for byte these are replayed eight
	// times as fast as small ones.
	largeShare = 4
	maxLarge   = 512 << 20
)

// never64 is an index that no entry has.
const never64 = ^uint64(0)

// maybeSnapshot freezes the state and has it written, when there is much log to replay compared
// with the size of the state, so that the cost per write stays flat when the store grows; or when a
// member needs one.
func (n *Node) maybeSnapshot() {
	s, now := &n.snapshotter, n.applied.Load()
	if now.index == s.last && !s.wanted.Load() || !s.writing.CompareAndSwap(false, true) {
		return
	}
	if !s.wanted.Swap(false) && !muchToReplay(n.SnapshotCount, now.index-s.last, n.storage.log.Bytes(s.last),
		s.size.Load()) {
		s.writing.Store(false)
		return
	}
	s.last = now.index
	meta := Snapshot{Index: now.index, Term: now.term, Stamp: now.stamp, Membership: now.membership}
	write := n.sm.Freeze()
	n.snapshots.Go(func() {
		defer n.endSnapshotWriter()
		size, err := n.writeSnapshot(meta, write)
		switch {
		case errors.Is(err, ErrStopped):
			return
		case err != nil:
			n.fail(fmt.Errorf("the snapshot at %d can't be written, so this member stops: %w", meta.Index, err))
			return
		}
		s.size.Store(size)
	})
}

// endSnapshotWriter lets another snapshot be written. One that was wanted meanwhile, by a member
// that lags, must not wait until somebody writes: the applier looks again.
func (n *Node) endSnapshotWriter() {
	n.snapshotter.writing.Store(false)
	if n.snapshotter.wanted.Load() {
		n.inbox.call(func(*core) { n.backlog = append(n.backlog, job{}) })
	}
}

// muchToReplay reports whether the log behind the newest snapshot is long compared with the state:
// entries and bytes of log, and bytes of state. It is when there is as much log as state, so that
// the snapshots are no more bytes than the log, and a start reads no more of the log than of the
// state.
func muchToReplay(count, entries uint64, log, state int64) bool {
	least := max(maxReplay, min(largeShare*state, maxLarge))
	if entries >= count {
		least = int64(min(count, maxReplay/replayShare) * replayShare)
	}
	return log >= max(state, least)
}

// writeSnapshot writes one snapshot, and removes what it makes superfluous: older snapshots, and
// the log up to it. The order is that of pitfall E4: (1) the file is durable, (2) the core is told,
// which names it to members that lag, (3) older files are removed, (4) the log is cut, (5) the core
// is told where the log begins.
func (n *Node) writeSnapshot(meta Snapshot, write func(io.Writer) error) (int64, error) {
	started := time.Now()
	size, err := n.storage.saveSnapshot(meta, func(w io.Writer) error { return write(&interruptible{w, n.quit}) })
	if err != nil {
		return 0, err
	}
	n.stats.Snapshots.Add(1)
	n.stats.Snapshot.Observe(time.Since(started))
	n.Logger.Info("wrote a snapshot", "index", meta.Index, "bytes", size, "seconds", time.Since(started).Seconds())
	keep, named, err := n.noteSnapshot(&meta)
	if err != nil {
		return 0, err
	}
	if err := n.storage.snaps.Purge(n.MaxSnapshots, named...); err != nil {
		return 0, err
	}
	return size, n.cutLog(keep)
}

// noteSnapshot tells the core of a snapshot that is on disk; s is nil when there is no new one. It
// returns the lowest index of the log that another member lacks, and the snapshots whose files may
// still be opened, to be sent or restored.
func (n *Node) noteSnapshot(s *Snapshot) (keep uint64, named []uint64, err error) {
	noted := make(chan struct{})
	n.inbox.call(func(c *core) {
		if s != nil {
			c.compact(*s, 0)
		}
		keep, named = c.lacked(), n.namedSnapshots()
		if n.uncut = 0; keep <= c.snapshot.Index {
			n.uncut = cutPatience * c.ElectionTicks
		}
		close(noted)
	})
	select {
	case <-noted:
		return keep, named, nil
	case <-n.looped:
		return 0, nil, ErrStopped
	}
}

// namedSnapshots returns the indexes of the snapshots that a message to another member or a job of
// the applier names.
func (n *Node) namedSnapshots() []uint64 {
	named := []uint64{n.core.snapshot.Index, n.restoring}
	for i := range n.core.lead.members {
		if p := &n.core.lead.members[i]; p.sending == snapshotting {
			named = append(named, p.snapshot)
		}
	}
	for _, j := range n.backlog {
		if j.restore != nil {
			named = append(named, j.restore.Index)
		}
	}
	return named
}

// cutLog removes the part of the log that nobody needs, while the disk writer goes on, and tells
// the core where the log begins.
func (n *Node) cutLog(keep uint64) error {
	o := n.Config.storage()
	first, err := n.storage.release(&o, keep)
	if err != nil {
		return err
	}
	n.inbox.call(func(c *core) { c.compact(Snapshot{}, first) })
	return nil
}

// cutPatience is how many election timeouts pass before cutAgain looks again at a part of the log
// that was kept for a member that lacked it.
const cutPatience = 5

// cutAgain has the log cut again, after a while, when a part was kept for a member that lacked it.
// The member may have got it since, and no other snapshot may come for a long time.
func (n *Node) cutAgain(ticks int) {
	if n.uncut == 0 {
		return
	}
	n.uncut = max(n.uncut-ticks, 1)
	if n.uncut > 1 || !n.snapshotter.writing.CompareAndSwap(false, true) {
		return
	}
	n.uncut = 0 // noteSnapshot decides whether there is a next time
	n.snapshots.Go(func() {
		defer n.endSnapshotWriter()
		keep, _, err := n.noteSnapshot(nil)
		if err == nil {
			err = n.cutLog(keep)
		}
		if err != nil && err != ErrStopped {
			n.fail(fmt.Errorf("the log can't be cut, so this member stops: %w", err))
		}
	})
}

// interruptible is a writer that ends with the member: nobody waits for a large snapshot at the
// end.
type interruptible struct {
	w    io.Writer
	quit <-chan struct{}
}

func (i *interruptible) Write(p []byte) (int, error) {
	select {
	case <-i.quit:
		return 0, ErrStopped
	default:
		return i.w.Write(p)
	}
}
