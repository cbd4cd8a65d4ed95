package certs

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// refusals counts the handshakes that failed, or the connections that were ended, and keeps them
// from filling the log.
type refusals struct {
	mu     sync.Mutex // protects all below
	counts map[string]uint64
	lines  map[line]*repeats
}

// line is what makes two refusals the same.
type line struct{ from, text string }

type repeats struct {
	at   time.Time // it was last logged
	kept int       // times since then that it was not
}

// The same refusal is logged once in refusalPause, and in that time no more than maxLines different
// ones.
const (
	refusalPause = time.Minute
	maxLines     = 256
)

// verdict is what becomes of a refusal in the log.
type verdict int

const (
	silent verdict = iota
	spoken
	lastWord // spoken, and further ones will not be
)

// note counts n refusals of a kind, and says whether they are to be logged, and how many were not
// since the last time.
func (r *refusals) note(word string, n int, l line, now time.Time) (v verdict, kept int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts, r.lines = map[string]uint64{}, map[line]*repeats{}
	}
	r.counts[word] += uint64(n)
	was := r.lines[l]
	switch {
	case was != nil && now.Sub(was.at) < refusalPause:
		was.kept += n
		return silent, 0
	case was != nil:
		kept = was.kept
	case len(r.lines) >= maxLines && !r.makeRoom(now):
		return silent, 0
	}
	r.lines[l] = &repeats{at: now}
	if len(r.lines) == maxLines {
		return lastWord, kept
	}
	return spoken, kept
}

// makeRoom forgets old lines. r.mu must be held.
func (r *refusals) makeRoom(now time.Time) bool {
	maps.DeleteFunc(r.lines, func(_ line, was *repeats) bool { return now.Sub(was.at) >= refusalPause })
	return len(r.lines) < maxLines
}

// Refused takes note of a handshake with who has connected on c, a *tls.Conn if there is one, that
// failed with err: one line in the log, in the words of a person. A tls.RecordHeaderError whose
// record is one of TLS is for a port that speaks none.
func (s *Set) Refused(c net.Conn, err error) {
	why := s.current.Load().explain(err, true)
	if secure, isTLS := c.(*tls.Conn); isTLS && why.word == "refused-there" {
		if name := secure.ConnectionState().ServerName; name != "" {
			why.text += "; it wanted " + clip(name)
		}
	}
	v, kept := s.note(why.word, 1, line{host(c.RemoteAddr()), why.text}, time.Now())
	if v == silent {
		return
	}
	s.log.Log(context.Background(), why.level(), "a TLS handshake failed",
		"from", c.RemoteAddr(), "at", c.LocalAddr(), "reason", why.word, "why", why.text, "timesBefore", kept)
	if v == lastWord {
		s.log.Warn("many different TLS handshakes fail; for a minute, more are counted and not logged",
			"at", c.LocalAddr())
	}
}

// host is an address without its port.
func host(a net.Addr) string {
	if host, _, err := net.SplitHostPort(a.String()); err == nil {
		return host
	}
	return a.String()
}

// Refusals calls yield with each reason that a handshake has failed for, in order, and how many
// did.
func (s *Set) Refusals(yield func(reason string, count uint64)) { s.refusals.each(yield) }

func (r *refusals) each(yield func(word string, count uint64)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, word := range slices.Sorted(maps.Keys(r.counts)) {
		yield(word, r.counts[word])
	}
}
