package raft

import "testing"

const second = int64(1e9)

// stampOf proposes an entry and returns its stamp.
func stampOf(t *testing.T, c *core) int64 {
	t.Helper()
	index, err := c.propose(proposal{kind: EntryCommand})
	if err != nil {
		t.Fatal(err)
	}
	stamp := c.log.at(index).Stamp
	settle(t, c)
	return stamp
}

// pitfall I1: only the very first stamp of a cluster is wall time; then the leader's monotonic clock counts.
func TestFirstStampIsWallTimeAndTheRestIsCounted(t *testing.T) {
	c := newMember(1)
	c.advance(100 * second)
	elect(t, c)

	first := c.log.at(1).Stamp
	c.advance(103 * second)
	later := stampOf(t, c)

	if first != c.Wall || later != first+3*second {
		t.Fatalf("stamps %d and %d, the wall clock showed %d", first, later, c.Wall)
	}
}

// pitfall I2, pitfall I3: a new leader goes on from the last stamp; without a leader no time passes.
func TestNewLeaderGoesOnFromTheLastStamp(t *testing.T) {
	b := bootOf(1, 1)
	b.Entries[0].Stamp = 50 * second
	c := newCore(testConfig(1), b)
	c.advance(1000 * second)
	elect(t, c)

	if got := c.log.at(2).Stamp; got != 50*second {
		t.Fatalf("the stamp is %d s, want 50", got/second)
	}
}

// The leader's heartbeats carry the clock, so that a quiet minute before its death counts.
func TestHeardTimeIsTakenOver(t *testing.T) {
	c := newMember(3)
	say(t, c, Message{Kind: Append, From: 2, Term: 1, Entries: []Entry{{Index: 1, Term: 1, Stamp: 50 * second}}, Stamp: 50 * second})
	say(t, c, Message{Kind: Heartbeat, From: 2, Term: 1, Stamp: 80 * second})
	elect(t, c)

	if got := c.log.at(2).Stamp; got != 80*second {
		t.Fatalf("the stamp is %d s, want 80", got/second)
	}
}

// What a cut-off leader counted is void once a successor has stamped entries: keys would expire early.
func TestTimeOfADeposedLeaderDoesNotCount(t *testing.T) {
	c := newMember(3)
	say(t, c, Message{Kind: Append, From: 2, Term: 1, Entries: []Entry{{Index: 1, Term: 1, Stamp: 50 * second}}, Stamp: 50 * second})
	elect(t, c)
	c.advance(900 * second) // it counts, and nobody hears it
	say(t, c, Message{Kind: Append, From: 3, Term: 3, Index: 1, LogTerm: 1, Stamp: 60 * second,
		Entries: []Entry{{Index: 2, Term: 3, Stamp: 60 * second}}})
	elect(t, c)

	if got := c.log.at(3).Stamp; got != 60*second {
		t.Fatalf("the stamp is %d s, want 60", got/second)
	}
}

// pitfall I3: the clock of a process that was moved to another machine, or woken up, does not run backwards.
func TestClockNeverGoesBack(t *testing.T) {
	c := newLeader(t, 1)
	c.advance(10 * second)
	before := stampOf(t, c)

	c.advance(4 * second)
	after := stampOf(t, c)

	if after < before {
		t.Fatalf("the stamp fell from %d to %d", before, after)
	}
}
