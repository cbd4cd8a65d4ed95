package raft

import (
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Apply is total: a change that makes no sense has no effect. pitfall D9, pitfall D10, pitfall D12
func TestMembershipAfterAChange(t *testing.T) {
	full := Member{ID: 2, Name: "b", PeerURLs: []string{"http://b"}, ClientURLs: []string{"http://c"}, Version: "2.4.0",
		Incarnation: 7}
	base := Membership{ClusterID: 7, Members: []Member{{ID: 1}, full, {ID: 4, Learner: true}}, Removed: []uint64{3}}
	with := func(edit func(*Membership)) Membership {
		m := Membership{ClusterID: 7, Members: []Member{{ID: 1}, full, {ID: 4, Learner: true}}, Removed: []uint64{3}}
		edit(&m)
		return m
	}
	nothing := func(*Membership) {}
	for _, c := range []struct {
		name   string
		change Change
		edit   func(*Membership)
	}{
		{"add", Change{Kind: ChangeAdd, Member: Member{ID: 5, Learner: true}}, func(m *Membership) {
			m.Members = append(m.Members, Member{ID: 5, Learner: true})
		}},
		{"add one that is there", Change{Kind: ChangeAdd, Member: Member{ID: 2}}, nothing},
		{"add one that was removed", Change{Kind: ChangeAdd, Member: Member{ID: 3}}, nothing},
		{"promote", Change{Kind: ChangePromote, Member: Member{ID: 4}},
			func(m *Membership) { m.Members[2].Learner = false }},
		{"promote nobody", Change{Kind: ChangePromote, Member: Member{ID: 9}}, nothing},
		{"remove", Change{Kind: ChangeRemove, Member: Member{ID: 2}}, func(m *Membership) {
			m.Members, m.Removed = []Member{{ID: 1}, {ID: 4, Learner: true}}, []uint64{2, 3}
		}},
		{"remove nobody", Change{Kind: ChangeRemove, Member: Member{ID: 9}}, nothing},
		{"update one attribute", Change{Kind: ChangeUpdate, Member: Member{ID: 2, PeerURLs: []string{"http://d"}}},
			func(m *Membership) {
				m.Members[1].PeerURLs = []string{"http://d"}
			}},
		{"update nothing", Change{Kind: ChangeUpdate, Member: Member{ID: 2}}, nothing},
		{"update does not promote", Change{Kind: ChangeUpdate, Member: Member{ID: 4, Name: "d"}},
			func(m *Membership) { m.Members[2].Name = "d" }},
		{"the first incarnation", Change{Kind: ChangeUpdate, Member: Member{ID: 1, Incarnation: 8}},
			func(m *Membership) { m.Members[0].Incarnation = 8 }},
		{"the same incarnation", Change{Kind: ChangeUpdate, Member: Member{ID: 2, Name: "d", Incarnation: 7}},
			func(m *Membership) { m.Members[1].Name = "d" }},
		{"another incarnation", Change{Kind: ChangeUpdate, Member: Member{ID: 2, Name: "d", Incarnation: 8}}, nothing},
		{"version", Change{Kind: ChangeVersion, Member: Member{Version: "2.4.0"}},
			func(m *Membership) { m.Version = "2.4.0" }},
	} {
		got := base.Apply(c.change)

		if want := with(c.edit); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, want)
		}
		if want := with(nothing); !reflect.DeepEqual(base, want) {
			t.Fatalf("%s changed the old membership to %+v", c.name, base)
		}
	}
}

// pitfall D3, pitfall D4, pitfall D5: the configuration in force is the last one in the log, also
// when the log is truncated or replaced.
func TestConfigurationFollowsTheLog(t *testing.T) {
	change := func(kind ChangeKind, id uint64) []byte {
		return appendChange(nil, &Change{Kind: kind, Member: Member{ID: id}})
	}
	es := []Entry{
		{Index: 1, Term: 1},
		{Index: 2, Term: 1, Kind: EntryChange, Data: change(ChangeAdd, 4)},
		{Index: 3, Term: 1},
		{Index: 4, Term: 1, Kind: EntryChange, Data: change(ChangeRemove, 1)},
	}
	votes := func(c *core) []uint64 { return c.configs.now().voters }

	f := newMember(3)
	say(t, f, Message{Kind: Append, From: 2, Term: 1, Entries: es, Commit: 1})
	onAppend := votes(f)
	restarted := newCore(testConfig(1), boot{State: State{Term: 1}, Snapshot: Snapshot{Membership: voters(3)},
		Entries: es})
	onRestart := votes(restarted)
	say(t, f, Message{Kind: Append, From: 3, Term: 2, Index: 3, LogTerm: 1, Entries: []Entry{{Index: 4, Term: 2}}})
	onTruncation := votes(f)

	for _, c := range []struct{ got, want []uint64 }{
		{onAppend, []uint64{2, 3, 4}}, {onRestart, []uint64{2, 3, 4}}, {onTruncation, []uint64{1, 2, 3, 4}},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("the voters are %v, want %v", c.got, c.want)
		}
	}
}

