package http

import (
	"crypto/tls"
	"net"
	nethttp "net/http"
	"time"
)

// TLS is the certificates of a port: it hears of failed handshakes and yields what the metrics
// show. *certs.Set is one. All methods may be called from any goroutine.
type TLS interface {
	// Refused records a handshake that failed, and why. A tls.RecordHeaderError that holds a TLS
	// record means that a client speaks TLS to a plain port.
	Refused(c net.Conn, err error)
	// Expiries yields each certificate and revocation list: its file, subject, serial number (""
	// for a list), and end.
	Expiries(yield func(file, subject, serial string, end time.Time))
	// Refusals yields each reason for failed handshakes, in order, and their number.
	Refusals(yield func(reason string, count uint64))
	// Listener returns ln with connections that end when the certificate that their other end has
	// shown is no longer accepted.
	Listener(ln net.Listener) net.Listener
	// Ended yields each reason for such ends of connections, in order, and their number.
	Ended(yield func(reason string, count uint64))
}

// noTLS is the TLS of a port without certificates.
type noTLS struct{}

func (noTLS) Refused(net.Conn, error)                                  {}
func (noTLS) Expiries(func(file, subject, serial string, _ time.Time)) {}
func (noTLS) Refusals(func(reason string, count uint64))               {}
func (noTLS) Listener(ln net.Listener) net.Listener                    { return ln }
func (noTLS) Ended(func(reason string, count uint64))                  {}

// reportHandshake tells t of a failed handshake when its connection is closed. net/http makes the
// handshake and keeps its error to itself, but a tls.Conn returns the same error when it is asked
// for another handshake.
func reportHandshake(t TLS, c net.Conn, state nethttp.ConnState) {
	secure, isTLS := c.(*tls.Conn)
	if state != nethttp.StateClosed || !isTLS || secure.ConnectionState().HandshakeComplete {
		return
	}
	if err := secure.Handshake(); err != nil {
		t.Refused(c, err)
	}
}

// withProtocols returns config with these protocols, unless it names some itself.
func withProtocols(config *tls.Config, protocols ...string) *tls.Config {
	if config.NextProtos == nil {
		config = config.Clone()
		config.NextProtos = protocols
	}
	return config
}

// plainListener is a listener without TLS that reports clients that speak TLS. Their request is no
// HTTP, and net/http does not tell why.
type plainListener struct {
	net.Listener
	tls TLS
}

// Accept waits for a connection.
func (l plainListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &plainConn{wrapped: wrapped{c}, tls: l.tls}, nil
}

// plainConn looks at the first bytes of a connection.
type plainConn struct {
	wrapped
	tls    TLS
	looked bool // Read's own
}

// Read reads from the connection.
func (c *plainConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.looked && n > 0 {
		c.looked = true
		if n >= 3 && b[0] == 22 && b[1] == 3 { // the record of a handshake, TLS 1.x: no request begins like this
			c.tls.Refused(c, tls.RecordHeaderError{Msg: "TLS on a plain port",
				RecordHeader: [5]byte(append(b[:3:3], 0, 0))})
		}
	}
	return n, err
}
