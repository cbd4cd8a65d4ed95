package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// Ten times members die while clients write: a follower, the leader, or all at once. pitfall B9,
// pitfall H15
func TestKilledMembersLoseNothingAcknowledged(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	c := startCluster(t, 3, append(quick, "--snapshot-count=100")...)
	l := c.traffic(6)
	var gaps []time.Duration
	for round := range 10 {
		l.flows(50)
		l.longestGap()
		switch round % 5 {
		case 0, 1:
			c.bury(l, c.followers()[0])
		case 2, 3:
			c.bury(l, c.leader())
			gaps = append(gaps, l.longestGap())
		default:
			c.power()
			l.flows(1)
		}
	}
	l.check()
	t.Logf("%d writes acknowledged, %d tried twice, %d in vain; without a leader none for %v", len(l.acked), l.retried,
		len(l.failed), gaps)
}

// bury kills a member, lets the others continue without it, and starts it again.
func (c *cluster) bury(l *traffic, m *member) {
	c.t.Helper()
	m.kill()
	l.flows(20)
	m.start()
}

// power kills all members at the same moment, and starts them again.
func (c *cluster) power() {
	c.t.Helper()
	for _, m := range c.members {
		m.signal(9)
	}
	for _, m := range c.members {
		m.kill()
	}
	c.start(c.members...)
}

// pitfall F8
func TestAClusterThatStartsAgainAtOnceServesWithinThreeElections(t *testing.T) {
	bounded := measured(t)
	c := startCluster(t, 3, quick...)
	index := c.members[0].put("/k", "v").index(t)
	calmly(t, func() (wrong string) {
		term := c.term()
		c.power()

		began := time.Now()
		c.members[1].serves()

		took := time.Since(began)
		if now := c.term(); now > term+3 {
			wrong = fmt.Sprintf("term %d became %d", term, now)
		}
		t.Logf("a write was acknowledged %v after all were ready and knew a leader", took)
		for _, m := range c.members {
			if n := decode(t, m.get("/v2/keys/k?quorum=true")).Node; n.Value != "v" || n.ModifiedIndex != index {
				t.Errorf("%s: %+v, want it at %d", m.name, n, index)
			}
		}
		if bounded && took > 3*election {
			wrong = fmt.Sprint("it took ", took)
		}
		return wrong
	})
}

// With the default timing, as operators have it: a leader that is asked to end hands its office
// over, and no client waits for an election.
func TestARollingRestartFailsNoRequest(t *testing.T) {
	bounded := measured(t)
	c := startCluster(t, 3)
	l := c.trafficThatWaits(patience, 16) // some of the clients may wait for the member that starts
	l.flows(100)
	calmly(t, func() (wrong string) {
		var gap, wait time.Duration
		l.longestGap()
		for _, m := range append(c.followers(), c.leader()) {
			if status := m.stop(); status != 0 {
				t.Errorf("%s ended with status %d", m.name, status)
			}
			gap = max(gap, l.longestGap())
			m.start()
			m.serves()
			// clients wait for a member that starts, although another one could serve them
			wait = max(wait, l.longestGap())
		}
		t.Logf("the longest time without a write was %v while a member stopped, %v while one started", gap, wait)
		if bounded && gap > time.Second { // an election takes longer
			wrong = fmt.Sprintf("no write was acknowledged for %v while a member stopped", gap)
		}
		return wrong
	})
	l.check()
	l.report()
	for _, f := range l.failed {
		t.Errorf("failed twice: %s", f)
	}
}

// How long no client is served after the leader has died, with the default timing. The best of ten
// shows that the broken connections are enough to notice the death, because an election timeout is
// at least a second. On a busy machine the other nine may be slower.
func TestFailoverIsFast(t *testing.T) {
	pace.NeedsLong(t)
	c := startCluster(t, 3)
	var took []time.Duration
	for i := range 10 {
		leader := c.leader()
		other := c.followers()[i%2]
		leader.kill()
		took = append(took, other.untilItServes())
		leader.start()
		leader.serves()
	}
	slices.Sort(took)
	t.Logf("from kill -9 of the leader to the next acknowledged write: median %v, of %v", took[len(took)/2], took)
	if took[0] > time.Second {
		t.Errorf("the best is %v", took[0])
	}
}

// untilItServes returns the time until a write is acknowledged. A single write may wait for long,
// so new ones are sent all the time.
func (m *member) untilItServes() time.Duration {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	began, served := time.Now(), make(chan time.Duration, 1)
	for tick := time.Tick(5 * time.Millisecond); ; <-tick {
		go func() {
			if a, err := ask(ctx, "PUT", m.url+"/v2/keys/until", url.Values{"value": {"x"}}); err == nil &&
				a.status <= 201 {
				select {
				case served <- time.Since(began):
				default:
				}
			}
		}()
		select {
		case took := <-served:
			return took
		default:
			if ctx.Err() != nil {
				m.t.Fatalf("%s serves no write", m.name)
			}
		}
	}
}

// pitfall C8
func TestValuesNeverGoBackAtAMemberThatRestarts(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	c := startCluster(t, 3, append(quick, "--snapshot-count=50")...)
	reader := c.followers()[0]
	writers := without(c.members, reader)
	writers[0].put("/n", "0")
	eventually(t, "the first value", patience, func() bool {
		a, err := reader.attempt("GET", "/v2/keys/n", nil)
		return err == nil && a.status == 200
	})
	ctx, cancel := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	reading.Go(func() { readOnwards(ctx, reader) })
	for n := 1; n <= 400; n++ {
		count(t, writers, n)
		switch n % 100 {
		case 25:
			reader.kill()
		case 50:
			reader.start()
		}
	}
	cancel()
	reading.Wait()
}

// count writes n over n-1. A try of unknown outcome that is applied late is refused, so the values
// never go back.
func count(t *testing.T, members []*member, n int) {
	t.Helper()
	form := url.Values{"value": {fmt.Sprint(n)}, "prevValue": {fmt.Sprint(n - 1)}}
	eventually(t, fmt.Sprint("value ", n), patience, func() bool {
		a, err := members[rand.IntN(len(members))].attempt("PUT", "/v2/keys/n", form)
		return err == nil && (a.status == 200 || strings.Contains(a.body, fmt.Sprintf("!= %d]", n)))
	})
}

func TestAPausedLeaderIsReplacedAndHarmsNobodyAfterwards(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	l := c.traffic(4)
	r := c.record(4)
	l.flows(50)
	old, term := c.leader(), c.term()
	others := without(c.members, old)

	old.pause()
	l.aim(others)
	l.longestGap()
	c.leaderOf(others...)
	l.flows(100)
	gap := l.longestGap()
	old.resume()

	l.aim(c.members)
	l.flows(50)
	leader := c.leader()
	after := c.term()
	l.check()
	calls, unknown := r.judge()
	t.Logf("no write was acknowledged for %v; %d calls recorded, %d of unknown outcome", gap, calls, unknown)
	t.Logf("%s leads in term %d; %s led in term %d", leader.name, after, old.name, term)
}

// pitfall A14
func TestAFollowerThatIsPausedTenTimesUnseatsNobody(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	c.members[0].put("/k", "v")
	calmly(t, func() (wrong string) {
		m, leader, term := c.followers()[0], c.leader(), c.term()
		for i := range 10 {
			m.pause()
			<-time.After(election * time.Duration(3+i%3) / 4) // alternately shorter and longer than an election timeout
			m.resume()
			m.serves()
		}
		if now := c.term(); now != term || c.leader() != leader {
			wrong = fmt.Sprintf("term %d became %d", term, now)
		}
		return wrong
	})
}
