package http

import (
	"container/list"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	nethttp "net/http"
	"sync"
	"sync/atomic"
	"time"
)

// raftRoute is for the messages between members.
var raftRoute = route{path: "/raft", below: true}

// peerRoutes are all other paths of the peer port: what a starting member asks to find its cluster.
// It may add itself and change nothing else; who reaches this port could do worse by Raft's
// messages. The rest of the API is on the client port.
var peerRoutes = []route{
	{path: "/members", methods: onlyGet, serve: (*Server).servePeerList},
	{path: membersPrefix, methods: []string{"GET", "POST"}, serve: (*Server).servePeerMembers},
	{path: "/version", methods: onlyGet, serve: (*Server).serveVersion},
}

// PeerPort answers other members. It is opened before anything else of a member, so that a taken
// port is noticed at once. It begins to answer in two steps: for Raft when there is a node
// (Connect), and for questions when the node has applied its log (Open). Until then the answer is
// 503. All methods may be called from any goroutine.
type PeerPort struct {
	server  *nethttp.Server
	tls     TLS
	pending *pendingConns
	raft    atomic.Pointer[nethttp.Handler]
	api     atomic.Pointer[Server]
}

// NewPeerPort returns a port that answers 503 to everything. A nil logger means slog.Default(), a
// nil t no certificates.
func NewPeerPort(logger *slog.Logger, t TLS) *PeerPort {
	if logger == nil {
		logger = slog.Default()
	}
	if t == nil {
		t = noTLS{}
	}
	p := &PeerPort{tls: t, pending: newPendingConns(maxPending(fileLimit()))}
	p.server = &nethttp.Server{
		Handler:           p,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       3 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ConnState:         p.observeState,
		ConnContext:       withPending,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	return p
}

// observeState is called by net/http when the state of a connection changes. It keeps pending up to
// date, and reports failed handshakes.
func (p *PeerPort) observeState(c net.Conn, state nethttp.ConnState) {
	reportHandshake(p.tls, c, state)
	p.pending.observeState(c, state)
}

// Connect hands all requests under /raft to raft from now on.
func (p *PeerPort) Connect(raft nethttp.Handler) { p.raft.Store(&raft) }

// Open lets api answer for the member from now on. Its node must be ready: a member that has not
// applied its log yet would say of another one that it was never active (D10).
func (p *PeerPort) Open(api *Server) { p.api.Store(api) }

// Serve answers the connections that ln accepts until Close, then returns ErrServerClosed of
// net/http. It may be called for several listeners. A request has no deadline as a whole, since a
// snapshot may take long; raft sets its own.
func (p *PeerPort) Serve(ln net.Listener) error { return p.server.Serve(plainListener{ln, p.tls}) }

// ServeTLS is Serve over TLS. config decides which clients are accepted, before a byte of a request
// is read (K5). There is no HTTP/2, since a stream of Raft takes over its connection.
func (p *PeerPort) ServeTLS(ln net.Listener, config *tls.Config) error {
	return p.server.Serve(tls.NewListener(p.tls.Listener(ln), withProtocols(config, "http/1.1")))
}

// Close closes the listeners and all connections but those that raft has taken over.
func (p *PeerPort) Close() error { return p.server.Close() }

// ServeHTTP answers one request.
func (p *PeerPort) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	raft, api := p.raft.Load(), p.api.Load()
	isRaft := raftRoute.matches(r.URL.Path)
	switch {
	case isRaft && byBrowser(r.Header): // whatever its Host: no member sends such headers
		messageError(&response{ResponseWriter: w}, nethttp.StatusForbidden, crossOrigin)
	case isRaft && raft != nil:
		defer p.pending.protect(r)()
		(*raft).ServeHTTP(w, r)
	case !isRaft && api != nil:
		api.servePeer(w, r)
	default:
		tooBusy(&response{ResponseWriter: w}, "this member is starting")
	}
}

// servePeer answers the paths of the peer port besides Raft's.
func (s *Server) servePeer(w nethttp.ResponseWriter, r *nethttp.Request) {
	out := &response{ResponseWriter: w, begun: time.Now(), timeout: s.times.write}
	out.server = s
	defer out.release()
	defer s.catch(out, r)
	s.limitBody(out, r)
	out.Header()["X-Etcd-Cluster-Id"] = s.clusterID
	switch {
	case s.hosts.refuses(r):
		messageError(out, nethttp.StatusForbidden, foreignHost(r.Host))
	case s.cors.refuses(r):
		messageError(out, nethttp.StatusForbidden, crossOrigin)
	case !s.route(peerRoutes, out, r):
		messageError(out, nethttp.StatusNotFound, "Not found")
	}
}

// pendingConns are the connections of the peer port that Raft has not taken over. There are at most
// max: a new one closes the oldest, so that whoever connects and keeps silent neither uses up the
// descriptors nor locks a member out (J2). A member's connection is pending for one round trip; to
// have it closed in that time takes max new connections.
type pendingConns struct {
	max int

	mu      sync.Mutex // protects all below
	order   list.List  // of net.Conn, the oldest first
	element map[net.Conn]*list.Element
	busy    map[net.Conn]bool // those that carry a request to Raft
}

// maxPending is an eighth of the descriptors, at most 1024.
func maxPending(files uint64) int { return int(min(files/8, 1024)) }

func newPendingConns(max int) *pendingConns {
	return &pendingConns{max: max, element: map[net.Conn]*list.Element{}, busy: map[net.Conn]bool{}}
}

// observeState follows the state of a connection, for net/http.
func (s *pendingConns) observeState(c net.Conn, state nethttp.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case nethttp.StateNew:
		if s.order.Len() >= s.max && !s.makeRoom() {
			closeAtOnce(c)
		}
		s.element[c] = s.order.PushBack(c)
	case nethttp.StateHijacked, nethttp.StateClosed:
		s.forget(c)
	}
}

// makeRoom closes the oldest connection that is not busy, and reports whether there was one. s.mu
// must be held.
func (s *pendingConns) makeRoom() bool {
	for e := s.order.Front(); e != nil; e = e.Next() {
		if c := e.Value.(net.Conn); !s.busy[c] {
			s.forget(c)
			closeAtOnce(c)
			return true
		}
	}
	return false
}

// closeAtOnce closes a connection without the closing message of TLS, which may wait for the other
// end.
func closeAtOnce(c net.Conn) {
	if outer, ok := c.(*tls.Conn); ok {
		c = outer.NetConn()
	}
	c.Close()
}

// forget removes a connection. s.mu must be held.
func (s *pendingConns) forget(c net.Conn) {
	if e := s.element[c]; e != nil {
		s.order.Remove(e)
		delete(s.element, c)
		delete(s.busy, c)
	}
}

// protect keeps the connection of a request from being closed for a new one while Raft handles it,
// until end is called.
func (s *pendingConns) protect(r *nethttp.Request) (end func()) {
	c, _ := r.Context().Value(pendingKey{}).(net.Conn)
	s.setBusy(c, true)
	return func() { s.setBusy(c, false) }
}

func (s *pendingConns) setBusy(c net.Conn, heard bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.element[c] != nil {
		s.busy[c] = heard
	}
}

// pendingKey is the key of the connection in the context of a request.
type pendingKey struct{}

func withPending(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, pendingKey{}, c)
}
