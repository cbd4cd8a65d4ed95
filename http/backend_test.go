package http

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
)

// front is a server whose handler answers with the request that it got.
func front(t *testing.T, c Config, f Backend) *Server {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	if f.Handler == nil {
		f.Handler = nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
			b, err := io.ReadAll(r.Body)
			fmt.Fprint(w, r.Method, " ", r.URL, " ", string(b), " ", err)
		})
	}
	f.End = func() {}
	f.Metrics = func(yield func(name, kind, help string, value float64)) {
		yield("etcd_proxy_endpoints", "gauge", "Members.", 3)
	}
	s, err := NewProxy(c, f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAFrontHandsOnWhatPassesItsGuards(t *testing.T) {
	ill := ""
	s := front(t, Config{MaxRequestBytes: 10, Hosts: []string{"example.com"}, CORS: []string{"http://good.example"}},
		Backend{Ill: func() string { return ill }})
	for _, c := range []struct {
		method, path, body, origin string
		status                     int
		want                       string
	}{
		{"PUT", "/v2/keys/a?x=1", "value=1", "", 200, "PUT /v2/keys/a?x=1 value=1 <nil>"},
		{"DELETE", "/", "", "", 200, "DELETE /  <nil>"},
		{"GET", "/version", "", "http://evil.example", 200, "GET /version  <nil>"},
		{"OPTIONS", "/v2/keys/a", "", "http://good.example", 200, ""},
		{"POST", "/v2/keys/a", "", "http://evil.example", 403, `{"message":"cross-origin request refused"}`},
		{"GET", "http://evil.example/version", "", "http://evil.example", 403, refusedHost("evil.example")},
		{"GET", "/v2//keys/../a", "", "", 301, "<a href=\"/v2/a\">Moved Permanently</a>.\n\n"},
		{"PUT", "/v2/keys/a", "12345678901", "", 413, `{"message":"proxy: http: POST too large"}`},
		{"GET", "/health", "", "", 200, `{"health": "true"}`},
		{"GET", "/debug/pprof/cmdline", "", "", 200, "GET /debug/pprof/cmdline  <nil>"},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)

		if w.Code != c.status || w.Body.String() != c.want {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, w.Code, w.Body, c.status, c.want)
		}
		if good := w.Header().Get("Access-Control-Allow-Origin") == "http://good.example"; good != (c.origin == "http://good.example") {
			t.Errorf("%s %s: %v", c.method, c.path, w.Header())
		}
	}
	ill = "nobody answers"
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/health", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), ill) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAPageIsAnnouncedOnceByFrontAndMember(t *testing.T) {
	member := newBench(t, func(c *Config) { c.CORS = []string{"http://a.example", "http://b.example"} })
	for _, c := range []struct{ front, allowed string }{{"http://a.example", "http://a.example"}, {"*", "*"},
		{"", "http://a.example"}} {
		s := front(t, Config{CORS: strings.Fields(c.front), Hosts: []string{"example.com"}},
			Backend{Handler: nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
				answer := member.do("GET", "/v2/keys", "", "Origin", r.Header.Get("Origin"))
				for name, values := range answer.Header() {
					w.Header()[name] = append(w.Header()[name], values...)
				}
				w.Header().Add("Vary", "Accept")
				w.WriteHeader(answer.Code)
			})})
		r, w := httptest.NewRequest("GET", "/v2/keys", nil), httptest.NewRecorder()
		r.Header.Set("Origin", "http://a.example")

		s.ServeHTTP(w, r)

		h := w.Header()
		got := fmt.Sprint(h["Access-Control-Allow-Origin"], len(h["Access-Control-Allow-Methods"]),
			len(h["Access-Control-Allow-Headers"]), h["Vary"])
		if want := fmt.Sprintf("[%s]11[AcceptOrigin]", c.allowed); strings.ReplaceAll(got, " ", "") != want {
			t.Errorf("--cors=%s: %s, want %s", c.front, got, want)
		}
	}
}

