package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"etcd2/http/certs/certstest"
)

// world is the files of one port, their authority, and the port's log.
type world struct {
	t   *testing.T
	dir string
	ca  *certstest.Authority
	log *lockedBuffer
	Files
}

type lockedBuffer struct {
	mu sync.Mutex // protects b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was logged since the last call.
func (l *lockedBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), ca: certstest.NewAuthority(t, "Right CA"), log: new(lockedBuffer)}
	w.Cert, w.Key = w.ca.Issue(t, "m0").Save(t, w.dir, "m0")
	w.CA = certstest.Write(t, w.dir, "ca.pem", w.ca.PEM())
	w.ClientAuth = true
	return w
}

func (w *world) load() *Set {
	w.t.Helper()
	s, err := Load(w.Files, slog.New(slog.NewTextHandler(w.log, nil)))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// shake makes a handshake between a client and a server, and returns the result at each end. Errors
// of the server are passed to Refused.
func shake(t *testing.T, s *Set, client *tls.Config) (seen tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	ln := listen(t)
	served := make(chan error)
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			served <- err
			return
		}
		defer raw.Close()
		c := tls.Server(raw, s.Server("h2", "http/1.1"))
		if err = c.Handshake(); err != nil {
			s.Refused(c, err)
		} else {
			seen = c.ConnectionState()
			io.WriteString(c, ".")
		}
		served <- err
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), client)
	if err == nil {
		_, err = c.Read(make([]byte, 1)) // in TLS 1.3 the server's refusal comes after the client's handshake
		c.Close()
	}
	return seen, <-served, err
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func hasAll(s string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}

// client returns the configuration of a client that shows a certificate and trusts the authority.
func (w *world) client(p ...certstest.Pair) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(w.ca.Cert)
	c := &tls.Config{RootCAs: pool}
	for _, p := range p {
		pair := p.TLS(w.t)
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return c
}

// pitfall K3
func TestEveryWrongCertificateIsRefusedWithAReason(t *testing.T) {
	w := newWorld(t)
	other, namesake := certstest.NewAuthority(t, "Wrong CA"), certstest.NewAuthority(t, "Right CA")
	revoked := w.ca.Issue(t, "revoked")
	w.CRL = certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t, revoked))
	s := w.load()
	counts := map[string]uint64{}
	for name, c := range map[string]struct {
		shown []certstest.Pair
		word  string
		text  []string
	}{
		"expired": {[]certstest.Pair{w.ca.Issue(t, "joe", certstest.Valid(-time.Hour, -time.Minute))},
			"expired", []string{"CN=joe", date(time.Now().Add(-time.Minute))[:13]}},
		"not yet valid": {[]certstest.Pair{w.ca.Issue(t, "joe", certstest.Valid(time.Hour, 2*time.Hour))},
			"not-yet-valid", []string{"CN=joe", "valid from " + date(time.Now().Add(time.Hour))[:13]}},
		"wrong CA": {[]certstest.Pair{other.Issue(t, "joe")}, "authority", []string{"CN=joe",
			"issued by CN=Wrong CA;", "trusts CN=Right CA", w.CA}},
		"namesake CA": {[]certstest.Pair{namesake.Issue(t, "joe")},
			"authority", []string{"issued by CN=Right CA, which has the name of a trusted one", "another key"}},
		"wrong usage": {[]certstest.Pair{w.ca.Issue(t, "joe", certstest.Used(x509.ExtKeyUsageServerAuth))},
			"usage", []string{"lacks the usage clientAuth", "has serverAuth"}},
		"revoked": {[]certstest.Pair{revoked}, "revoked", []string{"CN=revoked",
			serial(revoked.Leaf.SerialNumber), w.CRL}},
		"self-signed": {[]certstest.Pair{certstest.SelfSigned(t, "joe")}, "self-signed", []string{"signed by itself",
			"trusts CN=Right CA"}},
		"none": {nil, "no-certificate", []string{"shows no certificate", "trusts CN=Right CA"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				w.log.take()
				clear(s.logged)
				config := w.client(c.shown...)
				config.MaxVersion = version

				_, serverErr, clientErr := shake(t, s, config)

				line := w.log.take()
				if serverErr == nil || clientErr == nil {
					t.Fatalf("TLS %x: server %v, client %v", version, serverErr, clientErr)
				}
				if strings.Count(line, "\n") != 1 || !hasAll(line, append(c.text, "reason="+c.word, "level=WARN",
					"from=127.0.0.1")...) {
					t.Errorf("TLS %x: %v\nis logged as\n%s", version, serverErr, line)
				}
			}
		})
		counts[c.word] += 2
	}
	s.Refusals(func(word string, n uint64) {
		if counts[word] != n {
			t.Errorf("%s is counted %d times, want %d", word, n, counts[word])
		}
	})
}

