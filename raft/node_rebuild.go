package raft

import "cmp"

// rebuilder takes what a disk holds, in order, while it is read. A start that fails later is none:
// what the rebuilder made of it is dropped.
type rebuilder interface {
	// restore makes the state that of the snapshot which r begins with, if there is one.
	restore(r *recovery) error
	// replay applies entries that are committed.
	replay(es []Entry) error
}

// Entries go to the rebuilder by the piece, and the log is read at most so many pieces ahead of it.
const (
	rebuildPiece  = 256 << 10 // bytes in memory; a single write may be more
	rebuildPieces = 16
)

// rebuilding has a rebuilder at work in a goroutine of its own, while the log is read: to check and
// decode a record and to apply it take about as long.
type rebuilding struct {
	piece []Entry // read, and not in the queue yet
	bytes int     // of the piece
	queue chan []Entry
	ended chan struct{} // closed when the rebuilder does no more
	err   error         // of the rebuilder; to be read when ended is closed
}

// rebuild has to begin with the snapshot of r, whose Reader is its own until finish has returned.
func rebuild(to rebuilder, r *recovery) *rebuilding {
	b := &rebuilding{queue: make(chan []Entry, rebuildPieces), ended: make(chan struct{})}
	go func() {
		defer close(b.ended)
		b.err = to.restore(r)
		for es := range b.queue {
			if b.err != nil {
				return
			}
			b.err = to.replay(es)
		}
	}()
	return b
}

// add hands on entries, whose Data is the rebuilder's from now on. The error is that of earlier
// ones.
func (b *rebuilding) add(es []Entry) error {
	b.piece = append(b.piece, es...)
	if b.bytes += entriesSize(es); b.bytes < rebuildPiece {
		return nil
	}
	return b.pass()
}

// pass puts the piece into the queue.
func (b *rebuilding) pass() error {
	select {
	case b.queue <- b.piece:
		b.piece, b.bytes = make([]Entry, 0, len(b.piece)), 0
		return nil
	case <-b.ended:
		return b.err
	}
}

// finish waits until the rebuilder has done all that was handed on. Nothing may be added then.
func (b *rebuilding) finish() error {
	err := b.pass()
	close(b.queue)
	<-b.ended
	return cmp.Or(err, b.err)
}
