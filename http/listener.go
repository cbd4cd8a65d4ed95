package http

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	nethttp "net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"etcd2/store"
)

// Descriptors kept back from clients, for the log, snapshots and peers (J2), and what is
// assumed when the limit can't be read.
const (
	reservedFiles    = 128
	assumedFileLimit = 1024
)

func fileLimit() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return assumedFileLimit
	}
	return limit.Cur
}

// defaultMaxConnections leaves reservedFiles of the descriptors, or half of them when there are few, and most of the memory.
func defaultMaxConnections(files uint64, memory int64) int {
	n := int64(min(files, 1<<20))
	return int(min(max(n-reservedFiles, n/2), memory/4/connectionCost))
}

// connections counts the clients' connections, of all listeners together.
type connections struct {
	max      int64
	open     atomic.Int64
	refused  atomic.Uint64
	refusing atomic.Int64
}

// maxRefusing connections at a time are told why they are refused; more are just closed.
const maxRefusing = 16

// refusal is the answer to a connection that is refused, whatever it asks. Its code is the one at which programs go on to another
// member, as Patroni does.
func refusal(cause string) []byte {
	body := appendError(nil, &store.Error{Code: store.CodeRaft, Cause: cause})
	return fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"+
		"Connection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// refuse answers c and closes it. It waits a moment for the client to ask, since some take an answer before that for a fault, and
// reads what else comes, since closing with unread bytes would take the answer back. All that happens in a goroutine of its own; when there are
// too many of them, c is closed before refuse returns: what waits for a processor holds a descriptor, too (J2).
func (n *connections) refuse(c net.Conn, message string) {
	if n.refusing.Add(1) > maxRefusing {
		n.refusing.Add(-1)
		c.Close()
		return
	}
	go func() {
		defer n.refusing.Add(-1)
		defer c.Close()
		explain(c, message)
	}()
}

// explain answers whatever c asks with a refusal.
func explain(c net.Conn, message string) {
	if secure, isTLS := c.(*tls.Conn); isTLS {
		c.SetDeadline(time.Now().Add(time.Second))
		if secure.Handshake() != nil {
			return
		}
	}
	var rest [512]byte
	c.SetDeadline(time.Now().Add(100 * time.Millisecond))
	c.Read(rest[:])
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write(refusal(message)); err != nil {
		return
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		for n := 0; n < maxHeaderBytes; {
			k, err := c.Read(rest[:])
			if err != nil {
				return
			}
			n += k
		}
	}
}

// unsent is how much of an answer the kernel may hold, for each connection, that the client has no window for. Its own bound is megabytes: a
// thousand clients that don't read fill what the system has for all sockets, and then every connection stands still (J11). What
// is on its way to a client that reads is not bounded by this.
const unsent = 32 << 10

// boundUnsent sets that for a connection. Where the system can't do it, all is as before.
func boundUnsent(c net.Conn) {
	const tcpNotSentLowat = 25 // TCP_NOTSENT_LOWAT of linux/tcp.h, which package syscall doesn't name
	if outer, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = outer.NetConn()
	}
	socket, ok := c.(syscall.Conn)
	if !ok || runtime.GOOS != "linux" {
		return
	}
	if raw, err := socket.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, unsent) })
	}
}

// listener accepts as many connections as the limit allows and refuses the rest.
type listener struct {
	net.Listener
	conns   *connections
	room    *room         // for heads of requests
	timeout time.Duration // for a piece of an answer
	idle    time.Duration // for the first byte that comes; 0: as long as for the head that it belongs to
	mute    bool          // refuse without a word: the client waits for TLS
}

// Accept waits for a connection within the limit.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.conns.open.Add(1) <= l.conns.max {
			boundUnsent(c)
			return &conn{Conn: c, conns: l.conns, timeout: l.timeout, idle: l.idle, head: head{room: l.room, reading: true, mute: l.mute}}, nil
		}
		l.conns.open.Add(-1)
		l.conns.refused.Add(1)
		if l.mute {
			c.Close()
			continue
		}
		l.conns.refuse(c, "too many connections")
	}
}

// conn is a connection within the limit. A client that doesn't read what it asked for loses it: each piece of
// pieceSize bytes must be taken within timeout (J11).
//
// net/http sets seven deadlines a request, and to tell the poller of each would cost as much as the answer's JSON. So the
// poller hears only of a deadline that is earlier than the one it knows; when that one passes, Read looks which one is wanted.
type conn struct {
	net.Conn
	conns    *connections
	timeout  time.Duration
	idle     time.Duration
	once     sync.Once
	extended atomic.Int64 // when Write last moved its deadline, in Unix nanoseconds
	deaf     atomic.Bool  // the next Read of a single byte brings nothing
	heard    atomic.Bool  // something has come
	head     head

	mu     sync.Mutex    // protects the deadlines of Read
	wanted time.Time     // zero: none
	armed  time.Time     // what the poller knows; zero: none
	first  time.Duration // for the head that the first byte will begin
}

