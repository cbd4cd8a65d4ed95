package raft

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// gate is a state machine that applies no entry while it is shut.
type gate struct {
	register
	shut chan struct{} // receives from an Apply that waits; nil: open
}

func (g *gate) Apply(index uint64, now time.Time, cmd []byte) any {
	if string(cmd) == "slow" {
		<-g.shut
	}
	return g.register.Apply(index, now, cmd)
}

func TestAnApplierThatDoesNotKeepUpShows(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		sm := &gate{shut: make(chan struct{})}
		n := openNode(t, nodeConfig(t.TempDir()), sm)
		stats, done := n.Stats(), make(chan error)
		propose := func(cmd string) {
			go func() {
				_, err := n.Propose(context.Background(), []byte(cmd))
				done <- err
			}()
		}
		await := (&cluster{t: t}).await
		await("nothing is left to be told", func() bool { return n.Membership().Version != "" })
		<-time.After(time.Millisecond) // so that it is later than everything before
		started := time.Now().UnixNano()

		propose("slow")
		await("the entry is behind", func() bool { return stats.BehindSince.Load() >= started })
		behind := stats.BehindSince.Load()
		propose("fast")
		await("two are committed", func() bool { index, _ := n.Applied(); return stats.Committed.Load() >= index+2 })
		if got := stats.BehindSince.Load(); got != behind {
			t.Errorf("behind since %d, then since %d, though nothing was applied", behind, got)
		}
		sm.shut <- struct{}{}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		await("nothing is behind", func() bool { return stats.BehindSince.Load() == 0 })
	})
}

func TestAnFsyncInFlightShows(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, disk := nodeConfig(t.TempDir()), &hangingFS{}
		c.fs = disk
		n := openNode(t, c, &register{})
		synctest.Wait()
		release := disk.hang(t)
		started := time.Now().UnixNano()
		go func() { _, _ = n.Propose(context.Background(), []byte("x")) }()
		synctest.Wait()

		if seen := n.Stats().FsyncSince.Load(); seen != started {
			t.Errorf("in flight since %d, which began at %d", seen, started)
		}
		release()
		synctest.Wait()
		if got := n.Stats().FsyncSince.Load(); got != 0 {
			t.Errorf("nothing is written, but an fsync is in flight since %d", got)
		}
	})
}

func TestReadsAreCounted(t *testing.T) {
	n := openNode(t, nodeConfig(t.TempDir()), &register{})
	ctx, cancel := context.WithCancel(context.Background())
	if err := n.Read(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	stopNode(t, n)
	_ = n.Read(ctx)
	if s := n.Stats(); s.Reads.Load() != 2 || s.ReadsFailed.Load() != 1 {
		t.Errorf("%d reads, %d failed", s.Reads.Load(), s.ReadsFailed.Load())
	}
}

func TestTrafficHasRatesOverTheLastTenSeconds(t *testing.T) {
	var traffic Traffic
	at := func(second int64) time.Time { return time.Unix(1_000_000+second, 999) }
	check := func(second int64, messages, bytes float64) {
		t.Helper()
		if m, b := traffic.Rates(at(second)); m != messages || b != bytes {
			t.Errorf("in second %d: %v messages, %v bytes a second; want %v, %v", second, m, b, messages, bytes)
		}
	}
	check(0, 0, 0)
	traffic.Note(at(0), 3, 100)
	traffic.Note(at(0), 2, 100)
	check(0, 0, 0) // not a whole second yet
	check(1, 0.5, 20)
	traffic.Note(at(5), 10, 1000)
	check(6, 1.5, 120)
	check(10, 1.5, 120)
	check(11, 1, 100)
	traffic.Note(at(11), 10, 0) // the same place as second 0
	check(12, 2, 100)
	check(100, 0, 0)
	if got := traffic.Count(); got != 25 {
		t.Errorf("%d messages ever, want 25", got)
	}
}

func TestOnlyAppendsAreTraffic(t *testing.T) {
	var traffic Traffic
	traffic.noteAppends([]Message{{Kind: Heartbeat}, {Kind: Append, Entries: []Entry{{Data: make([]byte, 100)}, {}}},
		{Kind: AppendAnswer}, {Kind: Append}})
	traffic.noteAppends([]Message{{Kind: Vote}})
	now := time.Now()
	if _, bytes := traffic.Rates(now.Add(time.Second)); traffic.Count() != 2 ||
		bytes != float64(100+2*entryOverhead)/trafficWindow {
		t.Errorf("%d appends, %v bytes a second", traffic.Count(), bytes)
	}
}

func TestMembersCountWhatTheySendAndReceive(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader, follower := c.leader(), c.follower()
		c.propose(follower, "x")

		sends, takes := c.nodes[leader].Stats(), c.nodes[follower].Stats()
		if sends.AppendsSent.Count() == 0 || takes.AppendsReceived.Count() == 0 || takes.Forwarded.Load() == 0 {
			t.Errorf("the leader sent %d appends; the follower received %d and forwarded %d proposals",
				sends.AppendsSent.Count(), takes.AppendsReceived.Count(), takes.Forwarded.Load())
		}
	})
}
