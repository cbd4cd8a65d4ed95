package http

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	nethttp "net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The limits bound the memory that clients can make this process use, by what they send or don't
// read. Connections, watches, and what the requests in flight have sent get about a quarter of the
// memory each.
const (
	connectionCost = 32 << 10 // of an open connection: its goroutine, its buffers, and freeHead
	watchCost      = 16 << 10 // of a watch, besides its connection
	copies         = 4        // of a body: as it came, decoded, as a command, in the log
	leastBudget    = 64 << 20
	mostBudget     = 1 << 30
	freeHead       = 8 << 10 // bytes of a request's head that are part of the connection's cost
	freeKey        = 8 << 10 // bytes of a watch's key that are part of its cost
)

// budget is memory that requests share: each acquires a part of it, and together they hold no more
// than max. All methods may be called from any goroutine.
type budget struct {
	max  int64
	used atomic.Int64
}

// acquire reports whether n more bytes were free. If so, the caller must release them.
func (r *budget) acquire(n int64) bool {
	if r.used.Add(n) <= r.max {
		return true
	}
	r.used.Add(-n)
	return false
}

func (r *budget) release(n int64) { r.used.Add(-n) }

// defaultBudget returns the budget for heads and bodies of all requests together. The largest
// allowed body must fit in.
func defaultBudget(memory, maxRequestBytes int64) int64 {
	return max(min(max(memory/4/copies, leastBudget), mostBudget), 2*maxRequestBytes)
}

// errOverBudget refuses a request, or ends a connection, because too little of the budget is free
// at the moment.
var errOverBudget = errors.New("too much is being sent at a time")

// admit counts a request as in flight, and reports whether there was a place for it. There are as
// many places as connections, so that HTTP/2 can't multiply the work of this process. The heads of
// HTTP/1 were counted by their connections (head). Of a body of HTTP/2, net/http accepts up to
// window bytes before a handler reads it: they count until the body is read.
func (s *Server) admit(w *response, r *nethttp.Request) bool {
	w.server = s
	w.inFlight = true
	if s.inFlight.Add(1) > int64(s.conns.Max) {
		return false
	}
	if r.ProtoMajor == 1 {
		return true
	}
	if w.origin = originOf(r); !s.streams.Acquire(w.origin) {
		return false
	}
	w.isStream = true
	unread := unreadSize(r)
	if !w.acquire(max(headSize(r)-freeHead, 0) + unread) {
		return false
	}
	w.unread = unread
	return true
}

// unreadSize returns how much of the body of r may be in memory before a handler reads it.
func unreadSize(r *nethttp.Request) int64 {
	switch {
	case r.Body == nil || r.Body == nethttp.NoBody:
		return 0
	case r.ContentLength < 0:
		return window
	}
	return min(r.ContentLength, window)
}

// bodyRead releases what admit acquired for the unread body.
func (w *response) bodyRead() {
	if w.unread > 0 {
		w.server.memory.release(w.unread)
		w.acquired -= w.unread
		w.unread = 0
	}
}

// headSize returns about how much memory the head of a request takes.
func headSize(r *nethttp.Request) (n int64) {
	n = int64(len(r.RequestURI))
	for name, values := range r.Header {
		for _, v := range values {
			n += int64(len(name) + len(v))
		}
	}
	return n
}

// acquire acquires n bytes of the budget until the end of the request.
func (w *response) acquire(n int64) bool {
	ok := w.server.memory.acquire(n)
	if ok {
		w.acquired += n
	}
	return ok
}

// leaveInFlight ends the counting as a request in flight: at the request's end, or when it becomes
// a watch, which is counted elsewhere.
func (w *response) leaveInFlight() {
	if w.inFlight {
		w.inFlight = false
		w.server.inFlight.Add(-1)
	}
	if w.isStream {
		w.isStream = false
		w.server.streams.Release(w.origin)
	}
}

// release gives back all that the request has acquired.
func (w *response) release() {
	w.endHolding()
	w.leaveInFlight()
	w.server.memory.release(w.acquired)
}

// head counts the bytes of a request's head that a connection has received. The request may keep
// them until its end. Many unfinished heads at a time would fill the memory (J1), so what exceeds
// freeHead is acquired from the budget for requests.
type head struct {
	budget *budget
	mute   bool // no answer can be sent, since the connection speaks TLS

	mu       sync.Mutex // protects all below
	reading  bool       // a head is awaited or has begun
	size     int64
	acquired int64
	closed   bool
}

// add counts n bytes and reports whether the budget had room for them. No head is larger than
// maxHeaderBytes: what HTTP/2 sends besides requests is therefore not counted for ever.
func (h *head) add(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.reading || h.closed {
		return true
	}
	h.size += int64(n)
	more := min(max(h.size-freeHead, 0), maxHeaderBytes) - h.acquired
	if more > 0 && !h.budget.acquire(more) {
		return false
	}
	h.acquired += more
	return true
}

// isNew reports whether a head is awaited, and none of it has come yet.
func (h *head) isNew() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reading && h.size == 0
}

// setReading says that a head comes next, or the handling of the one that has come.
func (h *head) setReading(reading bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reading = reading
	if reading {
		h.release()
	}
}

// close releases everything when the connection is closed.
func (h *head) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.release()
}

// release empties the head. h.mu must be held.
func (h *head) release() {
	if h.acquired > 0 {
		h.budget.release(h.acquired)
	}
	h.size, h.acquired = 0, 0
}

