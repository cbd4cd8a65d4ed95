package http

import (
	"context"
	"errors"
	"io"
	nethttp "net/http"
	"slices"
	"strings"

	"etcd2/http/page"
)

// A Backend is what is behind the client port of a program that is no member: a proxy. All its
// functions may be called from any goroutine.
type Backend struct {
	Handler  nethttp.Handler // answers all paths but proxyRoutes; bodies are within the limits of the port
	ReadOnly bool            // the handler gets GETs alone, and none that writes
	Ill      func() string   // why /health is false; "": it is true
	End      func()          // ends the handler's requests, when the server shuts down

	// Metrics yields the families of /metrics besides those of any port.
	Metrics func(yield func(name, kind, help string, value float64))
}

// NewProxy returns a server that has the limits and guards of a member's client port, and hands on
// to b what passes them. c needs neither Node nor Store.
func NewProxy(c Config, b Backend) (*Server, error) {
	c.backend = &b
	return New(c)
}

// routes returns the routes of a member or of a proxy.
func (s *Server) routes() []route {
	if s.cfg.backend != nil {
		return proxyRoutes
	}
	return routes
}

// proxyRoutes are the paths that a proxy answers itself; its backend answers the rest.
var proxyRoutes = []route{
	{path: "/health", methods: onlyGet, serve: (*Server).serveHealth},
	{path: metricsPath, serve: (*Server).serveProxyMetrics},
	{path: "/", html: true, serve: (*Server).servePage},
	{path: "/debug/pprof", below: true, pprof: true, admin: true, serve: (*Server).servePprof},
	{path: "/config/local/log", methods: onlyPut, serve: (*Server).serveLogLevel},
	{below: true, serve: (*Server).serveBackend},
}

// mode returns what the page says that it is served by; a nil Backend is a member's.
func (b *Backend) mode() page.Mode {
	switch {
	case b == nil:
		return page.Member
	case b.ReadOnly:
		return page.ReadOnly
	}
	return page.Proxy
}

const metricsPath = "/metrics"

// forbids refuses what a read-only proxy does not hand on, without a body, as in etcd 2 (section
// 17.11).
func (b *Backend) forbids(w *response, r *nethttp.Request) bool {
	if b == nil || !b.ReadOnly || r.Method == "GET" && !writesByGet(r) || r.URL.Path == metricsPath {
		return false
	}
	w.WriteHeader(nethttp.StatusNotImplemented)
	return true
}

// serveBackend reads the body, if there is one, and hands the request on.
func (s *Server) serveBackend(w *response, r *nethttp.Request) {
	if r.ContentLength != 0 {
		body, err := s.readBody(w, r)
		switch {
		case errors.Is(err, errBodyTooLarge):
			messageError(w, nethttp.StatusRequestEntityTooLarge, "proxy: "+err.Error())
			return
		case errors.Is(err, errOverBudget):
			tooBusy(w, "proxy: "+err.Error())
			return
		case err != nil:
			messageError(w, nethttp.StatusBadRequest, "proxy: failed to read request body: "+err.Error())
			return
		}
		r.Body = io.NopCloser(strings.NewReader(body))
	}
	ctx, cancel := context.WithCancel(r.Context()) // with its values
	defer cancel()
	client, stop := s.untilLeft(context.Background(), r)
	defer stop()
	defer context.AfterFunc(client, cancel)()
	s.cfg.backend.Handler.ServeHTTP(announcedOnce{w}, r.WithContext(ctx))
}

// announcedOnce is the answer of a member that may have --cors, too: a browser refuses CORS headers
// that come twice. Those of the proxy come first, and stay.
type announcedOnce struct{ *response }

// WriteHeader sends the head.
func (w announcedOnce) WriteHeader(status int) {
	h := w.Header()
	for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Methods",
		"Access-Control-Allow-Headers"} {
		if values := h[name]; len(values) > 1 {
			h[name] = values[:1]
		}
	}
	if values := h["Vary"]; len(values) > 1 {
		h["Vary"] = slices.Compact(slices.Sorted(slices.Values(values)))
	}
	w.response.WriteHeader(status)
}

// serveProxyMetrics writes the metrics of the backend, and those of the table that are about the
// port and the process.
func (s *Server) serveProxyMetrics(w *response, r *nethttp.Request) {
	m := newScrape(s)
	s.cfg.backend.Metrics(func(name, kind, help string, value float64) {
		m.family(&family{name, kind, help, func(m *scrape) { m.sample("", value) }})
	})
	for i := range families {
		if aboutAnyPort(families[i].name) {
			m.family(&families[i])
		}
	}
	m.send(w)
}

// aboutAnyPort reports whether a family, by its name, needs no node.
func aboutAnyPort(name string) bool {
	for _, prefix := range []string{"etcd_http_connections", "etcd_http_panics", "etcd2_places_", "etcd2_tls_", "go_",
		"process_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
