package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

func TestAClusterGrowsAndShrinksUnderLoad(t *testing.T) {
	bounded := measured(t)
	c := startCluster(t, 1, quick...)
	l := c.traffic(4)
	calmly(t, func() (wrong string) {
		l.flows(50)
		l.longestGap()
		for range pace.Pick(2, 2, 4) {
			c.add().serves()
			l.aim(c.members)
			l.flows(20)
		}
		grown := l.longestGap()
		for len(c.members) > 1 {
			l.aim(without(c.members, c.leader()))
			c.expel(c.leader()) // the leader itself is removed
			l.flows(20)
		}
		shrunk := l.longestGap()
		if bounded && (grown > 3*election || shrunk > 5*election) {
			wrong = fmt.Sprintf("no write for %v growing, %v shrinking", grown, shrunk)
		}
		t.Logf("the longest time without a write was %v growing, %v shrinking", grown, shrunk)
		return wrong
	})
	l.check()
	l.report()
}

// expel removes a member. Its process must end with the status that keeps systemd from restarting
// it, and log the reason.
func (c *cluster) expel(m *member) {
	c.t.Helper()
	said := m.log.count()
	c.remove(m)
	m.exitedAsRemoved()
	m.expectLog(said, "removed")
}

func (m *member) exitedAsRemoved() {
	m.t.Helper()
	if status, want := m.exited(), lastStatus(m.t); status != want {
		m.t.Errorf("%s was removed and ended with status %d, want %d", m.name, status, want)
	}
}

func TestEveryMemberIsReplacedUnderLoad(t *testing.T) {
	pace.NeedsLong(t)
	c := startCluster(t, 3, append(quick, "--snapshot-count=100")...)
	l := c.traffic(4)
	calmly(t, func() (wrong string) {
		l.flows(50)
		old := slices.Clone(c.members)
		l.longestGap()
		for _, m := range old {
			c.add().serves()
			l.aim(without(c.members, m))
			c.expel(m)
			l.flows(20)
		}
		gap := l.longestGap()
		t.Logf("the longest time without a write was %v", gap)
		if gap > 5*election {
			wrong = fmt.Sprint("no write for ", gap)
		}
		return wrong
	})
	l.check()
	l.report()
}

func TestANewMemberJoinsByAURL(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, quick...)
	c.members[0].put("/k", "v")
	for _, at := range []string{c.members[0].url, c.members[0].reached} {
		m := c.newMember()
		m.founded = ""
		m.flags = append(m.flags, "--join="+at)
		m.start()
		c.members = append(c.members, m)
		m.serves()
	}
	eventually(t, "all have a vote", patience,
		func() bool { return c.members[0].metric(`etcd_server_members{votes="yes"}`) == 3 })
	c.leader().kill()
	for _, m := range c.running() {
		m.serves()
		if n := decode(t, m.get("/v2/keys/k?quorum=true")).Node; n.Value != "v" {
			t.Errorf("%s has %+v", m.name, n)
		}
	}
}

// pitfall D7
func TestAMemberThatNeverStartsStopsNoWrite(t *testing.T) {
	t.Parallel()
	for size := 1; size <= 3; size++ {
		t.Run(fmt.Sprint("beside ", size), func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, size, quick...)
			l := c.traffic(2)
			calmly(t, func() (wrong string) {
				l.flows(20)
				term := c.term()

				id := c.addURL(freeURL())
				l.flows(20)
				<-time.After(2 * election)
				l.flows(20)

				now := c.term()
				c.removeID(id)
				if now != term {
					wrong = fmt.Sprintf("term %d became %d", term, now)
				}
				return wrong
			})
			l.check()
		})
	}
}

