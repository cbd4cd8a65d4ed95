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

// announce tells the browser that the page may read the answer, errors included. No cache gives the
// answer for one origin to another.
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

// trusts reports whether the request comes from a page that may use this API. A page can't set its
// Origin.
func (c *cors) trusts(r *nethttp.Request) bool {
	origin := r.Header["Origin"]
	return c.all || len(origin) > 0 && slices.Contains(c.origins, origin[0])
}

// refuses reports whether a request is a write that a page of another site makes, through the
// browser of somebody who can reach this member (J8). A request with an Origin and no
// Sec-Fetch-Site is refused only if it is a POST: that is all that such a page may send without
// asking first, and the answer to its OPTIONS stops the browser from sending a PUT or DELETE. Other
// programs go on as with etcd 2.
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

// writesByGet reports whether a request is the one GET that writes. A page needs only an image to
// send it. Over plain HTTP the browser need not say whose page that is, so a browser that says
// nothing is refused, too.
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

// guard makes the checks that come before routing, and reports whether the request goes on.
func (s *Server) guard(w *response, r *nethttp.Request) bool {
	if s.cfg.backend.forbids(w, r) {
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

// catch turns a panic of a handler into a 500 in the error shape of the path, counts it, and logs
// it once, with the stack (J12). When the head is sent already, it closes the connection: nothing
// else tells the client.
func (s *Server) catch(w *response, r *nethttp.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == nethttp.ErrAbortHandler {
		panic(v) // on purpose: only a broken connection tells the client
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

// hosts are the names under which browsers may call this member over plain HTTP (J8).
//
// The owner of evil.example may change its address to this member's once a browser has loaded a
// page from there. What the page sends here then counts as from the same site, and no check of
// origins helps. But the browser still says Host: evil.example. So a name that is not in the list
// is refused, on every interface. A name without a dot is no exception: the network of the browser
// may resolve it to any address. An IP address is never resolved, so all are allowed. Other
// programs may use any name.
type hosts struct {
	all   bool
	names map[string]bool // in lower case, without port and trailing dot
}

func newHosts(names []string) hosts {
	h := hosts{all: slices.Contains(names, "*"), names: map[string]bool{"localhost": true}}
	for _, name := range names {
		h.names[strings.ToLower(bareHost(name))] = true
	}
	return h
}

// knows reports whether the value of a Host header (or :authority) is an address or a name of the
// list. A browser always sends one.
func (h hosts) knows(host string) bool {
	host = bareHost(host)
	last := host[strings.LastIndexByte(host, '.')+1:]
	return h.all || host == "" || host == "[" || isNumber(last) || h.names[host] || h.names[strings.ToLower(host)]
}

// bareHost returns a host without its port and trailing dot; "[" stands for any IPv6 address.
func bareHost(host string) string {
	if strings.HasPrefix(host, "[") {
		return "["
	}
	host, _, _ = strings.Cut(host, ":")
	return strings.TrimSuffix(host, ".")
}

// isNumber reports whether a name's last label makes it an IPv4 address. There is no such top-level
// domain, and no program asks a name server for one.
func isNumber(label string) bool {
	for i := range len(label) {
		if label[i] < '0' || label[i] > '9' {
			return false
		}
	}
	return label != ""
}

// refuses reports whether a request may come from a browser that resolved a name of somebody else's
// choice to this member. Over TLS the browser has compared the name with the certificate.
func (h hosts) refuses(r *nethttp.Request) bool {
	return !h.knows(r.Host) && r.TLS == nil && byBrowser(r.Header)
}

// foreignHost returns the answer to a request that hosts refuses.
func foreignHost(host string) string {
	name := bareHost(host)
	if len(name) > 253 { // the longest that DNS has
		name = "NAME"
	}
	return "nobody told this member that it has the name by which this browser calls it: --host-whitelist=" +
		name + " allows it"
}

// browserMarks are headers that browsers send, and clients of etcd don't: the beginning of a
// header's name, and a part of its value. A page can leave out its Referer, and in some browsers
// replace the User-Agent. Over plain HTTP there may be no Sec-Fetch-Site, and no Origin with a GET.
// But no page keeps its browser from sending an Accept-Language.
var browserMarks = []struct{ header, value string }{
	{"Accept-Language", ""},
	{"Accept", "application/xhtml+xml"}, // Java's own client says text/html
	{"Cookie", ""},
	{"Origin", ""},
	{"Referer", ""},
	{"Sec-", ""}, // what no page can set: Sec-Fetch-Site, Sec-CH-UA, Sec-GPC, …
	{"Upgrade-Insecure-Requests", ""},
	{"User-Agent", "Mozilla/"},
}

// byBrowser reports whether a request may come from a browser.
func byBrowser(h nethttp.Header) bool {
	for name, values := range h {
		for _, t := range browserMarks {
			if strings.HasPrefix(name, t.header) && strings.Contains(strings.Join(values, ","), t.value) {
				return true
			}
		}
	}
	return false
}
