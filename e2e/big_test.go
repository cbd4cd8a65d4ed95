package e2e

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// bigKeys is how many keys a big tree has; the campaign takes a million.
var bigKeys = flag.Int("e2e.keys", 20_000, "keys of the big tree")

// Other programs share this machine: of so many rounds one must keep within the bound.
const rounds = 4

func TestARecursiveGetOfEverythingHoldsUpNoWrite(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	fillBig(t, m, *bigKeys)

	var slowest time.Duration
	for range rounds {
		slowest = slowestWrite(t, m, func() {
			resp, err := http.Get(m.url + "/v2/keys/big?recursive=true")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if n := countKeys(t, resp.Body); n != *bigKeys {
				t.Fatalf("%d of %d keys", n, *bigKeys)
			}
		})
		if slowest <= 50*time.Millisecond {
			return
		}
	}
	t.Errorf("a write took %v meanwhile", slowest)
}

func TestASnapshotHoldsUpNoWrite(t *testing.T) {
	t.Parallel()
	m := startMember(t, "--snapshot-count=500")
	fillBig(t, m, *bigKeys)

	var slowest time.Duration
	for range rounds {
		since := m.log.count()
		slowest = slowestWrite(t, m, func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var load sync.WaitGroup
			for c := range 8 {
				load.Go(func() { putUntil(ctx, m, c) })
			}
			eventually(t, "a snapshot", 5*time.Minute, func() bool { // of a million keys after as much log
				return slices.ContainsFunc(m.log.since(since), func(l string) bool { return strings.Contains(l, "wrote a snapshot") })
			})
			cancel()
			load.Wait()
		})
		if slowest <= 100*time.Millisecond {
			return
		}
	}
	t.Errorf("a write took %v meanwhile", slowest)
}

// fillBig makes a tree of keys of 256 bytes in a thousand directories.
func fillBig(t *testing.T, m *member, keys int) {
	t.Helper()
	const clients = 64
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for i := c; i < keys; i += clients {
				a, err := ask(t.Context(), "PUT", bigKey(m, i), url.Values{"value": {bigValue}})
				if err != nil || a.status != http.StatusCreated {
					t.Errorf("key %d: status %d, %v", i, a.status, err)
					return
				}
			}
		})
	}
	all.Wait()
}

var bigValue = strings.Repeat("x", 256)

func bigKey(m *member, i int) string {
	return fmt.Sprintf("%s/v2/keys/big/d%d/k%d", m.url, i%1000, i)
}

// putUntil writes to the big tree until the context ends.
func putUntil(ctx context.Context, m *member, seed int) {
	for i := seed; ctx.Err() == nil; i++ {
		_, _ = ask(ctx, "PUT", bigKey(m, i%*bigKeys), url.Values{"value": {bigValue}}) // only their weight counts
	}
}

// slowestWrite is the longest that one write took of those made one after the other while f ran.
func slowestWrite(t *testing.T, m *member, f func()) (slowest time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var probe sync.WaitGroup
	probe.Go(func() {
		for ctx.Err() == nil {
			begin := time.Now()
			if _, err := ask(context.Background(), "PUT", m.url+"/v2/keys/probe", url.Values{"value": {"x"}}); err != nil {
				return // the test is over, or f fails as well
			}
			slowest = max(slowest, time.Since(begin))
		}
	})
	f()
	cancel()
	probe.Wait()
	t.Logf("the slowest write took %v", slowest)
	return slowest
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
