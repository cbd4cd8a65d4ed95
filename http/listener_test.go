package http

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
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
	return &conn{wrapped: wrapped{inner}, conns: new(connections), timeout: time.Second}, client
}

// The poller may have one deadline set while the connection wants another: only the wanted one may
// end a Read.
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

// net/http sets a deadline in the past to end a Read that waits.
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

// signalling is a connection that signals when a Read of the socket begins.
type signalling struct {
	net.Conn
	begins chan struct{}
}

func (c signalling) Read(b []byte) (int, error) {
	c.begins <- struct{}{}
	return c.Conn.Read(b)
}

// A later version of Go may read ahead in another way. Its reads still end by their deadlines, and
// what is suppressed for one request is not suppressed for the next.
func TestAnotherWayOfReadingAheadIsHeldUpByNothing(t *testing.T) {
	read := func(c *conn, size int) error {
		_, err := c.Read(make([]byte, size))
		return err
	}
	for name, ahead := range map[string]func(*conn) error{
		"two bytes":   func(c *conn) error { return read(c, 2) },
		"a buffer":    func(c *conn) error { return read(c, 4096) },
		"until error": func(c *conn) error { return errors.Join(read(c, 1), read(c, 1)) },
	} {
		for _, begun := range []bool{false, true} {
			server, client := connPair(t)
			socket := signalling{server.Conn, make(chan struct{}, 9)}
			server.Conn = socket
			server.noReadAhead.Store(true)
			ended := make(chan error, 1)
			if begun {
				go func() { ended <- ahead(server) }()
				<-socket.begins
			}
			server.SetReadDeadline(time.Unix(1, 0))
			if !begun {
				go func() { ended <- ahead(server) }()
			}
			select {
			case err := <-ended:
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s, begun %v: %v", name, begun, err)
				}
			case <-time.After(patience):
				t.Fatalf("%s, begun %v: the deadline is not heard", name, begun)
			}
			server.SetReadDeadline(time.Time{})
			server.next(true)
			io.WriteString(client, "G")
			if n, err := server.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Errorf("%s, begun %v: the next request brings %d bytes, %v", name, begun, n, err)
			}
		}
	}
}

// aheadListener counts, on its connections, the reads of a single byte, the deadlines that end such
// a read, and the deadlines of answers.
type aheadListener struct {
	net.Listener
	reads, ends, answers atomic.Int64
}

func (l *aheadListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &aheadConn{c, l}, err
}

type aheadConn struct {
	net.Conn
	l *aheadListener
}

func (c *aheadConn) Read(b []byte) (int, error) {
	if len(b) == 1 {
		c.l.reads.Add(1)
	}
	return c.Conn.Read(b)
}

func (c *aheadConn) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		c.l.ends.Add(1)
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *aheadConn) SetWriteDeadline(t time.Time) error {
	c.l.answers.Add(1)
	return c.Conn.SetWriteDeadline(t)
}

func (c *aheadConn) NetConn() net.Conn { return c.Conn }

// aheadConnection is a connection to a server behind such a listener; answered reads the next
// answer from it.
func aheadConnection(t *testing.T) (b *bench, ln *aheadListener, c net.Conn, answered func(status int)) {
	b = newBench(t)
	ln = &aheadListener{Listener: listen(t)}
	go b.Serve(ln)
	t.Cleanup(func() { b.server.Close() })
	c = rawDial(t, "http://"+ln.Addr().String())
	in := bufio.NewReader(c)
	return b, ln, c, func(status int) {
		t.Helper()
		w, err := nethttp.ReadResponse(in, nil)
		if err != nil || w.StatusCode != status {
			t.Fatalf("%v, %v", w, err)
		}
		io.Copy(io.Discard, w.Body)
	}
}

