package raft

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// stuckFor waits until the node has been at a certain piece of work for a time. On a busy machine
// it may have been at another one for as long before.
func stuckFor(t *testing.T, n *Node, doing string, d time.Duration) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		what, since := n.Stuck()
		if since >= d && what == doing {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-deadline:
			t.Fatalf("never stuck at %s, but %q for %v", doing, what, since)
		}
	}
}

// awaitIdle waits until all of the node's workers wait.
func awaitIdle(t *testing.T, n *Node) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		what, since := n.Stuck()
		if since == 0 {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-deadline:
			t.Fatalf("stuck at %s for %v", what, since)
		}
	}
}

const shortly = 30 * time.Millisecond

// pitfall F3: a disk that hangs is told at once, not when it fails.
func TestAMemberWhoseFsyncHangsIsStuck(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := nodeConfig(t.TempDir())
		fs := &hangingFS{}
		c.fs = fs
		n := openNode(t, c, &register{})
		release := fs.hang(t)
		written := make(chan error, 1)

		go func() {
			_, err := n.Propose(context.Background(), []byte("x"))
			written <- err
		}()

		stuckFor(t, n, "a write to the log", shortly)
		release()
		if err := <-written; err != nil {
			t.Error(err)
		}
		awaitIdle(t, n)
	})
}

func TestAMemberWhoseLoopHangsIsStuck(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n := openNode(t, nodeConfig(t.TempDir()), &register{})
		gate := make(chan struct{})

		go n.do(func(*core) { <-gate })

		stuckFor(t, n, "a turn of the loop", shortly)
		close(gate)
		awaitIdle(t, n)
	})
}

// gated is a register that applies, and restores, as slowly as a test wants.
type gated struct {
	register
	gate chan struct{}
}

func (g *gated) Apply(index uint64, now time.Time, cmd []byte) any {
	if string(cmd) == "hang" {
		<-g.gate
	}
	return g.register.Apply(index, now, cmd)
}

func TestAMemberWhoseApplierHangsIsStuck(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		sm := &gated{gate: make(chan struct{})}
		n := openNode(t, nodeConfig(t.TempDir()), sm)
		applied := make(chan error, 1)

		go func() {
			_, err := n.Propose(context.Background(), []byte("hang"))
			applied <- err
		}()

		stuckFor(t, n, "applying what is agreed", shortly)
		close(sm.gate)
		if err := <-applied; err != nil {
			t.Error(err)
		}
		awaitIdle(t, n)
	})
}

// An idle member, and one that hears no other, only wait: to restart them would not help.
func TestAMemberThatWaitsIsNotStuck(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		idle := openNode(t, nodeConfig(t.TempDir()), &register{})
		c := nodeConfig(t.TempDir())
		c.Bootstrap, c.Heartbeat, c.Election = voters(3), 2*time.Millisecond, 10*time.Millisecond
		alone := openNode(t, c, &register{})
		for _, n := range []*Node{idle, alone} {
			for range 20 {
				n.do(func(*core) {})
				awaitIdle(t, n)
			}
		}
		if alone.Leader() != None {
			t.Errorf("%x leads", alone.Leader())
		}
	})
}

// A member that replays much is not stuck: each piece of it is progress. Time is a number here.
func TestAWorkerThatMakesProgressIsNotStuck(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n := &Node{epoch: time.Now().Add(-time.Hour)}
		n.applying.begins(n.mono() - int64(time.Minute)) // for so long already
		if _, since := n.Stuck(); since < time.Minute {
			t.Errorf("%v", since)
		}

		for range 2 {
			if _, err := io.ReadAll(progressReader{strings.NewReader("a snapshot"), n}); err != nil {
				t.Fatal(err)
			}
			if _, since := n.Stuck(); since > 10*time.Second {
				t.Errorf("%v after a read", since)
			}
			n.applying.begins(n.mono() - int64(time.Minute))
		}
		n.sm = &register{}
		n.applied.Store(&appliedState{})
		n.digests = digests{}
		n.apply(job{entries: make([]Entry, entriesPerPiece)}, nil)
		if _, since := n.Stuck(); since > 10*time.Second {
			t.Errorf("%v after a piece", since)
		}
	})
}
