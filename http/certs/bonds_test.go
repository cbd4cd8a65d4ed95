package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	_ "etcd2/e2e/pace" // -long
	"etcd2/http/certs/certstest"
)

// echoing serves a Set as a port does, and echoes what comes over a connection.
func echoing(t *testing.T, s *Set) (address string) {
	t.Helper()
	ln := tls.NewListener(s.Listener(listen(t)), s.Server("http/1.1"))
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c) // ends when the connection does
			}()
		}
	}()
	return ln.Addr().String()
}

// held is a connection that the client keeps open.
type held struct {
	net.Conn
	t *testing.T
}

// hold connects to an echoing port.
func (w *world) hold(address string, shown ...certstest.Pair) held {
	w.t.Helper()
	c, err := tls.Dial("tcp", address, w.client(shown...))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	h := held{c, w.t}
	h.lives("at first")
	return h
}

func (h held) lives(when string) {
	h.t.Helper()
	h.SetDeadline(time.Now().Add(time.Minute))
	got := make([]byte, 5)
	if _, err := io.WriteString(h, "hello"); err != nil {
		h.t.Errorf("%s: %v", when, err)
	}
	if _, err := io.ReadFull(h, got); err != nil || string(got) != "hello" {
		h.t.Errorf("%s: %q, %v", when, got, err)
	}
}

func (h held) ends(when string) (err error) {
	h.t.Helper()
	h.SetDeadline(time.Now().Add(time.Minute))
	if _, err = h.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		h.t.Errorf("%s: it goes on: %v", when, err)
	}
	return err
}

// awaitBonds waits until the Set has n bonds.
func awaitBonds(t *testing.T, s *Set, n int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); len(s.bonds.list()) != n; <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("there are %d bonds, want %d", len(s.bonds.list()), n)
		}
	}
}

// change has the Set look at changed files until it has ended connections for them.
func (w *world) change(s *Set, now time.Time) {
	w.t.Helper()
	if wait := s.look(now); wait != lookAgain {
		w.t.Errorf("nothing is to settleTime: the next look is in %v", wait)
	}
	if wait := s.look(now.Add(settleTime)); wait != lookAgain {
		w.t.Errorf("there is no graceTime: the next look is in %v", wait)
	}
	if wait := s.look(now.Add(settleTime + graceTime)); wait != lookEvery {
		w.t.Errorf("nothing has settled: the next look is in %v", wait)
	}
}

func endings(s *Set) string {
	var all []string
	s.Ended(func(reason string, count uint64) { all = append(all, fmt.Sprint(reason, " ", count)) })
	return strings.Join(all, ", ")
}

// pitfall K2
func TestARevokedCertificateLosesItsConnections(t *testing.T) {
	w := newWorld(t)
	w.CRL = certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t))
	s := w.load()
	address, joe := echoing(t, s), w.ca.Issue(t, "joe")
	first, second, ann := w.hold(address, joe), w.hold(address, joe), w.hold(address, w.ca.Issue(t, "ann"))
	certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t, joe))
	now := time.Now()

	s.look(now)
	s.look(now.Add(settleTime - 1))
	first.lives("before the list has settled")
	w.log.take()
	s.look(now.Add(settleTime))

	first.ends("revoked")
	second.ends("revoked")
	ann.lives("when another one was revoked")
	line := w.log.take()
	if strings.Count(line, "\n") != 1 || !hasAll(line, "level=WARN", "with=127.0.0.1", "CN=joe",
		"serial="+serial(joe.Leaf.SerialNumber), "connections=2", "reason=revoked", w.CRL) {
		t.Errorf("logged is\n%s", line)
	}
	if got := endings(s); got != "revoked 2" {
		t.Error(got)
	}
	awaitBonds(t, s, 1)
}

func TestARemovedAuthorityEndsConnections(t *testing.T) {
	w, there := newWorld(t), newWorld(t)
	other := certstest.NewAuthority(t, "Left CA")
	both := append(w.ca.PEM(), other.PEM()...)
	certstest.Write(t, w.dir, "ca.pem", both)
	s := w.load()
	address := echoing(t, s)
	joe, jim := w.hold(address, w.ca.Issue(t, "joe")), w.hold(address, other.Issue(t, "jim"))
	certstest.Write(t, there.dir, "ca.pem", both)
	other.Issue(t, "m9").Save(t, there.dir, "m0")
	called, err := s.DialTLS(t.Context(), "tcp", echoing(t, there.load()))
	if err != nil {
		t.Fatal(err)
	}
	defer called.Close()
	certstest.Write(t, w.dir, "ca.pem", w.ca.PEM())
	now := time.Now()

	s.look(now)
	s.look(now.Add(settleTime))
	held{called, t}.ends("its authority is gone, and it was called")
	s.look(now.Add(settleTime + graceTime - 1))
	jim.lives("as long as it may call anew by itself")
	w.log.take()
	s.look(now.Add(settleTime + graceTime))

	jim.ends("its authority is gone")
	joe.lives("when another authority is gone")
	if line := w.log.take(); !hasAll(line, "CN=jim", "issued by CN=Left CA", "reason=authority",
		"trusts CN=Right CA") || endings(s) != "authority 2" {
		t.Errorf("%s: logged is\n%s", endings(s), line)
	}
}