func TestARightCertificateIsSeenWithItsChain(t *testing.T) {
	w := newWorld(t)
	for _, must := range []bool{true, false} {
		w.ClientAuth = must
		s := w.load()
		seen, serverErr, clientErr := shake(t, s,
			w.client(w.ca.Issue(t, "joe", certstest.Used(x509.ExtKeyUsageClientAuth))))

		if serverErr != nil || clientErr != nil || len(seen.VerifiedChains) != 1 ||
			seen.VerifiedChains[0][0].Subject.CommonName != "joe" {
			t.Errorf("must %v: server %v, client %v, seen %v", must, serverErr, clientErr, seen.VerifiedChains)
		}
	}
}

func TestWithoutClientAuthACertificateIsNotNeededButMustBeRight(t *testing.T) {
	w := newWorld(t)
	w.ClientAuth = false
	s := w.load()

	seen, serverErr, clientErr := shake(t, s, w.client())
	if serverErr != nil || clientErr != nil || len(seen.VerifiedChains) != 0 {
		t.Errorf("without one: server %v, client %v, seen %v", serverErr, clientErr, seen.VerifiedChains)
	}
	if _, serverErr, _ := shake(t, s, w.client(certstest.SelfSigned(t, "joe"))); serverErr == nil {
		t.Error("a wrong one is accepted")
	}
}

// pitfall K1
func TestNothingOlderThanTLS12IsSpoken(t *testing.T) {
	w := newWorld(t)
	s := w.load()
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true,
		tls.VersionTLS13: true} {
		config := w.client(w.ca.Issue(t, "joe"))
		config.MinVersion, config.MaxVersion = version, version
		clear(s.logged)
		seen, err, _ := shake(t, s, config)
		if (err == nil) != want || want && seen.Version != version {
			t.Errorf("version %x: %v", version, err)
		}
		if line := w.log.take(); !want && !hasAll(line, "reason=version", "TLS of 1.2") {
			t.Errorf("version %x is refused with %s", version, line)
		}
	}
	if config := s.Client(); config.MinVersion != tls.VersionTLS12 {
		t.Errorf("members are called with version %x at the least", config.MinVersion)
	}
}

func TestHTTP2IsOffered(t *testing.T) {
	w := newWorld(t)
	s := w.load()
	config := w.client(w.ca.Issue(t, "joe"))
	config.NextProtos = []string{"http/1.1", "h2"}

	seen, err, _ := shake(t, s, config)

	if err != nil || seen.NegotiatedProtocol != "h2" {
		t.Errorf("%v: %q", err, seen.NegotiatedProtocol)
	}
}

// The log has the reason that the client gives, and describes the certificate that it has seen.
func TestAClientThatRefusesIsLogged(t *testing.T) {
	w := newWorld(t)
	s := w.load()
	config := w.client(w.ca.Issue(t, "joe"))
	config.RootCAs, config.ServerName = x509.NewCertPool(), "db.example"

	_, err, _ := shake(t, s, config)

	if line := w.log.take(); err == nil || !hasAll(line, "reason=refused-there", "CN=m0", "issued by CN=Right CA",
		"127.0.0.1", w.Cert, "it wanted db.example") {
		t.Errorf("%v is logged as %s", err, line)
	}
}

