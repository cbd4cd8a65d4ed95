package raft

import (
	"reflect"
	"testing"
)

// pitfall A6: the last term counts before the last index, and a log that a snapshot has emptied
// ends with the snapshot.
func TestVoteGoesToLogsThatAreUpToDate(t *testing.T) {
	full := bootOf(3, 1, 3)
	emptied := boot{State: State{Term: 3}, Snapshot: Snapshot{Index: 2, Term: 3, Membership: voters(3)}}
	for _, b := range []boot{full, emptied} {
		for _, c := range []struct {
			index, term uint64
			granted     bool
		}{
			{0, 0, false}, {9, 2, false}, {1, 3, false}, {2, 3, true}, {3, 3, true}, {1, 4, true},
		} {
			voter := newCore(testConfig(1), b)

			sent := say(t, voter, Message{Kind: Vote, From: 2, Term: 5, Index: c.index, LogTerm: c.term}).Messages

			if len(sent) != 1 || sent[0].Reject == c.granted {
				t.Errorf("log %v, candidate's last %d@%d: %q", entryNames(b.Entries), c.index, c.term, texts(sent))
			}
		}
	}
}

// pitfall A3: neither an Append of the same term nor an old PreVoteAnswer gives a vote back.
func TestVoteIsForgottenOnlyWithItsTerm(t *testing.T) {
	for _, m := range []Message{
		{Kind: Append, From: 2, Term: 1},
		{Kind: PreVoteAnswer, From: 2, Term: 1, Reject: true},
		{Kind: VoteAnswer, From: 2, Term: 1, Reject: true},
	} {
		c := newMember(3)
		c.campaign(Vote)
		settle(t, c)

		say(t, c, m)
		sent := say(t, c, Message{Kind: Vote, From: 3, Term: 1}).Messages

		if c.vote != 1 || len(sent) != 1 || !sent[0].Reject {
			t.Errorf("after %v the vote is %x, sent %q", m, c.vote, texts(sent))
		}
	}
}

// pitfall A7
func TestPreVoteChangesNothingAtTheVoter(t *testing.T) {
	for _, m := range []Message{
		{Kind: PreVote, From: 2, Term: 9, Index: 9, LogTerm: 8},
		{Kind: PreVote, From: 2, Term: 9},
		{Kind: PreVote, From: 2, Term: 1},
	} {
		c, twin := newMember(3, 1, 2), newMember(3, 1, 2)
		pass(t, c, 7)
		pass(t, twin, 7)

		say(t, c, m)

		if !reflect.DeepEqual(c, twin) {
			t.Errorf("%v changed %+v to %+v", m, twin, c)
		}
	}
}

// pitfall A8: the refusal carries the refuser's term, whatever the reason.
func TestRefusedPreCandidateLearnsTheTerm(t *testing.T) {
	for _, term := range []uint64{1, 4, 5} { // the term that the member with a term one lower asks for
		c := newMember(3, 1, 5)

		sent := say(t, c, Message{Kind: PreVote, From: 2, Term: term, Index: 9, LogTerm: 5}).Messages

		wantMessages(t, sent, "n1@5 → n2 PreVoteAnswer reject")
	}
}

// pitfall A10: a member that hears a leader grants no PreVote, nor does the leader itself. A member
// that saw the connection break, or has waited long enough, grants one.
func TestPreVoteIsGrantedOnlyWithoutALeader(t *testing.T) {
	heard := func(t *testing.T, c *core) { say(t, c, Message{Kind: Heartbeat, From: 3, Term: 1}) }
	for _, c := range []struct {
		name    string
		before  func(*testing.T, *core)
		granted bool
	}{
		{"fresh", func(*testing.T, *core) {}, true},
		{"hears a leader", heard, false},
		{"heard one long ago", func(t *testing.T, c *core) { heard(t, c); c.quiet = c.ElectionTicks }, true},
		{"saw its connection break", func(t *testing.T, c *core) { heard(t, c); c.lost(3) }, true},
		{"saw another connection break", func(t *testing.T, c *core) { heard(t, c); c.lost(2) }, false},
		{"leads", elect, false},
	} {
		voter := newMember(3)
		c.before(t, voter)

		sent := only(PreVoteAnswer, say(t, voter, Message{Kind: PreVote, From: 2, Term: 9, Index: 9,
			LogTerm: 9}).Messages)

		if len(sent) != 1 || sent[0].Reject == c.granted {
			t.Errorf("who %s: %q", c.name, texts(sent))
		}
	}
}

