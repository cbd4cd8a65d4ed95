package http

import (
	"fmt"
	"net"
	nethttp "net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"etcd2/store"
)

// cors is the list of origins whose pages may use this API.
type cors struct {
	all     bool
	origins []string
	foreign *nethttp.CrossOriginProtection // knows the origins, too
}

func newCORS(origins []string) (*cors, error) {
	c := &cors{all: slices.Contains(origins, "*"), origins: origins, foreign: nethttp.NewCrossOriginProtection()}
	for _, o := range origins {
		if o == "*" {
			continue
		}
		if err := c.foreign.AddTrustedOrigin(o); err != nil {
			return nil, fmt.Errorf("http: New: CORS: %w", err)
		}
	}
	return c, nil
}

var (
	corsAll     = []string{"*"}
	corsMethods = []string{"POST, GET, OPTIONS, PUT, DELETE"}
	corsHeaders = []string{"accept, content-type, authorization"}
)

// announce tells the browser that the page may read the answer; every answer says so, errors included.
func (c *cors) announce(w *response, r *nethttp.Request) {
	allowed := corsAll
	if !c.all {
		origin := r.Header["Origin"]
		if len(origin) == 0 || !slices.Contains(c.origins, origin[0]) {
			return
		}
		allowed = origin[:1]
	}
	h := w.Header()
	h["Access-Control-Allow-Origin"] = allowed
	h["Access-Control-Allow-Methods"] = corsMethods
	h["Access-Control-Allow-Headers"] = corsHeaders
}

// refuses tells the writes that a page of another site makes with the browser of somebody who can reach us (J8). By an
// Origin alone only POST is refused, as it is all that such a page may send without asking first: the answer to
// its OPTIONS stops the browser from sending a PUT or DELETE, and other programs go on as with etcd 2.
func (c *cors) refuses(r *nethttp.Request) bool {
	if c.all || r.Method != "POST" && r.Header.Get("Sec-Fetch-Site") == "" {
		return false
	}
	return c.foreign.Check(r) != nil
}

// guard does what comes before routing and reports whether the request goes on. (Checking the Host header
// against DNS rebinding belongs here, beside refuses.)
func (s *Server) guard(w *response, r *nethttp.Request) bool {
	if len(s.cors.origins) > 0 {
		s.cors.announce(w, r)
	}
	if r.Method == "OPTIONS" {
		w.WriteHeader(nethttp.StatusOK)
		return false
	}
	if s.cors.refuses(r) {
		messageError(w, nethttp.StatusForbidden, "cross-origin request refused")
		return false
	}
	return true
}

// catch turns a panic of a handler into a 500 in the shape that the path's errors have, counts it and logs it
// once, with the stack (J12). When the head is sent already, only closing the connection tells the client.
func (s *Server) catch(w *response, r *nethttp.Request) {
	v := recover()
	if v == nil {
		return
	}
	s.metrics.panics.Add(1)
	s.log.Error("http: handler panicked", "method", r.Method, "path", r.URL.Path,
		"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(nethttp.ErrAbortHandler)
	}
	if strings.HasPrefix(r.URL.Path, keysPrefix) {
		s.keysError(w, &store.Error{Code: store.CodeRaft, Cause: internalError})
		return
	}
	messageError(w, nethttp.StatusInternalServerError, internalError)
}

// Descriptors kept back from clients, for the log, snapshots and peers (J2), and what is
// assumed when the limit can't be read.
const (
	reservedFiles    = 128
	assumedFileLimit = 1024
)

func fileLimit() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return assumedFileLimit
	}
	return limit.Cur
}

// defaultMaxConnections leaves reservedFiles of the descriptors, or half of them when there are few.
func defaultMaxConnections() int {
	files := int(min(fileLimit(), 1<<20))
	return max(files-reservedFiles, files/2)
}

// connections counts the clients' connections, of all listeners together.
type connections struct {
	max      int64
	open     atomic.Int64
	refused  atomic.Uint64
	refusing atomic.Int64
}

// maxRefusing connections at a time are told why they are refused; more are just closed.
const maxRefusing = 16

// refusal answers a connection over the limit, whatever it asks.
const refusal = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n" +
	"Connection: close\r\nContent-Length: 34\r\n\r\n" + `{"message":"too many connections"}`

// refuse answers c and closes it. It reads what the client sends in the meantime, since closing with unread
// bytes would take the answer back.
func (n *connections) refuse(c net.Conn) {
	defer c.Close()
	defer n.refusing.Add(-1)
	if n.refusing.Add(1) > maxRefusing {
		return
	}
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte(refusal)); err != nil {
		return
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		var rest [512]byte
		for n := 0; n < maxHeaderBytes; {
			k, err := c.Read(rest[:])
			if err != nil {
				return
			}
			n += k
		}
	}
}

// listener accepts as many connections as the limit allows and refuses the rest.
type listener struct {
	net.Listener
	conns   *connections
	timeout time.Duration // for a piece of an answer
	mute    bool          // refuse without a word: the client waits for TLS
}

// Accept waits for a connection within the limit.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.conns.open.Add(1) <= l.conns.max {
			return &conn{Conn: c, conns: l.conns, timeout: l.timeout}, nil
		}
		l.conns.open.Add(-1)
		l.conns.refused.Add(1)
		if l.mute {
			c.Close()
			continue
		}
		go l.conns.refuse(c)
	}
}

// conn is a connection within the limit. A client that doesn't read what it asked for loses it: each piece of
// pieceSize bytes must be taken within timeout (J11).
type conn struct {
	net.Conn
	conns   *connections
	timeout time.Duration
	once    sync.Once
}

const pieceSize = 64 << 10

// Write sends b in pieces with a deadline each.
func (c *conn) Write(b []byte) (sent int, err error) {
	for err == nil && len(b) > 0 {
		piece := b[:min(len(b), pieceSize)]
		c.SetWriteDeadline(time.Now().Add(c.timeout))
		var n int
		n, err = c.Conn.Write(piece)
		sent += n
		b = b[n:]
	}
	return sent, err
}

// Close gives the place to another connection.
func (c *conn) Close() error {
	c.once.Do(func() { c.conns.open.Add(-1) })
	return c.Conn.Close()
}

// CloseWrite lets net/http end a connection without taking back its last answer.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
