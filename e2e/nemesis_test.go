package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

var (
	nemesisSeed = flag.Uint64("e2e.seed", 0, "the faults of the nemesis follow this seed")
	nemesisTime = flag.Duration("e2e.time", 8*time.Second, "for so long")
)

// A nemesis lets one fault after the other happen to a cluster, each for a while.
type nemesis struct {
	*rand.Rand
	c       *cluster
	counted map[string]int
}

// A fault begins, and returns the function that ends it.
type fault struct {
	name  string
	begin func(n *nemesis) (end func())
}

var faults = []fault{
	{"kill -9", func(n *nemesis) func() { m := n.anyone(); m.kill(); return m.start }},
	{"kill -9 of the leader", func(n *nemesis) func() { m := n.leader(); m.kill(); return m.start }},
	{"kill -9 of all", func(n *nemesis) func() {
		for _, m := range n.c.members {
			m.signal(9)
		}
		for _, m := range n.c.members {
			m.kill()
		}
		return func() { n.c.start(n.c.members...) }
	}},
	{"SIGTERM", func(n *nemesis) func() { m := n.anyone(); m.stop(); return m.start }},
	{"SIGSTOP", func(n *nemesis) func() { m := n.anyone(); m.pause(); return m.resume }},
	{"SIGSTOP of the leader", func(n *nemesis) func() { m := n.leader(); m.pause(); return m.resume }},
	{"one alone", func(n *nemesis) func() { cut(n.c.network.around(n.anyone())); return n.c.network.heal }},
	{"the leader alone", func(n *nemesis) func() { cut(n.c.network.around(n.leader())); return n.c.network.heal }},
	{"one link", func(n *nemesis) func() { cut(n.c.network.between(n.two())); return n.c.network.heal }},
	{"one direction", func(n *nemesis) func() { n.c.network.link(n.two()).cut(); return n.c.network.heal }},
	{"a slow link", func(n *nemesis) func() { n.c.network.link(n.two()).slow(50 << 10); return n.c.network.heal }},
	{"a long link", func(n *nemesis) func() { n.c.network.link(n.two()).lag(election / 3); return n.c.network.heal }},
	{"resets", func(n *nemesis) func() { n.c.network.reset(n.anyone()); return func() {} }},
	{"nothing", func(*nemesis) func() { return func() {} }},
}

func (n *nemesis) anyone() *member { return n.c.members[n.IntN(len(n.c.members))] }

func (n *nemesis) two() (a, b *member) {
	a = n.anyone()
	others := without(n.c.members, a)
	return a, others[n.IntN(len(others))]
}

// leader returns the leader, or any member when there is none.
func (n *nemesis) leader() *member {
	for _, m := range n.c.members {
		if s, err := m.standing(); err == nil && s.State == "StateLeader" {
			return m
		}
	}
	return n.anyone()
}

// rage lets faults happen for a duration; then all is healed.
func (n *nemesis) rage(d time.Duration) {
	for deadline := time.Now().Add(d); time.Now().Before(deadline) && !n.c.t.Failed(); {
		f := faults[n.IntN(len(faults))]
		n.counted[f.name]++
		end := f.begin(n)
		<-time.After(time.Duration(n.IntN(int(2 * election))))
		end()
		<-time.After(time.Duration(n.IntN(int(election))))
	}
	n.c.network.heal()
	n.c.leader()
}

// Whatever happens to the members, an order explains the clients' calls, the watchers miss no
// event, and no key expires early. pitfall C1, pitfall G2, pitfall I1, pitfall I10
func TestHistoriesUnderARandomNemesisAreLinearizable(t *testing.T) {
	pace.NeedsLong(t)
	seed := *nemesisSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-e2e.seed=%d", seed)
	c := startCluster(t, 3, append(quick, "--snapshot-count=100")...)
	w := c.watch("/r", 4)
	r := c.record(7)
	leases := c.lease()
	n := &nemesis{rand.New(rand.NewPCG(seed, 0)), c, map[string]int{}}

	n.rage(*nemesisTime)

	calls, unknown := r.judge()
	events := w.finish()
	r.compare(events)
	granted, expired := leases.finish()
	t.Logf("%d calls, %d of unknown outcome; %d events; %d leases, %d expired; faults: %v", calls, unknown, len(events),
		granted, expired, n.counted)
	if calls < 500 || expired == 0 {
		t.Errorf("%d calls, %d leases expired: too few to tell anything", calls, expired)
	}
}

// compare checks that the watchers have seen every acknowledged write and every value that was
// read.
func (r *recorder) compare(events []seen) {
	r.t.Helper()
	told := map[uint64]string{}
	for _, e := range events {
		told[e.Node.ModifiedIndex] = e.Node.Value
	}
	for index, value := range r.values {
		if told[index] != fmt.Sprint(value) {
			r.t.Errorf("%d was written at index %d, and the watchers were told %q", value, index, told[index])
		}
	}
}

// Leases are keys that live for a second, set at all members, and their watchers.
type leases struct {
	w    *watchers
	stop func()
	set  map[string]time.Time // key → before it was set
}

func (c *cluster) lease() *leases {
	l := &leases{w: c.watch("/lease", 2), set: map[string]time.Time{}}
	members := c.running()
	var setter sync.WaitGroup
	quit := make(chan struct{})
	setter.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-quit:
				return
			case <-time.After(20 * time.Millisecond):
				key := fmt.Sprint("/lease/", i)
				l.set[key] = time.Now()
				// the attempt may have succeeded
				_, _ = members[i%3].attempt("PUT", "/v2/keys"+key, url.Values{"value": {"x"}, "ttl": {"1"}})
			}
		}
	})
	l.stop = sync.OnceFunc(func() { close(quit); setter.Wait() })
	c.t.Cleanup(l.stop)
	return l
}

// finish checks that no key has expired before its time.
func (l *leases) finish() (granted, expired int) {
	t := l.w.c.t
	t.Helper()
	l.stop()
	for _, e := range l.w.finish() {
		switch e.Action {
		case "set":
			granted++
		case "expire":
			expired++
			if early := time.Second - e.at.Sub(l.set[e.Node.Key]); early > 0 {
				t.Errorf("%s expired %v early", e.Node.Key, early)
			}
		}
	}
	return granted, expired
}
