package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A network stands between the members of a cluster. Each member is reached through a proxy, which
// finds out which member dials, and carries the bytes of each direction over the link of that
// direction.
//
//	m0 ──dials──► proxy of m1 ──► m1          m0 → m1 and m1 → m0 are two links,
//	              link m0 → m1 ──►            whoever has dialled
//	              ◄── link m1 → m0
type network struct {
	t      *testing.T
	closed chan struct{}

	mu        sync.Mutex // protects what follows
	members   []*member
	listeners []net.Listener
	links     map[[2]*member]*link
	wires     map[*wire]bool
	filtered  map[[2]*member]bool // the first can't dial the second
}

// A wire is one connection between two members.
type wire struct {
	ends     [2]*member // the member that has dialled, and the other one
	from, to *net.TCPConn
}

func newNetwork(t *testing.T) *network {
	n := &network{t: t, closed: make(chan struct{}), links: map[[2]*member]*link{}, wires: map[*wire]bool{}}
	t.Cleanup(n.close)
	return n
}

func (n *network) close() {
	close(n.closed)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.listeners {
		l.Close()
	}
	for w := range n.wires {
		w.from.Close()
		w.to.Close()
	}
}

// join gives a member a proxy, at which other members reach it.
func (n *network) join(m *member) {
	n.t.Helper()
	l, err := net.Listen("tcp", strings.TrimPrefix(freeURL(), "http://"))
	if err != nil {
		n.t.Fatal(err)
	}
	m.reached = "http://" + l.Addr().String()
	n.mu.Lock()
	n.members, n.listeners = append(n.members, m), append(n.listeners, l)
	n.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go n.connect(conn.(*net.TCPConn), m)
		}
	}()
}

// connect carries one connection until it ends.
func (n *network) connect(from *net.TCPConn, callee *member) {
	caller := n.dialler(from)
	n.mu.Lock()
	filtered := n.filtered[[2]*member{caller, callee}]
	n.mu.Unlock()
	if caller == nil || filtered {
		from.Close() // the caller has hung up or died, or may not call
		return
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(callee.peer, "http://"))
	if err != nil {
		reset(from) // this is what the callee's own system would have done
		return
	}
	w := &wire{[2]*member{caller, callee}, from, conn.(*net.TCPConn)}
	n.mu.Lock()
	n.wires[w] = true
	n.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { n.link(caller, callee).carry(w.to, w.from) })
	both.Go(func() { n.link(callee, caller).carry(w.from, w.to) })
	both.Wait()
	from.Close()
	conn.Close()
	n.mu.Lock()
	delete(n.wires, w)
	n.mu.Unlock()
}

// dialler returns the member whose process holds the other end of a connection; nil when no process
// holds it any longer.
func (n *network) dialler(conn net.Conn) *member {
	inode := socketInode(conn.RemoteAddr().(*net.TCPAddr).Port, conn.LocalAddr().(*net.TCPAddr).Port)
	if inode == "" {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.members {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", m.pid.Load()))
		for _, f := range files {
			if to, _ := os.Readlink(f); to == "socket:["+inode+"]" {
				return m
			}
		}
	}
	return nil
}

// socketInode returns the system's number for the local socket that is connected from one port to
// another.
func socketInode(from, to int) string {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return ""
	}
	defer f.Close()
	local, remote := fmt.Sprintf("0100007F:%04X", from), fmt.Sprintf("0100007F:%04X", to)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 9 && fields[1] == local && fields[2] == remote {
			return fields[9]
		}
	}
	return ""
}

// link returns the link from one member to another.
func (n *network) link(from, to *member) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := [2]*member{from, to}
	if n.links[key] == nil {
		n.links[key] = newLink(n.closed)
	}
	return n.links[key]
}

// between returns the two links between two members.
func (n *network) between(a, b *member) []*link { return []*link{n.link(a, b), n.link(b, a)} }

// around returns all links between some members and the others.
func (n *network) around(some ...*member) (links []*link) {
	n.mu.Lock()
	others := without(n.members, some...)
	n.mu.Unlock()
	for _, a := range some {
		for _, b := range others {
			links = append(links, n.between(a, b)...)
		}
	}
	return links
}

func without[T comparable](list []T, some ...T) (rest []T) {
	for _, m := range list {
		keep := true
		for _, s := range some {
			keep = keep && s != m
		}
		if keep {
			rest = append(rest, m)
		}
	}
	return rest
}

// reset breaks all connections that a member has, at once.
func (n *network) reset(m *member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for w := range n.wires {
		if w.ends[0] == m || w.ends[1] == m {
			reset(w.from)
			reset(w.to)
		}
	}
}

// reset closes a connection so that the other end sees it break.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// heal repairs all links.
func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l.heal()
	}
}

// A link carries bytes in one direction, over all connections between two members. While it is cut
// no byte passes, and neither end is told. Bytes sent meanwhile arrive when it is healed, as they
// do when routers fail.
type link struct {
	closed <-chan struct{}

	mu     sync.Mutex    // protects what follows
	open   chan struct{} // closed while bytes pass
	rate   int           // bytes a second; 0: no bound
	delay  time.Duration
	busy   time.Time // when everything sent before has passed
	passed int64     // bytes, since the beginning
	until  int64     // when passed reaches it, then is called once
	then   func()
}

