package http

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// newPeerPort is an open port whose Raft answers with the path.
func newPeerPort(t *testing.T) (*PeerPort, *bench) {
	t.Helper()
	b := newBench(t)
	p := NewPeerPort(slog.New(slog.DiscardHandler), nil)
	p.Connect(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) { io.WriteString(w, "raft "+r.URL.Path) }))
	p.Open(b.Server)
	return p, b
}

func askPort(p *PeerPort, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

func TestThePeerPortAnswersWhatAMemberAsksThatStarts(t *testing.T) {
	p, b := newPeerPort(t)
	const json, notFound = "application/json", `{"message":"Not found"}`
	for _, c := range []struct {
		method, path string
		status       int
		body, mime   string
	}{
		{"GET", "/v2/members", 200, `{"members":[` + self + `]}` + "\n", json},
		{"GET", "/members", 200,
			`[{"id":9196390286255216370,"peerURLs":["http://127.0.0.1:2380"],"name":"default","clientURLs":["http://127.0.0.1:2379"]}]` + "\n", json},
		{"GET", "/version", 200, `{"etcdserver":"2.4.0","etcdcluster":"2.4.0"}`, json},
		{"POST", "/v2/members", 415, `{"message":"Bad Content-Type , accept application/json"}`, json},
		{"PUT", "/v2/members", 405, "Method Not Allowed\n", "text/plain; charset=utf-8"},
		{"DELETE", "/v2/members", 405, "Method Not Allowed\n", "text/plain; charset=utf-8"},
		{"GET", "/v2/members/", 404, notFound, json},
		{"DELETE", "/v2/members/7fa0243da41856f2", 404, notFound, json},
		{"GET", "/v2/members/leader", 404, notFound, json},
		{"GET", "/v2/keys/k", 404, notFound, json},
		{"PUT", "/v2/keys/k", 404, notFound, json},
		{"GET", "/", 404, notFound, json},
		{"GET", "/rafty", 404, notFound, json},
	} {
		w := askPort(p, c.method, c.path, "")
		b.want(w, c.status, c.body)
		if h := w.Header(); h.Get("X-Etcd-Cluster-Id") != "2f825f7ee614161e" || h.Get("Content-Type") != c.mime {
			t.Errorf("%s %s: %v", c.method, c.path, h)
		}
	}
	for _, path := range []string{"/raft", "/raft/stream/1"} {
		b.want(askPort(p, "POST", path, ""), 200, "raft "+path)
	}
}

func TestAMemberIsAddedThroughThePeerPort(t *testing.T) {
	p, b := newPeerPort(t)

	w := askPort(p, "POST", "/v2/members", `{"peerURLs":["http://10.0.0.2:2380"]}`, "Content-Type", "application/json")
	fromAWebPage := askPort(p, "POST", "/v2/members", `{"peerURLs":["http://10.0.0.3:2380"]}`, "Content-Type",
		"application/json", "Origin", "http://evil.example")

	if w.Code != 201 || len(b.node.changes) != 1 || !b.node.changes[0].Member.Learner {
		t.Errorf("%d %s: %+v", w.Code, w.Body, b.node.changes)
	}
	if fromAWebPage.Code != 403 {
		t.Errorf("%d %s", fromAWebPage.Code, fromAWebPage.Body)
	}
}

func TestThePeerPortOpensInTwoSteps(t *testing.T) {
	b, p := newBench(t), NewPeerPort(nil, nil)
	want := func(path string, status int) {
		t.Helper()
		w := askPort(p, "GET", path, "")
		starting := w.Body.String() == `{"message":"this member is starting"}` && w.Header().Get("Retry-After") == "1"
		if w.Code != status || starting != (status == 503) {
			t.Errorf("%s: %d %s %v", path, w.Code, w.Body, w.Header())
		}
	}

	want("/raft", 503)
	want("/v2/members", 503)
	want("/", 503)
	p.Connect(nethttp.NotFoundHandler())
	want("/raft", 404)
	want("/v2/members", 503)
	p.Open(b.Server)
	want("/raft", 404)
	want("/v2/members", 200)
}

// A stream of messages takes its connection over, and outlives the port.
func TestAConnectionOfThePeerPortCanBeTakenOver(t *testing.T) {
	p := NewPeerPort(nil, nil)
	p.Connect(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		c, _, err := nethttp.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		p.Close()
		io.WriteString(c, "taken over\n")
		c.Close()
	}))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	io.WriteString(c, "GET /raft HTTP/1.1\r\nHost: x\r\n\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')

	if line != "taken over\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	if err := <-served; err != nethttp.ErrServerClosed {
		t.Errorf("Serve returned %v", err)
	}
}

// pitfall J2
func TestSilentConnectionsOnThePeerPortLockNoMemberOut(t *testing.T) {
	p, _ := newPeerPort(t)
	p.pending.max = 10
	streams := make(chan net.Conn, 2)
	goOn := make(chan struct{})
	var snapshots atomic.Int64
	p.Connect(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.URL.Path == "/raft/snapshot" { // which takes long, and takes no connection over
			snapshots.Add(1)
			<-goOn
			return
		}
		c, _, err := nethttp.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(c, "taken over\n")
		streams <- c
	}))
	ln := listen(t)
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	defer func() { p.Close(); <-served }()
	url := "http://" + ln.Addr().String()
	ask := func(path string) net.Conn {
		c := rawDial(t, url)
		io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		return c
	}
	expect := func(c net.Conn, line string) {
		t.Helper()
		if got, err := bufio.NewReader(c).ReadString('\n'); got != line || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	}
	stream := ask("/raft/stream")
	expect(stream, "taken over\n")
	snapshot := ask("/raft/snapshot")
	eventually(t, "the snapshot is under way", func() bool { return snapshots.Load() == 1 })

	var silent []net.Conn
	for range 100 {
		silent = append(silent, rawDial(t, url))
	}
	newcomer := ask("/raft/stream")

	expect(newcomer, "taken over\n")
	eventually(t, "no more strangers are connected than may be", func() bool {
		open := 0
		for _, c := range silent {
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				open++
			}
		}
		return open <= p.pending.max
	})
	close(goOn)
	expect(snapshot, "HTTP/1.1 200 OK\r\n")
	for _, c := range []net.Conn{stream, newcomer} { // its other end is as open as before
		io.WriteString(<-streams, "still there\n")
		expect(c, "still there\n")
	}
	for _, c := range append(silent, snapshot) {
		c.Close()
	}
	eventually(t, "nobody is remembered", func() bool {
		p.pending.mu.Lock()
		defer p.pending.mu.Unlock()
		return p.pending.order.Len()+len(p.pending.element)+len(p.pending.busy) == 0
	})
}

// When all connections that there may be are busy, a new one is closed.
func TestABusyConnectionIsNotClosedForANewOne(t *testing.T) {
	s := newPendingConns(2)
	var conns, ends []net.Conn
	for range 3 {
		c, end := net.Pipe()
		s.observeState(c, nethttp.StateNew)
		s.setBusy(c, true)
		conns, ends = append(conns, c), append(ends, end)
	}
	if _, err := ends[2].Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the third one: %v", err)
	}
	for i, end := range ends[:2] {
		end.SetReadDeadline(time.Now())
		if _, err := end.Read(make([]byte, 1)); err == io.EOF {
			t.Errorf("number %d was closed", i)
		}
	}
	for _, c := range conns {
		s.observeState(c, nethttp.StateClosed)
	}
	if s.order.Len()+len(s.element)+len(s.busy) != 0 {
		t.Errorf("%d %d %d are left", s.order.Len(), len(s.element), len(s.busy))
	}
}
