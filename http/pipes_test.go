package http

import (
	"context"
	"net"
	nethttp "net/http"
	"sync"
	"testing"
)

// pipes is a listener in memory, for the bubbles of testing/synctest: time passes when nobody has
// anything to do, so that no test is late on a slow machine. What is written waits until it is read.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

// Accept waits for a call.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close has Accept end.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr is no address.
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

// serveInMemory runs the server in a bubble until the test ends. dial makes a connection, which is
// closed then, too.
func (b *bench) serveInMemory(t *testing.T) (dial func() net.Conn) {
	p := newPipes()
	go b.Serve(p)
	t.Cleanup(func() { b.server.Close() })
	return func() net.Conn {
		c := p.dial()
		t.Cleanup(func() { c.Close() })
		return c
	}
}

// clientOver is a client of HTTP whose connections are those of dial.
func clientOver(t *testing.T, dial func() net.Conn, protocols *nethttp.Protocols) *nethttp.Client {
	client := &nethttp.Client{Transport: &nethttp.Transport{Protocols: protocols,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return dial(), nil }}}
	t.Cleanup(client.CloseIdleConnections)
	return client
}
