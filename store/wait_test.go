package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// begin calls WaitIndex in a goroutine of its own, waits until it blocks, and returns the channel
// for its result.
func (s *Store) begin(ctx context.Context, n uint64) chan error {
	done := make(chan error, 1)
	go func() { done <- s.WaitIndex(ctx, n) }()
	synctest.Wait()
	return done
}

// ended reports whether the result has come.
func ended(done chan error) bool {
	synctest.Wait()
	return len(done) == 1
}

func TestAnIndexThatIsThereIsNotWaitedFor(t *testing.T) {
	s := New(Limits{})
	s.do(set("/k", "1"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for n, want := range map[uint64]error{0: nil, 1: nil, 2: context.Canceled} {
		expect(t, fmt.Sprint("WaitIndex ", n), s.WaitIndex(ctx, n), want)
	}
}

func TestAnIndexIsWaitedForAndNoEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Limits{})
		waits := map[uint64]chan error{}
		for _, n := range []uint64{3, 1, 5, 2, 4} {
			waits[n] = s.begin(t.Context(), n)
		}
		check := func(what string, index uint64) {
			t.Helper()
			for n, done := range waits {
				expect(t, fmt.Sprintf("after %s: is %d there", what, n), ended(done), n <= index)
			}
		}
		s.do(set("/k", "1"))
		check("a write", 1)
		s.do(update("/none", "x"))
		s.tick(s.now)
		check("a write that failed and a stamp", 1)
		s.do(advance(2))
		check("a change of the membership", 3)
		s.do(set("/k", "1").ttl(1))
		s.tick(s.now + 1)
		check("an expiry", 5)
		expect(t, "still waiting", len(s.waiters), 0)
	})
}

// pitfall E12
func TestAnIndexMayComeWithASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ahead := New(Limits{}), New(Limits{})
		for range 10 {
			ahead.do(set("/k", "1"))
		}
		near, far := s.begin(t.Context(), 10), s.begin(t.Context(), 11)
		if err := s.Restore(strings.NewReader(string(ahead.frozenBytes(t)))); err != nil {
			t.Fatal(err)
		}
		expect(t, "index 10 is there", ended(near), true)
		expect(t, "index 11 is there", ended(far), false)
		s.do(set("/k", "1"))
		expect(t, "index 11 is there", ended(far), true)
	})
}

func TestWhoWaitsNoLongerIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Limits{})
		var stays, goes []chan error
		ctx, cancel := context.WithCancel(t.Context())
		for n := uint64(1); n <= 50; n++ {
			stays = append(stays, s.begin(t.Context(), n))
			goes = append(goes, s.begin(ctx, n), s.begin(ctx, math.MaxUint64))
		}

		cancel()

		for _, done := range goes {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("WaitIndex: %v", err)
			}
		}
		synctest.Wait()
		expect(t, "still waiting", len(s.waiters), len(stays))
		for range stays {
			s.do(set("/k", "1"))
		}
		for i, done := range stays {
			expect(t, fmt.Sprint("index ", i+1, " is there"), ended(done), true)
		}
	})
}

func TestManyWaitWhileManyWrite(t *testing.T) {
	s := New(Limits{})
	const last = 2000
	var waits []chan error
	for n := uint64(1); n <= last; n += 7 {
		done := make(chan error, 1)
		waits = append(waits, done)
		go func() {
			err := s.WaitIndex(t.Context(), n)
			if at := s.Index(); at < n {
				err = fmt.Errorf("index %d is said to be there at %d", n, at)
			}
			done <- err
		}()
	}
	for range last {
		s.do(set("/k", "1"))
	}
	if i := slices.IndexFunc(waits, func(done chan error) bool { return <-done != nil }); i >= 0 {
		t.Errorf("wait %d failed", i)
	}
}