// OpenSSL, and so curl, sends the alert that refuses a certificate in plain text, where TLS 1.3
// wants it encrypted.
func TestAClientThatRefusesInPlainTextIsLogged(t *testing.T) {
	w := newWorld(t)
	s := w.load()
	ln := listen(t)
	go func() {
		raw, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return // which the server notices
		}
		defer raw.Close()
		config := w.client(w.ca.Issue(t, "joe"))
		config.ServerName = "localhost"
		config.VerifyConnection = func(tls.ConnectionState) error {
			raw.Write([]byte{21, 3, 3, 0, 2, 2, 48}) // alert, fatal, unknown authority
			raw.Close()
			return io.EOF
		}
		tls.Client(raw, config).Handshake() // fails as it is told
	}()
	raw, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()

	s.Refused(raw, tls.Server(raw, s.Server()).Handshake())

	if line := w.log.take(); !hasAll(line, "reason=refused-there", "bad certificate", "CN=m0",
		"issued by CN=Right CA") {
		t.Error(line)
	}
}

func TestAHandshakeThatIsNotBegunIsLoggedAtDebug(t *testing.T) {
	w := newWorld(t)
	s := w.load()
	ln := listen(t)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	raw, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.Refused(raw, tls.Server(raw, s.Server()).Handshake())

	s.Refusals(func(word string, n uint64) {
		if word != "hung-up" || n != 1 {
			t.Errorf("%s: %d", word, n)
		}
	})
	if line := w.log.take(); line != "" {
		t.Error(line)
	}
}

// serve runs a server that answers each connection with a byte, over TLS, or without a certificate,
// with a plain HTTP answer.
func serve(t *testing.T, config *tls.Config) (address string) {
	t.Helper()
	ln := listen(t)
	go func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer raw.Close()
				if config == nil {
					raw.Read(make([]byte, 512))
					io.WriteString(raw, "HTTP/1.1 400 Bad Request\r\n\r\n")
					return
				}
				c := tls.Server(raw, config)
				c.Write([]byte(".")) // fails when it is refused
				raw.Read(make([]byte, 512))
			}()
		}
	}()
	return ln.Addr().String()
}

func TestAWrongMemberIsRefused(t *testing.T) {
	w := newWorld(t)
	revoked := w.ca.Issue(t, "m1")
	w.CRL = certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t, revoked))
	s := w.load()
	shows := func(p certstest.Pair) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{p.TLS(t)}} }
	for name, c := range map[string]struct {
		server *tls.Config
		text   []string // of the error; none: it is talked to
	}{
		"right":       {shows(w.ca.Issue(t, "m1")), nil},
		"server only": {shows(w.ca.Issue(t, "m1", certstest.Used(x509.ExtKeyUsageServerAuth))), nil},
		"expired": {shows(w.ca.Issue(t, "m1", certstest.Valid(-time.Hour, -time.Minute))),
			[]string{"CN=m1", "expired on"}},
		"wrong CA": {shows(certstest.NewAuthority(t, "Wrong CA").Issue(t, "m1")), []string{"issued by CN=Wrong CA",
			"trusts CN=Right CA"}},
		"wrong usage": {shows(w.ca.Issue(t, "m1", certstest.Used(x509.ExtKeyUsageClientAuth))),
			[]string{"lacks the usage serverAuth"}},
		"wrong name": {shows(w.ca.Issue(t, "m1", certstest.For("db.example", "10.0.0.1"))),
			[]string{"127.0.0.1 was wanted", "db.example, 10.0.0.1"}},
		// pitfall K4
		"CN only": {shows(w.ca.Issue(t, "127.0.0.1", certstest.For())), []string{"127.0.0.1 was wanted",
			"no name or address (subjectAltName)"}},
		"self-signed": {shows(certstest.SelfSigned(t, "m1")), []string{"signed by itself"}},
		"revoked":     {shows(revoked), []string{"was revoked"}},
		"plain":       {nil, []string{"does not speak TLS", "http URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := s.DialTLS(t.Context(), "tcp", serve(t, c.server))
			if err == nil {
				_, err = conn.Read(make([]byte, 1))
				conn.Close()
			}

			if (err == nil) != (c.text == nil) || err != nil && !hasAll(err.Error(), c.text...) {
				t.Errorf("%v, want %q", err, c.text)
			}
		})
	}
}

