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
	logged map[refusal]*history
}

// refusal is what two refusals that count as the same have in common.
type refusal struct{ from, text string }

type history struct {
	at         time.Time // when it was last logged
	suppressed int       // number of times since then
}

// The same refusal is logged once in refusalPause, and in that time at most maxLines different ones
// are.
const (
	refusalPause = time.Minute
	maxLines     = 256
)

// decision says whether to log a refusal.
type decision int

const (
	skip decision = iota
	logIt
	logLast // log it, and that further ones will not be logged
)

// record counts n refusals for a reason, and decides whether to log them. suppressed is how many of
// the same were not logged since the last that was.
func (r *refusals) record(word string, n int, what refusal, now time.Time) (d decision, suppressed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts, r.logged = map[string]uint64{}, map[refusal]*history{}
	}
	r.counts[word] += uint64(n)
	before := r.logged[what]
	switch {
	case before != nil && now.Sub(before.at) < refusalPause:
		before.suppressed += n
		return skip, 0
	case before != nil:
		suppressed = before.suppressed
	case len(r.logged) >= maxLines && !r.makeRoom(now):
		return skip, 0
	}
	r.logged[what] = &history{at: now}
	if len(r.logged) == maxLines {
		return logLast, suppressed
	}
	return logIt, suppressed
}

// makeRoom forgets old refusals, and reports whether there is room for another. r.mu must be held.
func (r *refusals) makeRoom(now time.Time) bool {
	maps.DeleteFunc(r.logged, func(_ refusal, h *history) bool { return now.Sub(h.at) >= refusalPause })
	return len(r.logged) < maxLines
}

// Refused counts and logs a handshake on c that failed with err, and why it did. c is a *tls.Conn,
// or a plain connection to a port without TLS; then err is a tls.RecordHeaderError with the record
// of TLS that came.
func (s *Set) Refused(c net.Conn, err error) {
	why := s.current.Load().explain(err, true)
	if secure, isTLS := c.(*tls.Conn); isTLS && why.word == "refused-there" {
		if name := secure.ConnectionState().ServerName; name != "" {
			why.text += "; it wanted " + clip(name)
		}
	}
	d, suppressed := s.record(why.word, 1, refusal{host(c.RemoteAddr()), why.text}, time.Now())
	if d == skip {
		return
	}
	s.log.Log(context.Background(), why.level(), "a TLS handshake failed",
		"from", c.RemoteAddr(), "at", c.LocalAddr(), "reason", why.word, "why", why.text, "timesBefore", suppressed)
	if d == logLast {
		s.log.Warn("many different TLS handshakes fail; for a minute, more are counted and not logged",
			"at", c.LocalAddr())
	}
}

// host returns an address without its port.
func host(a net.Addr) string {
	if host, _, err := net.SplitHostPort(a.String()); err == nil {
		return host
	}
	return a.String()
}

// Refusals calls yield with each reason for which handshakes have failed, in order, and their
// number.
func (s *Set) Refusals(yield func(reason string, count uint64)) { s.refusals.each(yield) }

func (r *refusals) each(yield func(word string, count uint64)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, word := range slices.Sorted(maps.Keys(r.counts)) {
		yield(word, r.counts[word])
	}
}
