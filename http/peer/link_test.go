package peer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// In a bubble of testing/synctest members talk over links in memory. Time is the bubble's: it
// passes when nobody has anything to do, so that no test is late on a slow machine.

// isVirtual reports whether the test runs in a bubble: the clock of each one begins in 2000.
func isVirtual() bool { return time.Now().Year() < 2020 }

// listen returns a listener in memory, or a TCP listener outside bubbles.
func listen(t testing.TB) net.Listener {
	t.Helper()
	if !isVirtual() {
		return mustListen(t)
	}
	p := &port{address: newAddress(), calls: make(chan net.Conn, 100), closed: make(chan struct{})}
	targets.Store(p.address, &link{to: p, delay: nearTrip / 2, buffer: nearBuffer})
	return p
}

// targets has what can be dialled in bubbles: address → *link.
var (
	targets   sync.Map
	addresses atomic.Int32
)

// address is a net.Addr in memory.
type address string

func newAddress() address {
	n := addresses.Add(1)
	return address(fmt.Sprintf("10.%d.%d.%d:2380", n>>16, n>>8&255, n&255))
}

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// dialMemory dials an address of a port or a link.
func dialMemory(_ context.Context, network, to string) (net.Conn, error) {
	k, found := targets.Load(address(to))
	if !found {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: address(to), Err: syscall.ECONNREFUSED}
	}
	return k.(*link).dial()
}

// port is a listener in memory.
type port struct {
	address
	calls  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept waits for a call.
func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.calls:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close has later calls refused.
func (p *port) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr is where the port can be dialled.
func (p *port) Addr() net.Addr { return p.address }

// link is an address of a member that leads over a network with a delay and a rate, which may stand
// still or break.
type link struct {
	address
	to     *port
	rate   int           // bytes a second in each direction; 0: no limit
	delay  time.Duration // of each byte, in each direction
	buffer int           // bytes of a connection that are on their way at most, in each direction
	frozen atomic.Bool   // nothing passes any more
	passed atomic.Int64  // bytes that have come from the callers so far
	cutAt  atomic.Int64  // value of passed at which all connections break; 0: never

	mu     sync.Mutex // protects all below
	conns  []*end
	closed bool
}

// nearTrip is the least time of a round trip.
const nearTrip = 200 * time.Microsecond

// nearBuffer and farBuffer are about what kernels have: the far one holds the largest window.
const (
	nearBuffer = 4 << 20
	farBuffer  = 64 << 20
)

func newLink(t testing.TB, to *member, rate int) *link { return newFarLink(t, to, rate, 0) }

// newFarLink makes a link with a delay of half a round trip.
func newFarLink(t testing.TB, to *member, rate int, trip time.Duration) *link {
	u, _ := url.Parse(to.url())
	target, _ := targets.Load(address(u.Host))
	k := &link{address: newAddress(), to: target.(*link).to, rate: rate, delay: nearTrip / 2, buffer: nearBuffer}
	if trip > 0 {
		k.delay, k.buffer = trip/2, farBuffer
	}
	targets.Store(k.address, k)
	return k
}

func (k *link) url() string { return "http://" + k.String() }

func (k *link) dial() (net.Conn, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	up, down := newHalf(k), newHalf(k)
	up.counts = true
	near, far := &end{down, up}, &end{up, down}
	select {
	case <-k.to.closed:
		k.closed = true
	default:
	}
	if !k.closed {
		k.to.calls <- far
		k.conns = append(k.conns, near, far)
		return near, nil
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: k.address, Err: syscall.ECONNREFUSED}
}

// cut breaks all connections, as a process does that dies.
func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.conns {
		c.in.change(func() { c.in.cut = true })
	}
	k.conns = nil
}

func (k *link) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.cut()
}

// cutAfter breaks the connections of the link after n more bytes.
func (k *link) cutAfter(n int64) { k.cutAt.Store(k.passed.Load() + n) }

// count counts bytes that have come.
func (k *link) count(n int) {
	if at := k.cutAt.Load(); k.passed.Add(int64(n)) >= at && at > 0 && k.cutAt.CompareAndSwap(at, 0) {
		k.cut()
	}
}

// end is one end of a connection.
type end struct{ in, out *half }

// Read reads what has come.
func (e *end) Read(b []byte) (int, error) {
	n, err := e.in.read(b)
	if e.in.counts {
		e.in.k.count(n)
	}
	return n, err
}

