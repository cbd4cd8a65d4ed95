package http

import (
	"fmt"
	"maps"
	nethttp "net/http"
	"sync"
	"time"

	"etcd2/http/auth"
)

// The same refusal is logged once in refusalPause, and in that time no more than maxRefusals
// different ones.
const (
	refusalPause = time.Minute
	maxRefusals  = 256
)

// refusals keeps requests that are refused for want of a right from filling the log: one line a
// kind and refusalPause, in which the others are counted. The zero value is ready for use.
type refusals struct {
	mu     sync.Mutex // protects all below
	lines  map[string]*repeats
	others int // that were not logged, and whose line is forgotten or had no room
}

type repeats struct {
	at   time.Time // it was last logged
	kept int       // times since then that it was not
}

// note reports whether a line is to be logged at now, how often it was not since the last time, and
// how many other lines were not since any was.
func (r *refusals) note(line string, now time.Time) (before, others int, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.lines[line]
	switch {
	case was != nil && now.Sub(was.at) < refusalPause:
		was.kept++
		return 0, 0, false
	case was != nil:
		before = was.kept
	case len(r.lines) >= maxRefusals && !r.makeRoom(now):
		r.others++
		return 0, 0, false
	case r.lines == nil:
		r.lines = map[string]*repeats{}
	}
	r.lines[line] = &repeats{at: now}
	others, r.others = r.others, 0
	return before, others, true
}

// makeRoom forgets old lines, and reports whether there is room. r.mu must be held.
func (r *refusals) makeRoom(now time.Time) bool {
	maps.DeleteFunc(r.lines, func(_ string, was *repeats) bool {
		old := now.Sub(was.at) >= refusalPause
		if old {
			r.others += was.kept
		}
		return old
	})
	return len(r.lines) < maxRefusals
}

// refused logs that the request was refused for want of its right. A wrong password has a line of
// its own, by package auth.
func (p *permit) refused() {
	if p.verdict.Proof == auth.WrongPassword {
		return
	}
	what := p.request.Method + " " + clip(p.request.URL.Path)
	who := p.who()
	before, others, due := p.server.refusals.note(fmt.Sprint(who, what), time.Now())
	if due {
		p.server.security.Warn("http: a request was refused for want of a right",
			append(who, "what", what, "timesBefore", before, "othersBefore", others)...)
	}
}

// who says for the log who has sent the request, by which proof, and from where.
func (p *permit) who() []any {
	return append([]any{"by", p.verdict.User, "proof", clip(p.verdict.Proof)}, p.server.from(p.request)...)
}

// from says for the log where a request comes from, as far as the connection tells, and what
// proxies claim.
func (s *Server) from(r *nethttp.Request) []any {
	from := []any{"from", s.caller(r).Address}
	if by := r.Header.Get("X-Forwarded-For"); by != "" {
		from = append(from, "forwardedFor", clip(by))
	}
	return from
}

// clip bounds what a caller has a line of the log say.
func clip(text string) string { return fmt.Sprintf("%.200s", text) }
