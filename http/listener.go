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
	return uint64(limit.Cur) // FreeBSD has it signed
}

// defaultMaxConnections leaves reservedFiles of the descriptors, or half of them when there are
// few, and most of the memory.
func defaultMaxConnections(files uint64, memory int64) int {
	n := int64(min(files, 1<<20))
	return int(min(max(n-reservedFiles, n/2), memory/4/connectionCost))
}

// unsent is how much of an answer the kernel may hold, for each connection, that the client has no
// window for. Its own bound is megabytes: a thousand clients that don't read fill what the system
// has for all sockets, and then every connection stands still (J11). What is on its way to a client
// that reads is not bounded by this.
const unsent = 32 << 10

// boundUnsent sets that for a connection. Where the system can't do it, all is as before.
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
	idle    time.Duration // for the first byte that comes; 0: as long as for the head that it belongs to
	mute    bool          // refuse without a word: the client waits for TLS
}

// Accept waits for a connection within the limit.
func (l *listener) Accept() (net.Conn, error) {
	theHangups() // is there before a client is
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
			return &conn{Conn: c, conns: l.conns, origin: origin, timeout: l.timeout, idle: l.idle,
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

// conn is a connection within the limit. A client that doesn't read what it asked for loses it:
// each piece of pieceSize bytes must be taken within timeout (J11).
//
// net/http sets seven deadlines a request, and to tell the poller of each would cost as much as the
// answer's JSON. So the poller hears of a deadline only when a Read waits, and only of one that is
// earlier than the one it knows; when that one passes, Read looks which one is wanted.
type conn struct {
	net.Conn
	conns       *connections
	origin      string // who has its place
	timeout     time.Duration
	idle        time.Duration
	once        sync.Once
	extended    atomic.Int64 // when Write last moved its deadline, in Unix nanoseconds
	noReadAhead atomic.Bool  // the next Read of a single byte brings nothing
	received    atomic.Bool  // something has come
	gets        bool         // the head that comes begins a GET of a key; Read's own
	head        head

	// Both belong to the goroutine that sends an answer.
	whole bool   // the next Write that net/http's buffer holds is the beginning of a piece
	begun []byte // that beginning, until the rest comes

	mu      sync.Mutex    // protects the deadlines of Read
	wanted  time.Time     // zero: none
	armed   time.Time     // what the poller knows; zero: none
	waiting int           // Reads that wait in the poller
	first   time.Duration // for the head that the first byte will begin
	client  departure     // protected by mu, too
}

const pieceSize = 64 << 10

// Write sends b in pieces with a deadline each, of timeout or up to a tenth less.
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

// send sends what has begun, and b. It returns how much of b was sent.
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

// netBuffer is how much net/http gathers before it sends something. Of a piece that is larger it
// sends what fills its buffer and then the rest: two system calls, each of which wakes the client.
const netBuffer = 4 << 10

// writeWhole writes b to w, an answer over c, with one system call when it is no larger than a
// piece. When the beginning of b can't be sent, the connection is closed: net/http takes it to be
// sent.
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

// connKey finds the conn in the context of a request.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	if inner := connOf(c); inner != nil {
		return context.WithValue(ctx, connKey{}, inner)
	}
	return ctx
}

// ownConn returns the connection that r has for itself, without TLS in between; nil when there is
// none.
func ownConn(r *nethttp.Request) *conn {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok && r.ProtoMajor == 1 && r.TLS == nil {
		return c
	}
	return nil
}

// originOf returns for whom a request counts that wants a place.
func originOf(r *nethttp.Request) string {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		return c.origin
	}
	return originAt(r.RemoteAddr)
}

// originAt is originOf for an address with a port.
func originAt(address string) string {
	host, _, _ := net.SplitHostPort(address) // "" is an address like any other
	return places.Origin(host)
}

// connOf returns the conn that a connection of net/http is, or has beneath its TLS; nil when there
// is none.
func connOf(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	inner, _ := c.(*conn)
	return inner
}

// To see a client that hangs up, net/http reads one byte ahead as soon as it has the request: a
// read that finds nothing, a goroutine that waits for the poller, and two deadlines to end that,
// together a twelfth of what a write costs its leader. It gives up when the read brings nothing.
// All else that reads a connection of HTTP/1 has room for more than a byte. So requests that are
// answered at once, whether or not the client is there, are spared that: writes by goOnWithout, and
// reads of keys by isBrief. So are watches, of whose clients the system tells (hangups).
//
// A later Go may read ahead in another way. Then this gains nothing, but it holds nothing up: every
// deadline ends the Read that it is meant for, and what one request suppresses is over with it.

// goOnWithout has the request go on when its client hangs up. It is called before the body is read,
// of a request that has one and makes no use of its context.
func ignoreHangup(r *nethttp.Request) {
	if c := ownConn(r); c != nil {
		c.noReadAhead.Store(true)
	}
}

// next begins another request, or the handling of the one that came. What the last one suppressed
// is over.
func (c *conn) next(another bool) {
	if another {
		c.noReadAhead.Store(false)
	}
	c.head.setReading(another)
}

// beginsGet reports whether these bytes begin a GET of a key. The first head of a connection comes
// in two pieces at least: net/http looks for the preface of HTTP/2.
func beginsGet(b []byte) bool { return bytes.HasPrefix(b, []byte("GET "+keysPrefix)) }

// isBrief reports whether these bytes have the whole first line of a GET of a key, which surely
// does not wait: net/http goes ahead before a handler could say so.
func isBrief(b []byte) bool {
	target, _, _ := bytes.Cut(b, []byte("\r\n"))
	return beginsGet(target) && !bytes.Contains(target, []byte("wait")) && bytes.IndexByte(target, '%') < 0
}

// Read reads until the deadline that is wanted.
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

// take looks at what a Read has brought.
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

// await tells the poller of the deadline that is wanted, for a Read that begins, or begins again
// since the poller found it late. Its error is that the deadline has passed; a Read that begins
// leaves it to the poller to find that, which saves a look at the clock.
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

// awaited is when a Read ends that began with await.
func (c *conn) endRead() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting--
}

// mustHear reports whether the wanted deadline is earlier than the one that the poller knows. c.mu
// must be held.
func (c *conn) mustArm() bool {
	return !c.wanted.IsZero() && (c.armed.IsZero() || c.wanted.Before(c.armed))
}

// arm tells the poller of the wanted deadline. c.mu must be held. A connection that takes none is
// closed, and Read says so.
func (c *conn) arm() {
	c.armed = c.wanted
	c.Conn.SetReadDeadline(c.wanted)
}

// Of a new connection net/http wants the head of a request as soon as of one whose request has
// begun. But many clients open more connections than they need, and keep what they don't: one that
// is closed while a request is on its way costs them that request. So a connection that has said
// nothing is idle, like one that has nothing more to say.

// whileSilent is the deadline of a connection that has said nothing, instead of one that net/http
// wants. c.mu must be held.
func (c *conn) idleDeadline(t time.Time) time.Time {
	now := time.Now()
	if !t.After(now) { // none, or the end of a Read
		return t
	}
	c.first = t.Sub(now)
	return now.Add(max(c.idle, c.first))
}

// hear is when the first byte has come: from now on the head has its time.
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

// SetWriteDeadline holds until the next Write, which sets its own. To have none is therefore
// nothing new, though net/http wants that after each request.
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
		c.conns.Release(c.origin)
		c.head.close()
	})
	err := c.Conn.Close()
	c.forgetHangup()
	return err
}

// CloseWrite lets net/http end a connection without taking back its last answer.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
