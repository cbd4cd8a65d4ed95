package raft

import (
	"slices"
	"strings"
	"testing"
)

// pitfall B10: no client writes after the Append that got lost, so only the heartbeats can reveal
// the loss.
func TestLostAppendIsSentAgainThoughTheFollowersOldTailIsLonger(t *testing.T) {
	b := bootOf(2, 1, 2) // entry 3@3 opens its term
	b.Entries[1].Data = make([]byte, 4*probeBytes)
	c := newCore(testConfig(1), b)
	elect(t, c)
	probe := only(Append, say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Reject: true, Index: 2, Hint: 1,
		LogTerm: 1}).Messages)
	lost := only(Append, say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 1}).Messages)

	var again []Message
	for tick := 0; len(again) == 0 && tick < 20; tick++ { // its bytes take some ticks on a slow link
		pass(t, c, 1)
		tail := Message{Kind: HeartbeatAnswer, From: 2, Term: c.term, Round: c.lead.round, Index: 9, LogTerm: 1}
		again = append(again, only(Append, say(t, c, tail).Messages)...)
	}

	wantMessages(t, probe, "n1@3 → n2 Append base=1@1 [] commit=0")
	wantMessages(t, lost, "n1@3 → n2 Append base=1@1 [2@2] commit=0", "n1@3 → n2 Append base=2@2 [3@3] commit=0")
	wantMessages(t, again, "n1@3 → n2 Append base=1@1 [] commit=0")
}

// Entries that have left the memory are read from the disk, from the very first one on.
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

// A member whose log ends at the snapshot needs no snapshot, although the leader's disk has nothing
// but the snapshot before the next entry.
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

// Each row of the receiver's side of §5.3: the follower has 1@1 2@1 3@2 4@2, of which 2 are
// committed. pitfall B3, pitfall B4, pitfall B6, pitfall E3
func TestAppendToAFollower(t *testing.T) {
	entries := func(first uint64, terms ...uint64) (es []Entry) {
		for i, term := range terms {
			es = append(es, Entry{Index: first + uint64(i), Term: term})
		}
		return es
	}
	for _, c := range []struct {
		name        string
		base, term  uint64
		entries     []Entry
		commit      uint64
		wantLog     string
		wantCommit  uint64
		wantMessage string
	}{
		{"what follows", 4, 2, entries(5, 3), 5, "1@1 2@1 3@2 4@2 5@3", 5, "match=5"},
		{"a gap", 6, 3, entries(7, 3), 7, "1@1 2@1 3@2 4@2", 2, "reject=6 hint=4@2"},
		{"another term before", 4, 3, entries(5, 3), 5, "1@1 2@1 3@2 4@2", 2, "reject=4 hint=4@2"},
		{"a conflict", 2, 1, entries(3, 3), 3, "1@1 2@1 3@3", 3, "match=3"},
		{"a conflict later on", 2, 1, entries(3, 2, 3), 4, "1@1 2@1 3@2 4@3", 4, "match=4"},
		{"a double", 2, 1, entries(3, 2), 2, "1@1 2@1 3@2 4@2", 2, "match=3"},
		{"nothing new, but the commit", 3, 2, nil, 9, "1@1 2@1 3@2 4@2", 3, "match=3"},
		{"below the commit index", 0, 0, entries(1, 1), 9, "1@1 2@1 3@2 4@2", 2, "match=2"},
		{"from below the commit index on", 1, 1, entries(2, 1, 2, 2, 3), 5, "1@1 2@1 3@2 4@2 5@3", 5, "match=5"},
	} {
		b := bootOf(3, 1, 1, 2, 2)
		b.State = State{Term: 3, Commit: 2}
		f := newCore(testConfig(1), b)

		sent := say(t, f, Message{Kind: Append, From: 2, Term: 3, Index: c.base, LogTerm: c.term, Entries: c.entries,
			Commit: c.commit}).Messages

		if got := entryNames(f.log.entries); got != c.wantLog || f.commit != c.wantCommit {
			t.Errorf("%s: log %s, commit %d, want %s, %d", c.name, got, f.commit, c.wantLog, c.wantCommit)
		}
		if want := "n1@3 → n2 AppendAnswer " + c.wantMessage; len(sent) != 1 || sent[0].String() != want {
			t.Errorf("%s: sent %q, want %s", c.name, texts(sent), want)
		}
	}
}

