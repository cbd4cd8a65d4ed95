package http

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestUnknownPathsAre404InPlainText(t *testing.T) {
	b := newBench(t)
	for _, p := range []string{
		"/", "/foo", "/v2", "/v2/", "/v2/stats", "/v2/stats/", "/v2/stats/foo", "/v1/keys/x", "/v2/keysx", "/v2/leader",
		"/v2/machines/",
		"/version/", "/health/", "/debug/vars/", "/debug", "/debug/pprof/", "/v2/auth", "/v2/auth/", "/v2/membersx",
		"/config/local/log/",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE", "FOO"} {
			w := b.do(method, p, "")
			b.want(w, 404, "404 page not found\n")
			if h := w.Header(); h.Get("Content-Type") != "text/plain; charset=utf-8" ||
				h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: %v", p, h)
			}
		}
	}
}

func TestOtherMethodsAre405WithTheListInOrder(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct{ method, path, allow string }{
		{"PATCH", "/v2/keys/k", "HEAD,GET,PUT,POST,DELETE"},
		{"get", "/v2/keys", "HEAD,GET,PUT,POST,DELETE"},
		{"HEAD", "/v2/members", "GET,POST,DELETE,PUT"},
		{"POST", "/v2/machines", "GET,HEAD"},
		{"HEAD", "/version", "GET"},
		{"POST", "/health", "GET"},
		{"PUT", "/v2/stats/store", "GET"},
		{"HEAD", "/v2/stats/self", "GET"},
		{"DELETE", "/debug/vars", "GET"},
		{"GET", "/config/local/log", "PUT"},
	} {
		w := b.do(c.method, c.path, "")
		b.want(w, 405, "Method Not Allowed\n")
		if h := w.Header(); h.Get("Allow") != c.allow || h["X-Etcd-Cluster-Id"] != nil {
			t.Errorf("%s %s: %v", c.method, c.path, h)
		}
	}
}

func TestOptionsIsAnsweredEverywhere(t *testing.T) {
	b := newBench(t)
	for _, p := range []string{"/v2/keys/k", "/v2/members", "/nothing//here", "/"} {
		w := b.do("OPTIONS", p, "")
		b.want(w, 200, "")
		if len(w.Header()) != 0 {
			t.Errorf("%s: %v", p, w.Header())
		}
	}
}

// pitfall J6
func TestUncleanPathsAreRedirectedOnThisHost(t *testing.T) {
	b := newBench(t)
	for target, location := range map[string]string{
		"/v2/keys//a":              "/v2/keys/a",
		"/v2/keys/k//":             "/v2/keys/k/",
		"/v2/keys/a/./b?x=1&y=%20": "/v2/keys/a/b?x=1&y=%20",
		"/v2/keys/../members":      "/v2/members",
		"/v2/keys/k/..":            "/v2/keys",
		"/v2/keys/%2e%2e/x":        "/v2/x",
		"/v2/keys/a%2F%2Fb":        "/v2/keys/a/b",
		"/v2/keys/a%2F..%2Fk":      "/v2/keys/k",
		"//evil.example/x":         "/evil.example/x",
		"/.//evil.example":         "/evil.example",
		"/%2Fevil.example/x":       "/evil.example/x",
		"/..":                      "/",
		"/v2/keys//a%0D%0AX: y":    "/v2/keys/a%0D%0AX:%20y",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			r := httptest.NewRequest("GET", "/", nil)
			u, err := url.ParseRequestURI(target)
			if err != nil {
				t.Fatal(err)
			}
			r.Method, r.URL = method, u
			w := httptest.NewRecorder()
			b.ServeHTTP(w, r)
			if w.Code != 301 || w.Header().Get("Location") != location || w.Header()["X-Etcd-Index"] != nil {
				t.Errorf("%s %s: %d to %q, want %q", method, target, w.Code, w.Header().Get("Location"), location)
			}
		}
	}
	for _, target := range []string{"/v2/keys/...", "/v2/keys/.x", "/v2/keys/a..b", "/v2/keys/a."} {
		if w := b.do("GET", target, ""); w.Code != 404 || w.Header().Get("X-Etcd-Index") != "0" {
			t.Errorf("%s: %d, want a missing key", target, w.Code)
		}
	}
}

// checkPath sends one decoded path and checks what must hold for every path.
func checkPath(t *testing.T, b *bench, method, p string) {
	t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	r.Method, r.URL = method, &url.URL{Path: p}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if w.Code >= 500 || w.Code == 0 {
		t.Fatalf("%s %q: %d %s", method, p, w.Code, w.Body)
	}
	for name, values := range w.Header() {
		if strings.ContainsAny(strings.Join(values, ""), "\r\n\x00") {
			t.Fatalf("%q: header %s: %q", p, name, values)
		}
	}
	if w.Code != 301 {
		return
	}
	to, err := url.Parse(w.Header().Get("Location"))
	if err != nil || to.Host != "" || to.Scheme != "" || path.Clean(to.Path) != strings.TrimSuffix(to.Path, "/") &&
		to.Path != "/" {
		t.Fatalf("%q: redirected to %q", p, w.Header().Get("Location"))
	}
}