// An authority may get another certificate for its key: the certificates that it has signed stay
// valid.
func TestARenewedAuthorityEndsNoConnections(t *testing.T) {
	w := newWorld(t)
	w.CRL = certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t))
	s := w.load()
	pair := w.ca.Issue(t, "joe", certstest.Used(x509.ExtKeyUsageClientAuth))
	joe := w.hold(echoing(t, s), pair)
	for _, c := range []struct {
		name         string
		now          time.Duration
		begins, ends time.Duration // of the authority's certificate
	}{
		{"renewed", 0, -time.Minute, 9 * time.Hour},
		{"after joe's time", 2 * time.Hour, -time.Minute, 9 * time.Hour},
		{"that was not valid at the handshake", 45 * time.Minute, 30 * time.Minute, 9 * time.Hour},
	} {
		certstest.Write(t, w.dir, "ca.pem", w.ca.Renew(t, certstest.Valid(c.begins, c.ends)).PEM())
		w.change(s, time.Now().Add(c.now))
		joe.lives(c.name)
	}

	certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t, pair))
	w.change(s, time.Now().Add(45*time.Minute))
	joe.ends("revoked by the last one")
	if got := endings(s); got != "revoked 1" {
		t.Error(got)
	}
}

func TestExpiryEndsNoConnection(t *testing.T) {
	w := newWorld(t)
	w.CRL = certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t))
	s := w.load()
	address, late := echoing(t, s), w.ca.Issue(t, "late")
	joe, revoked := w.hold(address, w.ca.Issue(t, "joe")), w.hold(address, late)
	certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t, late))

	w.change(s, time.Now().Add(2*time.Hour)) // when all certificates have expired

	joe.lives("after its time")
	revoked.ends("revoked and expired")
	if got := endings(s); got != "revoked 1" {
		t.Error(got)
	}
}

func TestAFileThatIsBrokenOrBeingWrittenEndsNoConnections(t *testing.T) {
	w := newWorld(t)
	other := certstest.NewAuthority(t, "Second CA")
	both := append(w.ca.PEM(), other.PEM()...)
	w.CRL = certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t))
	certstest.Write(t, w.dir, "ca.pem", both)
	s := w.load()
	jim := w.hold(echoing(t, s), other.Issue(t, "jim"))
	now := time.Now()
	for what, content := range map[string][]byte{"no file": nil, "half": w.ca.PEM()[:99],
		"the first half of two": both[:len(both)-99]} {
		os.Remove(w.CA)
		if content != nil {
			os.WriteFile(w.CA, content, 0o600)
		}
		for range 3 {
			now = now.Add(time.Hour)
			s.look(now)
		}
		jim.lives(what)
	}

	// The Set looks at the file when the first of two certificates is written, then when a part of
	// the second is, and then when it is complete.
	for _, n := range []int{len(w.ca.PEM()), len(both) - 99} {
		os.WriteFile(w.CA, both[:n], 0o600)
		for range n / len(w.ca.PEM()) * 2 {
			now = now.Add(settleTime/2 - 1)
			s.look(now)
		}
		jim.lives(fmt.Sprint(n, " bytes are written"))
	}
	os.WriteFile(w.CA, both, 0o600)
	w.change(s, now.Add(time.Hour))
	jim.lives("all is written")
	if got := endings(s); got != "" {
		t.Error(got)
	}
}

func TestConnectionsToARevokedMemberEnd(t *testing.T) {
	w, there := newWorld(t), newWorld(t)
	m1, m2 := w.ca.Issue(t, "m1"), w.ca.Issue(t, "m2", certstest.Used(x509.ExtKeyUsageServerAuth))
	w.CRL = certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t))
	s := w.load()
	certstest.Write(t, there.dir, "ca.pem", w.ca.PEM())
	call := func(p certstest.Pair) held {
		p.Save(t, there.dir, "m0")
		c, err := s.DialTLS(t.Context(), "tcp", echoing(t, there.load()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		h := held{c, t}
		h.lives("at first")
		return h
	}
	bad, good := call(m1), call(m2)
	certstest.Write(t, w.dir, "ca.pem", w.ca.Renew(t).PEM())
	certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t, m1))
	waiting := make(chan error)
	go func() { waiting <- bad.ends("revoked while it is read") }()

	w.change(s, time.Now())

	for _, err := range []error{<-waiting, bad.ends("revoked")} {
		if !hasAll(err.Error(), "no longer accepted", "CN=m1", "was revoked") || !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	if _, err := io.WriteString(bad, "bye"); err != nil {
		t.Errorf("there is no last word: %v", err)
	}
	good.lives("when another one was revoked")
	good.Close()
	awaitBonds(t, s, 0)
}

