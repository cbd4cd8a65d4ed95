package http

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"etcd2/http/places"
)

func TestAMemberThatStartsTellsItsClientsSo(t *testing.T) {
	b := newBench(t)
	ln := listen(t)
	url := "http://" + ln.Addr().String() + "/version"
	get := func() (int, string) {
		t.Helper()
		r, err := nethttp.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(body)
	}
	started := Starting(ln, nil)

	for range 3 {
		if status, body := get(); status != 503 ||
			body != `{"errorCode":300,"message":"Raft Internal Error","cause":"this member is starting","index":0}`+"\n" {
			t.Errorf("while it starts: %d %s", status, body)
		}
	}
	started()
	go b.Serve(ln)
	if status, body := get(); status != 200 || !strings.Contains(body, "etcdserver") {
		t.Errorf("then: %d %s", status, body)
	}
}

func TestAListenerThatIsClosedWhileItsMemberStartsKeepsNobody(t *testing.T) {
	ln := listen(t)
	started := Starting(ln, nil)
	ln.Close()
	started()
}

// pitfall J2
func TestConnectionsOverTheLimitGet503(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxConnections = 3 })
	url := b.serve()
	var kept []net.Conn
	for range 3 {
		c := rawDial(t, url)
		fmt.Fprintf(c, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
		if w, err := nethttp.ReadResponse(bufio.NewReader(c), nil); err != nil || w.StatusCode != 200 {
			t.Fatalf("within the limit: %v, %v", w, err)
		}
		kept = append(kept, c)
	}

	over := rawDial(t, url)
	fmt.Fprintf(over, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n")

	w, err := nethttp.ReadResponse(bufio.NewReader(over), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(w.Body)
	if w.StatusCode != 503 || err != nil ||
		string(body) != `{"errorCode":300,"message":"Raft Internal Error","cause":"too many connections","index":0}`+"\n" || w.Header.Get("Retry-After") == "" {
		t.Errorf("over the limit: %d %s, %v", w.StatusCode, body, err)
	}
	for range 50 {
		if _, err := over.Write(make([]byte, 1000)); err != nil {
			t.Fatalf("closed while the client was still sending, which may take back the answer: %v", err)
		}
	}
	over.Close()
	kept[0].Close()
	eventually(t, "a place is free again", func() bool {
		w, err := nethttp.Get(url + "/version")
		if err != nil {
			return false
		}
		w.Body.Close()
		return w.StatusCode == 200
	})
}

// exhausted is the listener of a process that has no file descriptor left.
type exhausted struct{ net.Listener }

func (exhausted) Accept() (net.Conn, error) {
	return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
}

func TestTheLogSaysOnceThatConnectionsAreRefused(t *testing.T) {
	var log strings.Builder
	for want, files := range map[string]int{"raise the limit on open files": int(fileLimit()), "more memory": 1} {
		log.Reset()
		conns := &connections{Places: places.Places{Max: files}, log: slog.New(slog.NewTextHandler(&log, nil))}
		l := &listener{Listener: exhausted{}, conns: conns}

		for range 3 {
			l.Accept()
		}

		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "level=WARN") ||
			!strings.Contains(text, want) || conns.refused.Load() != 3 {
			t.Errorf("%d refused: %s", conns.refused.Load(), text)
		}
	}
}

// Some clients treat an answer that comes before their request as an error.
func TestARefusedClientIsAnsweredWhenItAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var conns connections
		refused := func() net.Conn {
			server, client := net.Pipe()
			conns.refuse(server, "too many connections")
			return client
		}
		slow, silent := refused(), refused()

		slow.SetReadDeadline(time.Now().Add(refusalPatience / 2))
		if _, err := slow.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("before it asks: %v", err)
		}
		slow.SetReadDeadline(time.Time{})
		fmt.Fprintf(slow, "GET / HTTP/1.1\r\n\r\n")
		if w, err := nethttp.ReadResponse(bufio.NewReader(slow), nil); err != nil || w.StatusCode != 503 {
			t.Errorf("when it asks: %v, %v", w, err)
		}
		if text, err := io.ReadAll(silent); len(text) > 0 || err != nil {
			t.Errorf("one that never asks: %q, %v", text, err)
		}
	})
}
