package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Set is the certificates of one port as its files have them now, or had them when they were last
// in order. All methods may be called from any goroutine. The Set of the zero Files, for a port
// without TLS, explains and counts the handshakes of clients that try TLS all the same.
type Set struct {
	files   Files
	log     *slog.Logger
	current atomic.Pointer[state]
	due     atomic.Int64 // when a handshake may look at the files again, in Unix nanoseconds
	refusals
	bonds bonds
	ends  refusals // connections that were ended

	mu           sync.Mutex // protects all below: one goroutine looks at the files at a time
	identity     source[*identity]
	trust        source[*trust]
	trustChanged time.Time            // when trust changed, until all bonds are checked by it; zero: they are
	faults       map[string]string    // the fault of each source that was logged
	warned       map[string]time.Time // when a fault of a certificate was logged, by file, subject and serial number
}

// state is the certificates of a Set at one moment. It is immutable.
type state struct {
	identity *identity // nil: none
	trust    *trust    // nil: none
}

// How often the files are looked at.
const (
	lookEvery = 5 * time.Second // without any handshake
	lookAgain = time.Second     // between two handshakes, and after a change of trust
)

// Load reads the files, which must all be in order. The error is a *FileError when a file is not. A
// nil logger means slog.Default().
func Load(f Files, logger *slog.Logger) (*Set, error) {
	if logger == nil {
		logger = slog.Default()
	}
	s := &Set{files: f, log: logger, bonds: bonds{all: map[*bond]struct{}{}}, faults: map[string]string{},
		warned: map[string]time.Time{}}
	if err := s.makeOwn(time.Now()); err != nil {
		return nil, err
	}
	if certPath, keyPath := s.paths(); certPath != "" {
		s.identity = source[*identity]{parts: []Part{Cert, Key}, paths: []string{certPath, keyPath},
			read: s.readIdentity}
	}
	if f.CA != "" {
		s.trust = source[*trust]{parts: []Part{CA}, paths: []string{f.CA}}
		if f.CRL != "" {
			s.trust.parts, s.trust.paths = append(s.trust.parts, CRL), append(s.trust.paths, f.CRL)
		}
		s.trust.read = func(contents [][]byte, _ time.Time) (*trust, error) { return readTrust(&f, contents) }
	}
	now := time.Now()
	_, err := s.identity.look(now)
	_, trustErr := s.trust.look(now)
	if err := cmp.Or(err, trustErr); err != nil {
		return nil, err
	}
	s.publish()
	s.warnOfRefusal()
	s.warnOfTrouble(now)
	return s, nil
}

// paths returns the files of certificate and key.
func (s *Set) paths() (cert, key string) {
	if s.files.SelfMade != "" {
		return ownPaths(s.files.SelfMade)
	}
	return s.files.Cert, s.files.Key
}

// readIdentity prefers a certificate that is valid now to a newer one that is not.
func (s *Set) readIdentity(contents [][]byte, now time.Time) (*identity, error) {
	certPath, keyPath := s.paths()
	id, err := readIdentity(certPath, keyPath, contents)
	if old := s.identity.value; err == nil && old != nil && checkTime(old.Leaf, now) == nil {
		if err := checkTime(id.Leaf, now); err != nil {
			return nil, &FileError{Cert, certPath, err, "give one that is valid now"}
		}
	}
	return id, err
}

// publish makes what was read the state of the next handshakes. s.mu must be held, unless Load
// calls it.
func (s *Set) publish() {
	s.current.Store(&state{s.identity.value, s.trust.value})
}

// Watch looks at the files regularly until ctx ends. (Handshakes look as well, so that a new
// certificate is used at once.)
func (s *Set) Watch(ctx context.Context) {
	for wait := lookEvery; ; {
		select {
		case now := <-time.After(wait):
			wait = s.look(now)
		case <-ctx.Done():
			return
		}
	}
}

// Reread reads all files now, and logs the result, even if nothing has changed or a fault was
// logged before.
func (s *Set) Reread() {
	s.mu.Lock()
	s.identity.settled, s.trust.settled = false, false
	clear(s.faults)
	s.mu.Unlock()
	before := s.current.Load()
	s.look(time.Now())
	certPath, _ := s.paths()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case certPath == "" && s.files.CA == "":
		s.log.Info("no flag names a certificate to read again")
	case len(s.faults) == 0 && s.current.Load() == before:
		s.log.Info("the certificates are as before", "certificate", certPath, "trusted", s.files.CA,
			"revoked", s.files.CRL)
	}
}

// state returns the certificates for a handshake that begins now.
func (s *Set) state() *state {
	now := time.Now()
	due := s.due.Load()
	if now.UnixNano() >= due && s.due.CompareAndSwap(due, now.Add(lookAgain).UnixNano()) {
		s.look(now)
	}
	return s.current.Load()
}

// look reads the files that have changed, and returns when to look again. A fault is logged once,
// and what was last in order stays in use.
func (s *Set) look(now time.Time) (wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.makeOwn(now); err != nil {
		s.logFault("self-made", err)
	}
	id, err := s.identity.look(now)
	s.logFault("identity", err)
	trust, err := s.trust.look(now)
	s.logFault("trust", err)
	if trust {
		s.trustChanged = now
	}
	if id || trust {
		s.publish()
		s.warnOfRefusal()
		certPath, _ := s.paths()
		s.log.Info("read changed certificates, for handshakes from now on", "certificate", certPath,
			"trusted", s.files.CA, "revoked", s.files.CRL)
	}
	s.warnOfTrouble(now)
	if s.trustChanged.IsZero() {
		return lookEvery
	}
	if age := now.Sub(s.trustChanged); err == nil && age >= settleTime {
		s.endRefused(now, age < settleTime+graceTime)
		if age >= settleTime+graceTime {
			s.trustChanged = time.Time{}
			return lookEvery
		}
	}
	return lookAgain
}

