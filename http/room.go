package http

import (
	"errors"
	nethttp "net/http"
	"sync/atomic"
)

// What the limits are made of: the memory that clients can make this process take, by whatever they
// send or don't read. It is to be at most about a quarter each for connections, for watches, and
// for what the requests in flight have sent.
const (
	connectionCost = 32 << 10 // of an open connection: its goroutine, its buffers, and freeHead
	watchCost      = 16 << 10 // of a watch, besides its connection
	copies         = 4        // of a body: as it came, decoded, as a command, in the log
	leastRoom      = 64 << 20
	mostRoom       = 1 << 30
	freeHead       = 8 << 10 // bytes of a request's head that are part of the connection's cost
	freeKey        = 8 << 10 // bytes of a watch's key that are part of its cost
)

// room is memory that many may take, as long as all of them together don't take too much. All
// methods may be called from any goroutine.
type room struct {
	max  int64
	used atomic.Int64
}

// take reports whether there was room for n bytes more; if so, they must be given back.
func (r *room) take(n int64) bool {
	if r.used.Add(n) <= r.max {
		return true
	}
	r.used.Add(-n)
	return false
}

func (r *room) give(n int64) { r.used.Add(-n) }

// defaultRoom is what heads and bodies of requests may take together. The largest body that is
// allowed must find room.
func defaultRoom(memory, maxRequestBytes int64) int64 {
	return max(min(max(memory/4/copies, leastRoom), mostRoom), 2*maxRequestBytes)
}

// errNoRoom ends a request, or a connection, that nothing is wrong with but the moment.
var errNoRoom = errors.New("too much is being sent at a time")

// admit counts a request among those in flight, and reports whether there was a place. There are as
// many as connections, so that HTTP/2 can't multiply what a client makes this process do. The heads
// of HTTP/1 have been counted by their connection. Of a body of HTTP/2, net/http takes in what the
// client may send before a handler reads it: that counts until the body is read.
func (s *Server) admit(w *response, r *nethttp.Request) bool {
	w.server = s
	w.inFlight = true
	if s.inFlight.Add(1) > int64(s.conns.Max) {
		return false
	}
	if r.ProtoMajor == 1 {
		return true
	}
	if w.origin = originOf(r); !s.streams.Take(w.origin) {
		return false
	}
	w.isStream = true
	unread := unreadSize(r)
	if !w.take(max(headSize(r)-freeHead, 0) + unread) {
		return false
	}
	w.unread = unread
	return true
}

// unreadSize is how much of the body of r may be in memory before anybody reads it.
func unreadSize(r *nethttp.Request) int64 {
	switch {
	case r.Body == nil || r.Body == nethttp.NoBody:
		return 0
	case r.ContentLength < 0:
		return window
	}
	return min(r.ContentLength, window)
}

// bodyRead gives back what the body has taken unread.
func (w *response) bodyRead() {
	if w.unread > 0 {
		w.server.room.give(w.unread)
		w.taken -= w.unread
		w.unread = 0
	}
}

// headSize is about the memory that the head of a request takes.
func headSize(r *nethttp.Request) (n int64) {
	n = int64(len(r.RequestURI))
	for name, values := range r.Header {
		for _, v := range values {
			n += int64(len(name) + len(v))
		}
	}
	return n
}

// take is room.take until the end of the request.
func (w *response) take(n int64) bool {
	ok := w.server.room.take(n)
	if ok {
		w.taken += n
	}
	return ok
}

// landed takes a request out of those in flight before its end: a watch is counted elsewhere.
func (w *response) landed() {
	if w.inFlight {
		w.inFlight = false
		w.server.inFlight.Add(-1)
	}
	if w.isStream {
		w.isStream = false
		w.server.streams.Give(w.origin)
	}
}

// release gives back what the request has taken.
func (w *response) release() {
	w.letGo()
	w.landed()
	w.server.room.give(w.taken)
}
