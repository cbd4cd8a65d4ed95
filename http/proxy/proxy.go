package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Config says where the cluster is, and how to talk to it. A zero time means its default, except
// for ReadTimeout.
type Config struct {
	Dir   string   // the data directory, in which peer URLs are remembered
	Seeds []string // peer URLs of members, to be asked when none that is remembered answers
	Own   []string // client URLs that lead to this proxy: none of them is an endpoint

	FailureWait     time.Duration // before an endpoint that failed is tried again
	RefreshInterval time.Duration // between two requests for the list of members
	DialTimeout     time.Duration // for connecting to a member, TLS included
	WriteTimeout    time.Duration // for each write to a member
	ReadTimeout     time.Duration // for each read from a member; 0: none. It ends watches in which nothing happens.

	DialTLS     Dial // connects to https client URLs, and verifies the server; nil: by the system's authorities
	PeerDialTLS Dial // the same for peer URLs
	Logger      *slog.Logger
}

// Defaults of Config's zero fields.
const (
	DefaultFailureWait     = 5 * time.Second
	DefaultRefreshInterval = 30 * time.Second
	DefaultDialTimeout     = time.Second
	DefaultWriteTimeout    = 5 * time.Second
)

// A Proxy is an http.Handler that forwards requests to the members of a cluster. All methods may be
// called from any goroutine.
type Proxy struct {
	cfg       Config
	log       *slog.Logger
	name      string // of this proxy in Via headers; no other proxy has the same
	endpoints *endpoints
	transport *http.Transport
	polls     *polls
	reverse   *httputil.ReverseProxy
	given     []string      // peer URLs: the seeds or, without any, those that were remembered
	peerURLs  []string      // of the members; only follow uses it
	slowAfter time.Duration // the constant, less in tests

	asked chan struct{} // closed after the first request for the list of members
	ended context.Context
	end   context.CancelFunc

	requests, dropped, failures atomic.Uint64

	logIndex atomic.Uint64 // the newest X-Raft-Index that a member has told
}

