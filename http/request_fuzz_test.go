package http

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	nethttp "net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// checkRequest sends a request as net/http has read it from text, and checks what must hold for
// every answer. Text that net/http refuses never comes to a handler.
func checkRequest(t *testing.T, b *bench, text string) {
	t.Helper()
	r, err := nethttp.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil || strings.Contains(text, "minIndex") || strings.Contains(text, "pprof") {
		return // those may take long
	}
	ctx, cancel := context.WithCancel(r.Context())
	cancel() // a watch waits for nobody
	w := httptest.NewRecorder()

	b.ServeHTTP(w, r.WithContext(ctx))

	if w.Code < 200 || w.Code >= 500 {
		t.Fatalf("%q: %d %s", text, w.Code, w.Body)
	}
	for name, values := range w.Header() {
		if strings.ContainsAny(name+strings.Join(values, ""), "\r\n\x00") {
			t.Fatalf("%q: header %q: %q", text, name, values)
		}
	}
	if w.Header().Get("Content-Type") == jsonType[0] && r.Method != "HEAD" {
		for line := range strings.Lines(w.Body.String()) { // a stream has many
			if !json.Valid([]byte(line)) {
				t.Fatalf("%q: no JSON: %q", text, line)
			}
		}
	}
	if strings.HasPrefix(r.URL.Path, keysPrefix+"/") && w.Code >= 400 && w.Code != 403 && w.Code != 405 {
		var e struct{ ErrorCode int }
		if err := json.Unmarshal(w.Body.Bytes(), &e); (err != nil || e.ErrorCode == 0) && r.Method != "HEAD" {
			t.Fatalf("%q: %d without a code: %s", text, w.Code, w.Body)
		}
	}
	if b.metrics.panics.Load() > 0 || b.inFlight.Load() != 0 || b.memory.used.Load() != 0 || b.watchers.Held() != 0 {
		t.Fatalf("%q: something is left: %d panics, %d in flight, %d bytes, %d watchers", text,
			b.metrics.panics.Load(), b.inFlight.Load(), b.memory.used.Load(), b.watchers.Held())
	}
}

// requestSeeds are requests of every kind.
var requestSeeds = []string{
	"GET /v2/keys/a?recursive=true&sorted=true HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /v2/keys/a?wait=true&waitIndex=1&stream=true HTTP/1.1\r\nHost: [::1]:2379\r\nOrigin: null\r\n\r\n",
	"PUT /v2/keys/a/b HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: " +
		"26\r\n\r\nvalue=%ff&ttl=1&prevIndex=",
	"PUT /v2/keys/a?ttl=9223372036&dir=true&prevExist=false HTTP/1.0\r\n\r\n",
	"POST /v2/keys/q HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded; " +
		"charset=\"\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nvalue=1\r\n0\r\n\r\n",
	"DELETE /v2/keys/a?prevValue=x&recursive=true&dir=true HTTP/1.1\r\nHost: x\r\nX-Etcd-Request-Id: 1\r\n\r\n",
	"POST /v2/members HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " +
		"36\r\n\r\n{\"peerURLs\":[\"http://10.0.0.2:2380\"]}",
	"PUT /v2/members/7fa0243da41856f2 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " +
		"2\r\n\r\n{}",
	"PUT /config/local/log HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n{\"Level\":\"DEBUG\"}",
	"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\nSec-Fetch-Site: cross-site\r\n\r\n",
	"GET http://evil.example//v2/%2e%2e/keys HTTP/1.1\r\nHost: x\r\n\r\n",
	"CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
	"GET /metrics HTTP/1.1\r\nHost: " +
		"x\r\n\r\n", "GET /v2/stats/self HTTP/1.1\r\nHost: x\r\n\r\n", "GET /debug/vars HTTP/1.1\r\nHost: x\r\n\r\n",
}

// pitfall J12
func FuzzRequest(f *testing.F) {
	for _, text := range requestSeeds {
		f.Add(text)
	}
	b := newBench(f)
	f.Fuzz(func(t *testing.T, text string) { checkRequest(t, b, text) })
}

