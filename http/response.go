package http

import (
	"encoding/json"
	nethttp "net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// response is the answer to a request. It remembers the status, for the counters and for catch, and
// what the request has acquired. On HTTP/2 it sets a deadline for each piece that it sends: there a
// stream may be stuck while its connection is not (J11).
type response struct {
	nethttp.ResponseWriter
	request *nethttp.Request // nil when the answer is not sent to its connection
	begun   time.Time        // when the request came
	status  int              // 0 until the head is sent
	timeout time.Duration    // for a piece; 0: the connection sets the deadlines

	server   *Server
	inFlight bool // whether server counts it
	isStream bool // whether origin has a place of server.streams for it
	origin   string
	acquired int64 // of server.room
	unread   int64 // part of acquired, for a body that was not read yet
	holding  holding
}

// WriteHeader sends the head.
func (w *response) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write sends a piece of the body, and the head before it.
func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = nethttp.StatusOK
	}
	w.breakOffIfHolding()
	if w.timeout > 0 {
		nethttp.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.timeout))
	}
	if len(b) > netBuffer && w.request != nil {
		if c := ownConn(w.request); c != nil {
			return c.writeWhole(w.ResponseWriter, b)
		}
	}
	return w.ResponseWriter.Write(b)
}

// announce sets Content-Length, unless the head was sent before the answer was complete. Without it
// net/http sends all but short answers in chunks, with one more piece at the end.
func (w *response) announce(length int) {
	const short = 2 << 10
	if w.status == 0 && length > short {
		w.Header()["Content-Length"] = []string{strconv.Itoa(length)}
	}
}

// Unwrap lets http.ResponseController find SetReadDeadline, SetWriteDeadline and Flush.
func (w *response) Unwrap() nethttp.ResponseWriter { return w.ResponseWriter }

// sendJSON sends v and a newline.
func sendJSON(w *response, status int, v any) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// sendBareJSON sends v without a newline.
func sendBareJSON(w *response, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // v is one of the types of this package
	}
	w.Header()["Content-Type"] = jsonType
	w.Write(b)
}

// An answer holds in memory what it shows until it is sent: a part of the tree as it was, or an
// event with the values before and after. That costs memory once the tree and the history have
// dropped it. All answers together hold no more than what was dropped since the oldest of them
// began (store.Freed). So an answer is broken off, and its connection closed, when more than
// leastHeld, or an eighth of the memory, was dropped since it began. But not within its first
// slowAfter: writers can't break off the answers of clients that read at once.
const (
	leastHeld = 64 << 20
	slowAfter = 10 * time.Second
)

// slowAnswers are the answers that take longer than after. All methods may be called from any
// goroutine.
type slowAnswers struct {
	max   int64 // bytes that answers may hold
	after time.Duration
	ended atomic.Uint64

	mu    sync.Mutex           // protects begun
	begun map[*response]uint64 // store.Freed when each of them began
}

// held returns a bound of the bytes that slow answers hold; freed is the present store.Freed.
func (l *slowAnswers) held(freed uint64) (bytes uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, begun := range l.begun {
		bytes = max(bytes, freed-min(begun, freed))
	}
	return bytes
}

// add makes w a slow answer.
func (l *slowAnswers) add(w *response) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun == nil {
		l.begun = map[*response]uint64{}
	}
	l.begun[w], w.holding.slow = w.holding.freed, true
}

func (l *slowAnswers) remove(w *response) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.begun, w)
}

// holding says since when an answer holds what it shows; zero: it holds nothing.
type holding struct {
	since time.Time
	freed uint64 // store.Freed at that time
	slow  bool   // it is in slowAnswers
}

// beginHolding begins to count what the answer holds, from now on.
func (w *response) beginHolding() {
	w.endHolding()
	if w.server.store != nil {
		w.holding = holding{since: time.Now(), freed: w.server.store.Freed()}
	}
}

// endHolding ends what beginHolding began.
func (w *response) endHolding() {
	if w.holding.slow {
		w.server.slow.remove(w)
	}
	w.holding = holding{}
}

// breakOffIfHolding breaks the answer off when it has held too much for too long.
func (w *response) breakOffIfHolding() {
	h := &w.holding
	if h.since.IsZero() || time.Since(h.since) < w.server.slow.after {
		return
	}
	slow := &w.server.slow
	if !h.slow {
		slow.add(w)
	}
	if w.server.store.Freed()-h.freed > uint64(slow.max) {
		slow.ended.Add(1)
		panic(nethttp.ErrAbortHandler) // without the last chunk, so that the client notices
	}
}