// New returns a proxy, which begins to look for the members. An error is about the file in which it
// remembers them.
func New(c Config) (*Proxy, error) {
	c = c.withDefaults()
	peerURLs, err := Remembered(c.Dir)
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		cfg: c, log: c.Logger, name: "etcd2-proxy-" + rand.Text(),
		endpoints: &endpoints{wait: c.FailureWait},
		transport: newTransport(c),
		given:     c.Seeds,
		peerURLs:  peerURLs,
		slowAfter: slowAfter,
		asked:     make(chan struct{}),
	}
	if len(p.given) == 0 {
		p.given = peerURLs
	}
	p.polls = &polls{next: forwarder{p}, open: map[string]*poll{}}
	p.reverse = &httputil.ReverseProxy{
		Rewrite:       p.rewrite,
		Transport:     p.polls,
		FlushInterval: -1, // at once: the head of a watch, and each of its events
		BufferPool:    pool{},
		ErrorHandler:  p.fail,
		ErrorLog:      log.New(io.Discard, "", 0), // it would log clients that disconnect
	}
	p.ended, p.end = context.WithCancel(context.Background())
	go p.follow(p.ended)
	return p, nil
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		value  *time.Duration
		preset time.Duration
	}{
		{&c.FailureWait, DefaultFailureWait}, {&c.RefreshInterval, DefaultRefreshInterval},
		{&c.DialTimeout, DefaultDialTimeout}, {&c.WriteTimeout, DefaultWriteTimeout},
	} {
		if *d.value <= 0 {
			*d.value = d.preset
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Asked returns a channel that is closed when the first request for the list of members has ended,
// with or without an answer.
func (p *Proxy) Asked() <-chan struct{} { return p.asked }

// Close ends all watches, and stops following the members. Other requests go on.
func (p *Proxy) Close() {
	p.end()
	p.transport.CloseIdleConnections()
}

// Ill returns why this proxy can't forward requests at the moment; "" when it can.
func (p *Proxy) Ill() string {
	if _, usable := p.endpoints.count(); usable == 0 {
		return "no member of the cluster answers"
	}
	return ""
}

// Metrics calls yield with each metric of this package: its name, kind and help as in Prometheus,
// and its value.
func (p *Proxy) Metrics(yield func(name, kind, help string, value float64)) {
	all, usable := p.endpoints.count()
	yield("etcd_proxy_endpoints", "gauge", "Client URLs of members.", float64(all))
	yield("etcd_proxy_endpoints_available", "gauge", "Client URLs of members that have not failed lately.",
		float64(usable))
	yield("etcd_proxy_requests_total", "counter", "Requests received for the members.", float64(p.requests.Load()))
	yield("etcd_proxy_dropped_total", "counter", "Requests that no member has answered.", float64(p.dropped.Load()))
	yield("etcd_proxy_failures_total", "counter", "Tries at one member that failed.", float64(p.failures.Load()))
	yield("etcd_proxy_polls", "gauge", "Long polls at members, each shared by the clients that wait for the same.",
		float64(p.polls.count()))
}

const localPath = "/v2/config/local/proxy"

// ServeHTTP forwards a request to a member. The caller limits the body; it is read completely,
// because more than one member may have to be tried.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == localPath:
		p.serveLocal(w, r)
		return
	case strings.Contains(strings.Join(r.Header["Via"], ","), p.name):
		p.dropped.Add(1)
		errLoop.send(w)
		return
	case r.Method == "CONNECT":
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	p.requests.Add(1)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		p.dropped.Add(1)
		(&failure{http.StatusInternalServerError, "failed to read request body: " + err.Error()}).send(w)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if r.URL.Query().Get("wait") == "true" {
		defer context.AfterFunc(p.ended, cancel)()
	}
	r = r.WithContext(ctx)
	r.Body, r.ContentLength, r.GetBody = http.NoBody, int64(len(body)), nil
	if len(body) > 0 {
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		r.Body, _ = r.GetBody()
	}
	p.reverse.ServeHTTP(w, r)
}

// serveLocal answers with the usable endpoints.
func (p *Proxy) serveLocal(w http.ResponseWriter, r *http.Request) {
	if r.Method != "GET" {
		w.Header().Set("Allow", "GET")
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	json.NewEncoder(w).Encode(struct {
		Endpoints []string `json:"endpoints"`
	}{p.endpoints.urls()})
}

// send answers in the form of etcd 2.
func (f *failure) send(w http.ResponseWriter) {
	b, err := json.Marshal(struct {
		Message string `json:"message"`
	}{f.Error()})
	if err != nil {
		panic(err) // a text is always JSON
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	w.Write(b)
}

// rewrite undoes the changes of ReverseProxy, except to headers that are for one hop only, and adds
// the client's address and this proxy. By these a member knows that the request is not from the
// owner of the proxy's certificate (pitfall J14).
func (p *Proxy) rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	h := r.Out.Header
	for _, name := range []string{"Te", "Trailers", "Upgrade", "Connection", "Expect"} {
		h.Del(name) // ReverseProxy leaves some of these, to switch protocols
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values := r.In.Header[name]; values != nil {
			h[name] = values
		}
	}
	host, _, _ := net.SplitHostPort(r.In.RemoteAddr) // net/http always sets it
	h["X-Forwarded-For"] = appended(r.In.Header["X-Forwarded-For"], host)
	h["Via"] = appended(r.In.Header["Via"], "1.1 "+p.name)
}

// appended returns the single value of a header that is a list, with one more element.
func appended(values []string, last string) []string {
	return []string{strings.Join(slices.Concat(values, []string{last}), ", ")}
}

// pool gives ReverseProxy small buffers: each watch that waits holds one.
type pool struct{}

// Get returns a buffer.
func (pool) Get() []byte { return make([]byte, 8<<10) }

// Put leaves the buffer to the garbage collector.
func (pool) Put([]byte) {}
