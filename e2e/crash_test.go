package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// A load writes keys, each a new one, and remembers what it sent, and at which index each write was
// acknowledged.
type load struct {
	m  *member
	mu sync.Mutex // protects what follows

	next  int
	sent  map[string]string // key → value
	acked map[string]uint64 // key → modifiedIndex
	high  uint64            // highest X-Etcd-Index seen
}

func newLoad(m *member) *load {
	return &load{m: m, sent: map[string]string{}, acked: map[string]uint64{}}
}

// run writes with several clients until the context or the server ends.
func (l *load) run(ctx context.Context, clients int) {
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for ctx.Err() == nil && l.write(ctx) == nil {
			}
		})
	}
	wg.Wait()
}

func (l *load) write(ctx context.Context) error {
	l.mu.Lock()
	l.next++
	key, value := fmt.Sprintf("/load/%06d", l.next), fmt.Sprint(rand.Uint64())
	l.sent[key] = value
	l.mu.Unlock()
	a, err := ask(ctx, "PUT", l.m.url+"/v2/keys"+key, url.Values{"value": {value}})
	if err != nil {
		return err
	}
	if a.status != 201 {
		return fmt.Errorf("%d %s", a.status, a.body)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[key] = decode(l.m.t, a).Node.ModifiedIndex
	l.high = max(l.high, a.index(l.m.t))
	return nil
}

// flows waits until a number of further writes are acknowledged.
func (l *load) flows(more int) {
	l.m.t.Helper()
	acknowledged := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.acked)
	}
	want := acknowledged() + more
	eventually(l.m.t, fmt.Sprint(more, " more writes"), patience, func() bool { return acknowledged() >= want })
}

// check compares the server's keys with what was sent and acknowledged.
func (l *load) check() {
	t := l.m.t
	t.Helper()
	a := l.m.get("/v2/keys/load")
	if i := a.index(t); i < l.high {
		t.Errorf("X-Etcd-Index fell from %d to %d", l.high, i)
	}
	present := map[string]node{}
	for _, n := range decode(t, a).Node.Nodes {
		present[n.Key] = n
	}
	for key, index := range l.acked {
		if n := present[key]; n.ModifiedIndex != index || n.CreatedIndex != index || n.Value != l.sent[key] {
			t.Errorf("%s was acknowledged at %d, and is now %+v", key, index, n)
		}
	}
	for key, n := range present {
		if value, sent := l.sent[key]; !sent || value != n.Value {
			t.Errorf("%s=%s was never sent", key, n.Value)
		}
	}
}

// event is an answer of the keys API, with the fields that these tests use.
type event struct {
	Action    string
	Node      node
	PrevNode  *node
	ErrorCode int
}

type node struct {
	Key, Value                  string
	TTL                         int
	ModifiedIndex, CreatedIndex uint64
	Nodes                       []node
}

func decode(t *testing.T, a answer) (e event) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return e
}

// pitfall B9, pitfall G2
func TestKillLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	m := startMember(t, "--snapshot-count=10")
	l := newLoad(m)
	rounds := 10
	if pace.Long() {
		rounds = 20
	}
	for range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { l.run(ctx, 8); close(done) }()
		l.flows(1 + rand.IntN(60))
		<-time.After(time.Duration(rand.IntN(10)) * time.Millisecond)

		m.kill()
		cancel()
		<-done
		m.start()

		l.check()
	}
}

// pitfall C8
func TestAReaderNeverSeesTheTreeGoBack(t *testing.T) {
	t.Parallel()
	m := startMember(t, "--snapshot-count=10")
	m.put("/n", "0")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { readOnwards(ctx, m); close(done) }()
	for n := 1; n <= 250; n++ {
		m.put("/n", fmt.Sprint(n))
		if n%50 == 0 {
			m.kill()
			m.start()
		}
	}
	cancel()
	<-done
}

// readOnwards reads /n repeatedly, while the server stops and starts. The value may only grow, and
// each answer must be a valid one. It may go back only at a member that has logged since its start
// that no leader told it the cluster's commit index.
func readOnwards(ctx context.Context, m *member) {
	last := -1.0
	for ctx.Err() == nil {
		a, err := ask(ctx, "GET", m.url+"/v2/keys/n", nil)
		if err != nil {
			continue // down
		}
		var e event
		err = json.Unmarshal([]byte(a.body), &e)
		n, isNumber := number(e.Node.Value).(float64)
		if err != nil || !isNumber || n < last && !m.saysItMayBeBehind() {
			m.t.Errorf("after %v: %d %s", last, a.status, a.body)
		}
		last = n
	}
}

// saysItMayBeBehind reports whether the member found no leader when it last started. It waits for
// the log line that says so, which may come after the answer.
func (m *member) saysItMayBeBehind() bool {
	life := 0
	for i, line := range m.log.since(0) {
		if strings.Contains(line, "opened the data directory") {
			life = i
		}
	}
	_, err := m.log.await(life, "no leader tells how far the cluster is")
	return err == nil
}

