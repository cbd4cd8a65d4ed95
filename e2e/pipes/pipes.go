/*
Package pipes has listeners in memory, for tests that run in a bubble of testing/synctest.

# What it is

Connections without the kernel. In a bubble time passes when every goroutine waits, so no test is
late on a slow machine, and the effect of a timeout is known to the nanosecond. But a bubble does not
count a goroutine that waits for a socket as waiting, so tests in it need other connections.

# Picture

	Dial ──► net.Pipe ──► Listener ──► http.Server

# Types

	Listener  a net.Listener with an address of its own

# Life of a connection

Dial finds the listener by its address, and returns one end of a pipe. Accept returns the other one.
A write on either end waits until it is read at the other.

# Invariants

  - Two listeners never have the same address, so that no test connects to another test's listener.

# What is left out

Buffers, delays, and everything else that is known of a socket.
*/
package pipes

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// Listener is a net.Listener that Dial finds by its address.
type Listener struct {
	address *net.TCPAddr
	calls   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

var (
	listeners sync.Map // address → *Listener
	count     atomic.Int32
)

// Listen returns a listener with an address of its own. It belongs to the caller's bubble.
func Listen() *Listener {
	n := count.Add(1)
	l := &Listener{
		address: &net.TCPAddr{IP: net.IPv4(10, byte(n>>16), byte(n>>8), byte(n)), Port: 80},
		calls:   make(chan net.Conn), closed: make(chan struct{}),
	}
	listeners.Store(l.address.String(), l)
	return l
}

// Addr is the address by which Dial finds the listener.
func (l *Listener) Addr() net.Addr { return l.address }

// Accept waits for a call of Dial.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.calls:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept; later calls of Dial are refused.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Dial connects to the listener with an address. Without such a listener the connection is refused.
func Dial(ctx context.Context, network, address string) (net.Conn, error) {
	refused := &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	l, found := listeners.Load(address)
	if !found {
		return nil, refused
	}
	near, far := net.Pipe()
	select {
	case l.(*Listener).calls <- far:
		return near, nil
	case <-l.(*Listener).closed:
		return nil, refused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Serve returns the URL of a server that lasts as long as the test.
func Serve(t testing.TB, h http.Handler) string {
	s := &httptest.Server{Listener: Listen(), Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}
