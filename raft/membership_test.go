package raft

import "testing"

// When nobody writes, a learner's answers to heartbeats are the only ones. At the moment of its last AppendAnswer its own
// addition may still wait for the other members.
func TestLearnerIsPromotedThoughNobodyWrites(t *testing.T) {
	c := newLeader(t, 3)
	ack := func(from uint64) {
		say(t, c, Message{Kind: AppendAnswer, From: from, Term: c.term, Index: c.log.last()})
	}
	ack(2)
	follow(t, c, Member{ID: 4, Learner: true})
	ack(4)
	ack(2)

	say(t, c, Message{Kind: HeartbeatAnswer, From: 4, Term: c.term, Round: c.lead.round, Index: c.log.last(), LogTerm: c.term})

	if !c.configs.now().votes(4) {
		t.Fatalf("the members are %v", c.configs.now().membership.Members)
	}
}