// pitfall H12
func TestADataDirectoryHasOneProcess(t *testing.T) {
	t.Parallel()
	first := startMember(t)
	second := newMember(t, "--data-dir="+first.data())

	line := second.refused()

	if !hasAll(line, first.data(), fmt.Sprint(first.cmd.Process.Pid)) {
		t.Errorf("it does not name the directory and its holder, process %d: %s", first.cmd.Process.Pid, line)
	}
	first.put("/still", "there")
}

func TestADirectoryThatCannotBeWrittenStopsTheStart(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	if err := os.WriteFile(m.data(), []byte("a file stands in the way"), 0o600); err != nil {
		t.Fatal(err)
	}

	line := m.refused()

	if !hasAll(line, m.data()) {
		t.Errorf("it does not name the directory: %s", line)
	}
}

// walFiles and snapFiles return the member's files, the oldest first.
func (m *member) walFiles() []string  { return m.files("wal") }
func (m *member) snapFiles() []string { return m.files("snap") }

func (m *member) files(kind string) []string {
	m.t.Helper()
	paths, err := filepath.Glob(filepath.Join(m.data(), "member", kind, "*."+kind))
	if err != nil {
		m.t.Fatal(err)
	}
	slices.Sort(paths)
	return paths
}

// change rewrites a file.
func change(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, f(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// used is the length of a preallocated file without the zeros at its end.
func used(b []byte) int { return len(bytes.TrimRight(b, "\x00")) }

// pitfall H2, pitfall H14
func TestAFlippedBitInTheMiddleStopsTheStart(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	for i := range 100 {
		m.put(fmt.Sprint("/k", i), strings.Repeat("v", 100))
	}
	m.kill()
	path := m.walFiles()[0]
	change(t, path, func(b []byte) []byte { b[used(b)/2] ^= 0x10; return b })

	line := m.refused()

	if !hasAll(line, filepath.Base(path), "offset") {
		t.Errorf("it does not name file and offset: %s", line)
	}
}

// pitfall H1
func TestATornTailIsCutAndTold(t *testing.T) {
	t.Parallel()
	for name, tear := range map[string]func([]byte) []byte{
		"half a record":     func(b []byte) []byte { clear(b[used(b)-20:]); return b },
		"garbage behind it": func(b []byte) []byte { copy(b[used(b):], "garbage, no record"); return b },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := startMember(t)
			for i := range 20 {
				m.put(fmt.Sprint("/k", i), "v")
			}
			m.kill()
			files := m.walFiles()
			change(t, files[len(files)-1], tear)

			m.start()

			m.expectLog(0, filepath.Base(files[len(files)-1]), "offset=")
			// The last write may be in the tail; all writes before it are not.
			for i := range 19 {
				if a := m.get(fmt.Sprint("/v2/keys/k", i)); a.status != 200 {
					t.Errorf("/k%d: %s", i, a.body)
				}
			}
			m.put("/after", "v")
		})
	}
}

// pitfall H5
func TestAMissingSegmentStopsTheStart(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	value := strings.Repeat("x", 9<<20)
	for i := range 11 { // 99 MB: more than three segments
		m.put(fmt.Sprint("/k", i), value)
	}
	m.kill()
	files := m.walFiles()
	if len(files) < 3 {
		t.Fatalf("only %d segments", len(files))
	}
	missing := files[len(files)-2]
	if err := os.Remove(missing); err != nil {
		t.Fatal(err)
	}

	line := m.refused()

	if !hasAll(line, "wal") {
		t.Errorf("it does not say what is missing: %s", line)
	}
}

// pitfall H11
func TestAMissingLogStopsTheStart(t *testing.T) {
	t.Parallel()
	m := withSnapshots(t)
	if err := os.RemoveAll(filepath.Join(m.data(), "member", "wal")); err != nil {
		t.Fatal(err)
	}

	line := m.refused()

	if !hasAll(line, filepath.Join(m.data(), "member")) {
		t.Errorf("it does not name the directory: %s", line)
	}
}

// withSnapshots returns a killed member that has at least two snapshots, and whose key /k is
// "last".
func withSnapshots(t *testing.T) *member {
	t.Helper()
	m := startMember(t, "--snapshot-count=50")
	value := strings.Repeat("x", 32<<10) // a snapshot wants some log behind it
	for i := 0; len(m.snapFiles()) < 2; i++ {
		m.put("/k", value)
		if i > 1000 {
			t.Fatal("1000 writes of 32 KiB and less than two snapshots")
		}
	}
	m.put("/k", "last")
	m.kill()
	return m
}

func TestADamagedSnapshotIsPassedOverForAnOlderOne(t *testing.T) {
	t.Parallel()
	m := withSnapshots(t)
	files := m.snapFiles()
	newest := files[len(files)-1]
	change(t, newest, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })

	m.start()

	m.expectLog(0, filepath.Base(newest))
	if a := m.get("/v2/keys/k"); decode(t, a).Node.Value != "last" {
		t.Errorf("the last write is lost: %s", a.body)
	}
}