// pitfall A12
func TestARemovedMemberIsToldAndDisturbsNobody(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, quick...)
	calmly(t, func() (wrong string) {
		c.add().serves()
		leader, term := c.leader(), c.term()
		gone := c.followers()[0]
		c.expel(gone)
		since := gone.log.count()
		gone.launch()
		gone.exitedAsRemoved()
		gone.expectLog(since, "removed")

		absent := c.add()
		absent.serves()
		id := absent.id()
		absent.kill()
		c.members = without(c.members, absent)
		c.removeID(id) // while it is down
		absent.launch()
		absent.exitedAsRemoved()
		leader.serves()
		if now := c.term(); now != term || c.leader() != leader {
			wrong = fmt.Sprintf("it came back, and term %d became %d", term, now)
		}
		return wrong
	})
}

// pitfall D9
func TestAURLMayBeRemovedAndAddedAgainAtOnce(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, quick...)
	m := c.newMember()
	ids := map[string]bool{}
	for range 10 {
		id := c.addURL(m.reached)
		if ids[id] {
			t.Errorf("id %s comes back", id)
		}
		ids[id] = true
		c.removeID(id)
	}
	c.addURL(m.reached)
	c.members = append(c.members, m)
	m.founded = c.founders()
	m.flags = append(m.flags, "--initial-cluster-state=existing")
	m.start()
	m.serves()
	if ids[m.id()] {
		t.Errorf("it has the id %s of one that was removed", m.id())
	}
}

// pitfall D10
func TestAWipedMemberIsRefusedUntilItIsAddedAnew(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	m := c.followers()[0]
	m.put("/k", "v")
	c.allHaveStarted()
	id := m.id()
	m.kill()
	m.wipe()

	for _, state := range []string{"new", "existing"} {
		flags := m.flags
		m.flags = append(flags, "--initial-cluster-state="+state)
		if line := m.refused(); !hasAll(line, "remove", id) {
			t.Errorf("with state %s it does not tell the remedy: %s", state, line)
		}
		m.flags = flags
	}

	c.removeID(id)
	c.addURL(m.reached)
	m.flags = append(m.flags, "--initial-cluster-state=existing")
	m.start()
	m.serves()
	if now := m.id(); now == id {
		t.Errorf("it is %s again", id)
	}
	if n := decode(t, m.get("/v2/keys/k")).Node; n.Value != "v" {
		t.Errorf("it has %+v", n)
	}
}

// allHaveStarted waits until each member knows that all have started, which they tell each other a
// moment after they begin to serve.
func (c *cluster) allHaveStarted() {
	c.t.Helper()
	for _, m := range c.members {
		eventually(c.t, m.name+" knows that all have started", patience, func() bool {
			return !slices.ContainsFunc(m.list(), func(l listed) bool { return l.Name == "" })
		})
	}
}

// pitfall D10: when the wiped member starts, no other member is up to tell it that it was active
// before.
func TestAMemberWipedWhileAllAreDownEndsWhenTheOthersCome(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	l := c.traffic(2)
	l.flows(50)
	l.stop()
	c.allHaveStarted()
	m := c.followers()[0]
	id := m.id()
	for _, m := range c.members {
		m.kill()
	}
	m.wipe()

	since := m.log.count()
	m.launch()
	m.ready()
	c.members = without(c.members, m)
	for _, o := range c.members {
		o.launch()
	}

	if status := m.exited(); status != 1 {
		t.Errorf("it ended with status %d, want 1", status)
	}
	lines := m.log.since(since)
	if last := lines[len(lines)-1]; !hasAll(last, "etcd2: ", "forgotten", "remove", id) {
		t.Errorf("it does not tell why, and the remedy: %s", last)
	}
	for _, o := range c.members {
		o.ready()
		o.serves()
	}
	l.check()

	c.removeID(id)
	m.wipe()
	m.founded = ""
	m.flags = append(m.flags, "--join="+c.members[0].url)
	m.start()
	c.members = append(c.members, m)
	m.serves()
	if now := m.id(); now == id {
		t.Errorf("it is %s again", id)
	}
	l.check()
}