// Where names are allowed, a certificate with another name is refused in both directions, and the
// log says which it was.
func TestOnlyMembersWithAllowedNamesAreAccepted(t *testing.T) {
	w := newWorld(t)
	w.Names, w.Mutual = []string{"m0", "m1"}, true
	s := w.load()
	if line := w.log.take(); line != "" {
		t.Errorf("at the start: %s", line)
	}
	for name, right := range map[string]bool{"m1": true, "joe": false, "": false, "m": false, "m0,m1": false} {
		p := w.ca.Issue(t, name)
		_, called, _ := shake(t, s, w.client(p))
		line := w.log.take()
		conn, calling := s.DialTLS(t.Context(), "tcp", serve(t, &tls.Config{Certificates: []tls.Certificate{p.TLS(t)}}))
		if calling == nil {
			conn.Close()
		}

		if (called == nil) != right || (calling == nil) != right {
			t.Errorf("%q calls: %v; is called: %v", name, called, calling)
		}
		if words := []string{"reason=common-name", serial(p.Leaf.SerialNumber), "m0", "m1", "from=127.0.0.1"}; !right &&
			(!hasAll(line, words...) || !hasAll(calling.Error(), "m0")) {
			t.Errorf("%q is logged as %s, and at the other end %v", name, line, calling)
		}
	}
	w.Names = []string{"m1"}
	w.load()
	if line := w.log.take(); !hasAll(line, "others will refuse", "CN=m0", "m1", "remedy") {
		t.Errorf("a member whose own name is not in the list is told %s", line)
	}
}

func TestARefusedMemberLearnsWhichCertificateItShowed(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	s := w.load()
	config := other.load().Server("http/1.1")

	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		inner := config.Clone()
		inner.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := config.GetConfigForClient(h)
			c.MaxVersion, c.Certificates = version, []tls.Certificate{w.ca.Issue(t, "m1").TLS(t)}
			return c, err
		}
		conn, err := s.DialTLS(t.Context(), "tcp", serve(t, inner))
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}

		if err == nil || !hasAll(err.Error(), "refuses", "CN=m0", "issued by CN=Right CA", "any") &&
			!hasAll(err.Error(), "refuses", "CN=m0", "clientAuth", w.Cert) {
			t.Errorf("TLS %x: %v", version, err)
		}
	}
}

// pitfall K2
func TestAChangedPairIsReadWhenItIsWhole(t *testing.T) {
	w := newWorld(t)
	s := w.load()
	client := w.client(w.ca.Issue(t, "joe"))
	next := w.ca.Issue(t, "m0")
	shown := func() string {
		t.Helper()
		var number string
		client.VerifyConnection = func(cs tls.ConnectionState) error {
			number = serial(cs.PeerCertificates[0].SerialNumber)
			return nil
		}
		if _, serverErr, err := shake(t, s, client); err != nil || serverErr != nil {
			t.Fatal(err, serverErr)
		}
		return number
	}
	old := shown()
	step := func(what string, change func(), want string, words ...string) {
		t.Helper()
		w.log.take()
		change()
		for range 3 {
			s.look(time.Now())
		}
		if got := shown(); got != want {
			t.Errorf("%s: %s is shown, want %s", what, got, want)
		}
		if line := w.log.take(); strings.Count(line, "\n") != min(len(words), 1) || !hasAll(line, words...) {
			t.Errorf("%s: logged is\n%s", what, line)
		}
	}

	step("nothing", func() {}, old)
	step("the key first", func() { certstest.Write(t, w.dir, "m0-key.pem", next.Key) }, old, "level=ERROR",
		"the previous ones stay in use", w.Key, "not the key of the certificate", w.Cert)
	step("half a certificate", func() { os.WriteFile(w.Cert, next.Cert[:len(next.Cert)/2], 0o600) }, old,
		w.Cert, "cut off")
	step("no certificate", func() { os.Remove(w.Cert) }, old, w.Cert, "no such file")
	step("the whole", func() { certstest.Write(t, w.dir, "m0.pem", next.Cert) }, serial(next.Leaf.SerialNumber),
		"level=INFO", w.Cert)
	step("an empty key", func() { os.WriteFile(w.Key, nil, 0o600) }, serial(next.Leaf.SerialNumber), w.Key,
		"no key in it")
	expired := w.ca.Issue(t, "m0", certstest.Valid(-time.Hour, -time.Minute))
	step("an expired one", func() { expired.Save(t, w.dir, "m0") }, serial(next.Leaf.SerialNumber), w.Cert,
		"has expired on")
	later := w.ca.Issue(t, "m0")
	step("a good one", func() { later.Save(t, w.dir, "m0") }, serial(later.Leaf.SerialNumber), "level=INFO")
}

