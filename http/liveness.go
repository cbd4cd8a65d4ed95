package http

import (
	"context"
	"encoding/binary"
	"math"
	"net"
	nethttp "net/http"
	"runtime"
	"syscall"
	"time"
)

// A watch may wait for days. net/http notices that the client has left by reading one byte ahead, but
// it stops looking when that byte comes: a client that sends more than its request, and leaves, would
// keep the watch and its connection for ever. So this package itself asks the socket now and then. A
// connection of HTTP/2 is read all the time, and needs none of this.

// liveness looks after one request that may wait for long.
type liveness struct {
	server *Server
	conn   *conn
	ctx    context.Context // of the request
	cancel func()          // ends it
	timer  *time.Timer
	begun  time.Time
}

// endWithClient calls cancel, which ends ctx, when the client of r has left. Where the system does not
// tell, it does so after the longest life of a watch: its answer ends without an event, and the client
// asks again from the index in the head. When the request ends, the caller calls stop and cancel.
func (s *Server) endWithClient(ctx context.Context, cancel func(), r *nethttp.Request) (stop func() bool) {
	c, ok := r.Context().Value(connKey{}).(*conn)
	if !ok || r.ProtoMajor > 1 {
		return func() bool { return true }
	}
	l := &liveness{server: s, conn: c, ctx: ctx, cancel: cancel, begun: time.Now()}
	l.timer = time.AfterFunc(math.MaxInt64, l.look)
	l.timer.Reset(s.times.look)
	return l.timer.Stop
}

// look asks once. A look that has begun before the end of the request may set the timer again; the
// next one ends that.
func (l *liveness) look() {
	if l.ctx.Err() != nil {
		return
	}
	alive, known := isConnected(l.conn)
	switch {
	case known && !alive:
		l.server.conns.left.Add(1)
		l.conn.Close() // so that no request behind this one is answered
		l.cancel()
	case !known && time.Since(l.begun) > l.server.times.life:
		l.cancel()
	default:
		l.timer.Reset(l.server.times.look)
	}
}

// isConnected reports whether neither end has closed or reset c. known is false where the system does
// not tell. An end of which only one direction is closed counts as closed, as it does for net/http.
func isConnected(c net.Conn) (alive, known bool) {
	const tcpInfo, established = 11, 1 // TCP_INFO of linux/tcp.h, and the first of its states
	raw := rawConn(c)
	if raw == nil {
		return false, false
	}
	var state int
	var err error
	if raw.Control(func(fd uintptr) { state, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpInfo) }) != nil {
		return false, true // it is closed here
	}
	first := binary.NativeEndian.AppendUint32(nil, uint32(state))[0] // the byte tcpi_state
	return first == established, err == nil
}

// rawConn returns the socket beneath c, where Linux has one; nil otherwise.
func rawConn(c net.Conn) syscall.RawConn {
	for {
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = outer.NetConn()
	}
	socket, ok := c.(syscall.Conn)
	if !ok || runtime.GOOS != "linux" {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
