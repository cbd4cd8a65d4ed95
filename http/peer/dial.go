package peer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// call is a connection that this end has dialled, and sent the head of a request to.
type call struct {
	net.Conn
	limit io.LimitedReader // of the connection; nothing that comes may be larger (K6)
	in    *bufio.Reader    // of limit
	trip  time.Duration    // how long the handshake took
	stop  func() bool      // ends the watch over the context
}

// dial calls a member at a URL, and waits for an answer with the wanted status. Any other answer is
// an error, a redirection too: it is never followed (K6). The connection fails when the peer's
// context is done.
func (p *peer) dial(rawURL, method, path string, extra http.Header, wanted int) (*call, identity, error) {
	conn, host, err := p.reach(rawURL)
	if err != nil {
		return nil, identity{}, err
	}
	c := &call{Conn: conn, stop: context.AfterFunc(p.ctx, func() { conn.SetDeadline(longAgo) })}
	c.limit = io.LimitedReader{R: conn}
	c.in = bufio.NewReader(&c.limit)
	other, err := c.handshake(p, host, method, path, extra, wanted)
	if err != nil {
		c.Close()
		return nil, identity{}, err
	}
	return c, other, nil
}

// Close closes the connection.
func (c *call) Close() error {
	c.stop()
	return c.Conn.Close()
}

// reach makes or borrows a connection. When there is one to borrow, making one may take at most
// nearDial.
func (p *peer) reach(rawURL string) (conn net.Conn, host string, err error) {
	if rawURL == loan {
		conn, err = p.borrow()
		return conn, p.t.self.name, err
	}
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.t.times.dial)
	defer cancel()
	p.set(func() {
		p.hurry = func() { time.AfterFunc(nearDial, cancel) }
		if p.in != nil && p.in.lends {
			p.hurry()
		}
	})
	conn, err = p.t.connect(ctx, u)
	if ctx.Err() == context.Canceled {
		p.set(func() { p.hung = true })
	}
	return conn, u.Host, err
}

// connect makes the connection, with TLS when the scheme says so.
func (t *Transport) connect(ctx context.Context, u *url.URL) (net.Conn, error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	address := net.JoinHostPort(u.Hostname(), port)
	if u.Scheme == "http" {
		return t.dialTCP(ctx, "tcp", address)
	}
	return t.cfg.DialTLS(ctx, "tcp", address)
}

// shake sends the head of the request and reads that of the answer.
func (c *call) handshake(p *peer, host, method, path string, extra http.Header, wanted int) (identity, error) {
	me := p.t.self
	me.to = p.id
	head := extra.Clone()
	me.writeTo(head)
	if err := c.SetDeadline(time.Now().Add(p.t.times.handshake)); err != nil || p.ctx.Err() != nil {
		return identity{}, errClosed
	}
	w := bufio.NewWriter(c.Conn)
	fmt.Fprintf(w, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	head.Write(w)
	io.WriteString(w, "\r\n")
	asked := time.Now()
	if err := w.Flush(); err != nil {
		return identity{}, err
	}
	r, err := c.answer(method)
	c.trip = time.Since(asked)
	switch {
	case err != nil:
		return identity{}, err
	case r.StatusCode != wanted:
		return identity{}, readAnswer(r, me)
	case wanted == http.StatusContinue: // net/http sends it, without an identity
		return identity{}, nil
	}
	other := parseIdentity(r.Header)
	if wrong := me.check(other, p.t.in.Membership().Removed, p.t.in.Incarnation(other.id)); wrong != nil {
		return identity{}, &refused{wrong, other, thisOne}
	}
	return other, nil
}

// answer reads the head of an answer, interim ones included.
func (c *call) answer(method string) (*http.Response, error) {
	c.limit.N = maxHeadSize
	r, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err == io.ErrUnexpectedEOF && c.limit.N <= 0 {
		err = errors.New("an answer without end")
	}
	return r, err
}

// upgrade has the headers of a request that asks for the connection as a stream.
var upgrade = http.Header{"Connection": {"Upgrade"}, "Upgrade": {protocolName}}

// dialStream opens the connection over which messages go to the member.
func (p *peer) dialStream(rawURL string) (*sender, error) {
	c, other, err := p.dial(rawURL, http.MethodGet, streamPath, upgrade, http.StatusSwitchingProtocols)
	if err != nil {
		return nil, err
	}
	c.stop() // the stream watches the context itself
	s := &sender{stream: stream{conn: c.Conn, tick: p.t.tick()}, p: p, url: rawURL, other: other}
	early, _ := c.in.Peek(c.in.Buffered())
	s.early = bytes.Clone(early)
	s.flight.window = newWindow(&p.t.cfg, time.Now(), c.trip)
	return s, nil
}
