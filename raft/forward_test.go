package raft

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestAProposalIsForwardedToTheLeaderAndTakenInItsTermOnly(t *testing.T) {
	f := newMember(2, 1)
	say(t, f, Message{Kind: Heartbeat, From: 2, Term: 3, Round: 1})

	if taken := f.forward([]proposal{{kind: EntryCommand, id: 7, data: []byte("x")}}); taken != 1 {
		t.Fatal("not taken")
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

	if taken := c.forward(batch); taken != len(batch) {
		t.Fatalf("%d taken", taken)
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

// followerAndLeader returns members 2 and 1 of a cluster of two. Member 2 follows member 1.
func followerAndLeader(t *testing.T) (follower, leader *core) {
	t.Helper()
	leader = newLeader(t, 2, 1)
	config := testConfig(2)
	follower = newCore(config, bootOf(2, 1))
	say(t, follower, Message{Kind: Heartbeat, From: 1, Term: leader.term, Round: 1})
	return follower, leader
}

// passOn makes a follower pass on one proposal, and returns the message.
func passOn(t *testing.T, follower *core, id uint64) Message {
	t.Helper()
	if follower.forward([]proposal{{kind: EntryCommand, id: id}}) != 1 {
		t.Fatal("not taken")
	}
	return only(Propose, settle(t, follower).Messages)[0]
}

// ids returns the ids of the proposals in a log.
func ids(c *core) (list []uint64) {
	for i := range c.log.entries {
		if id := c.log.entries[i].ID; id != 0 {
			list = append(list, id)
		}
	}
	return list
}

// pitfall G3
func TestAProposalThatComesTwiceIsTakenOnce(t *testing.T) {
	follower, leader := followerAndLeader(t)
	first, second := passOn(t, follower, 7), passOn(t, follower, 8)

	say(t, leader, second) // not accepted: the first one is missing
	answers := say(t, leader, first).Messages
	say(t, leader, first)
	say(t, leader, second)
	say(t, leader, first)

	if got := ids(leader); !slices.Equal(got, []uint64{7, 8}) {
		t.Errorf("the log holds the proposals %d", got)
	}
	if a := only(ProposeAnswer, answers); len(a) != 1 || a[0].Round != 1 {
		t.Errorf("answers %v", a)
	}
}

func TestAProposalWithoutAnAnswerIsSentAgain(t *testing.T) {
	follower, leader := followerAndLeader(t)
	passOn(t, follower, 7)
	heard := Message{Kind: Heartbeat, From: 1, Term: leader.term, Round: 2}
	var again []Message
	for range 3 * follower.ElectionTicks {
		again = append(again, only(Propose, pass(t, follower, 1))...)
		say(t, follower, heard)
	}

	if n := len(again); n < 1 || n > 3 {
		t.Errorf("sent again %d times in 3 election timeouts, want 1 to 3, ever more seldom", n)
	}
	for _, m := range append(again, again...) {
		for _, a := range only(ProposeAnswer, say(t, leader, m).Messages) {
			say(t, follower, a)
		}
	}
	if got := ids(leader); !slices.Equal(got, []uint64{7}) {
		t.Errorf("the log holds the proposals %d", got)
	}
	if follower.forwarding.bytes != 0 || len(follower.forwarding.sent) != 0 {
		t.Errorf("kept after the answer: %+v", follower.forwarding)
	}
}

func TestABrokenConnectionHasProposalsSentAgainAtOnce(t *testing.T) {
	follower, _ := followerAndLeader(t)
	passOn(t, follower, 7)

	follower.lost(1)

	if again := only(Propose, pass(t, follower, 1)); len(again) != 1 {
		t.Errorf("sent %v", again)
	}
}

func TestAProposalOfAFormerLifeIsNotTakenAfterOneOfThePresent(t *testing.T) {
	before, leader := followerAndLeader(t)
	old := passOn(t, before, 7)
	say(t, leader, old)
	config := testConfig(2)
	config.Rand = rand.New(rand.NewPCG(2, 2))
	now := newCore(config, bootOf(2, 1))
	say(t, now, Message{Kind: Heartbeat, From: 1, Term: leader.term, Round: 1})

	say(t, leader, passOn(t, now, 9))
	say(t, leader, old)
	say(t, leader, passOn(t, now, 10))

	if got := ids(leader); !slices.Equal(got, []uint64{7, 9, 10}) {
		t.Errorf("the log holds the proposals %d", got)
	}
}

// A late message of a former life may be the first one of that life that arrives. The leader may
// accept it, since its outcome is unknown, but must then accept the messages of the present life.
func TestAFirstMessageOfAFormerLifeThatComesLateStopsNothing(t *testing.T) {
	before, leader := followerAndLeader(t)
	old := passOn(t, before, 7)
	config := testConfig(2)
	config.Rand = rand.New(rand.NewPCG(2, 2))
	now := newCore(config, bootOf(2, 1))
	say(t, now, Message{Kind: Heartbeat, From: 1, Term: leader.term, Round: 1})

	say(t, leader, passOn(t, now, 9))
	say(t, leader, old)
	answers := only(ProposeAnswer, say(t, leader, passOn(t, now, 10)).Messages)
	say(t, leader, old)

	if got := ids(leader); !slices.Equal(got, []uint64{9, 7, 10}) {
		t.Errorf("the log holds the proposals %d", got)
	}
	if len(answers) != 1 || answers[0].LogTerm != now.forwarding.stream || answers[0].Round != 2 {
		t.Errorf("answers %v", answers)
	}
}

// Each answer names all refusals that the follower may not know yet. With a separate answer for
// each message, their number would grow with the square of the messages.
func TestManyRefusalsComeInOneAnswer(t *testing.T) {
	follower, leader := followerAndLeader(t)
	leader.lead.target = 2
	follower.MaxInflightBytes = 32 << 20
	const many = 100_000
	proposals := make([]proposal, many)
	for i := range proposals {
		proposals[i] = proposal{kind: EntryCommand, id: uint64(i + 1)}
	}
	if taken := follower.forward(proposals); taken != many {
		t.Fatalf("%d taken", taken)
	}
	sent := only(Propose, settle(t, follower).Messages)
	for _, m := range sent {
		leader.step(m)
	}

	answers := only(ProposeAnswer, settle(t, leader).Messages)

	if len(sent) < 2 || len(answers) != 1 || len(answers[0].Refused) != many {
		t.Fatalf("%d messages, %d answers", len(sent), len(answers))
	}
	follower.step(answers[0])
	if refused := settle(t, follower).Refused; len(refused) != many {
		t.Errorf("%d refused", len(refused))
	}
}

// A leader that has no room for a moment drops proposals. They are sent again soon, and not after
// the time that a slow link needs for all that is on its way, which is a minute for a full window.
func TestWhatTheLeaderMissesIsSentAgainSoon(t *testing.T) {
	for name, drops := range map[string]func(ms []Message) []Message{
		"the first":   func(ms []Message) []Message { return ms[1:] },
		"all of them": func(ms []Message) []Message { return withoutRoom(ms) },
	} {
		follower, leader := followerAndLeader(t)
		follower.MaxInflightBytes = 32 << 20
		many := make([]proposal, 1000)
		for i := range many {
			many[i] = proposal{kind: EntryCommand, id: uint64(i + 1), data: make([]byte, 16<<10)}
		}
		follower.forward(many)
		for _, m := range drops(only(Propose, settle(t, follower).Messages)) {
			leader.step(m)
		}
		for _, a := range only(ProposeAnswer, settle(t, leader).Messages) {
			follower.step(a)
		}

		for range follower.ElectionTicks {
			for _, m := range only(Propose, pass(t, follower, 1)) {
				leader.step(m)
			}
			say(t, follower, Message{Kind: Heartbeat, From: 1, Term: leader.term, Round: 2})
		}

		if got := len(ids(leader)); got != len(many) {
			t.Errorf("%s dropped: %d are in the log after an election timeout", name, got)
		}
	}
}

// withoutRoom puts messages into a full inbox, and returns what comes out of it.
func withoutRoom(ms []Message) []Message {
	var b inbox
	b.init()
	b.bytes = maxInboxBytes/2 + 1
	for _, m := range ms {
		b.step(m, nil)
	}
	return b.dequeueMessages(&b.proposed)
}

// Thousands of messages may be on a long link, and as many answers: the cost of an answer must not
// grow with them.
func TestAnAnswerCostsWhatItAnswers(t *testing.T) {
	follower, leader := followerAndLeader(t)
	for id := uint64(1); id <= 10; id++ {
		passOn(t, follower, id)
	}
	f := &follower.forwarding
	third := &f.sent[2]

	say(t, follower, Message{Kind: ProposeAnswer, From: 1, Term: leader.term, LogTerm: f.stream, Round: 2})

	if len(f.sent) != 8 || &f.sent[0] != third {
		t.Errorf("%d messages are left, and were copied", len(f.sent))
	}
}

// An accepted change of the membership copies the progress of all members: what is recorded in the
// old copy is lost.
func TestARefusalBehindAChangeIsRemembered(t *testing.T) {
	follower, leader := followerAndLeader(t)
	say(t, leader, Message{Kind: AppendAnswer, From: 2, Term: leader.term, Index: leader.log.last()})
	add := func(id, member uint64) proposal {
		c := Change{Kind: ChangeAdd, Member: Member{ID: member, Learner: true}}
		return proposal{kind: EntryChange, id: id, data: appendChange(nil, &c)}
	}
	follower.forward([]proposal{add(7, 8), add(9, 10)})
	m := only(Propose, settle(t, follower).Messages)[0]

	say(t, leader, m) // the answer is lost
	answers := only(ProposeAnswer, say(t, leader, m).Messages)

	if len(answers) != 1 || len(answers[0].Refused) != 1 || answers[0].Refused[0].ID != 9 {
		t.Errorf("answers %+v", answers)
	}
}

// A former leader may have accepted the proposal while it led: to refuse it now could be wrong.
func TestWhoLeadsNoMoreRefusesNothing(t *testing.T) {
	follower, leader := followerAndLeader(t)
	m := passOn(t, follower, 7)
	say(t, leader, m)
	leader.becomeFollower(leader.term, None)

	if answers := say(t, leader, m).Messages; len(answers) != 0 {
		t.Errorf("answers %v", answers)
	}
}

// The proposals that wait for the leader's answer are bounded.
func TestForwardingStopsWhenTooMuchIsOnItsWay(t *testing.T) {
	follower, leader := followerAndLeader(t)
	follower.MaxInflightBytes = 3 * (entryOverhead + 100)
	follower.MaxAppendBytes = 1
	many := make([]proposal, 10)
	for i := range many {
		many[i] = proposal{kind: EntryCommand, id: uint64(i + 1), data: make([]byte, 100)}
	}

	taken := follower.forward(many)
	for _, m := range only(Propose, settle(t, follower).Messages) {
		for _, a := range only(ProposeAnswer, say(t, leader, m).Messages) {
			say(t, follower, a)
		}
	}

	if taken != 3 {
		t.Errorf("%d taken, want 3", taken)
	}
	if taken = follower.forward(many[3:]); taken != 3 {
		t.Errorf("after the answers %d taken, want 3", taken)
	}
}

func TestForwardingNeedsALeader(t *testing.T) {
	c := newMember(2, 1)
	if taken := c.forward([]proposal{{kind: EntryCommand}}); taken != 0 {
		t.Error("taken, and no leader is known")
	}
}

func TestWhatTheLeaderDoesNotTakeComesBackWithTheReason(t *testing.T) {
	change := func(c Change) Entry { return Entry{Kind: EntryChange, Data: appendChange(nil, &c)} }
	for name, row := range map[string]struct {
		before func(*core)
		entry  Entry
		want   error
	}{
		"handing over": {func(c *core) { c.lead.target = 2 }, Entry{Kind: EntryCommand}, errHandingOver},
		"too much": {func(c *core) { c.MaxUncommittedBytes = 1; c.appendOwn(Entry{Kind: EntryEmpty}) },
			Entry{Kind: EntryCommand, Data: []byte("x")}, ErrOverloaded},
		"a stranger": {func(*core) {}, change(Change{Kind: ChangeRemove, Member: Member{ID: 9}}),
			ErrMemberUnknown},
		"an id that is there": {func(*core) {}, change(Change{Kind: ChangeAdd, Member: Member{ID: 2}}),
			ErrMemberExists},
		"another one's name": {func(c *core) { c.configs.now().membership.Members[0].Name = "n1" },
			change(Change{Kind: ChangeUpdate, Member: Member{ID: 2, Name: "n1"}}), ErrNameTaken},
		"an emptied disk": {func(c *core) { c.configs.now().membership.Members[1].Incarnation = 7 },
			change(Change{Kind: ChangeUpdate, Member: Member{ID: 2, Incarnation: 8}}), ErrMemberEmptied},
		"a huge member": {func(*core) {},
			change(Change{Kind: ChangeAdd, Member: Member{ID: 9,
				Name: strings.Repeat("x", 1<<20)}}), ErrMembershipFull},
	} {
		t.Run(name, func(t *testing.T) {
			c := newLeader(t, 2, 1)
			say(t, c, Message{Kind: AppendAnswer, From: 2, Term: 2, Index: 2})
			row.before(c)
			row.entry.ID = 5
			asker := newMember(2, 1, 2)
			say(t, asker, Message{Kind: Heartbeat, From: 2, Term: 2, Round: 1})
			asker.forward([]proposal{{id: 5}})

			answers := only(ProposeAnswer, say(t, c, Message{Kind: Propose, From: 2, Term: 2,
				LogTerm: asker.forwarding.stream, Round: 1, Index: 1, Entries: []Entry{row.entry}}).Messages)

			if len(answers) != 1 {
				t.Fatalf("answers %v", answers)
			}
			got, err := DecodeMessage(AppendMessage(nil, &answers[0]))
			if err != nil {
				t.Fatal(err)
			}
			got.To = asker.ID
			asker.step(got)
			refused := asker.effects(true).Refused
			asker.step(got) // it comes twice, and counts once
			refused = append(refused, asker.effects(true).Refused...)
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
