package raft

import (
	"fmt"
	"slices"
	"testing"
)

// The tests in this file show in a few lines the faults that long simulations found.

// pitfall D6: n1 led, put its own removal into its log, and crashed before n2 had the entry. n2
// can't win against the longer log, so n1 must campaign once more, though it is not in its own
// configuration.
func TestMemberWhoseRemovalIsNotAgreedStillCampaigns(t *testing.T) {
	b := bootOf(2, 1, 1)
	b.Entries = append(b.Entries, Entry{Index: 3, Term: 1, Kind: EntryChange,
		Data: appendChange(nil, &Change{Kind: ChangeRemove, Member: Member{ID: 1}})})
	c := newCore(testConfig(1), b)

	asked := pass(t, c, 2*c.ElectionTicks)
	say(t, c, Message{Kind: PreVoteAnswer, From: 2, Term: 2})
	say(t, c, Message{Kind: VoteAnswer, From: 2, Term: 2})

	wantMessages(t, asked[:1], "n1@2 → n2 PreVote last=3@1")
	if c.role != Leader {
		t.Fatalf("role %d", c.role)
	}
}

// pitfall B10: the entry arrived, its answer got lost, and no client writes any more. The answer to
// the next heartbeat tells the leader.
func TestHeartbeatMakesUpForALostAcknowledgement(t *testing.T) {
	c := newLeader(t, 2)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 1})
	if _, err := c.propose(proposal{kind: EntryCommand}); err != nil {
		t.Fatal(err)
	}
	pass(t, c, 1)

	onTheWayToTheDisk := Message{Kind: HeartbeatAnswer, From: 2, Term: c.term, Round: c.lead.round, Index: 2,
		LogTerm: c.term, Hint: 1}
	say(t, c, onTheWayToTheDisk)
	before := c.commit
	onDisk := onTheWayToTheDisk
	onDisk.Hint = 2
	say(t, c, onDisk)

	if before != 1 || c.commit != 2 {
		t.Fatalf("commit %d before it was on disk, and then %d", before, c.commit)
	}
}

// pitfall B10: as before, but the member lags so far behind that its last entry is no longer in the
// leader's memory. What the leader has just read from its disk and sent shows that this entry is
// the leader's.
func TestHeartbeatMakesUpForALostAcknowledgementOfOldEntries(t *testing.T) {
	c := newLeader(t, 1, 1, 1, 1, 1)
	follow(t, c, Member{ID: 2, Learner: true})
	c.log.trim(4)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Reject: true, Index: 6})
	c.fetched(2, logOf(1))
	settle(t, c)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 1})
	c.fetched(2, logOf(1, 1)[1:])
	settle(t, c) // the answer to 2@1 gets lost, and the disk takes its time to bring 3@1
	p := c.lead.progress(2)

	pass(t, c, 1)
	answer := Message{Kind: HeartbeatAnswer, From: 2, Term: c.term, Round: c.lead.round, Index: 2, LogTerm: 2, Hint: 2}
	say(t, c, answer)
	other := p.match
	answer.LogTerm = 1
	said := say(t, c, answer).Messages

	wantMessages(t, slices.DeleteFunc(said, func(m Message) bool { return m.Kind != Append }))
	if other != 1 || p.match != 2 || len(p.window.inflight) != 0 {
		t.Fatalf("match %d with another entry, then %d; %d in flight", other, p.match, len(p.window.inflight))
	}
}

// pitfall E10: a new leader knows nothing yet of a member whose connection breaks. It must not
// conclude that the member lacks everything and needs a snapshot: that is long, and a disk that is
// nearly full has no room for it.
func TestBrokenConnectionOfANewLeaderCostsNoSnapshot(t *testing.T) {
	b := bootOf(2, 1, 1, 1, 1)
	b.Snapshot = Snapshot{Index: 3, Term: 1, Membership: b.Snapshot.Membership}
	b.Entries, b.First = b.Entries[3:], 4
	c := newCore(testConfig(1), b)
	elect(t, c)
	settle(t, c)

	c.lost(2)
	pass(t, c, c.HeartbeatTicks)
	said := say(t, c, Message{Kind: HeartbeatAnswer, From: 2, Term: c.term, Round: c.lead.round, Index: 4, LogTerm: 1,
		Hint: 4}).Messages

	wantMessages(t, said, "n1@2 → n2 Append base=4@1 [5@2] commit=3")
}

// pitfall G4: an entry that a member proposed before a restart must not match a waiter of its
// present life.
func TestWaitersOfTwoLivesShareNoIDs(t *testing.T) {
	var before, after waiters

	before.init()
	after.init()

	if distance := after.next - before.next; distance < 1<<20 || -distance < 1<<20 {
		t.Fatalf("ids begin at %x, and then at %x", before.next, after.next)
	}
}

