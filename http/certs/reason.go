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
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A reason is why a handshake failed: a word for the metrics, and a sentence for the log, in which
// "it" is the other end.
type reason struct{ word, text string }

// level returns the log level of a reason. A load balancer that only looks whether the port is open
// is worth no warning.
func (r reason) level() slog.Level {
	if r.word == "hung-up" || r.word == "slow" {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// faults are the reasons that crypto/tls gives as a text only.
// TestEveryWrongCertificateIsRefusedWithAReason fails when a text changes.
var faults = []struct{ text, word, sentence string }{
	{"client didn't provide a certificate", "no-certificate", "it shows no certificate"},
	{"unsupported versions", "version", "it knows no TLS of 1.2 or later"},
	{"no cipher suite", "cipher", "it has no cipher suite in common with this member"},
	{"doesn't support any of the certificate's signature algorithms", "cipher",
		"it can't use the kind of key that this member's certificate has"},
	{"unsupported application protocol", "protocol",
		"it speaks neither HTTP/1.1 nor what else this port offers (ALPN)"},
}

// explain returns the reason for the error of a handshake. server says which end this member was.
func (st *state) explain(err error, server bool) reason {
	var (
		unverified *tls.CertificateVerificationError
		revoked    *revokedError
		named      *nameError
		record     tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &unverified) && len(unverified.UnverifiedCertificates) > 0:
		return st.explainCertificate(unverified.UnverifiedCertificates[0], unverified.Err, server)
	case errors.As(err, &revoked):
		return reason{"revoked", fmt.Sprintf("its certificate %s, serial number %s, was revoked on %s, says %s",
			subject(revoked.cert), serial(revoked.cert.SerialNumber), date(revoked.at), revoked.path)}
	case errors.As(err, &named):
		return reason{"common-name", named.Error()}
	case errors.As(err, &record):
		return explainRecord(record, server)
	case alert(err) != "":
		return st.explainAlert(alert(err))
	case server && strings.Contains(err.Error(), "bad record MAC"):
		// In TLS 1.3 alerts are encrypted, but OpenSSL sends the one that refuses a certificate in
		// plain text, which crypto/tls can't read.
		return st.explainAlert("what looks like a bad certificate")
	case hungUp(err):
		return reason{"hung-up", "it closed the connection before the handshake was done"}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		return reason{"slow", "it did not finish the handshake in time"}
	}
	for _, f := range faults {
		if strings.Contains(err.Error(), f.text) {
			r := reason{f.word, f.sentence}
			if f.word == "no-certificate" {
				r.text += "; " + st.trusts()
			}
			return r
		}
	}
	return reason{"other", clip(err.Error())}
}

func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE)
}

// explainCertificate says what is wrong with the other end's certificate.
func (st *state) explainCertificate(c *x509.Certificate, err error, server bool) reason {
	var (
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &name):
		return reason{"name", fmt.Sprintf("%s was wanted, and its certificate %s is for %s", clip(name.Host),
			subject(c), names(c))}
	case errors.As(err, &unknown) && unknown.Cert != nil:
		return st.explainAuthority(c)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if now := time.Now(); now.Before(invalid.Cert.NotBefore) {
			return reason{"not-yet-valid", fmt.Sprintf("its certificate %s is %s", subject(invalid.Cert),
				strings.TrimPrefix(checkTime(invalid.Cert, now).Error(), "it is "))}
		}
		return reason{"expired", fmt.Sprintf("its certificate %s has expired on %s", subject(invalid.Cert),
			date(invalid.Cert.NotAfter))}
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		missing := map[bool]string{true: "clientAuth", false: "serverAuth"}[server]
		return reason{"usage", fmt.Sprintf("its certificate %s lacks the usage %s; it has %s", subject(c),
			missing, usages(c))}
	}
	return reason{"certificate", fmt.Sprintf("its certificate %s is not valid: %s", subject(c), clip(err.Error()))}
}

func (st *state) explainAuthority(c *x509.Certificate) reason {
	if string(c.RawIssuer) == string(c.RawSubject) {
		return reason{"self-signed", fmt.Sprintf("its certificate %s is signed by itself; %s", subject(c), st.trusts())}
	}
	other := ""
	if st.trust != nil {
		for _, ca := range st.trust.all {
			if string(ca.RawSubject) == string(c.RawIssuer) {
				other = ", which has the name of a trusted one but another key"
			}
		}
	}
	return reason{"authority", fmt.Sprintf("its certificate %s was issued by %s%s; %s", subject(c),
		clip(c.Issuer.String()), other, st.trusts())}
}

