package raft

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"etcd2/wal"
)

// giveDisk gives the disk writer a write. It never blocks, because the disk writer has none (see
// diskBusy).
func (n *Node) giveDisk(p *Persist) {
	n.diskBusy, n.diskSince = true, n.mono()
	n.toDisk <- p
}

// writeDisk appends to the log on disk. It decides nothing, and its first error ends the member
// (pitfall H8). A write that failed is never reported as done.
func (n *Node) writeDisk() {
	defer close(n.written)
	for p := range n.toDisk {
		n.writing.works(n.mono())
		err := n.write(p)
		n.writing.waits()
		if err != nil {
			n.fail(fmt.Errorf("the log can't be written, so this member stops; all that it acknowledged is on disk: %w", err))
			return
		}
		n.fromDisk <- p.Seq
	}
}

func (n *Node) write(p *Persist) error {
	started := time.Now()
	n.stats.FsyncSince.Store(started.UnixNano())
	err := n.storage.persist(p)
	n.stats.FsyncSince.Store(0)
	n.stats.Fsync.Observe(time.Since(started))
	n.stats.LastFsync.Store(time.Now().UnixNano())
	return err
}

// bootstrap makes the disk of a new member, unless there is one.
func (c *Config) bootstrap(o storageOptions) error {
	if err := makePrivate(o.Dir); err != nil {
		return err
	}
	there, err := storageExists(o)
	if err != nil || there {
		return err
	}
	if len(c.Bootstrap.Members) == 0 && !c.Join {
		return fmt.Errorf("raft: %s holds no member, and there is no cluster to begin one with", c.Dir)
	}
	if err := createStorage(o, c.Bootstrap.ClusterID, c.ID, rand.Uint64()|1, c.founding()); err != nil {
		return err
	}
	for _, dir := range []string{o.Dir, c.Dir, filepath.Dir(filepath.Clean(c.Dir))} { // pitfall H6: the folders above, too
		if err := orOS(o.FS).SyncDir(dir); err != nil {
			return fmt.Errorf("raft: %w", err)
		}
	}
	return nil
}

// founding are the entries that the log of every first member begins with, so that all agree on them without an election.
func (c *Config) founding() (es []Entry) {
	if c.Join {
		return nil
	}
	for _, m := range c.Bootstrap.Members {
		change := Change{Kind: ChangeAdd, Member: m, Command: c.Command(ChangeAdd)}
		es = append(es, Entry{Index: uint64(len(es) + 1), Term: 1, Kind: EntryChange, Data: appendChange(nil, &change)})
	}
	return es
}

// makePrivate makes a directory, and those above it, that only its owner may look into (pitfall H13).
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	return nil
}

// lockDir keeps every other process out of a data directory until the file is closed, which the end of the process does
// as well (pitfall H12). The file names its holder.
func lockDir(dir string) (io.Closer, error) {
	if err := makePrivate(dir); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("raft: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 20))
		return nil, errors.Join(fmt.Errorf("raft: %s is in use by another process (pid %s): stop that one, or give this one a directory of its own",
			dir, strings.TrimSpace(string(holder))), f.Close())
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(fmt.Errorf("raft: %w", err), f.Close())
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		return nil, errors.Join(fmt.Errorf("raft: %w", err), f.Close())
	}
	return f, nil
}

// logRecovery tells what the opening of the disk had to overcome.
func (n *Node) logRecovery(r *recovery) {
	for _, d := range r.Damaged {
		n.Logger.Error("a snapshot is damaged; starting from an older one and the log behind it",
			"file", d.File, "offset", d.Offset, "reason", d.Reason, "snapshot", r.Snapshot.Index)
	}
	if r.Torn != (wal.Repair{}) {
		n.Logger.Warn("the last write to the log was cut short by a crash; its unacknowledged rest is cut off",
			"file", r.Torn.File, "offset", r.Torn.Offset, "bytes", r.Torn.Bytes, "reason", r.Torn.Reason)
	}
	n.Logger.Info("opened the data directory", "dir", n.Dir, "member", hex(r.ID), "snapshot", r.Snapshot.Index,
		"entries", len(r.Entries), "term", r.State.Term)
}

// restore gives the snapshot to the state machine.
func (n *Node) restore(r *recovery) error {
	n.applied.Store(&appliedState{index: r.Snapshot.Index, term: r.Snapshot.Term, stamp: r.Snapshot.Stamp, membership: r.Snapshot.Membership})
	n.waiters.applied = r.Snapshot.Index
	if r.Reader == nil {
		return nil
	}
	n.snapshotter.last = r.Snapshot.Index
	n.snapshotter.size.Store(r.Reader.Size())
	err := n.sm.Restore(r.Reader)
	if err != nil {
		err = fmt.Errorf("raft: the snapshot at %d: %w", r.Snapshot.Index, err)
	}
	return errors.Join(err, r.Reader.Close())
}

// forceAlone makes a cluster of this member alone out of what its disk holds: everything in the log counts as committed, and
// the others are removed by entries of their own. The cluster gets a new id, so that the old one's members keep out (pitfall D14).
func (n *Node) forceAlone(r *recovery) error {
	last, term := r.Snapshot.Index+uint64(len(r.Entries)), r.State.Term+1
	self := n.Self // for a member that was removed from the old cluster
	self.ID, self.Incarnation = n.id, n.storage.incarnation
	if len(self.PeerURLs) == 0 {
		self.PeerURLs = n.ForceURLs
	}
	change := Change{Kind: ChangeForce, Member: self, ClusterID: rand.Uint64() | 1, Command: n.Command(ChangeForce)}
	e := Entry{Index: last + 1, Term: term, Stamp: r.stamp(), Kind: EntryChange, Data: appendChange(nil, &change)}
	r.State = State{Term: term, Vote: n.id, Commit: e.Index}
	r.Entries = append(r.Entries, e)
	n.Logger.Warn("a new cluster of this member alone", "cluster", hex(change.ClusterID), "member", hex(n.id))
	return n.storage.persist(&Persist{State: r.State, Entries: []Entry{e}})
}

// nameCluster has the cluster's id known before the log is applied, since the transport tells it with its first word: one that
// was forced alone must not speak for the cluster that it has left, whose other members it would declare removed (pitfall D14).
func (n *Node) nameCluster() {
	now := *n.applied.Load()
	now.membership.ClusterID = n.core.configs.now().membership.ClusterID
	n.applied.Store(&now)
}

func (r *recovery) stamp() int64 {
	if n := len(r.Entries); n > 0 {
		return r.Entries[n-1].Stamp
	}
	return r.Snapshot.Stamp
}
