package raft

import (
	"io"
	"sync/atomic"
	"time"
)

// A worker is one of the goroutines that a member stands still without. It notes since when it has
// been at one piece of work, and waiting for work is none: an idle member is alive, and so is one
// without a leader.
type worker struct {
	since atomic.Int64 // on the monotonic clock, and never 0; 0: it waits
}

// works says that a piece of work begins, or gets on.
func (w *worker) begins(mono int64) { w.since.Store(max(mono, 1)) }

func (w *worker) idles() { w.since.Store(0) }

func (w *worker) stuck(mono int64) time.Duration {
	if since := w.since.Load(); since != 0 {
		return time.Duration(max(mono-since, 0))
	}
	return 0
}

// Stuck returns which of the member's workers has been at one piece of work for the longest, and
// how long; 0 when all of them wait. Pieces are a turn of the loop; a write to the log with its
// fsync; and, of the applier, a thousand entries or some bytes of a snapshot. A member that goes on
// gives short times, however much it has to do; one whose disk hangs, or that waits for itself, a
// time that grows. It never blocks, and asks nothing of those that may be stuck.
//
// Not looked at is what a member can be without for a while: other members, the writing of
// snapshots, clients.
func (n *Node) Stuck() (doing string, since time.Duration) {
	mono := n.mono()
	for _, w := range []struct {
		*worker
		doing string
	}{
		{&n.looping, "a turn of the loop"}, {&n.writing, "a write to the log"}, {&n.applying,
			"applying what is agreed"},
	} {
		if d := w.stuck(mono); d > since {
			doing, since = w.doing, d
		}
	}
	return doing, since
}

// entriesPerPiece is how many entries the applier applies before it says that it gets on.
const entriesPerPiece = 1024

// progressReader is a reader of a snapshot that says of each of its bytes' arrival that the applier
// gets on: a large one takes longer than anything else that a member does in one go.
type progressReader struct {
	io.Reader
	n *Node
}

func (g progressReader) Read(p []byte) (int, error) {
	g.n.applying.begins(g.n.mono())
	return g.Reader.Read(p)
}
