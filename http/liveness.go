package http

import (
	"context"
	"net"
	nethttp "net/http"
	"runtime"
	"syscall"
	"time"
)

// A watch may wait for days. net/http notices that the client has left by reading one byte ahead, for which it has a
// goroutine beside each request, and it stops looking when that byte comes: a client that sends more than its request, and
// leaves, would keep the watch and its connection for ever. So the system is asked to tell of the end of a
// connection (hangups), and the read ahead is suppressed (deaf). A connection of HTTP/2 is read all the time, and needs
// none of this.

// departure is what a connection knows of its client's leaving. An end of which only one direction is closed counts, as it
// does for net/http.
type departure struct {
	number uint64 // in hangups; 0: not there
	left   bool
	told   bool   // it has ended a request
	tell   func() // ends the request that waits; nil: none does
}

// endWithClient calls cancel when the client of r has left. Where neither the system nor net/http tells, it does so after the
// longest life of a watch: its answer ends without an event, and the client asks again from the index in the head. The
// caller calls stop when the request ends.
func (s *Server) endWithClient(cancel func(), r *nethttp.Request) (stop func()) {
	c, ok := r.Context().Value(connKey{}).(*conn)
	untold := func() {}
	switch {
	case !ok || r.ProtoMajor > 1:
	case c.hearsHangup():
		c.whenLeft(cancel)
		untold = func() { c.whenLeft(nil) }
		if r.TLS == nil { // which has an end of its own
			return untold
		}
	default:
		timer := time.AfterFunc(s.times.life, cancel)
		untold = func() { timer.Stop() }
	}
	unheard := context.AfterFunc(r.Context(), cancel)
	return func() { unheard(); untold() }
}

// hearsHangup has c told when its client hangs up, and reports whether it will be.
func (c *conn) hearsHangup() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client.number == 0 {
		c.client.number = theHangups().add(c)
	}
	return c.client.number > 0
}

// whenLeft has tell called when the client leaves, or at once if it has left; nil ends that.
func (c *conn) whenLeft(tell func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.client.tell = tell
	c.tellLeft()
}

// hungUp is called when the client has left. A nil conn is closed.
func (c *conn) hungUp() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.client.left = true
	c.tellLeft()
}

// tellLeft ends the request that waits, if its client has left. c.mu must be held.
func (c *conn) tellLeft() {
	d := &c.client
	if !d.left || d.tell == nil {
		return
	}
	d.tell()
	if !d.told {
		d.told = true
		c.conns.left.Add(1)
	}
}

// gone is after the connection was closed.
func (c *conn) gone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client.number > 0 {
		theHangups().remove(c.client.number)
	}
}

// rawConn returns the socket beneath c, where Linux has one; nil otherwise.
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

// socketOf returns the connection that has no other beneath it.
func socketOf(c net.Conn) net.Conn {
	for {
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = outer.NetConn()
	}
}
