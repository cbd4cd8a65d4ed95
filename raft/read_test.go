package raft

import (
	"reflect"
	"testing"
)

// beatAnswer answers the latest round of heartbeats for a member.
func beatAnswer(t *testing.T, c *core, from uint64) Effects {
	t.Helper()
	return say(t, c, Message{Kind: HeartbeatAnswer, From: from, Term: c.term, Round: c.lead.round, Index: c.log.last(),
		LogTerm: c.term})
}

// readyLeader returns a leader of n members that has committed an entry of its own term.
func readyLeader(t *testing.T, n int) *core {
	t.Helper()
	c := newLeader(t, n)
	for id := uint64(2); id <= uint64(n); id++ {
		say(t, c, Message{Kind: AppendAnswer, From: id, Term: c.term, Index: c.log.last()})
	}
	return c
}

func mustRead(t *testing.T, c *core, id uint64) []SafeRead {
	t.Helper()
	if err := c.read(id); err != nil {
		t.Fatal(err)
	}
	return settle(t, c).Reads
}

// pitfall C2
func TestReadWaitsForAnEntryOfTheOwnTerm(t *testing.T) {
	c := newLeader(t, 3, 1)
	mustRead(t, c, 7)

	early := beatAnswer(t, c, 2).Reads
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: c.log.last()})
	late := beatAnswer(t, c, 2).Reads

	if len(early) != 0 || !reflect.DeepEqual(late, []SafeRead{{ID: 7, Index: 2}}) {
		t.Fatalf("answered %v early, %v late", early, late)
	}
}

// pitfall C4
func TestReadIsConfirmedByARoundBegunAfterIt(t *testing.T) {
	c := readyLeader(t, 3)
	pass(t, c, 1)
	before := Message{Kind: HeartbeatAnswer, From: 2, Term: c.term, Round: c.lead.round}
	mustRead(t, c, 7)

	early := say(t, c, before).Reads
	late := beatAnswer(t, c, 2).Reads

	if len(early) != 0 || len(late) != 1 {
		t.Fatalf("answered %v early, %v late", early, late)
	}
}

// All reads that wait share a round; those that come during the round share the next one.
func TestReadsShareRounds(t *testing.T) {
	c := readyLeader(t, 3)
	rounds := c.lead.round
	mustRead(t, c, 1)
	for id := range uint64(100) {
		mustRead(t, c, id+2)
	}

	first := beatAnswer(t, c, 3).Reads
	second := beatAnswer(t, c, 3).Reads

	if len(first) != 1 || len(second) != 100 || c.lead.round != rounds+2 {
		t.Fatalf("%d and %d reads in %d rounds", len(first), len(second), c.lead.round-rounds)
	}
}

// pitfall C9: answers of learners and of removed members confirm nothing.
func TestReadIsConfirmedByVotersAlone(t *testing.T) {
	c := readyLeader(t, 3)
	follow(t, c, Member{ID: 4, Learner: true})
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: c.log.last()})
	mustRead(t, c, 7)

	byLearner := beatAnswer(t, c, 4).Reads
	byVoter := beatAnswer(t, c, 3).Reads

	if len(byLearner) != 0 || len(byVoter) != 1 {
		t.Fatalf("answered %v by a learner, %v by a voter", byLearner, byVoter)
	}
}

// pitfall C1, pitfall C3: a leader's reads end with its leadership, and an answer of an earlier
// term is dropped.
func TestReadDoesNotOutliveItsTerm(t *testing.T) {
	c := readyLeader(t, 3)
	mustRead(t, c, 7)

	down := say(t, c, Message{Kind: Heartbeat, From: 2, Term: 2, Round: 1}).Reads
	stale := say(t, c, Message{Kind: ReadIndexAnswer, From: 3, Term: 1, Round: 7, Index: 1}).Reads
	fresh := say(t, c, Message{Kind: ReadIndexAnswer, From: 2, Term: 2, Round: 8, Index: 1}).Reads

	if len(down) != 1 || !down[0].Never || len(stale) != 0 || len(fresh) != 1 {
		t.Fatalf("answered %v after stepping down, %v by an old leader, %v by the new one", down, stale, fresh)
	}
}

// pitfall C5: without a leader a read is refused at once.
func TestReadWithoutALeaderIsRefused(t *testing.T) {
	if err := newMember(3).read(1); err != errNotLeader {
		t.Fatalf("error %v", err)
	}
}

func TestOneMemberReadsAtOnce(t *testing.T) {
	c := newLeader(t, 1)

	reads := mustRead(t, c, 7)

	if !reflect.DeepEqual(reads, []SafeRead{{ID: 7, Index: 1}}) {
		t.Fatalf("answered %v", reads)
	}
}

// pitfall C5: reads that wait for an index are refused when the leadership ends.
func TestReadsThatWillNeverBeSafeAreToldSo(t *testing.T) {
	c := newLeader(t, 3, 1)
	if err := c.read(7); err != nil {
		t.Fatal(err)
	}
	say(t, c, Message{Kind: ReadIndex, From: 2, Term: c.term, Round: 8})

	e := say(t, c, Message{Kind: Heartbeat, From: 3, Term: c.term + 1, Round: 1})

	if len(e.Reads) != 1 || e.Reads[0] != (SafeRead{ID: 7, Never: true}) {
		t.Errorf("its own reads: %+v", e.Reads)
	}
	wantMessages(t, only(ReadIndexAnswer, e.Messages), "n1@3 → n2 ReadIndexAnswer read=8 index=0 reject")
	late := say(t, c, Message{Kind: ReadIndex, From: 2, Term: c.term, Round: 9})
	wantMessages(t, only(ReadIndexAnswer, late.Messages), "n1@3 → n2 ReadIndexAnswer read=9 index=0 reject")
	if got := say(t, c, Message{Kind: ReadIndexAnswer, From: 3, Term: c.term, Round: 10,
		Reject: true}).Reads; len(got) != 1 || !got[0].Never {
		t.Errorf("a refusal brings %+v", got)
	}
}

func TestReadsThatWaitAreBounded(t *testing.T) {
	c := newMember(3, 1)
	elect(t, c)
	for id := range uint64(2 * maxReads) {
		c.step(Message{Kind: ReadIndex, From: 2, To: 1, Term: c.term, Round: id + 1})
	}

	if n := len(c.reads.waiting) + len(c.reads.confirming); n != maxReads {
		t.Errorf("%d reads wait", n)
	}
	if refused := only(ReadIndexAnswer, settle(t, c).Messages); len(refused) != maxReads {
		t.Errorf("%d are refused", len(refused))
	}
}
