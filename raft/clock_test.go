package raft

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

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

// pitfall I1: only the first stamp of a cluster is wall time. After it the leader's monotonic clock
// counts.
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

// pitfall I2, pitfall I3: a new leader continues from the last stamp; without a leader no time
// passes.
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
	say(t, c, Message{Kind: Append, From: 2, Term: 1, Entries: []Entry{{Index: 1, Term: 1, Stamp: 50 * second}},
		Stamp: 50 * second})
	say(t, c, Message{Kind: Heartbeat, From: 2, Term: 1, Stamp: 80 * second})
	elect(t, c)

	if got := c.log.at(2).Stamp; got != 80*second {
		t.Fatalf("the stamp is %d s, want 80", got/second)
	}
}

// The time that a cut-off leader counted is void once a successor has stamped entries: with it keys
// would expire early.
func TestTimeOfADeposedLeaderDoesNotCount(t *testing.T) {
	c := newMember(3)
	say(t, c, Message{Kind: Append, From: 2, Term: 1, Entries: []Entry{{Index: 1, Term: 1, Stamp: 50 * second}},
		Stamp: 50 * second})
	elect(t, c)
	c.advance(900 * second) // it counts, and no member hears of it
	say(t, c, Message{Kind: Append, From: 3, Term: 3, Index: 1, LogTerm: 1, Stamp: 60 * second,
		Entries: []Entry{{Index: 2, Term: 3, Stamp: 60 * second}}})
	elect(t, c)

	if got := c.log.at(3).Stamp; got != 60*second {
		t.Fatalf("the stamp is %d s, want 60", got/second)
	}
}

// pitfall I3: the clock of a process that was moved to another machine, or woken up, does not run
// backwards.
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

// withWall returns a member that tells the log its wall clock.
func withWall() *core {
	c := newMember(1)
	c.WallCommand = func(offset time.Duration) []byte { return fmt.Appendf(nil, "offset %v", offset) }
	return c
}

// logged returns the data of the log's entries, beginning at an index.
func (c *core) logged(from uint64) string {
	var list []string
	for i := from; i <= c.log.last(); i++ {
		list = append(list, string(c.log.at(i).Data))
	}
	return strings.Join(list, "|")
}

// The wall clock is in the entry that opens a term. When the clock is set later, it is also in an
// entry before the next proposal. pitfall L9
func TestTheLogTellsTheLeadersWallClock(t *testing.T) {
	at := func(c *core, seconds, wall float64) {
		c.advance(int64(seconds * 1e9))
		c.readWall(int64(1e18) + int64(wall*1e9))
		if last := c.log.last(); c.role == Leader {
			c.tick()
			if c.log.last() != last {
				t.Error("an idle leader has written because of its wall clock")
			}
		}
	}
	command := func(c *core) {
		if _, err := c.propose(proposal{kind: EntryCommand, data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	c := withWall()
	at(c, 100, 100)
	elect(t, c)
	command(c)
	at(c, 101, 101.09) // a little slow, then a little fast
	command(c)
	at(c, 102, 101.91)
	command(c)
	at(c, 103, 3703) // the clock is set
	command(c)
	command(c)
	at(c, 104, 4)
	if err := c.proposeStamp(); err != nil {
		t.Fatal(err)
	}

	if got, want := c.logged(1), "offset 1m40s|x|x|x|offset 1h1m40s|x|x|offset 0s|"; got != want {
		t.Errorf("the log tells\n got %s\nwant %s", got, want)
	}
}

// A leader logs its own wall clock, whatever an earlier leader has logged. Without a WallCommand
// the log holds no wall clock.
func TestANewLeaderTellsItsOwnWallClock(t *testing.T) {
	for _, c := range []*core{withWall(), newMember(1)} {
		tells := c.WallCommand != nil
		c.readWall(int64(1e18))
		elect(t, c)
		settle(t, c)
		c.becomeFollower(c.term+1, None)
		c.readWall(int64(1e18) + 50e6)

		elect(t, c)
		c.readWall(int64(1e18) + 120e6)
		stampOf(t, c)

		want := "||"
		if tells {
			want = "offset 0s|offset 50ms|"
		}
		if got := c.logged(1); got != want {
			t.Errorf("the log tells %q, want %q", got, want)
		}
	}
}
