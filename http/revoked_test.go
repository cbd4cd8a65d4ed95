package http

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"etcd2/e2e/pace"
	"etcd2/http/certs/certstest"
)

// guest is a client of both ports, with one connection for each thing that it does.
type guest struct {
	t     *testing.T
	s     *secured
	shown certstest.Pair
	ended chan string // what is over
	open  int
}

// over sends what on g.ended when reading r ends.
func (g *guest) over(what string, r io.Reader) {
	g.open++
	go func() {
		io.Copy(io.Discard, r)
		g.ended <- what
	}()
}

// knock makes a handshake: at each one a port checks whether its files have changed.
func (g *guest) knock() {
	if c, err := tls.Dial("tcp", g.s.peer, &tls.Config{InsecureSkipVerify: true,
		Certificates: []tls.Certificate{g.shown.TLS(g.t)}}); err == nil {
		c.Close()
	}
}

// http2 begins a watch over HTTP/2, and returns the client that has the connection.
func (g *guest) http2() (client *nethttp.Client) {
	g.t.Helper()
	client = g.s.as(g.t, g.shown)
	resp, err := client.Get("https://" + g.s.client + "/v2/keys/k?wait=true")
	if err != nil || resp.ProtoMajor != 2 {
		g.t.Fatal(err, resp)
	}
	g.t.Cleanup(func() { resp.Body.Close() })
	g.over("watch over HTTP/2", resp.Body)
	return client
}

// begin sends the head of a request over HTTP/1.1, and reads the answer up to words.
func (g *guest) begin(what, address, head, words string) {
	g.t.Helper()
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true,
		Certificates: []tls.Certificate{g.shown.TLS(g.t)}})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	io.WriteString(c, head+"\r\nHost: 127.0.0.1\r\n\r\n") // if it fails, nothing comes
	in, got := bufio.NewReader(c), ""
	for !strings.Contains(got, words) {
		b, err := in.ReadByte()
		if err != nil {
			g.t.Fatalf("%s: %q, %v", what, got, err)
		}
		got += string(b)
	}
	g.over(what, in)
}

// everything begins one connection, watch, stream or snapshot of each kind.
func (g *guest) everything() (http2 *nethttp.Client) {
	g.t.Helper()
	g.begin("idle connection", g.s.client, "GET /version HTTP/1.1", "}")
	g.begin("long poll", g.s.client, "GET /v2/keys/k?wait=true HTTP/1.1", "\r\n\r\n")
	g.begin("watch", g.s.client, "GET /v2/keys/k?wait=true&stream=true HTTP/1.1", "\r\n\r\n")
	g.begin("snapshot", g.s.peer, "POST /raft/snapshot HTTP/1.1\r\nTransfer-Encoding: chunked", "100 Continue\r\n\r\n")
	g.begin("stream of Raft", g.s.peer, "GET /raft/stream HTTP/1.1", "taken over\n")
	return g.http2()
}

// raftLike is a handler that reads a request's body, or takes the connection over and reads it.
func raftLike(w nethttp.ResponseWriter, r *nethttp.Request) {
	if r.URL.Path == "/raft/snapshot" {
		w.WriteHeader(nethttp.StatusContinue)
		io.Copy(io.Discard, r.Body)
		return
	}
	c, in, err := nethttp.NewResponseController(w).Hijack()
	if err != nil {
		return // so that nothing is answered
	}
	defer c.Close()
	io.WriteString(c, "taken over\n")
	io.Copy(io.Discard, in)
}

// pitfall K2
func TestAllThatARevokedOneHasUnderWayEndsAndNothingElse(t *testing.T) {
	pace.LeftOutByShort(t)
	t.Parallel() // it waits for a list to settle
	b := newBench(t)
	s := newSecured(t, b)
	s.port.Connect(nethttp.HandlerFunc(raftLike))
	joe := &guest{t: t, s: s, shown: s.ca.Issue(t, "joe"), ended: make(chan string, 9)}
	ann := &guest{t: t, s: s, shown: s.ca.Issue(t, "ann"), ended: make(chan string, 9)}
	joe.everything()
	client := ann.everything()
	if n := b.conns.Held(); n != 8 || b.watchers.Held() != 6 {
		t.Fatalf("%d clients' connections, %d watches", n, b.watchers.Held())
	}

	certstest.Write(t, s.dir, "crl.pem", s.ca.Revoke(t, joe.shown))
	look, stop := time.NewTicker(100*time.Millisecond), time.After(patience)
	defer look.Stop()
	for n := 0; n < joe.open; {
		select {
		case <-joe.ended:
			n++
		case <-look.C:
			ann.knock()
		case <-stop:
			t.Fatalf("%d of joe's connections go on", joe.open-n)
		}
	}

	eventually(t, "there is nothing left of joe", func() bool { return b.conns.Held() == 4 && b.watchers.Held() == 3 })
	counted := ""
	s.set.Ended(func(reason string, n uint64) { counted += fmt.Sprint(reason, " ", n) })
	if counted != "revoked 6" {
		t.Errorf("counted is %q", counted)
	}
	// Ann goes on with what she has.
	r, err := client.Get("https://" + s.client + "/version")
	if err != nil || b.conns.Held() != 4 {
		t.Errorf("%v: %d connections", err, b.conns.Held())
	} else {
		r.Body.Close()
	}
	select {
	case what := <-ann.ended:
		t.Errorf("ann's %s has ended", what)
	default:
	}
	b.do("PUT", "/v2/keys/k", "value=1")
	if what := <-ann.ended; what != "watch over HTTP/2" { // since it has its event; the long poll's connection stays
		t.Errorf("ann's %s has ended", what)
	}
}
