package raft

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"

	"etcd2/snap"
)

// Frozen is a member's state as it was behind one entry of the log. It is immutable, and stays in
// memory as long as it is held: what is written meanwhile is kept apart.
type Frozen struct {
	Snapshot
	write func(io.Writer) error
}

// NewFrozen is a state that write writes, and what the log before it said: what Freeze returns, and
// a test of those who send it makes.
func NewFrozen(s Snapshot, write func(io.Writer) error) *Frozen { return &Frozen{s, write} }

// Freeze takes the state as it is at this member, at once and without holding up what is applied.
// Before it come Read, for a state that has everything that was acknowledged. look, which may be
// nil, is called by the applier at that very moment, when the state machine is what the snapshot
// will be. The error is ErrStopped, or the context's.
func (n *Node) Freeze(ctx context.Context, look func()) (*Frozen, error) {
	frozen := make(chan *Frozen, 1)
	take := func() {
		now := n.applied.Load()
		meta := Snapshot{Index: now.index, Term: now.term, Stamp: now.stamp, Membership: now.membership}
		if look != nil {
			look()
		}
		frozen <- NewFrozen(meta, n.sm.Freeze())
	}
	n.inbox.call(func(*core) { n.backlog = append(n.backlog, job{look: take}) })
	select {
	case f := <-frozen:
		return f, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-n.looped:
		return nil, ErrStopped
	}
}

// WriteTo writes the state as a backup: a snapshot file, which Verify and Restore read. What w has
// got is a backup only when there is no error; a piece of one has no trailer, and is refused. It
// may be called several times.
func (f *Frozen) WriteTo(w io.Writer) (int64, error) {
	count := &countingWriter{w: w}
	s, err := snap.NewStream(count, f.Index, appendSnapshot(nil, &f.Snapshot))
	if err == nil {
		err = f.write(s)
	}
	if err == nil {
		err = s.Close()
	}
	return count.n, err
}

// copied is the cluster of a data directory that Backup has made: none. A member that lives there
// speaks to nobody, since another disk may go on as the member that it was copied from.
const copied = ^uint64(0)

// notACopy refuses to go on from a copy, unless as a new cluster.
func (n *Node) notACopy() error {
	if n.core.configs.now().membership.ClusterID != copied {
		return nil
	}
	return fmt.Errorf("raft: %s is a backup, and in no cluster: start it once with --force-new-cluster, as the first "+
		"member of a new one", n.Dir)
}

// Backup copies the member that lives in dir, its log being in walDir or, when that is empty,
// inside, to backupDir and backupWALDir, as `etcdctl backup` of etcd 2 does: under a new id, and in
// no cluster, so that the copy starts only as a new one (Config.ForceAlone). What the member has in
// its log counts, committed or not. Nothing is changed in dir; the member may run, and then the
// copy is as of some moment of the call. backupDir/member must not exist; when an error is returned
// or the process dies, what is there is no member, and Open refuses it. It returns what the
// snapshot or the last entry of the copy says.
func Backup(dir, walDir, backupDir, backupWALDir string) (Snapshot, error) {
	from := Config{Dir: dir, WALDir: walDir}
	return backup(from.storage(), Place{Dir: backupDir, WALDir: backupWALDir})
}

func backup(from storageOptions, to Place) (Snapshot, error) {
	seen, err := steadily(func() (*survey, error) { return surveyDisk(from) })
	if err != nil {
		return Snapshot{}, err
	}
	defer seen.close()
	if len(seen.report.Faults) > 0 {
		return Snapshot{}, fmt.Errorf("raft: there is nothing to copy that is whole: %w", &seen.report.Faults[0])
	}
	d := newDisk{Place: to, member: rand.Uint64() | 1, bytes: from.Bytes, snapshot: seen.newest}
	d.snapshot.Membership.ClusterID = copied
	d.state = State{Term: seen.replay.state.Term, Commit: max(seen.replay.state.Commit, seen.newest.Index)}
	if d.entries, err = homeless(seen.replay.after()); err != nil {
		return Snapshot{}, err
	}
	if seen.reader != nil {
		d.body = func(w io.Writer) error { return copyBody(w, seen.reader) }
	}
	if err := makeDisks(from.FS, []newDisk{d}); err != nil {
		return Snapshot{}, err
	}
	if n := len(d.entries); n > 0 {
		last := &d.entries[n-1]
		d.snapshot.Index, d.snapshot.Term, d.snapshot.Stamp = last.Index, last.Term, last.Stamp
	}
	return d.snapshot, nil
}

// homeless returns the entries for a copy: none of them leads to a cluster.
func homeless(es []Entry) ([]Entry, error) {
	for i := range es {
		if es[i].Kind != EntryChange {
			continue
		}
		c, err := decodeChange(es[i].Data)
		if err != nil {
			return nil, err
		}
		if c.Kind == ChangeForce {
			c.ClusterID = copied
			es[i].Data = appendChange(nil, &c)
		}
	}
	return es, nil
}
