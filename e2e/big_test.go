package e2e

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// bigKeys is how many keys a big tree has; a full measurement takes a million.
var bigKeys = flag.Int("e2e.keys", 20_000, "keys of the big tree")

func TestABigTreeHoldsUpNoWrite(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	m := startMember(t, "--snapshot-count=500")
	fillBig(t, m, *bigKeys, 256)
	t.Run("a recursive get of everything", func(t *testing.T) {
		m.isNotHeldUp(t, 50*time.Millisecond, func() {
			resp, err := http.Get(m.url + "/v2/keys/big?recursive=true")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if n := countKeys(t, resp.Body); n != *bigKeys {
				t.Fatalf("%d of %d keys", n, *bigKeys)
			}
		})
	})
	t.Run("a snapshot", func(t *testing.T) {
		m.isNotHeldUp(t, 100*time.Millisecond, func() {
			since := m.log.count()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var load sync.WaitGroup
			for c := range 8 {
				load.Go(func() { putUntil(ctx, m, c) })
			}
			eventually(t, "a snapshot", 5*time.Minute, func() bool { // of a million keys after as much log
				return m.log.has(since, "wrote a snapshot")
			})
			cancel()
			load.Wait()
		})
	})
}

// rounds is the number of tries, one of which must be good: other programs may use this machine.
const rounds = 4

// isNotHeldUp checks that, while f runs, no write takes longer than a bound, or longer than twice
// what a write takes at the same time at an idle member. Where the machine delays both, f is not
// the cause.
func (m *member) isNotHeldUp(t *testing.T, bound time.Duration, f func()) {
	t.Helper()
	other := startMember(t)
	var here, there time.Duration
	for range rounds {
		stopHere, stopThere := m.probeWrites(), other.probeWrites()
		f()
		here, there = stopHere(), stopThere()
		t.Logf("the slowest write took %v, and %v where nothing happens", here, there)
		if here <= max(bound, 2*there) {
			return
		}
	}
	t.Errorf("a write took %v meanwhile, and %v where nothing happens", here, there)
}

// fillBig makes keys with values of size bytes, in a thousand directories.
func fillBig(t *testing.T, m *member, keys, size int) {
	t.Helper()
	fillMore(t, m, 0, keys, size)
}

// fillMore makes the keys of a big tree in a range of numbers.
func fillMore(t *testing.T, m *member, from, to, size int) {
	t.Helper()
	const clients = 64
	value := url.Values{"value": {strings.Repeat("x", size)}}
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for i := from + c; i < to; i += clients {
				a, err := ask(t.Context(), "PUT", bigKey(m, i), value)
				if err != nil || a.status != http.StatusCreated {
					t.Errorf("key %d: status %d, %v", i, a.status, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func bigKey(m *member, i int) string {
	return fmt.Sprintf("%s/v2/keys/big/d%d/k%d", m.url, i%1000, i)
}

// putUntil writes to the big tree until the context ends.
func putUntil(ctx context.Context, m *member, seed int) {
	value := url.Values{"value": {strings.Repeat("x", 256)}}
	for i := seed; ctx.Err() == nil; i++ {
		_, _ = ask(ctx, "PUT", bigKey(m, i%*bigKeys), value) // only their number and size matter
	}
}

// probeWrites makes one write after the other, until stop is called. stop returns the time of the
// slowest write.
func (m *member) probeWrites() (stop func() time.Duration) {
	ctx, cancel := context.WithCancel(m.t.Context())
	var slowest time.Duration
	var probe sync.WaitGroup
	probe.Go(func() {
		for ctx.Err() == nil {
			begin := time.Now()
			if _, err := ask(context.Background(), "PUT", m.url+"/v2/keys/probe",
				url.Values{"value": {"x"}}); err != nil {
				return // the test is over, or fails as well
			}
			slowest = max(slowest, time.Since(begin))
		}
	})
	return func() time.Duration {
		cancel()
		probe.Wait()
		return slowest
	}
}

// countKeys counts the files in a listing, without keeping it.
func countKeys(t *testing.T, r io.Reader) (n int) {
	t.Helper()
	const mark = `"value":`
	buf := make([]byte, 1<<16)
	rest := ""
	for {
		k, err := r.Read(buf)
		text := rest + string(buf[:k])
		n += strings.Count(text, mark)
		rest = text[max(0, len(text)-len(mark)+1):]
		if err == io.EOF {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
