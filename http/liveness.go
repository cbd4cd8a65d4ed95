package http

import (
	"context"
	"net"
	nethttp "net/http"
	"runtime"
	"syscall"
)

// A watch may wait for days. net/http notices that the client has left by reading one byte ahead.
// It needs a goroutine beside each request for this, and stops looking when that byte comes: a
// client that sends more than its request, and leaves, would keep the watch and its connection for
// ever. So the system is asked to report the end of a connection (hangups), and the read ahead is
// suppressed (noReadAhead). A connection of HTTP/2 is read all the time, and needs none of this.

// departure is whether the client of a connection has left. A client that closed only its sending
// direction counts as gone, as it does for net/http.
type departure struct {
	number  uint64 // in hangups; 0: not there
	left    bool
	waits   bool // a request waits for the end
	counted bool // in connections.left

	// Done when the client has left. The requests of the connection that wait share it, one after
	// the other; nil before the first.
	ctx    context.Context
	cancel context.CancelFunc
}

// untilLeft returns a context that is done when the client of r has left, or parent is done. All
// requests of a server have the same parent. Where neither the system nor net/http reports that a
// client has left, it ends after the longest life of a watch: the answer ends without an event, and
// the client asks again from the index in the head. The caller calls stop when the request ends.
func (s *Server) untilLeft(parent context.Context, r *nethttp.Request) (ctx context.Context, stop func()) {
	waited := func() {}
	c, ok := r.Context().Value(connKey{}).(*conn)
	switch {
	case !ok || r.ProtoMajor > 1:
	case c.watchHangup():
		parent, waited = c.beginWait(parent), c.endWait
		if r.TLS == nil { // which has an end of its own
			return parent, waited
		}
	default:
		parent, waited = context.WithTimeout(parent, s.times.life)
	}
	ctx, cancel := context.WithCancel(parent)
	unheard := context.AfterFunc(r.Context(), cancel)
	return ctx, func() { unheard(); cancel(); waited() }
}

// watchHangup adds c to hangups, and reports whether the system will report the client's hangup.
func (c *conn) watchHangup() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client.number == 0 {
		c.client.number = theHangups().add(c)
	}
	return c.client.number > 0
}

// beginWait returns the context of a request that begins to wait. endWait must follow.
func (c *conn) beginWait(parent context.Context) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client.ctx == nil {
		c.client.ctx, c.client.cancel = context.WithCancel(parent)
	}
	c.client.waits = true
	c.endIfLeft()
	return c.client.ctx
}

// endWait ends what beginWait began.
func (c *conn) endWait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.client.waits = false
}

// clientLeft is called by hangups when the client has left. c is nil when the connection is closed.
func (c *conn) clientLeft() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.client.left = true
	c.endIfLeft()
}

// endIfLeft ends the request that waits, if its client has left. c.mu must be held.
func (c *conn) endIfLeft() {
	d := &c.client
	if !d.left || !d.waits {
		return
	}
	d.cancel()
	if !d.counted {
		d.counted = true
		c.conns.left.Add(1)
	}
}

// forgetHangup removes the connection from hangups, after it was closed.
func (c *conn) forgetHangup() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client.number > 0 {
		theHangups().remove(c.client.number)
	}
	if c.client.cancel != nil {
		c.client.cancel()
	}
}

// rawConn returns the socket beneath c on Linux; nil elsewhere, and when c has none.
func rawConn(c net.Conn) syscall.RawConn {
	socket, ok := socketOf(c).(syscall.Conn)
	if !ok || runtime.GOOS != "linux" {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// socketOf returns the innermost connection of c.
func socketOf(c net.Conn) net.Conn {
	for {
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = outer.NetConn()
	}
}