// mutated is a request made of pieces of others, with some bytes changed.
func mutated(random *rand.Rand) string {
	pick := func() string { return requestSeeds[random.IntN(len(requestSeeds))] }
	text := pick()
	if random.IntN(2) == 0 { // the target of one, the head and body of another
		line, _, _ := strings.Cut(pick(), "\r\n")
		_, rest, _ := strings.Cut(text, "\r\n")
		text = line + "\r\n" + rest
	}
	words := []string{"%00", "%0d%0a", "//", "..", "%2f", ";", "&", "=", "+", "-1", "18446744073709551616", "true",
		"\xff", "/v2/keys/", "\x00", "value", "ttl", "_", "{", "[", "\"", "?", "#", "%"}
	for range random.IntN(6) {
		i := random.IntN(len(text))
		j := min(len(text), i+random.IntN(3))
		text = text[:i] + words[random.IntN(len(words))] + text[j:]
	}
	return text
}

// pitfall J12
func TestRandomRequestsAreAnsweredInTheFormOfTheAPI(t *testing.T) {
	b := newBench(t)
	for _, text := range requestSeeds {
		checkRequest(t, b, text)
	}
	random := rand.New(rand.NewPCG(5, 6))
	for range often(5_000) {
		checkRequest(t, b, mutated(random))
	}
}

// pitfall J5
func TestDeepAndWideJSONIsRefusedCheaply(t *testing.T) {
	b := newBench(t)
	for name, body := range map[string]string{
		"arrays":     strings.Repeat("[", 1<<20-1),
		"objects":    strings.Repeat(`{"a":`, 1<<17),
		"in a field": `{"peerURLs":` + strings.Repeat("[", 1<<19),
		"many URLs":  `{"peerURLs":[` + strings.Repeat(`"x",`, 1<<17) + `"x"]}`,
		"many names": "{" + strings.Repeat(`"peerURLs":[],`, 1<<16) + `"peerURLs":[]}`,
	} {
		begun := time.Now()
		costs := costOf(func() {
			if w := b.do("POST", "/v2/members", body, "Content-Type", "application/json"); w.Code != 400 {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		})
		if took := time.Since(begun); costs > uint64(60*len(body)) || took > 10*time.Second { // it takes milliseconds
			t.Errorf("%s: %d bytes are allocated for a body of %d, in %v", name, costs, len(body), took)
		}
	}
}

// A write below a directory with many children costs no more than below one with few.
// pitfall J5
func TestAWriteIntoAWideDirectoryCostsNoMoreThanAnother(t *testing.T) {
	b := newBench(t)
	fill := func(from, to int) uint64 {
		return costOf(func() {
			for i := from; i < to; i++ {
				b.do("PUT", "/v2/keys/wide/"+strconv.Itoa(i), "value=x")
			}
		})
	}
	fill(0, 500)
	narrow := fill(500, 1000)
	fill(1000, 10_000)

	wide := fill(10_000, 10_500)

	if wide > 3*narrow { // a copy of the list for each would take tens of times as much
		t.Errorf("500 writes allocate %d bytes among 10,000 children, and %d among 500", wide, narrow)
	}
}

// No header of an answer has bytes of the key unescaped.
// pitfall J6
func TestNoHeaderHoldsAKey(t *testing.T) {
	b := newBench(t)
	url := b.serve()
	for _, key := range []string{"/%0d%0aX-Evil:%201", "/%00x", "/a%0d%0a%0d%0aHTTP/1.1%20200%20OK", "/%ff%fe",
		"//evil.example/x", "/..%2f%0d%0aX-Evil:%201", "/%2f%2fevil.example%0d%0aX-Evil:1"} {
		for _, method := range []string{"PUT", "GET", "DELETE", "POST", "HEAD"} {
			c := rawDial(t, url)
			io.WriteString(c, method+" /v2/keys"+key+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: "+
				"close\r\n\r\n")
			all, err := io.ReadAll(c)
			head, _, _ := strings.Cut(string(all), "\r\n\r\n")
			if err != nil || strings.Count(head, "HTTP/1.1") != 1 || strings.Contains(head, "\nX-Evil") ||
				strings.Contains(head, "//") || strings.Contains(head, "\x00") || strings.Contains(head, "\xff") {
				t.Errorf("%s %s: %v, %q", method, key, err, head)
			}
		}
	}
}
