package http

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"net"
	nethttp "net/http"
	"net/http/httptest"
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

func TestAHostIsAnAddressOrANameThatTheMemberWasTold(t *testing.T) {
	h := newHosts([]string{"Db.Example.com:2379", "10.0.0.1:2379", "[::1]:2379", "host.local."})
	for host, known := range map[string]bool{
		"": true, "127.0.0.1": true, "127.0.0.1:2379": true, "127.0.0.1.": true, "127.1:2379": true,
		"192.168.1.77:80": true,
		"[::1]":           true, "[::1]:2379": true, "[fe80::1%25eth0]:2379": true, "[::ffff:1.2.3.4]:1": true, "::1": true,
		"::ffff:1.2.3.4": true,
		"localhost":      true, "LOCALHOST:2379": true, "localhost.": true, "2130706433": true, "etcd-0": false,
		"etcd_1:2379":    false,
		"db.example.com": true, "db.example.com:4001": true, "DB.EXAMPLE.COM.": true, "db.example.com.:1": true,
		"host.local":   true,
		"evil.example": false, "evil.example:2379": false, "evil.example.": false, "a.db.example.com": false,
		"db.example.com.evil.example": false,
		"127.0.0.1.evil.example":      false, "localhost.evil.example:2379": false, "1.2.3.4x": false, "EVIL.EXAMPLE": false,
		"x.": false, "a..": false, ".": true,
	} {
		if got := h.knows(host); got != known {
			t.Errorf("%q: %v", host, got)
		}
	}
	if all := newHosts([]string{"*"}); !all.knows("evil.example") {
		t.Error("* does not allow all")
	}
}

// ask sends one request, given as text, and returns the answer's status and body.
func rawAsk(t *testing.T, url, head string) (int, string) {
	t.Helper()
	c := rawDial(t, url)
	fmt.Fprint(c, head)
	w, err := nethttp.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%q: %v", head, err)
	}
	defer w.Body.Close()
	var body strings.Builder
	bufio.NewReader(w.Body).WriteTo(&body)
	return w.StatusCode, body.String()
}

func refusedHost(name string) string {
	return `{"message":"nobody told this member that it has the name by which this browser calls it: --host-whitelist=` + name + ` allows it"}`
}

// pitfall J8
func TestABrowserIsRefusedANameThatSomebodyElseChose(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Hosts = []string{"db.example"} })
	url := b.serve()
	for head, refused := range map[string]string{
		"GET /v2/keys HTTP/1.1\r\nHost: evil.example:2379\r\n":                            "evil.example",
		"OPTIONS /v2/keys HTTP/1.1\r\nHost: evil.example:2379\r\n":                        "evil.example",
		"PUT /v2/keys/k?value=1 HTTP/1.1\r\nHost: EVIL.example.\r\nContent-Length: 0\r\n": "EVIL.example",
		// the URL counts (RFC 9112, 3.2.2)
		"GET http://evil.example/v2/keys HTTP/1.1\r\nHost: localhost\r\n":      "evil.example",
		"GET http://127.0.0.1/v2/keys HTTP/1.1\r\nHost: evil.example\r\n":      "",
		"GET /health HTTP/1.1\r\nHost: evil.example\r\n":                       "evil.example",
		"GET /v2//keys HTTP/1.1\r\nHost: evil.example\r\n":                     "evil.example",
		"GET /v2/keys HTTP/1.1\r\nHost: router:80\r\n":                         "router",
		"GET /v2/keys HTTP/1.1\r\nHost: " + strings.Repeat("a.", 200) + "\r\n": "NAME",
		"GET /v2/keys HTTP/1.0\r\n":                                            "",
		"GET /v2/keys HTTP/1.1\r\nHost: db.example:1\r\n":                      "",
		"GET /v2/keys HTTP/1.1\r\nHost: localhost:2379\r\n":                    "",
		"GET /v2/keys HTTP/1.1\r\nHost: [::1]:2379\r\n":                        "",
	} {
		status, body := rawAsk(t, url, head+"Accept-Language: en\r\n\r\n")
		if refused != "" && (status != 403 || body != refusedHost(refused)) || refused == "" && status == 403 {
			t.Errorf("%q: %d %s", head, status, body)
		}
		if status, body := rawAsk(t, url, strings.Replace(head, "/k?value=1", "/other", 1)+"\r\n"); status == 403 {
			t.Errorf("%q of another program: %d %s", head, status, body)
		}
	}
	if b.do("GET", "/v2/keys/k", "").Code != 404 {
		t.Error("the write of a page was done")
	}
}