// pitfall A10: a broken connection makes a follower campaign soon; when it hears the leader again,
// it waits for the whole timeout.
func TestLeaderHeardAgainIsGivenTheWholeTimeout(t *testing.T) {
	c := newMember(3)
	say(t, c, Message{Kind: Heartbeat, From: 2, Term: 1})
	c.lost(2)

	say(t, c, Message{Kind: Heartbeat, From: 2, Term: 1})
	sent := pass(t, c, c.ElectionTicks-1)

	wantMessages(t, sent)
}

// pitfall A13
func TestElectionTimeoutIsDrawnAnewEachTime(t *testing.T) {
	c, drawn := newMember(3), map[int]int{}
	for range 1000 {
		c.becomeFollower(c.term, None)
		drawn[c.electionTimeout]++
	}

	for patience := c.ElectionTicks; patience < 2*c.ElectionTicks; patience++ {
		if n := drawn[patience]; n < 50 || n > 200 {
			t.Errorf("%d ticks were drawn %d times of 1000, want about 100", patience, n)
		}
	}
}

// pitfall A4: a single member needs no vote but its own, and leads when that vote is on disk.
func TestOwnVoteCountsWhenItIsOnDisk(t *testing.T) {
	c := newMember(1)
	c.campaign(PreVote)

	e := c.effects(true)
	before := c.role
	c.persisted(e.Persist.Seq)

	if before != Candidate || e.Persist.State.Vote != 1 || c.role != Leader {
		t.Fatalf("role %d before, %d after, on disk %+v", before, c.role, e.Persist.State)
	}
}

// An answer that comes twice is one vote.
func TestDoubledVoteCountsOnce(t *testing.T) {
	c := newMember(5)
	c.campaign(Vote)
	settle(t, c)

	for range 3 {
		say(t, c, Message{Kind: VoteAnswer, From: 2, Term: 1})
	}

	if c.role != Candidate {
		t.Fatalf("role %d with two votes of five", c.role)
	}
}

// pitfall A1, pitfall A2: term and vote are one write, and the answer comes after it.
func TestVoteIsAnsweredWhenItIsOnDisk(t *testing.T) {
	c := newMember(3)
	c.step(Message{Kind: Vote, From: 2, To: 1, Term: 4})

	e := c.effects(true)
	early := c.effects(true).Messages
	c.persisted(e.Persist.Seq)

	if want := (State{Term: 4, Vote: 2}); e.Persist.State != want {
		t.Fatalf("on disk %+v, want %+v", e.Persist.State, want)
	}
	wantMessages(t, append(e.Messages, early...))
	wantMessages(t, c.effects(true).Messages, "n1@4 → n2 VoteAnswer")
}

// Only a member with a vote campaigns, and only while its disk answers.
func TestWhoMayNotLeadDoesNotCampaign(t *testing.T) {
	learner, removed := voters(3), voters(3)
	learner.Members[0].Learner = true
	removed.Members = removed.Members[1:]
	for _, m := range []Membership{learner, removed, {}} {
		c := newCore(testConfig(1), boot{Snapshot: Snapshot{Membership: m}})

		sent := pass(t, c, 100)

		if len(sent) != 0 || c.role != Follower {
			t.Errorf("%v: role %d, sent %q", m.Members, c.role, texts(sent))
		}
	}
}