func TestAnswersThatFollowEachOtherShareADeadline(t *testing.T) {
	b, ln, c, answered := aheadConnection(t)
	const requests = 200
	began := time.Now()

	for range requests {
		io.WriteString(c, "GET /v2/keys/k HTTP/1.1\r\nHost: x\r\n\r\n")
		answered(404)
	}

	most := 1 + int64(time.Since(began)/(b.times.write/10))
	if n := ln.answers.Load(); n == 0 || n > most {
		t.Errorf("%d deadlines were set for %d answers, want one to %d", n, requests, most)
	}
}

func TestNothingIsReadAheadBehindWritesReadsAndWatches(t *testing.T) {
	b, ln, c, answered := aheadConnection(t)
	const put = "PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\nContent-Type: " + formType + "\r\nContent-Length: 7\r\n\r\n"

	io.WriteString(c, put+"value=1")
	answered(201)
	io.WriteString(c, put+"valu") // in pieces
	io.WriteString(c, "e=2")
	answered(200)
	io.WriteString(c, put+"value=3"+put+"value=4"+put) // pipelined
	answered(200)
	answered(200)
	io.WriteString(c, "value=5")
	answered(200)
	for range 3 {
		io.WriteString(c, "GET /v2/keys/k?recursive=true HTTP/1.1\r\nHost: x\r\n\r\n")
		answered(200)
	}
	fmt.Fprintf(c, watchHead+"\r\n")
	first := rawDial(t, "http://"+ln.Addr().String())
	fmt.Fprintf(first, watchHead+"\r\n") // of which net/http reads a piece first
	eventually(t, "the watches begin", func() bool { return b.watchers.Held() == 2 })
	if reads, ends := ln.reads.Load(), ln.ends.Load(); reads+ends != 0 && runtime.GOOS == "linux" {
		t.Errorf("%d bytes were read ahead, and %d such reads were ended by the poller", reads, ends)
	}
	c.Close()
	first.Close()
	eventually(t, "the watches end with their clients", func() bool { return b.watchers.Held() == 0 })
}

// However a watch is requested, and whatever came over the connection before, it ends when its
// client leaves.
func TestAWatchIsNeverTakenForABriefRead(t *testing.T) {
	const read = "GET /v2/keys/k HTTP/1.1\r\nHost: x\r\n\r\n"
	const watch = "GET /v2/keys/k?wait=true HTTP/1.1\r\nHost: x\r\n\r\n"
	b := newBench(t)
	ln := listen(t)
	go b.Serve(ln)
	t.Cleanup(func() { b.server.Close() })
	b.do("PUT", "/v2/keys/k", "value=1")
	for name, pieces := range map[string][]string{
		"alone":            {watch},
		"after a read":     {read, watch},
		"behind a read":    {read + watch},
		"in two pieces":    {watch[:20], watch[20:]},
		"in three":         {watch[:17], watch[17:21], watch[21:]},
		"in other letters": {strings.Replace(watch, "wait", "%77ai%74", 1)},
		"after a body": {"PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\nContent-Type: " + formType +
			"\r\nContent-Length: 7\r\n\r\nvalue=1", watch},
		"after a vain body":  {strings.Replace(read, "\r\n\r\n", "\r\nContent-Length: 1\r\n\r\n", 1), "x", watch},
		"with a body of one": {strings.Replace(watch, "\r\n\r\n", "\r\nContent-Length: 1\r\n\r\n", 1), "x"},
	} {
		t.Run(name, func(t *testing.T) {
			c := rawDial(t, "http://"+ln.Addr().String())
			for _, piece := range pieces {
				io.WriteString(c, piece)
				<-time.After(5 * time.Millisecond) // so that it comes alone, mostly
			}
			eventually(t, "the watch begins", func() bool { return b.watchers.Held() == 1 })
			c.Close()
			eventually(t, "the watch ends with its client", func() bool { return b.watchers.Held() == 0 })
		})
	}
}

// acceptedListener shows the connections that it has accepted.
type acceptedListener struct {
	net.Listener
	accepted chan net.Conn
}

func (l acceptedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- c
	}
	return c, err
}