// pitfall J8
func TestABrowserIsRefusedANameThatSomebodyElseChoseInHTTP2(t *testing.T) {
	b := newBench(t)
	url, client := b.serve(), plainHTTP2(t)
	for host, status := range map[string]int{"evil.example:2379": 403, "localhost:2379": 200} {
		r, err := nethttp.NewRequest("GET", url+"/v2/keys", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host // :authority
		r.Header.Set("Accept-Language", "en")
		w, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		w.Body.Close()
		if w.StatusCode != status {
			t.Errorf("%s: %d", host, w.StatusCode)
		}
	}
}

// headOf makes a header of its lines.
func headOf(t *testing.T, lines string) nethttp.Header {
	t.Helper()
	r, err := nethttp.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\n" + lines + "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return r.Header
}

// Each head is one that a program sends, or the least that a web page can reduce it to.
// pitfall J8
func TestABrowserIsToldByItsHead(t *testing.T) {
	for lines, want := range map[string]bool{
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0\r\n": true,
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n":            true,
		"Accept: text/event-stream\r\n": false, // any program may ask for them
		// fetch(url, {referrerPolicy: "no-referrer", headers: {"User-Agent": "curl"}})
		"Accept-Language: de, en;q=0.5\r\n":     true,
		"Accept-Language: \r\n":                 true,
		"Cookie: a=b\r\n":                       true,
		"Origin: http://evil.example\r\n":       true,
		"Origin: null\r\n":                      true,
		"Referer: http://evil.example/page\r\n": true,
		"Sec-Fetch-Site: same-origin\r\n":       true,
		"Sec-Fetch-Mode: no-cors\r\n":           true,
		"Sec-CH-UA: x\r\n":                      true,
		"Sec-GPC: 1\r\n":                        true,
		"Upgrade-Insecure-Requests: 1\r\n":      true,

		"": false,
		"User-Agent: curl/8.5.0\r\nAccept: */*\r\n":                                                         false,
		"User-Agent: Wget/1.21.3\r\nAccept: */*\r\nAccept-Encoding: identity\r\nConnection: Keep-Alive\r\n": false,
		// etcdctl, confd, flannel, skydns
		"User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n":                    false,
		"User-Agent: Patroni/4.0.4 Python/3.11.2 Linux\r\nAccept-Encoding: identity\r\n": false,
		// python-etcd
		"User-Agent: python-urllib3/1.26.12\r\nAccept-Encoding: identity\r\n":                             false,
		"User-Agent: python-requests/2.28.1\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n":         false,
		"User-Agent: Java/17.0.1\r\nAccept: text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2\r\n":     false,
		"User-Agent: Ruby\r\nAccept: */*\r\nAccept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\n": false,
		"User-Agent: axios/1.6.0\r\nAccept: application/json, text/plain, */*\r\n":                        false,
	} {
		if got := byBrowser(headOf(t, lines)); got != want {
			t.Errorf("%q: %v", lines, got)
		}
	}
}

// pitfall J8
func TestAPageOfCORSMayCallAMemberByAnyName(t *testing.T) {
	b := newBench(t, func(c *Config) { c.CORS = []string{"http://friend.example"} })
	for origin, status := range map[string]int{"http://friend.example": 200, "http://evil.example": 403} {
		if w := b.do("GET", "http://any.example/v2/keys", "", "Origin", origin); w.Code != status {
			t.Errorf("%s: %d %s", origin, w.Code, w.Body)
		}
	}
}

// pitfall J8
func TestOverTLSTheCertificateHasTheName(t *testing.T) {
	b := newBench(t)
	w := b.do("GET", "https://evil.example/v2/keys", "", "User-Agent", "Mozilla/5.0") // httptest gives it r.TLS
	if w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// pitfall J8
func TestThePeerPortRefusesBrowsersThatWereLedThere(t *testing.T) {
	p, _ := newPeerPort(t)
	for _, c := range []struct {
		path, host string
		header     []string
		status     int
	}{
		{"/v2/members", "evil.example", []string{"User-Agent", "Mozilla/5.0"}, 403},
		{"/v2/members", "example.com", []string{"User-Agent", "Mozilla/5.0"}, 200},
		{"/v2/members", "m1.example", nil, 200},
		{"/raft/snapshot", "evil.example", []string{"Origin", "http://evil.example"}, 403},
		{"/raft/snapshot", "127.0.0.1", []string{"Sec-Fetch-Site", "none"}, 403},
		{"/raft/snapshot", "m1.example", nil, 200},
	} {
		w := askPort(p, "GET", "http://"+c.host+c.path, "", c.header...)
		if w.Code != c.status {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
	}
}

func BenchmarkHost(b *testing.B) {
	h := newHosts([]string{"db.example.com"})
	for _, host := range []string{"127.0.0.1:2379", "localhost:2379", "db.example.com:2379", "[::1]:2379"} {
		b.Run(host, func(b *testing.B) {
			r := httptest.NewRequest("GET", "/v2/keys", nil)
			r.Host = host
			b.ReportAllocs()
			for b.Loop() {
				if h.refuses(r) {
					b.Fatal("refused")
				}
			}
		})
	}
}
