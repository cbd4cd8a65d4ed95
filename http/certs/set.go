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
// in order. All methods may be called from any goroutine, and those of the zero Files' Set do what
// there is to do without TLS: Refused and Refusals work.
type Set struct {
	files   Files
	log     *slog.Logger
	current atomic.Pointer[state]
	due     atomic.Int64 // when a handshake may look at the files again, in Unix nanoseconds
	refusals
	bonds bonds
	ends  refusals // of bonds

	mu       sync.Mutex // protects all below: one looks at a time
	identity source[*identity]
	trust    source[*trust]
	renewed  time.Time            // when trust became another one that not all bonds are judged by yet; zero: they are
	told     map[string]string    // the fault of each source that the log has
	warned   map[string]time.Time // when the log was told of a certificate's end, by file and serial number
}

// state is one moment of a Set. It is immutable.
type state struct {
	identity *identity // nil: none
	trust    *trust    // nil: none
}

// How often the files are looked at.
const (
	lookEvery = 5 * time.Second // without any handshake
	lookAgain = time.Second     // between two handshakes, and after a change of trust
)

// Load reads the files, which must all be in order; an error is a *FileError when one of them is to
// blame. A nil logger means slog.Default().
func Load(f Files, logger *slog.Logger) (*Set, error) {
	if logger == nil {
		logger = slog.Default()
	}
	s := &Set{files: f, log: logger, bonds: bonds{all: map[*bond]struct{}{}}, told: map[string]string{},
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
	s.advise()
	s.inspect(now)
	return s, nil
}

// paths are the files of certificate and key.
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
	if old := s.identity.value; err == nil && old != nil && untimely(old.Leaf, now) == nil {
		if err := untimely(id.Leaf, now); err != nil {
			return nil, &FileError{Cert, certPath, err, "give one that is valid now"}
		}
	}
	return id, err
}

// publish lets the next handshakes have what was read. s.mu must be held, or nobody else know s.
func (s *Set) publish() {
	s.current.Store(&state{s.identity.value, s.trust.value})
}

// Watch looks at the files until ctx ends. (Handshakes look as well, so that a new certificate is
// used at once.)
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

// Reread reads all files now, and logs what comes of it, also when nothing has changed or a fault
// is an old one.
func (s *Set) Reread() {
	s.mu.Lock()
	s.identity.settled, s.trust.settled = false, false
	clear(s.told)
	s.mu.Unlock()
	before := s.current.Load()
	s.look(time.Now())
	certPath, _ := s.paths()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case certPath == "" && s.files.CA == "":
		s.log.Info("no flag names a certificate to read again")
	case len(s.told) == 0 && s.current.Load() == before:
		s.log.Info("the certificates are as before", "certificate", certPath, "trusted", s.files.CA,
			"revoked", s.files.CRL)
	}
}

// state returns what a handshake goes by that begins now.
func (s *Set) state() *state {
	now := time.Now()
	due := s.due.Load()
	if now.UnixNano() >= due && s.due.CompareAndSwap(due, now.Add(lookAgain).UnixNano()) {
		s.look(now)
	}
	return s.current.Load()
}

// look takes in what has changed, and returns when to look again. A fault is logged once, and
// leaves in force what was in order.
func (s *Set) look(now time.Time) (wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.makeOwn(now); err != nil {
		s.tell("self-made", err)
	}
	id, err := s.identity.look(now)
	s.tell("identity", err)
	trust, err := s.trust.look(now)
	s.tell("trust", err)
	if trust {
		s.renewed = now
	}
	if id || trust {
		s.publish()
		s.advise()
		certPath, _ := s.paths()
		s.log.Info("read changed certificates, for handshakes from now on", "certificate", certPath,
			"trusted", s.files.CA, "revoked", s.files.CRL)
	}
	s.inspect(now)
	if s.renewed.IsZero() {
		return lookEvery
	}
	if age := now.Sub(s.renewed); err == nil && age >= settle {
		s.sever(now, age < settle+courtesy)
		if age >= settle+courtesy {
			s.renewed = time.Time{}
			return lookEvery
		}
	}
	return lookAgain
}

// tell logs a fault when it is a new one. s.mu must be held.
func (s *Set) tell(source string, err error) {
	if err == nil {
		delete(s.told, source)
		return
	}
	remedy := ""
	var file *FileError
	if errors.As(err, &file) {
		remedy = file.Remedy
	}
	if s.told[source] != err.Error() {
		s.told[source] = err.Error()
		s.log.Error("changed certificates can't be used; going on with those from before", "err", err, "remedy", remedy)
	}
}

// inspect warns of what will be a trouble one day. s.mu must be held, or nobody else know s.
func (s *Set) inspect(now time.Time) {
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

// advise tells when the others will refuse this member's certificate. The authorities may be on
// their way to the others still, so this is no fault.
func (s *Set) advise() {
	st := s.current.Load()
	if st.identity == nil || s.files.SelfMade != "" {
		return
	}
	if s.files.Mutual && st.trust != nil {
		if err := st.trust.checkName(st.identity.Leaf); err != nil {
			s.log.Error("others will refuse this member's certificate, if they want the same names",
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
		options.Roots.AddCert(st.identity.Leaf) // whom the others trust is not known here
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
			if why.word != "expired" && why.word != "not-yet-valid" { // those have lines of their own
				s.log.Error("others will refuse this member's certificate",
					"flag", s.files.flag, "file", st.identity.path, "reason", why.word, "why", why.text,
					"remedy", s.files.remedy(why.word))
			}
		}
	}
}

// Server returns the configuration of a listener: TLS 1.2 at the least (pitfall K1), and of the
// protocols ("h2", "http/1.1") the first that the client knows. Each handshake goes by the files as
// they are then. Whoever showed a certificate has VerifiedChains in the connection's state, whether
// ClientAuth demanded it or not. There must be an identity.
func (s *Set) Server(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return s.server(bondOf(hello.Conn), protocols), nil
		},
	}
}

// server is the configuration of one handshake. There are no session tickets: who comes back on one
// would not be looked at again, though its authority may be gone and its certificate revoked.
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
		c.VerifyConnection = func(seen tls.ConnectionState) error { return s.tie(b, seen, st.trust) }
	}
	if s.files.ClientAuth {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c
}

// Client returns the configuration for calling another member, as the files are now; it is good for
// the next connection only, and its ServerName is still to be set. It shows this member's
// certificate to who asks for one, and wants one of CA, or of the machine's authorities without CA.
func (s *Set) Client() *tls.Config { return s.client(nil) }

func (s *Set) client(b *bond) *tls.Config {
	st := s.state()
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.files.SelfMade != ""}
	if st.identity != nil {
		// Shown to whomever: one of the wrong authority is refused with a better reason than none.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate,
			error) {
			return &st.identity.Certificate, nil
		}
	}
	if st.trust != nil {
		c.RootCAs = st.trust.pool
		c.VerifyConnection = func(seen tls.ConnectionState) error { return s.tie(b, seen, st.trust) }
	}
	return c
}

// DialTLS makes a connection to host:port, whose certificate must be for host. An error of the
// handshake is in words for a person. The connection ends when the certificate is no longer
// accepted, as those of Listener do.
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

// dialled is a connection whose other end may yet refuse this member's certificate: in TLS 1.3 that
// shows in the first Read.
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