// trusts says which authorities this member trusts.
func (st *state) trusts() string {
	if st.trust == nil {
		return "this member trusts the authorities of its machine"
	}
	var subjects []string
	for _, ca := range st.trust.all {
		subjects = append(subjects, subject(ca))
	}
	return fmt.Sprintf("this member trusts %s (%s)", some(subjects), st.trust.path)
}

// explainRecord explains that one end speaks TLS and the other does not.
func explainRecord(record tls.RecordHeaderError, server bool) reason {
	isTLS := record.RecordHeader[0] == 22 && record.RecordHeader[1] == 3
	switch {
	case isTLS:
		return reason{"tls-on-plain",
			"it speaks TLS, and this port does not: use an http URL, or give this port a certificate and an https URL"}
	case server:
		return reason{"plain-on-tls", "it does not speak TLS: use an https URL"}
	}
	return reason{"plain-on-tls",
		"it does not speak TLS: use an http URL, or give that port a certificate and an https URL"}
}

// explainAlert explains that the other end has refused this member's certificate, or the handshake.
func (st *state) explainAlert(alert string) reason {
	switch {
	case !strings.Contains(alert, "certificate"):
		return reason{"refused-there", fmt.Sprintf("it ends the handshake, saying %q", alert)}
	case st.identity == nil:
		return reason{"refused-there", fmt.Sprintf("it refuses, saying %q; this member has no certificate to show",
			alert)}
	}
	c := st.identity.Leaf
	return reason{"refused-there",
		fmt.Sprintf("it refuses, saying %q; the certificate of this member, %s, was issued by %s for %s with usage "+
			"%s, and is valid from %s to %s (%s)",
			alert, subject(c), clip(c.Issuer.String()), names(c), usages(c), date(c.NotBefore), date(c.NotAfter),
			st.identity.path)}
}

// alert returns the text of the alert with which the other end has refused; "" for other errors.
func alert(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return strings.TrimPrefix(op.Err.Error(), "tls: ")
	}
	return ""
}

// explainDialled returns an error that explains why a call failed; the same error if it was not
// refused in the handshake.
func (s *Set) explainDialled(err error) error {
	r := s.current.Load().explain(err, false)
	switch r.word {
	case "other", "hung-up", "slow":
		return err
	}
	return &refusedError{"the TLS handshake failed: " + r.text, err}
}

// refusedError wraps an error, with another text.
type refusedError struct {
	text string
	err  error
}

// Error returns the text.
func (e *refusedError) Error() string { return e.text }

// Unwrap returns the error that was explained.
func (e *refusedError) Unwrap() error { return e.err }

func subject(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return clip(s)
	}
	return "without a subject"
}

// names lists the names and addresses that a certificate is for. A common name is none of them
// (pitfall K4).
func names(c *x509.Certificate) string {
	list := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	for _, u := range c.URIs {
		list = append(list, u.String())
	}
	if len(list) == 0 {
		return "no name or address (subjectAltName)"
	}
	return some(list)
}

func nameless(c *x509.Certificate) bool { return len(c.DNSNames)+len(c.IPAddresses)+len(c.URIs) == 0 }

func usages(c *x509.Certificate) string {
	words := map[x509.ExtKeyUsage]string{x509.ExtKeyUsageAny: "any", x509.ExtKeyUsageServerAuth: "serverAuth",
		x509.ExtKeyUsageClientAuth: "clientAuth", x509.ExtKeyUsageCodeSigning: "codeSigning",
		x509.ExtKeyUsageEmailProtection: "emailProtection"}
	var list []string
	for _, u := range c.ExtKeyUsage {
		if word, known := words[u]; known {
			list = append(list, word)
		}
	}
	switch {
	case len(list) > 0:
		return some(list)
	case len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0:
		return "any"
	}
	return "others"
}

// some joins a list, of which a stranger may have chosen the length, for a log line.
func some(list []string) string {
	const most = 8
	for i, s := range list {
		list[i] = clip(s)
	}
	if len(list) > most {
		list = append(list[:most:most], "…")
	}
	return strings.Join(list, ", ")
}

// clip makes a text, which a stranger may have chosen, fit for a log line.
func clip(s string) string {
	s = s[:min(len(s), 200)]
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
