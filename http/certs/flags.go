package certs

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
)

// The ports, as flags name them: --listen-client-urls, --peer-crl-file.
const (
	ClientPort = "client"
	PeerPort   = "peer"
)

// Flags are the flags for the certificates of one port. They are for one goroutine.
type Flags struct {
	Port string // ClientPort or PeerPort
	// from --cert-file, --key-file, --trusted-ca-file, --client-crl-file and --client-cert-auth, or
	// from those that begin with --peer-
	Files
	Auto  bool   // --auto-tls, --peer-auto-tls
	Names string // --peer-cert-allowed-cn: common names, separated by commas
	OldCA string // --ca-file, --peer-ca-file: in etcd 2.0, CA with ClientAuth

	ClientCA string // for the peer port: the authorities of the client port, see warnOfClients
}

// prefix returns how the names of the port's flags begin.
func (f *Flags) prefix() string {
	if f.Port == ClientPort {
		return ""
	}
	return f.Port + "-"
}

// listen returns the flag of the port's URLs.
func (f *Flags) listen() string { return "listen-" + f.Port + "-urls" }

// Check sets Files from the other fields. It returns an error when flags contradict each other, or
// do not fit the URLs at which the port listens, and warnings of what may not be meant.
func (f *Flags) Check(urls []string) (warnings []string, err error) {
	p := f.prefix()
	if f.OldCA != "" {
		if f.CA != "" && f.CA != f.OldCA {
			return nil, fmt.Errorf("--%sca-file=%s and --%strusted-ca-file=%s contradict each other: give the second "+
				"only", p, f.OldCA, p, f.CA)
		}
		f.CA, f.ClientAuth = f.OldCA, true
		warnings = append(warnings,
			fmt.Sprintf("--%sca-file is the old form of --%strusted-ca-file with --%sclient-cert-auth", p, p, p))
	}
	if f.Names != "" {
		f.Files.Names = strings.Split(f.Names, ",")
	}
	secure, plain := BySecurity(urls)
	if err := f.contradiction(secure); err != nil {
		return nil, err
	}
	if f.Auto && f.Port == PeerPort {
		warnings = append(warnings,
			"--peer-auto-tls: connections between members are encrypted, but whoever reaches the peer port is taken "+
				"for a member")
	}
	if f.Port == PeerPort && f.CA != "" && !f.ClientAuth && secure != "" {
		warnings = append(warnings,
			fmt.Sprintf("--peer-trusted-ca-file=%s without --peer-client-cert-auth: whoever reaches the peer port "+
				"and shows no certificate is taken for a member; give both", f.CA))
	}
	switch {
	case secure == "" && f.Scheme() == "https":
		shown := map[bool]string{true: "auto-tls", false: "cert-file"}[f.Auto]
		warnings = append(warnings,
			fmt.Sprintf("the certificate of --%s%s is not shown at this port: all of --%s=%s is http", p, shown,
				f.listen(), strings.Join(urls, ",")))
	case plain != "" && f.ClientAuth:
		warnings = append(warnings,
			fmt.Sprintf("--%sclient-cert-auth does not apply to --%s=%s, which is http", p, f.listen(), plain))
	}
	return warnings, nil
}

// contradiction returns what is wrong between flags that are right one by one. secure is one of the
// port's URLs that is https, if any is.
func (f *Flags) contradiction(secure string) error {
	p := f.prefix()
	switch {
	case (f.Cert == "") != (f.Key == ""):
		given, value, missing := "cert-file", f.Cert, "key-file"
		if f.Cert == "" {
			given, value, missing = missing, f.Key, given
		}
		return fmt.Errorf("--%s%s=%s needs --%s%s: give both", p, given, value, p, missing)
	case f.Auto && f.Cert != "":
		return fmt.Errorf("--%sauto-tls and --%scert-file=%s contradict each other: give one of them", p, p, f.Cert)
	case f.Auto && f.Port == PeerPort && (f.CA != "" || f.ClientAuth):
		return fmt.Errorf("--%sauto-tls and --%strusted-ca-file=%s contradict each other: self-made certificates "+
			"have no authority; give --%scert-file and --%skey-file, or no authority",
			p, p, f.CA, p, p)
	case f.ClientAuth && f.CA == "":
		return fmt.Errorf("--%sclient-cert-auth needs --%strusted-ca-file: give the authorities whose certificates "+
			"are accepted", p, p)
	case f.Names != "" && !f.ClientAuth:
		return fmt.Errorf("--peer-cert-allowed-cn=%s needs --peer-client-cert-auth: give both, since whoever shows "+
			"no certificate has no name", f.Names)
	case slices.Contains(f.Files.Names, ""):
		return fmt.Errorf("--peer-cert-allowed-cn=%s has an empty name in it: give names with one comma between two",
			f.Names)
	case f.CRL != "" && f.CA == "":
		return fmt.Errorf("--%s-crl-file=%s needs --%strusted-ca-file: give the authorities that have signed the lists",
			f.Port, f.CRL, p)
	case secure != "" && f.Cert == "" && !f.Auto:
		return fmt.Errorf("--%s=%s needs a certificate: give --%scert-file and --%skey-file, or --%sauto-tls, or an "+
			"http URL", f.listen(), secure, p, p, p)
	}
	return nil
}

