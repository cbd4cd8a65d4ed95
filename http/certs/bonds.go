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

// A bond is the connection below TLS whose other end has shown a certificate. It is among the bonds
// of its Set from the handshake until it is closed, or until it is ended because the certificate is
// no longer accepted.
type bond struct {
	net.Conn
	set    *Set
	called bool                         // by this member, so that the other end is the server
	ended  atomic.Pointer[refusedError] // the error of Read; nil: the connection was not ended

	closed bool                  // bonds.mu protects it
	shown  []*x509.Certificate   // in the handshake; the first is the other end's own
	chains [][]*x509.Certificate // from that one to authorities that were trusted then
	at     time.Time             // when the handshake was
}

// bonds are the open connections of one Set whose other end has shown a certificate.
type bonds struct {
	mu  sync.Mutex // protects all
	all map[*bond]struct{}
}

// settleTime is how long the files of authorities and lists must have been in order, and the same,
// before connections end because of them. A file that is being written in place may have one whole
// block of two, and the connections of the other authority must not end for that.
const settleTime = 2 * time.Second

// graceTime is how long after that a connection stays open whose authority was removed, if the
// other end has made it. When authorities are changed everywhere, as among members, the other end
// notices by itself in that time, closes the connection, and makes one with its new certificate: it
// knows what it has written, so nothing under way is lost. A revoked certificate gets no such time.
const graceTime = 2 * lookEvery

// Listener returns ln, whose connections end when the certificate that was shown in the handshake
// is no longer accepted: it is revoked, or its authority is no longer trusted. A connection that
// wraps one of these below TLS must have a method NetConn, as tls.Conn has.
func (s *Set) Listener(ln net.Listener) net.Listener {
	if s.files.CA == "" {
		return ln
	}
	return bonding{ln, s}
}

// bonding is a listener whose connections are bonds.
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

// bondOf returns the bond that a connection wraps; nil when there is none.
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

// NetConn returns the wrapped connection, as the method of tls.Conn does.
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

// lastWordTime is how long a connection that was ended may still be written to. Its owner learns of
// the end by reading, and may then send a last message: a member to which a connection breaks
// without one takes the other for dead, and if that is the leader, calls an election.
const lastWordTime = time.Second

// end makes every Read fail from now on, and closes the connection after lastWordTime.
func (b *bond) end(why reason) {
	b.ended.Store(&refusedError{"it is no longer accepted: " + why.text, net.ErrClosed})
	b.forget()
	b.SetReadDeadline(time.Unix(1, 0)) // ends a Read that waits
	time.AfterFunc(lastWordTime, func() { b.Close() })
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

// register is called at the end of a handshake, with the authorities and lists of its beginning. It
// refuses a certificate that is revoked, and adds b, if it is not nil, to the bonds when the other
// end has shown a certificate.
func (s *Set) register(b *bond, seen tls.ConnectionState, t *trust) error {
	if err := t.check(seen.VerifiedChains); err != nil || b == nil || len(seen.VerifiedChains) == 0 {
		return err
	}
	if !s.bonds.add(b, seen) {
		return net.ErrClosed
	}
	if newer := s.current.Load().trust; newer != t { // endRefused may have run before b was added
		if err := newer.recheck(b, time.Now()); err != nil {
			b.forget()
			return err
		}
	}
	return nil
}

// add adds a connection after its handshake, and reports false when it is closed already.
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

// ending is what connections that were ended have in common if they share a line in the log.
type ending struct {
	with, subject, serial string
	reason
}

// endRefused ends the connections whose certificates are no longer accepted. In the grace time it
// spares those that the other end has made, unless the certificate is revoked.
func (s *Set) endRefused(now time.Time, grace bool) {
	st, ended := s.current.Load(), map[ending]int{}
	for _, b := range s.bonds.list() {
		if err := st.trust.recheck(b, now); err != nil {
			why := st.explain(err, !b.called)
			if grace && !b.called && why.word != "revoked" {
				continue
			}
			b.end(why)
			ended[ending{host(b.RemoteAddr()), subject(b.shown[0]), serial(b.shown[0].SerialNumber), why}]++
		}
	}
	for e, n := range ended {
		d, suppressed := s.ends.record(e.word, n, refusal{e.with, e.serial + " " + e.text}, now)
		if d == skip {
			continue
		}
		s.log.Warn("ended connections whose certificate is no longer accepted", "with", e.with, "subject", e.subject,
			"serial", e.serial, "connections", n, "reason", e.word, "why", e.text, "timesBefore", suppressed)
		if d == logLast {
			s.log.Warn("connections with many certificates end; for a minute, more are counted and not logged")
		}
	}
}

// recheck returns why the certificate of a connection is no longer accepted. That it has expired
// since the handshake is no reason: it is verified as of then, and as of now, because a renewed
// authority may not have been valid then.
func (t *trust) recheck(b *bond, now time.Time) (err error) {
	if slices.ContainsFunc(b.chains, t.stillTrusts) {
		return nil
	}
	for _, at := range []time.Time{b.at, now} {
		why := t.verifyAt(b, at)
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

// stillTrusts reports whether a chain that was verified before still leads to a trusted authority
// and has no revoked certificate.
func (t *trust) stillTrusts(chain []*x509.Certificate) bool {
	return slices.ContainsFunc(t.all, chain[len(chain)-1].Equal) && t.checkChain(chain) == nil
}

// verifyAt verifies the certificate of a connection as a handshake at that time would.
func (t *trust) verifyAt(b *bond, at time.Time) error {
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

// Ended calls yield with each reason for which connections were ended, in order, and their number.
func (s *Set) Ended(yield func(reason string, count uint64)) { s.ends.each(yield) }