func newLink(closed <-chan struct{}) *link {
	l := &link{closed: closed, open: make(chan struct{})}
	close(l.open)
	return l
}

func (l *link) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *link) cut() {
	l.change(func() {
		select {
		case <-l.open:
			l.open = make(chan struct{})
		default: // it is cut already
		}
	})
}

// reopen ends a cut.
func (l *link) reopen() {
	l.change(func() {
		select {
		case <-l.open:
		default:
			close(l.open)
		}
	})
}

// heal makes the link whole and fast.
func (l *link) heal() {
	l.reopen()
	l.slow(0)
	l.lag(0)
}

// slow lets at most rate bytes pass in a second.
func (l *link) slow(rate int) { l.change(func() { l.rate = rate }) }

// lag makes each byte take d, however many are on their way at a time.
func (l *link) lag(d time.Duration) { l.change(func() { l.delay = d }) }

// at calls f once, when a number of further bytes have passed.
func (l *link) at(bytes int64, f func()) {
	l.change(func() { l.until, l.then = l.passed+bytes, f })
}

// bytes returns how many bytes have passed so far.
func (l *link) bytes() (n int64) {
	l.change(func() { n = l.passed })
	return n
}

// received returns how many bytes a member has received from the others so far.
func (n *network) received(m *member) (bytes int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for ends, l := range n.links {
		if ends[1] == m {
			bytes += l.bytes()
		}
	}
	return bytes
}

func cut(links []*link) {
	for _, l := range links {
		l.cut()
	}
}

// A parcel is the result of one read, and the time at which it is due at the other end.
type parcel struct {
	data []byte
	err  error
	due  time.Time
}

const (
	parcelSize = 16 << 10
	parcels    = 8 << 10 // at most, on the way of a connection

	// Bytes on the way of a connection, at most. A long one carries 320 MB/s at 100 ms.
	shortRoom = 128 << 10
	longRoom  = 32 << 20

	// Bytes that wait at an end of a link. The system's own loopback stalls with less: its packets
	// have 64 KiB.
	socketBuffer = 128 << 10
)

// carry moves the bytes that src sends to dst, and then the way in which src ended.
func (l *link) carry(dst, src *net.TCPConn) {
	dst.SetWriteBuffer(socketBuffer)
	src.SetReadBuffer(socketBuffer)
	way, arrived := make(chan parcel, parcels), make(chan struct{}, 1)
	var under atomic.Int64 // bytes on the way
	go l.take(src, way, &under, arrived)
	for p := range way {
		if !l.deliver(dst, p) {
			reset(src)
		}
		under.Add(-int64(len(p.data)))
		select {
		case arrived <- struct{}{}:
		default:
		}
	}
}

// take puts the bytes that src sends on the way, as far as there is room. arrived signals that some
// room may have become free.
func (l *link) take(src *net.TCPConn, way chan<- parcel, under *atomic.Int64, arrived <-chan struct{}) {
	defer close(way)
	buf := make([]byte, parcelSize)
	for {
		n, err := src.Read(buf)
		under.Add(int64(n))
		way <- parcel{slices.Clone(buf[:n]), err, l.due(n)}
		if err != nil {
			return
		}
		for under.Load() >= l.room() {
			select {
			case <-arrived:
			case <-l.closed:
				return
			}
		}
	}
}

// room returns how many bytes may be on the way of a connection. A link with a delay gets much
// room, because it has no bound but its rate. A link that is cut, or has a rate, gets little: bytes
// that wait longer than the delay then wait at the sender, which knows of it.
func (l *link) room() (n int64) {
	l.change(func() {
		n = shortRoom
		select {
		case <-l.open:
			if l.delay > 0 && l.rate == 0 {
				n = longRoom
			}
		default:
		}
	})
	return n
}

// due returns when n bytes that are sent now arrive.
func (l *link) due(n int) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.busy.Before(now) {
		l.busy = now
	}
	if l.rate > 0 {
		l.busy = l.busy.Add(time.Second * time.Duration(n) / time.Duration(l.rate))
	}
	return l.busy.Add(l.delay)
}

// deliver waits until a parcel is due and the link is open. It returns false when dst does not
// accept the parcel.
func (l *link) deliver(dst *net.TCPConn, p parcel) bool {
	select {
	case <-time.After(time.Until(p.due)):
	case <-l.closed:
	}
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	select {
	case <-open:
	case <-l.closed:
	}
	_, err := dst.Write(p.data)
	l.count(len(p.data))
	switch {
	case err != nil:
		return false
	case p.err == io.EOF:
		dst.CloseWrite()
	case p.err != nil:
		reset(dst)
	}
	return true
}

func (l *link) count(n int) {
	l.mu.Lock()
	l.passed += int64(n)
	then := l.then
	if l.passed < l.until {
		then = nil
	}
	if then != nil {
		l.then = nil
	}
	l.mu.Unlock()
	if then != nil {
		then()
	}
}
