package raft

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// announce tells the cluster this member's name, URLs, version and incarnation, closes ready when
// clients may come, and from then on raises the cluster's version when it can.
//
// Once the announcement is in the log, the other members know the incarnation of this disk. Until
// it is in the logs of a majority, nobody notices that the disk was emptied (pitfall D10). So a
// member should not be emptied in the first second of its life, nor while other members lag.
//
// commit is what the disk knew to be committed at the start. alone says that the member is the only
// voter of its cluster.
func (n *Node) announce(commit uint64, alone bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-n.quit; cancel() }()
	late := alone || commit == 0 // a member that joins has nothing to show before it hears of the cluster
	if !late && n.waitApplied(ctx, commit) == nil && n.waitCaughtUp(ctx) {
		close(n.ready)
	}
	self := n.Self
	self.ID, self.Incarnation = n.id, n.storage.incarnation
	n.retryChange(ctx, Change{Kind: ChangeUpdate, Member: self})
	for ctx.Err() == nil {
		n.raiseVersion(ctx)
		if m, _ := n.Membership().Find(n.id); late && m.ID == n.id && !m.Learner {
			close(n.ready) // with its vote: from now on the cluster may count on it
			late = false
		}
		select {
		case <-n.membership:
		case <-ctx.Done():
		}
	}
}

// waitCaughtUp waits until this member has applied everything that it may have served before. The
// commit index on its disk is only a lower bound of that, and clients must not read older values
// than before (pitfall C8). When no leader answers within three election timeouts, the member
// serves what it has. waitCaughtUp returns false when the member stops.
func (n *Node) waitCaughtUp(ctx context.Context) bool {
	patience, cancel := context.WithTimeout(ctx, 3*n.Election)
	defer cancel()
	if err := n.Read(patience); err != nil && ctx.Err() == nil {
		n.Logger.Warn("no leader tells how far the cluster is; serving what is on this member's disk",
			"applied", n.applied.Load().index)
	}
	return ctx.Err() == nil
}

// retryChange proposes a change of this member until it is applied or the member stops. It ends the
// member when the change can never be made.
func (n *Node) retryChange(ctx context.Context, c Change) {
	for ctx.Err() == nil {
		switch _, err := n.Change(ctx, c); err {
		case nil:
			return
		case ErrMemberRemoved:
			n.fail(fmt.Errorf("%w: the leader says so", ErrRemoved))
		case ErrMemberEmptied:
			n.fail(emptied(n.id, "the leader"))
		case ErrMembershipFull:
			n.fail(fmt.Errorf("%w: this member can't tell its name and URLs", ErrMembershipFull))
		case ErrNameTaken:
			n.fail(n.nameTaken(c.Member.Name))
		case ErrMemberExists:
			n.fail(fmt.Errorf("raft: another member has one of the peer URLs %s: give this one its own",
				strings.Join(c.Member.PeerURLs, ",")))
		}
		select {
		case <-time.After(n.Heartbeat):
		case <-ctx.Done():
		}
	}
}

// nameTaken returns the error that ends a member which was started with another member's name.
func (n *Node) nameTaken(name string) error {
	m := n.Membership()
	self, _ := m.Find(n.id)
	i := slices.IndexFunc(m.Members, func(p Member) bool { return p.ID != n.id && p.Name == name })
	if i < 0 {
		return fmt.Errorf("%w: %q; give this one a --name of its own", ErrNameTaken, name)
	}
	return fmt.Errorf("%w: %q is %x at %s, and this is %x, which was %q; give this one its own --name, and see that "+
		"--data-dir is its own",
		ErrNameTaken, name, m.Members[i].ID, strings.Join(m.Members[i].PeerURLs, ","), n.id, self.Name)
}

// waitApplied waits until the entry at index is applied here.
func (n *Node) waitApplied(ctx context.Context, index uint64) error {
	w := &waiter{result: make(chan outcome, 1)}
	id, err := n.waiters.add(w, request{}, maxInt64)
	if err != nil {
		return err
	}
	n.waiters.answerAt([]uint64{id}, index)
	select {
	case <-w.result:
		return nil
	case <-ctx.Done():
		n.waiters.remove(id)
		return ctx.Err()
	}
}

const maxInt64 = int64(^uint64(0) >> 1)

// raiseVersion raises the cluster's version to the lowest version of its members, when this member
// leads.
func (n *Node) raiseVersion(ctx context.Context) {
	m := n.Membership()
	if v := m.lowestVersion(); v != "" && compareVersions(v, m.Version) > 0 && n.Leader() == n.id {
		n.retryChange(ctx, Change{Kind: ChangeVersion, Member: Member{Version: v}})
	}
}
