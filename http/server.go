package http

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"mime"
	"net"
	nethttp "net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"etcd2/http/auth"
	"etcd2/http/page"
	"etcd2/http/places"
	"etcd2/raft"
	"etcd2/store"
)

// Node is what the client API needs of a member; *raft.Node is one. All methods
// may be called from any goroutine, and those that wait end by a deadline of the node's own.
type Node interface {
	Propose(ctx context.Context, cmd []byte) (raft.Result, error)
	Read(ctx context.Context) error
	Change(ctx context.Context, c raft.Change) (raft.Membership, error)
	Membership() raft.Membership
	Status() raft.Status
	Applied() (index, term uint64)
	ID() uint64
	Leader() uint64
	Now() time.Time
	Failed() <-chan struct{}
	Err() error
	Stats() *raft.Stats
	Peers() map[uint64]raft.PeerStats // of the other members, by id
	Freeze(ctx context.Context, look func()) (*raft.Frozen, error)
}

// Config says what a Server serves and within which limits. A zero limit means its default.
type Config struct {
	Node    Node         // must know the cluster's id already
	Store   *store.Store // the tree that Node applies to
	Name    string       // this member's, for /v2/stats/self
	Version string       // of the program, for /version
	Logger  *slog.Logger // nil: slog.Default()

	// Security gets the lines about refused requests, and about changes of users, roles, members
	// and the log level. SetLogLevel does not change what it lets pass; nil: Logger.
	Security *slog.Logger

	// SetLogLevel changes what Logger lets pass: CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG
	// or TRACE. Without it PUT /config/local/log accepts a level and changes nothing.
	SetLogLevel func(level string) error

	LogLinesLost func() uint64 // lines that were dropped because the log's reader was slow; nil: none

	Election       time.Duration // the election timeout, from which /health takes its limits; 1 s
	RequestTimeout time.Duration // longest wait for minIndex; the node bounds its own waits by the same; 7 s
	// Survey asks the other members for their Server.Status, and calls visit with the answer of
	// each one that comes before ctx is done; nil: there are no other members.
	Survey func(ctx context.Context, visit func(id uint64, status []byte, trip time.Duration))

	Dirs []string // on the disks that /health looks at: the data directory, and that of the log

	CORS []string // allowed origins, compared exactly; "*" allows all
	// names under which browsers may call this member over plain HTTP, besides localhost and
	// addresses; "*" allows all
	Hosts []string
	Pprof bool     // serve /debug/pprof/
	Args  []string // the command line that /debug/vars and /debug/pprof/cmdline show; no passwords in it
	Page  bool     // serve browsers a page of the cluster at /

	TLS, PeerTLS TLS // the certificates of the client port and of the peer port; nil: none

	// ClientCertAuth takes the common name of a client's verified certificate as the user, when
	// auth is on and the request has no header Authorization.
	ClientCertAuth bool

	MaxRequestBytes int64 // of a request's body; 10 MiB
	MaxWatchers     int   // watches at a time; 100,000, or fewer by memoryLimit
	// client connections, and requests in flight, at a time; what RLIMIT_NOFILE allows, less a
	// reserve, or fewer by memoryLimit
	MaxConnections int

	iterations int      // of the hash of a new password; auth.DefaultIterations, less in tests
	backend    *Backend // nil: this is a member
}

// Defaults of Config's zero fields.
const (
	DefaultElection        = time.Second
	DefaultRequestTimeout  = 7 * time.Second
	DefaultMaxRequestBytes = 10 << 20
	DefaultMaxWatchers     = 100_000
)

// timeouts bound what a client may keep waiting (J1, J11).
type timeouts struct {
	head  time.Duration // for a request's head, TLS handshake included
	body  time.Duration // for each piece of its body
	write time.Duration // for each piece of the answer
	idle  time.Duration // between two requests, and before the first one without TLS
	life  time.Duration // of a watch, where neither the system nor net/http tells that its client has left
	beat  time.Duration // without an event, after which a stream of server-sent events says so
}

var presetTimeouts = timeouts{
	head: 10 * time.Second, body: 10 * time.Second, write: 10 * time.Second, idle: 3 * time.Minute,
	life: 10 * time.Minute, beat: 15 * time.Second,
}

const (
	maxHeaderBytes = 256 << 10
	maxStreams     = 100 // requests at a time on one HTTP/2 connection (J9)

	// What a connection of HTTP/2 may have sent, besides heads, before a handler reads it.
	maxFrame = 16 << 10
	window   = 128 << 10
)

