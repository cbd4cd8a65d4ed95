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

// Config says where the cluster is, and how to talk to it. A zero time means its default, but for
// ReadTimeout.
type Config struct {
	Dir   string   // the data directory, in which peer URLs are remembered
	Seeds []string // peer URLs of members, to be asked when none of those that are remembered answers
	Own   []string // client URLs that lead to this proxy: none of them is an endpoint

	FailureWait     time.Duration // for which an endpoint is left alone that does not answer
	RefreshInterval time.Duration // between two questions to the members who they are
	DialTimeout     time.Duration // of a connection to a member, TLS included
	WriteTimeout    time.Duration // of a piece that is sent to a member
	ReadTimeout     time.Duration // of a piece that is awaited; 0: none. It ends watches in which nothing happens.

	// makes connections to https client URLs, and checks who answers there; nil: by the system's
	// authorities
	DialTLS     Dial
	PeerDialTLS Dial // likewise for peer URLs
	Logger      *slog.Logger
}

// What a Config means that says nothing else.
const (
	DefaultFailureWait     = 5 * time.Second
	DefaultRefreshInterval = 30 * time.Second
	DefaultDialTimeout     = time.Second
	DefaultWriteTimeout    = 5 * time.Second
)

// A Proxy is an http.Handler that has the members of a cluster answer. All methods may be called
// from any goroutine.
type Proxy struct {
	cfg       Config
	log       *slog.Logger
	name      string // this proxy's in Via, unlike any other's
	endpoints *endpoints
	transport *http.Transport
	polls     *polls
	reverse   *httputil.ReverseProxy
	given     []string      // peer URLs: the seeds or, without any, those that were remembered
	peerURLs  []string      // follow's own
	patience  time.Duration // the constant, less in tests

	asked chan struct{} // closed after the first question to the members
	ended context.Context
	end   context.CancelFunc

	requests, dropped, failures atomic.Uint64

	logIndex atomic.Uint64 // the newest X-Raft-Index that a member has told
}

// New returns a proxy that has begun to look for the members. The error is of the file in which it
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
		patience:  patience,
		asked:     make(chan struct{}),
	}
	if len(p.given) == 0 {
		p.given = peerURLs
	}
	p.polls = &polls{next: forwarder{p}, open: map[string]*poll{}}
	p.reverse = &httputil.ReverseProxy{
		Rewrite:       p.rewrite,
		Transport:     p.polls,
		FlushInterval: -1, // the head of a watch is worth knowing, and each of its events
		BufferPool:    pool{},
		ErrorHandler:  p.fail,
		ErrorLog:      log.New(io.Discard, "", 0), // that a client went away is no news
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

// Asked is closed when the members have been asked for the first time, with or without an answer.
func (p *Proxy) Asked() <-chan struct{} { return p.asked }

// Close ends all watches, and the questions to the members. Other requests go on.
func (p *Proxy) Close() {
	p.end()
	p.transport.CloseIdleConnections()
}

// Ill says why this proxy is of no use at the moment, "" when it is.
func (p *Proxy) Ill() string {
	if _, usable := p.endpoints.count(); usable == 0 {
		return "no member of the cluster answers"
	}
	return ""
}

// Metrics yields what this package counts, as name, kind, help and value of Prometheus.
func (p *Proxy) Metrics(yield func(name, kind, help string, value float64)) {
	all, usable := p.endpoints.count()
	yield("etcd_proxy_endpoints", "gauge", "Client URLs of members.", float64(all))
	yield("etcd_proxy_endpoints_available", "gauge", "Those of them that are thought to answer.", float64(usable))
	yield("etcd_proxy_requests_total", "counter", "Requests received for the members.", float64(p.requests.Load()))
	yield("etcd_proxy_dropped_total", "counter", "Requests that no member has answered.", float64(p.dropped.Load()))
	yield("etcd_proxy_failures_total", "counter", "Tries at one member that failed.", float64(p.failures.Load()))
	yield("etcd_proxy_polls", "gauge", "Long polls at members that clients with the same question share.",
		float64(p.polls.count()))
}

const localPath = "/v2/config/local/proxy"

// ServeHTTP has a member answer. A body must be within the limits that the caller has; it is read
// as a whole, since more than one member may have to be tried.
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

// serveLocal tells the endpoints that are thought to answer.
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

// send answers in the form that etcd 2 has for it.
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

// rewrite undoes what ReverseProxy changes besides the headers that are for one hop only, and tells
// the members who asks and by which way. A member does not take a request that has come by a way
// for one of the certificate's owner (pitfall J14).
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
	host, _, _ := net.SplitHostPort(r.In.RemoteAddr) // it is there always
	h["X-Forwarded-For"] = extended(r.In.Header["X-Forwarded-For"], host)
	h["Via"] = extended(r.In.Header["Via"], "1.1 "+p.name)
}

// extended is the one value of a header that is a list, with one more at its end.
func extended(values []string, last string) []string {
	return []string{strings.Join(slices.Concat(values, []string{last}), ", ")}
}

// pool gives ReverseProxy small buffers: a watch that waits holds one.
type pool struct{}

// Get returns a buffer.
func (pool) Get() []byte { return make([]byte, 8<<10) }

// Put leaves the buffer to the garbage collector.
func (pool) Put([]byte) {}