// pitfall D11
func TestAnOldDataDirectoryLosesNothing(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	l := c.traffic(2)
	l.flows(50)
	m := c.followers()[0]
	backup := filepath.Join(m.dir, "backup")
	m.kill()
	run(t, "cp", "-a", m.data(), backup)
	m.start()
	l.flows(100)
	m.serves()
	m.kill()
	m.wipe()
	run(t, "mv", backup, m.data())

	since := m.log.count()
	m.launch()

	if notice := m.awaitNotice(); notice == "READY=1" && servesOrEnds(m) {
		t.Log("it was filled up again")
	} else {
		lines := m.log.since(since)
		if status := m.exited(); status != 1 {
			t.Errorf("it ended with status %d, want 1", status)
		}
		t.Logf("it stopped and said: %s", lines[len(lines)-1])
		if text := strings.Join(lines, "\n"); strings.Contains(text, "goroutine ") ||
			!strings.Contains(text, "remove") {
			t.Errorf("that is no clear line")
		}
	}
	l.flows(20)
	l.check()
}

// servesOrEnds waits until the member serves a write or its process has ended, and reports whether
// it serves.
func servesOrEnds(m *member) (serves bool) {
	eventually(m.t, "it serves or ends", patience, func() bool {
		_, err := putAt(m, "/serves", m.name)
		serves = err == nil
		return serves || !m.runs()
	})
	return serves
}

// run runs a command of the system.
func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// pitfall D14
func TestAForcedNewClusterIsOfItsOwn(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	l := c.traffic(2)
	l.flows(50)
	l.stop()
	l.check()
	m := c.members[0]
	cluster := clusterID(m)
	for _, m := range c.members {
		m.kill()
	}

	flags := m.flags
	m.flags = append(flags, "--force-new-cluster")
	m.start()
	m.flags = flags
	m.serves()
	alone := &cluster1{m}
	alone.check(t, cluster)

	others := c.members[1:]
	c.members = others
	c.start(others...) // two of three are a quorum of the old cluster
	for _, o := range others {
		o.put("/old", "x")
	}
	m.put("/new", "x")
	for _, o := range others {
		if a := o.get("/v2/keys/new?quorum=true"); a.status != http.StatusNotFound {
			t.Errorf("%s of the old cluster has what was written in the new one: %s", o.name, a.body)
		}
	}
	if a := m.get("/v2/keys/old?quorum=true"); a.status != http.StatusNotFound {
		t.Errorf("the new cluster has what was written in the old one: %s", a.body)
	}
	m.kill()
	m.start() // without the flag
	m.serves()
	alone.check(t, cluster)
	c.members = []*member{m}
	l.check()
}

// --force-new-cluster works on any member's data, also when the last entry of its log is its own
// removal.
func TestARemovedMemberCanBeForcedAlone(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	m := c.followers()[0]
	m.put("/kept", "x")
	cluster := clusterID(m)
	c.expel(m)

	m.flags = append(m.flags, "--force-new-cluster")
	m.start()
	m.serves()

	if a := m.get("/v2/keys/kept"); a.status != http.StatusOK {
		t.Errorf("what it had: %s", a.body)
	}
	if list := m.list(); len(list) != 1 || !slices.Equal(list[0].PeerURLs, []string{m.reached}) {
		t.Errorf("it is reached at %+v", list)
	}
	(&cluster1{m}).check(t, cluster)
}

// A cluster1 is a cluster of one.
type cluster1 struct{ *member }

func (c *cluster1) check(t *testing.T, old string) {
	t.Helper()
	if list := c.list(); len(list) != 1 || list[0].Name != c.name || clusterID(c.member) == old {
		t.Errorf("cluster %s, once %s, has the members %+v", clusterID(c.member), old, list)
	}
}

func clusterID(m *member) string {
	m.t.Helper()
	return m.get("/v2/members").header.Get("X-Etcd-Cluster-Id")
}

// leftovers are the files beside a member's snapshots: of a snapshot that is being written, or of
// one that was not finished.
func (m *member) leftovers() (list []string) {
	m.t.Helper()
	entries, err := os.ReadDir(filepath.Join(m.data(), "member", "snap"))
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".snap" {
			list = append(list, e.Name())
		}
	}
	return list
}