const pieceSize = 64 << 10

// Write sends b in pieces with a deadline each, of timeout or up to a tenth less.
func (c *conn) Write(b []byte) (sent int, err error) {
	for err == nil && len(b) > 0 {
		if now := time.Now(); now.UnixNano()-c.extended.Load() > int64(c.timeout/10) {
			c.extended.Store(now.UnixNano())
			c.Conn.SetWriteDeadline(now.Add(c.timeout))
		}
		var n int
		n, err = c.Conn.Write(b[:min(len(b), pieceSize)])
		sent += n
		b = b[n:]
	}
	return sent, err
}

// connKey finds the conn in the context of a request that came without TLS.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// To see a client that hangs up, net/http reads one byte ahead as soon as it has the request: a read that finds nothing, a goroutine that
// waits for the poller, and two deadlines to end that, together a twelfth of what a write costs its leader. It gives up when the read brings
// nothing. All else that reads a connection of HTTP/1 has room for more than a byte. So requests that are answered at once, whether
// or not the client is there, are spared that: writes by goOnWithout, and reads of keys by isBrief.

// goOnWithout has the request go on when its client hangs up. It is called before the body is read, of a request that has one and makes no use
// of its context.
func goOnWithout(r *nethttp.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok && r.ProtoMajor == 1 {
		c.deaf.Store(true)
	}
}

// isBrief tells that these bytes are the whole head of one GET of a key that surely does not wait: net/http goes ahead before a handler
// could say so.
func isBrief(b []byte) bool {
	const begin, end = "GET " + keysPrefix, "\r\n\r\n"
	if len(b) < len(begin)+len(end) || string(b[:len(begin)]) != begin || string(b[len(b)-len(end):]) != end {
		return false
	}
	target, _, _ := bytes.Cut(b, []byte("\r\n"))
	return !bytes.Contains(target, []byte("wait")) && bytes.IndexByte(target, '%') < 0
}

// Read reads until the deadline that is wanted.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 1 && c.deaf.Swap(false) {
		return 0, nil
	}
	for {
		n, err := c.Conn.Read(b)
		if n > 0 && !c.heard.Load() {
			c.hear()
		}
		if n > 0 && isBrief(b[:n]) {
			c.deaf.Store(true)
		}
		if n > 0 && !c.head.came(n) {
			return 0, c.overflow()
		}
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !c.rearm() {
			return n, err
		}
	}
}

// rearm tells the poller of the deadline that is wanted; false when that has passed.
func (c *conn) rearm() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.wanted.IsZero() && !time.Now().Before(c.wanted) {
		return false
	}
	c.armed = c.wanted
	return c.Conn.SetReadDeadline(c.wanted) == nil
}

// longAgo, in Unix seconds, is when the deadline is by which net/http ends its Read of a single byte.
const longAgo = 1

// Of a new connection net/http wants the head of a request as soon as of one whose request has begun. But many clients open
// more connections than they need, and keep what they don't: one that is closed while a request is on its way costs them that
// request. So a connection that has said nothing is idle, like one that has nothing more to say.

// whileSilent is the deadline of a connection that has said nothing, instead of one that net/http wants. c.mu must be held.
func (c *conn) whileSilent(t time.Time) time.Time {
	now := time.Now()
	if !t.After(now) { // none, or the end of a Read
		return t
	}
	c.first = t.Sub(now)
	return now.Add(max(c.idle, c.first))
}

// hear is when the first byte has come: from now on the head has its time.
func (c *conn) hear() {
	c.heard.Store(true)
	c.mu.Lock()
	first := c.first
	c.mu.Unlock()
	if first > 0 {
		c.SetReadDeadline(time.Now().Add(first))
	}
}

// SetReadDeadline takes effect at once, also for a Read that waits; the poller need not end one that won't.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle > 0 && !c.heard.Load() {
		t = c.whileSilent(t)
	}
	c.wanted = t
	endsNothing := t.Unix() <= longAgo && c.deaf.Load()
	if t.IsZero() || !c.armed.IsZero() && !t.Before(c.armed) || endsNothing {
		return nil
	}
	c.armed = t
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline sets both.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetWriteDeadline holds until the next Write, which sets its own. To have none is therefore nothing new, though net/http
// wants that after each request.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	c.extended.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// NetConn is the connection as it was accepted, as tls.Conn has it.
func (c *conn) NetConn() net.Conn { return c.Conn }

// Close gives the place to another connection.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.conns.open.Add(-1)
		c.head.end()
	})
	return c.Conn.Close()
}

// CloseWrite lets net/http end a connection without taking back its last answer.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