// Server is the client API of one member: an http.Handler, and the listener
// loop with its limits. All methods may be called from any goroutine.
type Server struct {
	cfg       Config
	node      Node
	store     *store.Store
	keeper    *auth.Keeper
	log       *slog.Logger
	security  *slog.Logger
	refusals  refusals
	started   time.Time
	times     timeouts
	clusterID []string // value of X-Etcd-Cluster-Id, shared by all answers
	cors      *cors
	hosts     hosts
	watchers  places.Places
	streams   places.Places // for requests of HTTP/2, that one connection has many of
	memory    budget        // for heads and bodies
	slow      slowAnswers
	inFlight  atomic.Int64
	metrics   counters
	leader    lastLeader
	surveys   surveys
	page      *page.Page
	backingUp atomic.Bool                                // one backup is being sent
	free      func(dir string) (bytes uint64, err error) // the free space of the disk of dir

	server  *nethttp.Server
	conns   connections
	fresh   sync.Map        // of net.Conn: connections without a request yet
	ending  context.Context // done when Shutdown begins
	endLong context.CancelFunc
}

// New returns a server for c.Node and c.Store; it serves nothing before Serve.
func New(c Config) (*Server, error) {
	if c.backend == nil && (c.Node == nil || c.Store == nil) {
		return nil, errors.New("http: New: a node and a store are needed")
	}
	c = c.withDefaults()
	cors, err := newCORS(c.CORS)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:   c,
		node:  c.Node,
		store: c.Store,
		log:   c.Logger, security: c.Security,
		started:  time.Now(),
		times:    presetTimeouts,
		watchers: places.Places{Max: c.MaxWatchers},
		streams:  places.Places{Max: c.MaxConnections},
		cors:     cors,
		hosts:    newHosts(c.Hosts),
		memory:   budget{max: defaultBudget(memoryLimit(), c.MaxRequestBytes)},
		slow:     slowAnswers{max: max(memoryLimit()/8, leastHeld), after: slowAfter},
		conns:    connections{Places: places.Places{Max: c.MaxConnections}, log: c.Logger},
		free:     raft.FreeBytes,
		page:     page.New(c.backend.mode()),
	}
	if c.backend == nil {
		s.clusterID = []string{hexID(c.Node.Membership().ClusterID)}
		s.keeper = auth.New(auth.Config{Store: c.Store, Logger: c.Security, Iterations: c.iterations,
			Propose: s.proposeAll})
	}
	s.ending, s.endLong = context.WithCancel(context.Background())
	s.server = s.newHTTPServer()
	return s, nil
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Security == nil {
		c.Security = c.Logger
	}
	if c.LogLinesLost == nil {
		c.LogLinesLost = func() uint64 { return 0 }
	}
	if c.Survey == nil {
		c.Survey = func(context.Context, func(uint64, []byte, time.Duration)) {}
	}
	if c.SetLogLevel == nil {
		c.SetLogLevel = func(string) error { return nil }
	}
	if c.Election <= 0 {
		c.Election = DefaultElection
	}
	if c.RequestTimeout <= 0 {
		c.RequestTimeout = DefaultRequestTimeout
	}
	if c.TLS == nil {
		c.TLS = noTLS{}
	}
	if c.PeerTLS == nil {
		c.PeerTLS = noTLS{}
	}
	if c.MaxRequestBytes <= 0 {
		c.MaxRequestBytes = DefaultMaxRequestBytes
	}
	if c.MaxWatchers <= 0 {
		c.MaxWatchers = int(min(DefaultMaxWatchers, memoryLimit()/4/watchCost))
	}
	if c.MaxConnections <= 0 {
		c.MaxConnections = defaultMaxConnections(fileLimit(), memoryLimit())
	}
	return c
}

