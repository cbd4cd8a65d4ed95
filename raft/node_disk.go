package raft

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"etcd2/snap"
	"etcd2/wal"
	"etcd2/wal/disk"
)

// startWrite hands a write to the disk writer. It never blocks, because the disk writer has none
// (see diskBusy).
func (n *Node) startWrite(p *Persist) {
	n.diskBusy, n.diskSince = true, n.mono()
	n.toDisk <- p
}

// writeDisk appends to the log on disk. It decides nothing, and its first error ends the member
// (pitfall H8). A write that failed is never reported as done.
func (n *Node) writeDisk() {
	defer close(n.written)
	for p := range n.toDisk {
		n.writing.begins(n.mono())
		err := n.write(p)
		n.writing.idles()
		if err != nil {
			n.fail(fmt.Errorf("the log can't be written, so this member stops; all that it acknowledged is on disk: %w",
				err))
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
	took := time.Since(started)
	n.stats.Fsync.Observe(took)
	n.stats.FsyncNanos.Store(int64(took))
	n.stats.LastFsync.Store(time.Now().UnixNano())
	return err
}

// bootstrap makes the disk of a new member, unless there is one.
func (c *Config) bootstrap(o storageOptions) error {
	there, err := storageExists(o)
	if err != nil || there {
		return err
	}
	if len(c.Bootstrap.Members) == 0 && !c.Join {
		return fmt.Errorf("raft: %s holds no member, and there is no cluster to begin one with", c.Dir)
	}
	c.Dirs.willMake(o.Dir, o.identityFile())
	if err := orOS(o.FS).Mkdir(o.Dir); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	err = createStorage(o, c.Bootstrap.ClusterID, c.ID, rand.Uint64()|1, c.founding())
	c.Dirs.settled = hasLog(o.FS, o.walDir())
	for _, dir := range []string{o.Dir, c.Dir} { // pitfall H6: the directories above, too
		err = cmp.Or(err, disk.SyncName(orOS(o.FS), dir))
	}
	return err
}

// founding returns the entries that the log of every first member begins with, so that all agree on
// them without an election.
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

// keepPrivate gives the data directory mode 0700, unless it holds things that are not the member's,
// and warns of directories that other users may read (pitfall H13).
func (n *Node) keepPrivate(o storageOptions) {
	names, _ := disk.OS{}.ReadDir(n.Dir)
	i := slices.IndexFunc(names, n.isForeign)
	if i >= 0 {
		n.Logger.Warn("there is something else in the data directory, which is left alone (ignore this if you are "+
			"upgrading etcd)",
			"dir", n.Dir, "name", names[i])
	} else if err := (disk.OS{}).Mkdir(n.Dir); err != nil {
		n.Logger.Warn("the mode of the data directory can't be looked at", "err", err)
	}
	for _, dir := range []string{n.Dir, o.Dir, o.walDir()} {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o077 != 0 {
			n.Logger.Warn("other users of this machine may look into a directory, and its mode is not changed, since "+
				"this user does not own it or it holds other things",
				"dir", dir, "mode", info.Mode(), "remedy", "chmod 700 "+dir)
		}
	}
}

// isForeign reports whether a file of that name in the data directory was not made by this program.
func (n *Node) isForeign(name string) bool {
	own := []string{"member", "member" + unfinishedSuffix, "proxy", "fixtures"}
	return !ordinary(name) && !slices.Contains(own, name) && !sameFile(filepath.Join(n.Dir, name), n.Dirs.walDir)
}

// logRecovery logs what was found when the disk was opened.
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
		"entries", r.last()-r.Snapshot.Index, "term", r.State.Term)
}

// restore gives the snapshot to the state machine.
func (n *Node) restore(r *recovery) error {
	n.applied.Store(&appliedState{index: r.Snapshot.Index, term: r.Snapshot.Term, stamp: r.Snapshot.Stamp,
		membership: r.Snapshot.Membership})
	if r.Reader == nil {
		return nil
	}
	n.lastSnapshot = r.Snapshot.Index
	n.snapshots.size.Store(r.Reader.Size())
	n.expect(r.Reader)
	err := n.sm.Restore(r.Reader)
	if err != nil {
		err = fmt.Errorf("raft: the snapshot at %d: %w", r.Snapshot.Index, err)
	}
	err = errors.Join(err, r.Reader.Close())
	r.Reader = nil
	return err
}

// expect calls Config.Expect for the snapshot that the state machine gets next.
func (n *Node) expect(r *snap.Reader) {
	if n.Expect != nil {
		n.Expect(r.Size())
	}
}

// replay applies entries while the log is read.
func (n *Node) replay(es []Entry) error {
	n.apply(job{entries: es}, nil)
	n.applying.idles()
	return n.Err()
}

// publishClusterID sets the cluster's id before the log is applied, since the transport sends it
// first thing. A member that was forced alone must not speak for the cluster that it has left: it
// would tell the members of that cluster that they are removed (pitfall D14).
func (n *Node) publishClusterID() {
	now := *n.applied.Load()
	now.membership.ClusterID = n.core.configs.now().membership.ClusterID
	n.applied.Store(&now)
}

func (r *recovery) stamp() int64 {
	if n := len(r.Entries); n > 0 {
		return r.Entries[n-1].Stamp
	}
	return r.base().Stamp
}
