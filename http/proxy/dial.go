package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// newTransport makes connections to members, with the limits of the configuration. It uses HTTP/1.1
// only: a request that is cancelled closes its connection, which no other request uses. It follows
// no redirect (pitfalls J14, K6).
func newTransport(c Config) *http.Transport {
	// A watch may wait for days: this finds out within half a minute that the machine at the other
	// end is gone.
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second,
		Interval: 5 * time.Second, Count: 3}}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t := &http.Transport{
		DialContext:            c.bounded(dialer.DialContext),
		TLSHandshakeTimeout:    c.DialTimeout,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
	}
	if c.DialTLS != nil {
		t.DialTLSContext = c.bounded(c.DialTLS)
	}
	return t
}

// Dial makes a connection, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// bounded returns dial with a time limit, for connections with time limits.
func (c Config) bounded(dial Dial) Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, c.DialTimeout)
		defer cancel()
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &timedConn{conn, c.ReadTimeout, c.WriteTimeout}, nil
	}
}

// timedConn is a connection with time limits for each read and write; 0 means none.
type timedConn struct {
	net.Conn
	read, write time.Duration
}

// Read reads, within its limit.
func (c *timedConn) Read(b []byte) (int, error) {
	if err := c.await(); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write writes, within its limit. The read of the answer has its whole limit from then on, even if
// it has begun before.
func (c *timedConn) Write(b []byte) (int, error) {
	if c.write > 0 {
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.write)); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Write(b)
	return n, errors.Join(err, c.await())
}

// await begins the time limit of a read.
func (c *timedConn) await() error {
	if c.read == 0 {
		return nil
	}
	return c.Conn.SetReadDeadline(time.Now().Add(c.read))
}