func TestABodyThatBreaksOffIsNotHandedOn(t *testing.T) {
	s := front(t, Config{}, Backend{})
	w := httptest.NewRecorder()

	s.ServeHTTP(w, httptest.NewRequest("PUT", "/v2/keys/a", iotest.ErrReader(errors.New("broken"))))

	if w.Code != 400 || w.Body.String() != `{"message":"proxy: failed to read request body: broken"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// pitfall J10
func TestAFrontsInsidesAreForItsOwnMachine(t *testing.T) {
	s := front(t, Config{Pprof: true}, Backend{})
	for _, r := range [][2]string{{"GET", "/debug/pprof"}, {"GET", "/debug/pprof/cmdline"},
		{"GET", "/debug/pprof/goroutine"}, {"PUT", "/config/local/log"}} {
		for _, c := range []struct {
			from, way string
			refused   bool
		}{
			{"127.0.0.1:1", "", false}, {"[::1]:1", "", false}, {"10.0.0.1:1", "", true}, {"[2001:db8::1]:1", "",
				true}, {"", "", true},
			{"127.0.0.1:1", "Via", true}, {"127.0.0.1:1", "X-Forwarded-For", true},
		} {
			req := httptest.NewRequest(r[0], r[1], strings.NewReader(`{"level":"DEBUG"}`))
			req.RemoteAddr = c.from
			if c.way != "" {
				req.Header.Set(c.way, "10.0.0.1")
			}
			w := httptest.NewRecorder()

			s.ServeHTTP(w, req)

			refused := w.Code == 403 && w.Body.String() == `{"message":"`+errElsewhere.Error()+`"}`
			if refused != c.refused || !refused && w.Code/100 != 2 {
				t.Errorf("%v from %+v: %d %s", r, c, w.Code, w.Body)
			}
		}
	}
}

func TestAReadOnlyFrontTakesGetsOnly(t *testing.T) {
	s := front(t, Config{CORS: []string{"*"}}, Backend{ReadOnly: true, Ill: func() string { return "" }})
	for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"} {
		for _, path := range []string{"/v2/keys/a", "/v2/config/local/proxy", "/config/local/log", "/metrics",
			"/discovery/new?size=3", "/discovery/%6eew", "/discovery/t"} {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest(method, path, nil))

			if refused := (method != "GET" || strings.HasSuffix(strings.TrimSuffix(path, "?size=3"), "ew")) &&
				path != "/metrics"; refused && w.Body.Len() > 0 || (w.Code == 501) != refused {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
	}
}

func TestAFrontsMetricsAreItsOwn(t *testing.T) {
	s := front(t, Config{}, Backend{})
	w := httptest.NewRecorder()

	s.ServeHTTP(w, httptest.NewRequest("POST", "/metrics", nil))

	text := w.Body.String()
	for _, want := range []string{"# TYPE etcd_proxy_endpoints gauge\netcd_proxy_endpoints 3\n",
		"\netcd_http_connections 0\n", "\netcd_http_panics_total 0\n", "\nprocess_open_fds ", "\ngo_goroutines "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if strings.Contains(text, "etcd_server_") || strings.Contains(text, "etcd_store_") {
		t.Error(text)
	}
}

// An answer of the backend that breaks off is not counted as a panic, and its client sees that it
// is not whole.
func TestAnAnswerThatBreaksOffLooksLikeIt(t *testing.T) {
	s := front(t, Config{}, Backend{Handler: nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		fmt.Fprint(w, "half")
		w.(interface{ Unwrap() nethttp.ResponseWriter }).Unwrap().(nethttp.Flusher).Flush()
		panic(nethttp.ErrAbortHandler)
	})})
	server := httptest.NewServer(s)
	defer server.Close()
	resp, err := nethttp.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()

	if b, err := io.ReadAll(resp.Body); err == nil || string(b) != "half" || s.metrics.panics.Load() != 0 {
		t.Errorf("%q %v, %d panics", b, err, s.metrics.panics.Load())
	}
}
