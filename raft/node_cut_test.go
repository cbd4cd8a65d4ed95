package raft

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// neverIdle makes every sync of the log return only when there is more to write, as with a slow
// disk.
func (s *strain) neverIdle() {
	ask := func() {
		for range 4 {
			w := &waiter{result: make(chan outcome, 1)}
			_, _ = s.n.enqueue(w, request{proposal: proposal{kind: EntryCommand, data: make([]byte, 8<<10)}})
		}
	}
	fault := func(call, name string) error {
		if call == "sync" && strings.Contains(name, "/wal/") {
			ask()
			<-time.After(3 * gatherForOthers) // so that earlier proposals no longer wait for the others
		}
		return nil
	}
	s.disk.fault.Store(&fault)
	ask()
}

// pitfall L6
func TestTheLogIsCutThoughTheDiskIsNeverIdle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStrain(t, 1, nil)
		<-s.n.Ready()
		s.neverIdle()

		s.await("five snapshots", func() bool { return s.n.stats.Snapshots.Load() >= 5 })

		log := s.n.storage.log
		s.await("the log goes back three segments beyond the snapshots", func() bool {
			there, err := s.n.storage.snaps.Sound()
			return err == nil && len(there) >= 2 && log.Bytes(0)-log.Bytes(there[len(there)-2]) <= 3*s.n.SegmentBytes
		})
		s.await("the core names a file that is there", func() (is bool) {
			there, err := s.n.storage.snaps.Indexes()
			s.n.do(func(c *core) { is = err == nil && slices.Contains(there, c.snapshot.Index) && c.log.first > 1 })
			return is
		})
	})
}

// A part of the log that was kept for a member is released when the member has it, even if no other
// snapshot is written.
//
// pitfall L6
func TestTheLogIsCutWhenAMemberHasCaughtUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(c *Config) { c.SnapshotCount, c.MaxSnapshots = 20, 2 })
		leader, lags := c.nodes[c.leader()], c.follower()
		kept, release := false, func() {}
		for i := 0; !kept; i++ { // a busy machine takes so long that the log is not kept for the member
			release()
			release = c.disks[lags].hang(t)
			for target := leader.stats.Snapshots.Load() + 4; leader.stats.Snapshots.Load() < target; i++ {
				c.propose(leader.id, fmt.Sprintf("%d %s", i, make([]byte, 8<<10)))
			}
			c.await("the last one is written", func() bool { return !leader.snapshots.writing.Load() })
			leader.do(func(*core) { kept = leader.releaseTicks > 0 })
		}
		before := leader.storage.log.First()

		release()

		c.await("the log is cut", func() bool { return leader.storage.log.First() > before })
	})
}

// A snapshot that is wanted while another one is being written is written after it, though nobody
// writes anything: a member that lags waits for it.
func TestASnapshotThatIsWantedMeanwhileIsWritten(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n := openNode(t, nodeConfig(t.TempDir()), &register{})
		if _, err := n.Propose(context.Background(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		n.do(func(*core) {
			n.snapshots.writing.Store(true) // by another one
			n.snapshots.wanted.Store(true)
			n.backlog = append(n.backlog, job{})
		})
		looked := make(chan struct{})
		n.do(func(*core) { n.backlog = append(n.backlog, job{inspect: func() { close(looked) }}) })
		<-looked

		n.endSnapshotWriter()

		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for n.stats.Snapshots.Load() == 0 {
			if err := n.Read(ctx); err != nil {
				t.Fatal("no snapshot is written: ", err)
			}
		}
	})
}
