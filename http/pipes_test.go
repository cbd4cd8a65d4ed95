package http

import (
	"context"
	"net"
	nethttp "net/http"
	"testing"

	"etcd2/e2e/pipes"
)

// serveInMemory runs the server in a bubble until the test ends. dial makes a connection, which is
// closed then, too.
func (b *bench) serveInMemory(t *testing.T) (dial func() net.Conn) {
	l := pipes.Listen()
	go b.Serve(l)
	t.Cleanup(func() { b.server.Close() })
	return func() net.Conn {
		c, err := pipes.Dial(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
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
