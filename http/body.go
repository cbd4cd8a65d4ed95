package http

import (
	"errors"
	"io"
	nethttp "net/http"
	"slices"
	"strings"
	"time"
)

var errBodyTooLarge = errors.New("http: POST too large")

// body reads the body of a request up to a limit, beyond which the connection is closed after the
// answer. The client must send something each timeout (J1, J4).
type body struct {
	bytes   io.Reader
	from    *response // knows the connection, and what the body has taken
	timeout time.Duration
	begun   bool
}

func (s *Server) newBody(w *response, r *nethttp.Request, limit int64) *body {
	b := &body{bytes: r.Body, from: w, timeout: s.times.body}
	if r.ContentLength < 0 || r.ContentLength > limit { // no body is longer than its head announces
		b.bytes = nethttp.MaxBytesReader(w.ResponseWriter, r.Body, limit)
	}
	return b
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

// readBody returns the body of r; errNoRoom means that others have sent too much (J4). Of a body
// over the limit no more than the limit is read: a client that sends everything before it looks for
// an answer gets one when it is not far over. When the length was announced, nothing of it is kept.
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

// drain reads the body of r to its end and keeps nothing. Its error says that the body is too long,
// or not all that its head announced.
func (s *Server) drain(w *response, r *nethttp.Request) error {
	_, err := io.Copy(io.Discard, s.newBody(w, r, s.cfg.MaxRequestBytes))
	return err
}

// text reads r to its end, as long as there is room for what it holds of it. announced is the
// length that the head says, or -1. A long text is gathered piece by piece in the place where it
// stays.
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
			return "", errNoRoom
		}
		long.Write(*piece)
		*piece = (*piece)[:0]
		if err == io.EOF {
			return long.String(), nil
		}
	}
}

// fill reads r until b is full, which grows to the size of a buffer in the pool. Its error is
// io.EOF when that was the end of r.
func (w *response) fill(b *[]byte, r io.Reader) error {
	for {
		if len(*b) == cap(*b) {
			more := 512 + len(*b)/2
			switch {
			case cap(*b) >= bufferSize:
				return nil
			case !w.take(int64(more)):
				return errNoRoom
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

// grow returns long with room for n bytes more; nil when there is none. The room is for all that is
// announced, but no more than four times what came: whoever announces much has to send some of it
// first.
func (w *response) grow(long *strings.Builder, n int, announced int64) *strings.Builder {
	need := int64(long.Len() + n)
	if need <= int64(long.Cap()) {
		return long
	}
	size := 2 * need
	if announced >= need {
		size = min(4*need, announced)
	}
	if !w.take(size - int64(long.Cap())) {
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
