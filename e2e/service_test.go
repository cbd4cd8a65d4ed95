package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// notices collects the member's messages to systemd, up to one that begins with until.
func (m *member) notices(until string) (list []string) {
	m.t.Helper()
	for {
		notice := m.nextNotice()
		if notice == "" {
			m.t.Fatalf("no %s after %q:\n%s", until, list, m.log.tail(20))
		}
		list = append(list, notice)
		if strings.HasPrefix(notice, until) {
			return list
		}
	}
}

// silence waits until the member has sent no message for a duration, and returns the messages
// before.
func (m *member) silence(d time.Duration) (told []string) {
	m.t.Helper()
	b := make([]byte, 256)
	for {
		m.notify.SetReadDeadline(time.Now().Add(d))
		n, err := m.notify.Read(b)
		if err != nil {
			return told
		}
		if told = append(told, string(b[:n])); len(told) > 1000 {
			m.t.Fatalf("it is never silent: %q", told[len(told)-10:])
		}
	}
}

func TestSystemdIsToldTheLifeOfAMember(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	m.environ = []string{"WATCHDOG_USEC=400000"}
	m.launch()

	start := strings.Join(m.notices("READY=1"), "\n")
	if a, err := ask(t.Context(), "GET", m.url+"/health", nil); err != nil || a.status != 200 {
		t.Errorf("it is ready: %v %+v", err, a)
	}
	m.notices("WATCHDOG=1")
	m.notices("WATCHDOG=1")
	m.signal(syscall.SIGSTOP)
	m.silence(time.Second)
	m.signal(syscall.SIGCONT)
	m.notices("WATCHDOG=1")
	m.signal(syscall.SIGTERM)
	m.notices("STOPPING=1")

	if status := m.exited(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if !regexp.MustCompile(`(?s)STATUS=looking for the cluster\n.*STATUS=reading ` + m.data() +
		`\n.*STATUS=replaying the log.*\nSTATUS=leader, the only member\n.*READY=1`).MatchString(start) {
		t.Errorf("it says:\n%s", start)
	}
}

// pitfall F3: while a disk hangs there are no watchdog pings. When the disk comes back in time,
// they begin again.
func TestTheWatchdogIsNotFedWhileAnFsyncHangs(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed")
	}
	m := newMember(t)
	m.environ = []string{"WATCHDOG_USEC=800000"}
	m.start()
	m.notices("WATCHDOG=1")
	hang := exec.Command("strace", "-f", "-qq", "-e", "trace=fdatasync", "-e",
		"inject=fdatasync:delay_enter=60s:when=1", "-o", os.DevNull, "-p", fmt.Sprint(m.pid.Load()))
	hung := newLogLines()
	hang.Stderr = hung
	if err := hang.Start(); err != nil {
		t.Fatal(err)
	}
	// A process that is no longer traced continues.
	letGo := sync.OnceFunc(func() { hang.Process.Signal(syscall.SIGINT); hang.Wait() })
	defer letGo()
	eventually(t, "the member is traced", patience, func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.pid.Load()))
		traced := err == nil && !strings.Contains(string(b), "TracerPid:\t0\n")
		if !traced && hung.count() > 0 {
			t.Skipf("tracing is not permitted here: %s", hung.tail(3))
		}
		return traced
	})
	since := m.log.count()
	written := make(chan int, 1)
	go func() {
		var last answer
		// other threads are traced a little later than the first one, so the first writes may pass
		for !m.log.has(since, "it is stuck") {
			// the status is checked
			last, _ = ask(context.Background(), "PUT", m.url+"/v2/keys/k", url.Values{"value": {"v"}})
		}
		written <- last.status
	}()

	m.expectLog(since, "level=WARN", "it is stuck", "a write to the log")
	m.silence(800 * time.Millisecond)
	select {
	case <-written:
		t.Error("the disk does not hang any more")
	default:
	}
	letGo()

	if status := <-written; status != 200 && status != 201 {
		t.Errorf("the write got %d", status)
	}
	m.notices("WATCHDOG=1")
	m.expectLog(since, "makes progress again")
}

// lastStatus returns the exit status after which the README's unit is not restarted.
func lastStatus(t *testing.T) int {
	t.Helper()
	unit := units(t)["/etc/systemd/system/etcd2.service"]
	found := regexp.MustCompile(`(?m)^RestartPreventExitStatus=(\d+)$`).FindStringSubmatch(unit)
	if found == nil {
		t.Fatal("the README's unit has no RestartPreventExitStatus")
	}
	status, _ := strconv.Atoi(found[1])
	return status
}

