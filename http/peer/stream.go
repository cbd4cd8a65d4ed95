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

// stream is one end of an upgraded connection. One goroutine reads from it and one writes to it;
// the first that finds a reason to end it calls end, and the other one notices.
type stream struct {
	conn  net.Conn
	in    *bufio.Reader // of early, then of the stream itself
	tick  time.Duration
	early []byte        // frames that came together with the head of the answer
	armed time.Time     // the read deadline; the reader's own
	read  atomic.Uint64 // bytes since the handshake

	onBytes func(n int)  // called when n bytes have come
	onTick  func() error // called when none have come for a tick

	once  sync.Once
	ended chan struct{} // closed by end
	cause error         // may be read when ended is closed
}

// Why a stream ended, when this end closed it.
var (
	errClosed   = errors.New("this member stops")
	errSilent   = errors.New("nothing was received for too long")
	errReplaced = errors.New("another connection of the same member has replaced it")
	errMoved    = errors.New("its URL is no longer one of the member's")
	errEmptied  = errors.New("the member has another disk than the one that it is known with")
	errLeft     = errors.New("the other end is no longer a member")
)

// saidBye is the reason in a bye: the other end is alive, and has closed the connection.
type saidBye string

// Error quotes the reason.
func (e saidBye) Error() string { return "closed there: " + string(e) }

// ticksOfSilence is the number of ticks in Config.Silence. Silence is counted in ticks, so that a
// process that was stopped for a while reads what has come meanwhile before it gives up a member
// (A14).
const ticksOfSilence = 5

// byeTimeout bounds the last write of a stream: that of a bye, or one under way when it ends.
const byeTimeout = 100 * time.Millisecond

var longAgo = time.Unix(1, 0)

// start makes the stream ready for its goroutines.
func (s *stream) start(ctx context.Context, size int) (stop func() bool) {
	s.in = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(s.early), s), size)
	s.ended = make(chan struct{})
	s.conn.SetDeadline(time.Time{})
	return context.AfterFunc(ctx, func() { s.end(errClosed) })
}

// end ends the stream; only the first call has an effect, and its cause counts. A write under way
// has byeTimeout to complete: no bye can follow half a frame, or over TLS, any write that failed.
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

// Read reads from the connection, for the bufio.Reader.
func (s *stream) Read(b []byte) (int, error) {
	for {
		if next := time.Now().Add(s.tick); next.Sub(s.armed) > s.tick/4 {
			s.armed = next
			s.conn.SetReadDeadline(next)
		}
		if s.hasEnded() { // checked last: the new deadline may have replaced the one that end has set
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

// close closes the connection, after a bye when this end is the one that ends it. whole says that
// no write has failed or was cut off.
func (s *stream) close(whole bool) {
	if whole && s.cause != errClosed && !broke(s.cause) {
		s.conn.SetWriteDeadline(time.Now().Add(byeTimeout))
		s.conn.Write(appendFrame(nil, frameBye, 0, []byte(clip(s.cause.Error()))))
	}
	s.conn.Close()
}

// broke reports whether the other end, or its kernel, closed the connection without a bye, as
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
