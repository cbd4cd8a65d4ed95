package raft

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// greet makes the member known to the cluster, says when its clients may come, and from then on
// sees to the cluster's version. From the greeting on the others know its disk. Before it is in the
// log of those who make a majority, a disk that is emptied goes unnoticed (pitfall D10): a member
// should not be emptied, then, in the first second of its life, nor while others lag. commit is
// what its disk knew to be committed at the start; alone: it is a cluster of its own.
func (n *Node) greet(commit uint64, alone bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-n.quit; cancel() }()
	late := alone || commit == 0 // one that joins has nothing to show before it has heard of the cluster
	if !late && n.waitApplied(ctx, commit) == nil && n.catchUp(ctx) {
		close(n.ready)
	}
	self := n.Self
	self.ID, self.Incarnation = n.id, n.storage.incarnation
	n.insist(ctx, Change{Kind: ChangeUpdate, Member: self})
	for ctx.Err() == nil {
		n.decideVersion(ctx)
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

// catchUp waits until this member has everything that it may have served before: its disk's commit
// index is a lower bound, and values must not run backwards (pitfall C8). Where no leader tells how
// far that is, the member serves what it has after a while. It returns false when the member stops.
func (n *Node) catchUp(ctx context.Context) bool {
	patience, cancel := context.WithTimeout(ctx, 3*n.Election)
	defer cancel()
	if err := n.Read(patience); err != nil && ctx.Err() == nil {
		n.Logger.Warn("no leader tells how far the cluster is; serving what is on this member's disk",
			"applied", n.applied.Load().index)
	}
	return ctx.Err() == nil
}

// insist makes a change of this member, however long it takes. Where it can never be made, the
// member ends.
func (n *Node) insist(ctx context.Context, c Change) {
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

// nameTaken is the end of a member that was started with another one's name.
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

// decideVersion raises the cluster's version to the lowest of its members', when this member leads.
func (n *Node) decideVersion(ctx context.Context) {
	m := n.Membership()
	if v := m.lowestVersion(); v != "" && compareVersions(v, m.Version) > 0 && n.Leader() == n.id {
		n.insist(ctx, Change{Kind: ChangeVersion, Member: Member{Version: v}})
	}
}
