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

// hosts are the names under which browsers may call this member over plain HTTP (J8).
//
// A page of evil.example may have that name lead to this member once the browser has loaded the
// page. What the page sends here is then from the browser's own "site", and no check of origins
// helps. But the browser still says Host: evil.example, so a name that the member was not told is
// refused, on every interface. A name without a dot is no exception: the network around a browser
// may have it lead anywhere. An IP address leads nowhere else, so each is allowed. Other programs
// may use any name.
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

// knows reports whether the value of a Host header (or :authority) is an address, or a name that
// this member was told. A browser always sends one.
func (h hosts) knows(host string) bool {
	host = bareHost(host)
	last := host[strings.LastIndexByte(host, '.')+1:]
	return h.all || host == "" || host == "[" || isNumber(last) || h.names[host] || h.names[strings.ToLower(host)]
}

// bareHost returns a host without its port and trailing dot, and "[" for an IPv6 address.
func bareHost(host string) string {
	if strings.HasPrefix(host, "[") {
		return "["
	}
	host, _, _ = strings.Cut(host, ":")
	return strings.TrimSuffix(host, ".")
}

// isNumber reports whether a name's last label makes it an IPv4 address. There is no such top-level
// domain, and no program asks a name server for it.
func isNumber(label string) bool {
	for i := range len(label) {
		if label[i] < '0' || label[i] > '9' {
			return false
		}
	}
	return label != ""
}

// refuses reports whether a request may come from a browser that was led here by a name of somebody
// else's choice. Over TLS the browser has looked for the name in the certificate.
func (h hosts) refuses(r *nethttp.Request) bool {
	return !h.knows(r.Host) && r.TLS == nil && byBrowser(r.Header)
}

// foreignHost is the answer to a request that hosts refuses.
func foreignHost(host string) string {
	name := bareHost(host)
	if len(name) > 253 { // the longest that DNS has
		name = "NAME"
	}
	return "nobody told this member that it has the name by which this browser calls it: --host-whitelist=" +
		name + " allows it"
}

// tells are what a browser's head has in it, and the clients of etcd don't send: the begin of a
// header's name, and what its value contains. A page can leave out its Referer, and in some
// browsers replace the User-Agent. Over plain HTTP there may be no Sec-Fetch-Site, and no Origin
// with a GET. But no page keeps its browser from sending some Accept-Language.
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
