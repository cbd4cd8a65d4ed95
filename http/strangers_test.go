package http

import (
	"bufio"
	"errors"
	"io"
	"net"
	nethttp "net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// pitfall J2
func TestStrangersOnThePeerPortLockNoMemberOut(t *testing.T) {
	p, _ := newPeerPort(t)
	p.others.max = 10
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
		return open <= p.others.max
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
		p.others.mu.Lock()
		defer p.others.mu.Unlock()
		return p.others.order.Len()+len(p.others.place)+len(p.others.heard) == 0
	})
}

// When Raft listens to all there may be, one more is turned away.
func TestNobodyWhoIsListenedToMakesRoom(t *testing.T) {
	s := newStrangers(2)
	var conns, ends []net.Conn
	for range 3 {
		c, end := net.Pipe()
		s.note(c, nethttp.StateNew)
		s.mark(c, true)
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
		s.note(c, nethttp.StateClosed)
	}
	if s.order.Len()+len(s.place)+len(s.heard) != 0 {
		t.Errorf("%d %d %d are left", s.order.Len(), len(s.place), len(s.heard))
	}
}