// pitfall J6, pitfall J7
func FuzzPath(f *testing.F) {
	f.Add("PUT", "/v2/keys/../x\r\n")
	b := newBench(f)
	f.Fuzz(func(t *testing.T, method, p string) {
		if !strings.Contains(p, "wait") {
			checkPath(t, b, method, p)
		}
	})
}

// pitfall J6, pitfall J7
func TestRandomPathsAreAnsweredOrRedirectedOnce(t *testing.T) {
	b := newBench(t)
	random := rand.New(rand.NewPCG(9, 10))
	parts := []string{"/", "/", "/", ".", "..", "v2", "keys", "/v2/keys", "/v2/keys/", "members", "a", "_b", "\r\n",
		"\x00", "\xff", "%", "?", ";", "é", "stats/self"}
	methods := []string{"GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "BREW"}
	for range often(5_000) {
		var p strings.Builder
		for range 1 + random.IntN(8) {
			p.WriteString(parts[random.IntN(len(parts))])
		}
		checkPath(t, b, methods[random.IntN(len(methods))], p.String())
	}
}

// rawDial opens a connection that this test writes itself.
func rawDial(t *testing.T, url string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// pitfall J1
func TestRequestsThatNeverEndAreCutOff(t *testing.T) {
	b := newBench(t)
	b.times.body = 100 * time.Millisecond
	if b.server.ReadHeaderTimeout != 10*time.Second || b.server.WriteTimeout != 0 || b.server.ReadTimeout != 0 {
		t.Fatalf("limits of the server: %+v", b.server)
	}
	b.server.ReadHeaderTimeout = 100 * time.Millisecond
	url := b.serve()
	var slow []net.Conn
	const rest = " HTTP/1.1\r\nHost: x\r\nContent-Type: " + formType + "\r\nContent-Length: 100\r\n\r\nvalue="
	for i := range 50 {
		c := rawDial(t, url)
		switch i % 4 {
		case 0:
			io.WriteString(c, "GET /v2/keys/k HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		case 1:
			io.WriteString(c, "PUT /v2/keys/k"+rest)
		case 2:
			io.WriteString(c, "GET /v2/keys/k"+rest)
		case 3:
			io.WriteString(c, "GET /version"+rest)
		}
		slow = append(slow, c)
	}
	for _, c := range slow {
		// unread bytes reset it
		if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("still open: %v", err)
		}
	}
	eventually(t, "all closed", func() bool { return b.conns.Held() == 0 })
}

// pitfall J1
func TestAConnectionThatHasSaidNothingIsIdleAndNoSlowHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		head := b.server.ReadHeaderTimeout
		dial := b.serveInMemory(t)
		silent := []net.Conn{dial(), dial()}
		time.Sleep(4 * head)

		io.WriteString(silent[0], "GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
		if w, err := nethttp.ReadResponse(bufio.NewReader(silent[0]), nil); err != nil || w.StatusCode != 200 {
			t.Errorf("a request after a while: %v, %v", w, err)
		}
		endsAfter := func(c net.Conn, limit time.Duration) {
			t.Helper()
			begun := time.Now()
			if _, err := io.Copy(io.Discard, c); err != nil || time.Since(begun) != limit {
				t.Errorf("%v after %v, want the end after %v", err, time.Since(begun), limit)
			}
		}
		io.WriteString(silent[1], "GET /version HTTP/1.1\r\n") // a head that does not end
		endsAfter(silent[1], head)
		endsAfter(dial(), b.times.idle) // it says nothing for ever
	})
}

// pitfall J1
func TestBodyThatComesSlowlyButSteadilyIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		c := b.serveInMemory(t)()
		fmt.Fprintf(c, "PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 10\r\n\r\n", formType)
		for _, piece := range []string{"va", "lu", "e=", "ab", "cd"} {
			io.WriteString(c, piece)
			time.Sleep(b.times.body * 9 / 10)
		}
		if w, err := nethttp.ReadResponse(bufio.NewReader(c), nil); err != nil || w.StatusCode != 201 {
			t.Errorf("%v, %v", w, err)
		}
	})
}

// pitfall J1
func TestLongPollsOutliveTheTimeouts(t *testing.T) {
	for name, protocols := range map[string]*nethttp.Protocols{"HTTP/1": nil, "HTTP/2": onlyHTTP2()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.times.life = 24 * time.Hour // of a watch whose client can't be looked for
				client := clientOver(t, b.serveInMemory(t), protocols)
				r, err := nethttp.NewRequest("GET", "http://x/v2/keys/k?wait=true&stream=true",
					strings.NewReader("ignored"))
				if err != nil {
					t.Fatal(err)
				}
				w, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer w.Body.Close()
				events := json.NewDecoder(w.Body)
				for range 2 {
					time.Sleep(3 * max(b.times.body, b.times.write, b.server.ReadHeaderTimeout, b.server.IdleTimeout))
					b.do("PUT", "/v2/keys/k", "value=1")

					var ev watched
					if err := events.Decode(&ev); err != nil || ev.Action != "set" {
						t.Fatalf("%+v, %v", ev, err)
					}
				}
			})
		})
	}
}

