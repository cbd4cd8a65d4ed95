package raft

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// job is one thing for the applier to do. Without any of these, it only looks whether a snapshot is
// wanted.
type job struct {
	entries []Entry
	restore *Snapshot // install this received snapshot
	inspect func()    // called between two entries, when the state stands still
}

// appliedState says what is applied. It is immutable.
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
			n.applying.begins(n.mono())
			answers = n.runJob(j, answers[:0])
			n.applying.idles()
		case <-n.looped:
			return
		}
	}
}

// runJob does a job, and answers the waiters. It returns answers so that the next job reuses its
// memory.
func (n *Node) runJob(j job, answers []answer) []answer {
	if n.Err() != nil {
		return answers // nothing may be applied behind an entry that could not be
	}
	if j.inspect != nil {
		j.inspect()
		return answers
	}
	if j.restore != nil {
		n.install(j.restore)
		return answers
	}
	answers = n.apply(j, answers)
	now := n.applied.Load()
	n.waiters.answerAll(answers, now.index)
	n.inbox.enqueue(&n.inbox.proposals, n.waiters.dead(now.term)...)
	n.publishDue()
	n.maybeSnapshot()
	if n.applierWakes.Load() {
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
		if i%entriesPerPiece == entriesPerPiece-1 {
			n.applying.begins(n.mono())
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

// applyEntry applies one entry to the state machine, and a change also to the membership.
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
	if e.Index > n.startCommit {
		n.Logger.Info("the membership has changed", "change", c.String(), "members", len(m.Members))
	}
	return *m, nil
}

// applyTo gives one entry to a state machine, which gets every entry: with the command that the
// entry or its change holds, or with none. The error says that the command is of a later version
// (pitfall I7), or that a change can't be decoded.
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

// command returns the state machine's command in an entry; nil: there is none.
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

// install replaces the state by that of a received snapshot, whose file is whole on this member's
// disk.
func (n *Node) install(s *Snapshot) {
	r, err := n.storage.snaps.OpenIndex(s.Index)
	if err == nil {
		n.expect(r)
		err = errors.Join(n.sm.Restore(progressReader{r, n}), r.Close())
	}
	if err != nil {
		n.fail(fmt.Errorf("the snapshot at %d, received from the leader, can't be taken over: %w", s.Index, err))
		return
	}
	n.lastSnapshot = s.Index
	n.snapshots.size.Store(r.Size())
	n.applied.Store(&appliedState{index: s.Index, term: s.Term, stamp: s.Stamp, membership: s.Membership})
	n.Logger.Info("took over the leader's snapshot", "index", s.Index, "bytes", r.Size())
	n.waiters.skip(s.Index, s.Term)
	n.digests = digests{}
	n.membershipChanged()
	n.publishDue()
}

// publishDue tells the loop when the next key expires.
func (n *Node) publishDue() {
	due := int64(0)
	if t, ok := n.sm.NextDue(); ok {
		due = max(t.UnixNano(), 1)
	}
	if before := n.nextDue.Swap(due); before != 0 || due != 0 {
		n.inbox.ring()
	}
}

func (n *Node) membershipChanged() {
	n.inbox.call(func(*core) { n.followedConfig = configMark{} })
	select {
	case n.membership <- struct{}{}:
	default:
	}
}

// close ends everything else when the loop has ended: the write and the snapshot under way, the
// transport, the log, the lock.
func (n *Node) close() {
	close(n.toDisk)
	n.snapshotWriters.Wait()
	n.helpers.Wait()
	<-n.written
	if n.Transport != nil {
		n.Transport.Close()
	}
	if err := n.storage.close(); err != nil && n.Err() == nil {
		n.fail(err)
	}
	if err := n.Dirs.Close(); err != nil && n.Err() == nil {
		n.fail(err)
	}
}

// snapshotter is what several goroutines know of the snapshots.
type snapshotter struct {
	size    atomic.Int64  // of the newest one's body, in bytes
	writing atomic.Bool   // there is a snapshot writer
	wanted  atomic.Bool   // a member lags, and only a newer snapshot can help it
	checked atomic.Uint64 // index of the last one that checkSnapshot has read
}

// How many bytes of log there may be behind the newest snapshot; see muchToReplay.
const (
	replayShare = 8 << 10  // for each entry of SnapshotCount: a start replays 10,000 such entries in less than 0.3 s
	maxReplay   = 64 << 20 // however many entries

	// With fewer entries than SnapshotCount the values are large. Then the log may have largeShare
	// times the bytes of the state, up to maxLarge: a snapshot of large values costs as much disk
	// as their log, and a start replays their bytes eight times as fast as those of small values.
	largeShare = 4
	maxLarge   = 512 << 20
)

// never64 is an index that no entry has.
const never64 = ^uint64(0)

// maybeSnapshot freezes the state and has it written when (1) a start would replay much log
// compared with the size of the state, or (2) a member that lags needs a newer snapshot. The
// comparison with the size keeps the cost of a write the same when the state grows.
func (n *Node) maybeSnapshot() {
	s, now := &n.snapshots, n.applied.Load()
	if now.index == n.lastSnapshot && !s.wanted.Load() || !s.writing.CompareAndSwap(false, true) {
		return
	}
	entries, bytes := now.index-n.lastSnapshot, n.storage.log.Bytes(n.lastSnapshot)
	if !s.wanted.Swap(false) && !muchToReplay(n.SnapshotCount, entries, bytes, s.size.Load()) {
		s.writing.Store(false)
		return
	}
	n.lastSnapshot = now.index
	meta := Snapshot{Index: now.index, Term: now.term, Stamp: now.stamp, Membership: now.membership}
	write := n.sm.Freeze()
	n.snapshotWriters.Go(func() {
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

// endSnapshotWriter allows the next snapshot. If one was wanted meanwhile, for a member that lags,
// it has the applier look again: that snapshot must not wait until somebody writes.
func (n *Node) endSnapshotWriter() {
	n.snapshots.writing.Store(false)
	if n.snapshots.wanted.Load() {
		n.inbox.call(func(*core) { n.backlog = append(n.backlog, job{}) })
	}
}

// muchToReplay reports whether the log behind the newest snapshot is long compared with the state.
// entries and log are its length in entries and bytes, state is the size of the state in bytes, and
// count is Config.SnapshotCount. The log is long when it has as many bytes as the state: then all
// snapshots together are no more bytes than the log, and a start reads no more log than state.
func muchToReplay(count, entries uint64, log, state int64) bool {
	least := max(maxReplay, min(largeShare*state, maxLarge))
	if entries >= count {
		least = int64(min(count, maxReplay/replayShare) * replayShare)
	}
	return log >= max(state, least)
}

// writeSnapshot writes one snapshot, and removes what it makes superfluous: older snapshots, and
// the log up to it. The order is that of pitfall E4: (1) the file is durable, (2) the core is told
// of it, and offers it to members that lag, (3) older files are removed, (4) the log is released,
// (5) the core is told where the log begins.
func (n *Node) writeSnapshot(meta Snapshot, write func(io.Writer) error) (int64, error) {
	started := time.Now()
	size, err := n.storage.saveSnapshot(meta, func(w io.Writer) error { return write(&interruptible{w, n.quit}) })
	if err != nil {
		return 0, err
	}
	n.stats.Snapshots.Add(1)
	n.stats.Snapshot.Observe(time.Since(started))
	n.Logger.Info("wrote a snapshot", "index", meta.Index, "bytes", size, "seconds", time.Since(started).Seconds())
	keep, named, err := n.reportSnapshot(&meta)
	if err != nil {
		return 0, err
	}
	if err := n.storage.snaps.Purge(n.MaxSnapshots, named...); err != nil {
		return 0, err
	}
	return size, n.releaseLog(keep)
}

// reportSnapshot tells the core of a snapshot that is on disk; s is nil when there is no new one.
// It returns the lowest index of the log that another member lacks, and the indexes of the
// snapshots whose files may still be opened, to be sent or restored.
func (n *Node) reportSnapshot(s *Snapshot) (keep uint64, named []uint64, err error) {
	noted := make(chan struct{})
	n.inbox.call(func(c *core) {
		if s != nil {
			c.compact(*s, 0)
		}
		keep, named = c.lacked(), n.namedSnapshots()
		if n.releaseTicks = 0; keep <= c.snapshot.Index {
			n.releaseTicks = releasePatience * c.ElectionTicks
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

// releaseLog removes the part of the log that no member needs, while the disk writer goes on, and
// tells the core where the log begins. keep is the lowest index that another member lacks.
func (n *Node) releaseLog(keep uint64) error {
	o := n.Config.storage()
	first, err := n.storage.release(&o, keep)
	if err != nil {
		return err
	}
	n.inbox.call(func(c *core) { c.compact(Snapshot{}, first) })
	return nil
}

// releasePatience is how many election timeouts pass before releaseAgain looks again at a part of
// the log that was kept for a member that lacked it.
const releasePatience = 5

// releaseAgain has the log cut again, after a while, when a part was kept for a member that lacked
// it. The member may have got it since, and no other snapshot may come for a long time.
func (n *Node) releaseAgain(ticks int) {
	if n.releaseTicks == 0 {
		return
	}
	n.releaseTicks = max(n.releaseTicks-ticks, 1)
	if n.releaseTicks > 1 || !n.snapshots.writing.CompareAndSwap(false, true) {
		return
	}
	n.releaseTicks = 0 // reportSnapshot decides whether there is a next time
	n.snapshotWriters.Go(func() {
		defer n.endSnapshotWriter()
		keep, _, err := n.reportSnapshot(nil)
		if err == nil {
			err = n.releaseLog(keep)
		}
		if err != nil && err != ErrStopped {
			n.fail(fmt.Errorf("the log can't be cut, so this member stops: %w", err))
		}
	})
}

// interruptible is a writer that fails once quit is closed, so that the end of a member does not
// wait for a large snapshot.
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
