package certs

import (
	"crypto/x509"
	"fmt"
	"time"
)

// Expiries calls yield with each certificate that the port shows or trusts, and each revocation
// list, in the order of the files: the file, whose it is, its serial number in hexadecimal ("" for
// a list), and when it ends.
func (s *Set) Expiries(yield func(file, subject, serial string, end time.Time)) {
	told := map[expiry]bool{}
	for _, e := range s.current.Load().expiries() {
		if told[e] { // the same certificate stands twice in a file
			continue
		}
		told[e] = true
		yield(e.path, e.subject, e.serial, e.end)
	}
}

// expiry is the end of one certificate or list.
type expiry struct {
	path, subject, serial string
	begin, end            time.Time
	own                   bool // this member can't be talked to after it
}

func (st *state) expiries() (all []expiry) {
	add := func(path string, c *x509.Certificate, own bool) {
		all = append(all, expiry{path, clip(c.Subject.String()), serial(c.SerialNumber), c.NotBefore, c.NotAfter, own})
	}
	if id := st.identity; id != nil {
		for _, der := range id.Certificate.Certificate {
			if c, err := x509.ParseCertificate(der); err == nil { // all were parsed when they were read
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

// A certificate's end is announced warnBefore, or for a short-lived one in the last quarter of its
// life, and then once in warnPause.
const (
	warnBefore = 30 * 24 * time.Hour
	warnPause  = 24 * time.Hour
)

// notice is how long before its end a certificate is announced. Of a list only the end counts: it
// is short-lived by nature.
func (e *expiry) notice() time.Duration {
	if e.begin.IsZero() {
		return 0
	}
	return min(warnBefore, e.end.Sub(e.begin)/4)
}

// warnOfExpiry logs what ends soon, or has ended. s.mu must be held, or nobody else know s.
func (s *Set) warnOfExpiry(now time.Time) {
	for _, e := range s.current.Load().expiries() {
		key := e.path + " " + e.subject + " " + e.serial
		left := e.end.Sub(now)
		if left > e.notice() || now.Sub(s.warned[key]) < warnPause {
			continue
		}
		s.warned[key] = now
		attrs := []any{"file", e.path, "subject", e.subject, "serial", e.serial, "end", date(e.end),
			"left", left.Round(time.Minute)}
		switch {
		case e.begin.IsZero():
			s.log.Warn("a revocation list is past its time; it counts as before, and may lack what was revoked since",
				attrs...)
		case left > 0:
			s.log.Warn("a certificate expires soon: replace the file, and it is read without a restart", attrs...)
		default:
			s.log.Error("a certificate has expired: replace the file, and it is read without a restart", attrs...)
		}
	}
	for _, e := range s.current.Load().expiries() {
		if e.own && now.Before(e.begin) && s.warned[e.path+" begins"].IsZero() {
			s.warned[e.path+" begins"] = now
			s.log.Error("a certificate is not valid yet: look at this machine's clock", "file", e.path,
				"subject", e.subject, "begin", date(e.begin), "now", date(now))
		}
	}
}

// untimely says that a certificate is not valid at a time.
func untimely(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("it has expired on %s", date(c.NotAfter))
	case now.Before(c.NotBefore):
		return fmt.Errorf("it is valid from %s on, and here it is %s", date(c.NotBefore), date(now))
	}
	return nil
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }
