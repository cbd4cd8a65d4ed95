package raft

import (
	"fmt"
	"strings"
	"testing"
)

// newFollower is member 1 of three, in term 3, with the log 1@1 2@1 3@1 4@1, of which two entries
// are committed.
func newFollower() *core {
	b := bootOf(3, 1, 1, 1, 1)
	b.State = State{Term: 3, Commit: 2}
	return newCore(testConfig(1), b)
}

// pitfall E1, pitfall E2
func TestSnapshotAtAFollower(t *testing.T) {
	for _, c := range []struct {
		name        string
		index, term uint64
		restored    bool
		wantLast    uint64
		wantMessage string
	}{
		{"beyond the log", 9, 2, true, 9, "match=9"},
		{"in place of a conflicting tail", 3, 2, true, 3, "match=3"},
		{"within the log", 3, 1, false, 4, "match=3"},
		{"at the commit index", 2, 1, false, 4, "match=2"},
		{"below it", 1, 1, false, 4, "match=2"},
	} {
		f := newFollower()
		s := &Snapshot{Index: c.index, Term: c.term, Membership: voters(3)}

		e := say(t, f, Message{Kind: InstallSnapshot, From: 2, Term: 3, Snapshot: s})

		if restored := e.Restore != nil; restored != c.restored || f.log.last() != c.wantLast || f.commit < 2 {
			t.Errorf("%s: restored %v, last %d, commit %d", c.name, restored, f.log.last(), f.commit)
		}
		if want := "n1@3 → n2 AppendAnswer " + c.wantMessage; len(e.Messages) != 1 || e.Messages[0].String() != want {
			t.Errorf("%s: sent %q, want %s", c.name, texts(e.Messages), want)
		}
	}
}

// A write of the old log that ends late says nothing about the log after the snapshot.
func TestSnapshotIsVouchedForWhenTheDiskHasNotedIt(t *testing.T) {
	f := newFollower()
	f.step(Message{Kind: Append, From: 2, To: 1, Term: 3, Index: 4, LogTerm: 1, Entries: []Entry{{Index: 5, Term: 3}}})
	old := f.effects(true).Persist
	f.step(Message{Kind: InstallSnapshot, From: 2, To: 1, Term: 3, Snapshot: &Snapshot{Index: 9, Term: 3,
		Membership: voters(3)}})
	early := f.effects(false).Messages

	f.persisted(old.Seq)
	e := f.effects(true)
	f.persisted(e.Persist.Seq)

	wantMessages(t, append(early, e.Messages...))
	if e.Persist.Snapshot == nil || e.Persist.Snapshot.Index != 9 || e.Persist.State.Commit != 9 {
		t.Fatalf("the write is %+v", e.Persist)
	}
	wantMessages(t, f.effects(true).Messages, "n1@3 → n2 AppendAnswer match=5", "n1@3 → n2 AppendAnswer match=9")
}

// Entries that were committed and not yet handed over are in the snapshot. They must not be applied
// after it.
func TestNothingOlderIsAppliedAfterARestore(t *testing.T) {
	f := newFollower()
	f.step(Message{Kind: Append, From: 2, To: 1, Term: 3, Index: 4, LogTerm: 1, Commit: 4})
	f.step(Message{Kind: InstallSnapshot, From: 2, To: 1, Term: 3, Snapshot: &Snapshot{Index: 9, Term: 3,
		Membership: voters(3)}})

	e := settle(t, f)
	after := say(t, f, Message{Kind: Append, From: 2, Term: 3, Index: 9, LogTerm: 3,
		Entries: []Entry{{Index: 10, Term: 3}}, Commit: 10})

	if e.Restore == nil || len(e.Committed) != 0 || entryNames(after.Committed) != "10@3" {
		t.Fatalf("restored %v with %s, then applied %s", e.Restore, entryNames(e.Committed),
			entryNames(after.Committed))
	}
}

// The configuration of a snapshot is in force with it, and the one in the log that was replaced is
// not.
func TestSnapshotBringsItsConfiguration(t *testing.T) {
	f := newFollower()

	say(t, f, Message{Kind: InstallSnapshot, From: 2, Term: 3, Snapshot: &Snapshot{Index: 9, Term: 2,
		Membership: voters(5)}})

	if got := len(f.configs.now().voters); got != 5 {
		t.Fatalf("%d voters, want 5", got)
	}
}