// pitfall D1, pitfall D2
func TestChangeIsRefusedWhileAnythingBeforeItIsOpen(t *testing.T) {
	add := func(c *core) error {
		_, err := c.proposeChange(Change{Kind: ChangeAdd, Member: Member{ID: 9, Learner: true}}, 0)
		settle(t, c)
		return err
	}
	ack := func(c *core) { say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: c.log.last()}) }
	leader := newLeader(t, 3, 1)

	beforeOwnTerm := add(leader)
	ack(leader)
	first := add(leader)
	second := add(leader)
	ack(leader)
	leader.transfer(2)
	handingOver := add(leader)
	follower := add(newMember(3))

	for _, c := range []struct {
		name      string
		got, want error
	}{
		{"before an entry of the own term is committed", beforeOwnTerm, errChanging},
		{"the first change", first, nil},
		{"a change while one is uncommitted", second, errChanging},
		{"a change while handing over", handingOver, errHandingOver},
		{"a change at a follower", follower, errNotLeader},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
}

// When no client writes, a learner answers only heartbeats. When it sent its last AppendAnswer, its
// own addition may not have been committed yet.
func TestLearnerIsPromotedThoughNobodyWrites(t *testing.T) {
	c := newLeader(t, 3)
	ack := func(from uint64) {
		say(t, c, Message{Kind: AppendAnswer, From: from, Term: c.term, Index: c.log.last()})
	}
	ack(2)
	follow(t, c, Member{ID: 4, Learner: true})
	ack(4)
	ack(2)

	say(t, c, Message{Kind: HeartbeatAnswer, From: 4, Term: c.term, Round: c.lead.round, Index: c.log.last(),
		LogTerm: c.term})

	if !c.configs.now().votes(4) {
		t.Fatalf("the members are %v", c.configs.now().membership.Members)
	}
}

// pitfall D7: a member that is added and never answers takes no part in any majority.
func TestLearnerDoesNotCount(t *testing.T) {
	c := newLeader(t, 1)
	follow(t, c, Member{ID: 2, Learner: true})

	index, err := c.propose(proposal{kind: EntryCommand})
	settle(t, c)
	pass(t, c, 5*c.ElectionTicks)

	if err != nil || c.commit != index || c.role != Leader {
		t.Fatalf("entry %d (%v), commit %d, role %d", index, err, c.commit, c.role)
	}
}

// pitfall D6: n1, n2 and n3 are the members; n1 and n2 have the entry that removes n1. Of n2 and
// n3, which now decide, only n2 has it.
func TestRemovedLeaderDoesNotCountItself(t *testing.T) {
	c := newLeader(t, 3)
	ack := func(from uint64) {
		say(t, c, Message{Kind: AppendAnswer, From: from, Term: c.term, Index: c.log.last()})
	}
	ack(2)
	ack(3)
	index, err := c.proposeChange(Change{Kind: ChangeRemove, Member: Member{ID: 1}}, 0)
	settle(t, c)

	ack(2)
	withOne := c.commit
	ack(3)

	if err != nil || withOne >= index || c.commit != index {
		t.Fatalf("entry %d (%v), commit %d with one of two, %d with both", index, err, withOne, c.commit)
	}
}

// A removal is in force as soon as it is in the log. A member that died a moment ago must not count
// for the quorum that is to agree on it, nor a member that a new leader has not heard of yet.
func TestARemovalCountsOnWhoWasHeard(t *testing.T) {
	c := newLeader(t, 3)
	answer := func(from uint64) {
		say(t, c, Message{Kind: HeartbeatAnswer, From: from, Term: c.term, Index: c.log.last(),
			LogTerm: c.log.lastTerm()})
	}
	refused := func(because string, want bool) {
		t.Helper()
		var quorum *QuorumError
		if err := c.mayRemove(2); errors.As(err, &quorum) != want {
			t.Errorf("%s: %v", because, err)
		}
	}

	if err := c.mayRemove(2); err != errUnheard {
		t.Errorf("a leader that has heard nobody: %v", err)
	}
	answer(3)
	refused("1 and 3 are there, and are enough", false)
	c.lost(3)
	refused("the connection to 3 broke", true)
	answer(3)
	refused("3 is back", false)
	for range c.ElectionTicks {
		answer(2)
		pass(t, c, 1)
	}
	refused("3 is silent", true)
}

