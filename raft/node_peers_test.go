package raft

import "testing"

// toldWhom is a transport that reaches nobody and notes whom it is told to follow.
type toldWhom struct {
	firstWord
	members []Member
}

func (l *toldWhom) Follow(m Membership) { l.members = m.Members }

// pitfall D3, pitfall D4: a change that is truncated stands at the index of the one that takes its place, and both may happen in one turn.
func TestAConfigurationThatTakesAnothersPlaceIsFollowedAtOnce(t *testing.T) {
	line := &toldWhom{}
	n := &Node{Config: Config{Transport: line}, core: newMember(3, 1)}
	n.applied.Store(&appliedState{membership: voters(3)})
	add := func(term, id uint64) {
		e := Entry{Index: 2, Term: term, Kind: EntryChange, Data: appendChange(nil, &Change{Kind: ChangeAdd, Member: Member{ID: id}})}
		say(t, n.core, Message{Kind: Append, From: 2, Term: term, Index: 1, LogTerm: 1, Entries: []Entry{e}})
		n.noteMembership()
	}

	add(2, 7)
	before := Membership{Members: line.members}
	add(3, 8)

	if now := (Membership{Members: line.members}); !before.has(7) || now.has(7) || !now.has(8) || !n.newest.Load().has(8) {
		t.Errorf("it follows %v, and then %v", before.Members, now.Members)
	}
}
