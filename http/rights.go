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

// permit is the right that a request needs, and the last verdict on it. It belongs to the request's
// handler.
type permit struct {
	server  *Server
	request *nethttp.Request
	need    auth.Right
	verdict auth.Verdict // the last one; State is nil before the first
}

func (s *Server) permit(r *nethttp.Request, need auth.Right) *permit {
	return &permit{server: s, request: r, need: need}
}

// holds reports whether the request was allowed, and no user or role has changed since.
func (p *permit) holds() bool {
	return p.verdict.State != nil && p.server.keeper.Holds(p.verdict)
}

// check has the request judged, unless the last verdict still holds. Its errors are those of
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

// checkAtProxy allows what needs the role root at a member, if the request comes from the proxy's
// own machine.
func (p *permit) checkAtProxy() error {
	p.verdict.User, p.verdict.Proof = "(anybody: a proxy knows no users)", "none"
	ip, err := netip.ParseAddr(p.server.caller(p.request).Address)
	if err != nil || !ip.IsLoopback() || forwarded(p.request) {
		p.refused()
		return errElsewhere
	}
	return nil
}

// mayRead reports whether the client of an allowed request may also read its key.
func (p *permit) mayRead() bool {
	return p.verdict.May(auth.Right{Access: auth.Read, Path: p.need.Path})
}

// secrets returns the nodes in the answer to a write whose values the client may not read, and did
// not send itself with cmd.
func (p *permit) secrets(cmd store.Command, e *store.Event) (nodes []*store.Node) {
	if p.mayRead() {
		return nil
	}
	if e.Node.Value != cmd.Value { // after a refresh
		nodes = append(nodes, e.Node)
	}
	return append(nodes, e.Prev)
}

// conceal returns what the client of a write may know of its error: that a value differs from
// prevValue, but the value itself only with the right to read it.
func (p *permit) conceal(cmd store.Command, e *store.Error) *store.Error {
	named := "[" + cmd.PrevValue + " != "
	if e.Code != store.CodeCompareFailed || cmd.PrevValue == "" || !strings.HasPrefix(e.Cause, named) || p.mayRead() {
		return e
	}
	return &store.Error{Code: e.Code, Cause: named + "the value, which you may not read]", Index: e.Index}
}

// caller returns who sent the request, as far as the request tells.
func (s *Server) caller(r *nethttp.Request) auth.Caller {
	host, _, _ := net.SplitHostPort(r.RemoteAddr) // "" is an address like any other
	c := auth.Caller{Authorization: r.Header["Authorization"], Address: host}
	if s.cfg.ClientCertAuth && !forwarded(r) && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		c.Certified, c.CommonName = true, r.TLS.VerifiedChains[0][0].Subject.CommonName
	}
	return c
}

// forwarded reports whether a request has come through a proxy, by the headers that a proxy adds.
// Its certificate is then the proxy's, and does not make the proxy's clients that user (J14). A
// client that adds such a header itself only loses rights by it.
func forwarded(r *nethttp.Request) bool {
	return len(r.Header["Via"]) > 0 || len(r.Header["X-Forwarded-For"]) > 0
}

// allowed reports whether the request may go on; if not, it answers with the error shape of all
// endpoints but keys.
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

// tooMany refuses a request for the time that l says.
func tooMany(w *response, l *auth.Later) {
	seconds := (l.After + time.Second - 1) / time.Second
	w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
	messageError(w, nethttp.StatusTooManyRequests, l.Reason)
}

// The same refusal is logged once within refusalPause, and at most maxRefusals different ones are.
const (
	refusalPause = time.Minute
	maxRefusals  = 256
)

// refusals keeps requests that are refused for a missing right from filling the log: each kind has
// one line within refusalPause, and the others are counted. The zero value is ready for use.
type refusals struct {
	mu     sync.Mutex // protects all below
	lines  map[string]*repeats
	others int // refusals not logged, whose lines were forgotten or found no room
}

type repeats struct {
	at   time.Time // when it was last logged
	kept int       // how often it was suppressed since then
}

// record counts a refusal. due reports whether its line is to be logged at now: before is how often
// the line was suppressed since it was last logged, others how many other lines were.
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

// makeRoom forgets lines older than refusalPause, and reports whether there is room for another.
// r.mu must be held.
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

// refused logs that the request was refused for a missing right. A wrong password is logged by
// package auth.
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

// callerAttrs returns for the log who sent the request, how that was proved, and the address.
func (p *permit) callerAttrs() []any {
	return append([]any{"by", p.verdict.User, "proof", clip(p.verdict.Proof)}, p.server.addressAttrs(p.request)...)
}

// addressAttrs returns for the log the address of the connection, and the addresses that proxies
// name.
func (s *Server) addressAttrs(r *nethttp.Request) []any {
	from := []any{"from", s.caller(r).Address}
	if by := r.Header.Get("X-Forwarded-For"); by != "" {
		from = append(from, "forwardedFor", clip(by))
	}
	return from
}

// clip bounds a text of the client's for the log.
func clip(text string) string { return fmt.Sprintf("%.200s", text) }
