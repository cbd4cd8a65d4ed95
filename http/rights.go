package http

import (
	"errors"
	"net"
	nethttp "net/http"
	"net/netip"
	"strconv"
	"strings"
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
func (s *Server) allowed(w *response, may *permit) bool {
	err := may.check()
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
