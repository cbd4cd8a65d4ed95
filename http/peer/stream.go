package peer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// stream is an upgraded connection, seen from one of its ends. One goroutine reads from it and one
// writes to it; whichever finds that it is over calls end, and the other one notices.
type stream struct {
	conn  net.Conn
	in    *bufio.Reader // of early, then of the stream itself
	tick  time.Duration
	early []byte        // frames that came together with the head of the answer
	armed time.Time     // the read deadline; the reader's own
	read  atomic.Uint64 // bytes since the handshake

	onBytes func(n int)  // some arrived
	onTick  func() error // none did for a tick

	once  sync.Once
	ended chan struct{} // closed by end
	cause error         // may be read when ended is closed
}

// Why a stream ended, when this end closed it.
var (
	errClosed   = errors.New("this member stops")
	errSilent   = errors.New("nothing is heard any more")
	errReplaced = errors.New("another connection of the same member took its place")
	errMoved    = errors.New("its URL is none of the member's any more")
	errEmptied  = errors.New("it is known with another disk than the one that it has now")
	errLeft     = errors.New("the other one is no member any more")
)

// saidBye is why the other end closed it, being alive.
type saidBye string

// Error quotes the other end.
func (e saidBye) Error() string { return "closed there: " + string(e) }

// ticksOfSilence make Config.Silence. Silence is counted in ticks, so that a process that was
// stopped for a while looks at what has come in the meantime before it gives up anybody (A14).
const ticksOfSilence = 5

// byeTimeout bounds the writing of a last frame, and of what is being written at the end.
const byeTimeout = 100 * time.Millisecond

var longAgo = time.Unix(1, 0)

// start makes the stream ready for its goroutines.
func (s *stream) start(ctx context.Context, size int) (stop func() bool) {
	s.in = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(s.early), s), size)
	s.ended = make(chan struct{})
	s.conn.SetDeadline(time.Time{})
	return context.AfterFunc(ctx, func() { s.end(errClosed) })
}

// end ends the stream for the first reason that anybody gives. What is being written may still be
// written whole: nothing can be said after half a frame, and over TLS nothing after any write that
// failed.
func (s *stream) end(cause error) {
	s.once.Do(func() {
		s.cause = cause
		close(s.ended)
		s.conn.SetReadDeadline(longAgo)
		s.conn.SetWriteDeadline(time.Now().Add(byeTimeout))
	})
}

func (s *stream) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// Read reads from the connection for the bufio.Reader.
func (s *stream) Read(b []byte) (int, error) {
	for {
		if next := time.Now().Add(s.tick); next.Sub(s.armed) > s.tick/4 {
			s.armed = next
			s.conn.SetReadDeadline(next)
		}
		if s.hasEnded() { // looked at last, since the deadline may have gone over that of end
			return 0, s.cause
		}
		n, err := s.conn.Read(b)
		if n > 0 {
			s.read.Add(uint64(n))
			s.onBytes(n)
			return n, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
		s.armed = time.Time{}
		if err := s.onTick(); err != nil {
			return 0, err
		}
	}
}

// close closes the connection, after a last word when this end wants it closed. whole says that
// every write so far was written whole.
func (s *stream) close(whole bool) {
	if whole && s.cause != errClosed && !broke(s.cause) {
		s.conn.SetWriteDeadline(time.Now().Add(byeTimeout))
		s.conn.Write(appendFrame(nil, frameBye, 0, []byte(clip(s.cause.Error()))))
	}
	s.conn.Close()
}

// broke tells whether the other end, or its kernel, closed the connection without a word, as
// happens when a process dies.
func broke(err error) bool {
	for _, sign := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return false
}

// nudge wakes the goroutine that waits for c.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
