package e2e

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// What members promise that are far apart, on links that delay and have no other bound. An ordinary
// run uses smaller figures:
//
//	go test ./e2e -run 'Far|Strain' -v -long -e2e.wan -timeout 0
var wan = flag.Bool("e2e.wan", false,
	"the full figures of members that are far apart or under strain: it takes minutes")

// figure returns the figure for an ordinary run, or the full one.
func figure[T any](ordinary, full T) T {
	if *wan {
		return full
	}
	return ordinary
}

// apart sets the round trip between every two members, or between some members and all others.
func (c *cluster) apart(rtt time.Duration, some ...*member) {
	for _, a := range c.members {
		for _, b := range without(c.members, a) {
			if len(some) == 0 || slices.Contains(some, a) || slices.Contains(some, b) {
				c.network.link(a, b).lag(rtt / 2)
			}
		}
	}
}

// A body is a form that is encoded once, as many clients send it.
func body(size int) string { return "value=" + strings.Repeat("x", size) }

// write sends a form that is encoded already. It does not read the answer, and returns an error
// unless the status is a success.
func write(m *member, key, form string) error { return writeFor(context.Background(), m, key, form) }

// writeFor is write by a client that hangs up when the context ends.
func writeFor(ctx context.Context, m *member, key, form string) error {
	req, err := http.NewRequestWithContext(ctx, "PUT", m.url+"/v2/keys"+key+"?noValueOnSuccess=true",
		strings.NewReader(form))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode > 201 {
		b, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%d %s", resp.StatusCode, b)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// Writers are clients that write at one member without a pause. stop ends each of them after its
// present write.
type writers struct {
	m    *member
	done atomic.Int64 // bytes that were acknowledged
	stop func()
}

// writers starts clients that each write values of a size, in bytes, to a key of their own.
func (m *member) writers(clients, size int) *writers {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{m: m}
	form := body(size)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for key := fmt.Sprint("/writers/", size, "-", i); ctx.Err() == nil; {
				if write(m, key, form) == nil { // the test looks at what succeeds
					w.done.Add(int64(size))
				}
			}
		})
	}
	w.stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	m.t.Cleanup(w.stop)
	return w
}

// rate measures how many bytes a second are acknowledged, from now on for a duration.
func (w *writers) rate(d time.Duration) float64 {
	before, began := w.done.Load(), time.Now()
	<-time.After(d)
	return float64(w.done.Load()-before) / time.Since(began).Seconds()
}

// paced begins a small write at every interval, whether or not the last one is answered. stop ends
// that and returns how long each write took, the shortest first. A write that failed counts as
// infinitely long.
func (m *member) paced(every time.Duration) (stop func() []time.Duration) {
	var mu sync.Mutex
	var took []time.Duration
	var all sync.WaitGroup
	quit := make(chan struct{})
	form := body(100)
	one := func(key string) {
		began := time.Now()
		err := write(m, key, form)
		mu.Lock()
		defer mu.Unlock()
		if took = append(took, time.Since(began)); err != nil {
			took[len(took)-1] = math.MaxInt64
		}
	}
	all.Go(func() {
		for i, tick := 0, time.Tick(every); ; i++ {
			all.Go(func() { one(fmt.Sprint("/paced/", i%64)) })
			select {
			case <-quit:
				return
			case <-tick:
			}
		}
	})
	return func() []time.Duration {
		close(quit)
		all.Wait()
		slices.Sort(took)
		return took
	}
}

// pitfall L7
func TestMembersFarApart(t *testing.T) {
	pace.NeedsLong(t)
	rtt := figure(100*time.Millisecond, 200*time.Millisecond)
	c := newCluster(t, 3, fmt.Sprint("--heartbeat-interval=", rtt.Milliseconds()*3/2), fmt.Sprint("--election-timeout=",
		rtt.Milliseconds()*15))
	c.apart(rtt) // before there are connections: no link becomes longer by itself
	c.start(c.members...)
	t.Run("a few clients are held up by the round trip only", func(t *testing.T) { fewFillALink(t, c, rtt) })
	t.Run("a big write holds up nobody", func(t *testing.T) { aBigWriteHoldsUpNobody(t, c) })
	t.Run("many clients are held up by the machine", func(t *testing.T) { manyFillALink(t, c, rtt) })
}

// fewFillALink expects the highest rate that clients can reach with one write on its way each.
func fewFillALink(t *testing.T, c *cluster, rtt time.Duration) {
	const clients, size = 32, 16 << 10
	allowed := clients * size / rtt.Seconds()
	share := figure(0.7, 0.95) // other programs and tests add some milliseconds to each round trip
	calmly(t, func() (wrong string) {
		got := c.leader().fastest(clients, size, figure(1, 3))
		t.Logf("%d clients, %d KiB, %v: %.2f MB/s of %.2f: %.2f", clients, size>>10, rtt, got/1e6,
			allowed/1e6, got/allowed)
		if got < share*allowed {
			wrong = fmt.Sprintf("%.2f MB/s of %.2f", got/1e6, allowed/1e6)
		}
		return wrong
	})
}

// manyFillALink expects the same of more clients, or what this machine can do without a delay. That
// is measured last, because a link that becomes shorter disturbs nothing.
func manyFillALink(t *testing.T, c *cluster, rtt time.Duration) {
	const clients, size = 256, 64 << 10
	share := figure(0.25, 0.7) // the two are measured one after the other, and other programs come and go
	allowed := clients * size / rtt.Seconds()
	got := c.leader().fastest(clients, size, 2)
	c.network.heal()
	limit := c.leader().fastest(clients, size, 1)
	t.Logf("%d clients, %d KiB, %v: %.2f MB/s; the round trip allows %.2f, this machine %.2f", clients, size>>10, rtt,
		got/1e6, allowed/1e6, limit/1e6)
	if got < share*min(allowed, limit) {
		t.Errorf("%.2f MB/s of %.2f", got/1e6, min(allowed, limit)/1e6)
	}
}