// pitfall B3
func TestTruncatingACommittedEntryPanics(t *testing.T) {
	b := bootOf(3, 1, 1)
	b.State.Commit = 2
	c := newCore(testConfig(1), b)
	defer func() {
		if recover() == nil {
			t.Fatal("it was dropped")
		}
	}()
	c.truncateLog(2)
}

// pitfall B5: the write of the old entry ends after another entry has taken its place. The term is
// no protection: the new one was in the same write.
func TestAnswerToAnEntryWaitsForThatVeryEntry(t *testing.T) {
	c := newMember(3)
	c.step(Message{Kind: Append, From: 2, To: 1, Term: 1, Entries: []Entry{{Index: 1, Term: 1}}})
	c.step(Message{Kind: Heartbeat, From: 3, To: 1, Term: 2})
	old := c.effects(true).Persist
	c.step(Message{Kind: Append, From: 3, To: 1, Term: 2, Entries: []Entry{{Index: 1, Term: 2}}})
	c.effects(false)

	c.persisted(old.Seq)
	e := c.effects(true)
	c.persisted(e.Persist.Seq)

	wantMessages(t, e.Messages)
	wantMessages(t, c.effects(true).Messages, "n1@2 → n3 AppendAnswer match=1")
}

// pitfall B1: three of five have 2@1 on disk, and it is not committed before an entry of the
// leader's own term is.
func TestOnlyEntriesOfTheOwnTermAreCommittedByCounting(t *testing.T) {
	c := newLeader(t, 5, 1, 1)
	ack := func(from, index uint64) {
		say(t, c, Message{Kind: AppendAnswer, From: from, Term: c.term, Index: index})
	}
	ack(2, 2)
	ack(3, 2)
	before := c.commit

	ack(2, 3)
	ack(3, 3)

	if before != 0 || c.commit != 3 {
		t.Fatalf("commit %d, then %d", before, c.commit)
	}
}

// pitfall B2
func TestLeaderOpensItsTermWithAnEmptyEntry(t *testing.T) {
	c := newLeader(t, 3, 1)

	e := c.log.at(c.log.last())

	if e.Index != 2 || e.Term != 2 || e.Kind != EntryEmpty || e.Stamp == 0 {
		t.Fatalf("the last entry is %+v", e)
	}
}

// pitfall B8: late, doubled and foreign answers leave match and next alone.
func TestLateAnswersDoNotMoveProgress(t *testing.T) {
	c := newLeader(t, 3, 1, 1, 1)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 4})
	for _, m := range []Message{
		{From: 2, Term: c.term, Index: 2},
		{From: 2, Term: c.term, Index: 4},
		{From: 2, Term: c.term, Index: 3, Reject: true, Hint: 1, LogTerm: 1},
		{From: 2, Term: c.term - 1, Index: 4, Reject: true},
		{From: 2, Term: c.term, Index: 99},
		{From: 9, Term: c.term, Index: 4},
	} {
		m.Kind = AppendAnswer
		say(t, c, m)

		if p := c.lead.progress(2); p.match != 4 || p.next != 5 || p.sending != replicating {
			t.Errorf("%v: match %d, next %d, sending %v", m, p.match, p.next, p.sending)
		}
	}
}

// pitfall B8: while probing, a refusal counts only for the probe that is on its way.
func TestRefusalOfAnOldProbeIsIgnored(t *testing.T) {
	c := newLeader(t, 3, 1, 1, 1)
	out := c.lead.progress(2).next

	sent := say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: out - 2, Reject: true}).Messages

	if next := c.lead.progress(2).next; next != out {
		t.Fatalf("next %d, want %d", next, out)
	}
	wantMessages(t, sent)
}

