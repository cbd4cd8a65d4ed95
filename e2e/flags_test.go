package e2e

import (
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
