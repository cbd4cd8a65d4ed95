package http

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	nethttp "net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"etcd2/http/places"
)

// Descriptors reserved for the log, snapshots and peers (J2), and the limit that is assumed when it
// can't be read.
const (
	reservedFiles    = 128
	assumedFileLimit = 1024
)

func fileLimit() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return assumedFileLimit
	}
	return uint64(limit.Cur) // FreeBSD has it signed
}

// defaultMaxConnections leaves reservedFiles of the descriptors, or half of them when there are
// few, and three quarters of the memory.
func defaultMaxConnections(files uint64, memory int64) int {
	n := int64(min(files, 1<<20))
	return int(min(max(n-reservedFiles, n/2), memory/4/connectionCost))
}

// unsent bounds the bytes of an answer that the kernel holds for a connection whose client has no
// window for them (J11). The kernel's own bound is megabytes: a thousand clients that don't read
// would exhaust the memory that the system has for all sockets, and stop every connection. What is
// on its way to a client that reads is not bounded by this.
const unsent = 32 << 10

// boundUnsent sets this bound for a connection, where the system is Linux.
func boundUnsent(c net.Conn) {
	const tcpNotSentLowat = 25 // TCP_NOTSENT_LOWAT of linux/tcp.h, which package syscall doesn't name
	if raw := rawConn(c); raw != nil {
		raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, unsent) })
	}
}

// listener accepts as many connections as the limit allows and refuses the rest.
type listener struct {
	net.Listener
	conns   *connections
	budget  *budget       // for heads of requests
	timeout time.Duration // for a piece of an answer
	idle    time.Duration // for the first byte of a connection; 0: the time of its first head
	mute    bool          // close refused connections without an answer, since their clients speak TLS
}

// Accept waits for a connection within the limit, and refuses those beyond it.
func (l *listener) Accept() (net.Conn, error) {
	theHangups() // exists before the first client comes
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
				l.conns.recordRefused("")
			}
			return nil, err
		}
		origin := originAt(c.RemoteAddr().String())
		if l.conns.Acquire(origin) {
			boundUnsent(c)
			return &conn{wrapped: wrapped{c}, conns: l.conns, origin: origin, timeout: l.timeout, idle: l.idle,
				head: head{budget: l.budget, reading: true, mute: l.mute}}, nil
		}
		l.conns.recordRefused(origin)
		if l.mute {
			c.Close()
			continue
		}
		l.conns.refuse(c, "too many connections")
	}
}

// conn is a connection within the limit. A client that doesn't read an answer is disconnected: it
// must take each piece of pieceSize bytes within timeout (J11).
//
// net/http sets seven deadlines for each request, and telling the poller of each would cost as much
// as encoding the answer. So the poller is told of a deadline only while a Read waits, and only
// when it is earlier than the one that the poller knows. When that one passes, Read checks it
// against the present deadline.
type conn struct {
	wrapped
	conns       *connections
	origin      string // by which its place is counted
	timeout     time.Duration
	idle        time.Duration
	once        sync.Once
	extended    atomic.Int64 // when Write last moved its deadline, in Unix nanoseconds
	noReadAhead atomic.Bool  // the next Read of a single byte returns none
	received    atomic.Bool  // a byte was received
	gets        bool         // the head that comes begins a GET of a key; Read's own
	head        head

	// Both belong to the goroutine that sends an answer.
	whole bool   // the next Write of at most netBuffer bytes is the beginning of a piece
	begun []byte // that beginning, until the rest is written

	mu      sync.Mutex    // protects the deadlines of Read
	wanted  time.Time     // set by net/http last; zero: none
	armed   time.Time     // known to the poller; zero: none
	waiting int           // Reads that wait in the poller
	first   time.Duration // for the first head, from its first byte on
	client  departure     // protected by mu, too
}

const pieceSize = 64 << 10