// A write of the same size, in the same instant as the one before, changes neither the time nor the
// size of a file.
func TestAChangeWithoutATraceIsSeen(t *testing.T) {
	w := newWorld(t)
	s := w.load()
	for range 20 {
		next := w.ca.Issue(t, "m0")
		os.WriteFile(w.Cert, next.Cert, 0o600)
		os.WriteFile(w.Key, next.Key, 0o600)
		s.look(time.Now())
		if got := s.current.Load().identity.Leaf.SerialNumber; got.Cmp(next.Leaf.SerialNumber) != 0 {
			t.Fatalf("%v is in force, want %v", got, next.Leaf.SerialNumber)
		}
	}
}

func TestFilesThatHaveSettledAreNotReadAgain(t *testing.T) {
	w := newWorld(t)
	s := w.load()
	s.look(time.Now().Add(time.Hour))
	read := s.identity.read
	s.identity.sum[0]++ // reading would make a new value of the same files
	s.identity.read = func(contents [][]byte, now time.Time) (*identity, error) {
		t.Error("read")
		return read(contents, now)
	}

	s.look(time.Now().Add(2 * time.Hour))
}

func TestRereadingLogsItsResult(t *testing.T) {
	w := newWorld(t)
	s := w.load()
	w.log.take()

	s.Reread()
	same := w.log.take()
	good, err := os.ReadFile(w.Cert)
	if err := errors.Join(err, os.WriteFile(w.Cert, []byte("nothing"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s.Reread()
	w.log.take()
	s.Reread()
	bad := w.log.take()
	if err := os.WriteFile(w.Cert, good, 0o600); err != nil {
		t.Fatal(err)
	}
	w.Cert, w.Key = w.ca.Issue(t, "m1").Save(t, w.dir, "m0")
	s.Reread()
	changed := w.log.take()

	if !strings.Contains(same, "the certificates are as before") || !strings.Contains(bad, "can't be used") ||
		!strings.Contains(changed, "read changed certificates") {
		t.Errorf("unchanged: %s\nspoilt, for the second time: %s\nchanged: %s", same, bad, changed)
	}
}

func TestAHandshakeLooksAtTheFilesOnceASecond(t *testing.T) {
	w := newWorld(t)
	s := w.load()
	next := w.ca.Issue(t, "m0")
	s.state()
	next.Save(t, w.dir, "m0")
	s.due.Store(time.Now().Add(time.Hour).UnixNano())
	if got := s.state().identity.Leaf; got.SerialNumber.Cmp(next.Leaf.SerialNumber) == 0 {
		t.Error("it has looked before it was due")
	}

	s.due.Store(0)

	if got := s.state().identity.Leaf; got.SerialNumber.Cmp(next.Leaf.SerialNumber) != 0 {
		t.Error("it has not looked")
	}
	if wait := time.Until(time.Unix(0, s.due.Load())); wait <= 0 || wait > lookAgain {
		t.Errorf("it looks again in %v", wait)
	}
}

// pitfall K2
func TestAuthorityAndListAreReadAgain(t *testing.T) {
	w := newWorld(t)
	joe := w.ca.Issue(t, "joe")
	w.CRL = certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t))
	s := w.load()
	refused := func(p certstest.Pair) bool {
		t.Helper()
		s.look(time.Now())
		_, err, _ := shake(t, s, w.client(p))
		return err != nil
	}
	if refused(joe) {
		t.Error("joe is refused at first")
	}

	certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t, joe))
	if !refused(joe) {
		t.Error("joe is revoked and accepted")
	}
	other := certstest.NewAuthority(t, "New CA")
	ann := other.Issue(t, "ann")
	if !refused(ann) {
		t.Error("ann is of an authority that is not trusted, and accepted")
	}
	certstest.Write(t, w.dir, "ca.pem", append(w.ca.PEM(), other.PEM()...))
	if refused(ann) || !refused(joe) {
		t.Error("both authorities are trusted, and ann is refused or joe accepted")
	}
	certstest.Write(t, w.dir, "crl.pem", other.Revoke(t))
	certstest.Write(t, w.dir, "ca.pem", other.PEM())
	if refused(ann) || !refused(w.ca.Issue(t, "jim")) {
		t.Error("the new authority alone is trusted, and ann is refused or jim accepted")
	}
}

