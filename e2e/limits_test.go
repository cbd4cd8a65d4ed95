package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// dial opens n connections to the member.
func dial(t *testing.T, m *member, n int) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, n)
	for i := range conns {
		conn, err := net.Dial("tcp", strings.TrimPrefix(m.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conns[i] = conn
	}
	return conns
}

// closedBy counts connections that the server has closed before the deadline.
func closedBy(conns []net.Conn, deadline time.Time) int {
	var closed atomic.Int64
	var wg sync.WaitGroup
	for _, conn := range conns {
		wg.Go(func() {
			conn.SetReadDeadline(deadline)
			_, err := io.Copy(io.Discard, conn) // until the server hangs up, or the deadline
			if netErr, isNet := err.(net.Error); !isNet || !netErr.Timeout() {
				closed.Add(1)
			}
		})
	}
	wg.Wait()
	return int(closed.Load())
}

// A client that sends its request byte by byte is cut off ten seconds after the beginning;
// meanwhile others are served. pitfall J1
func TestRequestsThatDripAreCutOff(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	conns := dial(t, m, 1000)
	for _, conn := range conns {
		fmt.Fprint(conn, "GET /v2/keys HTTP/1.1\r\nX-Drip: ")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // one byte a second each
		for tick := time.Tick(time.Second); ctx.Err() == nil; <-tick {
			for _, conn := range conns {
				conn.Write([]byte("x")) // fails once the server has hung up, as it should
			}
		}
	}()

	m.put("/others", "are served")
	if n := int(m.metric("etcd_http_connections")); n < len(conns) {
		t.Errorf("another client was served when only %d dripped", n)
	}
	if n := closedBy(conns, time.Now().Add(patience)); n != len(conns) {
		t.Errorf("%d of %d connections are still open", len(conns)-n, len(conns))
	}
}

// pitfall J4
func TestHugeBodiesAreRefusedInFlatMemory(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	m.put("/warm", "up")
	before := m.peakMemory()
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() { sendHuge(t, m, i%2 == 0) })
	}
	wg.Wait()

	// Six bodies of at most --max-request-bytes (10 MiB) may be in memory, twice while growing.
	if grown := m.peakMemory() - before; grown > 150<<20 {
		t.Errorf("memory grew by %d MB", grown>>20)
	}
	m.put("/still", "there")
}

