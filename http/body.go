package http

import (
	"errors"
	"io"
	"math"
	nethttp "net/http"
	"slices"
	"time"
)

// A body may be large only while fewer than maxLargeBodies others are, so that many at a time don't fill
// the memory (J4).
const (
	largeBody      = 1 << 20
	maxLargeBodies = 16
)

var (
	errBodyTooLarge = errors.New("http: POST too large")
	errTooManyLarge = errors.New("http: too many large bodies at a time")
)

// body reads the body of a request up to a limit, beyond which the connection is closed after the answer. The client must
// send something each timeout (J1, J4).
type body struct {
	bytes   io.Reader
	from    nethttp.ResponseWriter // knows the connection
	timeout time.Duration
	begun   bool
}

func (s *Server) newBody(w *response, r *nethttp.Request, limit int64) *body {
	inner := w.ResponseWriter
	return &body{bytes: nethttp.MaxBytesReader(inner, r.Body, limit), from: inner, timeout: s.times.body}
}

// Read moves the deadline on for each piece but the first, which has that of ServeHTTP.
func (b *body) Read(p []byte) (int, error) {
	if b.begun {
		nethttp.NewResponseController(b.from).SetReadDeadline(time.Now().Add(b.timeout))
	}
	b.begun = true
	return b.bytes.Read(p)
}

// readBody appends the body of r to b. Of a body over the limit no more than the limit is read: a client that sends
// everything before it looks for an answer gets one when it is not far over. When the length was announced, nothing
// of it is kept.
func (s *Server) readBody(w *response, r *nethttp.Request, b []byte) ([]byte, error) {
	body := s.newBody(w, r, s.cfg.MaxRequestBytes)
	if r.ContentLength > s.cfg.MaxRequestBytes {
		io.Copy(io.Discard, body)
		return b, errBodyTooLarge
	}
	b, err := fill(b, body, largeBody)
	if err == nil {
		select {
		case s.bodies <- struct{}{}:
			defer func() { <-s.bodies }()
		default:
			return b, errTooManyLarge
		}
		b, err = fill(b, body, math.MaxInt)
	}
	switch {
	case err == io.EOF:
		return b, nil
	case isTooLarge(err):
		return b, errBodyTooLarge
	}
	return b, err
}

// fill reads until b has n bytes or more. The end of r before that is io.EOF.
func fill(b []byte, r io.Reader, n int) ([]byte, error) {
	for len(b) < n {
		if len(b) == cap(b) {
			b = slices.Grow(b, 512+len(b)/2)
		}
		k, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+k]
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

func isTooLarge(err error) bool {
	_, ok := errors.AsType[*nethttp.MaxBytesError](err)
	return ok
}