// newHTTPServer sets every limit but two: there is no ReadTimeout and no WriteTimeout, since
// a watch may last for ever. Bodies and answers have a deadline for each piece instead.
func (s *Server) newHTTPServer() *nethttp.Server {
	protocols := new(nethttp.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &nethttp.Server{
		Handler:   s,
		Protocols: protocols,
		HTTP2: &nethttp.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReadFrameSize: maxFrame,
			MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: window,
			WriteByteTimeout: s.times.write,
		},
		ReadHeaderTimeout: s.times.head,
		IdleTimeout:       s.times.idle,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         s.observeState,
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// observeState is called by net/http when the state of a connection changes. It keeps fresh up to
// date, tells the connection whether a head or its handling comes next, and reports failed
// handshakes.
func (s *Server) observeState(c net.Conn, state nethttp.ConnState) {
	reportHandshake(s.cfg.TLS, c, state)
	if inner := connOf(c); inner != nil {
		inner.next(state == nethttp.StateNew || state == nethttp.StateIdle)
	}
	switch state {
	case nethttp.StateNew:
		s.fresh.Store(c, nil)
	case nethttp.StateActive, nethttp.StateClosed:
		s.fresh.Delete(c)
	}
}

// Serve answers the connections that ln accepts until Shutdown, then returns ErrServerClosed of
// net/http. It may be called for several listeners; their connections
// share one limit.
func (s *Server) Serve(ln net.Listener) error {
	ln = plainListener{ln, s.cfg.TLS}
	return s.server.Serve(&listener{Listener: ln, conns: &s.conns, budget: &s.memory, timeout: s.times.write,
		idle: s.times.idle})
}

// ServeTLS is Serve over TLS, with HTTP/2 unless config says otherwise.
func (s *Server) ServeTLS(ln net.Listener, config *tls.Config) error {
	inner := &listener{Listener: s.cfg.TLS.Listener(ln), conns: &s.conns, budget: &s.memory,
		timeout: s.times.write, mute: true}
	return s.server.Serve(tls.NewListener(inner, withProtocols(config, "h2", "http/1.1")))
}

// Shutdown stops accepting, ends all watches (their bodies end without an event) and
// waits for the requests in flight, until ctx is done.
func (s *Server) Shutdown(ctx context.Context) error {
	s.endLong()
	if s.cfg.backend != nil {
		s.cfg.backend.End()
	}
	defer time.AfterFunc(freshGrace, s.closeFresh).Stop()
	return s.server.Shutdown(ctx)
}

// freshGrace is how long a shutdown waits for the first request of an open connection. Without a
// bound net/http would wait five seconds, and many clients open more connections than they use.
const freshGrace = 100 * time.Millisecond

func (s *Server) closeFresh() {
	s.fresh.Range(func(c, _ any) bool {
		c.(net.Conn).Close()
		return true
	})
}

// ServeHTTP answers one request. The order of checks is that of section 1 of the API: CORS headers,
// Host, OPTIONS, cross-site writes, path cleaning, route, method.
func (s *Server) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	out := &response{ResponseWriter: w, request: r, begun: time.Now()}
	if r.ProtoMajor > 1 {
		out.timeout = s.times.write
	}
	defer out.release()
	defer s.catch(out, r)
	s.limitBody(out, r)
	s.warnOfAge(out)
	if !s.admit(out, r) {
		tooBusy(out, "too many requests")
		return
	}
	out.beginHolding()
	if s.guard(out, r) && cleanPath(out, r) && !s.route(s.routes(), out, r) {
		nethttp.NotFound(out, r)
	}
}

// warnOfAge sets X-Etcd-Stale on each answer of a member that is out of touch with a leader, to the
// milliseconds since it was in touch.
func (s *Server) warnOfAge(w *response) {
	if s.cfg.backend != nil {
		return
	}
	if age := s.stale(); age > 0 {
		w.Header()["X-Etcd-Stale"] = []string{strconv.FormatInt(age.Milliseconds(), 10)}
	}
}

// limitBody sets the deadline for the first piece of the body. It is called before any check, since
// net/http itself reads a body that no handler reads. net/http resets the deadline at the end of
// the body.
func (s *Server) limitBody(w *response, r *nethttp.Request) {
	if r.Body != nil && r.Body != nethttp.NoBody {
		nethttp.NewResponseController(w.ResponseWriter).SetReadDeadline(w.begun.Add(s.times.body))
	}
}

// route is one row of the table of paths.
type route struct {
	path    string
	below   bool     // everything below path belongs to it, too
	methods []string // in the order of the Allow header; nil: any
	pprof   bool     // only with Config.Pprof
	html    bool     // only for a request that accepts HTML, and with Config.Page
	admin   bool     // only for the role root; at a proxy, for its own machine
	serve   func(s *Server, w *response, r *nethttp.Request)
}

var (
	onlyGet     = []string{"GET"}
	getOrHead   = []string{"GET", "HEAD"}
	onlyPut     = []string{"PUT"}
	getOrPut    = []string{"GET", "PUT"}
	keysMethods = []string{"HEAD", "GET", "PUT", "POST", "DELETE"}
	membersOnly = []string{"GET", "POST", "DELETE", "PUT"}
	authMethods = []string{"GET", "PUT", "DELETE"}
)

// routes are all paths of the client port (section 1), the busiest first.
var routes = []route{
	{path: keysPrefix, below: true, methods: keysMethods, serve: (*Server).serveKeys},
	{path: "/health", methods: onlyGet, serve: (*Server).serveHealth},
	{path: "/version", methods: onlyGet, serve: (*Server).serveVersion},
	{path: "/metrics", serve: (*Server).serveMetrics},
	{path: "/v2/machines", methods: getOrHead, serve: (*Server).serveMachines},
	{path: membersPrefix, below: true, methods: membersOnly, serve: (*Server).serveMembers},
	{path: enablePath, methods: authMethods, serve: (*Server).serveEnable},
	{path: usersPath, below: true, serve: (*Server).serveUsers},
	{path: rolesPath, below: true, serve: (*Server).serveRoles},
	{path: "/v2/backup", methods: onlyGet, admin: true, serve: (*Server).serveBackup},
	{path: "/v2/stats/self", methods: onlyGet, serve: (*Server).serveSelfStats},
	{path: "/v2/stats/leader", methods: onlyGet, serve: (*Server).serveLeaderStats},
	{path: "/v2/stats/members", methods: onlyGet, serve: (*Server).serveMembersStats},
	{path: "/v2/stats/store", methods: onlyGet, serve: (*Server).serveStoreStats},
	{path: "/debug/vars", methods: onlyGet, admin: true, serve: (*Server).serveVars},
	{path: "/debug/pprof", below: true, pprof: true, admin: true, serve: (*Server).servePprof},
	{path: "/", html: true, serve: (*Server).servePage},
	{path: newTokenPath, methods: getOrPut, serve: (*Server).serveNewToken},
	{path: discoveryPrefix, below: true, methods: keysMethods, serve: (*Server).serveDiscovery},
	{path: "/config/local/log", methods: onlyPut, serve: (*Server).serveLogLevel},
}

// route hands the request to the row of table for its path, and reports whether there is one.
func (s *Server) route(table []route, w *response, r *nethttp.Request) bool {
	for i := range table {
		rt := &table[i]
		if !rt.matches(r.URL.Path) || rt.pprof && !s.cfg.Pprof || rt.html && !s.wantsPage(r) {
			continue
		}
		if rt.methods != nil && !slices.Contains(rt.methods, r.Method) {
			methodNotAllowed(w, rt.methods)
			return true
		}
		if !rt.admin || s.allowed(w, s.permit(r, auth.Right{Access: auth.Admin})) {
			rt.serve(s, w, r)
		}
		return true
	}
	return false
}

// wantsPage reports whether a request is one for the page. For all others, / is an unknown path.
func (s *Server) wantsPage(r *nethttp.Request) bool {
	return s.cfg.Page && (r.Method == "GET" || r.Method == "HEAD") &&
		slices.ContainsFunc(strings.Split(r.Header.Get("Accept"), ","), acceptsHTML)
}

// acceptsHTML reports whether an element of an Accept header is HTML; q=0 means that it is refused.
func acceptsHTML(element string) bool {
	kind, params, _ := mime.ParseMediaType(element)
	q, weighted := params["q"]
	return kind == "text/html" && (!weighted || strings.Trim(q, "0.") != "")
}

func (s *Server) servePage(w *response, r *nethttp.Request) { s.page.ServeHTTP(w, r) }

func (rt *route) matches(path string) bool {
	rest, ok := strings.CutPrefix(path, rt.path)
	return ok && (rest == "" || rt.below && rest[0] == '/')
}

// cleanPath redirects a path with an empty, "." or ".." element to its clean form and reports
// whether the path was clean already. It looks at the decoded path, so %2e%2e is seen as well. The
// target begins with exactly one slash: it can't name another host (J6).
func cleanPath(w *response, r *nethttp.Request) bool {
	p := r.URL.Path
	if !strings.Contains(p, "//") && !strings.Contains(p, "/.") {
		return true
	}
	clean := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	if clean == p {
		return true
	}
	target := url.URL{Path: clean, RawQuery: r.URL.RawQuery}
	nethttp.Redirect(w, r, target.String(), nethttp.StatusMovedPermanently)
	return false
}