// pitfall B9: the other one of two members has the entry on disk before the leader has.
func TestLeaderCountsItselfWhenItsDiskHasAnswered(t *testing.T) {
	c := newLeader(t, 2)
	index, err := c.propose(proposal{kind: EntryCommand})
	e := c.effects(true)
	c.step(Message{Kind: AppendAnswer, From: 2, To: 1, Term: c.term, Index: index})
	before := c.commit

	c.persisted(e.Persist.Seq)

	if err != nil || before >= index || c.commit != index {
		t.Fatalf("entry %d (%v), commit %d before the disk, %d after", index, err, before, c.commit)
	}
}

// pitfall B12
func TestNoStartBehindWhatIsCommitted(t *testing.T) {
	b := bootOf(1, 1)
	b.State.Commit = 2
	defer func() {
		if recover() == nil {
			t.Fatal("it started")
		}
	}()
	newCore(testConfig(1), b)
}

// pitfall B13
func TestProposalsAreRefusedWhenTooMuchIsUncommitted(t *testing.T) {
	config := testConfig(1)
	config.MaxUncommittedBytes = 1000
	c := newCore(config, bootOf(3))
	elect(t, c)
	taken := 0
	for range 1000 {
		if _, err := c.propose(proposal{kind: EntryCommand, data: make([]byte, 100)}); err == nil {
			taken++
		}
	}

	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: c.log.last()})
	_, after := c.propose(proposal{kind: EntryCommand, data: make([]byte, 100)})

	if taken == 0 || taken > 10 || after != nil {
		t.Fatalf("%d of 1000 were taken, and after the commit: %v", taken, after)
	}
}

// Flow control: what is on its way is bounded, and an answer makes room.
func TestAppendsInFlightAreBounded(t *testing.T) {
	config := testConfig(1)
	config.MaxAppendBytes, config.MaxInflightBytes = 1, 3*(entryOverhead+1)
	c := newCore(config, bootOf(2))
	elect(t, c)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 1})
	for range 10 {
		if _, err := c.propose(proposal{kind: EntryCommand, data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}

	first := only(Append, settle(t, c).Messages)
	second := only(Append, say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 3}).Messages)

	if len(first) != 3 || len(second) != 2 {
		t.Fatalf("%d were sent, and after two answers %d more", len(first), len(second))
	}
}

// pitfall F2: a leader that hears no majority steps down after an election timeout, and then sends
// nothing.
func TestLeaderWithoutMajorityFallsSilent(t *testing.T) {
	c := newLeader(t, 5)
	for range c.ElectionTicks - 1 {
		say(t, c, Message{Kind: HeartbeatAnswer, From: 2, Term: c.term, Round: c.lead.round})
		pass(t, c, 1)
	}
	before := c.role

	last := pass(t, c, 1)

	if before != Leader || c.role != Follower || len(last) != 0 {
		t.Fatalf("role %d, then %d, sent %q", before, c.role, texts(last))
	}
}

// pitfall F3: heartbeats continue while a disk stalls, so the leader itself must step down.
func TestLeaderWithAStalledDiskHandsOverAndStepsDown(t *testing.T) {
	c := newLeader(t, 3)
	answer := func(kind MessageKind) {
		c.step(Message{Kind: kind, From: 2, To: 1, Term: c.term, Index: c.log.last(), LogTerm: c.term,
			Round: c.lead.round})
	}
	if _, err := c.propose(proposal{kind: EntryCommand}); err != nil {
		t.Fatal(err)
	}
	c.effects(true) // the write that never ends
	answer(AppendAnswer)
	var sent []Message
	for range 2 * c.ElectionTicks {
		c.tick()
		answer(HeartbeatAnswer)
		sent = append(sent, c.effects(false).Messages...)
		checkInvariants(t, c)
	}

	wantMessages(t, only(TimeoutNow, sent), "n1@1 → n2 TimeoutNow")
	if c.role != Follower || c.mayCampaign() {
		t.Fatalf("role %d, may campaign: %v", c.role, c.mayCampaign())
	}
}