// Write sends b in pieces. Each has a deadline, between nine tenths of timeout and timeout away.
func (c *conn) Write(b []byte) (sent int, err error) {
	if c.whole && len(c.begun) == 0 && len(b) <= netBuffer {
		c.begun = append(c.begun, b...)
		return len(b), nil
	}
	for err == nil && len(b) > 0 {
		if now := time.Now(); now.UnixNano()-c.extended.Load() > int64(c.timeout/10) {
			c.extended.Store(now.UnixNano())
			c.Conn.SetWriteDeadline(now.Add(c.timeout))
		}
		var n int
		n, err = c.send(b[:min(len(b), pieceSize)])
		sent += n
		b = b[n:]
	}
	return sent, err
}

// send sends begun and b, and returns how much of b was sent.
func (c *conn) send(b []byte) (int, error) {
	if len(c.begun) == 0 {
		return c.Conn.Write(b)
	}
	before := len(c.begun)
	both := net.Buffers{c.begun, b}
	c.begun = c.begun[:0]
	n, err := both.WriteTo(socketOf(c.Conn))
	return max(int(n)-before, 0), err
}

// netBuffer is the size of net/http's buffer for an answer. Of a longer piece net/http sends what
// fills the buffer and then the rest: two system calls, each of which wakes the client.
const netBuffer = 4 << 10

// writeWhole writes b to w, an answer over c, with one system call when it is no larger than a
// piece. When the beginning of b can't be sent, it closes the connection, since net/http has
// counted that beginning as sent.
func (c *conn) writeWhole(w nethttp.ResponseWriter, b []byte) (int, error) {
	buf := getBuffer()
	defer putBuffer(buf)
	c.whole, c.begun = true, *buf
	n, err := w.Write(b)
	alone := c.begun
	c.whole, c.begun = false, nil
	if len(alone) > 0 && err == nil {
		if _, err = c.Write(alone); err != nil {
			c.Close()
		}
	}
	*buf = alone
	return n, err
}

// wrapped is a connection around another one, to be embedded: tls.Conn and net/http find through it
// what net.Conn lacks.
type wrapped struct{ net.Conn }

// NetConn returns the connection beneath, as the method of tls.Conn does.
func (w wrapped) NetConn() net.Conn { return w.Conn }

// CloseWrite lets net/http end a connection so that the client still receives the last answer.
func (w wrapped) CloseWrite() error {
	if half, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// connKey is the key of the conn in the context of a request.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	if inner := connOf(c); inner != nil {
		return context.WithValue(ctx, connKey{}, inner)
	}
	return ctx
}

// ownConn returns the connection of r when it is one of HTTP/1 without TLS; nil otherwise.
func ownConn(r *nethttp.Request) *conn {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok && r.ProtoMajor == 1 && r.TLS == nil {
		return c
	}
	return nil
}

// originOf returns the origin by which places for r are counted.
func originOf(r *nethttp.Request) string {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		return c.origin
	}
	return originAt(r.RemoteAddr)
}

// originAt returns the origin of an address with a port.
func originAt(address string) string {
	host, _, _ := net.SplitHostPort(address) // "" is an address like any other
	return places.Origin(host)
}

// connOf returns the conn of a connection of net/http, which may be beneath its TLS; nil when there
// is none.
func connOf(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	inner, _ := c.(*conn)
	return inner
}

// To notice a client that hangs up, net/http reads one byte ahead as soon as it has the request: a
// read that finds nothing, a goroutine that waits for the poller, and two deadlines to end it. That
// takes a twelfth of the time that a write takes at its leader. net/http stops when the read
// returns no byte, and no other read of HTTP/1 has room for only one. So requests that are answered
// at once, whether or not the client is there, are not read ahead of: writes by ignoreHangup, and
// reads of keys by isBrief. So are watches, of whose clients the system tells (hangups).
//
// A later Go may read ahead in another way. Then this saves nothing, and does no harm: every
// deadline still ends its Read, and noReadAhead is reset with the next request.

// ignoreHangup lets the request go on when its client hangs up. It is called before the body is
// read, for a request that has a body and makes no use of its context.
func ignoreHangup(r *nethttp.Request) {
	if c := ownConn(r); c != nil {
		c.noReadAhead.Store(true)
	}
}

// next says that another request begins, or the handling of the one that has come. Another request
// is read ahead of again.
func (c *conn) next(another bool) {
	if another {
		c.noReadAhead.Store(false)
	}
	c.head.setReading(another)
}