// An authority that was replaced under its old name may use the same serial numbers again.
func TestAListRevokesNobodyOfAnotherAuthority(t *testing.T) {
	w := newWorld(t)
	namesake := certstest.NewAuthority(t, "Right CA")
	joe := w.ca.Issue(t, "joe")
	twin := namesake.Issue(t, "twin", func(c *x509.Certificate) { c.SerialNumber = joe.Leaf.SerialNumber })
	w.CA = certstest.Write(t, w.dir, "ca.pem", append(w.ca.PEM(), namesake.PEM()...))
	w.CRL = certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t, joe))
	s := w.load()

	if _, err, _ := shake(t, s, w.client(joe)); err == nil {
		t.Error("the one who is revoked is accepted")
	}
	if _, err, _ := shake(t, s, w.client(twin)); err != nil {
		t.Errorf("the one of the same number: %v", err)
	}
}

func TestFilesThatCannotBeUsedAreRefusedAtTheStart(t *testing.T) {
	w := newWorld(t)
	other := certstest.NewAuthority(t, "Wrong CA")
	write := func(name string, content []byte) string { return certstest.Write(t, w.dir, name, content) }
	_, otherKey := other.Issue(t, "m0").Save(t, w.dir, "other")
	der := w.ca.Revoke(t)
	for name, c := range map[string]struct {
		change func(f *Files)
		part   Part
		words  []string
	}{
		"no certificate": {func(f *Files) { f.Cert = filepath.Join(w.dir, "none") }, Cert,
			[]string{"no such file"}},
		"no key":             {func(f *Files) { f.Key = filepath.Join(w.dir, "none") }, Key, []string{"no such file"}},
		"key as certificate": {func(f *Files) { f.Cert = f.Key }, Cert, []string{"no certificate in it"}},
		"certificate as key": {func(f *Files) { f.Key = f.Cert }, Key, []string{"not the key"}},
		"other key": {func(f *Files) { f.Key = otherKey }, Key, []string{"not the key of the certificate in " +
			w.Cert}},
		"encrypted key": {func(f *Files) { f.Key = write("e", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")) },
			Key, []string{"encrypted"}},
		"no authority":      {func(f *Files) { f.CA = write("c", []byte("x")) }, CA, []string{"no certificate in it"}},
		"half an authority": {func(f *Files) { f.CA = write("h", w.ca.PEM()[:99]) }, CA, []string{"cut off"}},
		"garbled authority": {func(f *Files) {
			f.CA = write("g", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
		}, CA, []string{"x509"}},
		"directory": {func(f *Files) { f.CA = w.dir }, CA, []string{"directory"}},
		"no list":   {func(f *Files) { f.CRL = f.CA }, CRL, []string{"no revocation list in it"}},
		"list of nobody": {func(f *Files) { f.CRL = write("w", other.Revoke(t)) }, CRL,
			[]string{"signed by CN=Wrong CA", "none of the trusted"}},
		"half a list": {func(f *Files) { f.CRL = write("l", der[:99]) }, CRL, []string{"cut off"}},
		"list of a double": {func(f *Files) { f.CRL = write("d", certstest.NewAuthority(t, "Right CA").Revoke(t)) },
			CRL, []string{"key that is not theirs"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := w.Files
			c.change(&f)

			_, err := Load(f, nil)

			var file *FileError
			if !errors.As(err, &file) || file.Part != c.part || file.Remedy == "" || !hasAll(err.Error(),
				append(c.words, file.Path)...) {
				t.Errorf("%v, want %s %q", err, c.part, c.words)
			}
		})
	}
}

func TestExpiryIsAnnouncedInTime(t *testing.T) {
	w := newWorld(t)
	const day = 24 * time.Hour
	pair := w.ca.Issue(t, "m0", certstest.Valid(-day, 99*day))
	pair.Save(t, w.dir, "m0")
	w.CRL = certstest.Write(t, w.dir, "crl.pem", w.ca.Revoke(t))
	s := w.load()

	var got []string
	s.Expiries(func(file, subject, serial string, end time.Time) {
		got = append(got, filepath.Base(file)+" "+subject)
		if file == w.Cert && (!end.Equal(pair.Leaf.NotAfter) || serial != pair.Leaf.SerialNumber.Text(16)) {
			t.Errorf("%s %s ends %v, want %v", file, serial, end, pair.Leaf.NotAfter)
		}
	})
	if want := "m0.pem CN=m0, ca.pem CN=Right CA, crl.pem CN=Right CA"; strings.Join(got, ", ") != want {
		t.Errorf("told is %q, want %q", got, want)
	}
	lines := func(after time.Duration) string {
		s.look(time.Now().Add(after))
		var about []string
		for line := range strings.Lines(w.log.take()) {
			if strings.Contains(line, "file="+w.Cert+" ") {
				about = append(about, line)
			}
		}
		return strings.Join(about, "")
	}
	if line := lines(69 * day); line != "" {
		t.Errorf("31 days before: %s", line)
	}
	if line := lines(75 * day); !hasAll(line, "level=WARN", "expires soon", w.Cert, date(pair.Leaf.NotAfter)) {
		t.Errorf("24 days before: %s", line)
	}
	if line := lines(75*day + time.Hour); line != "" {
		t.Errorf("an hour later again: %s", line)
	}
	if line := lines(100 * day); !hasAll(line, "level=ERROR", "has expired") {
		t.Errorf("after it: %s", line)
	}
}

func TestAShortLivedCertificateIsAnnouncedInItsLastQuarter(t *testing.T) {
	w := newWorld(t)
	s := w.load() // an hour
	if line := w.log.take(); line != "" {
		t.Error(line)
	}

	s.look(time.Now().Add(50 * time.Minute))

	if line := w.log.take(); !hasAll(line, "expires soon", w.Cert) {
		t.Error(line)
	}
}

// pitfall K13
func TestAKeyThatEverybodyCanReadIsWarnedOf(t *testing.T) {
	w := newWorld(t)
	if err := os.Chmod(w.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	s := w.load()
	s.look(time.Now())

	if line := w.log.take(); strings.Count(line, "\n") != 1 || !hasAll(line, "level=WARN", w.Key, "chmod 600") {
		t.Error(line)
	}
}

func TestACertificateThatOtherMembersWillRefuseIsReported(t *testing.T) {
	w := newWorld(t)
	other := certstest.NewAuthority(t, "Wrong CA")
	for name, c := range map[string]struct {
		pair   certstest.Pair
		mutual bool
		words  []string
	}{
		"right":    {w.ca.Issue(t, "m0"), true, nil},
		"wrong CA": {other.Issue(t, "m0"), true, []string{"issued by CN=Wrong CA"}},
		"server only": {w.ca.Issue(t, "m0", certstest.Used(x509.ExtKeyUsageServerAuth)), true,
			[]string{"lacks the usage clientAuth", "flag=--peer-cert-file", "serverAuth and clientAuth"}},
		"server only to clients": {other.Issue(t, "m0", certstest.Used(x509.ExtKeyUsageServerAuth)), false, nil},
		"client only to clients": {other.Issue(t, "m0", certstest.Used(x509.ExtKeyUsageClientAuth)), false,
			[]string{"lacks the usage serverAuth"}},
	} {
		c.pair.Save(t, w.dir, "m0")
		w.Mutual, w.flag = c.mutual, "--peer-cert-file"
		w.load()
		line := w.log.take()
		if (line == "") != (c.words == nil) || !hasAll(line, c.words...) || c.words != nil &&
			!hasAll(line, "others will refuse", w.Cert) {
			t.Errorf("%s: %s", name, line)
		}
	}
}

func TestARefusalThatRepeatsDoesNotFillTheLog(t *testing.T) {
	var r refusals
	now := time.Now()
	spokenOf := func(from string, after time.Duration) (decision, int) {
		return r.record("x", 1, refusal{from, "y"}, now.Add(after))
	}

	if v, _ := spokenOf("a", 0); v != logIt {
		t.Error("the first is skip")
	}
	for range 5 {
		if v, _ := spokenOf("a", time.Second); v != skip {
			t.Error("it is repeated")
		}
	}
	if v, kept := spokenOf("a", refusalPause); v != logIt || kept != 5 {
		t.Errorf("later it is %v, after %d", v, kept)
	}
	for i := range 1000 {
		spokenOf(strings.Repeat("b", i+1), refusalPause)
	}
	if len(r.logged) != maxLines || r.counts["x"] != 1007 {
		t.Errorf("%d lines, %d counted", len(r.logged), r.counts["x"])
	}
	if v, _ := spokenOf("c", 2*refusalPause); v != logIt {
		t.Error("a flood keeps another from the log for ever")
	}
}

func TestTLSOnAPlainPortIsExplained(t *testing.T) {
	log := new(lockedBuffer)
	s, err := Load(Files{}, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	c, _ := net.Pipe()
	s.Refused(c, tls.RecordHeaderError{RecordHeader: [5]byte{22, 3, 1}})
	s.Refused(c, tls.RecordHeaderError{RecordHeader: [5]byte{'G', 'E', 'T'}})

	if text := log.take(); !hasAll(text, "reason=tls-on-plain", "use an http URL", "reason=plain-on-tls",
		"use an https URL") {
		t.Error(text)
	}
}

func TestASelfMadeCertificateIsPrivateAndLasts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "fixtures", "peer")
	f := Files{SelfMade: dir, Hosts: []string{"127.0.0.1", "db.example"}}
	s, err := Load(f, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	made := s.current.Load().identity.Leaf
	certPath, keyPath := ownPaths(dir)
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Dir(dir): 0o700, certPath: 0o600,
		keyPath: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v, want %v", path, info.Mode(), err, want)
		}
	}
	if made.VerifyHostname("127.0.0.1") != nil || made.VerifyHostname("db.example") != nil ||
		time.Until(made.NotAfter) < 364*24*time.Hour {
		t.Errorf("it is for %s until %v", names(made), made.NotAfter)
	}

	again, err := Load(f, slog.New(slog.DiscardHandler))
	if err != nil || !again.current.Load().identity.Leaf.Equal(made) {
		t.Errorf("%v: a second start has made another one", err)
	}
	f.Hosts = append(f.Hosts, "10.0.0.1")
	moved, err := Load(f, slog.New(slog.DiscardHandler))
	if err != nil || moved.current.Load().identity.Leaf.VerifyHostname("10.0.0.1") != nil {
		t.Errorf("%v: a further address is not in it", err)
	}
	moved.look(time.Now().Add(ownLife - ownRenew + time.Hour))
	if renewed := moved.current.Load().identity.Leaf; time.Until(renewed.NotAfter) < ownLife {
		t.Errorf("it is not renewed in time: %v", renewed.NotAfter)
	}
}

func TestMembersWithSelfMadeCertificatesTalk(t *testing.T) {
	own := func() *Set {
		s, err := Load(Files{SelfMade: filepath.Join(t.TempDir(), "own"), Hosts: []string{"a.example"}},
			slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	conn, err := own().DialTLS(t.Context(), "tcp", serve(t, own().Server("http/1.1")))

	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// No content of a file makes the parsers panic: it is read or refused.
func FuzzReadFiles(f *testing.F) {
	ca := certstest.NewAuthority(f, "CA")
	pair := ca.Issue(f, "m0")
	for _, b := range [][]byte{nil, ca.PEM(), pair.Cert, pair.Key, ca.Revoke(f, pair), ca.PEM()[:50],
		[]byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if trust, err := readTrust(&Files{CA: "ca", CRL: "crl"}, [][]byte{ca.PEM(), b}); err == nil &&
			len(trust.lists) == 0 {
			t.Error("a list without lists")
		}
		if trust, err := readTrust(&Files{CA: "ca"}, [][]byte{b}); err == nil && len(trust.all) == 0 {
			t.Error("nobody is trusted")
		}
		if id, err := readIdentity("cert", "key", [][]byte{b, b}); err == nil && id.Leaf == nil {
			t.Error("no certificate")
		}
	})
}
