package e2e

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// patience is how long a test waits for an event that must come. Only a test that fails waits that
// long, so it may be long enough for a busy machine.
const patience = time.Minute

// measured reports whether a test may measure time: only with -long, and then the test runs alone.
// Otherwise it runs beside others, and checks events only.
func measured(t *testing.T) bool {
	if !pace.Long() {
		t.Parallel()
	}
	return pace.Long()
}

// binary is the path of the built server, and binaryFlags precede all other flags.
//
// E2E_SERVER may name another server and its first flags, to test that one, as in
//
//	E2E_SERVER="/usr/bin/etcd --enable-v2" go test ./e2e -run Cluster
var (
	binary      string
	binaryFlags []string
)

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "e2e")
	if other := strings.Fields(os.Getenv("E2E_SERVER")); len(other) > 0 {
		binary, binaryFlags = other[0], other[1:]
	} else if err == nil {
		binary = filepath.Join(dir, "etcd2")
		err = build(binary)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	// Most of these tests wait for a clock or a disk, and not for a core.
	flag.Set("test.parallel", "8")
	status := m.Run()
	shared.chromium.stop()
	os.RemoveAll(dir)
	os.Exit(status)
}

// lookAtSources opens every source file. Otherwise the go command would reuse the cached result of
// a test that starts processes although a source has changed: it knows only the files that the test
// itself has opened.
var lookAtSources = sync.OnceValue(func() error {
	return filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		}
		_, err = os.Stat(path)
		return err
	})
})

// build builds the one static binary as a user would.
func build(path string) error {
	cmd := exec.Command("go", "build", "-o", path, "etcd2")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// A member is one server process with its directory and ports.
type member struct {
	t       *testing.T
	name    string
	dir     string              // its parent directory: data, socket
	url     string              // client URL
	peer    string              // peer URL on which it listens
	reached string              // peer URL that other members are told
	founded string              // --initial-cluster
	flags   []string            // further flags
	wrap    []string            // a command that runs it, as prlimit
	bare    bool                // only flags are on its command line
	environ []string            // further environment variables
	handed  []*os.File          // descriptors that it gets, from 3 on
	user    *syscall.Credential // user that it runs as; nil: the user of the test

	pid    atomic.Int64 // of the process that runs, or ran last
	cmd    *exec.Cmd
	log    *logLines
	notify *net.UnixConn
	ended  chan struct{} // closed when the process has ended; cmd.ProcessState then says how
}

// alsoShort are the tests that start processes although -short was given.
var alsoShort = []string{"TestEtcdctlWorks", "TestSIGTERMFinishesWhatIsInFlight", "TestATornTailIsCutAndTold"}

// startsProcesses skips a test, or a part of one, if -short was given.
func startsProcesses(t *testing.T) {
	t.Helper()
	if name, _, _ := strings.Cut(t.Name(), "/"); !slices.Contains(alsoShort, name) {
		pace.LeftOutByShort(t)
	}
}

// newMember prepares a member with a directory and ports of its own.
func newMember(t *testing.T, flags ...string) *member {
	t.Helper()
	startsProcesses(t)
	dir, err := os.MkdirTemp("", "e2e") // short, because the path of a socket may have at most 107 bytes
	if err := cmp.Or(err, lookAtSources()); err != nil {
		t.Fatal(err)
	}
	m := &member{t: t, name: "default", dir: dir, url: freeURL(), peer: freeURL(), flags: flags, log: newLogLines()}
	m.reached = m.peer
	m.founded = m.name + "=" + m.peer
	t.Cleanup(m.cleanUp)
	return m
}

// startMember returns a member that serves clients.
func startMember(t *testing.T, flags ...string) *member {
	t.Helper()
	m := newMember(t, flags...)
	m.start()
	return m
}

func (m *member) cleanUp() {
	m.kill()
	if m.t.Failed() {
		m.t.Logf("the last lines of the log of member %s:\n%s", m.name, m.log.tail(30))
	}
	os.RemoveAll(m.dir)
}

func (m *member) data() string { return filepath.Join(m.dir, "data") }

// arguments are the member's command line.
func (m *member) arguments() []string {
	if m.bare {
		return m.flags
	}
	args := append(slices.Clone(binaryFlags),
		"--name="+m.name, "--data-dir="+m.data(),
		"--listen-client-urls="+m.url, "--advertise-client-urls="+m.url,
		"--listen-peer-urls="+m.peer, "--initial-advertise-peer-urls="+m.reached)
	if m.founded != "" {
		args = append(args, "--initial-cluster="+m.founded)
	}
	return append(args, m.flags...)
}

// launch starts the process and does not wait for anything.
func (m *member) launch() {
	m.t.Helper()
	m.listenForNotices()
	line := append(append(append([]string{}, m.wrap...), binary), m.arguments()...)
	cmd := exec.Command(line[0], line[1:]...)
	// the process also dies when the tests are killed
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: m.user, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.notify.LocalAddr().String())
	cmd.Env = append(cmd.Env, m.environ...)
	cmd.ExtraFiles = m.handed
	cmd.Stderr, cmd.Stdout = m.log, m.log
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	ended := make(chan struct{})
	m.cmd, m.ended = cmd, ended
	m.pid.Store(int64(cmd.Process.Pid))
	go func() {
		cmd.Wait()                    // its error is the process's status, which exited looks at
		client.CloseIdleConnections() // requests to the next process must not find connections to this one
		close(ended)
	}()
}

