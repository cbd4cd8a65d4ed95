package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// startEtcd starts Debian's etcd with its API v2.
func startEtcd(t *testing.T, flags ...string) *member {
	t.Helper()
	if _, err := exec.LookPath("etcd"); err != nil {
		t.Skip("no etcd")
	}
	old := newMember(t, flags...)
	old.wrap = []string{"sh", "-c", `exec etcd --enable-v2 "$@"`}
	old.start()
	return old
}

// countdown matches the part of an answer that counts down.
var countdown = regexp.MustCompile(`"ttl":\d+`)

// told returns a member's answers to some questions, asked as a user, without the parts that count
// down.
func (m *member) told(user, password string, paths ...string) (list []string) {
	m.t.Helper()
	for _, path := range paths {
		a := m.as(user, password, "GET", path, "")
		list = append(list, fmt.Sprint(path, ": ", a.status, " ", countdown.ReplaceAllString(a.body, "")))
	}
	return list
}

// moved makes a new member of the data that a stopped etcd has left, with the commands of the
// README.
func (m *member) moved() (next *member, output string) {
	m.t.Helper()
	next = newMember(m.t)
	for line := range strings.Lines(readmeSection(m.t, "Coming from etcd")) {
		words := strings.Fields(strings.NewReplacer("default.etcd", m.data(), "new.etcd", next.data()).Replace(line))
		if len(words) < 3 || words[0] != "$" || words[1] != "etcdctl" || words[2] != "migrate" || len(words) > 6 {
			continue
		}
		status, out := next.ctl(words[2:]...)
		if status != 0 {
			m.t.Fatalf("%q: status %d: %s", words, status, out)
		}
		output += out
	}
	next.founded = ""
	next.start()
	return next, output
}

// Debian's etcd 3.4 is stopped, and our server continues with its v2 data: keys, directories, times
// to live, indices, users and their passwords are the same.
func TestWhatEtcdHasLeftIsServedAsItWas(t *testing.T) {
	t.Parallel()
	const root, ann = "Rosebud-1941", "pässwörd"
	old := startEtcd(t, "--snapshot-count=100")
	for i := range 150 {
		old.put(fmt.Sprintf("/app/%d/key", i%40), fmt.Sprint("value <", i, ">"))
	}
	old.put("/app/lease", "held", "ttl", "3600")
	old.put("/gone", "soon", "ttl", "1")
	old.put("/_hidden/key", "of whom knows it")
	old.do("PUT", "/v2/keys/empty", url.Values{"dir": {"true"}, "ttl": {"600"}})
	for _, value := range []string{"first", "second"} {
		if a := old.do("POST", "/v2/keys/queue", url.Values{"value": {value}}); a.status != http.StatusCreated {
			t.Fatalf("POST: %d %s", a.status, a.body)
		}
	}
	old.do("DELETE", "/v2/keys/app/3?recursive=true", nil)
	old.must(root, "PUT", "/v2/auth/users/root", `{"user":"root","password":"`+root+`"}`)
	old.must(root, "PUT", "/v2/auth/roles/r",
		`{"role":"r","permissions":{"kv":{"read":["/app/*"],"write":["/app/0/*"]}}}`)
	old.must(root, "PUT", "/v2/auth/users/ann", `{"user":"ann","password":"`+ann+`","roles":["r"]}`)
	old.must(root, "PUT", "/v2/auth/enable", "")
	eventually(t, "a key has expired", patience, func() bool {
		return old.as("root", root, "GET", "/v2/keys/gone", "").status == http.StatusNotFound
	})
	questions := []string{
		"/v2/keys/?recursive=true&sorted=true", "/v2/keys/_hidden?recursive=true", "/v2/keys/empty",
		"/v2/keys/app/lease",
		"/v2/auth/users", "/v2/auth/roles", "/v2/auth/users/ann", "/v2/auth/enable",
	}
	want := old.told("root", root, questions...)
	index := old.as("root", root, "GET", "/v2/keys/", "").index(t)
	old.stop()

	next, output := old.moved()

	for i, got := range next.told("root", root, questions...) {
		if got != want[i] {
			t.Errorf("\n got %.2000s\nwant %.2000s", got, want[i])
		}
	}
	if !hasAll(output, "etcd 3.4", "--initial-cluster "+old.founded, "2 users, 2 roles", "Made 1 of 1 members") {
		t.Errorf("it says %s", output)
	}
	if got := next.as("root", root, "GET", "/v2/keys/", "").index(t); got < index || got > index+10 {
		t.Errorf("index %d, want %d and what a start takes", got, index)
	}
	for _, c := range []struct {
		password, method, path string
		status                 int
	}{
		{ann, "GET", "/v2/keys/app/5", 200}, {ann, "PUT", "/v2/keys/app/0/key", 200}, {ann, "PUT",
			"/v2/keys/app/5/key", 401},
		{ann + ".", "GET", "/v2/keys/app/5", 401}, {ann, "GET", "/v2/keys/queue", 401},
	} {
		if a := next.as("ann", c.password, c.method, c.path, ""); a.status != c.status {
			t.Errorf("%s %s with %q: %d %s", c.method, c.path, c.password, a.status, a.body)
		}
	}
}

// A server refuses to start in the directory of an etcd, and a conversion refuses a directory that
// is in use.
func TestADirectoryOfEtcdIsNotStartedIn(t *testing.T) {
	t.Parallel()
	old := startEtcd(t)
	if status, out := old.ctl("migrate", old.data(), "--dry-run"); status != 1 || !strings.Contains(out,
		"a server runs with") {
		t.Errorf("while it runs: status %d, %s", status, out)
	}
	old.stop()
	old.wrap = nil
	if line := old.refused(); !hasAll(line, old.data()+" is the data directory of etcd 3.4",
		"etcdctl migrate "+old.data()) {
		t.Error(line)
	}
}

// How long the move of 100,000 keys takes, from the end of etcd 3.4 to the first answer of ours.
func TestAHundredThousandKeysMove(t *testing.T) {
	pace.NeedsLong(t)
	const keys, clients = 100_000, 128
	old := startEtcd(t)
	var writers sync.WaitGroup
	for w := range clients {
		writers.Go(func() {
			for i := w; i < keys; i += clients {
				old.put(fmt.Sprintf("/k/%d/%d", i%100, i), "a value of some thirty characters")
			}
		})
	}
	writers.Wait()
	old.stop()

	begin := time.Now()
	next, output := old.moved()
	took := time.Since(begin)

	if a := next.get("/v2/keys/k/99/99999"); a.status != http.StatusOK || !strings.Contains(output,
		fmt.Sprint(keys, " keys in 101 directories")) {
		t.Errorf("%d %s, %s", a.status, a.body, output)
	}
	t.Logf("%d keys: %v to look, to convert and to start", keys, took)
}