// logFault logs the fault of a source when it is new. A nil err ends the fault. s.mu must be held.
func (s *Set) logFault(source string, err error) {
	if err == nil {
		delete(s.faults, source)
		return
	}
	remedy := ""
	var file *FileError
	if errors.As(err, &file) {
		remedy = file.Remedy
	}
	if s.faults[source] != err.Error() {
		s.faults[source] = err.Error()
		s.log.Error("changed certificates can't be used; the previous ones stay in use", "err", err, "remedy", remedy)
	}
}

// warnOfTrouble warns of certificates that expire soon, and of a key that others can read. s.mu
// must be held, unless Load calls it.
func (s *Set) warnOfTrouble(now time.Time) {
	s.warnOfExpiry(now)
	if _, path := s.paths(); path != "" && s.identity.value != nil {
		info, err := os.Stat(path)
		if err == nil && info.Mode()&0o007 != 0 && s.warned[path].IsZero() { // pitfall K13
			s.warned[path] = now
			s.log.Warn("every user of this machine can read the key; whoever has it can speak for this member",
				"key", path, "mode", info.Mode(), "remedy", "chmod 600 "+path)
		}
	}
}

// warnOfRefusal logs an error when the other members will refuse this member's certificate. The
// certificate is used all the same: the others may be about to get new authorities.
func (s *Set) warnOfRefusal() {
	st := s.current.Load()
	if st.identity == nil || s.files.SelfMade != "" {
		return
	}
	if s.files.Mutual && st.trust != nil {
		if err := st.trust.checkName(st.identity.Leaf); err != nil {
			s.log.Error("others will refuse this member's certificate, if they allow the same names",
				"file", st.identity.path, "why", err, "remedy", "have it issued for one of the names, or add its "+
					"name at every member")
		}
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if s.files.Mutual {
		usages = append(usages, x509.ExtKeyUsageClientAuth)
	}
	if s.files.Mutual && st.trust != nil {
		options.Roots = st.trust.pool
	} else {
		options.Roots.AddCert(st.identity.Leaf) // it is not known here which authorities the others trust
	}
	for _, der := range st.identity.Certificate.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil { // it was parsed before
			options.Intermediates.AddCert(c)
		}
	}
	for _, u := range usages {
		options.KeyUsages = []x509.ExtKeyUsage{u}
		if _, err := st.identity.Leaf.Verify(options); err != nil {
			why := st.explainCertificate(st.identity.Leaf, err, u == x509.ExtKeyUsageClientAuth)
			if why.word != "expired" && why.word != "not-yet-valid" { // warnOfExpiry logs these
				s.log.Error("others will refuse this member's certificate",
					"flag", s.files.flag, "file", st.identity.path, "reason", why.word, "why", why.text,
					"remedy", s.files.remedy(why.word))
			}
		}
	}
}

// Server returns the configuration of a listener: TLS 1.2 at least (pitfall K1), and of the
// protocols ("h2", "http/1.1") the first that the client knows. Each handshake uses the files as
// they are then. When the client showed a certificate, the connection's state has VerifiedChains,
// whether ClientAuth demanded it or not. There must be an identity.
func (s *Set) Server(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return s.server(bondOf(hello.Conn), protocols), nil
		},
	}
}

// server returns the configuration of one handshake. There are no session tickets: a client that
// resumed a session would not be verified again, though its certificate may be revoked or its
// authority removed.
func (s *Set) server(b *bond, protocols []string) *tls.Config {
	st := s.state()
	c := &tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             protocols,
		Certificates:           []tls.Certificate{st.identity.Certificate},
		SessionTicketsDisabled: true,
	}
	if st.trust != nil {
		c.ClientCAs, c.ClientAuth = st.trust.pool, tls.VerifyClientCertIfGiven
		c.VerifyConnection = func(seen tls.ConnectionState) error { return s.register(b, seen, st.trust) }
	}
	if s.files.ClientAuth {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c
}

// Client returns the configuration for calling another member, by the files as they are now. It is
// for one connection, and the caller sets ServerName. It shows this member's certificate if the
// server asks for one, and wants one of CA, or without CA, of the machine's authorities.
func (s *Set) Client() *tls.Config { return s.client(nil) }

func (s *Set) client(b *bond) *tls.Config {
	st := s.state()
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.files.SelfMade != ""}
	if st.identity != nil {
		// Shown whatever authorities the server names: if it refuses the certificate, it gives a
		// better reason than for none.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate,
			error) {
			return &st.identity.Certificate, nil
		}
	}
	if st.trust != nil {
		c.RootCAs = st.trust.pool
		c.VerifyConnection = func(seen tls.ConnectionState) error { return s.register(b, seen, st.trust) }
	}
	return c
}

// DialTLS connects to host:port, which must show a certificate for host. An error of the handshake
// explains the reason. The connection ends when the certificate is no longer accepted, as those of
// Listener do.
func (s *Set) DialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	raw, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	b := &bond{Conn: raw, set: s, called: true}
	config := s.client(b)
	config.ServerName = name
	conn := tls.Client(b, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		b.Close()
		return nil, s.explainDialled(err)
	}
	return &dialled{conn, s}, nil
}

// dialled is a connection whose server may still refuse this member's certificate: in TLS 1.3 only
// the first Read returns that.
type dialled struct {
	net.Conn
	set *Set
}

// Read reads from the connection.
func (c *dialled) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && alert(err) != "" {
		err = c.set.explainDialled(err)
	}
	return n, err
}