// The watchdog ends a member with SIGABRT, which Go turns into the exit status of a panic.
func TestAMemberThatTheWatchdogHasEndedIsStartedAgain(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	m.start()
	m.signal(syscall.SIGABRT)

	if status := m.exited(); status == 0 || status == lastStatus(t) {
		t.Errorf("it ended with status %d", status)
	}
}

// probe does what a user of the README's unit does. It prints a line for each result.
const probe = `
is() { echo $1: $(systemctl show -P $2 etcd2); }
until_is() { for i in $(seq 200); do [ "$(systemctl show -P $2 etcd2)" != "$3" ] || break; sleep 0.1; done; is $1 $2; }
systemctl start etcd2 && echo started
until_is status StatusText "leader, the only member"
systemctl reload etcd2 && echo reloaded
curl -s http://127.0.0.1:2379/v2/keys/k -XPUT -d value=v | grep -o '"value":"v"'
stat -c 'data: %a' /var/lib/etcd2/.
[ "$(stat -c %u /var/lib/etcd2/.)" != 0 ] && echo not root
before=$(systemctl show -P MainPID etcd2)
kill -STOP $before
until_is restarts NRestarts 1
until_is state ActiveState active
[ "$(systemctl show -P MainPID etcd2)" != $before ] && echo another process
curl -s http://127.0.0.1:2379/v2/keys/k | grep -o '"value":"v"'
systemctl stop etcd2 && echo stopped
is result Result
is exit ExecMainStatus
echo end
`

// The README's unit runs under a systemd that is process 1 of namespaces of its own. It reports
// when it is ready, a member that hangs is ended and restarted, and its data stays.
func TestTheReadmesUnitRuns(t *testing.T) {
	startsProcesses(t)
	t.Parallel()
	for _, program := range []string{"/lib/systemd/systemd", "unshare", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text),
			0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("probe.sh", probe)
	write("units/probe.service",
		"[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/bash "+
			"/run/keep/probe.sh\nStandardOutput=append:/run/keep/said\n")
	write("units/etcd2.service", units(t)["/etc/systemd/system/etcd2.service"])
	write("units/etcd2.service.d/quick.conf",
		"[Service]\nExecStart=\nExecStart=/run/keep/etcd2\nWatchdogSec=5\nRestartSec=0\n")
	program, err := os.ReadFile(binary)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "etcd2"), program, 0o755)
	}
	if err := cmp.Or(err, lookAtSources()); err != nil {
		t.Fatal(err)
	}
	machine := exec.Command("unshare", "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--fork",
		"--mount-proc", "--kill-child",
		"bash", "testdata/systemd.sh", dir)
	console := newLogLines()
	machine.Stdout, machine.Stderr = console, console
	machine.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := machine.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { machine.Wait(); close(ended) }() // it does not end by itself
	defer func() { machine.Process.Kill(); <-ended }()

	said := func() string {
		b, _ := os.ReadFile(filepath.Join(dir, "said"))
		return string(b)
	}
	eventually(t, "the end of the probe", 2*patience, func() bool {
		select {
		case <-ended:
			if said() == "" {
				t.Skipf("systemd can't be process 1 here: %s", console.tail(5))
			}
			t.Fatalf("systemd has ended:\n%s", console.tail(20))
		default:
		}
		return strings.HasSuffix(said(), "end\n")
	})

	want := `started
status: leader, the only member
reloaded
"value":"v"
data: 700
not root
restarts: 1
state: active
another process
"value":"v"
stopped
result: success
exit: 0
end
`
	if got := said(); got != want {
		t.Errorf("it said\n%s\nthe console:\n%s", got, console.tail(30))
	}
}

func TestAFollowerTellsSystemdWhomItFollows(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)

	c.leader().kill()

	leader := c.leader()
	leader.notices("STATUS=leader, one of 3 members")
	c.followers()[0].notices("STATUS=follower of " + leader.name + ", one of 3 members")
}

// handOver gives the member a socket as systemd does.
func (m *member) handOver(names string, urls ...string) {
	m.t.Helper()
	for _, u := range urls {
		l, err := net.Listen("tcp", strings.TrimPrefix(u, "http://"))
		if err != nil {
			m.t.Fatal(err)
		}
		file, err := l.(*net.TCPListener).File()
		if err != nil {
			m.t.Fatal(err)
		}
		l.Close() // the file holds the socket, too
		m.t.Cleanup(func() { file.Close() })
		m.handed = append(m.handed, file)
	}
	m.environ = append(m.environ, fmt.Sprint("LISTEN_FDS=", len(urls)), "LISTEN_FDNAMES="+names)
	m.wrap = []string{"sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh"}
}