// fastest returns the highest rate of some rounds, once the window has reached its size.
func (m *member) fastest(clients, size, rounds int) (rate float64) {
	m.t.Helper()
	w := m.writers(clients, size)
	defer w.stop()
	w.rate(figure(time.Second, 5*time.Second))
	for range rounds {
		rate = max(rate, w.rate(figure(time.Second, 5*time.Second)))
	}
	return rate
}

func aBigWriteHoldsUpNobody(t *testing.T, c *cluster) {
	const size, small = 8 << 20, 300 * time.Millisecond
	bound := figure(time.Second, 600*time.Millisecond) // on busy cores, copying 8 MiB takes more than the links
	form := body(size)
	leader := c.leader()
	calmly(t, func() (wrong string) {
		term := c.term()
		stop := leader.paced(10 * time.Millisecond)
		began := time.Now()
		err := write(leader, "/big", form)
		took := time.Since(began)
		others := stop()
		median, now := others[len(others)/2], c.term()
		t.Logf("8 MiB in %v, %d small ones meanwhile in %v (median), %v (the slowest); term %d, then %d", took,
			len(others), median,
			others[len(others)-1], term, now)
		if err != nil || took > bound || median > small || now != term {
			wrong = fmt.Sprintf("8 MiB in %v (%v), small ones in %v, term %d became %d", took, err, median, term, now)
		}
		return wrong
	})
}

// fill4K overwrites the same keys with values of 4 KB, as fast as 64 clients can, until the given
// number of bytes is written.
func (m *member) fill4K(bytes, keys int) {
	m.t.Helper()
	const size, clients = 4 << 10, 64
	form := body(size)
	var next atomic.Int64
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for i := int(next.Add(1)); i <= bytes/size; i = int(next.Add(1)) {
				if err := write(m, fmt.Sprintf("/fill/%d/%d", i%keys%100, i%keys), form); err != nil {
					m.t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// applied returns the index of the last entry that a member says it has applied; 0 when it does not
// answer.
func (m *member) applied() (index uint64) {
	if a, err := m.attempt("GET", "/v2/keys/", nil); err == nil && a.status == http.StatusOK {
		_, _ = fmt.Sscan(a.header.Get("X-Raft-Index"), &index) // 0 when it has none
	}
	return index
}

// Tests in raft and http/peer show that sending a log does not take a round trip for each message.
func TestAFarFollowerCatchesUpWithTheLog(t *testing.T) {
	pace.NeedsLong(t)
	bytes := figure(30, 300) << 20
	catchesUp(t, bytes, bytes>>12, figure(6*time.Second, 5*time.Second), "--snapshot-count=10000000")
}

// The log that it lacks is longer than the whole state, so the state is sent instead.
func TestAFarFollowerCatchesUpWithASnapshot(t *testing.T) {
	pace.NeedsLong(t)
	// as etcd has it: the history is a part of the state
	catchesUp(t, figure(48, 400)<<20, figure(4, 160)<<20>>12, figure(6*time.Second, 5*time.Second),
		"--event-history=1000",
		figure("--snapshot-count=500", "--snapshot-count=10000"))
}

// catchesUp starts a follower, 100 ms away, that has missed writes: bytes of log, over a number of
// keys. It must have everything within bound, or within three times the time that this machine took
// to write it.
func catchesUp(t *testing.T, bytes, keys int, bound time.Duration, flags ...string) {
	t.Helper()
	c := startCluster(t, 3, flags...)
	behind := c.followers()[0]
	behind.kill()
	began := time.Now()
	c.leader().fill4K(bytes, keys)
	bound = max(bound, 3*time.Since(began))
	c.apart(100*time.Millisecond, behind)
	want := c.leader().applied()
	before := c.network.received(behind)
	began = time.Now()
	behind.launch()
	eventually(t, "it has caught up", 10*bound, func() bool { return behind.applied() >= want })
	took, sent := time.Since(began), c.network.received(behind)-before
	t.Logf("%d MB of log over a state of %d MB, 100 ms: %v, %.1f MB/s; %.1f MB were sent", bytes>>20, keys>>8, took,
		float64(bytes)/1e6/took.Seconds(), float64(sent)/1e6)
	if took > bound {
		t.Errorf("it took %v", took)
	}
	if keys<<12 < bytes && sent > int64(bytes) {
		t.Errorf("the log was sent, which is longer than the whole state")
	}
}

// A new member gets its vote although it never has everything that is committed at the leader.
// pitfall D8
func TestAFarMemberJoinsUnderLoad(t *testing.T) {
	pace.NeedsLong(t)
	const bound = 3 * time.Second
	c := startCluster(t, 3, quick...)
	stop := c.leader().paced(5 * time.Millisecond) // 200 writes a second
	defer stop()
	calmly(t, func() (wrong string) {
		m := c.newMember()
		c.addURL(m.reached)
		c.members = append(c.members, m)
		m.founded = c.founders()
		m.flags = append(m.flags, "--initial-cluster-state=existing")
		c.apart(100*time.Millisecond, m)
		began := time.Now()
		m.launch()
		eventually(t, "it has a vote and answers its clients", patience, func() bool {
			a, err := m.attempt("GET", "/v2/keys/?quorum=true", nil)
			return err == nil && a.status == http.StatusOK
		})
		took := time.Since(began)
		t.Logf("it answers after %v", took)
		if took > bound {
			wrong = fmt.Sprint("it answered after ", took)
		}
		return wrong
	})
}
