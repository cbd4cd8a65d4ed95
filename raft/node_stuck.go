package raft

import (
	"io"
	"sync/atomic"
	"time"
)

// A worker is one of the goroutines without which a member makes no progress. It records since when
// it has been at one piece of work. Waiting for work does not count: an idle member is alive, and
// so is one without a leader.
type worker struct {
	since atomic.Int64 // on the monotonic clock, and never 0; 0: it waits
}

// begins says that a piece of work begins, or makes progress.
func (w *worker) begins(mono int64) { w.since.Store(max(mono, 1)) }

// idles says that the worker waits for work.
func (w *worker) idles() { w.since.Store(0) }

// stuck returns for how long the worker has been at one piece of work; 0 when it waits.
func (w *worker) stuck(mono int64) time.Duration {
	if since := w.since.Load(); since != 0 {
		return time.Duration(max(mono-since, 0))
	}
	return 0
}

// Stuck returns which of the member's workers has been at one piece of work for the longest, and
// for how long; 0 when all of them wait. A piece of work is a turn of the loop, a write to the log
// with its fsync, or, for the applier, a thousand entries or some bytes of a snapshot. A busy
// member gives short times; one whose disk hangs, or that waits for itself, gives a time that
// grows. Stuck never blocks, and asks nothing of the goroutines that may be stuck.
//
// It does not look at what a member can do without for a while: other members, the writing of
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

// entriesPerPiece is how many entries the applier applies before it reports progress.
const entriesPerPiece = 1024

// progressReader reads a snapshot, and reports progress of the applier whenever bytes come: to
// restore a large snapshot takes longer than any other single piece of work.
type progressReader struct {
	io.Reader
	n *Node
}

func (g progressReader) Read(p []byte) (int, error) {
	g.n.applying.begins(g.n.mono())
	return g.Reader.Read(p)
}