// start starts the process and waits until it reports that it is ready.
func (m *member) start() {
	m.t.Helper()
	m.launch()
	m.ready()
}

// ready waits until a launched process reports that it is ready.
func (m *member) ready() {
	m.t.Helper()
	if notice := m.awaitNotice(); notice != "READY=1" {
		m.t.Fatalf("member %s did not become ready (%q):\n%s", m.name, notice, m.log.tail(30))
	}
}

func (m *member) listenForNotices() {
	m.t.Helper()
	path := filepath.Join(m.dir, "notify")
	if m.notify != nil {
		m.notify.Close()
		os.Remove(path)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		err = os.Chmod(path, 0o777) // for a member that runs as another user
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.notify = conn
	m.t.Cleanup(func() { conn.Close() })
}

// awaitNotice returns the next sd_notify message about the state of the process, or "" when the
// process ends before it sends one.
func (m *member) awaitNotice() string {
	for {
		notice := m.nextNotice()
		if !hasOneOf(notice, "STATUS=", "EXTEND_TIMEOUT_USEC=", "WATCHDOG=") {
			return notice
		}
	}
}

func hasOneOf(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// nextNotice returns the next sd_notify message, or "" when the process ends before it sends one.
func (m *member) nextNotice() string {
	notices := make(chan string, 1)
	conn := m.notify
	conn.SetReadDeadline(time.Now().Add(patience))
	go func() {
		b := make([]byte, 256)
		n, _ := conn.Read(b)
		notices <- string(b[:n])
	}()
	select {
	case s := <-notices:
		return s
	case <-m.ended:
		// messages sent before the end have arrived; a deadline in the past would hide them
		conn.SetReadDeadline(time.Now().Add(shortly))
		return <-notices
	}
}

// signal sends a signal to the member's process group.
func (m *member) signal(s syscall.Signal) {
	if m.cmd != nil {
		syscall.Kill(-m.cmd.Process.Pid, s)
	}
}

// kill ends the process as a power cut would, and waits for the end.
func (m *member) kill() {
	if m.cmd == nil {
		return
	}
	m.signal(syscall.SIGKILL)
	<-m.ended
}

// stop asks the process to end, and returns its exit status.
func (m *member) stop() int {
	m.t.Helper()
	m.signal(syscall.SIGTERM)
	return m.exited()
}

// exited waits for the end of the process and returns its exit status.
func (m *member) exited() int {
	m.t.Helper()
	select {
	case <-m.ended:
	case <-time.After(patience):
		m.t.Fatalf("the member does not end:\n%s", m.log.tail(30))
	}
	return m.cmd.ProcessState.ExitCode()
}

// refused starts the member, which must end with status 1, and returns its only
// line of output.
func (m *member) refused() string {
	m.t.Helper()
	before := m.log.count()
	m.launch()
	if status := m.exited(); status != 1 {
		m.t.Errorf("exit status %d, want 1", status)
	}
	lines := m.log.since(before)
	if len(lines) == 0 {
		m.t.Fatal("it says nothing")
	}
	return lines[len(lines)-1]
}

// An answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   string
}

// index returns the answer's X-Etcd-Index.
func (a answer) index(t *testing.T) uint64 {
	t.Helper()
	var i uint64
	if _, err := fmt.Sscan(a.header.Get("X-Etcd-Index"), &i); err != nil {
		t.Fatalf("no X-Etcd-Index: %d %s", a.status, a.body)
	}
	return i
}

// client keeps many connections open.
var client = &http.Client{
	Timeout:   patience,
	Transport: &http.Transport{MaxIdleConnsPerHost: 256},
}

// ask sends one request; form is the body when the method takes one.
func ask(ctx context.Context, method, target string, form url.Values) (answer, error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return answer{}, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return send(req)
}

var errStarting = errors.New("this member is starting")

// send sends a request and reads the whole response. A response that says that the member is
// starting is returned as an error, as if the member were down.
func send(req *http.Request) (answer, error) {
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if resp.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(b), errStarting.Error()) {
		err = errStarting
	}
	return answer{resp.StatusCode, resp.Header, string(b)}, err
}

