package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// debianEtcdctl speaks the v2 API when ETCDCTL_API says so.
const debianEtcdctl = "/usr/bin/etcdctl"

// etcdctl is the server's binary under another name.
func TestOutputsAreThoseOfEtcdctl(t *testing.T) {
	t.Parallel()
	m := startMember(t)

	playConsole(t, m, filepath.Join(ours(t, "etcdctl"), "etcdctl"), "etcdctl.txt", "")
}

// Where the releases agree, Debian's etcdctl and this one are interchangeable: they print the same
// lines, with the same server.
func TestDebiansEtcdctlAnswersTheSame(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(debianEtcdctl); err != nil {
		t.Skip("etcd-client is not installed")
	}
	m := startMember(t)

	playConsole(t, m, debianEtcdctl, "etcdctl.txt", "(2.3.8)")
}

func TestOutputsAboutUsersAreThoseOfEtcdctl(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	if m.get("/v2/auth/enable").status != 200 {
		t.Skip("this server has no users")
	}

	playConsole(t, m, filepath.Join(ours(t, "etcdctl"), "etcdctl"), "etcdctl_auth.txt", "")
}

// ours returns a directory in which the binary has a given name.
func ours(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// patiently returns a directory in which a program has the name etcdctl and waits longer for an
// answer than its default. On a busy machine the hash of a password alone may take the server more
// than the second that etcdctl waits.
func patiently(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nexec %s --timeout %v --total-timeout %v \"$@\"\n", program, patience, 2*patience)
	if err := os.WriteFile(filepath.Join(dir, "etcdctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A console runs the commands of a file in a shell that finds etcdctl in a directory.
type console struct {
	t   *testing.T
	m   *member
	dir string

	waiting *ctlCommand
	ended   chan string // what it printed
}

// A ctlCommand is one command of a file and what it must print.
type ctlCommand struct {
	line, want string
}

// playConsole runs a file with a program for etcdctl. It leaves out the commands with a given mark,
// none of which changes anything.
func playConsole(t *testing.T, m *member, program, file, mark string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split("\n"+string(b), "\n$ ")[1:]
	c := &console{t: t, m: m, dir: patiently(t, program)}
	for _, block := range blocks {
		line, want, _ := strings.Cut(block, "\n")
		want, _, _ = strings.Cut(want, "\n\n#")
		status := want[strings.LastIndex(want, "= "):]
		if mark != "" && strings.Contains(status, mark) {
			continue
		}
		c.play(ctlCommand{line, strings.TrimSpace(strings.ReplaceAll(want, " (2.3.8)", ""))})
	}
}

func (c *console) play(cmd ctlCommand) {
	c.t.Helper()
	if line, background := strings.CutSuffix(cmd.line, " &"); background {
		c.waiting, c.ended = &cmd, make(chan string, 1)
		go func() { c.ended <- c.execute(line) }()
		eventually(c.t, "the watch of "+line, patience, func() bool { return c.m.metric("etcd_store_watchers") == 1 })
		return
	}
	c.check(cmd, c.execute(cmd.line))
	if c.waiting != nil {
		c.check(*c.waiting, <-c.ended)
		c.waiting = nil
	}
}

// execute runs a line, and returns its output as the file has it.
func (c *console) execute(line string) string {
	ctx, cancel := context.WithTimeout(c.t.Context(), 3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", strings.ReplaceAll(line, "http://127.0.0.1:2379", c.m.url))
	cmd.Env = append(os.Environ(), "ETCDCTL_API=2", "ETCDCTL_ENDPOINTS="+c.m.url, "PATH="+c.dir+":"+os.Getenv("PATH"))
	cmd.Dir = c.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Run() // its status is a line of the output
	for text := range strings.Lines(errs.String()) {
		out.WriteString("! " + strings.TrimSuffix(text, "\n") + "\n")
	}
	return out.String() + "= " + strings.TrimPrefix(cmd.ProcessState.String(), "exit status ")
}

func (c *console) check(cmd ctlCommand, got string) {
	c.t.Helper()
	want := regexp.QuoteMeta(strings.ReplaceAll(cmd.want, "http://127.0.0.1:2379", c.m.url))
	want = strings.ReplaceAll(want, "…", "(?s:.*)")
	got = strings.TrimSpace(got)
	if !regexp.MustCompile("^" + want + "$").MatchString(got) {
		c.t.Errorf("$ %s\ngot\n%s\nwant\n%s", cmd.line, got, cmd.want)
	}
}

// A ctlProcess is an etcdctl that runs until it is interrupted.
type ctlProcess struct {
	t   *testing.T
	cmd *exec.Cmd
	out *logLines
}

// startCtl starts the binary as etcd2 ctl.
func startCtl(m *member, args ...string) *ctlProcess {
	m.t.Helper()
	f := &ctlProcess{t: m.t, out: newLogLines()}
	f.cmd = exec.Command(binary, m.ctlLine(args...)...)
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	f.cmd.Stdout, f.cmd.Stderr = f.out, f.out
	if err := f.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { f.cmd.Process.Kill() })
	return f
}

// expect waits for a line.
func (f *ctlProcess) expect(words ...string) {
	f.t.Helper()
	if _, err := f.out.await(0, words...); err != nil {
		f.t.Fatalf("%v:\n%s", err, f.out.tail(20))
	}
}

// interrupt ends it as Ctrl-C does; the status must be 0.
func (f *ctlProcess) interrupt() {
	f.t.Helper()
	f.cmd.Process.Signal(os.Interrupt)
	if err := f.cmd.Wait(); err != nil {
		f.t.Errorf("after an interrupt: %v", err)
	}
}

func TestExecWatchRunsACommandForEachChange(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	index := m.put("/w/a", "1").index(t)
	f := startCtl(m, "exec-watch", "--recursive", "/w", "--after-index", "3", "--",
		"sh", "-c", "echo $ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_MODIFIED_INDEX [$ETCD_WATCH_VALUE]")

	f.expect("set /w/a 4 [1]")
	m.do("DELETE", "/v2/keys/w/a", nil)
	f.expect("delete /w/a 5 []")
	m.do("PUT", "/v2/keys/w/d?dir=true", nil)
	m.put("/w/d/b", "two words")
	f.expect("set /w/d/b 7 [two words]")
	f.expect("Ignored dir /w/d change")
	f.interrupt()

	if index != 4 {
		t.Errorf("the first index is %d", index)
	}
}

func TestAWatchForEverOutlivesItsServer(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	f := startCtl(m, "watch", "-f", "-r", "/w")
	eventually(t, "the watch", patience, func() bool { return m.metric("etcd_store_watchers") == 1 })
	m.put("/w/a", "before")
	f.expect("before")

	m.kill()
	m.start()
	m.put("/w/b", "after")

	f.expect("[set] /w/b")
	f.expect("after")
	f.interrupt()
}

func TestClusterHealthForEverEndsWithAnInterrupt(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	f := startCtl(m, "cluster-health", "--forever")

	f.expect("cluster is healthy")
	f.expect("next check after 10 second...")
	f.interrupt()
}

// A member may advertise a URL that this machine can't reach.
func TestASyncedAddressThatIsDeadFallsBack(t *testing.T) {
	t.Parallel()
	m := startMember(t, "--advertise-client-urls=http://127.0.0.1:1")
	m.put("/k", "v")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	out, err := exec.CommandContext(ctx, binary, m.ctlLine("get", "/k")...).CombinedOutput()

	if err != nil || string(out) != "v\n" {
		t.Errorf("%v: %s", err, out)
	}
}
