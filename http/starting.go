package http

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"
)

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
