package http

import (
	"errors"
	"fmt"
	"maps"
	"net"
	nethttp "net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"etcd2/http/auth"
	"etcd2/store"
)

// permit is what a request needs and whether it may have it. It belongs to the request's handler.
type permit struct {
	server  *Server
	request *nethttp.Request
	need    auth.Right
	verdict auth.Verdict // the last one; State is nil before the first
}

func (s *Server) permit(r *nethttp.Request, need auth.Right) *permit {
	return &permit{server: s, request: r, need: need}
}

// holds reports whether the request was allowed, and nothing that this rests on has changed since.
func (p *permit) holds() bool {
	return p.verdict.State != nil && p.server.keeper.Holds(p.verdict)
}

// check has the request judged, unless the last verdict holds. Its errors are those of
// auth.Keeper.Judge.
func (p *permit) check() error {
	if p.server.keeper == nil {
		return p.checkAtProxy()
	}
	if p.holds() {
		return nil
	}
	var err error
	p.verdict, err = p.server.keeper.Judge(p.request.Context(), p.server.caller(p.request), p.need)
	if err == auth.ErrDenied {
		p.refused()
	}
	return err
}

var errElsewhere = errors.New("a proxy knows no users, so this is only for its own machine, from a loopback address")

// checkAtProxy judges what only the role root may do at a member.
func (p *permit) checkAtProxy() error {
	p.verdict.User, p.verdict.Proof = "(anybody: a proxy knows no users)", "none"
	ip, err := netip.ParseAddr(p.server.caller(p.request).Address)
	if err != nil || !ip.IsLoopback() || forwarded(p.request) {
		p.refused()
		return errElsewhere
	}
	return nil
}

// mayRead reports whether the client of an allowed request may read the key that it is about.
func (p *permit) mayRead() bool {
	return p.verdict.May(auth.Right{Access: auth.Read, Path: p.need.Path})
}

// secrets returns the nodes in the answer to a write whose values its client may not read, and has
// not sent with cmd itself.
func (p *permit) secrets(cmd store.Command, e *store.Event) (nodes []*store.Node) {
	if p.mayRead() {
		return nil
	}
	if e.Node.Value != cmd.Value { // after a refresh
		nodes = append(nodes, e.Node)
	}
	return append(nodes, e.Prev)
}

// conceal returns what the client of a write may know of its error: that a value differs from the
// one that it has named, but the value only with the right to read.
func (p *permit) conceal(cmd store.Command, e *store.Error) *store.Error {
	named := "[" + cmd.PrevValue + " != "
	if e.Code != store.CodeCompareFailed || cmd.PrevValue == "" || !strings.HasPrefix(e.Cause, named) || p.mayRead() {
		return e
	}
	return &store.Error{Code: e.Code, Cause: named + "the value, which you may not read]", Index: e.Index}
}

// caller is who sent the request, as far as one can tell.
func (s *Server) caller(r *nethttp.Request) auth.Caller {
	host, _, _ := net.SplitHostPort(r.RemoteAddr) // "" is an address like any other
	c := auth.Caller{Authorization: r.Header["Authorization"], Address: host}
	if s.cfg.ClientCertAuth && !forwarded(r) && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		c.Certified, c.CommonName = true, r.TLS.VerifiedChains[0][0].Subject.CommonName
	}
	return c
}

// forwarded tells whether a request has come through a proxy, by what a proxy adds. Its certificate
// is then the proxy's, and makes nobody of those behind it that one (pitfall J14). Whoever adds
// such a header without being a proxy has less for it.
func forwarded(r *nethttp.Request) bool {
	return len(r.Header["Via"]) > 0 || len(r.Header["X-Forwarded-For"]) > 0
}

// allowed reports whether the request may go on; if not, it answers, in the shape that all
// endpoints but keys have.
func (s *Server) allowed(w *response, permit *permit) bool {
	err := permit.check()
	later, isLater := errors.AsType[*auth.Later](err)
	switch {
	case err == nil:
		return true
	case isLater:
		tooMany(w, later)
	case err == errElsewhere:
		messageError(w, nethttp.StatusForbidden, err.Error())
	default:
		delete(w.Header(), "X-Etcd-Cluster-Id") // not on a 401 (section 2)
		messageError(w, nethttp.StatusUnauthorized, err.Error())
	}
	return false
}

// tooMany refuses a request until later.
func tooMany(w *response, l *auth.Later) {
	seconds := (l.After + time.Second - 1) / time.Second
	w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
	messageError(w, nethttp.StatusTooManyRequests, l.Reason)
}

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
func (r *refusals) record(line string, now time.Time) (before, others int, due bool) {
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
	who := p.callerAttrs()
	before, others, due := p.server.refusals.record(fmt.Sprint(who, what), time.Now())
	if due {
		p.server.security.Warn("http: a request was refused for want of a right",
			append(who, "what", what, "timesBefore", before, "othersBefore", others)...)
	}
}

// who says for the log who has sent the request, by which proof, and from where.
func (p *permit) callerAttrs() []any {
	return append([]any{"by", p.verdict.User, "proof", clip(p.verdict.Proof)}, p.server.addressAttrs(p.request)...)
}

// from says for the log where a request comes from, as far as the connection tells, and what
// proxies claim.
func (s *Server) addressAttrs(r *nethttp.Request) []any {
	from := []any{"from", s.caller(r).Address}
	if by := r.Header.Get("X-Forwarded-For"); by != "" {
		from = append(from, "forwardedFor", clip(by))
	}
	return from
}

// clip bounds what a caller has a line of the log say.
func clip(text string) string { return fmt.Sprintf("%.200s", text) }
