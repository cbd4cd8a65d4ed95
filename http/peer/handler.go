package peer

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"

	"etcd2/raft"
)

// ServeHTTP answers the other members.
func (t *Transport) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !t.enter() {
		sendAnswer(w, http.StatusServiceUnavailable, answer{Message: "this member is starting or stopping"})
		return
	}
	defer t.running.Done()
	switch {
	case r.URL.Path == streamPath && r.Method == http.MethodGet:
		t.admit(w, r, (*Transport).acceptStream)
	case r.URL.Path == loanPath && r.Method == http.MethodGet:
		t.admit(w, r, (*Transport).acceptLoan)
	case r.URL.Path == snapshotPath && r.Method == http.MethodPost:
		t.admit(w, r, (*Transport).acceptSnapshot)
	default:
		sendAnswer(w, http.StatusNotFound, answer{Message: "no such path for members"})
	}
}

// admit decides by the head of a request alone whether to accept it (K5), and calls accept if so.
func (t *Transport) admit(w http.ResponseWriter, r *http.Request,
	accept func(*Transport, *peer, http.ResponseWriter, *http.Request)) {
	caller := parseIdentity(r.Header)
	me := t.self
	me.writeTo(w.Header())
	why := me.check(caller, t.in.Membership().Removed, t.in.Incarnation(caller.id))
	if why == nil && r.URL.Path != snapshotPath && (r.Header.Get("Upgrade") != protocolName || r.ProtoMajor != 1) {
		why = otherProtocol
	}
	if why != nil {
		t.logRefusal("a member that called is not let in", &refused{why, caller, thisOne}, r.RemoteAddr)
		w.Header().Set("Etcd2-To", hex(caller.id))
		sendAnswer(w, why.status, answer{why.reason, "this is " + me.String() + "; likely, " + why.cause +
			". " + why.remedy})
		return
	}
	p := t.acquire(caller)
	if p == nil {
		sendAnswer(w, http.StatusServiceUnavailable, answer{Message: "too many members call that are not known here"})
		return
	}
	defer t.release(p)
	w.Header().Set("Etcd2-To", hex(caller.id))
	accept(t, p, w, r)
}

// acquire returns the peer that has called. For an unknown caller it makes a guest, until release:
// it may be a member that is newer than this member's membership (D8). It returns nil when there
// are too many guests.
func (t *Transport) acquire(caller identity) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[caller.id]
	if p == nil {
		guests := 0
		for _, other := range t.peers {
			if other.isGuest() {
				guests++
			}
		}
		if !t.open || guests >= maxGuests {
			return nil
		}
		p = t.newPeer(caller.id)
		p.set(func() { p.guest = true })
	}
	p.calls++
	t.recordCall(p, caller.urls)
	return p
}

// release ends a guest whose last call has ended.
func (t *Transport) release(p *peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.calls--; p.calls == 0 && p.isGuest() && t.peers[p.id] == p {
		t.leave(p)
	}
}

// hijack takes the connection over from net/http, and ends the handshake; nil when that has failed.
func (t *Transport) hijack(p *peer, w http.ResponseWriter, r *http.Request) net.Conn {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		sendAnswer(w, http.StatusInternalServerError, answer{Message: err.Error()})
		return nil
	}
	conn.SetDeadline(time.Now().Add(t.times.handshake))
	if err := sendUpgrade(conn, buffered.Reader, w.Header()); err != nil {
		t.log.Debug("a handshake broke off", "member", hex(p.id), "address", r.RemoteAddr, "err", err)
		conn.Close()
		return nil
	}
	return conn
}

// acceptStream receives messages until the connection ends.
func (t *Transport) acceptStream(p *peer, w http.ResponseWriter, r *http.Request) {
	conn := t.hijack(p, w, r)
	if conn == nil {
		return
	}
	in := &receiver{p: p, lends: p.lends(r), wake: make(chan struct{}, 1),
		assembly: assembly{max: t.cfg.MaxMessageBytes}}
	in.conn, in.tick, in.other = conn, t.tick(), parseIdentity(r.Header)
	t.log.Debug("a member has connected", "member", hex(p.id), "address", r.RemoteAddr)
	cause := p.runReceiver(in)
	t.log.Debug("the connection of a member has ended", "member", hex(p.id), "address", r.RemoteAddr, "reason", cause)
	if broke(cause) {
		t.in.Lost(p.id)
	}
}

// sendUpgrade ends the handshake. Nothing may have come after the head of the request.
func sendUpgrade(conn net.Conn, in *bufio.Reader, h http.Header) error {
	if in.Buffered() > 0 {
		return errLane
	}
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", protocolName)
	w := bufio.NewWriter(conn)
	io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\n")
	h.Write(w)
	io.WriteString(w, "\r\n")
	return w.Flush()
}

var _ raft.Transport = (*Transport)(nil)
