package raft

import (
	"context"
	"errors"
	"io"
	"time"
)

// CONTRACT for http and main (exported names are fixed, bodies are being written).

// StateMachine is what the log is applied to. Its methods are called by the
// node's applier only, one at a time.
type StateMachine interface {
	// Apply executes one entry. It must be a pure function of the state and its
	// arguments and may not fail: what it returns goes to who proposed cmd.
	// cmd is empty for an entry that only carries the time.
	Apply(index uint64, now time.Time, cmd []byte) any
	// Freeze returns at once; the returned function writes the state as it was then. It runs
	// in another goroutine, while Apply goes on.
	Freeze() func(w io.Writer) error
	// Restore replaces the state by one written by Freeze.
	Restore(r io.Reader) error
	// NextDue is the cluster time at which the next key expires.
	NextDue() (time.Time, bool)
}

// Errors of Propose, Read and Change.
var (
	ErrStopped    = errors.New("raft: the member is stopping")
	ErrUnknown    = errors.New("raft: the outcome is not known") // leader lost or deadline passed: it may yet be applied
	ErrOverloaded = errors.New("raft: too much waits to be agreed")
	ErrNoLeader   = errors.New("raft: no leader is known") // the proposal was never made
)

// Node is one running member: the core and what drives it. All methods may be
// called from any goroutine.
type Node struct{}

// Propose offers a command to the log and waits until this member has applied it. The context's end
// gives ErrUnknown: the command may still be applied.
func (n *Node) Propose(ctx context.Context, cmd []byte) (Result, error) { return Result{}, nil }

// Read waits until everything that was acknowledged anywhere before the call is applied here (ReadIndex, diss. 6.4):
// reading the state machine afterwards is linearizable.
func (n *Node) Read(ctx context.Context) error { return nil }

// Change proposes one change of the membership and returns the membership after it.
func (n *Node) Change(ctx context.Context, c Change) (Membership, error) { return Membership{}, nil }

// Membership returns the configuration as applied at this member.
func (n *Node) Membership() Membership { return Membership{} }

// Status returns a consistent view of this member. It takes a turn of the node's loop; use Applied on hot paths.
func (n *Node) Status() Status { return Status{} }

// Applied returns the index and term of the last entry applied. It never blocks.
func (n *Node) Applied() (index, term uint64) { return 0, 0 }

// Leader returns the leader's id, or None. It never blocks.
func (n *Node) Leader() uint64 { return 0 }

// Now is the cluster clock as this member knows it. It stands still while no leader is known. It never blocks.
func (n *Node) Now() time.Time { return time.Time{} }

// Failed is closed when the member can't go on (its disk failed, say); Err then says why.
func (n *Node) Failed() <-chan struct{} { return nil }

// Err is the reason of Failed.
func (n *Node) Err() error { return nil }

// Stats returns the node's counters and histograms; they are updated for ever after.
func (n *Node) Stats() *Stats { return nil }

// Stop ends the member: hands leadership over, finishes the batch in hand, closes the log.
func (n *Node) Stop(ctx context.Context) error { return nil }
