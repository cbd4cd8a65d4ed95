package store

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// CONTRACT for http and raft (exported names are fixed, bodies are not; spread over the files that DESIGN.md names).

// Op is what a command does.
type Op uint8

const (
	OpSet              Op = iota + 1
	OpCreate              // fails when the key exists
	OpCreateInOrder       // POST: Path is the directory, the name is the new index in 20 digits
	OpUpdate              // fails when the key is missing
	OpCompareAndSwap      // PrevValue and/or PrevIndex
	OpDelete              //
	OpCompareAndDelete    //
	OpAdvance             // takes one index (Count of them) and changes nothing: a change of the membership
)

// Command is one write, as it travels in the log.
type Command struct {
	Op        Op
	Path      string // canonical, see Canonical
	Value     string
	PrevValue string // "" = not compared
	PrevIndex uint64 // 0 = not compared
	TTL       time.Duration
	HasTTL    bool // TTL 0 is a node that is due at once
	Dir       bool
	Recursive bool
	Refresh   bool
	Count     uint64 // OpAdvance
}

// Append appends the encoded command to b.
func (c *Command) Append(b []byte) []byte { return b }

// Action names what happened, as the API prints it.
type Action string

// Node is one file or directory as it was at some index. Files are immutable; a directory's children
// are reached through the View that showed it.
type Node struct {
	Path     string // absolute; "/" for the root
	Value    string // files only
	Dir      bool
	Created  uint64
	Modified uint64
	Expires  int64 // cluster clock in nanoseconds; 0 = never
}

// Event is one change of the tree. It is immutable.
type Event struct {
	Action Action
	Index  uint64 // of the store, after the event
	Stamp  int64  // cluster clock at the event, in nanoseconds: the ttl shown counts from here
	Node   *Node  // for deletes and expiries: no Value
	Prev   *Node  // nil when there was none
}

// Error is an error of the keys API: code, cause and the store index at that moment (spec section 11).
type Error struct {
	Code  int
	Cause string
	Index uint64
}

func (e *Error) Error() string { return "" }

// Message is the code's text, Status its HTTP status.
func (e *Error) Message() string { return "" }
func (e *Error) Status() int     { return 0 }

// Limits bound the event history.
type Limits struct {
	Events int // how many events are kept; 0 means DefaultEvents
	Bytes  int // and how many bytes of keys and values; 0 means DefaultBytes
}

// Store is the tree with its timers, watchers and history. Apply, Freeze, Restore and NextDue belong to
// the applier; all other methods may be called from any goroutine.
type Store struct{}

func New(l Limits) *Store { return nil }

// Apply executes one command at one index; it returns *Event or *Error, or nil for an empty
// command. Whatever is due at now expires first. Any bytes give a result (I5).
func (s *Store) Apply(index uint64, now time.Time, cmd []byte) any { return nil }

func (s *Store) Freeze() func(w io.Writer) error { return nil }
func (s *Store) Restore(r io.Reader) error       { return nil }
func (s *Store) NextDue() (time.Time, bool)      { return time.Time{}, false }

// Get looks a key up: the view holds it as of one moment, with the index of that moment (I12).
func (s *Store) Get(path string) (View, *Error) { return View{}, nil }

// View is a node and everything below it at one moment, without a lock held.
type View struct {
	Node  *Node
	Index uint64 // of the store
}

// Children yields the children of a directory seen in this view, hidden ones left out, ascending by name.
func (v View) Children(n *Node) iter.Seq[*Node] { return nil }

// Index is the present store index.
func (s *Store) Index() uint64 { return 0 }

// Watch begins a watch at path: every matching event from index since on (0: from now on), in order, none twice.
// A since that the history no longer reaches gives code 401, unless nothing at or below path changed since.
func (s *Store) Watch(path string, recursive bool, since uint64) (*Watcher, *Error) { return nil, nil }

// Watcher is a cursor on the history. Next and Close belong to one goroutine.
type Watcher struct{}

// Index is the store index at which the watch began.
func (w *Watcher) Index() uint64 { return 0 }

// ErrFellBehind ends a watcher that the history has overtaken.
var ErrFellBehind = errors.New("store: the watcher fell behind the event history")

// Next waits for the next event. It returns ErrFellBehind, or the context's error.
func (w *Watcher) Next(ctx context.Context) (*Event, error) { return nil, nil }

// Close ends the watch. It must be called.
func (w *Watcher) Close() {}

// Stats are the counters of /v2/stats/store.
type Stats struct {
	GetsSuccess, GetsFail, SetsSuccess, SetsFail, DeleteSuccess, DeleteFail                  uint64
	UpdateSuccess, UpdateFail, CreateSuccess, CreateFail                                     uint64
	CompareAndSwapSuccess, CompareAndSwapFail, CompareAndDeleteSuccess, CompareAndDeleteFail uint64
	ExpireCount, Watchers                                                                    uint64
	WatchRequests                                                                            uint64
}

func (s *Store) Stats() Stats { return Stats{} }

// Canonical is the one function that makes a key of a path: absolute, no empty, "." or ".." elements, no trailing slash (J7).
func Canonical(path string) string { return "" }
