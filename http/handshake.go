package http

import (
	"crypto/tls"
	"net"
	nethttp "net/http"
	"time"
)

// TLS is what a port's certificates have to tell, and are told; *certs.Set is one. All methods may
// be called from any goroutine.
type TLS interface {
	// Refused hears of every handshake that failed, and why. A tls.RecordHeaderError with a record
	// of TLS in it is for one who speaks TLS to a plain port.
	Refused(c net.Conn, err error)
	// Expiries yields each certificate and list: its file, whose it is, its serial number ("" for a
	// list), its end.
	Expiries(yield func(file, subject, serial string, end time.Time))
	// Refusals yields each reason that handshakes have failed for, in order, and how many did.
	Refusals(yield func(reason string, count uint64))
	// Listener returns ln, whose connections end when the certificate that was shown over them is
	// no longer accepted.
	Listener(ln net.Listener) net.Listener
	// Ended yields each reason that connections were so ended for, in order, and how many were.
	Ended(yield func(reason string, count uint64))
}

// noTLS is a port that nobody has told anything about.
type noTLS struct{}

func (noTLS) Refused(net.Conn, error)                                  {}
func (noTLS) Expiries(func(file, subject, serial string, _ time.Time)) {}
func (noTLS) Refusals(func(reason string, count uint64))               {}
func (noTLS) Listener(ln net.Listener) net.Listener                    { return ln }
func (noTLS) Ended(func(reason string, count uint64))                  {}

// noteHandshake tells t when a connection is at its end whose handshake has failed. (net/http makes
// the handshake and keeps its error to itself; a tls.Conn gives it again to who asks for another
// handshake.)
func reportHandshake(t TLS, c net.Conn, state nethttp.ConnState) {
	secure, isTLS := c.(*tls.Conn)
	if state != nethttp.StateClosed || !isTLS || secure.ConnectionState().HandshakeComplete {
		return
	}
	if err := secure.Handshake(); err != nil {
		t.Refused(c, err)
	}
}

// withProtocols is config with the protocols for whom it names none.
func withProtocols(config *tls.Config, protocols ...string) *tls.Config {
	if config.NextProtos == nil {
		config = config.Clone()
		config.NextProtos = protocols
	}
	return config
}

// plainListener is a listener without TLS, which tells of those who speak it all the same: their
// request is no HTTP, and net/http has no word for it.
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
	return &plainConn{Conn: c, tls: l.tls}, nil
}

// plainConn looks at the first bytes of a connection.
type plainConn struct {
	net.Conn
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

// NetConn is the connection as it was accepted, as tls.Conn has it.
func (c *plainConn) NetConn() net.Conn { return c.Conn }

// CloseWrite lets net/http end a connection without taking back its last answer.
func (c *plainConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
