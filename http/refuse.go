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

// connections are the places for client connections, which all listeners share.
type connections struct {
	places.Places
	refused  atomic.Uint64
	left     atomic.Uint64 // closed because their clients had left
	refusing atomic.Int64
	warned   atomic.Int64 // when the log was last told of refused connections, in Unix nanoseconds
	log      *slog.Logger
}

// recordRefused counts a connection from address that got no place. Once a minute it logs this, and
// what would make more places.
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

// maxRefusing bounds the connections that are being told why they are refused. More are closed
// without an answer.
const maxRefusing = 16

// refusalPatience is how long a refused client may take for each step: its TLS handshake, its
// question, and the reading of the answer.
const refusalPatience = 2 * time.Second

// refusal returns the answer to a connection that is refused, whatever its request is. Its status
// is one at which client programs such as Patroni try another member.
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

// Starting refuses the clients of a listener while the member starts: they can go on to another
// member at once instead of waiting. The caller calls started before it gives ln to a Server; it
// returns when no client is being accepted. A listener without deadlines is left alone. With a
// config, clients are refused over TLS.
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
			default: // perhaps no descriptors are left: try again, but not at once
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