// A read of old entries fails while a probe is out: a snapshot goes instead, and the answer to the
// probe does not end its sending.
func TestAProbeIsForgottenWhenASnapshotIsSentInstead(t *testing.T) {
	c := newLeader(t, 1, 1, 1, 1)
	settle(t, c)
	c.compact(Snapshot{Index: 3, Term: 1, Membership: voters(1)}, 1)
	follow(t, c, Member{ID: 2, Learner: true})
	p := c.lead.progress(2)
	p.becomeProbing(1)
	p.probe, p.feed.fetching = probe{out: true, last: 1}, true
	c.log.trim(3)

	c.fetched(2, nil)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 1})

	if p.sending != snapshotting {
		t.Errorf("the member is in %s", sendingNames[p.sending])
	}
}

// pitfall E11: an answer at or above the snapshot's index ends the wait for the snapshot, whether
// its sending succeeded or not.
func TestAnswerAtTheSnapshotGoesOnFromThere(t *testing.T) {
	c := newLeader(t, 3, 1, 1)
	p := c.lead.progress(2)
	p.sending, p.probe.out, p.snapshot = snapshotting, false, 2

	below := only(Append, say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 1}).Messages)
	at := only(Append, say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 2}).Messages)

	wantMessages(t, below)
	wantMessages(t, at, "n1@2 → n2 Append base=2@1 [3@2] commit=0")
}

// Memory holds no more than its bound, and always keeps entries that are not applied.
func TestTailInMemoryIsBounded(t *testing.T) {
	config := testConfig(1)
	config.MaxTailBytes = 10 * entryOverhead
	c := newCore(config, bootOf(1))
	elect(t, c)
	for range 1000 {
		if _, err := c.propose(proposal{kind: EntryCommand}); err != nil {
			t.Fatal(err)
		}
		settle(t, c)

		if c.log.bytes > config.MaxTailBytes || c.log.base > c.applying {
			t.Fatalf("%d bytes, entries up to %d dropped, %d applied", c.log.bytes, c.log.base, c.applying)
		}
	}
}

// A member whose state machine lags accepts no more entries and takes no more memory. When it has
// caught up, it asks for the next entries.
func TestAMemberWhoseStateMachineLagsTakesNoMore(t *testing.T) {
	c := newMember(2, 1)
	c.MaxUnappliedBytes = 10 * (entryOverhead + 1)
	say(t, c, Message{Kind: Heartbeat, From: 2, Term: 2, Round: 1})
	applied := c.applied
	bring := func(index uint64) (answers []Message) {
		c.step(Message{Kind: Append, From: 2, To: 1, Term: 2, Index: index - 1, LogTerm: c.log.lastTerm(),
			Commit:  index,
			Entries: []Entry{{Index: index, Term: 2, Kind: EntryCommand, Data: []byte("x")}}})
		for {
			e := c.effects(true)
			answers = append(answers, only(AppendAnswer, e.Messages)...)
			if e.Persist == nil {
				return answers
			}
			c.persisted(e.Persist.Seq)
		}
	}
	for index := uint64(2); index <= 50; index++ {
		bring(index)
	}
	last, held := c.log.last(), c.unapplied

	c.appliedTo(c.applying)

	if applied != 0 || last > 13 || held > c.MaxUnappliedBytes+2*(entryOverhead+1) {
		t.Errorf("behind %d applied entries it has taken up to %d, %d bytes", applied, last, held)
	}
	wantMessages(t, c.effects(true).Messages, fmt.Sprintf("n1@2 → n2 AppendAnswer reject=%d hint=%d@2", last+1, last))
	wantMessages(t, bring(last+1), fmt.Sprintf("n1@2 → n2 AppendAnswer match=%d", last+1))
}