// A client that comes before there is a process gets its answer when there is one. A client that
// comes after the end of that process gets its answer from the next one.
func TestSocketsOfSystemdAreServed(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	m.handOver("etcd2.socket:peer", m.url, m.peer)
	for life := range 2 {
		answered := make(chan answer, 1)
		go func() {
			a, err := ask(context.Background(), "PUT", m.url+"/v2/keys/early", map[string][]string{"value": {"v"}})
			if err != nil {
				a.body = err.Error()
			}
			answered <- a
		}()

		m.start()

		if a := <-answered; a.status != 201-life {
			t.Errorf("life %d: %d %s", life, a.status, a.body)
		}
		if a, err := ask(t.Context(), "GET", m.peer+"/v2/members", nil); err != nil || a.status != 200 {
			t.Errorf("at the peer port: %v %+v", err, a)
		}
		m.stop()
	}
}

func TestASocketThatBelongsNowhereStopsTheStart(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	stray := freeURL()
	m.handOver("etcd2.socket", stray)

	line := m.refused()

	if !hasAll(line, `"etcd2.socket" at `+strings.TrimPrefix(stray, "http://"), "--listen-client-urls="+m.url,
		"FileDescriptorName=") || m.log.count() != 1 {
		t.Errorf("it says: %s", line)
	}
}

// Without a flag for the client URLs, a socket with that name is used.
func TestASocketNamedForClientsTakesThePlaceOfThePresetURLs(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	m.handOver("client", m.url)
	m.bare, m.flags = true, []string{"--data-dir=" + m.data(), "--peer-bind-addr=" + strings.TrimPrefix(m.peer,
		"http://"), "--peer-addr=" + strings.TrimPrefix(m.peer, "http://")}

	m.start()

	if list := m.get("/v2/members").body; !hasAll(list, `"clientURLs":["`+m.url+`"]`, `"peerURLs":["`+m.peer+`"]`) {
		t.Errorf("members: %s", list)
	}
	m.expectLog(0, "msg=serving", "clients=["+m.url+"]")
}

func TestOneSocketIsNotForHTTPAndHTTPS(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	m.handOver("client", m.url)
	_, address, _ := strings.Cut(m.url, "://")
	_, port, _ := net.SplitHostPort(address)
	for _, urls := range []string{m.url + ",https://localhost:" + port, strings.Replace(freeURL(), "http", "https", 1) +
		"," + freeURL()} {
		m.flags = []string{"--auto-tls", "--listen-client-urls=" + urls}

		line := m.refused()

		if !hasAll(line, "--listen-client-urls=", "one socket for http and https") {
			t.Errorf("%s: it says: %s", urls, line)
		}
	}
}

// units returns the systemd files in the README, by path. They must be those of the repository.
func units(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)```ini\n# (/\\S+)\n(.*?)```").FindAllStringSubmatch(readmeSection(t,
		"As a service"), -1) {
		files[m[1]] = m[2]
	}
	if len(files) != 3 {
		t.Fatalf("%d files of systemd in the README", len(files))
	}
	for path, text := range files {
		switch b, err := os.ReadFile(filepath.Join("..", "http", "systemd", filepath.Base(path))); {
		case strings.HasSuffix(path, ".conf"): // a file for cloud-init, which is not in this repository
		case err != nil || string(b) != text:
			t.Fatalf("the README's %s is not the file in http/systemd: %v", path, err)
		}
	}
	return files
}

func TestTheReadmesUnitsAreUnderstoodBySystemd(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	dir := t.TempDir()
	verify := []string{"verify", "--man=no"}
	for path, text := range units(t) {
		path = filepath.Join(dir, regexp.MustCompile(`^/\w+/systemd/system/`).ReplaceAllString(path, ""))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "/usr/bin/etcd2", binary)), 0o644); err != nil {
			t.Fatal(err)
		}
		if filepath.Dir(path) == dir {
			verify = append(verify, path)
		}
	}
	cmd := exec.Command("systemd-analyze", verify...)
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":") // with the machine's own units after it

	out, err := cmd.CombinedOutput()

	if err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

