package raft

import (
	"testing"
)

// pitfall B10: nobody writes after the append that got lost, so nothing but the heartbeats can show the loss.
func TestLostAppendIsSentAgainThoughTheFollowersOldTailIsLonger(t *testing.T) {
	c := newLeader(t, 2, 1, 2) // entry 3@3 opens its term
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Reject: true, Index: 2, Hint: 1, LogTerm: 1})
	lost := only(Append, say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 1}).Messages)

	var again []Message
	for range 2 {
		pass(t, c, 1)
		tail := Message{Kind: HeartbeatAnswer, From: 2, Term: c.term, Round: c.lead.round, Index: 9, LogTerm: 1}
		again = append(again, only(Append, say(t, c, tail).Messages)...)
	}

	wantMessages(t, lost, "n1@3 → n2 Append base=1@1 [2@2 3@3] commit=0")
	wantMessages(t, again, "n1@3 → n2 Append base=1@1 [2@2 3@3] commit=0")
}

// Entries that left the memory come from the disk, from the very first one on.
func TestMemberThatLacksEverythingIsFedFromTheDisk(t *testing.T) {
	c := newLeader(t, 1, 1, 1)
	c.log.trim(2)
	follow(t, c, Member{ID: 2, Learner: true})
	rejected := Message{Kind: AppendAnswer, From: 2, Term: c.term, Reject: true, Index: 4}

	fetch := say(t, c, rejected).Fetch
	c.fetched(2, logOf(1, 1))
	sent := only(Append, settle(t, c).Messages)

	if len(fetch) != 1 || fetch[0] != (Fetch{To: 2, From: 1, Last: 2}) {
		t.Fatalf("fetch %v", fetch)
	}
	wantMessages(t, sent, "n1@2 → n2 Append base=0@0 [1@1 2@1] commit=4")
}

// A member that is just behind the snapshot needs no other one, though the snapshot is all that the disk has before it.
func TestMemberAtTheSnapshotIsFedFromTheDisk(t *testing.T) {
	c := newLeader(t, 1, 1, 1, 1, 1)
	settle(t, c)
	c.compact(Snapshot{Index: 2, Term: 1, Membership: voters(1)}, 3)
	c.log.trim(4)
	c.log.first = 3
	follow(t, c, Member{ID: 2, Learner: true})
	rejected := Message{Kind: AppendAnswer, From: 2, Term: c.term, Reject: true, Index: 6, Hint: 2, LogTerm: 1}

	fetch := say(t, c, rejected).Fetch
	c.fetched(2, logOf(1, 1, 1, 1)[2:])
	sent := only(Append, settle(t, c).Messages)

	if len(fetch) != 1 || fetch[0] != (Fetch{To: 2, From: 3, Last: 4}) {
		t.Fatalf("fetch %v", fetch)
	}
	wantMessages(t, sent, "n1@2 → n2 Append base=2@1 [3@1 4@1] commit=6")
}

// follow makes a leader commit the addition of a member.
func follow(t *testing.T, c *core, m Member) {
	t.Helper()
	if _, err := c.proposeChange(Change{Kind: ChangeAdd, Member: m}, 0); err != nil {
		t.Fatal(err)
	}
	settle(t, c)
}
