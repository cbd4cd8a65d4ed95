package e2e

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestABadConfigurationIsOneLineAndStatusOne: and nothing is on disk. The table
// of all rules is in the tests of the command itself.
func TestABadConfigurationIsOneLineAndStatusOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flags []string
		words []string // that the line must have
	}{
		{[]string{"--bogus"}, []string{"bogus"}},
		{[]string{"extra"}, []string{"extra"}},
		{[]string{"--election-timeout=400"}, []string{"--election-timeout", "400", "500"}},
		{[]string{"--name=other"}, []string{"--initial-cluster", "other"}},
		{[]string{"--initial-advertise-peer-urls=http://127.0.0.1:1"}, []string{"--initial-advertise-peer-urls", "http://127.0.0.1:1"}},
		{[]string{"--initial-cluster=default=http://a:1,b=http://a:1"}, []string{"--initial-cluster", "http://a:1"}},
		{[]string{"--initial-cluster-state=existing"}, []string{"--initial-cluster-state", "new"}},
		{[]string{"--initial-cluster=default=http://127.0.0.1:1,b=http://127.0.0.1:2"}, []string{"--initial-cluster", "http://127.0.0.1:2", "name one"}},
		{[]string{"--listen-client-urls=http://192.0.2.1:1"}, []string{"--listen-client-urls", "http://192.0.2.1:1"}},
	} {
		t.Run(strings.Join(c.flags, " "), func(t *testing.T) {
			t.Parallel()
			m := newMember(t, c.flags...)

			line := m.refused()

			if !hasAll(line, c.words...) {
				t.Errorf("%q lacks one of %q", line, c.words)
			}
			if n := m.log.count(); n != 1 {
				t.Errorf("%d lines: %q", n, m.log.since(0))
			}
			if _, err := os.Stat(m.data()); !os.IsNotExist(err) {
				t.Errorf("the data directory was made: %v", err)
			}
		})
	}
}

func TestATakenPortStopsTheStart(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	l, err := net.Listen("tcp", strings.TrimPrefix(m.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	line := m.refused()

	if !hasAll(line, "--listen-client-urls", m.url, "address already in use") {
		t.Errorf("it says: %s", line)
	}
}

func TestARestartTakesItsIdentityFromTheData(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	m.put("/k", "v")
	before := m.memberID()
	m.stop()
	m.flags = []string{"--initial-cluster=someone=http://127.0.0.1:1,else=http://127.0.0.1:2", "--initial-cluster-token=other", "--initial-cluster-state=existing"}

	m.start()

	if after := m.memberID(); after != before || before == "" {
		t.Errorf("the member's id was %q and is %q", before, after)
	}
}

func (m *member) memberID() string {
	m.t.Helper()
	var list struct{ Members []struct{ ID string } }
	if err := json.Unmarshal([]byte(m.get("/v2/members").body), &list); err != nil || len(list.Members) != 1 {
		m.t.Fatalf("%v: %+v", err, list)
	}
	return list.Members[0].ID
}

func TestForceNewClusterKeepsTheData(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	m.put("/k", "v")
	cluster := m.get("/v2/keys/k").header.Get("X-Etcd-Cluster-Id")
	m.stop()
	m.flags = []string{"--force-new-cluster"}

	m.start()

	a := m.get("/v2/keys/k")
	if decode(t, a).Node.Value != "v" || a.header.Get("X-Etcd-Cluster-Id") == cluster {
		t.Errorf("cluster %s has become %v: %s", cluster, a.header["X-Etcd-Cluster-Id"], a.body)
	}
	m.put("/after", "v")
}

func TestVersionIsFourLines(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(binary, "--version").Output()

	lines := strings.Split(string(out), "\n")
	if err != nil || len(lines) != 5 || lines[0] != "etcd Version: 2.4.0" {
		t.Errorf("%v: %q", err, lines)
	}
}

// TestDumpShowsEveryWrite: etcd2 dump prints a line a record of the log.
func TestDumpShowsEveryWrite(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	m.put("/shown/key", "its value")
	m.stop()

	out, err := exec.Command(binary, "dump", m.data()).CombinedOutput()

	if err != nil || !hasAll(string(out), "/shown/key", "its value") {
		t.Errorf("%v:\n%s", err, out)
	}
}
