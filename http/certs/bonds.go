package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A bond is a connection that rests on a certificate of the other end, without TLS. It is among the
// bonds of its Set from the handshake until it is closed, or ended since the certificate would not
// be accepted any more.
type bond struct {
	net.Conn
	set    *Set
	called bool                         // by this member, so that the other end is the server
	ended  atomic.Pointer[refusedError] // what Read returns; nil: it goes on

	closed bool                  // bonds.mu protects it
	shown  []*x509.Certificate   // in the handshake, the other end's own first
	chains [][]*x509.Certificate // from there to authorities that were trusted then
	at     time.Time             // of the handshake
}

// bonds are those of one Set.
type bonds struct {
	mu  sync.Mutex // protects all
	all map[*bond]struct{}
}

// settle is how long authorities and lists must have been in order, and the same, before
// connections end for them. Whoever writes a file in place may have written one whole block of two,
// and the connections of the other authority are not to pay for it.
const settle = 2 * time.Second

// courtesy is how long after that a connection lasts for whose authority is taken out, and who has
// called. When authorities are changed everywhere, as among members, the caller finds out by itself
// in that time, ends the connection, and makes one with its new certificate: it knows what it has
// written, and nothing that is under way is lost. Who is revoked gets no courtesy.
const courtesy = 2 * lookEvery

// Listener returns ln, the connections of which end when the certificate that was shown in a
// handshake by Server is no longer accepted: it is revoked, or its authority is not trusted any
// more. What stands between it and TLS must have a method NetConn, as tls.Conn has.
func (s *Set) Listener(ln net.Listener) net.Listener {
	if s.files.CA == "" {
		return ln
	}
	return bonding{ln, s}
}

// bonding accepts bonds.
type bonding struct {
	net.Listener
	set *Set
}

// Accept waits for a connection.
func (l bonding) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &bond{Conn: c, set: l.set}, nil
}

// bondOf finds the bond beneath a connection; nil when there is none.
func bondOf(c net.Conn) *bond {
	for {
		switch inner := c.(type) {
		case *bond:
			return inner
		case interface{ NetConn() net.Conn }:
			c = inner.NetConn()
		default:
			return nil
		}
	}
}

// NetConn is the connection as it was accepted, as tls.Conn has it.
func (b *bond) NetConn() net.Conn { return b.Conn }

// Read reads from the connection, unless it was ended.
func (b *bond) Read(p []byte) (int, error) {
	if err := b.ended.Load(); err != nil {
		return 0, err
	}
	n, err := b.Conn.Read(p)
	if ended := b.ended.Load(); ended != nil {
		return 0, ended
	}
	return n, err
}

// farewell is how long a connection that was ended may still be written to. Whoever owns it hears
// of the end by reading, and may have a last word: a member that hears nothing takes the other one
// for dead, and a leader's death calls for an election.
const farewell = time.Second

// end lets nothing more be heard over the connection, and closes it soon, whoever still uses it.
func (b *bond) end(why reason) {
	b.ended.Store(&refusedError{"it is no longer accepted: " + why.text, net.ErrClosed})
	b.forget()
	b.SetReadDeadline(time.Unix(1, 0)) // for a Read that waits
	time.AfterFunc(farewell, func() { b.Close() })
}

// Close closes the connection, and forgets it.
func (b *bond) Close() error {
	b.forget()
	return b.Conn.Close()
}

func (b *bond) forget() {
	b.set.bonds.mu.Lock()
	defer b.set.bonds.mu.Unlock()
	b.closed = true
	delete(b.set.bonds.all, b)
}

// tie is the end of a handshake, by the authorities and lists of its beginning. It refuses who is
// revoked, and takes b, if there is one, among the bonds of who has shown a certificate.
func (s *Set) tie(b *bond, seen tls.ConnectionState, t *trust) error {
	if err := t.check(seen.VerifiedChains); err != nil || b == nil || len(seen.VerifiedChains) == 0 {
		return err
	}
	if !s.bonds.add(b, seen) {
		return net.ErrClosed
	}
	if newer := s.current.Load().trust; newer != t { // and sever may have been there before b
		if err := newer.judge(b, time.Now()); err != nil {
			b.forget()
			return err
		}
	}
	return nil
}

// add is false when the connection was closed before.
func (all *bonds) add(b *bond, seen tls.ConnectionState) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	if !b.closed {
		b.shown, b.chains, b.at = seen.PeerCertificates, seen.VerifiedChains, time.Now()
		all.all[b] = struct{}{}
	}
	return !b.closed
}

func (all *bonds) list() []*bond {
	all.mu.Lock()
	defer all.mu.Unlock()
	return slices.Collect(maps.Keys(all.all))
}

// severed is what the ends of connections have in common that are one line in the log.
type severed struct {
	with, subject, serial string
	reason
}

// sever ends the connections that would not be made any more. Gently it spares who has called and
// is not revoked.
func (s *Set) sever(now time.Time, gently bool) {
	st, ended := s.current.Load(), map[severed]int{}
	for _, b := range s.bonds.list() {
		if err := st.trust.judge(b, now); err != nil {
			why := st.explain(err, !b.called)
			if gently && !b.called && why.word != "revoked" {
				continue
			}
			b.end(why)
			ended[severed{host(b.RemoteAddr()), subject(b.shown[0]), serial(b.shown[0].SerialNumber), why}]++
		}
	}
	for e, n := range ended {
		v, kept := s.ends.note(e.word, n, line{e.with, e.serial + " " + e.text}, now)
		if v == silent {
			continue
		}
		s.log.Warn("ended the connections with who is no longer accepted", "with", e.with, "subject", e.subject,
			"serial", e.serial,
			"connections", n, "reason", e.word, "why", e.text, "timesBefore", kept)
		if v == lastWord {
			s.log.Warn("connections with many end; for a minute, more are counted and not logged")
		}
	}
}

// judge says why a connection would not be made any more. That a certificate has expired since then
// is no reason: it is looked at as of the handshake, and as of now for the sake of authorities that
// were renewed.
func (t *trust) judge(b *bond, now time.Time) (err error) {
	if slices.ContainsFunc(b.chains, t.keeps) {
		return nil
	}
	for _, at := range []time.Time{b.at, now} {
		why := t.verify(b, at)
		if why == nil {
			return nil
		}
		var revoked *revokedError
		if err == nil || errors.As(why, &revoked) {
			err = why
		}
	}
	return err
}

// keeps tells whether a chain that was verified before still leads to an authority, past nobody who
// is revoked.
func (t *trust) keeps(chain []*x509.Certificate) bool {
	return slices.ContainsFunc(t.all, chain[len(chain)-1].Equal) && t.checkChain(chain) == nil
}

// verify is what a handshake does, at a time.
func (t *trust) verify(b *bond, at time.Time) error {
	options := x509.VerifyOptions{Roots: t.pool, Intermediates: x509.NewCertPool(), CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if b.called {
		options.KeyUsages[0] = x509.ExtKeyUsageServerAuth
	}
	for _, c := range b.shown[1:] {
		options.Intermediates.AddCert(c)
	}
	chains, err := b.shown[0].Verify(options)
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: b.shown, Err: err}
	}
	return t.check(chains)
}

// Ended calls yield with each reason that connections were ended for, in order, and how many were.
func (s *Set) Ended(yield func(reason string, count uint64)) { s.ends.each(yield) }
