package e2e

import (
	"encoding/base64"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"etcd2/e2e/pace"
)

// as sends a request with a password; user "" sends none.
func (m *member) as(user, password, method, path, body string) answer {
	m.t.Helper()
	a, err := m.tryAs(user, password, method, path, body)
	if err != nil {
		m.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (m *member) tryAs(user, password, method, path, body string) (answer, error) {
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if strings.HasPrefix(path, "/v2/keys") {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	return send(req)
}

// must sends a change as root, and fails the test when it is refused.
func (m *member) must(rootPassword, method, path, body string) {
	m.t.Helper()
	if a := m.as("root", rootPassword, method, path, body); a.status > 201 {
		m.t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
}

// Users and rights that were made at one member hold at all members: after kill -9, after a
// snapshot, and at a member that is added later. No password is in anything that the members write.
// pitfall K11, pitfall K9
func TestUsersHoldEverywhereAndAlways(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	const rootPassword, annPassword = "Rosebud-1941", "Xanadu-1941"
	c := startCluster(t, 3, append(quick, "--snapshot-count=1")...)
	for _, m := range c.members {
		m.knowsTheVersion()
	}
	a := c.members[0]
	a.must(rootPassword, "PUT", "/v2/auth/users/root", `{"user":"root","password":"`+rootPassword+`"}`)
	a.must(rootPassword, "PUT", "/v2/auth/roles/r",
		`{"role":"r","permissions":{"kv":{"read":["/d/*"],"write":["/d/*"]}}}`)
	a.must(rootPassword, "PUT", "/v2/auth/users/ann", `{"user":"ann","password":"`+annPassword+`","roles":["r"]}`)
	a.must(rootPassword, "PUT", "/v2/auth/enable", "")
	a.must(rootPassword, "PUT", "/v2/auth/roles/guest",
		`{"role":"guest","revoke":{"kv":{"read":["/*"],"write":["/*"]}}}`)
	hold := func(m *member, round string) {
		t.Helper()
		eventually(t, "rights at "+m.name+" "+round, patience, func() bool {
			a, err := m.tryAs("ann", annPassword, "PUT", "/v2/keys/d/k", "value="+round)
			return err == nil && a.status < 300
		})
		for _, q := range []struct {
			user, password, method, path string
			status                       int
		}{
			{"", "", "GET", "/v2/keys/d/k", 401}, {"ann", annPassword, "GET", "/v2/keys/d/k?quorum=true", 200}, {"ann",
				annPassword, "PUT", "/v2/keys/e", 401},
			{"ann", rootPassword, "GET", "/v2/keys/d/k", 401}, {"ann", annPassword, "DELETE", "/v2/members/1",
				401}, {"root", rootPassword, "GET", "/v2/keys/", 200},
		} {
			if a := m.as(q.user, q.password, q.method, q.path, ""); a.status != q.status {
				t.Errorf("%s at %s: %s %s as %q: %d %s", round, m.name, q.method, q.path, q.user, a.status, a.body)
			}
		}
	}
	for _, m := range c.members {
		hold(m, "at first")
	}
	large := "prevExist=false&value=" + strings.Repeat("x", 4<<20)
	eventually(t, "a snapshot", patience, func() bool {
		a.as("ann", annPassword, "PUT", "/v2/keys/d/k", large) // refused: it only makes the log longer
		return a.metric("etcd_snapshot_saves_total") > 0
	})
	for _, m := range c.members {
		m.kill()
	}
	c.start(c.members...)
	for _, m := range c.members {
		hold(m, "after a kill")
	}
	c.members[1].must(rootPassword, "PUT", "/v2/auth/users/ann", `{"user":"ann","password":"`+annPassword+`2"}`)
	for _, m := range c.members {
		eventually(t, "another password at "+m.name, patience, func() bool {
			return m.as("ann", annPassword, "GET", "/v2/keys/d/k", "").status == 401 && m.as("ann", annPassword+"2",
				"GET", "/v2/keys/d/k", "").status == 200
		})
	}
	dump, err := exec.Command(binary, "dump", a.data()).CombinedOutput()
	if err != nil || !strings.Contains(string(dump), `auth "/users/ann"`) || strings.Contains(string(dump), "salt") {
		t.Errorf("dump: %v, or it has no users, or what is secret of them", err)
	}
	vars := a.as("root", rootPassword, "GET", "/debug/vars", "").body
	for _, m := range c.members {
		noSecret(t, m, string(dump)+vars, rootPassword, annPassword,
			base64.StdEncoding.EncodeToString([]byte("root:"+rootPassword)),
			base64.StdEncoding.EncodeToString([]byte("ann:" + annPassword))[:16])
	}
}

// noSecret looks for words in everything that a member has written.
func noSecret(t *testing.T, m *member, more string, words ...string) {
	t.Helper()
	looked := 0
	look := func(where, text string) {
		looked++
		for _, w := range words {
			if strings.Contains(text, w) {
				t.Errorf("%s of %s has %q", where, m.name, w)
			}
		}
	}
	look("what it says", more)
	look("the log", m.log.tail(1<<20))
	err := filepath.WalkDir(m.data(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // a file that is gone by now
		}
		b, err := os.ReadFile(path)
		if err == nil {
			look(path, string(b))
		}
		return nil
	})
	if err != nil || looked < 4 {
		t.Errorf("%d places, %v", looked, err)
	}
}

// TestEtcdctlManagesUsers runs Debian's etcdctl through users, roles and the switch.
func TestEtcdctlManagesUsers(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("etcdctl"); err != nil {
		t.Skip("etcdctl is not installed (package etcd-client)")
	}
	m := startMember(t)
	for _, c := range []struct{ line, want string }{
		{"user add root:pw", "User root created"},
		{"user add ann:secret", "User ann created"},
		{"role add shop", "Role shop created"},
		{"role grant shop --path /shop/* --readwrite", "Role shop updated"},
		{"user grant ann --roles shop", "User ann updated"},
		{"role get shop", "KV Read: /shop/* KV Write: /shop/*"},
		{"auth enable", "Authentication Enabled"},
		{"-u root:pw role revoke guest --path /* --readwrite", "Role guest updated"},
		{"-u root:pw user list", "ann root"},
		{"-u root:pw role list", "guest root shop"},
		{"-u root:pw user get ann", "User: ann Roles: shop"},
		{"set /shop/name books", "Error: 110"},
		{"-u ann:secret set /shop/name books", "books"},
		{"-u ann:secret get /shop/name", "books"},
		{"-u ann:wrong get /shop/name", "Error: 110"},
		{"-u ann:secret get /other", "Error: 110"},
		{"-u ann:secret user list", "Insufficient credentials"},
		{"-u root:pw user revoke ann --roles shop", "User ann updated"},
		{"-u ann:secret get /shop/name", "Error: 110"},
		{"-u root:pw user remove ann", "User ann removed"},
		{"-u root:pw role remove shop", "Role shop removed"},
		{"-u root:pw auth disable", "Authentication Disabled"},
		{"set /shop/name books", "books"},
	} {
		if out := m.etcdctl(strings.Fields(c.line)...); !hasAll(out, strings.Fields(c.want)...) {
			t.Errorf("etcdctl %s: got %q, want %q", c.line, out, c.want)
		}
	}
}

// TestPythonEtcdGivesAPassword runs a read of python3-etcd with and without one.
func TestPythonEtcdGivesAPassword(t *testing.T) {
	t.Parallel()
	skipWithoutPythonEtcd(t)
	m := startMember(t)
	m.must("pw", "PUT", "/v2/auth/users/root", `{"user":"root","password":"pw"}`)
	m.must("pw", "PUT", "/v2/auth/roles/guest", `{"role":"guest"}`)
	m.must("pw", "PUT", "/v2/auth/enable", "")
	const script = `
import etcd, sys
port = int(sys.argv[1].rsplit(':', 1)[1])
client = etcd.Client(port=port, username='root', password='pw')
client.write('/k', 'v')
assert client.read('/k').value == 'v'
try:
    etcd.Client(port=port).read('/k')
    raise AssertionError('it reads without a password')
except etcd.EtcdInsufficientPermissions:
    pass
`
	if out, err := exec.CommandContext(t.Context(), python, "-c", script, m.url).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