// The environment that coreos-cloudinit writes is all that a member needs.
func TestTheEnvironmentOfCloudinitStartsAMember(t *testing.T) {
	t.Parallel()
	registry := startMember(t)
	m := newMember(t)
	second, secondPeer := freeURL(), freeURL()
	values := strings.NewReplacer("https://discovery.etcd.io/TOKEN", registry.get("/discovery/new?size=1").body,
		"http://10.0.0.1:2379", m.url, "http://10.0.0.1:4001", second, "http://0.0.0.0:2379", m.url,
		"http://0.0.0.0:4001", second,
		"http://10.0.0.1:2380", m.peer, "http://10.0.0.1:7001", secondPeer)
	names := 0
	for path, text := range units(t) {
		for _, v := range regexp.MustCompile(`Environment="(ETCD_.*)"`).FindAllStringSubmatch(text, -1) {
			names++
			m.environ = append(m.environ, values.Replace(v[1]))
		}
		if strings.HasSuffix(path, ".service") && !strings.Contains(text, "\nEnvironment=ETCD_NAME=%m ETCD_DATA_DIR=") {
			t.Errorf("%s does not say where the data is", path)
		}
	}
	m.environ = append(m.environ, "ETCD_NAME=machine", "ETCD_DATA_DIR="+m.data(), "ETCD_BOGUS=secret", "ETCD_CORS=")
	m.bare = true

	m.start()

	if names != 5 {
		t.Errorf("%d variables", names)
	}
	for _, u := range []string{m.url, second} {
		if a, err := ask(t.Context(), "GET", u+"/v2/members", nil); err != nil || !hasAll(a.body, `"name":"machine"`,
			m.url, second, m.peer) {
			t.Errorf("%s: %v %s", u, err, a.body)
		}
	}
	m.expectLog(0, "level=INFO", "recognized and used environment variable ETCD_NAME=machine")
	m.expectLog(0, "level=WARN", "unrecognized environment variable ETCD_BOGUS")
	if log := m.log.tail(1000); strings.Contains(log, "secret") || strings.Contains(log, "ETCD_CORS") {
		t.Error(log)
	}
}

// The image has nothing but the binary, which is process 1 in it.
func TestTheReadmesContainerLineRunsInAnEmptyRoot(t *testing.T) {
	t.Parallel()
	section := readmeSection(t, "In a container")
	line := regexp.MustCompile(`(?m)^\$ docker run .* etcd2 etcd2 (.*)$`).FindStringSubmatch(section)
	if line == nil || !hasAll(section, "FROM scratch\n", "COPY etcd2 /etcd2\n", `ENTRYPOINT ["/etcd2"]`,
		"CGO_ENABLED=0 go build") {
		t.Fatal("the README has no container")
	}
	m := newMember(t)
	root := filepath.Join(m.dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(binary, filepath.Join(root, "etcd2")); err != nil {
		t.Fatal(err)
	}
	client, peer := strings.TrimPrefix(m.url, "http://127.0.0.1"), strings.TrimPrefix(m.peer, "http://127.0.0.1")
	flags := strings.NewReplacer("10.0.0.1:4001", "127.0.0.1"+client, "0.0.0.0:4001", "0.0.0.0"+client, "10.0.0.1:7001",
		"127.0.0.1"+peer, "0.0.0.0:7001", "0.0.0.0"+peer)
	cmd := exec.Command("/etcd2", strings.Fields(flags.Replace(line[1]))...)
	cmd.Env, cmd.Dir, cmd.Stderr = []string{"ETCD_DATA_DIR=/data"}, "/", m.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Skipf("a root of its own is not permitted here: %v", err)
	}
	defer cmd.Process.Kill()

	m.expectLog(0, "msg=serving")
	list, err := ask(t.Context(), "GET", m.url+"/v2/members", nil)
	if err != nil || !hasAll(list.body, `"peerURLs":["`+m.peer+`"],"clientURLs":["`+m.url+`"]`) {
		t.Errorf("%v: %s", err, list.body)
	}
	m.put("/message", "Hello world")
	cmd.Process.Signal(syscall.SIGTERM)

	if err := cmd.Wait(); err != nil {
		t.Errorf("process 1 was asked to stop: %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "data", "member")); err != nil {
		t.Errorf("the data: %v", err)
	}
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}

// A client that follows redirects gets none, at any member.
func TestCurlNeedsToFollowNobody(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	c := startCluster(t, 3)
	for i, m := range c.members {
		key := fmt.Sprintf("%s/v2/keys/k%d", m.url, i)
		for _, args := range [][]string{{"-X", "PUT", "-d", "value=v"}, {}, {"-X", "DELETE"}} {
			args = append([]string{"-sS", "-L", "-o", os.DevNull, "-w", "%{http_code} %{num_redirects}", key}, args...)

			out, err := exec.Command("curl", args...).CombinedOutput()

			if text := string(out); err != nil || text != "201 0" && text != "200 0" {
				t.Errorf("%v %q: %s", err, args, text)
			}
		}
	}
}
