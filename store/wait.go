package store

import (
	"container/heap"
	"context"
)

// WaitIndex returns when the store index is n or more, whether Apply or Restore has brought it
// there: a read after it sees the write of index n. It returns the context's error when the context
// is done first.
func (s *Store) WaitIndex(ctx context.Context, n uint64) error {
	if s.Index() >= n {
		return nil
	}
	w := s.register(n)
	if w == nil {
		return nil
	}
	select {
	case <-w.reached:
		return nil
	case <-ctx.Done():
		s.cancel(w)
		return ctx.Err()
	}
}

// waiter is one call of WaitIndex.
type waiter struct {
	index   uint64
	reached chan struct{} // closed when the store has reached it
	place   int           // in the heap, under store.mu; -1 when it is not there any more
}

// register returns a new waiter for index n; nil when there is nothing to wait for.
func (s *Store) register(n uint64) *waiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index >= n {
		return nil
	}
	w := &waiter{index: n, reached: make(chan struct{})}
	heap.Push(&s.waiters, w)
	return w
}

// cancel removes a waiter.
func (s *Store) cancel(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.place >= 0 {
		heap.Remove(&s.waiters, w.place)
	}
}

// wakeWaiters ends the calls that wait for the present index or less. It looks at no others: calls
// that wait for a later index cost it nothing. s.mu must be held.
func (s *Store) wakeWaiters() {
	for len(s.waiters) > 0 && s.waiters[0].index <= s.index {
		close(heap.Pop(&s.waiters).(*waiter).reached)
	}
}

// waiters are a heap: the lowest index comes first.
type waiters []*waiter

func (a waiters) Len() int           { return len(a) }
func (a waiters) Less(i, j int) bool { return a[i].index < a[j].index }

func (a waiters) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i, j
}

// Push appends a *waiter, as container/heap asks.
func (a *waiters) Push(w any) {
	w.(*waiter).place = len(*a)
	*a = append(*a, w.(*waiter))
}

// Pop removes the last one.
func (a *waiters) Pop() any {
	last := len(*a) - 1
	w := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	w.place = -1
	return w
}
