package e2e

import (
	"flag"
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
)

// caughtUpKeys is how many keys a member has to catch up with; the campaign takes a million.
var caughtUpKeys = flag.Int("e2e.caughtup", 100_000, "keys of a snapshot that is sent")

// shortLog are the flags of members that keep as little log as they can.
var shortLog = append(slices.Clone(quick), "--snapshot-count=1", "--max-wals=1")

// outgrow writes at a member until its log no longer goes back to where it does now: who lacks that needs a snapshot. The writes are
// refused, so they change nothing but the log.
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

// A transfer is killed at random bytes: the receiver dies, the link breaks, the sender dies. In the end the member has all.
//
// pitfall E9, pitfall E10, pitfall E11
func TestASnapshotArrivesThoughItsTransferIsKilled(t *testing.T) {
	c := startCluster(t, 1, append(quick, "--max-wals=1")...)
	sender := c.members[0]
	began := time.Now()
	fillBig(t, sender, *caughtUpKeys)
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
	for round, kill := range []func(){m.kill, func() { c.network.reset(m) }, sender.kill} {
		at := rand.Int64N(size)
		killed := make(chan struct{})
		link.at(at, func() { kill(); close(killed) })
		if !m.runs() {
			m.launch()
		}
		select {
		case <-killed:
			t.Logf("round %d: killed after %d of %d bytes", round, at, size)
		case <-time.After(patience):
			t.Fatalf("round %d: only %d bytes have passed, and no %d more", round, link.bytes(), at)
		}
	}
	began = time.Now()
	sender.start()
	if !m.runs() {
		m.launch()
	}
	m.ready()
	eventually(t, "all keys", time.Minute, func() bool { return m.has(*caughtUpKeys) })
	t.Logf("%d keys written in %v, a snapshot of %d MB sent in %v", *caughtUpKeys, filled, size>>20, time.Since(began))

	m.serves()
	m.kill()
	m.start()
	if left := m.leftovers(); len(left) > 0 {
		t.Errorf("after another start there are %q", left)
	}
}

// has tells whether a member has so many keys below /big.
func (m *member) has(keys int) bool {
	m.t.Helper()
	resp, err := http.Get(m.url + "/v2/keys/big?recursive=true")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK && countKeys(m.t, resp.Body) == keys
}

// A snapshot on a slow link: the leader writes on and snapshots on meanwhile, and the member is not sent one after the other. The
// heartbeats on that link are not held up.
//
// pitfall E6, pitfall B14
func TestASlowLinkHoldsUpNeitherSnapshotNorHeartbeat(t *testing.T) {
	c := startCluster(t, 3, shortLog...)
	leader, slow := c.leader(), c.followers()[0]
	value := url.Values{"value": {strings.Repeat("x", 1<<20)}}
	for i := range 8 {
		leader.put(fmt.Sprint("/mb/", i), value.Get("value"))
	}
	cut(c.network.around(slow))
	c.outgrow(leader)
	term := c.term()
	link := c.network.link(leader, slow)
	link.slow(5 << 20)
	before := link.bytes()

	for _, l := range c.network.around(slow) {
		l.reopen()
	}
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() { // 1 MB a second
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
				_, _ = leader.attempt("PUT", fmt.Sprint("/v2/keys/mb/", i%8), value) // only its weight counts
			}
		}
	})
	began := time.Now()
	index := leader.put("/mark", "x").index(t)
	eventually(t, "the slow member has caught up", patience, func() bool {
		a, err := slow.attempt("GET", "/v2/keys/mark", nil)
		return err == nil && a.status == 200 && decode(t, a).Node.ModifiedIndex == index
	})
	took := time.Since(began)
	close(stop)
	load.Wait()

	t.Logf("%.1f MB passed in %v at 5 MB/s", float64(link.bytes()-before)/(1<<20), took)
	if now := c.term(); now != term || c.leader() != leader {
		t.Errorf("term %d became %d", term, now)
	}
}

// A watcher waits at a member that is cut off, and is given a snapshot. It hears all, in order.
//
// pitfall E12
func TestWatchersOfAMemberThatIsGivenASnapshotMissNothing(t *testing.T) {
	c := startCluster(t, 3, shortLog...)
	leader, m := c.leader(), c.followers()[0]
	begin := leader.put("/w/0", "x").index(t)
	eventually(t, "the first event", patience, func() bool {
		a, err := m.attempt("GET", "/v2/keys/w/0", nil)
		return err == nil && a.status == 200
	})
	events := stream(t, t.Context(), fmt.Sprint(m.url, "/v2/keys/w?wait=true&stream=true&recursive=true&waitIndex=", begin+1))
	cut(c.network.around(m))
	for i := range 50 {
		leader.put(fmt.Sprint("/w/", i+1), "x")
	}
	c.outgrow(leader)
	c.network.heal()
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
	if !slices.ContainsFunc(m.log.since(0), func(l string) bool { return strings.Contains(l, "snapshot") }) {
		t.Error("it was given no snapshot")
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
