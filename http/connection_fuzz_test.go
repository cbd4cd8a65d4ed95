package http

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// Ways to leave a connection, for FuzzConnection.
const (
	leaveClosed = iota
	leaveReset
	leaveHalfClosed
	leaveWays
)

// tight is a server with small limits and short timeouts.
func tight(t *testing.T) (b *bench, url string) {
	b = newBench(t, func(c *Config) {
		c.MaxConnections, c.MaxWatchers, c.MaxRequestBytes = 8, 4, 4096
		c.RequestTimeout, c.iterations = 20*time.Millisecond, 10
	})
	const soon = 20 * time.Millisecond
	b.times = timeouts{head: soon, body: soon, write: soon, idle: 2 * soon, life: soon, beat: soon}
	b.server.ReadHeaderTimeout, b.server.IdleTimeout = b.times.head, b.times.idle
	b.server.HTTP2.WriteByteTimeout = b.times.write
	b.memory.max = 256 << 10
	return b, b.serve()
}

// holdings are what clients can make a process hold.
type holdings struct {
	connections, watches, streams, requests int
	bytes                                   int64
	watchers, goroutines, files             int
}

func (b *bench) holdings() holdings {
	h := holdings{
		connections: b.conns.Held(), watches: b.watchers.Held(), streams: b.streams.Held(),
		requests: int(b.inFlight.Load()),
		bytes:    b.memory.used.Load(), watchers: int(b.node.store.Stats().Watchers), goroutines: runtime.NumGoroutine(),
	}
	files, _ := os.ReadDir("/proc/self/fd") // none where there is no such directory
	h.files = len(files)
	return h
}

// within reports whether h has no more goroutines and files than before, and nothing of what only
// clients hold.
func (h holdings) within(before holdings) bool {
	goroutines, files := h.goroutines, h.files
	h.goroutines, h.files = 0, 0
	return h == holdings{} && goroutines <= before.goroutines && files <= before.files
}

// heap returns how many bytes are in use after a collection.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// converse sends text over a connection of its own, reads until nothing more comes, and leaves by
// one of the ways.
func converse(t *testing.T, url, text string, way byte) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	c := conn.(*net.TCPConn)
	const quiet = 10 * time.Millisecond
	c.SetWriteDeadline(time.Now().Add(5 * quiet))
	go io.WriteString(c, text)
	drain := func(wait time.Duration) error {
		for b := make([]byte, 4096); ; {
			c.SetReadDeadline(time.Now().Add(wait))
			if _, err := c.Read(b); err != nil {
				return err
			}
		}
	}
	if !errors.Is(drain(quiet), os.ErrDeadlineExceeded) {
		return // the server has closed it
	}
	switch way % leaveWays {
	case leaveReset:
		c.SetLinger(0)
	case leaveHalfClosed:
		c.CloseWrite()
		if err := drain(patience); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the server keeps a connection that its client has left")
		}
	}
}

// Whatever two clients send, in any version of HTTP, and however they leave: the server then holds
// nothing for them. The corpus has whole connections: several requests, bodies that are cut, bytes
// behind a request, frames. pitfall J2, pitfall J3, pitfall J4, pitfall J9
func FuzzConnection(f *testing.F) {
	pace.LeftOutByShort(f)
	for i, gone := range goneClients {
		for way := range byte(leaveWays) {
			if !pace.Long() && i%leaveWays != int(way) {
				continue
			}
			f.Add(gone.sent+"G", "PUT /v2/keys/k?value=1 HTTP/1.1\r\nHost: x\r\n\r\n", way)
		}
	}
	f.Fuzz(func(t *testing.T, first, second string, ways byte) {
		if runtime.GOOS != "linux" || strings.Contains(first+second, "pprof") {
			t.Skip("the states of sockets, and of profiles, are not told")
		}
		b, url := tight(t)
		converse(t, url, "GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", leaveClosed)
		eventually(t, "nothing is held yet", func() bool { return b.holdings().connections == 0 })
		before, memory := b.holdings(), heap()

		done := make(chan struct{})
		go func() {
			defer close(done)
			converse(t, url, second, ways/leaveWays)
		}()
		converse(t, url, first, ways)
		<-done

		eventually(t, "nothing is held any more", func() bool { return b.holdings().within(before) })
		if grown := heap() - memory; grown > 4<<20 {
			t.Errorf("%d bytes of memory stay behind", grown)
		}
	})
}