// plainHTTP2 is a client that speaks HTTP/2 without TLS.
func plainHTTP2(t *testing.T) *nethttp.Client {
	client := &nethttp.Client{Transport: &nethttp.Transport{Protocols: onlyHTTP2()}}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func onlyHTTP2() *nethttp.Protocols {
	protocols := new(nethttp.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

// pitfall J9
func TestHTTP2IsServedAndItsStreamsAreLimited(t *testing.T) {
	b := newBench(t)
	url := b.serve()
	if b.server.HTTP2.MaxConcurrentStreams != maxStreams {
		t.Errorf("%d streams", b.server.HTTP2.MaxConcurrentStreams)
	}

	w, err := plainHTTP2(t).Post(url+"/v2/keys/q", formType, strings.NewReader("value=1"))

	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	if w.ProtoMajor != 2 || w.StatusCode != 201 {
		t.Errorf("%s %d", w.Proto, w.StatusCode)
	}
}

func TestTLSServesHTTP2(t *testing.T) {
	b := newBench(t)
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	ln := listen(t)
	served := make(chan error, 1)
	go func() { served <- b.ServeTLS(ln, &tls.Config{Certificates: certified.TLS.Certificates}) }()
	transport := certified.Client().Transport.(*nethttp.Transport).Clone()
	transport.ForceAttemptHTTP2 = true
	defer transport.CloseIdleConnections()
	client := &nethttp.Client{Transport: transport}

	w, err := client.Get("https://" + ln.Addr().String() + "/version")

	if err != nil {
		t.Fatal(err)
	}
	w.Body.Close()
	if w.StatusCode != 200 || w.ProtoMajor != 2 {
		t.Errorf("%s %d", w.Proto, w.StatusCode)
	}
	b.server.Close()
	if err := <-served; err != nethttp.ErrServerClosed {
		t.Errorf("ServeTLS: %v", err)
	}
}

func TestHeadHasTheHeadersOfGet(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/k", "value=1")
	url := b.serve()
	for path, status := range map[string]int{"/v2/keys/k": 200, "/v2/keys": 200, "/v2/keys/none": 404} {
		get, err := nethttp.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		get.Body.Close()
		head, err := nethttp.Head(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(head.Body)
		head.Body.Close()
		get.Header.Del("Date")
		head.Header.Del("Date")
		if err != nil || len(body) != 0 || head.StatusCode != status || !maps.EqualFunc(get.Header, head.Header,
			slices.Equal[[]string]) {
			t.Errorf("%s: %d %v %q, GET has %v", path, head.StatusCode, head.Header, body, get.Header)
		}
	}
}

func TestShutdownDoesNotWaitForConnectionsThatAskNothing(t *testing.T) {
	b := newBench(t)
	ln := listen(t)
	go b.Serve(ln)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// so the one before is accepted, too
	if _, err := nethttp.Get("http://" + ln.Addr().String() + "/version"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()

	if err := b.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if n, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection gives %d bytes, %v; want its end", n, err)
	}
}

func TestShutdownEndsWatchesAndFinishesRequests(t *testing.T) {
	b := newBench(t)
	ln := listen(t)
	served := make(chan error, 1)
	go func() { served <- b.Serve(ln) }()
	w, err := nethttp.Get("http://" + ln.Addr().String() + "/v2/keys/k?wait=true")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()

	err = b.Shutdown(ctx)

	if err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-served; err != nethttp.ErrServerClosed {
		t.Errorf("Serve: %v", err)
	}
	if body, err := io.ReadAll(w.Body); err != nil || len(body) != 0 {
		t.Errorf("the watch ended with %q, %v; want an empty body", body, err)
	}
}

func TestNewNeedsNodeAndGoodOrigins(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a server without node and store")
	}
	b := newBench(t)
	c := b.cfg
	c.CORS = []string{"no origin"}
	if _, err := New(c); err == nil {
		t.Error("a server with an origin that is none")
	}
}

func TestOnlyWhoAcceptsHTMLGetsThePage(t *testing.T) {
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for _, c := range []struct {
		on                   bool
		method, path, accept string
		want                 int
	}{
		{true, "GET", "/", browser, 200},
		{true, "HEAD", "/", browser, 200},
		{true, "GET", "/", "*/*", 404},
		{true, "GET", "/", "", 404},
		{true, "GET", "/", "application/json, text/html;q=0.1", 200},
		{true, "GET", "/", "text/html; q=0.0, */*", 404},
		{true, "GET", "/v2", browser, 404},
		{true, "PUT", "/", browser, 404},
		{false, "GET", "/", browser, 404},
	} {
		b := newBench(t, func(cfg *Config) { cfg.Page = c.on })
		if w := b.do(c.method, c.path, "", "Accept", c.accept); w.Code != c.want {
			t.Errorf("%+v: %d", c, w.Code)
		}
	}
}
