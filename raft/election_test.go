package raft

import "testing"

// pitfall A10: a broken connection makes a follower impatient; a leader that is heard again, patient.
func TestLeaderHeardAgainIsGivenTheWholeTimeout(t *testing.T) {
	c := newMember(3)
	say(t, c, Message{Kind: Heartbeat, From: 2, Term: 1})
	c.lost(2)

	say(t, c, Message{Kind: Heartbeat, From: 2, Term: 1})
	sent := pass(t, c, c.ElectionTicks-1)

	wantMessages(t, sent)
}
