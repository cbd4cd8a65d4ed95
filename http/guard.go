package http

import (
	"fmt"
	nethttp "net/http"
	"runtime/debug"
	"slices"
	"strings"

	"etcd2/store"
)

// cors is the list of origins whose pages may use this API.
type cors struct {
	all     bool
	origins []string
	foreign *nethttp.CrossOriginProtection // knows the origins, too
}

func newCORS(origins []string) (*cors, error) {
	c := &cors{all: slices.Contains(origins, "*"), origins: origins, foreign: nethttp.NewCrossOriginProtection()}
	for _, o := range origins {
		if o == "*" {
			continue
		}
		if err := c.foreign.AddTrustedOrigin(o); err != nil {
			return nil, fmt.Errorf("http: New: CORS: %w", err)
		}
	}
	return c, nil
}

var (
	corsAll     = []string{"*"}
	varyOrigin  = []string{"Origin"}
	corsMethods = []string{"POST, GET, OPTIONS, PUT, DELETE"}
	corsHeaders = []string{"accept, content-type, authorization"}
)

// announce tells the browser that the page may read the answer; every answer says so, errors
// included. No cache gives one origin's answer to another.
func (c *cors) announce(w *response, r *nethttp.Request) {
	if !c.all {
		w.Header()["Vary"] = varyOrigin
	}
	if !c.trusts(r) {
		return
	}
	allowed := corsAll
	if !c.all {
		allowed = r.Header["Origin"][:1]
	}
	h := w.Header()
	h["Access-Control-Allow-Origin"] = allowed
	h["Access-Control-Allow-Methods"] = corsMethods
	h["Access-Control-Allow-Headers"] = corsHeaders
}

// trusts tells whether the request comes from a page that may use this API. No page can say that it
// is another one.
func (c *cors) trusts(r *nethttp.Request) bool {
	origin := r.Header["Origin"]
	return c.all || len(origin) > 0 && slices.Contains(c.origins, origin[0])
}

// refuses tells the writes that a page of another site makes with the browser of somebody who can
// reach us (J8). By an Origin alone only POST is refused, as it is all that such a page may send
// without asking first: the answer to its OPTIONS stops the browser from sending a PUT or DELETE,
// and other programs go on as with etcd 2.
func (c *cors) refuses(r *nethttp.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	switch {
	case c.all:
		return false
	case writesByGet(r):
		return c.foreign.Check(asPost(r)) != nil || site == "" && r.Header["Origin"] == nil && byBrowser(r.Header)
	}
	return (r.Method == "POST" || site != "") && c.foreign.Check(r) != nil
}

// writesByGet reports whether a request is the one GET that writes. A page needs no more than an
// image to send it. Over plain HTTP the browser then need not say whose page that is, so a browser
// that says nothing is refused, too.
func writesByGet(r *nethttp.Request) bool {
	return r.Method == "GET" && r.URL.Path == newTokenPath
}

func asPost(r *nethttp.Request) *nethttp.Request {
	post := *r
	post.Method = "POST"
	return &post
}

const (
	crossOrigin = "cross-origin request refused"
	writingGet  = crossOrigin +
		": this GET writes, so a browser that does not tell its page's site must send PUT instead"
)

// guard does what comes before routing and reports whether the request goes on.
func (s *Server) guard(w *response, r *nethttp.Request) bool {
	if s.cfg.front.forbids(w, r) {
		return false
	}
	if len(s.cors.origins) > 0 {
		s.cors.announce(w, r)
	}
	if s.hosts.refuses(r) && !s.cors.trusts(r) {
		messageError(w, nethttp.StatusForbidden, foreignHost(r.Host))
		return false
	}
	if r.Method == "OPTIONS" {
		w.WriteHeader(nethttp.StatusOK)
		return false
	}
	switch foreign := s.cors.refuses(r); {
	case foreign && writesByGet(r):
		messageError(w, nethttp.StatusForbidden, writingGet)
	case foreign:
		messageError(w, nethttp.StatusForbidden, crossOrigin)
	}
	return w.status == 0
}

// catch turns a panic of a handler into a 500 in the shape that the path's errors have, counts it
// and logs it once, with the stack (J12). When the head is sent already, only closing the
// connection tells the client.
func (s *Server) catch(w *response, r *nethttp.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == nethttp.ErrAbortHandler {
		panic(v) // on purpose: nothing but a broken connection tells the client
	}
	s.metrics.panics.Add(1)
	s.log.Error("http: handler panicked", "method", r.Method, "path", r.URL.Path,
		"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(nethttp.ErrAbortHandler)
	}
	if strings.HasPrefix(r.URL.Path, keysPrefix) {
		s.keysError(w, &store.Error{Code: store.CodeRaft, Cause: internalError})
		return
	}
	messageError(w, nethttp.StatusInternalServerError, internalError)
}
