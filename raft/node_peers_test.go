package raft

import (
	"context"
	"testing"
	"time"
)

// toldWhom is a transport that reaches nobody and notes whom it is told to follow.
type toldWhom struct {
	firstWord
	members []Member
}

func (l *toldWhom) Follow(m Membership) { l.members = m.Members }

// pitfall D3, pitfall D4: a change that is truncated stands at the index of the one that takes its place, and both may happen in one turn.
func TestAConfigurationThatTakesAnothersPlaceIsFollowedAtOnce(t *testing.T) {
	line := &toldWhom{}
	n := &Node{Config: Config{Transport: line}, core: newMember(3, 1)}
	n.applied.Store(&appliedState{membership: voters(3)})
	add := func(term, id uint64) {
		e := Entry{Index: 2, Term: term, Kind: EntryChange, Data: appendChange(nil, &Change{Kind: ChangeAdd, Member: Member{ID: id}})}
		say(t, n.core, Message{Kind: Append, From: 2, Term: term, Index: 1, LogTerm: 1, Entries: []Entry{e}})
		n.noteMembership()
	}

	add(2, 7)
	before := Membership{Members: line.members}
	add(3, 8)

	if now := (Membership{Members: line.members}); !before.has(7) || now.has(7) || !now.has(8) || !n.newest.Load().has(8) {
		t.Errorf("it follows %v, and then %v", before.Members, now.Members)
	}
}

// brief is a state machine whose state is small, however much is applied.
type brief struct{ register }

func (b *brief) Apply(index uint64, _ time.Time, _ []byte) any { return index }

func TestTheShorterOfLogAndSnapshotIsSent(t *testing.T) {
	c := nodeConfig(t.TempDir())
	c.SegmentBytes, c.SnapshotCount = 4<<20, 1<<20
	n := openNode(t, c, &brief{})
	shorter := func(from uint64) (is bool) {
		n.do(func(*core) { is = n.snapshotIsShorter(Fetch{From: from}) })
		return is
	}
	for range shortLog>>20 + 8 {
		if _, err := n.Propose(context.Background(), make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}

	before := shorter(1)
	n.do(func(*core) { n.snapshotter.wanted.Store(true); n.backlog = append(n.backlog, job{}) })
	for newest := uint64(0); newest == 0; {
		n.do(func(c *core) { newest = c.snapshot.Index })
	}

	if before || !shorter(1) {
		t.Errorf("without a snapshot: %v; with one: %v", before, shorter(1))
	}
	if last, _ := n.Applied(); shorter(last - 8) {
		t.Error("for 8 MiB of log a snapshot is sent")
	}
}