// sendHuge sends a body of 100 MB, announced by Content-Length or not. It must be refused.
func sendHuge(t *testing.T, m *member, announced bool) {
	body := io.LimitReader(zeros{}, 100<<20)
	req, err := http.NewRequest("PUT", m.url+"/v2/keys/huge", body)
	if err != nil {
		t.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if announced {
		req.ContentLength = 100 << 20
	}
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		return // hung up before the body was sent: refused as well
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode/100 != 4 {
		t.Errorf("got %d %s", resp.StatusCode, b)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// peakMemory returns the largest resident memory that the process has had, in bytes.
func (m *member) peakMemory() (kb int64) {
	m.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.cmd.Process.Pid))
	if err != nil {
		m.t.Skip("this system does not tell a process's memory:", err)
	}
	_, after, _ := strings.Cut(string(b), "VmHWM:")
	if _, err := fmt.Sscan(after, &kb); err != nil {
		m.t.Fatal(err)
	}
	return kb << 10
}

// pitfall J2
func TestDescriptorsNeverRunOut(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	if _, err := exec.LookPath("prlimit"); err != nil {
		t.Skip("no prlimit on this system")
	}
	m.wrap = []string{"prlimit", "--nofile=256:256"}
	m.start()
	conns := dial(t, m, 600)
	served, turnedAway := 0, 0
	for _, conn := range conns {
		fmt.Fprint(conn, "GET /v2/keys HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	for _, conn := range conns {
		conn.SetReadDeadline(time.Now().Add(patience))
		line, _ := bufio.NewReader(conn).ReadString('\n') // the server may also close without an answer
		switch {
		case strings.Contains(line, " 200 "):
			served++
		case strings.Contains(line, " 503 ") || line == "":
			turnedAway++
		default:
			t.Errorf("got %q", line)
		}
	}
	if served < 90 || turnedAway < 300 { // one address may hold three quarters of 128 connections
		t.Errorf("%d served, %d turned away", served, turnedAway)
	}
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	elsewhere := http.Client{Transport: &http.Transport{DialContext: from.DialContext}}
	defer elsewhere.CloseIdleConnections()
	if w, err := elsewhere.Get(m.url + "/version"); err != nil || w.StatusCode != 200 {
		t.Errorf("another address: %v, %v", w, err)
	}
	for _, conn := range conns {
		conn.Close()
	}
	eventually(t, "a write is served again", patience, func() bool {
		a, err := ask(t.Context(), "PUT", m.url+"/v2/keys/after", nil)
		return err == nil && a.status <= 201
	})
	if lines := m.log.count(); lines > 50 {
		t.Errorf("%d lines in the log", lines)
	}
}

// A byte after the request hides from net/http that the client has left; here at a member and at a
// proxy. pitfall J3
func TestClientsThatSendTooMuchAndLeaveHoldNothing(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, quick...)
	m, p := c.members[0], c.startProxy()
	const each = 60
	conns := append(dial(t, m, each), dial(t, p, each)...)
	for _, conn := range conns {
		fmt.Fprint(conn, "GET /v2/keys/never?wait=true HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	eventually(t, "all watch", patience, func() bool { return m.metric("etcd_store_watchers") == 2*each })

	for _, conn := range conns {
		fmt.Fprint(conn, "G")
		conn.Close()
	}

	eventually(t, "no watcher is left", 2*patience, func() bool { return m.metric("etcd_store_watchers") == 0 })
	for s, want := range map[*member]float64{m: 2 * each, p: each} {
		eventually(t, "their connections are closed", patience,
			func() bool { return s.metric("etcd_http_connections") < each/2 })
		if n := s.metric("etcd_http_connections_left_total"); n != want {
			t.Errorf("%s has found %v clients gone, want %v", s.name, n, want)
		}
	}
}

// pitfall J3
func TestWatchersOfGoneClientsAreFreed(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	before := m.metric("go_goroutines")
	conns := dial(t, m, 1000)
	for _, conn := range conns {
		fmt.Fprint(conn, "GET /v2/keys/never?wait=true HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	eventually(t, "1000 watchers", patience, func() bool { return m.metric("etcd_store_watchers") == 1000 })

	for _, conn := range conns {
		conn.Close()
	}

	eventually(t, "no watcher is left", patience, func() bool { return m.metric("etcd_store_watchers") == 0 })
	eventually(t, "their goroutines are gone", patience, func() bool { return m.metric("go_goroutines") < before+50 })
}

// metric reads one number of /metrics.
func (m *member) metric(name string) (v float64) {
	m.t.Helper()
	_, after, found := strings.Cut(m.get("/metrics").body, "\n"+name+" ")
	if _, err := fmt.Sscan(after, &v); err != nil || !found {
		m.t.Fatalf("no metric %s", name)
	}
	return v
}

// Half of the streams have a connection each, and half share one of HTTP/2, where the client grants
// a window and reads nothing of it. pitfall J11, pitfall I11
func TestStreamReadersThatDoNotReadHoldUpNobody(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	const streams = 200
	m := startMember(t)
	const path = "/v2/keys/big?wait=true&stream=true"
	multiplexed := overHTTP2(t)
	value := strings.Repeat("x", 4000)
	calmly(t, func() (wrong string) {
		for _, conn := range dial(t, m, streams/2) {
			conn.(*net.TCPConn).SetReadBuffer(4096)
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		}
		for range streams / 2 {
			resp, err := multiplexed.Get(m.url + path)
			if err != nil || resp.ProtoMajor != 2 {
				t.Fatal(resp, err)
			}
			t.Cleanup(func() { resp.Body.Close() })
		}
		eventually(t, "the watchers", patience, func() bool { return m.metric("etcd_store_watchers") == streams })
		var took []time.Duration
		for range 1500 {
			start := time.Now()
			m.put("/big", value)
			took = append(took, time.Since(start))
		}
		eventually(t, "the streams that nobody reads are closed", 2*patience, func() bool {
			return m.metric("etcd_store_watchers") == 0
		})

		slices.Sort(took)
		if p99 := took[len(took)*99/100]; p99 > 250*time.Millisecond {
			wrong = fmt.Sprint("the 99th percentile of a write is ", p99)
		}
		return wrong
	})
	if memory := m.peakMemory(); memory > 300<<20 {
		t.Errorf("the member has taken %d MB", memory>>20)
	}
	resp, err := multiplexed.Get(m.url + "/version")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// overHTTP2 is a client without TLS whose streams have small windows.
func overHTTP2(t *testing.T) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
