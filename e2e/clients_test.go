package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// python is the interpreter that Debian's packages are installed for.
const python = "/usr/bin/python3"

// TestEtcdctlWorks runs Debian's etcdctl, as it is, through the commands of the
// second version of the API.
func TestEtcdctlWorks(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("etcdctl"); err != nil {
		t.Skip("etcdctl is not installed (package etcd-client)")
	}
	m := startMember(t)
	for _, c := range []struct {
		line string // arguments, separated by blanks
		want string // words of its output, separated by blanks
	}{
		{"set /a 1", "1"},
		{"get /a", "1"},
		{"mk /a 2", "Error: 105: Key already exists"},
		{"mk /b 2 --ttl 100", "2"},
		{"update /b 3", "3"},
		{"set /b 4 --swap-with-value 3", "4"},
		{"set /b 5 --swap-with-value 3", "Compare failed ([3 != 4])"},
		{"mkdir /d", ""},
		{"setdir /d2", ""},
		{"updatedir /d --ttl 100", ""},
		{"mk --in-order /q first", "first"},
		{"set /d/e/f 6", "6"},
		{"ls --sort -p /", "/a /b /d/ /d2/ /q/"},
		{"ls --recursive /d", "/d/e /d/e/f"},
		{"-o extended get /a", "Key: /a Created-Index: Modified-Index: TTL: 0 Index: 1"},
		{"-o json get /a", `"action":"get" "key":"/a" "value":"1"`},
		{"rm /a", "PrevNode.Value: 1"},
		{"rm /d", "Not a file"},
		{"rmdir /d", "Directory not empty"},
		{"rm --recursive /d", ""},
		{"get /a", "Error: 100: Key not found (/a)"},
		{"member list", "name=default peerURLs=" + m.peer + " clientURLs=" + m.url + " isLeader=true"},
		{"cluster-health", "is healthy cluster is healthy"},
	} {
		out := m.etcdctl(strings.Fields(c.line)...)
		if !hasAll(out, strings.Fields(c.want)...) {
			t.Errorf("etcdctl %s: got %q, want %q", c.line, out, c.want)
		}
	}
}

// etcdctl runs one command and returns what it prints; its exit status is part
// of neither promise nor test.
func (m *member) etcdctl(args ...string) string {
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	out, _ := m.etcdctlCommand(ctx, args...).CombinedOutput()
	return string(out)
}

func (m *member) etcdctlCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "etcdctl", append([]string{"--endpoints", m.url, "--timeout", patience.String(),
		"--total-timeout", (2 * patience).String()}, args...)...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=2")
	return cmd
}

func TestEtcdctlWatches(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("etcdctl"); err != nil {
		t.Skip("etcdctl is not installed (package etcd-client)")
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"watch", "/w/k"}, "value"},
		{[]string{"watch", "--recursive", "/w"}, "[set] /w/k"},
		{[]string{"exec-watch", "--recursive", "/w", "--", "sh", "-c",
			"echo $ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"}, "set /w/k value"},
	} {
		t.Run(c.args[0], func(t *testing.T) {
			t.Parallel()
			m := startMember(t)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			out := newLogLines()
			cmd := m.etcdctlCommand(ctx, c.args...)
			cmd.Stdout = out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the watch", patience, func() bool { return m.metric("etcd_store_watchers") == 1 })

			m.put("/w/k", "value")

			if _, err := out.await(0, c.want); err != nil {
				t.Error(err)
			}
			cancel()
			cmd.Wait() // killed, or ended after its one event
		})
	}
}

// TestPythonEtcdWorks runs testdata/python_etcd.py, which asserts for itself.
func TestPythonEtcdWorks(t *testing.T) {
	t.Parallel()
	skipWithoutPythonEtcd(t)
	m := startMember(t, "--event-history=20")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()

	start := time.Now()
	out, err := exec.CommandContext(ctx, python, "testdata/python_etcd.py", m.url).CombinedOutput()

	if err != nil {
		t.Errorf("after %v: %v\n%s", time.Since(start), err, out)
	}
}

func skipWithoutPythonEtcd(t *testing.T) {
	t.Helper()
	startsProcesses(t)
	if exec.Command(python, "-c", "import etcd").Run() != nil {
		t.Skip("the etcd client is not installed (package python3-etcd)")
	}
}

// TestCryptWorks runs Debian's crypt, which is made with etcd's own client for Go.
func TestCryptWorks(t *testing.T) {
	t.Parallel()
	path := debians(t, "crypt-xordataexchange")
	m := startMember(t)
	crypt := func(command string, args ...string) string {
		t.Helper()
		args = append([]string{command, "-plaintext", "-backend=etcd", "-endpoint=" + m.url}, args...)
		out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
		if err != nil {
			t.Errorf("crypt %s: %v: %s", args, err, out)
		}
		return string(out)
	}
	file := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(file, []byte("one\ntwo"), 0o600); err != nil {
		t.Fatal(err)
	}

	crypt("set", "/app/config", file)

	if got := crypt("get", "/app/config"); got != "one\ntwo\n" {
		t.Errorf("get: %q", got)
	}
	if got := crypt("list", "/app"); got != "/app/config: one\ntwo" {
		t.Errorf("list: %q", got)
	}
}
