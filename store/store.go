package store

import (
	"sync"
	"sync/atomic"
)

// Store is the tree with its timers, watchers and history. Apply, Freeze, Restore, NextDue and
// Digest belong to the applier; all other methods may be called from any goroutine.
type Store struct {
	// mu protects everything below. The applier writes under the lock. The others read under the
	// read lock, each a few nodes, and never hold it while they wait or walk a view. Watch,
	// WaitIndex and Watcher.Close take the lock to register and to leave.
	mu sync.RWMutex

	// The state: what Freeze writes. Every replica has the same, but for the length of the history.
	applied  uint64 // index of the last entry applied; 0 = none
	now      int64  // the cluster clock at that entry, in nanoseconds; never falls
	offset   int64  // wall clock minus cluster clock, in nanoseconds, by the last OpClock; 0 before
	index    uint64 // of the store: the index of the last change
	roots    [spacesEnd]*Node
	revision uint64   // index of the last change in the space Auth; 0 = none yet
	history  *history // history.next = index+1
	window   window   // requests with an id that are remembered
	chain    uint64   // hash of all that happened so far, see Digest

	// Derived from the state, or of this member alone.
	clock    *clock // one armed timer for every node of the tree that expires
	watchers watchers
	waiters  waiters // calls of WaitIndex
	stats    Stats   // without the gets, which are counted in gets

	// epoch is raised when a view of the tree is taken, also under the read lock. Directories and
	// pages of earlier epochs are shared from then on: the next write to one of them copies it.
	epoch atomic.Uint64
	gets  struct{ success, fail atomic.Uint64 }

	quota int64       // Limits.Tree
	full  atomic.Bool // the tree costs more than quota

	gone  uint64        // bytes that have left the tree, and histories that Restore replaced
	freed atomic.Uint64 // see Freed

	authRevision atomic.Uint64 // revision, to be read without the lock
}

// New returns an empty store.
func New(l Limits) *Store {
	s := &Store{history: newHistory(l, 1), clock: newClock(), window: window{bounds: windowBounds}, quota: l.Tree}
	for space := range s.roots {
		s.roots[space] = newDirectory("/", 0, 0)
	}
	return s
}

// Get looks up a key. The view holds it as of one moment, with the index of that moment (I12). path
// must be canonical.
func (s *Store) Get(path string) (View, *Error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n, err := s.find(Keys, path)
	if err != nil {
		s.gets.fail.Add(1)
		return View{Index: s.index}, err
	}
	s.gets.success.Add(1)
	if n.Dir {
		s.epoch.Add(1)
	}
	return View{Node: n, Index: s.index}, nil
}

// Index returns the present store index.
func (s *Store) Index() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index
}