func TestAClosedConnectionIsForgotten(t *testing.T) {
	w := newWorld(t)
	w.ClientAuth = false
	s := w.load()
	address, joe := echoing(t, s), w.ca.Issue(t, "joe")
	w.hold(address) // without a certificate it is not registered
	var all []held
	for range 20 {
		all = append(all, w.hold(address, joe))
	}
	awaitBonds(t, s, len(all))

	for _, h := range all {
		h.Close()
	}
	awaitBonds(t, s, 0)

	early := &bond{Conn: all[0], set: s}
	early.Close() // as the server does when a handshake takes too long
	leaf := joe.Leaf
	seen := tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf},
		VerifiedChains: [][]*x509.Certificate{{leaf, w.ca.Cert}}}
	if err := s.register(early, seen, s.current.Load().trust); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	awaitBonds(t, s, 0)
}

// The files may change between the beginning of a handshake and its end.
func TestAHandshakeThatIsUnderWayWhenItsCertificateIsRevokedIsRefused(t *testing.T) {
	w := newWorld(t)
	joe := w.ca.Issue(t, "joe")
	w.CRL = certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t))
	s := w.load()
	begun := s.current.Load()
	certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t, joe))
	w.change(s, time.Now())
	for name, want := range map[string]bool{"joe": false, "ann": true} {
		p := joe
		if name != "joe" {
			p = w.ca.Issue(t, name)
		}
		c, _ := net.Pipe()
		seen := tls.ConnectionState{PeerCertificates: []*x509.Certificate{p.Leaf},
			VerifiedChains: [][]*x509.Certificate{{p.Leaf, w.ca.Cert}}}

		err := s.register(&bond{Conn: c, set: s}, seen, begun.trust)

		if (err == nil) != want || err != nil && begun.explain(err, true).word != "revoked" {
			t.Errorf("%s: %v", name, err)
		}
	}
	awaitBonds(t, s, 1)
}

// nowhere is a connection that has nothing but an address.
type nowhere struct {
	net.Conn
	ended  bool
	closed atomic.Bool
}

func (c *nowhere) Close() error                    { c.closed.Store(true); return nil }
func (c *nowhere) SetReadDeadline(time.Time) error { c.ended = true; return nil }
func (c *nowhere) RemoteAddr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// crowd registers n connections, which take turns with some certificates.
func (w *world) crowd(s *Set, n int, shown []certstest.Pair) (all []*nowhere) {
	for i := range n {
		leaf := shown[i%len(shown)].Leaf
		seen := tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf},
			VerifiedChains: [][]*x509.Certificate{{leaf, w.ca.Cert}}}
		all = append(all, new(nowhere))
		if err := s.register(&bond{Conn: all[i], set: s}, seen, s.current.Load().trust); err != nil {
			w.t.Fatal(err)
		}
	}
	return all
}

// An owner that does not read learns nothing of the end; the connection is closed all the same.
func TestAConnectionThatWasEndedIsClosedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Load(Files{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		c := new(nowhere)

		(&bond{Conn: c, set: s}).end(reason{"revoked", "it was revoked"})

		<-time.After(lastWordTime - 1)
		if c.closed.Load() {
			t.Error("there is no time for a last word")
		}
		<-time.After(2)
		synctest.Wait()
		if !c.closed.Load() {
			t.Error("it is not closed")
		}
	})
}

func TestOfManyConnectionsTheRevokedOnesEnd(t *testing.T) {
	w := newWorld(t)
	w.CRL = certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t))
	s := w.load()
	var shown []certstest.Pair
	for i := range 600 {
		shown = append(shown, w.ca.Issue(t, fmt.Sprint("c", i)))
	}
	all := w.crowd(s, 10_000, shown)
	certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t, shown[:300]...))
	w.log.take()

	w.change(s, time.Now())

	for i, c := range all {
		if want := i%600 < 300; c.ended != want {
			t.Fatalf("connection %d has ended: %v", i, c.ended)
		}
	}
	if n := len(s.bonds.list()); n != 4900 {
		t.Errorf("%d are kept", n)
	}
	// one line for each certificate, one for the changed files, and that there are more
	if n := strings.Count(w.log.take(), "\n"); n != maxLines+2 || endings(s) != "revoked 5100" {
		t.Errorf("%s, in %d lines", endings(s), n)
	}
}

// BenchmarkRecheck measures what a change of the files costs for each connection that does not end.
func BenchmarkRecheck(b *testing.B) {
	ca := certstest.NewAuthority(b, "CA")
	t, err := readTrust(&Files{CA: "ca", CRL: "crl"}, [][]byte{ca.PEM(), ca.Revoke(b, ca.Issue(b, "joe"))})
	if err != nil {
		b.Fatal(err)
	}
	renewed, err := readTrust(&Files{CA: "ca", CRL: "crl"}, [][]byte{ca.Renew(b).PEM(), ca.Revoke(b)})
	if err != nil {
		b.Fatal(err)
	}
	leaf := ca.Issue(b, "ann").Leaf
	ann := &bond{shown: []*x509.Certificate{leaf}, chains: [][]*x509.Certificate{{leaf, ca.Cert}}, at: time.Now()}
	for name, t := range map[string]*trust{"list": t, "authority": renewed} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := t.recheck(ann, ann.at); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
