package http

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	nethttp "net/http"
	"sync"
)

// strangers are the connections of the peer port over which no member talks, or not yet. There are
// at most max: the oldest one makes room for a new one, so that neither descriptors run out nor a
// member is locked out, whoever calls and keeps silent (J2). A member is a stranger for one round
// trip; to push it out in that time takes max connections.
type strangers struct {
	max int

	mu    sync.Mutex // protects all below
	order list.List  // of net.Conn, the oldest first
	place map[net.Conn]*list.Element
	heard map[net.Conn]bool // those of order to which Raft is just listening
}

// maxStrangers is an eighth of the descriptors.
func maxStrangers(files uint64) int { return int(min(files/8, 1024)) }

func newStrangers(max int) *strangers {
	return &strangers{max: max, place: map[net.Conn]*list.Element{}, heard: map[net.Conn]bool{}}
}

// note follows the state of a connection, for net/http. One that was taken over by Raft is none of
// the strangers'.
func (s *strangers) note(c net.Conn, state nethttp.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case nethttp.StateNew:
		if s.order.Len() >= s.max && !s.makeRoom() {
			hangUp(c)
		}
		s.place[c] = s.order.PushBack(c)
	case nethttp.StateHijacked, nethttp.StateClosed:
		s.forget(c)
	}
}

// makeRoom closes the oldest connection that nobody listens to. s.mu must be held.
func (s *strangers) makeRoom() bool {
	for e := s.order.Front(); e != nil; e = e.Next() {
		if c := e.Value.(net.Conn); !s.heard[c] {
			s.forget(c)
			hangUp(c)
			return true
		}
	}
	return false
}

// hangUp closes a connection without the farewell of TLS, which may wait for the other end.
func hangUp(c net.Conn) {
	if outer, ok := c.(*tls.Conn); ok {
		c = outer.NetConn()
	}
	c.Close()
}

// forget takes a connection from the list. s.mu must be held.
func (s *strangers) forget(c net.Conn) {
	if e := s.place[c]; e != nil {
		s.order.Remove(e)
		delete(s.place, c)
		delete(s.heard, c)
	}
}

// listen keeps the connection of a request while Raft listens to it, until what it returns is
// called.
func (s *strangers) listen(r *nethttp.Request) (end func()) {
	c, _ := r.Context().Value(strangerKey{}).(net.Conn)
	s.mark(c, true)
	return func() { s.mark(c, false) }
}

func (s *strangers) mark(c net.Conn, heard bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.place[c] != nil {
		s.heard[c] = heard
	}
}

// strangerKey is where the context of a request has its connection.
type strangerKey struct{}

func withStranger(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, strangerKey{}, c)
}
