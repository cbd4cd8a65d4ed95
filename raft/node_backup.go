package raft

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"

	"etcd2/snap"
)

// Frozen is a member's state as it was after one entry of the log. It is immutable. Parts of the
// state that change meanwhile stay in memory twice while it is held.
type Frozen struct {
	Snapshot
	write func(io.Writer) error
}

// NewFrozen returns a state at s whose body write writes. It is for Freeze, for states that come
// from elsewhere, and for tests.
func NewFrozen(s Snapshot, write func(io.Writer) error) *Frozen { return &Frozen{s, write} }

// Freeze returns the state of this member as it is now, and does not hold up the applier. Call Read
// first, to get a state that has everything that was acknowledged. look, which may be nil, is
// called by the applier at the moment of freezing: the state machine is then what the snapshot will
// be. The error is ErrStopped or that of the context.
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
	n.inbox.call(func(*core) { n.backlog = append(n.backlog, job{inspect: take}) })
	select {
	case f := <-frozen:
		return f, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-n.looped:
		return nil, ErrStopped
	}
}

// WriteTo writes the state as a backup: a snapshot file, which Verify and Restore read. After an
// error w has only a part of it, which has no trailer, and which Verify and Restore refuse. WriteTo
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

// copyCluster is the cluster id of a data directory that Backup has made. It stands for no cluster:
// a member of it may not talk to others, since the original may go on as the same member.
const copyCluster = ^uint64(0)

// refuseCopy returns an error when the disk is a copy that Backup has made, and was not forced to
// be a new cluster.
func (n *Node) refuseCopy() error {
	if n.core.configs.now().membership.ClusterID != copyCluster {
		return nil
	}
	return fmt.Errorf("raft: %s is a backup, and in no cluster: start it once with --force-new-cluster, as the first "+
		"member of a new one", n.Dir)
}

// Backup copies the member that lives in dir to backupDir, as `etcdctl backup` of etcd 2 does.
// walDir and backupWALDir are the directories of the two logs; empty means inside dir and
// backupDir. The copy has a new id and is in no cluster, so that it starts only as a new one
// (Config.ForceAlone). All entries of the member's log count, committed or not.
//
// Nothing is changed in dir. If the member runs, the copy is as of some moment of the call.
// backupDir/member must not exist. When an error is returned or the process dies, the copy is
// incomplete, and Open refuses it. Backup returns the index, term, stamp and membership at the end
// of the copy.
func Backup(dir, walDir, backupDir, backupWALDir string) (Snapshot, error) {
	from := Config{Dir: dir, WALDir: walDir}
	return backup(from.storage(), Place{Dir: backupDir, WALDir: backupWALDir})
}

func backup(from storageOptions, to Place) (Snapshot, error) {
	seen, err := untilStable(func() (*survey, error) { return surveyDisk(from) })
	if err != nil {
		return Snapshot{}, err
	}
	defer seen.close()
	if len(seen.report.Faults) > 0 {
		return Snapshot{}, fmt.Errorf("raft: the directory is damaged, and not copied: %w", &seen.report.Faults[0])
	}
	d := newDisk{Place: to, member: rand.Uint64() | 1, bytes: from.Bytes, snapshot: seen.newest}
	d.snapshot.Membership.ClusterID = copyCluster
	d.state = State{Term: seen.replay.state.Term, Commit: max(seen.replay.state.Commit, seen.newest.Index)}
	if d.entries, err = withoutCluster(seen.replay.after()); err != nil {
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

// withoutCluster changes the entries for a copy, so that none of them names a cluster.
func withoutCluster(es []Entry) ([]Entry, error) {
	for i := range es {
		if es[i].Kind != EntryChange {
			continue
		}
		c, err := decodeChange(es[i].Data)
		if err != nil {
			return nil, err
		}
		if c.Kind == ChangeForce {
			c.ClusterID = copyCluster
			es[i].Data = appendChange(nil, &c)
		}
	}
	return es, nil
}
