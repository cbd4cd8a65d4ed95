package store

import (
	"container/heap"
	"context"
)

// WaitIndex returns when the store index is n or more: a client that knows the index of a write
// finds that write here. It returns the context's error when that is done before. Reads after it
// see the index, also one that a Restore brought.
func (s *Store) WaitIndex(ctx context.Context, n uint64) error {
	if s.Index() >= n {
		return nil
	}
	w := s.await(n)
	if w == nil {
		return nil
	}
	select {
	case <-w.reached:
		return nil
	case <-ctx.Done():
		s.forget(w)
		return ctx.Err()
	}
}

// await is one call of WaitIndex.
type await struct {
	index   uint64
	reached chan struct{} // closed when the store is there
	place   int           // in the heap, under store.mu; -1 when it has left
}

// await registers a call for index n, nil when there is nothing to wait for.
func (s *Store) await(n uint64) *await {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index >= n {
		return nil
	}
	w := &await{index: n, reached: make(chan struct{})}
	heap.Push(&s.awaits, w)
	return w
}

// forget takes a call away that waits no longer.
func (s *Store) forget(w *await) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.place >= 0 {
		heap.Remove(&s.awaits, w.place)
	}
}

// arrive ends the calls that wait for the present index or less. It looks at no others, so that it
// costs nothing how many wait for an index far away. s.mu must be held.
func (s *Store) arrive() {
	for len(s.awaits) > 0 && s.awaits[0].index <= s.index {
		close(heap.Pop(&s.awaits).(*await).reached)
	}
}

// awaits is a heap: the lowest index comes first.
type awaits []*await

func (a awaits) Len() int           { return len(a) }
func (a awaits) Less(i, j int) bool { return a[i].index < a[j].index }

func (a awaits) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i, j
}

// Push appends an *await, as container/heap asks.
func (a *awaits) Push(w any) {
	w.(*await).place = len(*a)
	*a = append(*a, w.(*await))
}

// Pop takes the last one away.
func (a *awaits) Pop() any {
	last := len(*a) - 1
	w := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	w.place = -1
	return w
}
