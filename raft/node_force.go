package raft

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"path/filepath"

	"etcd2/wal"
)

// forcedMark is the name of an empty file beside the log. It says that the last start had
// Config.ForceAlone and made a cluster of this member alone, or found that done. A start without
// ForceAlone removes it. While it is there, ForceAlone changes nothing: it is the same flag as at
// the last start, and to force again would cut the member off from those that have joined since.
const forcedMark = "forced"

// force makes a cluster of this member alone if Config.ForceAlone is set, and that was not done
// before.
func (n *Node) force(r *recovery) error {
	marked, err := n.isMarked()
	switch {
	case err != nil:
		return err
	case !n.ForceAlone && marked:
		return n.unmark()
	case !n.ForceAlone:
		return nil
	}
	m := r.membership()
	if n.MayForce != nil {
		if err := n.MayForce(m, n.id); err != nil {
			return err
		}
	}
	done, err := n.isForced(m)
	switch {
	case err != nil:
		return err
	case marked || done:
		n.Logger.Warn("--force-new-cluster changes nothing: it has done its work at an earlier start, and must go. "+
			"(To force another new cluster, start once without it.)",
			"cluster", hex(m.ClusterID), "members", len(m.Members))
	default:
		if err := n.forceAlone(r); err != nil {
			return err
		}
	}
	return n.mark()
}

// membership returns the configuration that the log ends with.
func (r *recovery) membership() Membership {
	var configs configStack
	configs.reset(r.base())
	for i := range r.Entries {
		configs.append(&r.Entries[i])
	}
	return configs.now().membership
}

// isForced reports whether the member is the only one of a cluster that it was not made for.
func (n *Node) isForced(m Membership) (bool, error) {
	o := n.Config.storage()
	tag, _, err := wal.Head(o.walDir(), o.FS)
	made, _ := splitTag(tag)
	return len(m.Members) == 1 && m.has(n.id) && m.ClusterID != made && m.ClusterID != copyCluster, err
}

// forceAlone makes a cluster of this member alone of what its disk holds. Everything in the log
// counts as committed, and one entry removes the other members. The cluster gets a new id, so that
// the members of the old one can't talk to it (pitfall D14).
func (n *Node) forceAlone(r *recovery) error {
	last, term := r.last(), r.State.Term+1
	self := n.Self // in case the member was removed from the old cluster
	self.ID, self.Incarnation = n.id, n.storage.incarnation
	if len(self.PeerURLs) == 0 {
		self.PeerURLs = n.ForceURLs
	}
	change := Change{Kind: ChangeForce, Member: self, ClusterID: rand.Uint64() | 1, Command: n.Command(ChangeForce)}
	e := Entry{Index: last + 1, Term: term, Stamp: r.stamp(), Kind: EntryChange, Data: appendChange(nil, &change)}
	r.State = State{Term: term, Vote: n.id, Commit: e.Index}
	r.Entries = append(r.Entries, e)
	n.Logger.Warn("a new cluster of this member alone; --force-new-cluster has done its work: start without it from "+
		"now on",
		"cluster", hex(change.ClusterID), "member", hex(n.id))
	return n.storage.persist(&Persist{State: r.State, Entries: []Entry{e}})
}

func (n *Node) markPath() string { return filepath.Join(n.storage.dir, forcedMark) }

func (n *Node) isMarked() (bool, error) {
	f, err := orOS(n.fs).Open(n.markPath())
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("raft: %w", err)
	}
	return true, f.Close()
}

func (n *Node) mark() error {
	f, err := orOS(n.fs).Create(n.markPath())
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), orOS(n.fs).SyncDir(n.storage.dir))
	}
	if err != nil {
		return fmt.Errorf("raft: the note that a new cluster was forced: %w", err)
	}
	return nil
}

func (n *Node) unmark() error {
	if err := errors.Join(orOS(n.fs).Remove(n.markPath()), orOS(n.fs).SyncDir(n.storage.dir)); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	return nil
}
