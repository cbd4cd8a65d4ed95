package store

import (
	"sync"
	"sync/atomic"
)

// Store is the tree with its timers, watchers and history. Apply, Freeze, Restore, NextDue and
// Digest belong to the applier; all other methods may be called from any goroutine.
type Store struct {
	// mu protects everything below: the applier writes under the lock; the others read under the
	// read lock, each for a look at a few nodes, and never while they wait or walk a view. Watch
	// and Close write the watcher index.
	mu sync.RWMutex

	// The state: what Freeze writes and every replica has alike.
	applied  uint64 // index of the last entry applied; 0 = none
	now      int64  // the cluster clock at that entry, in nanoseconds; never falls
	offset   int64  // wall clock minus cluster clock, in nanoseconds, by the last OpClock; 0 before
	index    uint64 // of the store: how many events there were
	roots    [spacesEnd]*Node
	revision uint64   // index of the last change in the space Auth; 0 = none yet
	history  *history // history.next = index+1
	window   window   // the requests with an id that are remembered
	chain    uint64   // of the digest: all that happened so far

	// Derived from it, or of this member alone.
	clock    *clock // one armed timer for every node of the tree that expires
	watchers watchers
	awaits   awaits // calls of WaitIndex
	stats    Stats  // but for what gets counts

	// epoch is raised, also under the read lock, by whoever takes a view of the tree: directories
	// and pages of earlier epochs are shared from then on and copied by the next write to them.
	epoch atomic.Uint64
	gets  struct{ success, fail atomic.Uint64 }

	quota int64       // Limits.Tree
	full  atomic.Bool // the tree costs more than that

	gone  uint64        // bytes that have left the tree, and restored histories
	freed atomic.Uint64 // see Freed

	// judged is revision, for those who ask with every request.
	judged atomic.Uint64
}

// New returns an empty store.
func New(l Limits) *Store {
	s := &Store{history: newHistory(l, 1), clock: newClock(), window: window{bounds: windowBounds}, quota: l.Tree}
	for space := range s.roots {
		s.roots[space] = newDirectory("/", 0, 0)
	}
	return s
}

// Get looks a key up: the view holds it as of one moment, with the index of that moment (I12). path
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

// Index is the present store index.
func (s *Store) Index() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index
}
