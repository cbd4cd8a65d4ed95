package e2e

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// pitfall C1
func TestALeaderAloneNeitherAcknowledgesNorReads(t *testing.T) {
	bounded := measured(t)
	c := startCluster(t, 3, quick...)
	calmly(t, func() string { return cutOffTheLeader(c, bounded) })
}

func cutOffTheLeader(c *cluster, bounded bool) (wrong string) {
	t := c.t
	c.members[0].put("/k", "before")
	old := c.leader()
	others := without(c.members, old)

	cut(c.network.around(old))
	began := time.Now()
	answered := old.probe(4 * election)
	eventually(t, "it knows that it does not lead", patience, func() bool {
		s, err := old.standing()
		return err == nil && s.State != "StateLeader"
	})
	down := time.Since(began)
	leader := c.leaderOf(others...)
	leader.serves()
	elected := time.Since(began)
	for _, a := range answered() {
		t.Errorf("asked after it was cut off, it answers %d %s", a.status, a.body)
	}
	leader.put("/k", "after")
	term := leader.term()

	c.network.heal()
	eventually(t, "it follows", patience, func() bool {
		a, err := old.attempt("GET", "/v2/keys/k?quorum=true", nil)
		return err == nil && a.status == 200 && decode(t, a).Node.Value == "after"
	})
	t.Logf("the old leader stepped down after %v, the next one served after %v", down, elected)
	if now := c.term(); now != term || c.leader() != leader {
		wrong = fmt.Sprintf("it came back, and term %d became %d", term, now)
	}
	if bounded && (down > 2*election+election/2 || elected > 4*election) {
		wrong += fmt.Sprintf(" down after %v and replaced after %v: that is too late", down, elected)
	}
	return wrong
}

// probe writes to a member and reads with a quorum from it, for a while. The function it returns
// waits for the end and returns the successful answers.
func (m *member) probe(d time.Duration) func() []answer {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	var probes sync.WaitGroup
	var mu sync.Mutex
	var answered []answer
	probe := func(method, path string, form url.Values) {
		if a, err := ask(ctx, method, m.url+path, form); err == nil && a.status < 500 {
			mu.Lock()
			answered = append(answered, a)
			mu.Unlock()
		}
	}
	probes.Go(func() {
		for tick := time.Tick(heartbeat); ctx.Err() == nil; <-tick {
			probes.Go(func() { probe("PUT", "/v2/keys/alone", url.Values{"value": {"x"}}) })
			probes.Go(func() { probe("GET", "/v2/keys/k?quorum=true", nil) })
		}
	})
	return func() []answer {
		<-ctx.Done()
		cancel()
		probes.Wait()
		return answered
	}
}

// A topology cuts some links of a cluster; its leader still reaches a majority.
type topology struct {
	name string
	cut  func(n *network, leader *member, m []*member) // m: the other members
}

// pitfall F1
func TestALeaderThatReachesAMajorityStays(t *testing.T) {
	pace.NeedsLong(t)
	t.Run("three", func(t *testing.T) {
		theLeaderStays(t, 3, []topology{
			{"its link to one", func(n *network, l *member, m []*member) { cut(n.between(l, m[0])) }},
			{"the link of the two others", func(n *network, l *member, m []*member) { cut(n.between(m[0], m[1])) }},
		})
	})
	t.Run("five", func(t *testing.T) {
		theLeaderStays(t, 5, []topology{
			{"it is the bridge", func(n *network, l *member, m []*member) { cutApart(n, m[:2], m[2:]) }},
			{"it is on one side of the bridge",
				func(n *network, l *member, m []*member) { cutApart(n, []*member{l, m[0]}, m[2:]) }},
			{"a ring", func(n *network, l *member, m []*member) {
				cutApart(n, []*member{l}, m[2:])
				cutApart(n, m[:1], m[1:3])
				cutApart(n, m[1:2], m[3:])
			}},
			{"a star, and it is the centre", func(n *network, l *member, m []*member) {
				for i := range m {
					cutApart(n, m[i:i+1], m[i+1:])
				}
			}},
		})
	})
}