// Snapshots are not needed when the log reaches back far enough; here it does not.
func TestTruncatedSnapshotsStopTheStart(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	m := startMember(t, "--snapshot-count=1", "--max-wals=1")
	first := m.walFiles()[0]
	value := strings.Repeat("x", 8<<20)
	for i := 0; slices.Contains(m.walFiles(), first); i++ {
		m.put("/k", value)
		if i > 60 {
			t.Fatal("480 MB written, and the first segment of the log is still there")
		}
	}
	m.kill()
	for _, path := range m.snapFiles() {
		change(t, path, func(b []byte) []byte { return b[:len(b)/2] })
	}

	line := m.refused()

	if !hasAll(line, ".snap", "offset") {
		t.Errorf("it does not name file and offset: %s", line)
	}
}

func TestSIGTERMFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	l := newLoad(m)
	done := make(chan struct{})
	go func() { l.run(context.Background(), 4); close(done) }()
	halfSent := openHalfSentPut(t, m, "/slow", "value=finished")
	watch := newPlayer(t, m).send(&request{Method: "GET", Path: "/v2/keys/never?wait=true"})
	if !watch.await(patience, func() bool { return watch.status != 0 }) {
		t.Fatal("the watch has not begun")
	}

	m.signal(syscall.SIGTERM)
	if notice := m.awaitNotice(); notice != "STOPPING=1" {
		t.Errorf("notice %q, want STOPPING=1", notice)
	}
	status := halfSent.finish()
	exit := m.exited()

	if status != 201 || exit != 0 {
		t.Errorf("the request in flight got %d, the exit status is %d; want 201 and 0", status, exit)
	}
	if !watch.await(patience, func() bool { return watch.ended }) {
		t.Error("the watch does not end")
	}
	<-done
	m.start()
	l.check()
	if a := m.get("/v2/keys/slow"); decode(t, a).Node.Value != "finished" {
		t.Errorf("the request in flight left %s", a.body)
	}
}

func TestSIGTERMDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	openHalfSentPut(t, m, "/never", "value=never")

	if status := m.stop(); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
}

// A halfSent is a PUT whose body has not been sent yet.
type halfSent struct {
	t      *testing.T
	conn   net.Conn
	reader *bufio.Reader
	body   string
}

// openHalfSentPut sends the head of a request and waits for the server's "100
// Continue", which says that its handler reads the body.
func openHalfSentPut(t *testing.T, m *member, key, body string) *halfSent {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(m.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "PUT /v2/keys%s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n", key, len(body))
	conn.SetReadDeadline(time.Now().Add(patience))
	h := &halfSent{t, conn, bufio.NewReader(conn), body}
	if line := readLine(t, h.reader) + readLine(t, h.reader); !strings.Contains(line, "100 Continue") {
		t.Fatalf("got %q, want 100 Continue", line)
	}
	return h
}

// finish sends the body and returns the answer's status.
func (h *halfSent) finish() (status int) {
	h.t.Helper()
	if _, err := h.conn.Write([]byte(h.body)); err != nil {
		h.t.Fatal(err)
	}
	fmt.Sscanf(readLine(h.t, h.reader), "HTTP/1.1 %d", &status)
	return status
}

func TestReadinessIsToldOnAnAbstractSocket(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	name := fmt.Sprintf("@etcd2-%d-%d", os.Getpid(), rand.Uint32())
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cmd := exec.Command(binary, m.arguments()...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+name)
	cmd.Stderr = m.log

	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()

	m.notify, m.ended = conn, make(chan struct{})
	if notice := m.awaitNotice(); notice != "READY=1" {
		t.Errorf("got %q", notice)
	}
}

// pitfall H9, pitfall H8
func TestAFullDiskStopsTheMemberAndLosesNothing(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	if err := os.Mkdir(m.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=48m",
		"tmpfs", m.data()).CombinedOutput(); err != nil {
		t.Skipf("mount is not permitted here: %s", out)
	}
	defer func() { m.kill(); exec.Command("umount", m.data()).Run() }()
	m.start()
	acked := fill(m)

	if status := m.exited(); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	m.expectLog(0, "no space left")

	if out, err := exec.Command("mount", "-o", "remount,size=256m", m.data()).CombinedOutput(); err != nil {
		t.Fatalf("make room: %s", out)
	}
	m.start()
	for i := range acked {
		if a := m.get(fmt.Sprint("/v2/keys/k", i)); a.status != 200 {
			t.Errorf("/k%d was acknowledged and is lost: %.200s", i, a.body)
		}
	}
	m.put("/after", "v")
}

// fill writes keys of a megabyte until the server fails, and returns how many it
// acknowledged.
func fill(m *member) (acked int) {
	form := url.Values{"value": {strings.Repeat("x", 1<<20)}}
	for acked < 200 {
		a, err := ask(m.t.Context(), "PUT", fmt.Sprint(m.url, "/v2/keys/k", acked), form)
		if err != nil || a.status != 201 {
			return acked
		}
		acked++
	}
	m.t.Fatal("200 MB fit on a disk of 48 MB")
	return 0
}