// pitfall F6: a member votes for the candidate that the leader has chosen, although it still hears
// the leader.
func TestTransferIsVotedForThoughTheLeaderIsHeard(t *testing.T) {
	for _, c := range []struct {
		transfer bool
		want     []string
	}{{false, nil}, {true, []string{"n1@2 → n3 VoteAnswer"}}} {
		voter := newMember(3)
		say(t, voter, Message{Kind: Heartbeat, From: 2, Term: 1})

		sent := say(t, voter, Message{Kind: Vote, From: 3, Term: 2, Transfer: c.transfer}).Messages

		wantMessages(t, sent, c.want...)
	}
}

// TimeoutNow counts only from the leader of the term: a late one, from a former leader, does not
// unseat the present one.
func TestTimeoutNowOfAnotherIsIgnored(t *testing.T) {
	c := newMember(3)
	say(t, c, Message{Kind: Heartbeat, From: 2, Term: 3})

	sent := say(t, c, Message{Kind: TimeoutNow, From: 3, Term: 3}).Messages
	sent = append(sent, say(t, c, Message{Kind: TimeoutNow, From: 2, Term: 2}).Messages...)

	wantMessages(t, sent)
}

// pitfall B11
func TestMessageForAnotherMemberIsDropped(t *testing.T) {
	c := newMember(3)
	c.step(Message{Kind: Append, From: 2, To: 3, Term: 7, Entries: logOf(7)})

	e := settle(t, c)

	if c.term != 0 || c.log.last() != 0 || len(e.Messages) != 0 {
		t.Fatalf("term %d, last %d, sent %q", c.term, c.log.last(), texts(e.Messages))
	}
}

// A member that has left must not be chosen as the next leader: all others would wait for it. When
// members stop one after another, each time one of them has just left.
func TestTheNextLeaderIsOneThatIsThere(t *testing.T) {
	c := newLeader(t, 3)
	for _, id := range []uint64{2, 3} {
		say(t, c, Message{Kind: AppendAnswer, From: id, Term: c.term, Index: c.log.last()})
	}
	for _, step := range []struct {
		lost, next uint64
	}{{2, 3}, {3, None}} {
		c.lost(step.lost)
		if c.lead.target == step.lost {
			t.Errorf("%d is still to lead next", step.lost)
		}
		if found := c.transferToBest(); found != (step.next != None) || c.lead.target != step.next {
			t.Errorf("without %d the next is %d (%v), want %d", step.lost, c.lead.target, found, step.next)
		}
	}
}

// pitfall L3: when the disk stalls, answers wait for it, but at most maxHeld of them.
func TestMessagesThatWaitForTheDiskAreBounded(t *testing.T) {
	c := newMember(3, 1)
	c.step(Message{Kind: Heartbeat, From: 2, To: 1, Term: 5, Round: 1})
	p := c.effects(true).Persist
	for round := range uint64(2 * maxHeld) {
		c.step(Message{Kind: Heartbeat, From: 2, To: 1, Term: 5, Round: round + 2})
	}
	held := len(c.held)

	c.persisted(p.Seq)

	if held != maxHeld || len(c.held) != 0 {
		t.Errorf("%d messages wait, and %d when the disk has answered", held, len(c.held))
	}
	if said := c.effects(true).Messages; len(said) != maxHeld {
		t.Errorf("%d are said then", len(said))
	}
}

// Two members that campaign within one round trip may both fail.
func TestMembersFarApartSpreadTheirCampaigns(t *testing.T) {
	for _, row := range []struct{ trip, most int }{{0, 4}, {8, 16}} {
		c := newMember(3, 1)
		c.ElectionTicks = 20
		longest := 0
		for range 1000 {
			say(t, c, Message{Kind: Heartbeat, From: 2, Term: 2, Round: 1, Hint: uint64(row.trip)})
			c.lost(2)
			longest = max(longest, c.electionTimeout-c.quiet)
		}

		if longest != row.most {
			t.Errorf("a round trip of %d ticks: the longest wait was %d ticks, want %d", row.trip, longest, row.most)
		}
	}
}
