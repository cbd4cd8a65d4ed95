package e2e

import (
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Three members find each other through a fourth server, in whatever order they start. A surplus
// member is refused, and one that starts again with the same flags takes no second place.
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

	if want := "--discovery=" + token.body +
		": failed to join discovery cluster (discovery: cluster is full): "; !strings.Contains(line, want) {
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
	service.get("/discovery/new") // this makes the registry
	for u, want := range map[string]string{
		service.url + "/discovery/none": "failed to join discovery cluster (100: Key not found " +
			"(/_etcd/registry/none) [",
		service.url + "/v2/keys/none":       "failed to join discovery cluster (100: Key not found (/none) [",
		service.url + "/health/x":           "(discovery: bad discovery endpoint: status 404 (Not Found))",
		service.url + "/v2/members/x":       "(discovery: bad discovery endpoint: Not found)",
		service.url + "/discovery/t?size=3": "-discovery: want nothing in the URL but host, port and path",
	} {
		m := newMember(t, "--discovery="+u)
		m.founded = ""
		if line := m.refused(); !strings.Contains(line, want) {
			t.Errorf("%s: %s", u, line)
		}
	}
}

// debians returns the path of a program that Debian has, or skips the test.
func debians(t *testing.T, program string) string {
	t.Helper()
	startsProcesses(t)
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("this machine has no %s", program)
	}
	return path
}

// background runs a program until the test ends, and returns what it writes.
func background(t *testing.T, path string, args ...string) *logLines {
	t.Helper()
	log := newLogLines()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", path, log.tail(20))
		}
	})
	return log
}

// Members of this program find each other through the discovery service that Debian has, with a
// server of this program behind it.
func TestFoundersMeetAtDebiansDiscoveryService(t *testing.T) {
	t.Parallel()
	path := debians(t, "discovery.etcd.io")
	backend := startMember(t)
	service := freeURL()
	background(t, path, "--addr="+strings.TrimPrefix(service, "http://"), "--etcd="+backend.url, "--host="+service)
	var token answer
	eventually(t, "a token", patience, func() bool {
		var err error
		token, err = ask(t.Context(), "GET", service+"/new?size=2", nil)
		return err == nil && token.status == 200
	})
	meet(t, strings.TrimSpace(token.body))
}

// meet founds a cluster of two at a discovery URL, which then has no place for a third member.
func meet(t *testing.T, token string) {
	t.Helper()
	c := &cluster{t: t, network: newNetwork(t), flags: append(quick, "--discovery="+token, "--discovery-fallback=exit")}
	for range 3 {
		m := c.newMember()
		m.founded = ""
		c.members = append(c.members, m)
	}
	surplus := c.members[2]
	c.members = c.members[:2]

	c.start(c.members...)
	c.leader().put("/k", "v")

	if line := surplus.refused(); !strings.Contains(line, "discovery: cluster is full") {
		t.Error(line)
	}
}

// Members of this program find each other in the keys of an etcd.
func TestFoundersMeetAtAnEtcd(t *testing.T) {
	t.Parallel()
	path := debians(t, "etcd")
	service, peer := freeURL(), freeURL()
	background(t, path, "--data-dir="+t.TempDir(), "--enable-v2", "--listen-client-urls="+service,
		"--advertise-client-urls="+service,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)
	token := service + "/v2/keys/any/directory"
	eventually(t, "a token", patience, func() bool {
		a, err := ask(t.Context(), "PUT", token+"/_config/size", url.Values{"value": {"2"}})
		return err == nil && a.status == 201
	})

	meet(t, token)
}

// Members of etcd find each other through this program.
func TestFoundersOfEtcdMeetHere(t *testing.T) {
	t.Parallel()
	path := debians(t, "etcd")
	service := startMember(t)
	token := service.get("/discovery/new?size=2").body
	var clients []string
	for i := range 2 {
		u, peer := freeURL(), freeURL()
		clients = append(clients, u)
		background(t, path, fmt.Sprint("--name=e", i), "--data-dir="+t.TempDir(), "--enable-v2", "--discovery="+token,
			"--listen-client-urls="+u, "--advertise-client-urls="+u, "--listen-peer-urls="+peer,
			"--initial-advertise-peer-urls="+peer)
	}

	for _, u := range clients {
		eventually(t, "a cluster of two", patience, func() bool {
			a, err := ask(t.Context(), "GET", u+"/v2/members", nil)
			return err == nil && strings.Count(a.body, `"name":"e`) == 2
		})
	}
}
