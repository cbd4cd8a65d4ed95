package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// shortLog are the flags of members that keep as little of their log as possible.
var shortLog = append(slices.Clone(quick), "--snapshot-count=1", "--max-wals=1")

// outgrow writes at a member until the beginning of its log is gone, so that a member that lacks it
// needs a snapshot. The writes are refused, so they change nothing but the log.
func (c *cluster) outgrow(m *member) {
	c.t.Helper()
	first := m.walFiles()[0]
	m.put("/outgrown", "there")
	form := url.Values{"prevExist": {"false"}, "value": {strings.Repeat("x", 4<<20)}}
	for i := 0; slices.Contains(m.walFiles(), first); i++ {
		if a := m.do("PUT", "/v2/keys/outgrown", form); a.status != http.StatusPreconditionFailed {
			c.t.Fatalf("%d %s", a.status, a.body)
		}
		if i > 120 {
			c.t.Fatal("480 MB written, and the first segment of the log is still there")
		}
	}
}

// A transfer is killed at random bytes: the receiver dies, the link breaks, or the sender dies. At
// last the member has all keys. pitfall E9, pitfall E10, pitfall E11
func TestASnapshotArrivesThoughItsTransferIsKilled(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	c := startCluster(t, 1, append(quick, "--max-wals=1")...)
	sender := c.members[0]
	began := time.Now()
	keys := *bigKeys / 4
	fillBig(t, sender, keys, 1024)
	filled := time.Since(began)
	sender.kill()
	sender.flags = append(sender.flags, "--snapshot-count=1")
	sender.start()
	c.outgrow(sender)
	files := sender.snapFiles()
	size := fileSize(t, files[len(files)-1])

	m := c.newMember()
	c.addURL(m.reached)
	c.members = append(c.members, m)
	m.founded = c.founders()
	m.flags = append(m.flags, "--initial-cluster-state=existing")
	link := c.network.link(sender, m)
	kills := []func(){m.kill, func() { c.network.reset(m) }, sender.kill}
	killed := make(chan int64, len(kills))
	var arm func(round int)
	arm = func(round int) {
		at := rand.Int64N(size)
		link.at(at, func() {
			if round+1 < len(kills) {
				arm(round + 1) // before the next transfer begins, which may be soon
			}
			kills[round]()
			killed <- at
		})
	}
	arm(0)
	for round := range kills {
		if !m.runs() {
			m.launch()
		}
		select {
		case at := <-killed:
			t.Logf("round %d: killed after %d of %d bytes", round, at, size)
		case <-time.After(patience):
			t.Fatalf("round %d: nothing is killed, and %d bytes have passed", round, link.bytes())
		}
	}
	began = time.Now()
	sender.start()
	if !m.runs() {
		m.launch()
	}
	m.ready()
	eventually(t, "all keys", time.Minute, func() bool { return m.has(keys) })
	t.Logf("%d keys written in %v, a snapshot of %d MB sent in %v", keys, filled, size>>20, time.Since(began))

	m.serves()
	m.kill()
	m.start()
	eventually(t, "an end of what is no snapshot, and none in the making", patience,
		func() bool { return len(m.leftovers()) == 0 })
}

// has reports whether the member has a number of keys below /big.
func (m *member) has(keys int) bool {
	m.t.Helper()
	resp, err := http.Get(m.url + "/v2/keys/big?recursive=true")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK && countKeys(m.t, resp.Body) == keys
}

// A member that was cut off gets a snapshot over a slow link, while the leader writes on and makes
// more snapshots. The member catches up with one of them. A watcher that waited there all the time
// gets every event, in order. Heartbeats on that link are not held up. pitfall E6, pitfall B14,
// pitfall E12
func TestASnapshotOnASlowLinkHoldsUpNoHeartbeatAndLosesNoEvent(t *testing.T) {
	pace.NeedsLong(t)
	c := startCluster(t, 3, shortLog...)
	slow := c.followers()[0]
	others := without(c.members, slow)
	megabyte := strings.Repeat("x", 1<<20)
	for i := range 5 {
		c.leader().put(fmt.Sprint("/mb/", i), megabyte)
	}
	begin := c.leader().put("/w/0", "x").index(t)
	slow.serves()
	events := stream(t, t.Context(), fmt.Sprint(slow.url, "/v2/keys/w?wait=true&stream=true&recursive=true&waitIndex=",
		begin+1))
	cut(c.network.around(slow))
	for i := range 50 {
		c.leaderOf(others...).put(fmt.Sprint("/w/", i+1), "x")
	}
	c.outgrow(c.leaderOf(others...))

	leader := c.leaderOf(others...)
	link := c.network.link(leader, slow)
	link.slow(5 << 20)
	term, before, began := leader.term(), link.bytes(), time.Now()
	for _, l := range c.network.around(slow) {
		l.reopen()
	}
	// only the size of these writes matters
	stop := leader.everySecond(func(i int) { _, _ = putAt(leader, fmt.Sprint("/mb/", i%5), megabyte) })
	leader.put("/w/51", "x")
	for i := range 51 {
		select {
		case e, open := <-events:
			if want := fmt.Sprint("/w/", i+1); !open || e.Node.Key != want {
				t.Fatalf("event %d is %+v (open: %v), want %s", i, e, open, want)
			}
		case <-time.After(patience):
			t.Fatalf("silence after %d of 51 events", i)
		}
	}
	took := time.Since(began)
	stop()

	sent := func() (n int) {
		for _, l := range leader.log.since(0) {
			if hasAll(l, "sent a snapshot") {
				n++
			}
		}
		return n
	}
	// The leader learns that the snapshot has arrived, and counts it, while the events are already
	// on their way.
	eventually(t, "the leader has sent a snapshot", patience, func() bool { return sent() > 0 })
	t.Logf("%.1f MB passed in %v at 5 MB/s; %d snapshots were sent", float64(link.bytes()-before)/(1<<20), took, sent())
	if now := leader.term(); now != term || sent() != 1 {
		t.Errorf("term %d became %d, and %d snapshots were sent", term, now, sent())
	}
}

// everySecond calls f once a second, until stop is called.
func (m *member) everySecond(f func(i int)) (stop func()) {
	quit := make(chan struct{})
	var calls sync.WaitGroup
	calls.Go(func() {
		for i, tick := 0, time.Tick(time.Second); ; i++ {
			select {
			case <-quit:
				return
			case <-tick:
				f(i)
			}
		}
	})
	stop = sync.OnceFunc(func() { close(quit); calls.Wait() })
	m.t.Cleanup(stop)
	return stop
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