// overflow answers a head that the budget has no room for, where an answer can be sent, and returns
// the error that ends the connection.
func (c *conn) overflow() error {
	if !c.head.mute {
		c.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		c.Conn.Write(refusal(errOverBudget.Error()))
	}
	return &net.OpError{Op: "read", Net: "tcp", Err: errOverBudget} // net/http answers nothing to it
}

var errBodyTooLarge = errors.New("http: POST too large")

// body reads the body of a request up to a limit, beyond which the connection is closed after the
// answer. The client must send something within each timeout (J1, J4).
type body struct {
	bytes   io.Reader
	from    *response // knows the connection, and what was acquired for the body
	timeout time.Duration
	begun   bool
}

func (s *Server) newBody(w *response, r *nethttp.Request, limit int64) *body {
	b := &body{bytes: r.Body, from: w, timeout: s.times.body}
	if r.ContentLength < 0 || r.ContentLength > limit { // net/http lets no body be longer than announced
		b.bytes = nethttp.MaxBytesReader(w.ResponseWriter, r.Body, limit)
	}
	return b
}

// Read moves the deadline on for each piece but the first, whose deadline is that of limitBody.
func (b *body) Read(p []byte) (int, error) {
	if b.begun {
		nethttp.NewResponseController(b.from.ResponseWriter).SetReadDeadline(time.Now().Add(b.timeout))
	}
	b.begun = true
	n, err := b.bytes.Read(p)
	if err == io.EOF {
		b.from.bodyRead()
	}
	return n, err
}

// readBody returns the body of r; errOverBudget means that others have sent too much (J4). Of a
// body over the limit it reads as much as the limit, so that a client that sends everything before
// it looks for an answer gets one, unless it is far over. When the length was announced, nothing of
// such a body is kept.
func (s *Server) readBody(w *response, r *nethttp.Request) (string, error) {
	body := s.newBody(w, r, s.cfg.MaxRequestBytes)
	if r.ContentLength > s.cfg.MaxRequestBytes {
		io.Copy(io.Discard, body)
		return "", errBodyTooLarge
	}
	text, err := w.text(body, r.ContentLength)
	if isTooLarge(err) {
		return "", errBodyTooLarge
	}
	return text, err
}

// drain reads the body of r to its end and keeps nothing. It returns an error when the body is too
// long, or shorter than its head announced.
func (s *Server) drain(w *response, r *nethttp.Request) error {
	_, err := io.Copy(io.Discard, s.newBody(w, r, s.cfg.MaxRequestBytes))
	return err
}

// text reads r to its end, as long as the budget has room. announced is the length in the head, or
// -1. A long text is gathered piece by piece in the string that is returned.
func (w *response) text(r io.Reader, announced int64) (string, error) {
	piece := getBuffer()
	defer putBuffer(piece)
	long := new(strings.Builder)
	for {
		err := w.fill(piece, r)
		switch {
		case err != nil && err != io.EOF:
			return "", err
		case err == io.EOF && long.Len() == 0:
			return string(*piece), nil
		}
		if long = w.grow(long, len(*piece), announced); long == nil {
			return "", errOverBudget
		}
		long.Write(*piece)
		*piece = (*piece)[:0]
		if err == io.EOF {
			return long.String(), nil
		}
	}
}

// fill reads r until b is full; b grows up to the size of a buffer in the pool. The error is io.EOF
// at the end of r.
func (w *response) fill(b *[]byte, r io.Reader) error {
	for {
		if len(*b) == cap(*b) {
			more := 512 + len(*b)/2
			switch {
			case cap(*b) >= bufferSize:
				return nil
			case !w.acquire(int64(more)):
				return errOverBudget
			}
			*b = slices.Grow(*b, more)
		}
		k, err := r.Read((*b)[len(*b):cap(*b)])
		*b = (*b)[:len(*b)+k]
		if err != nil {
			return err
		}
	}
}

// grow returns long with capacity for n more bytes; nil when the budget has no room. It reserves
// all that was announced, but at most four times what has come: a client that announces much has to
// send some of it first.
func (w *response) grow(long *strings.Builder, n int, announced int64) *strings.Builder {
	need := int64(long.Len() + n)
	if need <= int64(long.Cap()) {
		return long
	}
	size := 2 * need
	if announced >= need {
		size = min(4*need, announced)
	}
	if !w.acquire(size - int64(long.Cap())) {
		return nil
	}
	longer := new(strings.Builder)
	longer.Grow(int(size))
	longer.WriteString(long.String())
	return longer
}

func isTooLarge(err error) bool {
	_, ok := errors.AsType[*nethttp.MaxBytesError](err)
	return ok
}

// readJSON decodes the body of r into v, or returns the error and the status for it. Text behind
// the document is ignored, but read: a body that is cut short is an error.
func (s *Server) readJSON(w *response, r *nethttp.Request, v any) (status int, err error) {
	limit := min(s.cfg.MaxRequestBytes, maxMemberBytes)
	if !w.acquire(limit) {
		return nethttp.StatusServiceUnavailable, errOverBudget
	}
	body := s.newBody(w, r, limit)
	if err = json.NewDecoder(body).Decode(v); err == nil {
		_, err = io.Copy(io.Discard, body)
	}
	if isTooLarge(err) {
		return nethttp.StatusRequestEntityTooLarge, err
	}
	return nethttp.StatusBadRequest, err
}

// wholeBody reads the body of r, which has no meaning, and reports whether it came to its end; if
// not, it answers.
func (s *Server) wholeBody(w *response, r *nethttp.Request) bool {
	err := s.drain(w, r)
	if err != nil {
		messageError(w, nethttp.StatusBadRequest, err.Error())
	}
	return err == nil
}
