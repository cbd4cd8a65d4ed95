package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"etcd2/e2e/pace"
	"etcd2/http/certs/certstest"
)

// startProxy returns a proxy of the cluster that is ready.
func (c *cluster) startProxy() *member {
	c.t.Helper()
	p := newMember(c.t, "--proxy=on", "--proxy-refresh-interval=100", "--proxy-failure-wait=300")
	p.name, p.founded = "proxy", c.founders()
	c.network.join(p) // the network carries only connections of members that it knows
	p.start()
	return p
}

// writes waits until a write succeeds at a proxy: a proxy does not repeat a write that it has sent
// to a member that died.
func (m *member) writes(key string) {
	m.t.Helper()
	eventually(m.t, "a write of "+key+" succeeds", patience, func() bool {
		a, err := m.attempt("PUT", "/v2/keys"+key, url.Values{"value": {key}})
		return err == nil && a.status/100 == 2
	})
}

func TestAProxyWorksAsLongAsItsClusterDoes(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	c := startCluster(t, 3, quick...)
	p := c.startProxy()
	for i := range 30 { // a value that was written is read, whichever member answers
		key := fmt.Sprint("/k", i)
		p.put(key, "v")
		if a := p.get("/v2/keys" + key); a.status != 200 {
			t.Fatalf("%s: %d %s", key, a.status, a.body)
		}
	}
	leader := c.leader()
	leader.kill()
	p.writes("/first")
	for range 12 {
		if a := p.get("/v2/keys/first"); a.status != 200 {
			t.Errorf("with two members: %d %s", a.status, a.body)
		}
	}

	second := c.running()[0]
	second.kill()
	if a := p.get("/v2/keys/first"); a.status != 200 { // the last member has it
		t.Errorf("with one member: %d %s", a.status, a.body)
	}
	if a := p.get("/health"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	c.running()[0].kill()
	eventually(t, "a proxy without members says so", patience, func() bool {
		a := p.get("/v2/keys/first")
		return a.status == 503 && a.body == `{"message":"proxy: zero endpoints currently available"}`
	})
	if a := p.get("/v2/config/local/proxy"); a.body != "{\"endpoints\":[]}\n" {
		t.Error(a.body)
	}

	c.start(c.members...)
	p.writes("/again")
	if status := p.stop(); status != 0 {
		t.Errorf("it ends with status %d", status)
	}
}

func TestAProxyFollowsACluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	p := c.startProxy()
	p.put("/k", "v")
	for _, old := range slices.Clone(c.members) {
		c.add()
		c.remove(old)
	}
	var urls []string
	for _, m := range c.members {
		urls = append(urls, m.url)
	}
	eventually(t, "the proxy knows the new members, and no others", patience, func() bool {
		a := p.get("/v2/config/local/proxy")
		return strings.Count(a.body, "http") == 3 && hasAll(a.body, urls...)
	})
	p.put("/k", "w")
	file := filepath.Join(p.data(), "proxy", "cluster")
	eventually(t, "it remembers them", patience, func() bool {
		b, err := os.ReadFile(file)
		return err == nil && hasAll(string(b), c.members[0].reached, c.members[1].reached, c.members[2].reached)
	})
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v: %v", err, info.Mode())
	}

	p.stop() // its flags name no member that is up
	p.flags = []string{"--proxy=readonly"}
	p.start()

	if a := p.get("/v2/keys/k"); a.status != 200 || !strings.Contains(a.body, `"value":"w"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	for method, want := range map[string]int{"PUT": 501, "DELETE": 501, "HEAD": 501, "OPTIONS": 501, "POST": 501,
		"GET": 200} {
		if a := p.do(method, "/v2/keys/k", nil); a.status != want || want == 501 && a.body != "" {
			t.Errorf("%s at a proxy that is readonly: %d %s", method, a.status, a.body)
		}
	}
	p.stop()
	p.flags = nil
	before := p.log.count()
	p.start()
	p.expectLog(before, "this process is a proxy")
	p.put("/k", "x")
}

// begin opens a watch and returns the head of its response, which must come before any event.
func (m *member) begin(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", m.url+path, nil)
	if err != nil {
		return nil, err
	}
	return client.Do(req)
}

func watchersAt(members []*member) (n float64) {
	for _, m := range members {
		n += m.metric("etcd_store_watchers")
	}
	return n
}

func TestWatchesThroughAProxy(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	p := c.startProxy()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	stream, err := p.begin(ctx, "/v2/keys/s?wait=true&stream=true")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if stream.Header.Get("X-Etcd-Index") == "" {
		t.Error(stream.Header)
	}
	lines := bufio.NewReader(stream.Body)
	for _, value := range []string{"1", "2", "3"} {
		p.put("/s", value)
		if line := readLine(t, lines); !strings.Contains(line, `"value":"`+value+`"`) {
			t.Errorf("%s: %s", value, line)
		}
	}

	const clients = 200
	target := fmt.Sprintf("/v2/keys/l?wait=true&waitIndex=%d", p.put("/s", "4").index(t)+1)
	var all [clients]*http.Response
	var failed [clients]error
	var beginning sync.WaitGroup
	for i := range all {
		beginning.Go(func() { all[i], failed[i] = p.begin(ctx, target) })
	}
	beginning.Wait()
	if err := errors.Join(failed[:]...); err != nil {
		t.Fatal(err)
	}
	if n := watchersAt(c.members); n != 2 { // one for all polls, and the stream
		t.Errorf("%v watches at the members", n)
	}
	all[0].Body.Close() // the other polls continue
	p.put("/l", "event")
	for _, resp := range all[1:] {
		if line := readLine(t, bufio.NewReader(resp.Body)); !strings.Contains(line, `"value":"event"`) {
			t.Fatal(line)
		}
		resp.Body.Close()
	}

	cancel()
	eventually(t, "the watch ends at the member when its client leaves", patience,
		func() bool { return watchersAt(c.members) == 0 })
}

func TestASurplusMemberBecomesAProxy(t *testing.T) {
	t.Parallel()
	service := startMember(t)
	token := service.get("/discovery/new?size=1").body
	first := newMember(t, "--discovery="+token)
	first.name, first.founded = "first", ""
	first.start()
	surplus := newMember(t, "--discovery="+token)
	surplus.name, surplus.founded = "surplus", ""
	watching := newMember(t, "--discovery="+token, "--proxy=on")
	watching.founded = ""

	for _, m := range []*member{surplus, watching} {
		m.start()
		m.put("/k", m.name)
		if a := first.get("/v2/keys/k"); !strings.Contains(a.body, `"value":"`+m.name+`"`) {
			t.Error(a.body)
		}
	}
	surplus.expectLog(0, "discovery cluster full, falling back to proxy")
	service.kill()
	for _, m := range []*member{surplus, watching} {
		m.stop()
		m.start() // without asking the discovery service
		m.put("/k", "again")
		if conn, err := http.Get(m.peer + "/v2/members"); err == nil {
			conn.Body.Close()
			t.Error("a proxy answers peers")
		}
	}
}

func TestEtcdctlWorksThroughAProxy(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("etcdctl"); err != nil {
		t.Skip("there is no etcdctl on this machine")
	}
	c := startCluster(t, 3, quick...)
	p := c.startProxy()
	for _, step := range []struct{ line, want string }{
		{"--no-sync set /a 1", "1"},
		{"--no-sync get /a", "1"},
		{"--no-sync mkdir /d", ""},
		{"--no-sync setdir /d/e", ""},
		{"--no-sync ls --recursive /", "/a /d /d/e"},
		{"--no-sync update /b 1", "100: Key not found"},
		{"--no-sync member list", "name=m1 isLeader=true"},
		{"cluster-health", "cluster is healthy"},
		{"--no-sync rm /a", "PrevNode.Value: 1"},
	} {
		if out := p.etcdctl(strings.Fields(step.line)...); !hasAll(out, strings.Fields(step.want)...) {
			t.Errorf("etcdctl %s: %q, want %q", step.line, out, step.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watch := p.etcdctlCommand(ctx, "--no-sync", "watch", "--after-index", "1", "/a")
	if out, err := watch.CombinedOutput(); err != nil || !strings.Contains(string(out), "1") {
		t.Errorf("watch: %v: %q", err, out)
	}
}

// Members take a certificate as a user, but do not take the proxy's certificate as the user of the
// clients behind it. (pitfall J14, CVE-2018-16886)
func TestBehindAProxyOnlyAPasswordMakesAUser(t *testing.T) {
	t.Parallel()
	s := newSecured(t, 3)
	s.start()
	p := newMember(t, slices.Concat(s.members[0].flags, []string{"--proxy=on"})...)
	p.name, p.founded = "proxy", s.members[0].founded
	both := s.clients.Issue(t, "proxy") // the certificate of its port, which it also shows to members
	certstest.Write(t, s.dir, "m0-key.pem", both.Key)
	certstest.Write(t, s.dir, "m0.pem", both.Cert)
	p.start()
	const root, user = "root-pw", "proxy-pw"
	p.knowsTheVersion()
	p.must(root, "PUT", "/v2/auth/users/root", `{"user":"root","password":"`+root+`"}`)
	p.must(root, "PUT", "/v2/auth/roles/r", `{"role":"r","permissions":{"kv":{"read":["/*"],"write":["/*"]}}}`)
	p.must(root, "PUT", "/v2/auth/users/proxy", `{"user":"proxy","password":"`+user+`","roles":["r"]}`)
	p.must(root, "PUT", "/v2/auth/enable", "")
	p.must(root, "PUT", "/v2/auth/roles/guest", `{"role":"guest","revoke":{"kv":{"read":["/*"],"write":["/*"]}}}`)
	certificate, err := tls.X509KeyPair(both.Cert, both.Key)
	if err != nil {
		t.Fatal(err)
	}

	for range s.members { // whichever member answers
		if a := p.as("proxy", user, "PUT", "/v2/keys/k", "value=1"); a.status > 201 {
			t.Errorf("with a password: %d %s", a.status, a.body)
		}
		eventually(t, "nobody is the proxy without its password", patience, func() bool {
			return p.as("", "", "PUT", "/v2/keys/k", "value=1").status == 401
		})
	}
	_, a, err := knock(t.Context(), "PUT", s.members[1].url+"/v2/keys/k", url.Values{"value": {"2"}},
		[]*certstest.Authority{s.clients}, certificate)
	if err != nil || a.status > 201 {
		t.Errorf("the proxy itself: %v, %d %s", err, a.status, a.body)
	}
}
