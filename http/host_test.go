package http

import (
	"bufio"
	"context"
	"fmt"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAHostIsKnownByItsForm(t *testing.T) {
	h := newHosts([]string{"Db.Example.com:2379", "10.0.0.1:2379", "[::1]:2379", "host.local."})
	for host, known := range map[string]bool{
		"": true, "127.0.0.1": true, "127.0.0.1:2379": true, "127.0.0.1.": true, "127.1:2379": true, "192.168.1.77:80": true,
		"[::1]": true, "[::1]:2379": true, "[fe80::1%25eth0]:2379": true, "[::ffff:1.2.3.4]:1": true, "::1": true, "::ffff:1.2.3.4": true,
		"localhost": true, "LOCALHOST:2379": true, "localhost.": true, "etcd-0": true, "etcd_1:2379": true,
		"db.example.com": true, "db.example.com:4001": true, "DB.EXAMPLE.COM.": true, "db.example.com.:1": true, "host.local": true,
		"evil.example": false, "evil.example:2379": false, "evil.example.": false, "a.db.example.com": false, "db.example.com.evil.example": false,
		"127.0.0.1.evil.example": false, "localhost.evil.example:2379": false, "1.2.3.4x": false, "EVIL.EXAMPLE": false, "x.": true, "a..": false,
	} {
		if got := h.knows(host); got != known {
			t.Errorf("%q: %v", host, got)
		}
	}
	if all := newHosts([]string{"*"}); !all.knows("evil.example") {
		t.Error("* does not allow all")
	}
}

// ask sends one request as it stands and returns the answer's status and body.
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

const refusedHost = `{"message":"` + foreignHost + `"}`

// pitfall J8
func TestANameThatSomebodyElseChoseIsRefusedOnLoopback(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Hosts = []string{"db.example"} })
	url := b.serve()
	for head, refused := range map[string]bool{
		"GET /v2/keys HTTP/1.1\r\nHost: evil.example:2379\r\n\r\n":                                         true,
		"OPTIONS /v2/keys HTTP/1.1\r\nHost: evil.example:2379\r\n\r\n":                                     true,
		"PUT /v2/keys/k?value=1 HTTP/1.1\r\nHost: EVIL.example.\r\nContent-Length: 0\r\n\r\n":              true,
		"GET http://evil.example/v2/keys HTTP/1.1\r\nHost: localhost\r\n\r\n":                              true, // the URL counts (RFC 9112, 3.2.2)
		"GET http://127.0.0.1/v2/keys HTTP/1.1\r\nHost: evil.example\r\n\r\n":                              false,
		"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n":                                               true,
		"GET /v2//keys HTTP/1.1\r\nHost: evil.example\r\n\r\n":                                             true,
		"GET /v2/keys HTTP/1.0\r\n\r\n":                                                                    false,
		"GET /v2/keys HTTP/1.1\r\nHost: db.example:1\r\nUser-Agent: Mozilla/5.0\r\n\r\n":                   false,
		"GET /v2/keys HTTP/1.1\r\nHost: localhost:2379\r\nReferer: http://localhost/\r\n\r\n":              false,
		"GET /v2/keys HTTP/1.1\r\nHost: [::1]:2379\r\nSec-Fetch-Site: none\r\nUser-Agent: Mozilla\r\n\r\n": false,
	} {
		status, body := rawAsk(t, url, head)
		if got := status == 403 && body == refusedHost; got != refused {
			t.Errorf("%q: %d %s", head, status, body)
		}
	}
	if b.do("GET", "/v2/keys/k", "").Code != 404 {
		t.Error("the write of a page was done")
	}
}

// pitfall J8
func TestANameThatSomebodyElseChoseIsRefusedInHTTP2(t *testing.T) {
	b := newBench(t)
	url, client := b.serve(), plainHTTP2(t)
	for host, status := range map[string]int{"evil.example:2379": 403, "localhost:2379": 200} {
		r, err := nethttp.NewRequest("GET", url+"/v2/keys", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host // :authority
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

// On another interface programs may use any name, and browsers may not.
// pitfall J8
func TestANameThatSomebodyElseChoseIsRefusedToBrowsersElsewhere(t *testing.T) {
	b := newBench(t, func(c *Config) { c.CORS = []string{"http://friend.example"} })
	for _, c := range []struct {
		name, value string
		refused     bool
	}{
		{"Accept", "*/*", false},
		{"User-Agent", "curl/8.5.0", false},
		{"User-Agent", "Go-http-client/1.1", false},
		{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0", true},
		{"Referer", "http://evil.example/page", true},
		{"Origin", "http://evil.example", true},
		{"Origin", "null", true},
		{"Origin", "http://friend.example", false}, // a page of --cors may call this member by any name
		{"Sec-Fetch-Site", "same-origin", true},
		{"Sec-Fetch-Mode", "no-cors", true},
	} {
		r := httptest.NewRequest("GET", "http://evil.example/v2/keys", nil)
		r = r.WithContext(context.WithValue(r.Context(), nethttp.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)})))
		r.Header.Set(c.name, c.value)
		w := httptest.NewRecorder()

		b.ServeHTTP(w, r)

		if got := w.Code == 403 && w.Body.String() == refusedHost; got != c.refused {
			t.Errorf("%s: %s: %d %s", c.name, c.value, w.Code, w.Body)
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