// The answer passes through all layers between net/http and the socket.
// pitfall J11
func TestWhatAClientDoesNotReadIsNotLeftToTheKernel(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can bound it")
	}
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	b := newBench(t)
	for name, serve := range map[string]func(net.Listener) error{
		"plain": b.Serve,
		"TLS":   func(ln net.Listener) error { return b.ServeTLS(ln, certified.TLS) },
	} {
		ln := acceptedListener{listen(t), make(chan net.Conn, 2)}
		go serve(ln)
		client := rawDial(t, "http://"+ln.Addr().String())
		client.(*net.TCPConn).SetReadBuffer(4096)
		server := <-ln.accepted
		rawDial(t, "http://"+ln.Addr().String())
		<-ln.accepted // so the first one is served by now
		server.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))

		n, err := server.Write(make([]byte, 8<<20))

		if !errors.Is(err, os.ErrDeadlineExceeded) || n > 512<<10 {
			t.Errorf("%s: the kernel took %d bytes, %v", name, n, err)
		}
	}
	b.server.Close()
}

// writesListener counts the pieces that are sent alone. Pieces that net sends together do not pass
// Write.
type writesListener struct {
	net.Listener
	alone atomic.Int64
}

type writesConn struct {
	*net.TCPConn
	l *writesListener
}

func (l *writesListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return writesConn{c.(*net.TCPConn), l}, nil
}

func (c writesConn) Write(b []byte) (int, error) {
	c.l.alone.Add(1)
	return c.TCPConn.Write(b)
}

// Answers of each size near that of a buffer on the way are sent one after the other over one
// connection.
func TestAnAnswerArrivesAsItWasWrittenWhateverItsSize(t *testing.T) {
	b := newBench(t)
	ln := &writesListener{Listener: listen(t)}
	go b.Serve(ln)
	defer b.server.Close()
	c := rawDial(t, "http://"+ln.Addr().String())
	in := bufio.NewReader(c)
	for _, around := range []int{1, 2 << 10, netBuffer, 2 * netBuffer, bufferSize, bufferSize + netBuffer,
		2 * bufferSize} {
		for size := max(around-500, 0); size < around+100; size += 20 {
			b.do("PUT", "/v2/keys/d/k", "value="+strings.Repeat("x", size))
			want := b.do("GET", "/v2/keys/d", "").Body.String()
			before := ln.alone.Load()

			io.WriteString(c, "GET /v2/keys/d HTTP/1.1\r\nHost: x\r\n\r\n")
			w, err := nethttp.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(size, err)
			}
			got, err := io.ReadAll(w.Body)

			if err != nil || string(got) != want {
				t.Fatalf("%d bytes of %d, %v", len(got), len(want), err)
			}
			if len(want) < bufferSize && w.ContentLength != int64(len(want)) {
				t.Errorf("the length of %d bytes was told as %d", len(want), w.ContentLength)
			}
			if n := ln.alone.Load() - before; n > 0 && len(want) > 2*netBuffer && len(want) < bufferSize {
				t.Errorf("of %d bytes, %d pieces were sent alone", len(want), n)
			}
		}
	}
}

// net/http counts the beginning of a piece as sent before it is.
func TestAConnectionEndsWithABeginningThatCannotBeSent(t *testing.T) {
	server, _ := connPair(t)
	server.conns.Max = 1
	server.conns.Acquire(server.origin)
	server.Conn.(*net.TCPConn).CloseWrite()
	through := func(b []byte) (int, error) { return server.Write(b[:netBuffer]) }

	_, err := server.writeWhole(throughWriter{write: through}, make([]byte, netBuffer+1))

	_, closed := server.Conn.Write([]byte("x"))
	if err == nil || !errors.Is(closed, net.ErrClosed) {
		t.Errorf("%v, then %v", err, closed)
	}
}

// throughWriter is an answer with a Write of its own.
type throughWriter struct {
	nethttp.ResponseWriter
	write func(b []byte) (int, error)
}

func (w throughWriter) Write(b []byte) (int, error) { return w.write(b) }
