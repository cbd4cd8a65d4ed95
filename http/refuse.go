package http

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"sync/atomic"
	"time"

	"etcd2/http/places"
	"etcd2/store"
)

// connections are the places for clients' connections, of all listeners together.
type connections struct {
	places.Places
	refused  atomic.Uint64
	left     atomic.Uint64 // closed because their clients had left
	refusing atomic.Int64
	warned   atomic.Int64 // when the log was told last that there is no room, in Unix nanoseconds
	log      *slog.Logger
}

// full counts a connection from address that found no room, and tells the log once a minute, with
// what would make some.
func (n *connections) recordRefused(address string) {
	refused, now, last := n.refused.Add(1), time.Now(), n.warned.Load()
	if now.UnixNano()-last < int64(time.Minute) || !n.warned.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	remedy := "raise the limit on open files (LimitNOFILE, ulimit -n), or have fewer clients"
	if n.Max < defaultMaxConnections(fileLimit(), math.MaxInt64) {
		remedy = "give the process more memory, or have fewer clients"
	}
	n.log.Warn("client connections are refused: as many are open as there may be, or as one address may have when "+
		"few are left",
		"open", n.Held(), "limit", n.Max, "address", address, "open_files_limit", fileLimit(),
		"refused", refused, "remedy", remedy)
}

// maxRefusing connections at a time are told why they are refused; more are just closed.
const maxRefusing = 16

// refusalPatience is how long a refused client may take for each step: its TLS handshake, its
// question, and the reading of the answer.
const refusalPatience = 2 * time.Second

// refusal is the answer to a connection that is refused, whatever it asks. Its code is the one at
// which programs go on to another member, as Patroni does.
func refusal(cause string) []byte {
	body := appendError(nil, &store.Error{Code: store.CodeRaft, Cause: cause})
	return fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"+
		"Connection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// refuse answers the first request of c, and closes c. The work is done in a goroutine of its own.
// When there are maxRefusing of these, c is closed before refuse returns: a goroutine that waits
// for a processor holds a descriptor, too (J2).
func (n *connections) refuse(c net.Conn, message string) {
	if n.refusing.Add(1) > maxRefusing {
		n.refusing.Add(-1)
		c.Close()
		return
	}
	go func() {
		defer n.refusing.Add(-1)
		defer c.Close()
		explain(c, message)
	}()
}

// explain answers the first request of c with a refusal. It waits for the request, since some
// clients take an answer that comes before it for a fault; a client that asks nothing is told
// nothing. It then reads what else comes until the client closes the connection: to close it with
// unread bytes could take back the answer.
func explain(c net.Conn, message string) {
	var rest [512]byte
	c.SetDeadline(time.Now().Add(refusalPatience))
	if secure, isTLS := c.(*tls.Conn); isTLS {
		if secure.Handshake() != nil {
			return
		}
		c.SetDeadline(time.Now().Add(refusalPatience))
	}
	if _, err := c.Read(rest[:]); err != nil {
		return
	}
	c.SetDeadline(time.Now().Add(refusalPatience))
	if _, err := c.Write(refusal(message)); err != nil {
		return
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		for n := 0; n < maxHeaderBytes; {
			k, err := c.Read(rest[:])
			if err != nil {
				return
			}
			n += k
		}
	}
}

// Starting refuses the clients of a listener as long as there is nothing to serve them: one that
// asks a member that starts is better told so, and goes on to another, than left waiting. What it
// returns ends that, waits for the end, and leaves the listener to a Server. A listener without
// deadlines is left alone. With a config its clients are told over TLS.
func Starting(ln net.Listener, config *tls.Config) (started func()) {
	timed, ok := ln.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return func() {}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var clients connections
		for {
			c, err := ln.Accept()
			switch {
			case err == nil:
				if config != nil {
					c = tls.Server(c, config)
				}
				clients.refuse(c, "this member is starting")
			case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
				return
			default: // no descriptors, perhaps: not at once again
				<-time.After(10 * time.Millisecond)
			}
		}
	}()
	return func() {
		timed.SetDeadline(time.Unix(1, 0))
		<-ended
		timed.SetDeadline(time.Time{})
	}
}
