package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestABadConfigurationIsOneLineAndStatusOne: and nothing is on disk. The table
// of all rules is in the tests of the command itself.
func TestABadConfigurationIsOneLineAndStatusOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flags []string // PEER is the member's own peer URL, and NOBODY one that nothing listens on
		words []string // that the line must have
	}{
		{[]string{"--bogus"}, []string{"bogus"}},
		{[]string{"extra"}, []string{"extra"}},
		{[]string{"--election-timeout=400"}, []string{"--election-timeout", "400", "500"}},
		{[]string{"--name=other"}, []string{"--initial-cluster", "other"}},
		{[]string{"--initial-advertise-peer-urls=http://127.0.0.1:1"}, []string{"--initial-advertise-peer-urls",
			"http://127.0.0.1:1"}},
		{[]string{"--initial-cluster=default=http://a:1,b=http://a:1"}, []string{"--initial-cluster", "http://a:1"}},
		{[]string{"--initial-cluster-state=existing"}, []string{"--initial-cluster", "nobody but this member is listed",
			"--join"}},
		{[]string{"--initial-cluster=a=PEER,b=NOBODY"}, []string{"--initial-cluster",
			`not listed: "default"`, "--name"}},
		{[]string{"--initial-cluster=default=NOBODY,b=PEER"}, []string{"--initial-advertise-peer-urls", "PEER",
			"NOBODY", "same URLs"}},
		{[]string{"--initial-cluster=default=PEER,default=NOBODY"}, []string{"--initial-cluster=",
			"one name has several URLs", "a name of its own"}},
		{[]string{"--initial-cluster=default=PEER,b=PEER"}, []string{"--initial-cluster", "duplicate URL PEER"}},
		{[]string{"--initial-cluster=default=PEER,b=http://127.0.0.1:1/"}, []string{"--initial-cluster",
			`"b"`, "path"}},
		{[]string{"--initial-cluster=default=PEER,b=http://127.0.0.1"}, []string{"--initial-cluster", `"b"`,
			"host:port"}},
		{[]string{"--initial-cluster=default=PEER,b=http://0.0.0.0:1"}, []string{"--initial-cluster",
			"http://0.0.0.0:1", "address"}},
		{[]string{"--join=NOBODY"}, []string{"--join", "--initial-cluster", "contradict"}},
		{[]string{"--force-new-cluster"}, []string{"--force-new-cluster", "no data of a member", "--data-dir"}},
		{[]string{"--listen-peer-urls=http://192.0.2.1:1"}, []string{"--listen-peer-urls", "http://192.0.2.1:1"}},
		{[]string{"--listen-client-urls=http://192.0.2.1:1"}, []string{"--listen-client-urls", "http://192.0.2.1:1"}},
	} {
		t.Run(strings.Join(c.flags, " "), func(t *testing.T) {
			t.Parallel()
			m := newMember(t, c.flags...)
			urls := strings.NewReplacer("PEER", m.peer, "NOBODY", freeURL())
			for i := range m.flags {
				m.flags[i] = urls.Replace(m.flags[i])
			}
			for i := range c.words {
				c.words[i] = urls.Replace(c.words[i])
			}

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
	for flag, u := range map[string]string{"--listen-client-urls": m.url, "--listen-peer-urls": m.peer} {
		l, err := net.Listen("tcp", strings.TrimPrefix(u, "http://"))
		if err != nil {
			t.Fatal(err)
		}

		line := m.refused()

		l.Close()
		if !hasAll(line, flag, u, "address already in use") {
			t.Errorf("it says: %s", line)
		}
	}
}

func TestAListThatNamesAMemberOfAnotherClusterIsRefused(t *testing.T) {
	t.Parallel()
	other := startMember(t)
	m := newMember(t)
	m.flags = []string{"--initial-cluster=default=" + m.peer + ",other=" + other.peer}

	line := m.refused()

	if !hasAll(line, "--initial-cluster=",
		"another cluster already: "+other.get("/v2/keys/").header.Get("X-Etcd-Cluster-Id")+" at "+other.peer,
		"--initial-cluster-token", "--join") {
		t.Errorf("it says: %s", line)
	}
	if _, err := os.Stat(m.data()); !os.IsNotExist(err) {
		t.Errorf("the data directory was made: %v", err)
	}
}

func TestAMemberWithDataDoesNotJoin(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	m.put("/k", "v")
	m.stop()
	m.flags = []string{"--initial-cluster=", "--join=" + freeURL()}

	m.start()

	m.expectLog(0, "level=INFO", "--join is ignored", m.data())
	if decode(t, m.get("/v2/keys/k")).Node.Value != "v" {
		t.Error("the data is gone")
	}
}

func TestASignalEndsTheWaitForACluster(t *testing.T) {
	t.Parallel()
	m := newMember(t, "--initial-cluster=", "--join="+freeURL())
	m.launch()
	m.expectLog(0, "level=WARN", "trying again", "connection refused")

	status := m.stop()

	if status != 0 || m.log.count() != 1 {
		t.Errorf("status %d: %q", status, m.log.since(0))
	}
	if _, err := os.Stat(m.data()); !os.IsNotExist(err) {
		t.Errorf("the data directory was made: %v", err)
	}
}

func TestThePeerPortTellsWhoTheMembersAre(t *testing.T) {
	t.Parallel()
	m := startMember(t)

	for path, status := range map[string]int{"/v2/members": 200, "/version": 200, "/v2/keys/": 404, "/health": 404} {
		a, err := ask(t.Context(), "GET", m.peer+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.status != status || a.header.Get("X-Etcd-Cluster-Id") == "" ||
			a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v %s", path, a.status, a.header, a.body)
		}
		if client := m.get(path); status == 200 && a.body != client.body {
			t.Errorf("%s: %s on the peer port, %s on the client port", path, a.body, client.body)
		}
	}
}

// A member that comes back at another address publishes the new address. One that comes back
// without such a flag keeps its address.
func TestANewPeerURLIsPublished(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	m.stop()
	moved := freeURL()
	m.flags = []string{"--listen-peer-urls=" + moved, "--initial-advertise-peer-urls=" + moved}

	m.start()

	if list := m.get("/v2/members").body; !hasAll(list, `"peerURLs":["`+moved+`"]`) {
		t.Errorf("moved to %s: %s", moved, list)
	}
}

func TestALoneMemberNeedsNoListAtWhateverPorts(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	m.founded = ""

	m.start()

	if list := m.get("/v2/members").body; !hasAll(list, `"peerURLs":["`+m.peer+`"]`) {
		t.Errorf("members: %s", list)
	}
	m.put("/k", "v")
}

func TestARestartTakesItsIdentityFromTheData(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	m.put("/k", "v")
	before := m.memberID()
	m.stop()
	m.flags = []string{"--initial-cluster=someone=http://127.0.0.1:1,else=http://127.0.0.1:2",
		"--initial-cluster-token=other", "--initial-cluster-state=existing"}

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

// A trial start beside a running member, with the same flags, locks, opens and writes nothing.
func TestATrialBesideARunningMember(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	m.put("/k", "v")
	cluster := m.get("/v2/keys/k").header.Get("X-Etcd-Cluster-Id")
	before := tree(t, m.data())

	out, err := exec.Command(binary, append(m.arguments(), "--check-config")...).CombinedOutput()

	if err != nil || !hasAll(string(out), "listening at "+m.url, m.data()+": the data of a member",
		"log of member "+m.memberID()+" of cluster "+cluster, "a member runs here", "no fault found") {
		t.Errorf("%v: %s", err, out)
	}
	if after := tree(t, m.data()); after != before {
		t.Errorf("it has changed the directory:\n%s\n%s", before, after)
	}
}

// tree returns the names, sizes and times of all files below a directory.
func tree(t *testing.T, dir string) (text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			text += fmt.Sprintln(path, info.Size(), info.ModTime(), info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestVersionIsFourLines(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(binary, "--version").Output()

	lines := strings.Split(string(out), "\n")
	if err != nil || len(lines) != 5 || lines[0] != "etcd Version: 2.4.0" {
		t.Errorf("%v: %q", err, lines)
	}
}

// TestDumpShowsEveryWrite: etcd2 dump prints a line for each record of the log.
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
