package raft

import "cmp"

// rebuilder makes the state of what a disk holds, in order, while the disk is read. When the start
// fails later, that state is dropped.
type rebuilder interface {
	// restore sets the state to that of the snapshot with which r begins, if there is one.
	restore(r *recovery) error
	// replay applies entries that are committed.
	replay(es []Entry) error
}

// Entries go to the rebuilder in pieces, and the log is read at most rebuildPieces ahead of it.
const (
	rebuildPiece  = 256 << 10 // bytes in memory; a single write may have more
	rebuildPieces = 16
)

// rebuilding runs a rebuilder in a goroutine of its own while the log is read: to check and decode
// a record takes about as long as to apply it.
type rebuilding struct {
	piece []Entry // read, and not in the queue yet
	bytes int     // of the piece
	queue chan []Entry
	ended chan struct{} // closed when the rebuilder has ended
	err   error         // of the rebuilder; to be read when ended is closed
}

// rebuild starts the rebuilder with the snapshot of r. The Reader of r belongs to it until finish
// has returned.
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

// add hands on entries, whose Data belongs to the rebuilder from now on. The error is that of
// entries handed on before.
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

// finish waits until the rebuilder has done all that was handed on. Nothing may be added
// afterwards.
func (b *rebuilding) finish() error {
	err := b.pass()
	close(b.queue)
	<-b.ended
	return cmp.Or(err, b.err)
}
