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

// raftRoute is what belongs to the members among themselves.
var raftRoute = route{path: "/raft", below: true}

// peerRoutes are all other paths of the peer port: what a member asks that looks for its cluster.
// To add itself is all that it may change, and whoever reaches this port could do worse; the client
// port has the rest of the API.
var peerRoutes = []route{
	{path: "/members", methods: onlyGet, serve: (*Server).servePeerList},
	{path: membersPrefix, methods: []string{"GET", "POST"}, serve: (*Server).servePeerMembers},
	{path: "/version", methods: onlyGet, serve: (*Server).serveVersion},
}

// PeerPort answers other members. It is there before anything else of a member, so that a taken
// port costs nothing, and opens in two steps: to Raft when there is a node, and to questions when
// the node knows what to answer. Until then the answer is 503. All methods may be called from any
// goroutine.
type PeerPort struct {
	server  *nethttp.Server
	tls     TLS
	pending *pendingConns
	raft    atomic.Pointer[nethttp.Handler]
	api     atomic.Pointer[Server]
}

// NewPeerPort returns a port that is closed to everything. A nil logger means slog.Default(), and a
// nil t nobody.
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

// noteState keeps others true, and tells of handshakes that failed.
func (p *PeerPort) observeState(c net.Conn, state nethttp.ConnState) {
	reportHandshake(p.tls, c, state)
	p.pending.observeState(c, state)
}

// Connect gives everything under /raft to raft from now on.
func (p *PeerPort) Connect(raft nethttp.Handler) { p.raft.Store(&raft) }

// Open lets api answer for the member from now on. Its node must be ready: a member that has not
// applied its log yet would deny that another one was ever active (pitfall D10).
func (p *PeerPort) Open(api *Server) { p.api.Store(api) }

// Serve answers the connections that ln accepts until Close, then returns http.ErrServerClosed of
// net/http. It may be called for several listeners. There is no limit on a request as a whole,
// since a snapshot may take long; raft sees to its own.
func (p *PeerPort) Serve(ln net.Listener) error { return p.server.Serve(plainListener{ln, p.tls}) }

// ServeTLS is Serve over TLS. Who is let in is for config to say: it decides before a byte of a
// request is read (pitfall K5). There is no HTTP/2, since a stream of Raft takes its connection
// over.
func (p *PeerPort) ServeTLS(ln net.Listener, config *tls.Config) error {
	return p.server.Serve(tls.NewListener(p.tls.Listener(ln), withProtocols(config, "http/1.1")))
}

// Close ends the listeners and all connections but those that raft has taken over.
func (p *PeerPort) Close() error { return p.server.Close() }

// ServeHTTP answers one request.
func (p *PeerPort) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	raft, api := p.raft.Load(), p.api.Load()
	isRaft := raftRoute.matches(r.URL.Path)
	switch {
	case isRaft && byBrowser(r.Header): // no member says such things, whatever name it is called by
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

// servePeer answers what is on the peer port besides Raft.
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

// strangers are the connections of the peer port over which no member talks, or not yet. There are
// at most max: the oldest one makes room for a new one, so that neither descriptors run out nor a
// member is locked out, whoever calls and keeps silent (J2). A member is a stranger for one round
// trip; to push it out in that time takes max connections.
type pendingConns struct {
	max int

	mu      sync.Mutex // protects all below
	order   list.List  // of net.Conn, the oldest first
	element map[net.Conn]*list.Element
	busy    map[net.Conn]bool // those of order to which Raft is just listening
}

// maxStrangers is an eighth of the descriptors.
func maxPending(files uint64) int { return int(min(files/8, 1024)) }

func newPendingConns(max int) *pendingConns {
	return &pendingConns{max: max, element: map[net.Conn]*list.Element{}, busy: map[net.Conn]bool{}}
}

// note follows the state of a connection, for net/http. One that was taken over by Raft is none of
// the strangers'.
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

// makeRoom closes the oldest connection that nobody listens to. s.mu must be held.
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

// hangUp closes a connection without the farewell of TLS, which may wait for the other end.
func closeAtOnce(c net.Conn) {
	if outer, ok := c.(*tls.Conn); ok {
		c = outer.NetConn()
	}
	c.Close()
}

// forget takes a connection from the list. s.mu must be held.
func (s *pendingConns) forget(c net.Conn) {
	if e := s.element[c]; e != nil {
		s.order.Remove(e)
		delete(s.element, c)
		delete(s.busy, c)
	}
}

// listen keeps the connection of a request while Raft listens to it, until what it returns is
// called.
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

// strangerKey is where the context of a request has its connection.
type pendingKey struct{}

func withPending(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, pendingKey{}, c)
}