// beginsGet reports whether b begins with a GET of a key. The first head of a connection comes in
// at least two pieces, since net/http looks for the preface of HTTP/2 first.
func beginsGet(b []byte) bool { return bytes.HasPrefix(b, []byte("GET "+keysPrefix)) }

// isBrief reports whether b has the whole first line of a GET of a key that surely does not wait.
// This is decided here since net/http reads ahead before a handler could tell.
func isBrief(b []byte) bool {
	target, _, _ := bytes.Cut(b, []byte("\r\n"))
	return beginsGet(target) && !bytes.Contains(target, []byte("wait")) && bytes.IndexByte(target, '%') < 0
}

// Read reads until the deadline that was set last.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 1 && c.noReadAhead.Swap(false) {
		return 0, nil
	}
	for late := false; ; late = true {
		if err := c.beginRead(late); err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(b)
		c.endRead()
		switch {
		case n > 0:
			return c.observe(b[:n], err)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return n, err
		}
	}
}

// observe looks at the bytes that a Read has brought.
func (c *conn) observe(b []byte, err error) (int, error) {
	if !c.received.Load() {
		c.receiveFirst()
	}
	if c.head.isNew() {
		c.gets = beginsGet(b)
	}
	if c.gets && bytes.HasSuffix(b, []byte("\r\n\r\n")) && (isBrief(b) || c.watchHangup()) {
		c.noReadAhead.Store(true)
	}
	if !c.head.add(len(b)) {
		return 0, c.overflow()
	}
	return len(b), err
}

// beginRead tells the poller of the present deadline, for a Read that begins. late is for a Read
// that goes on after the poller's deadline: it fails when the present deadline has passed, too. A
// Read that begins does not check this, which saves a look at the clock: the poller does.
func (c *conn) beginRead(late bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if late && !c.wanted.IsZero() && !time.Now().Before(c.wanted) {
		return &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}
	}
	c.waiting++
	if late || c.mustArm() {
		c.arm()
	}
	return nil
}

// endRead ends what beginRead began.
func (c *conn) endRead() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting--
}

// mustArm reports whether the present deadline is earlier than the one that the poller knows. c.mu
// must be held.
func (c *conn) mustArm() bool {
	return !c.wanted.IsZero() && (c.armed.IsZero() || c.wanted.Before(c.armed))
}

// arm tells the poller of the present deadline. c.mu must be held. It ignores the error of a closed
// connection: Read returns one.
func (c *conn) arm() {
	c.armed = c.wanted
	c.Conn.SetReadDeadline(c.wanted)
}

// net/http gives a new connection as little time for its first head as one whose head has begun.
// But many clients open more connections than they need, and keep the others: when such a
// connection is closed while a request is on its way, that request is lost. So a connection over
// which nothing was received counts as idle, like one between two requests.

// idleDeadline returns the deadline of a connection on which nothing was received yet, in place of
// the one that net/http sets. c.mu must be held.
func (c *conn) idleDeadline(t time.Time) time.Time {
	now := time.Now()
	if !t.After(now) { // none, or the end of a Read
		return t
	}
	c.first = t.Sub(now)
	return now.Add(max(c.idle, c.first))
}

// receiveFirst sets the deadline of the first head, when its first byte has come.
func (c *conn) receiveFirst() {
	c.received.Store(true)
	c.mu.Lock()
	first := c.first
	c.mu.Unlock()
	if first > 0 {
		c.SetReadDeadline(time.Now().Add(first))
	}
}

// SetReadDeadline takes effect at once, also for a Read that waits.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle > 0 && !c.received.Load() {
		t = c.idleDeadline(t)
	}
	c.wanted = t
	if c.waiting > 0 && c.mustArm() {
		c.arm()
	}
	return nil
}

// SetDeadline sets both.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetWriteDeadline holds until the next Write, which sets its own deadline. To remove the deadline
// is therefore unnecessary, though net/http does it after each request.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	c.extended.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// Close closes the connection, and releases its place and what its head has acquired.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.conns.Release(c.origin)
		c.head.close()
	})
	err := c.Conn.Close()
	c.forgetHangup()
	return err
}
