package certs

import (
	"crypto/x509"
	"fmt"
	"time"
)

// Expiries calls yield with each certificate that the port shows or trusts, and with each
// revocation list, in the order of the files: the file, the subject, the serial number in
// hexadecimal ("" for a list), and when it expires.
func (s *Set) Expiries(yield func(file, subject, serial string, end time.Time)) {
	seen := map[expiry]bool{}
	for _, e := range s.current.Load().expiries() {
		if seen[e] { // the same certificate is twice in a file
			continue
		}
		seen[e] = true
		yield(e.path, e.subject, e.serial, e.end)
	}
}

// expiry is when one certificate or list is valid.
type expiry struct {
	path, subject, serial string
	begin, end            time.Time // begin is zero for a list
	own                   bool      // this member shows the certificate
}

func (st *state) expiries() (all []expiry) {
	add := func(path string, c *x509.Certificate, own bool) {
		all = append(all, expiry{path, clip(c.Subject.String()), serial(c.SerialNumber), c.NotBefore, c.NotAfter, own})
	}
	if id := st.identity; id != nil {
		for _, der := range id.Certificate.Certificate {
			if c, err := x509.ParseCertificate(der); err == nil { // readIdentity has parsed all
				add(id.path, c, true)
			}
		}
	}
	if t := st.trust; t != nil {
		for _, c := range t.all {
			add(t.path, c, false)
		}
		for _, l := range t.lists {
			if !l.next.IsZero() {
				all = append(all, expiry{path: t.crl, subject: clip(l.signer.Subject.String()), end: l.next})
			}
		}
	}
	return all
}

// The log warns of a certificate's expiry from warnBefore on, or in the last quarter of a shorter
// life, and then once in warnPause.
const (
	warnBefore = 30 * 24 * time.Hour
	warnPause  = 24 * time.Hour
)

// noticeTime returns how long before its expiry the log warns of a certificate. It is 0 for a list:
// a list is always short-lived.
func (e *expiry) noticeTime() time.Duration {
	if e.begin.IsZero() {
		return 0
	}
	return min(warnBefore, e.end.Sub(e.begin)/4)
}

// warnOfExpiry logs which certificates and lists expire soon, have expired, or are not valid yet.
// s.mu must be held, unless Load calls it.
func (s *Set) warnOfExpiry(now time.Time) {
	for _, e := range s.current.Load().expiries() {
		key := e.path + " " + e.subject + " " + e.serial
		left := e.end.Sub(now)
		if left > e.noticeTime() || now.Sub(s.warned[key]) < warnPause {
			continue
		}
		s.warned[key] = now
		attrs := []any{"file", e.path, "subject", e.subject, "serial", e.serial, "end", date(e.end),
			"left", left.Round(time.Minute)}
		switch {
		case e.begin.IsZero():
			s.log.Warn("a revocation list has expired; it is still used, but may lack certificates revoked since then",
				attrs...)
		case left > 0:
			s.log.Warn("a certificate expires soon: replace the file; no restart is needed", attrs...)
		default:
			s.log.Error("a certificate has expired: replace the file; no restart is needed", attrs...)
		}
	}
	for _, e := range s.current.Load().expiries() {
		if e.own && now.Before(e.begin) && s.warned[e.path+" begins"].IsZero() {
			s.warned[e.path+" begins"] = now
			s.log.Error("a certificate is not valid yet: check this machine's clock", "file", e.path,
				"subject", e.subject, "begin", date(e.begin), "now", date(now))
		}
	}
}

// checkTime returns an error when a certificate is not valid at a time.
func checkTime(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("it has expired on %s", date(c.NotAfter))
	case now.Before(c.NotBefore):
		return fmt.Errorf("it is valid from %s on, and here it is %s", date(c.NotBefore), date(now))
	}
	return nil
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }
