package peer

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// One direction of calling is enough for messages and snapshots in both. A member that can't call
// another one, but is called by it, borrows a connection:
//
//	n1, which can't call n2                        n2
//	         ◄────── n2's stream ──────────────────
//	         ─────── frameCall, on that stream ───►
//	         ◄────── GET /raft/loan ───────────────   n2 dials
//	         ─────── 101 ─────────────────────────►
//	         ─────── GET /raft/stream, or          ─►  n1 calls over the connection that n2 has made,
//	                 POST /raft/snapshot               and n2 serves it as if its listener had accepted it
//
// So the messages of a connection have one direction, and its order, its window and its handshake
// are the same whichever end dialled. Both ends check each other's head twice, once in each
// direction.

// loan takes the place of a URL for a connection that is borrowed.
const loan = "a connection that it lends"

// maxLoans bounds the connections that are lent to one member at a time: a stream and a snapshot,
// and one of each that is ending.
const maxLoans = 4

// nearDial bounds the dialling of a member that lends: it is running, and there is another way.
// loanTimeout bounds the wait for a loan: a few round trips, and a TLS handshake.
const (
	nearDial    = time.Second
	loanTimeout = 2 * time.Second
)

var errNotLent = errors.New("the member lends no connection")

// borrow asks the member for a connection over the stream that it has made, and waits for one.
func (p *peer) borrow() (net.Conn, error) {
	var in *receiver
	p.set(func() { in = p.in })
	if in == nil || !in.lends {
		return nil, errNotLent
	}
	p.wanted.Add(1)
	defer p.wanted.Add(-1)
	in.wantLoan.Store(true)
	nudge(in.wake)
	late := time.NewTimer(loanTimeout)
	defer late.Stop()
	select {
	case conn := <-p.lent:
		return conn, nil
	case <-late.C:
	case <-in.ended:
	case <-p.ctx.Done():
	}
	return nil, errNotLent
}

// acceptLoan gives the connection to the borrower that waits for it. One that nobody waits for is
// refused.
func (t *Transport) acceptLoan(p *peer, w http.ResponseWriter, r *http.Request) {
	defer p.offered.Add(-1)
	if p.offered.Add(1) > maxLoans || p.wanted.Load() == 0 {
		sendAnswer(w, http.StatusServiceUnavailable, answer{Message: "no connection of yours is wanted"})
		return
	}
	conn := t.hijack(p, w, r)
	if conn == nil {
		return
	}
	late := time.NewTimer(loanTimeout)
	defer late.Stop()
	select {
	case p.lent <- conn:
		return
	case <-late.C:
	case <-p.ctx.Done():
	}
	conn.Close()
}

// lend calls the member at a URL, and serves the connection. The member has asked for it.
func (p *peer) lend(rawURL string) {
	if rawURL == loan || p.loans.Load() >= maxLoans || !p.t.enter() {
		return
	}
	p.loans.Add(1)
	ended := sync.OnceFunc(func() { p.loans.Add(-1); p.t.running.Done() })
	go func() {
		c, _, err := p.dial(rawURL, http.MethodGet, loanPath, upgrade, http.StatusSwitchingProtocols)
		if err != nil {
			p.t.log.Debug("cannot lend a connection", "member", hex(p.id), "url", rawURL, "err", err)
			ended()
			return
		}
		p.t.log.Info("lent a connection to a member that cannot call this one", "member", hex(p.id), "url", rawURL)
		c.SetDeadline(time.Time{})
		l := &lentListener{}
		l.conn.Store(&lentConn{c, ended})
		p.t.lender.Serve(l)
	}()
}

// lentConn is a connection that this end has dialled, and on which it serves the other end.
type lentConn struct {
	*call
	ended func()
}

// Read reads from the connection, beginning with the bytes that came with the answer.
func (c *lentConn) Read(b []byte) (int, error) {
	c.limit.N = int64(len(b)) + int64(c.in.Size())
	return c.in.Read(b)
}

// Close closes the connection.
func (c *lentConn) Close() error {
	defer c.ended()
	return c.call.Close()
}

// lentListener accepts one connection. When Accept and Close are called at the same time, one of
// them gets it.
type lentListener struct{ conn atomic.Pointer[lentConn] }

// Accept returns the connection, and from then on net.ErrClosed.
func (l *lentListener) Accept() (net.Conn, error) {
	if conn := l.conn.Swap(nil); conn != nil {
		return conn, nil
	}
	return nil, net.ErrClosed
}

// Close closes the connection if it was not accepted.
func (l *lentListener) Close() error {
	if conn := l.conn.Swap(nil); conn != nil {
		return conn.Close()
	}
	return nil
}

// Addr returns an empty address: there is no listening socket.
func (l *lentListener) Addr() net.Addr { return &net.TCPAddr{} }

// isLent is the context's key of requests that come over connections that this end has lent.
type isLent struct{}

// newLender makes the server for connections that are lent.
func (t *Transport) newLender() *http.Server {
	return &http.Server{
		Handler: t, ReadHeaderTimeout: t.times.handshake, IdleTimeout: t.times.handshake,
		MaxHeaderBytes: maxHeadSize, ErrorLog: quietLog(t.log),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), isLent{}, true)
		},
	}
}

// lends reports whether connections may be borrowed from the caller of a request: its identity must
// be verified as strictly as if this end had called it. A call by https would have verified a
// certificate for the host of one of the member's URLs (K3).
func (p *peer) lends(r *http.Request) bool {
	if r.Context().Value(isLent{}) != nil {
		return false // this end can call the member
	}
	plain := r.TLS == nil
	for _, text := range p.addresses() {
		u, err := url.Parse(text)
		if err != nil {
			continue
		}
		plain = plain && u.Scheme == "http"
		if s := r.TLS; s != nil && len(s.VerifiedChains) > 0 &&
			s.PeerCertificates[0].VerifyHostname(u.Hostname()) == nil {
			return true
		}
	}
	return plain || r.TLS != nil && p.t.cfg.AnyPeer
}