// pitfall D11: the leader relies on entries that this member has acknowledged, and they are gone.
func TestAMemberWhoseDiskHasForgottenStops(t *testing.T) {
	c := newMember(2, 1, 1)

	e := say(t, c, Message{Kind: Heartbeat, From: 2, Term: 2, Commit: 3, Round: 1})

	if e.Broken == nil || !strings.Contains(e.Broken.Error(), "ends at 2, but it has acknowledged up to 3") {
		t.Errorf("broken: %v", e.Broken)
	}
	if c.commit > 2 {
		t.Errorf("commit %d", c.commit)
	}
}

// pitfall B10: heartbeats overtake large messages, so an Append counts as lost only when it is late
// even for a slow link. pitfall L5: whether an Append is late depends on time, not on the number of
// heartbeat rounds, of which reads may begin many.
func TestWhatIsLateIsNotTakenForLost(t *testing.T) {
	for name, readsATick := range map[string]int{"without reads": 0, "with reads": 50} {
		t.Run(name, func(t *testing.T) {
			c := newLeader(t, 2, 1)
			say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 2})
			if _, err := c.propose(proposal{kind: EntryCommand, data: make([]byte, 5*slowest)}); err != nil {
				t.Fatal(err)
			}
			if sent := only(Append, settle(t, c).Messages); len(sent) != 1 {
				t.Fatalf("sent %v", sent)
			}

			var again []int // ticks at which it is sent again
			for tick := 1; tick <= 60; tick++ {
				c.tick()
				for range readsATick + 1 {
					c.enqueueRead(read{id: 1, from: c.ID})
					settle(t, c)
					answer := Message{Kind: HeartbeatAnswer, From: 2, Term: c.term, Round: c.lead.round, Index: 2,
						LogTerm: 2, Hint: 2}
					for range only(Append, say(t, c, answer).Messages) {
						again = append(again, tick)
					}
				}
			}

			if want := []int{7, 9, 13}; !slices.Equal(again[:min(3, len(again))], want) {
				t.Errorf("probed after %v ticks, want %v: 1, and one for each %d bytes; then twice that of a probe",
					again, want, slowest)
			}
		})
	}
}

// A member that lags is fed by a pipeline: while the window is full, the leader reads the next
// entries from its disk.
func TestCatchingUpReadsAheadOfTheWindow(t *testing.T) {
	config := testConfig(1)
	config.MaxInflightBytes, config.MaxAppendBytes, config.MaxTailBytes = 2*(entryOverhead+1), entryOverhead+1, 1
	b := bootOf(2, 1, 1, 1, 1, 1, 1, 1, 1)
	b.State.Commit, b.Replayed, b.Entries = 8, Snapshot{Index: 8, Term: 1, Membership: voters(2)}, nil
	c := newCore(config, b)
	elect(t, c)
	disk := logOf(1, 1, 1, 1, 1, 1, 1, 1)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Reject: true, Index: 8, Hint: 1, LogTerm: 1})
	c.fetched(2, disk[:2]) // the entry before, and a probe
	settle(t, c)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 2})

	c.fetched(2, disk[2:4])
	e := settle(t, c)
	c.fetched(2, disk[4:6])
	full := settle(t, c)
	c.step(Message{Kind: AppendAnswer, From: 2, To: 1, Term: c.term, Index: 4})
	answered := settle(t, c)

	wantMessages(t, only(Append, e.Messages), "n1@2 → n2 Append base=2@1 [3@1 4@1] commit=8")
	if len(e.Fetch) != 1 || e.Fetch[0].From != 5 {
		t.Errorf("while the window is full it asks for %v, and entry 5 is next", e.Fetch)
	}
	wantMessages(t, only(Append, full.Messages))
	wantMessages(t, only(Append, answered.Messages), "n1@2 → n2 Append base=4@1 [5@1 6@1] commit=8")
}

