package raft

import (
	"errors"
	"slices"
	"testing"
)

func TestAProposalIsForwardedToTheLeaderAndTakenInItsTermOnly(t *testing.T) {
	f := newMember(2, 1)
	say(t, f, Message{Kind: Heartbeat, From: 2, Term: 3, Round: 1})

	if err := f.forward([]proposal{{kind: EntryCommand, id: 7, data: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	sent := only(Propose, settle(t, f).Messages)

	if len(sent) != 1 || sent[0].Term != 3 || sent[0].To != 2 {
		t.Fatalf("sent %v", sent)
	}
	for term, taken := range map[uint64]uint64{2: 1, 1: 0} {
		leader := newLeader(t, 2, 1) // of term 2
		last := leader.log.last()
		m := sent[0]
		m.From, m.Term = 2, term
		say(t, leader, m)
		if got := leader.log.last() - last; got != taken {
			t.Errorf("a proposal of term %d: %d entries in the log of the leader of term 2", term, got)
		}
	}
}

func TestManyProposalsGoInMessagesOfBoundedSize(t *testing.T) {
	c := newMember(2, 1)
	say(t, c, Message{Kind: Heartbeat, From: 2, Term: 3, Round: 1})
	batch := make([]proposal, 10)
	for i := range batch {
		batch[i] = proposal{kind: EntryCommand, id: uint64(i + 1), data: make([]byte, c.MaxAppendBytes/3)}
	}

	if err := c.forward(batch); err != nil {
		t.Fatal(err)
	}

	var sizes []int
	next := uint64(1)
	for _, m := range only(Propose, settle(t, c).Messages) {
		sizes = append(sizes, len(m.Entries))
		for _, e := range m.Entries {
			if e.ID != next {
				t.Errorf("proposal %d comes where %d is due", e.ID, next)
			}
			next++
		}
	}
	if want := []int{3, 3, 3, 1}; !slices.Equal(sizes, want) {
		t.Errorf("messages of %v proposals, want %v", sizes, want)
	}
}

func TestForwardingNeedsALeader(t *testing.T) {
	c := newMember(2, 1)
	if err := c.forward([]proposal{{kind: EntryCommand}}); err != errNotLeader {
		t.Errorf("no leader is known: %v", err)
	}
}

func TestWhatTheLeaderDoesNotTakeComesBackWithTheReason(t *testing.T) {
	change := func(c Change) Entry { return Entry{Kind: EntryChange, Data: appendChange(nil, &c)} }
	for name, row := range map[string]struct {
		before func(*core)
		entry  Entry
		want   error
	}{
		"a member that follows": {func(c *core) { c.becomeFollower(c.term, None) }, Entry{Kind: EntryCommand}, errNotLeader},
		"handing over":          {func(c *core) { c.lead.target = 2 }, Entry{Kind: EntryCommand}, errHandingOver},
		"too much":              {func(c *core) { c.MaxUncommittedBytes = 1; c.appendOwn(Entry{Kind: EntryEmpty}) }, Entry{Kind: EntryCommand, Data: []byte("x")}, ErrOverloaded},
		"a stranger":            {func(*core) {}, change(Change{Kind: ChangeRemove, Member: Member{ID: 9}}), ErrMemberUnknown},
		"an id that is there":   {func(*core) {}, change(Change{Kind: ChangeAdd, Member: Member{ID: 2}}), ErrMemberExists},
		"an emptied disk":       {func(c *core) { c.configs.now().membership.Members[1].Incarnation = 7 }, change(Change{Kind: ChangeUpdate, Member: Member{ID: 2, Incarnation: 8}}), ErrMemberEmptied},
	} {
		t.Run(name, func(t *testing.T) {
			c := newLeader(t, 2, 1)
			say(t, c, Message{Kind: AppendAnswer, From: 2, Term: 2, Index: 2})
			row.before(c)
			row.entry.ID = 5

			answers := only(ProposeAnswer, say(t, c, Message{Kind: Propose, From: 2, Term: 2, Entries: []Entry{row.entry}}).Messages)

			if len(answers) != 1 {
				t.Fatalf("answers %v", answers)
			}
			asker := newMember(2, 1, 2)
			got, err := DecodeMessage(AppendMessage(nil, &answers[0]))
			if err != nil {
				t.Fatal(err)
			}
			got.To = asker.ID
			asker.step(got)
			refused := asker.effects(true).Refused
			if len(refused) != 1 || refused[0].ID != 5 || refused[0].err() != row.want {
				t.Errorf("refused %v, want %v", refused, row.want)
			}
		})
	}
}

func TestReasonsSurviveTheWay(t *testing.T) {
	for _, want := range refusalReasons {
		r := refusal(1, want)
		if r.err() != want {
			t.Errorf("%v arrives as %v", want, r.err())
		}
	}
	var quorum *QuorumError
	r := refusal(1, &QuorumError{"1 + 1 = 2"})
	if !errors.As(r.err(), &quorum) || quorum.Arithmetic != "1 + 1 = 2" {
		t.Errorf("the arithmetic arrives as %v", r.err())
	}
	if later := (Refusal{reason: 200}); later.err() != errRefused {
		t.Errorf("a reason of a later version arrives as %v", later.err())
	}
}
