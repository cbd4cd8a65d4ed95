package http

import (
	"bytes"
	"log/slog"
	"net"
	nethttp "net/http"
	"slices"
	"strings"
	"testing"
)

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func TestListedOriginsAreAnnouncedOnEveryAnswer(t *testing.T) {
	b := newBench(t, func(c *Config) { c.CORS = []string{"http://a.example", "http://b.example:8080"} })
	for origin, allowed := range map[string]bool{
		"http://a.example": true, "http://b.example:8080": true,
		"http://c.example": false, "http://a.example/": false, "HTTP://a.example": false, "": false,
	} {
		for _, r := range [][2]string{{"GET", "/v2/keys/none"}, {"PATCH", "/v2/keys/k"}, {"GET", "/foo"},
			{"OPTIONS", "/x"}, {"GET", "/v2//keys"}, {"PUT", "/v2/keys/k"}} {
			w := b.do(r[0], r[1], "", "Origin", origin)
			h := w.Header()
			if allowed && (h.Get("Access-Control-Allow-Origin") != origin ||
				h.Get("Access-Control-Allow-Methods") != "POST, GET, OPTIONS, PUT, DELETE" ||
				h.Get("Access-Control-Allow-Headers") != "accept, content-type, authorization") {
				t.Errorf("%v from %q: %v", r, origin, h)
			}
			if !allowed && h["Access-Control-Allow-Origin"] != nil {
				t.Errorf("%v from %q is allowed", r, origin)
			}
			if w.Code == 403 {
				t.Errorf("%v from %q: refused", r, origin)
			}
			if !slices.Equal(h["Vary"], []string{"Origin"}) {
				t.Errorf("%v from %q: Vary: %q", r, origin, h["Vary"])
			}
		}
	}
}

func TestThePageVariesByOriginToo(t *testing.T) {
	b := newBench(t, func(c *Config) { c.CORS, c.Page = []string{"http://a.example"}, true })

	w := b.do("GET", "/", "", "Accept", "text/html")

	if got := w.Header()["Vary"]; w.Code != 200 || !slices.Equal(got, []string{"Origin", "Accept"}) {
		t.Errorf("%d %q", w.Code, got)
	}
}

func TestStarAllowsEveryOrigin(t *testing.T) {
	b := newBench(t, func(c *Config) { c.CORS = []string{"*"} })
	for _, origin := range []string{"", "http://c.example", "null"} {
		w := b.do("POST", "/v2/keys/q", "value=1", "Origin", origin, "Sec-Fetch-Site", "cross-site")
		if w.Code != 201 || w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header()["Vary"] != nil {
			t.Errorf("%q: %d %v", origin, w.Code, w.Header())
		}
	}
}

// pitfall J8
func TestWritesFromPagesOfOtherSitesAreRefused(t *testing.T) {
	b := newBench(t, func(c *Config) { c.CORS = []string{"http://a.example"} })
	for _, c := range []struct {
		method, origin, site string
		refused              bool
	}{
		{"POST", "http://evil.example", "", true}, // a form of an old browser
		{"POST", "null", "", true},
		{"POST", "http://evil.example", "cross-site", true},
		{"POST", "", "cross-site", true},
		{"PUT", "http://evil.example", "cross-site", true},
		{"DELETE", "http://evil.example", "same-site", true},
		{"POST", "http://a.example", "cross-site", false},
		{"POST", "", "", false}, // curl
		{"POST", "http://example.com", "same-origin", false},
		{"POST", "http://example.com", "", false}, // the Host of the request
		{"PUT", "http://evil.example", "", false}, // no browser sends this unasked
		{"GET", "http://evil.example", "cross-site", false},
	} {
		w := b.do(c.method, "/v2/keys/q/x", "value=1", "Origin", c.origin, "Sec-Fetch-Site", c.site)
		refused := w.Code == 403 && w.Body.String() == `{"message":"cross-origin request refused"}`
		if refused != c.refused {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
	}
}

// withRoute adds a route for one test.
func withRoute(t *testing.T, rt route) {
	t.Helper()
	before := routes
	routes = append([]route{rt}, routes...)
	t.Cleanup(func() { routes = before })
}

// pitfall J12
func TestPanicBecomesA500InTheFormOfThePath(t *testing.T) {
	broken := func(*Server, *response, *nethttp.Request) { panic("broken\nline") }
	withRoute(t, route{path: "/v2/keys/broken", serve: broken})
	withRoute(t, route{path: "/broken", serve: broken})
	var log bytes.Buffer
	b := newBench(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })

	b.want(b.do("GET", "/v2/keys/broken", ""), 500,
		`{"errorCode":300,"message":"Raft Internal Error","cause":"Internal Server Error","index":0}`+"\n")
	b.want(b.do("GET", "/broken", ""), 500, `{"message":"Internal Server Error"}`)

	if n := b.metrics.panics.Load(); n != 2 {
		t.Errorf("%d counted", n)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines in the log, want one each:\n%s", n, &log)
	}
}

// pitfall J12
func TestPanicAfterTheHeadCutsTheConnection(t *testing.T) {
	withRoute(t, route{path: "/broken", serve: func(_ *Server, w *response, _ *nethttp.Request) {
		w.Write([]byte("half"))
		panic("broken")
	}})
	b := newBench(t)
	w, err := nethttp.Get(b.serve() + "/broken")
	if err == nil {
		w.Body.Close()
		t.Errorf("got %d", w.StatusCode)
	}
	if n := b.metrics.panics.Load(); n != 1 {
		t.Errorf("%d counted", n)
	}
}

// pitfall J6
func TestLogsQuoteKeys(t *testing.T) {
	withRoute(t, route{path: "/v2/keys/evil", below: true,
		serve: func(*Server, *response, *nethttp.Request) { panic("x") }})
	var log bytes.Buffer
	b := newBench(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	b.do("GET", "/v2/keys/evil/%0D%0Alevel=FAKE%00", "")
	if strings.Contains(log.String(), "\nlevel=FAKE") || strings.ContainsAny(log.String(), "\r\x00") ||
		b.metrics.panics.Load() == 0 {
		t.Errorf("%q", log.String())
	}
}