// Write waits while the buffers are full.
func (e *end) Write(b []byte) (int, error) { return e.out.write(b) }

// Close lets what was written arrive.
func (e *end) Close() error {
	e.in.change(func() { e.in.readerGone = true })
	e.out.change(func() { e.out.writerGone = true })
	return nil
}

// LocalAddr is the link's.
func (e *end) LocalAddr() net.Addr { return e.in.k.address }

// RemoteAddr is the link's.
func (e *end) RemoteAddr() net.Addr { return e.in.k.address }

// SetDeadline sets both deadlines.
func (e *end) SetDeadline(at time.Time) error {
	e.SetReadDeadline(at)
	return e.SetWriteDeadline(at)
}

// SetReadDeadline also ends a Read that waits.
func (e *end) SetReadDeadline(at time.Time) error {
	e.in.change(func() { e.in.readBy = at })
	return nil
}

// SetWriteDeadline also ends a Write that waits.
func (e *end) SetWriteDeadline(at time.Time) error {
	e.out.change(func() { e.out.writeBy = at })
	return nil
}

// half is one direction of a connection.
type half struct {
	k      *link
	counts bool // what comes is counted

	mu                     sync.Mutex // protects all below
	changed                chan struct{}
	chunks                 []chunk // on their way
	size                   int     // of the chunks, in bytes
	free                   time.Time
	readBy, writeBy        time.Time // deadlines
	readerGone, writerGone bool
	cut                    bool
}

// chunk is a part that arrives at one time.
type chunk struct {
	at time.Time
	b  []byte
}

func newHalf(k *link) *half { return &half{k: k, changed: make(chan struct{})} }

// change changes what h.mu protects, and wakes whoever waits.
func (h *half) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	h.wake()
}

// wake wakes whoever waits. h.mu must be held.
func (h *half) wake() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// wait waits for a change, until a time; zero: for a change only. h.mu must be held.
func (h *half) wait(until time.Time) {
	changed := h.changed
	h.mu.Unlock()
	defer h.mu.Lock()
	var late <-chan time.Time
	if !until.IsZero() {
		late = time.After(time.Until(until))
	}
	select {
	case <-changed:
	case <-late:
	}
}

func isOver(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

func (h *half) write(b []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch room := h.k.buffer - h.size; {
		case h.writerGone:
			return n, net.ErrClosed
		case h.cut, h.readerGone && !h.k.frozen.Load():
			return n, syscall.EPIPE
		case isOver(h.writeBy):
			return n, os.ErrDeadlineExceeded
		case n == len(b):
			return n, nil
		case room > 0:
			m := min(room, len(b)-n, 16<<10)
			h.put(b[n : n+m])
			n += m
		default:
			h.wait(h.writeBy)
		}
	}
}

// put sends b on its way. h.mu must be held.
func (h *half) put(b []byte) {
	h.free = later(h.free, time.Now())
	if h.k.rate > 0 {
		h.free = h.free.Add(time.Duration(len(b)) * time.Second / time.Duration(h.k.rate))
	}
	h.chunks = append(h.chunks, chunk{h.free.Add(h.k.delay), bytes.Clone(b)})
	h.size += len(b)
	h.wake()
}

func (h *half) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.readerGone:
			return 0, net.ErrClosed
		case isOver(h.readBy):
			return 0, os.ErrDeadlineExceeded
		case h.cut:
			return 0, io.EOF
		case h.k.frozen.Load():
			h.wait(h.readBy)
		case len(h.chunks) > 0 && time.Until(h.chunks[0].at) <= 0:
			return h.get(b), nil
		case len(h.chunks) > 0:
			at := h.chunks[0].at
			if !h.readBy.IsZero() && h.readBy.Before(at) {
				at = h.readBy
			}
			h.wait(at)
		case h.writerGone:
			return 0, io.EOF
		default:
			h.wait(h.readBy)
		}
	}
}

// get takes what has arrived. h.mu must be held.
func (h *half) get(b []byte) (n int) {
	for n < len(b) && len(h.chunks) > 0 && time.Until(h.chunks[0].at) <= 0 {
		c := &h.chunks[0]
		m := copy(b[n:], c.b)
		if c.b = c.b[m:]; len(c.b) == 0 {
			h.chunks = h.chunks[1:]
		}
		n += m
	}
	h.size -= n
	h.wake()
	return n
}
