package http

import (
	"errors"
	"io"
	nethttp "net/http"
	"slices"
	"time"
)

var errBodyTooLarge = errors.New("http: POST too large")

// body reads the body of a request up to a limit, beyond which the connection is closed after the answer. The client must
// send something each timeout (J1, J4).
type body struct {
	bytes   io.Reader
	from    *response // knows the connection, and what the body has taken
	timeout time.Duration
	begun   bool
}

func (s *Server) newBody(w *response, r *nethttp.Request, limit int64) *body {
	return &body{bytes: nethttp.MaxBytesReader(w.ResponseWriter, r.Body, limit), from: w, timeout: s.times.body}
}

// Read moves the deadline on for each piece but the first, which has that of ServeHTTP.
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

// readBody appends the body of r to b; errNoRoom means that others have sent too much (J4). Of a body over the limit no more than the limit is read: a client that sends
// everything before it looks for an answer gets one when it is not far over. When the length was announced, nothing
// of it is kept.
func (s *Server) readBody(w *response, r *nethttp.Request, b []byte) ([]byte, error) {
	body := s.newBody(w, r, s.cfg.MaxRequestBytes)
	if r.ContentLength > s.cfg.MaxRequestBytes {
		io.Copy(io.Discard, body)
		return b, errBodyTooLarge
	}
	b, err := w.fill(b, body)
	if isTooLarge(err) {
		return b, errBodyTooLarge
	}
	return b, err
}

// drain reads the body of r to its end and keeps nothing. Its error says that the body is too long, or
// not all that its head announced.
func (s *Server) drain(w *response, r *nethttp.Request) error {
	_, err := io.Copy(io.Discard, s.newBody(w, r, s.cfg.MaxRequestBytes))
	return err
}

// fill reads r to its end, as long as there is room for what it holds of it.
func (w *response) fill(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			more := 512 + len(b)/2
			if !w.take(int64(more)) {
				return b, errNoRoom
			}
			b = slices.Grow(b, more)
		}
		k, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+k]
		switch {
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, err
		}
	}
}

func isTooLarge(err error) bool {
	_, ok := errors.AsType[*nethttp.MaxBytesError](err)
	return ok
}
