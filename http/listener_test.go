package http

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// connPair is a connection of the server and its client's end.
func connPair(t *testing.T) (*conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	inner, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); inner.Close() })
	return &conn{Conn: inner, conns: new(connections), timeout: time.Second}, client
}

// The poller knows one deadline while another is wanted: only the wanted one may end a Read.
func TestReadEndsAtTheDeadlineThatWasSetLast(t *testing.T) {
	const short, long = 20 * time.Millisecond, 100 * time.Millisecond
	for _, c := range []struct {
		name string
		set  []time.Duration // one after the other; 0: none
		ends time.Duration   // 0: not before the client sends
	}{
		{"one", []time.Duration{short}, short},
		{"a later one", []time.Duration{short, long}, long},
		{"an earlier one", []time.Duration{long, short}, short},
		{"none any more", []time.Duration{short, 0}, 0},
		{"one that has passed", []time.Duration{long, -time.Hour}, -time.Hour},
		{"passed, then a new one", []time.Duration{-time.Hour, 0, short}, short},
	} {
		server, client := connPair(t)
		begin := time.Now()
		for _, d := range c.set {
			deadline := time.Time{}
			if d != 0 {
				deadline = begin.Add(d)
			}
			server.SetReadDeadline(deadline)
		}
		if c.ends == 0 {
			time.AfterFunc(long, func() { client.Write([]byte("x")) })
		}

		n, err := server.Read(make([]byte, 1))

		took := time.Since(begin)
		if c.ends == 0 && (n != 1 || err != nil) {
			t.Errorf("%s: read %d bytes, %v", c.name, n, err)
		}
		if c.ends != 0 && (!errors.Is(err, os.ErrDeadlineExceeded) || took < c.ends) {
			t.Errorf("%s: %v after %v", c.name, err, took)
		}
	}
}

// net/http ends a Read that waits by a deadline in the past.
func TestADeadlineInThePastEndsAReadThatWaits(t *testing.T) {
	server, _ := connPair(t)
	server.SetReadDeadline(time.Now().Add(time.Hour))
	server.SetReadDeadline(time.Time{})
	ended := make(chan error, 1)
	go func() {
		_, err := server.Read(make([]byte, 1))
		ended <- err
	}()

	server.SetReadDeadline(time.Unix(1, 0))

	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
}