// do is ask for a request that must be answered. It repeats the request when the answer says that
// the member is starting: on a connection from before the end of the start, such an answer may
// still come after it.
func (m *member) do(method, path string, form url.Values) answer {
	m.t.Helper()
	a, err := ask(m.t.Context(), method, m.url+path, form)
	for deadline := time.Now().Add(patience); err == errStarting && time.Now().Before(deadline); {
		a, err = ask(m.t.Context(), method, m.url+path, form)
	}
	if err != nil {
		m.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (m *member) get(path string) answer { m.t.Helper(); return m.do("GET", path, nil) }

// put sets a key; pairs are further parameters.
func (m *member) put(key, value string, pairs ...string) answer {
	m.t.Helper()
	form := url.Values{"value": {value}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	a := m.do("PUT", "/v2/keys"+key, form)
	if a.status > 201 {
		m.t.Fatalf("PUT %s: %d %s", key, a.status, a.body)
	}
	return a
}

// eventually repeats check until it returns true.
func eventually(t *testing.T, what string, within time.Duration, check func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !check() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// ports hands out every port once, from outside the range of outgoing connections.
var ports = struct {
	sync.Mutex
	next int
}{next: 10_000 + rand.IntN(18_000)}

// freeURL returns a URL at which no process listens.
func freeURL() string {
	ports.Lock()
	defer ports.Unlock()
	// a process that is being started at this moment has copies of all descriptors, and would keep
	// the port in use after it is closed here
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for {
		ports.next++
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports.next))
		if err == nil {
			l.Close()
			return "http://" + l.Addr().String()
		}
	}
}

// logLines keeps the lines that a process writes, over all its lives.
type logLines struct {
	mu    sync.Mutex
	rest  string
	lines []string
	news  chan struct{} // replaced and closed when a line comes
}

func newLogLines() *logLines { return &logLines{news: make(chan struct{})} }

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest += string(p)
	for {
		line, rest, found := strings.Cut(l.rest, "\n")
		if !found {
			return len(p), nil
		}
		l.lines, l.rest = append(l.lines, line), rest
		close(l.news)
		l.news = make(chan struct{})
	}
}

func (l *logLines) count() int { return len(l.since(0)) }

func (l *logLines) since(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.lines[min(n, len(l.lines)):]...)
}

func (l *logLines) tail(n int) string {
	lines := l.since(0)
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// await returns the first line from the n-th on that has all the words.
func (l *logLines) await(n int, words ...string) (string, error) {
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		news := l.news
		l.mu.Unlock()
		for _, line := range l.since(n) {
			if hasAll(line, words...) {
				return line, nil
			}
		}
		select {
		case <-news:
		case <-deadline:
			return "", errors.New("no such line in the log: " + strings.Join(words, " … "))
		}
	}
}

// has reports whether a line from the n-th on has the words.
func (l *logLines) has(n int, words string) bool {
	return slices.ContainsFunc(l.since(n), func(line string) bool { return strings.Contains(line, words) })
}

// expectLog waits for a line of the member's log that has all the words.
func (m *member) expectLog(since int, words ...string) string {
	m.t.Helper()
	line, err := m.log.await(since, words...)
	if err != nil {
		m.t.Fatal(err)
	}
	return line
}

func hasAll(s string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}

// readLine reads one line of a stream, waiting for it.
func readLine(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("read a line: %v (%q)", err, line)
	}
	return line
}

// readmeSection returns a section of a package's README; lines that are continued are joined.
func readmeSection(t *testing.T, name string) string {
	t.Helper()
	var section string
	found := false
	for _, pattern := range []string{"../README.md", "../*/README.md", "../*/*/README.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if _, text, has := strings.Cut(string(b), "\n## "+name+"\n"); has {
				section, found = text, true
			}
		}
	}
	if !found {
		t.Fatalf("no README has a section %q", name)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return strings.ReplaceAll(section, "\\\n", "")
}
