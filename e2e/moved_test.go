package e2e

import (
	"strings"
	"testing"
)

// moving returns n members without a test network between them, stopped after they have founded a
// cluster.
func moving(t *testing.T, n int) *cluster {
	t.Helper()
	c := &cluster{t: t}
	var list []string
	for range n {
		m := newMember(t, quick...)
		m.name = "m" + string(rune('0'+len(list)))
		c.members, list = append(c.members, m), append(list, m.name+"="+m.reached)
	}
	for _, m := range c.members {
		m.founded = strings.Join(list, ",")
	}
	c.start(c.members...)
	for _, m := range c.members {
		m.serves()
	}
	c.allHaveStarted()
	return c
}

// move gives new addresses to members that are stopped.
func move(members ...*member) {
	for _, m := range members {
		m.peer = freeURL()
		m.reached = m.peer
	}
}

func (c *cluster) stopAll(members ...*member) {
	for _, m := range members {
		m.stop()
	}
}

// pitfall L17
func TestTwoOfThreeThatMovedAtOnceFindEachOther(t *testing.T) {
	t.Parallel()
	c := moving(t, 3)
	stays, moved := c.members[0], c.members[1:]
	stays.pause() // so that it lacks an entry, and can't lead: only a leader could tell one moved member of the other
	c.leaderOf(moved...)
	moved[0].serves()
	c.stopAll(moved...)
	stays.resume()
	move(moved...)

	for _, m := range moved {
		m.launch()
	}
	for _, m := range moved {
		m.ready()
	}
	c.leader()
	for _, m := range c.members {
		m.serves()
	}

	stays.kill() // now the two need each other
	for _, m := range moved {
		m.serves()
	}
}

// pitfall L17
func TestThreeThatMovedAtOnceFindEachOtherByANewList(t *testing.T) {
	t.Parallel()
	c := moving(t, 3)
	c.stopAll(c.members...)
	move(c.members...)
	founded := c.founders()
	for _, m := range c.members {
		m.founded = founded
	}

	c.start(c.members...)

	for _, m := range c.members {
		m.serves()
	}
	c.stopAll(c.members...)
	for _, m := range c.members {
		m.founded = "" // the membership is known from the data
	}
	c.start(c.members...)
	c.members[0].serves()
}

func TestARestartWithAnotherMembersNameIsRefused(t *testing.T) {
	t.Parallel()
	c := moving(t, 3)
	odd := c.members[2]
	own := odd.name
	odd.stop()
	odd.name = c.members[0].name

	odd.launch()

	if status := odd.exited(); status != 1 {
		t.Errorf("status %d", status)
	}
	odd.expectLog(0, "another member has that name", "m0", "which was \"m2\"", "--name")
	odd.name = own
	odd.start()
	odd.serves()
}

// pitfall L18
func TestAForceThatIsLeftInTheUnitSplitsNoCluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	m, lost := c.members[0], c.members[1:]
	m.serves()
	m.stop()
	m.flags = append(m.flags, "--force-new-cluster")
	if text := m.refused(); !hasAll(text, "--force-new-cluster: ", "\"m1\" at ", "\"m2\" at ",
		"are a quorum of the 3 members without this one") {
		t.Errorf("it says %s", text)
	}
	for _, o := range lost {
		o.kill()
	}
	m.start()
	cluster := clusterID(m)

	m.stop()
	since := m.log.count()
	m.start()
	m.expectLog(since, "level=WARN", "--force-new-cluster changes nothing", "must go")
	if now := clusterID(m); now != cluster {
		t.Errorf("the cluster %s became %s", cluster, now)
	}

	c.members = []*member{m}
	for range 2 {
		o := c.newMember()
		o.founded = ""
		o.flags = append(o.flags, "--join="+m.url)
		o.start()
		c.members = append(c.members, o)
	}
	c.allHaveStarted()
	m.stop()
	if text := m.refused(); !hasAll(text, "are a quorum of the 3 members without this one") {
		t.Errorf("after the recovery it says %s", text)
	}
	for _, o := range c.members[1:] {
		o.stop()
	}
	m.launch() // all machines start at the same time, this one first
	m.ready()
	for _, o := range c.members[1:] {
		o.start()
	}
	if now := clusterID(m); now != cluster || len(m.list()) != 3 {
		t.Errorf("the cluster %s became %s with %+v", cluster, now, m.list())
	}
	m.serves()
}