// After an election timeout a new leader knows which members answer.
func TestANewLeaderFindsOutWhoIsThere(t *testing.T) {
	c := newLeader(t, 5)
	for range c.ElectionTicks {
		for _, id := range []uint64{2, 3} {
			say(t, c, Message{Kind: HeartbeatAnswer, From: id, Term: c.term, Index: c.log.last(),
				LogTerm: c.log.lastTerm()})
		}
		pass(t, c, 1)
	}
	var quorum *QuorumError
	if err := c.mayRemove(2); !errors.As(err, &quorum) {
		t.Errorf("4 and 5 have never been heard: %v", err)
	}
}

// A new cluster can be forced out of any member's data, also that of a removed member.
func TestAForcedMemberMayHaveBeenRemoved(t *testing.T) {
	m := voters(3).Apply(Change{Kind: ChangeRemove, Member: Member{ID: 2}})

	m = m.Apply(Change{Kind: ChangeForce, Member: Member{ID: 2, Name: "two"}, ClusterID: 7})

	if len(m.Members) != 1 || m.Members[0].Name != "two" || m.ClusterID != 7 || !slices.Equal(m.Removed,
		[]uint64{1, 3}) {
		t.Errorf("%+v", m)
	}
}

func TestNamesAreUnique(t *testing.T) {
	c := newLeader(t, 3)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: c.log.last()})
	for i, name := range []string{"a", "b", "a"} { // an older version that did not check names has added the double
		c.configs.now().membership.Members[i].Name = name
	}
	for _, row := range []struct {
		change Change
		want   error
	}{
		{Change{Kind: ChangeUpdate, Member: Member{ID: 2, Name: "a"}}, ErrNameTaken},
		{Change{Kind: ChangeUpdate, Member: Member{ID: 2, Name: "b"}}, nil},
		{Change{Kind: ChangeUpdate, Member: Member{ID: 2, Name: "c"}}, nil},
		{Change{Kind: ChangeUpdate, Member: Member{ID: 2}}, nil},
		{Change{Kind: ChangeUpdate, Member: Member{ID: 3, Name: "a"}}, nil},
		{Change{Kind: ChangeAdd, Member: Member{ID: 9, Name: "b", Learner: true}}, ErrNameTaken},
		{Change{Kind: ChangeAdd, Member: Member{ID: 9, Learner: true}}, nil},
		{Change{Kind: ChangeRemove, Member: Member{ID: 9, Name: "b"}}, ErrMemberUnknown},
	} {
		if err := c.checkChange(&row.change); err != row.want {
			t.Errorf("%+v: %v", row.change, err)
		}
	}
}

// Every snapshot holds the ids of all members ever removed. Before they fill it, no member can be
// added any more. A present member may still be removed, and may update its own attributes.
func TestAMembershipTooLargeForASnapshotIsRefused(t *testing.T) {
	c := newLeader(t, 3)
	now := &c.configs.now().membership
	url := func(bytes int) []string { return []string{"http://" + strings.Repeat("x", bytes)} }
	add := Change{Kind: ChangeAdd, Member: Member{ID: never64 - 1, PeerURLs: url(100), Learner: true}}
	tell := func(bytes int) *Change {
		return &Change{Kind: ChangeUpdate, Member: Member{ID: 2, ClientURLs: url(bytes)}}
	}
	for i := range uint64(98_000) {
		now.Removed = append(now.Removed, 1<<63+i)
	}

	if err := c.checkChange(&add); err != nil {
		t.Errorf("behind 98,000 removals: %v", err)
	}
	for i := range uint64(2000) {
		now.Removed = append(now.Removed, 1<<63+98_000+i)
	}
	if err := c.checkChange(&add); err != ErrMembershipFull {
		t.Errorf("behind 100,000 removals an addition ends with %v", err)
	}
	if first, second := c.checkChange(tell(46_000)), c.checkChange(tell(60_000)); first != nil ||
		second != ErrMembershipFull {
		t.Errorf("46,000 bytes of URLs end with %v, and 60,000 with %v", first, second)
	}
	*now = now.Apply(*tell(46_000))
	remove := Change{Kind: ChangeRemove, Member: Member{ID: 2}}
	if err, smaller := c.checkChange(&remove), now.Apply(remove); err == ErrMembershipFull ||
		smaller.size() >= now.size() {
		t.Errorf("a removal ends with %v, and makes %d bytes of %d", err, smaller.size(), now.size())
	}
	if err := c.checkChange(tell(100)); err != nil {
		t.Errorf("less than before: %v", err)
	}

	s, _ := reopen(t, testStorage(t))
	now.Version = strings.Repeat("9", 500)
	meta := Snapshot{Index: never64, Term: never64, Stamp: -1, Membership: *now}
	if _, err := s.saveSnapshot(meta, func(io.Writer) error { return nil }); err != nil {
		t.Errorf("the largest that is let through: %v", err)
	}
	meta.Membership.Removed = append(slices.Clone(now.Removed), now.Removed...)
	if _, err := s.saveSnapshot(meta, func(io.Writer) error { return nil }); err == nil {
		t.Error("a larger one is written")
	}
}

