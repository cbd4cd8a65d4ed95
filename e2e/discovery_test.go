package e2e

import (
	"strings"
	"testing"
)

// Three members find each other through a fourth server, in whatever order they start; one too many is told so, and one that starts again
// with the same flags takes no second place.
func TestFoundersMeetAtADiscoveryURL(t *testing.T) {
	t.Parallel()
	service := startMember(t)
	token := service.get("/discovery/new?size=3")
	if token.status != 200 || !strings.HasPrefix(token.body, service.url+"/discovery/") {
		t.Fatalf("%d %s", token.status, token.body)
	}
	c := &cluster{t: t, network: newNetwork(t), flags: append(quick, "--discovery="+token.body)}
	for range 3 {
		m := c.newMember()
		m.founded = ""
		c.members = append(c.members, m)
	}
	first := c.members[0]
	first.launch()
	first.expectLog(0, "found 1 peer(s), waiting for 2 more", "m0="+first.reached)
	first.kill() // it has registered, and has no data

	for _, m := range c.members {
		m.launch()
	}
	for _, m := range c.members {
		m.ready()
		m.expectLog(0, "found 3 needed peer(s)")
	}
	c.leader().put("/k", "v")
	surplus := c.newMember()
	surplus.founded = ""
	surplus.flags = append(surplus.flags, "--discovery-fallback=exit")
	line := surplus.refused()
	before := first.log.count()
	first.stop()
	first.start()
	first.expectLog(before, "discovery is ignored since a cluster has already been initialized")

	if want := "--discovery=" + token.body + ": failed to join discovery cluster (discovery: cluster is full): "; !strings.Contains(line, want) {
		t.Errorf("the surplus member says: %s", line)
	}
	listed := service.get("/v2/keys/_etcd/registry/" + token.body[strings.LastIndex(token.body, "/")+1:])
	if n := strings.Count(listed.body, "=http"); n != 3 {
		t.Errorf("%d members are registered: %s", n, listed.body)
	}
}

func TestWithoutADiscoveryServiceAMemberIsRefusedInOneLine(t *testing.T) {
	t.Parallel()
	service := startMember(t)
	service.get("/discovery/new") // and so there is a registry
	for url, want := range map[string]string{
		service.url + "/discovery/none":     "failed to join discovery cluster (100: Key not found (/_etcd/registry/none) [",
		service.url + "/v2/keys/none":       "failed to join discovery cluster (100: Key not found (/none) [",
		service.url + "/health/x":           "(discovery: bad discovery endpoint: status 404 (Not Found))",
		service.url + "/v2/members/x":       "(discovery: bad discovery endpoint: Not found)",
		service.url + "/discovery/t?size=3": "-discovery: want nothing in the URL but host, port and path",
	} {
		m := newMember(t, "--discovery="+url)
		m.founded = ""
		if line := m.refused(); !strings.Contains(line, want) {
			t.Errorf("%s: %s", url, line)
		}
	}
}