// Scheme returns the scheme for URLs of the port that are made from an address: https when there is
// a certificate.
func (f *Flags) Scheme() string {
	if f.Cert != "" || f.Auto {
		return "https"
	}
	return "http"
}

// Load reads the files, or makes a certificate in ownDir for the hosts of the URLs. An error about
// a file names its flag.
func (f *Flags) Load(ownDir string, urls []string, log *slog.Logger) (*Set, error) {
	files := f.Files
	files.Mutual, files.flag = f.Port == PeerPort, "--"+f.flag(Cert)
	if f.Auto {
		files.SelfMade, files.Hosts = ownDir, hosts(urls)
	}
	set, err := Load(files, log.With("port", f.Port))
	var wrong *FileError
	switch {
	case errors.As(err, &wrong):
		return nil, fmt.Errorf("--%s=%s: %w: %s", f.flag(wrong.Part), wrong.Path, wrong.Err, wrong.Remedy)
	case err != nil:
		return nil, fmt.Errorf("--%sauto-tls: %w: see that %s can be written", f.prefix(), err, ownDir)
	}
	f.warnOfClients(set)
	if id := set.current.Load().identity; id != nil && nameless(id.Leaf) {
		if secure, _ := BySecurity(urls); secure != "" {
			set.log.Error("clients will refuse this certificate: it is for no name or address; a common name does "+
				"not count",
				"file", id.path, "subject", subject(id.Leaf),
				"remedy", "issue one with the host of "+secure+" in subjectAltName")
		}
	}
	return set, nil
}

// warnOfClients warns when both ports trust the same authority: then the owner of a client's
// certificate can act as a member, unless only certain names are allowed.
func (f *Flags) warnOfClients(s *Set) {
	content, err := os.ReadFile(f.ClientCA)
	st := s.current.Load()
	if err != nil || st.trust == nil || st.trust.names != nil {
		return // a fault of this file is reported for the client port
	}
	clients, _ := certificates(content)
	for _, ca := range clients {
		if _, err := ca.Verify(x509.VerifyOptions{Roots: st.trust.pool,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
			s.log.Warn("one authority is trusted for clients and for members: whoever has a client's certificate of "+
				"it is taken for a member",
				"authority", subject(ca), "clients", f.ClientCA, "members", f.CA,
				"remedy", "give members an authority of their own, or name their certificates in "+
					"--peer-cert-allowed-cn")
			return
		}
	}
}

// flag returns the flag that names a file.
func (f *Flags) flag(p Part) string {
	switch {
	case p == CRL:
		return f.Port + "-crl-file"
	case p == CA && f.OldCA != "":
		return f.prefix() + "ca-file"
	}
	return f.prefix() + map[Part]string{Cert: "cert-file", Key: "key-file", CA: "trusted-ca-file"}[p]
}

// hosts returns the names and addresses in URLs. An unspecified address stands for the names and
// loopback addresses of this machine.
func hosts(urls []string) (hosts []string) {
	for _, u := range urls {
		parsed, err := url.Parse(u)
		if err != nil {
			continue // it was checked when it was set
		}
		ip := net.ParseIP(parsed.Hostname())
		switch {
		case ip == nil || !ip.IsUnspecified():
			hosts = append(hosts, parsed.Hostname())
		default:
			hosts = append(hosts, "localhost", "127.0.0.1", "::1")
			if name, err := os.Hostname(); err == nil {
				hosts = append(hosts, name)
			}
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// BySecurity returns the first https and the first other URL of a list.
func BySecurity(urls []string) (secure, plain string) {
	for _, u := range urls {
		if Secure(u) {
			secure = cmp.Or(secure, u)
		} else {
			plain = cmp.Or(plain, u)
		}
	}
	return secure, plain
}

// Secure reports whether a URL is https.
func Secure(u string) bool { return strings.HasPrefix(u, "https://") }