func TestTheLastVoterStays(t *testing.T) {
	c := newLeader(t, 1)

	_, err := c.proposeChange(Change{Kind: ChangeRemove, Member: Member{ID: 1}}, 0)

	if quorum := (*QuorumError)(nil); !errors.As(err, &quorum) || len(c.configs.now().voters) != 1 {
		t.Fatalf("error %v, voters %v", err, c.configs.now().voters)
	}
}

// pitfall D10: before a member acknowledges anything, it checks what the log says about its own
// disk, whichever way the entry comes.
func TestAMemberThatReadsOfAnotherDiskOfItsOwnSaysNothingMore(t *testing.T) {
	greeting := func(incarnation uint64) []Entry {
		change := Change{Kind: ChangeUpdate, Member: Member{ID: 1, Incarnation: incarnation}}
		return []Entry{{Index: 1, Term: 1, Kind: EntryChange, Data: appendChange(nil, &change)}}
	}
	snapshot := Snapshot{Index: 5, Term: 1, Membership: voters(3).Apply(Change{Kind: ChangeUpdate, Member: Member{ID: 1,
		Incarnation: 7}})}
	for name, m := range map[string]Message{
		"an Append":  {Kind: Append, From: 2, Term: 1, Entries: greeting(7), Commit: 1},
		"a snapshot": {Kind: InstallSnapshot, From: 2, Term: 1, Snapshot: &snapshot},
	} {
		for own, is := range map[uint64]bool{7: false, 8: true, 0: true} {
			b := bootOf(3)
			b.Incarnation = own
			c := newCore(testConfig(1), b)
			m.To = 1
			c.step(m)
			c.step(Message{Kind: Vote, From: 3, To: 1, Term: 9, Index: 9, LogTerm: 9, Transfer: true})

			e := c.effects(true)

			if said := len(e.Messages) > 0 || e.Persist != nil || e.Restore != nil; errors.Is(e.Broken,
				ErrMemberEmptied) != is || said == is {
				t.Errorf("%s, on the disk %x: %+v", name, own, e)
			}
		}
	}
	if c := newCore(testConfig(1), boot{State: State{Term: 1}, Snapshot: Snapshot{Membership: voters(3)},
		Entries: greeting(7)}); !errors.Is(c.broken, ErrMemberEmptied) {
		t.Errorf("it starts with such a log: %v", c.broken)
	}
}

// pitfall L4: a learner farther away than the majority never has everything that is committed at
// the moment. But it soon has all entries that the log had a round trip ago.
func TestLearnerFarAwayIsPromotedThoughSomebodyWritesAllTheTime(t *testing.T) {
	c := newLeader(t, 3, 1)
	say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: 2})
	if _, err := c.proposeChange(Change{Kind: ChangeAdd, Member: Member{ID: 4, Learner: true}}, 0); err != nil {
		t.Fatal(err)
	}
	const away = 4 // round trip in ticks, during which eight entries are written
	var ends []uint64
	for tick := 0; tick < 40 && !c.configs.now().votes(4); tick++ {
		for range 2 {
			if _, err := c.propose(proposal{kind: EntryCommand}); err != nil {
				t.Fatal(err)
			}
		}
		settle(t, c)
		say(t, c, Message{Kind: AppendAnswer, From: 2, Term: c.term, Index: c.log.last()})
		if ends = append(ends, c.log.last()); tick < away {
			continue
		}
		then := ends[tick-away]
		say(t, c, Message{Kind: AppendAnswer, From: 4, Term: c.term, Index: then})
		say(t, c, Message{Kind: HeartbeatAnswer, From: 4, Term: c.term, Round: c.lead.round, Index: then,
			LogTerm: c.term, Hint: then})
		c.tick()
	}

	if !c.configs.now().votes(4) {
		t.Error("it has no vote after 40 ticks, ten round trips")
	}
}