// pitfall B10: a message that is known to be lost is not waited for.
func TestWhatIsDroppedIsSentAgainAfterARound(t *testing.T) {
	c := newLeader(t, 2, 1)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 2})
	if _, err := c.propose(proposal{kind: EntryCommand, data: make([]byte, 5*slowest)}); err != nil {
		t.Fatal(err)
	}
	settle(t, c)

	c.dropped(2)
	pass(t, c, 1)
	answer := Message{Kind: HeartbeatAnswer, From: 2, Term: c.term, Round: c.lead.round, Index: 2, LogTerm: 2, Hint: 2}

	if sent := only(Append, say(t, c, answer).Messages); len(sent) != 1 || sent[0].Index != 2 {
		t.Errorf("after the next round it sends %v", sent)
	}
}

// pitfall L5: the queue to a member is full, and answers to earlier messages still arrive. If each
// of them opened the window again, all of it would be sent into the full queue and dropped, many
// times in a tick (seed 1795994022694181045, readers).
func TestALateAnswerDoesNotEndThePauseAfterADrop(t *testing.T) {
	c := newLeader(t, 2, 1)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 2})
	for range 10 {
		if _, err := c.propose(proposal{kind: EntryCommand}); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, c)

	c.dropped(2)
	late := say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 2}).Messages
	later := say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 5}).Messages
	refused := say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Reject: true, Index: 6, Hint: 5,
		LogTerm: c.term}).Messages
	pass(t, c, 1)
	heard := say(t, c, Message{Kind: HeartbeatAnswer, From: 2, Term: c.term, Round: c.lead.round, Index: 5,
		LogTerm: c.term, Hint: 5}).Messages

	wantMessages(t, only(Append, slices.Concat(late, later, refused)))
	wantMessages(t, only(Append, heard), "n1@2 → n2 Append base=5@2 [6@2 7@2 8@2 9@2 10@2 11@2 12@2] commit=5")
}

// pitfall L5: as before, but the pause is over and a probe is on its way. Answers to messages sent
// before the pause say nothing about the probe, even though they bring news.
func TestALateAnswerDoesNotEndAProbe(t *testing.T) {
	c := newLeader(t, 2, 1)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 2})
	for range 10 {
		if _, err := c.propose(proposal{kind: EntryCommand}); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, c)
	c.dropped(2)
	pass(t, c, 1)
	probe := say(t, c, Message{Kind: HeartbeatAnswer, From: 2, Term: c.term, Round: c.lead.round, Index: 2, LogTerm: 2,
		Hint: 2}).Messages
	for range 10 {
		if _, err := c.propose(proposal{kind: EntryCommand}); err != nil {
			t.Fatal(err)
		}
	}

	late := say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 2}).Messages
	later := say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 11}).Messages
	answered := say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 12}).Messages

	wantMessages(t, only(Append, probe),
		"n1@2 → n2 Append base=2@2 [3@2 4@2 5@2 6@2 7@2 8@2 9@2 10@2 11@2 12@2] commit=2")
	wantMessages(t, only(Append, slices.Concat(late, later)))
	wantMessages(t, only(Append, answered),
		"n1@2 → n2 Append base=12@2 [13@2 14@2 15@2 16@2 17@2 18@2 19@2 20@2 21@2 22@2] commit=12")
}

// A lost probe is noticed only after the time that its bytes take on a slow link, so a probe with a
// large entry would hold up a member for minutes. Whether the logs agree can be found out without
// the entry.
func TestAProbeCarriesNoLargeEntry(t *testing.T) {
	c := newLeader(t, 2, 1)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 2})
	if _, err := c.propose(proposal{kind: EntryCommand, data: make([]byte, 4*probeBytes)}); err != nil {
		t.Fatal(err)
	}
	settle(t, c)

	c.dropped(2)
	pass(t, c, 1)
	heard := Message{Kind: HeartbeatAnswer, From: 2, Term: c.term, Round: c.lead.round, Index: 2, LogTerm: 2, Hint: 2}
	probe := only(Append, say(t, c, heard).Messages)
	answered := only(Append, say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 2}).Messages)

	wantMessages(t, probe, "n1@2 → n2 Append base=2@2 [] commit=2")
	wantMessages(t, answered, "n1@2 → n2 Append base=2@2 [3@2] commit=2")
}
