package auth

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The hash made for a client that hung up is not made again when that client comes back.
func TestAHashIsFoundAtTheNextTry(t *testing.T) {
	w := newWorld(t)
	synctest.Test(t, func(t *testing.T) {
		w.queue = newQueue()
		release := w.occupied()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		var all sync.WaitGroup
		for range 50 { // all with the same user and password
			all.Go(func() {
				if _, err := w.Hash(gone, "u", "p"); err != stillHashing {
					t.Errorf("%v", err)
				}
			})
		}
		all.Wait()
		if w.queue.Held() != 1 {
			t.Errorf("%d wait for the core", w.queue.Held())
		}
		release()
		synctest.Wait()
		defer w.occupied()()

		first, err := w.Hash(t.Context(), "u", "p")
		time.Sleep(hashMemory - time.Second)
		second, err2 := w.Hash(t.Context(), "u", "p")

		if err != nil || err2 != nil || !first.is("p") || !bytes.Equal(first.Key, second.Key) {
			t.Errorf("%v, %v", err, err2)
		}
		for _, other := range [][2]string{{"u", "q"}, {"v", "p"}, {"up", ""}} {
			if _, err := w.Hash(gone, other[0], other[1]); err != stillHashing {
				t.Errorf("%v takes the hash of another one: %v", other, err)
			}
		}
		time.Sleep(2 * time.Second)
		if _, err := w.Hash(gone, "u", "p"); err != stillHashing {
			t.Errorf("it was not forgotten: %v", err)
		}
	})
}

// remembered returns the number of hashes.
func (w *world) remembered() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.hashes)
}

func TestHashesAreBounded(t *testing.T) {
	w := newWorld(t)
	synctest.Test(t, func(t *testing.T) {
		w.queue = newQueue()
		for i := range 2 * maxHashes {
			if _, err := w.Hash(t.Context(), "u", fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		if kept := w.remembered(); kept != maxHashes {
			t.Errorf("%d hashes are remembered", kept)
		}
		time.Sleep(2 * hashMemory)
		synctest.Wait()
		if left := w.remembered(); left != 0 {
			t.Errorf("%d hashes stay behind", left)
		}

		defer w.occupied()()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		refused := 0
		for i := range 2 * maxHashes {
			if _, err := w.Hash(gone, "u", fmt.Sprint(i)); err == busy {
				refused++
			}
		}
		if w.queue.Held()+refused != 2*maxHashes || w.queue.Held() > maxQueue {
			t.Errorf("%d were refused, %d wait", refused, w.queue.Held())
		}
	})
}
