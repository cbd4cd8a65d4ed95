package raft

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// testConfig is a core's configuration with short timeouts.
func testConfig(id uint64) coreConfig {
	return coreConfig{
		ID: id, ElectionTicks: 10, HeartbeatTicks: 1, Rand: rand.New(rand.NewPCG(id, 1)), Wall: 1e18,
		MaxAppendBytes: 1 << 16, MaxWriteBytes: 1 << 20, MaxInflightBytes: 1 << 20, MaxUncommittedBytes: 1 << 24,
		MaxTailBytes: 1 << 20, MaxUnappliedBytes: 1 << 22,
	}
}

// voters is a membership of n voters with the ids 1…n.
func voters(n int) Membership {
	m := Membership{ClusterID: 1}
	for id := range n {
		m.Members = append(m.Members, Member{ID: uint64(id + 1)})
	}
	return m
}

// logOf makes a log from the terms of its entries; the first entry has index 1.
func logOf(terms ...uint64) (es []Entry) {
	for i, t := range terms {
		es = append(es, Entry{Index: uint64(i + 1), Term: t, Kind: EntryCommand, Data: []byte("x")})
	}
	return es
}

// bootOf is a disk with n voters and a log, in the term of the log's last entry.
func bootOf(n int, terms ...uint64) boot {
	b := boot{Snapshot: Snapshot{Membership: voters(n)}, Entries: logOf(terms...)}
	if len(terms) > 0 {
		b.State.Term = terms[len(terms)-1]
	}
	return b
}

// newMember is member 1 of n voters, with a log.
func newMember(n int, terms ...uint64) *core { return newCore(testConfig(1), bootOf(n, terms...)) }

// newLeader is newMember after it has won the next term with the votes of all.
func newLeader(t *testing.T, n int, terms ...uint64) *core {
	t.Helper()
	c := newMember(n, terms...)
	elect(t, c)
	return c
}

// elect lets all others vote for c, so that it leads the next term.
func elect(t *testing.T, c *core) {
	t.Helper()
	term := c.term + 1
	c.campaign(PreVote)
	for _, kind := range []MessageKind{PreVoteAnswer, VoteAnswer} {
		settle(t, c)
		for _, v := range c.configs.now().voters[1:] {
			c.step(Message{Kind: kind, From: v, To: c.ID, Term: term})
		}
	}
	settle(t, c)
	if c.role != Leader || c.term != term {
		t.Fatalf("no leader of term %d: role %d, term %d", term, c.role, c.term)
	}
}

// settle plays a disk without delay until nothing is left to do. It returns the effects of all
// rounds in one value, with only the last snapshot to restore.
func settle(t *testing.T, c *core) (all Effects) {
	t.Helper()
	for {
		e := c.effects(true)
		c.appliedTo(c.applying)
		checkInvariants(t, c)
		all.Messages = append(all.Messages, e.Messages...)
		all.Committed = append(all.Committed, e.Committed...)
		all.Reads = append(all.Reads, e.Reads...)
		all.Fetch = append(all.Fetch, e.Fetch...)
		all.Refused = append(all.Refused, e.Refused...)
		all.Broken = cmp.Or(all.Broken, e.Broken)
		if e.Restore != nil {
			all.Restore = e.Restore
		}
		if e.Persist == nil {
			return all
		}
		c.persisted(e.Persist.Seq)
	}
}

// say gives c one message, addressed to it, and settles.
func say(t *testing.T, c *core, m Message) Effects {
	t.Helper()
	m.To = c.ID
	c.step(m)
	return settle(t, c)
}

// pass lets ticks pass, and settles after each of them.
func pass(t *testing.T, c *core, ticks int) (all []Message) {
	t.Helper()
	for range ticks {
		c.tick()
		all = append(all, settle(t, c).Messages...)
	}
	return all
}

// only returns the messages of one kind.
func only(kind MessageKind, ms []Message) (some []Message) {
	for _, m := range ms {
		if m.Kind == kind {
			some = append(some, m)
		}
	}
	return some
}

// texts prints messages in the notation of the scripts.
func texts(ms []Message) (list []string) {
	for _, m := range ms {
		list = append(list, m.String())
	}
	return list
}

// wantMessages fails unless exactly these messages were sent.
func wantMessages(t *testing.T, got []Message, want ...string) {
	t.Helper()
	if !slices.Equal(texts(got), want) {
		t.Fatalf("sent %q, want %q", texts(got), want)
	}
}

// A cluster of one goes through the same core as any other.
func TestOneMemberElectsItselfAndCommits(t *testing.T) {
	c := newMember(1)

	pass(t, c, 21)
	index, err := c.propose(proposal{kind: EntryCommand, data: []byte("x")})
	committed := settle(t, c).Committed

	if c.role != Leader || err != nil || index != 2 || len(committed) != 1 || committed[0].Index != 2 {
		t.Fatalf("role %d, index %d, error %v, committed %v", c.role, index, err, committed)
	}
}

// The leader marks commands and no other entries, and does not change the bytes that it was given.
func TestTheLeaderMarksCommands(t *testing.T) {
	c := newMember(1)
	c.Mark = func(cmd []byte) []byte { return append([]byte("marked "), cmd...) }
	pass(t, c, 21)
	cmd := []byte("x")

	c.propose(proposal{kind: EntryCommand, data: cmd})
	c.proposeStamp()

	committed := settle(t, c).Committed
	if len(committed) != 2 || string(committed[0].Data) != "marked x" || len(committed[1].Data) > 0 ||
		string(cmd) != "x" {
		t.Fatalf("committed %v of %q", committed, cmd)
	}
}