// pitfall L5: a member's disk stalls, and a probe waits for it. The member answers heartbeats
// meanwhile, and says what it has. These answers do not make the leader send the probe and its
// entries again.
func TestAProbeThatWaitsForTheDiskIsNotSentAgain(t *testing.T) {
	c := newLeader(t, 2)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Reject: true, Index: c.log.last(), Hint: 0})
	probe := c.lead.progress(2)
	last := c.log.last()

	var again []Message
	for range 20 {
		pass(t, c, 1)
		again = append(again, say(t, c, Message{Kind: HeartbeatAnswer, From: 2, Term: c.term, Round: c.lead.round,
			Index: last, LogTerm: c.log.lastTerm(), Hint: last - 1}).Messages...)
	}

	again = slices.DeleteFunc(again, func(m Message) bool { return m.Kind != Append })
	wantMessages(t, again)
	if !probe.probe.out {
		t.Error("it is not waited for")
	}
}

// pitfall L5: a member whose state machine is slow drops the entries that the leader has on their
// way to it, most of a window. If it resumed as soon as there is room for one entry, it would drop
// as much once more after that entry.
func TestAMemberThatDropsEntriesGoesOnWhenHalfOfThemAreApplied(t *testing.T) {
	c := newMember(2, 1)
	c.MaxUnappliedBytes = 10 * entryOverhead
	say(t, c, Message{Kind: Heartbeat, From: 2, Term: 2, Round: 1})
	bring := func(index uint64) {
		c.step(Message{Kind: Append, From: 2, To: 1, Term: 2, Index: index - 1, LogTerm: c.log.lastTerm(),
			Commit:  index,
			Entries: []Entry{{Index: index, Term: 2, Kind: EntryCommand}}})
		for e := c.effects(true); e.Persist != nil; e = c.effects(true) {
			c.persisted(e.Persist.Seq)
		}
	}
	for index := uint64(2); index <= 50; index++ {
		bring(index)
	}
	last := c.log.last()

	c.appliedTo(4)
	early := c.effects(true).Messages
	bring(last + 1)
	taken := c.log.last()
	c.appliedTo(5)

	if taken != last {
		t.Errorf("it has entries up to %d, and takes %d", last, taken)
	}
	wantMessages(t, early)
	wantMessages(t, c.effects(true).Messages, fmt.Sprintf("n1@2 → n2 AppendAnswer reject=%d hint=%d@2", last+1, last))
}

// pitfall L5: a member has a long tail that was never agreed, and the leader's entries in its place
// have left the memory, so that the leader can't compare terms. It does not go back by one entry in
// each round trip: what the member knows to be committed is the same in both logs.
func TestALongTailThatDiffersFromOldEntriesCostsFewRoundTrips(t *testing.T) {
	terms := slices.Repeat([]uint64{4}, 99)
	c := newLeader(t, 1, terms...)
	follow(t, c, Member{ID: 2, Learner: true})
	c.log.trim(90)
	reject := func(index, commit uint64) []Fetch {
		return say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Reject: true, Index: index,
			Hint: min(index, 80), LogTerm: 3, Commit: commit}).Fetch
	}

	first := reject(101, 7)
	c.fetched(2, logOf(terms...)[79:90])
	settle(t, c)
	second := reject(80, 7)

	if len(first) != 1 || first[0].From != 80 || len(second) != 1 || second[0].From != 7 {
		t.Fatalf("fetch %v, and then %v", first, second)
	}
}

// pitfall L5: when an Append is dropped, the Appends behind it are not refused. Else the leader
// would send all of them again at once, they would be dropped at the first entry, and so on. The
// leader of a later term is told where this log ends.
func TestWhatFollowsADroppedAppendIsNotRefused(t *testing.T) {
	c := newMember(2, 1)
	c.MaxUnappliedBytes = entryOverhead
	say(t, c, Message{Kind: Heartbeat, From: 2, Term: 2, Round: 1})
	bring := func(term, index uint64) (answers []Message) {
		c.step(Message{Kind: Append, From: 2, To: 1, Term: term, Index: index - 1, LogTerm: min(index-1, 2),
			Commit:  index,
			Entries: []Entry{{Index: index, Term: term, Kind: EntryCommand}}})

		for {
			e := c.effects(true)
			answers = append(answers, e.Messages...)
			if e.Persist == nil {
				return answers
			}
			c.persisted(e.Persist.Seq)
		}
	}
	for index := uint64(2); index < 20; index++ {
		bring(2, index)
	}
	last := c.log.last()

	wantMessages(t, bring(2, last+2))
	wantMessages(t, bring(3, last+3), fmt.Sprintf("n1@3 → n2 AppendAnswer reject=%d hint=%d@2", last+2, last))
}