// cutApart cuts all links between members of two groups.
func cutApart(n *network, a, b []*member) {
	for _, x := range a {
		for _, y := range b {
			cut(n.between(x, y))
		}
	}
}

func theLeaderStays(t *testing.T, size int, topologies []topology) {
	t.Helper()
	c := startCluster(t, size, quick...)
	l := c.traffic(2)
	for _, topology := range topologies {
		calmly(t, func() (wrong string) {
			leader, term := c.leader(), c.term()
			l.aim([]*member{leader})
			l.flows(20)
			l.longestGap()

			topology.cut(c.network, leader, without(c.members, leader))
			<-time.After(2 * election)
			l.flows(20)

			gap, now := l.longestGap(), c.term()
			s, err := leader.standing()
			c.network.heal()
			t.Logf("%s: no write for %v at most", topology.name, gap)
			if now != term || err != nil || s.State != "StateLeader" {
				wrong = fmt.Sprintf("%s: term %d became %d; the leader is %s, %v", topology.name, term, now,
					s.State, err)
			}
			return wrong
		})
	}
	c.leader()
	l.check()
}

// The leader of five reaches one member, which two others reach, and the fifth is alone. Heartbeats
// of a leader without a majority must not keep that one member from electing another leader.
// pitfall F2
func TestALeaderThatReachesOneMemberOnlyIsReplaced(t *testing.T) {
	bounded := measured(t)
	c := startCluster(t, 5, quick...)
	old := c.leader()
	m := without(c.members, old)
	calmly(t, func() (wrong string) {
		cutApart(c.network, []*member{old}, m[1:])
		cutApart(c.network, m[:3], m[3:])
		began := time.Now()
		leader := c.leaderOf(m[:3]...)
		took := time.Since(began)
		leader.serves()
		c.network.heal()
		t.Logf("%s is replaced by %s after %v", old.name, leader.name, took)
		if bounded && took > 3*election {
			wrong = fmt.Sprintf("another one led after %v", took)
		}
		old = c.leader()
		m = without(c.members, old)
		return wrong
	})
}

// pitfall F4
func TestALinkDeadInOneDirectionStopsNobody(t *testing.T) {
	pace.NeedsLong(t)
	c := startCluster(t, 3, quick...)
	l := c.traffic(4)
	for _, from := range c.members {
		for _, to := range without(c.members, from) {
			calmly(t, func() string { return oneDirection(c, l, from, to) })
		}
	}
	l.check()
}

func oneDirection(c *cluster, l *traffic, from, to *member) (wrong string) {
	l.flows(20)
	leader, term := c.leader(), c.term()
	third := without(c.members, from, to)
	l.aim(append(third, leader)) // the member that the dead link does not touch, and the leader
	l.flows(20)
	l.longestGap()

	c.network.link(from, to).cut()
	<-time.After(2 * election)
	l.flows(20)

	gap := l.longestGap()
	c.network.heal()
	now := c.term()
	l.aim(c.members)
	c.t.Logf("%s → %s, %s led: no write for %v at most, term %d, then %d", from.name, to.name, leader.name,
		gap, term, now)
	if now > term+1 {
		wrong = fmt.Sprintf("%s → %s: term %d became %d", from.name, to.name, term, now)
	}
	return wrong
}

// Two members that have seen the leader's connections break may campaign at the same moment and
// split the votes. This may happen, but not always. pitfall A10
func TestBrokenConnectionsChangeTheTermOnceAtMost(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	l := c.traffic(2)
	for range 3 {
		calmly(t, func() string { return breakConnections(c, l) })
	}
	l.check()
}

func breakConnections(c *cluster, l *traffic) (wrong string) {
	l.flows(20)
	follower, term := c.followers()[0], c.term()
	c.network.reset(follower)
	l.flows(20)
	follower.serves()
	now := c.term()
	c.network.reset(c.leader())
	l.longestGap()
	l.flows(20)
	c.leader().serves()
	then := c.term()
	c.t.Logf("a follower's connections broke: term %d, then %d; the leader's: no write for %v at most, then term %d",
		term, now, l.longestGap(), then)
	if now != term || then > now+1 {
		wrong = fmt.Sprintf("term %d became %d, and that %d", term, now, then)
	}
	return wrong
}
