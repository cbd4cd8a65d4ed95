package raft

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pitfall I1
func TestAWriteIsNotStampedWithATimeFromBeforeItWasMade(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		sm := &register{}
		n := openNode(t, nodeConfig(t.TempDir()), sm)
		written := make(chan error, 1)
		var made time.Time

		n.do(func(*core) {
			<-time.After(20 * time.Millisecond) // the turn takes its time
			made = n.Now()
			go func() {
				_, err := n.Propose(context.Background(), []byte("write"))
				written <- err
			}()
			for came, _ := n.inbox.holds(); !came; came, _ = n.inbox.holds() {
				<-time.After(time.Millisecond)
			}
		})

		if err := <-written; err != nil {
			t.Fatal(err)
		}
		if stamp := time.Unix(0, sm.stamps[len(sm.stamps)-1]); stamp.Before(made) {
			t.Errorf("the stamp is %v older than the write", made.Sub(stamp))
		}
	})
}

func TestThePaceWakesTheLoopWhenItWasPlannedAndLosesNoTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := (&Node{Config: Config{Heartbeat: 40 * time.Millisecond}}).newPace() // a tick is 10 ms
		p.plan(4)
		<-time.After(25 * time.Millisecond) // something else wakes the loop
		if n := p.passed(); n != 2 {
			t.Errorf("%d ticks passed in 25 ms", n)
		}
		p.plan(9) // two are still due sooner
		begun := time.Now()
		<-p.timer.C
		if d := time.Since(begun); d != 15*time.Millisecond {
			t.Errorf("woken after %v", d)
		}
		if n := p.passed(); n != 2 {
			t.Errorf("%d ticks passed, want the other 2", n)
		}
		p.plan(4)
		p.plan(1) // now it is needed sooner
		begun = time.Now()
		<-p.timer.C
		if d := time.Since(begun); d != 10*time.Millisecond {
			t.Errorf("woken after %v", d)
		}
		if n := p.passed(); n != 1 {
			t.Errorf("%d ticks passed, want 1", n)
		}
	})
}

// pitfall A14
func TestAfterAPauseNoMoreTicksAreDueThanWerePlanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := (&Node{Config: Config{Heartbeat: 40 * time.Millisecond}}).newPace()
		p.plan(3)
		<-time.After(time.Hour)
		if n := p.passed(); n != 3 {
			t.Errorf("%d ticks passed", n)
		}
		p.plan(3)
		begun := time.Now()
		<-p.timer.C
		if d := time.Since(begun); d != 30*time.Millisecond {
			t.Errorf("the next ones come after %v", d)
		}
	})
}

func TestTheClockIsWatchedAsCloselyAsNeeded(t *testing.T) {
	leader := newLeader(t, 3, 1)
	leader.HeartbeatTicks = 4
	leader.lead.sinceBeat = 1
	follower := newMember(3, 1)
	follower.HeartbeatTicks = 4
	hurried := newMember(3, 1)
	hurried.HeartbeatTicks = 4
	say(t, hurried, Message{Kind: Heartbeat, From: 2, Term: 1, Round: 1})
	hurried.lost(2)
	writing := newMember(3, 1)
	writing.writes = []write{{}}
	for name, row := range map[string]struct {
		c    *core
		want int
	}{
		"a leader, until the next heartbeat":              {leader, 3},
		"a follower that hears its leader":                {follower, 4},
		"a follower whose leader is gone":                 {hurried, hurried.electionTimeout - hurried.quiet},
		"a member whose disk has something in the making": {writing, 1},
	} {
		if got := row.c.idleTicks(); got != row.want {
			t.Errorf("%s: %d ticks, want %d", name, got, row.want)
		}
	}
}

// The state machine is told the leader's wall clock in each term, and told it again when the log is
// replayed.
// pitfall L9
func TestTheStateMachineIsToldTheWallClock(t *testing.T) {
	c := nodeConfig(t.TempDir())
	c.WallCommand = func(time.Duration) []byte { return []byte("wall") }
	n := openNode(t, c, &register{})
	stopNode(t, n)
	sm := &register{}
	openNode(t, c, sm)

	told := strings.Join(sm.list(), ", ")
	line, err := describeEntry(&Entry{Index: 3, Term: 2, Stamp: 7, Data: []byte("wall")},
		func(b []byte) string { return "told " + string(b) })

	if told != "wall, wall" {
		t.Errorf("told: %s", told)
	}
	if want := "entry    3@2 stamp=7 told wall"; line != want || err != nil {
		t.Errorf("%q, %v; want %q", line, err, want)
	}
}