// It can ask for the entries it dropped only when it knows a leader.
func TestAMemberThatLaggedAsksWhenItHearsTheLeaderAgain(t *testing.T) {
	c := newMember(2, 1)
	heartbeat := Message{Kind: Heartbeat, From: 2, Term: 2, Round: 1}
	say(t, c, heartbeat)
	c.refusing = true
	c.campaign(PreVote)
	settle(t, c)

	say(t, c, heartbeat)
	c.appliedTo(c.applied)

	if asked := only(AppendAnswer, c.effects(true).Messages); len(asked) != 1 || asked[0].Index != c.log.last()+1 {
		t.Errorf("asked %v", asked)
	}
}

// A member that has refused for a long time is probed ever more rarely. When it asks for the next
// entries, it need not wait for the next probe.
func TestAMemberThatLaggedForLongGetsWhatItAsksForAtOnce(t *testing.T) {
	c := newLeader(t, 2, 1)
	has := c.log.last()
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: 2, Index: has})
	for range 3 {
		if _, err := c.propose(proposal{kind: EntryCommand}); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, c)
	for range 50 {
		pass(t, c, 1)
		say(t, c, Message{Kind: HeartbeatAnswer, From: 2, Term: 2, Round: c.lead.round, Index: has,
			LogTerm: 2, Hint: has})
	}
	if p := c.lead.progress(2); p.sending != probing || !p.probe.out {
		t.Fatalf("the member is in %s", sendingNames[p.sending])
	}

	asked := Message{Kind: AppendAnswer, From: 2, Term: 2, Reject: true, Index: has + 1, Hint: has, LogTerm: 2}
	late := asked
	late.Index++ // of an Append that was sent before the probe

	if sent := only(Append, say(t, c, late).Messages); len(sent) != 0 {
		t.Errorf("after an answer to another message it sent %v", sent)
	}
	if sent := only(Append, say(t, c, asked).Messages); len(sent) != 1 || sent[0].Index != has {
		t.Errorf("sent %v", sent)
	}
}

func TestALeaderWhoseStateMachineLagsLetsProposalsWait(t *testing.T) {
	c := newLeader(t, 1, 1)
	for range maxUnapplied - 1 {
		if _, err := c.propose(proposal{kind: EntryCommand}); err != nil {
			t.Fatal(err)
		}
	}
	settle := func() {
		for e := c.effects(true); e.Persist != nil; e = c.effects(true) {
			c.persisted(e.Persist.Seq)
		}
	}
	settle()
	before := c.isBehind()

	if _, err := c.propose(proposal{kind: EntryCommand}); err != nil {
		t.Fatal(err)
	}
	settle()
	behind := c.isBehind()
	c.appliedTo(c.applying)

	if before || !behind || c.isBehind() {
		t.Errorf("%v, with one entry more %v, and when all are applied %v", before, behind, c.isBehind())
	}
}

// A member that gets much at once, because it lagged, writes it in parts: to encode all of it at
// once would take as much memory once more. The commit index that is written with a part is within
// that part.
func TestWhatIsWrittenAtOnceIsBounded(t *testing.T) {
	c := newMember(2, 1)
	c.MaxWriteBytes = 3 * entryOverhead
	say(t, c, Message{Kind: Heartbeat, From: 2, Term: 2, Round: 1})
	es := logOf(1, 2, 2, 2, 2, 2, 2, 2)[1:]
	c.step(Message{Kind: Append, From: 2, To: 1, Term: 2, Index: 1, LogTerm: 1, Commit: 8, Entries: es})

	var parts, applied []string
	for e := c.effects(true); e.Persist != nil; e = c.effects(true) {
		parts = append(parts, fmt.Sprintf("%s commit=%d", entryNames(e.Persist.Entries), e.Persist.State.Commit))
		checkInvariants(t, c)
		c.persisted(e.Persist.Seq)
		applied = append(applied, entryNames(c.effects(false).Committed))
	}

	if got := strings.Join(parts, ", "); got != "2@2 3@2 commit=3, 4@2 5@2 commit=5, 6@2 7@2 commit=7, 8@2 commit=8" {
		t.Errorf("written: %s", got)
	}
	if got := strings.Join(applied, ", "); got != "2@2 3@2, 4@2 5@2, 6@2 7@2, 8@2" {
		t.Errorf("applied: %s", got)
	}
}
