package http

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"etcd2/raft"
	"etcd2/store"
)

// slowNode holds proposals back until the test lets them go on.
type slowNode struct {
	*fakeNode
	entered chan struct{} // one for each proposal that has come
	goOn    chan struct{} // closed: all go on
}

func (n slowNode) Propose(ctx context.Context, cmd []byte) (raft.Result, error) {
	n.entered <- struct{}{}
	<-n.goOn
	return n.fakeNode.Propose(ctx, cmd)
}

// newSlowBench makes a server that has room for max bytes of requests, on a slowNode.
func newSlowBench(t *testing.T, max int64, change ...func(*Config)) (*bench, slowNode) {
	var slow slowNode
	b := newBench(t, append(change, func(c *Config) {
		slow = slowNode{c.Node.(*fakeNode), make(chan struct{}, 1000), make(chan struct{})}
		c.Node = slow
	})...)
	b.memory.max = max
	return b, slow
}

// pitfall J4
func TestBodiesAtATimeDontFillTheMemory(t *testing.T) {
	b, node := newSlowBench(t, 3<<20)
	large := "value=" + strings.Repeat("x", 1<<20)
	var all sync.WaitGroup
	done := make(chan int, 100)
	begin := func() { all.Go(func() { done <- b.do("PUT", "/v2/keys/k", large).Code }) }
	begin()
	<-node.entered

	begin() // its buffer grows to more than what is left
	<-node.entered
	w := b.do("PUT", "/v2/keys/k", large)

	b.want(w, 503, `{"errorCode":300,"message":"Raft Internal Error","cause":"too much is being sent at a time","index":0}`+"\n")
	if w.Header().Get("Retry-After") != "1" {
		t.Errorf("%v", w.Header())
	}
	for _, r := range [][2]string{{"POST", "/v2/members"}, {"PUT", "/config/local/log"}} {
		w := b.do(r[0], r[1], `{}`, "Content-Type", "application/json")
		b.want(w, 503, `{"message":"too much is being sent at a time"}`)
		if w.Header().Get("Retry-After") != "1" {
			t.Errorf("%v", w.Header())
		}
	}
	all.Go(func() { done <- b.do("PUT", "/v2/keys/k", "value=small").Code })
	<-node.entered
	close(node.goOn)
	all.Wait()
	close(done)
	for status := range done {
		if status > 201 {
			t.Errorf("got %d", status)
		}
	}
	if n := b.memory.used.Load(); n != 0 {
		t.Errorf("%d bytes of the room are never given back", n)
	}
	if w := b.do("PUT", "/v2/keys/k", large); w.Code != 200 {
		t.Errorf("with room again: %d", w.Code)
	}
}

// pitfall J9
func TestRequestsInFlightOverTheLimitGet503(t *testing.T) {
	b, node := newSlowBench(t, 1<<20, func(c *Config) { c.MaxConnections = 3 })
	url, client := b.serve(), plainHTTP2(t) // one connection
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			w, err := client.Post(url+"/v2/keys/q", formType, strings.NewReader("value=1"))
			if err != nil || w.StatusCode != 201 {
				t.Errorf("%v, %v", w, err)
				return
			}
			w.Body.Close()
		})
	}
	for range 3 {
		<-node.entered
	}

	w, err := client.Get(url + "/v2/keys")

	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	if w.StatusCode != 503 || w.Header.Get("Retry-After") != "1" || string(body) != `{"message":"too many requests"}` ||
		err != nil {
		t.Errorf("%d %s %v, %v", w.StatusCode, body, w.Header, err)
	}
	close(node.goOn)
	all.Wait()
	eventually(t, "no request is counted any more", func() bool { return b.inFlight.Load() == 0 })
}

// Watches have a limit of their own: watches that wait leave room for other requests.
func TestWatchesAreNotInFlight(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxConnections = 3 })
	url, client := b.serve(), plainHTTP2(t)
	for range 10 {
		w, err := client.Get(url + "/v2/keys/k?wait=true")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Body.Close()
		if w.StatusCode != 200 {
			t.Fatalf("%d", w.StatusCode)
		}
	}
	eventually(t, "none is in flight", func() bool { return b.inFlight.Load() == 0 })
}

// pitfall J1
func TestUnfinishedHeadsDontFillTheMemory(t *testing.T) {
	b := newBench(t)
	b.memory.max = 3*(50_000-freeHead) + 1000
	url := b.serve()
	half := "GET /v2/keys HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", 50_000-40)
	var held []net.Conn
	for i := range int64(3) {
		c := rawDial(t, url)
		io.WriteString(c, half)
		held = append(held, c)
		eventually(t, "the head is counted", func() bool { return b.memory.used.Load() > (i+1)*(50_000-freeHead-1000) })
	}

	status, body := rawAsk(t, url, half)
	if n := b.memory.used.Load(); n > b.memory.max {
		t.Errorf("%d bytes of %d", n, b.memory.max)
	}
	small, _ := rawAsk(t, url, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n")

	if status != 503 || !strings.Contains(body, `"cause":"too much is being sent at a time"`) {
		t.Errorf("%d %s", status, body)
	}
	if small != 200 {
		t.Errorf("a small head: %d", small)
	}
	// A request that ends gives back what its head has taken, and so does a connection.
	io.WriteString(held[0], "\r\n\r\n")
	if w, err := nethttp.ReadResponse(bufio.NewReader(held[0]), nil); err != nil || w.StatusCode != 200 {
		t.Errorf("%v, %v", w, err)
	}
	held[1].Close()
	held[2].Close()
	eventually(t, "everything is given back", func() bool { return b.memory.used.Load() == 0 })
}

// pitfall J9
func TestHeadsOfHTTP2DontFillTheMemory(t *testing.T) {
	b := newBench(t)
	b.memory.max = 100_000
	url, client := b.serve(), plainHTTP2(t)
	var held []*nethttp.Response
	get := func(query string) int {
		r, err := nethttp.NewRequest("GET", url+"/v2/keys/k"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Long", strings.Repeat("x", 40_000))
		w, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, w)
		return w.StatusCode
	}

	if first, second, third := get("?wait=true"), get("?wait=true"), get("?wait=true"); first != 200 || second != 200 ||
		third != 503 {
		t.Errorf("%d, %d, %d", first, second, third)
	}
	for _, w := range held {
		w.Body.Close()
	}
	client.CloseIdleConnections()
	eventually(t, "everything is given back", func() bool { return b.memory.used.Load() == 0 })
}

// The part of a body that net/http accepts before a handler reads it counts, too. pitfall J9
func TestUnreadBodiesOfHTTP2DontFillTheMemory(t *testing.T) {
	b := newBench(t)
	b.memory.max = 3*window + 4096
	url, client := b.serve(), plainHTTP2(t)
	put := func(body io.Reader) int {
		r, err := nethttp.NewRequest("PUT", url+"/v2/keys/k", body)
		if err != nil {
			t.Error(err)
			return 0
		}
		r.Header.Set("Content-Type", formType)
		w, err := client.Do(r)
		if err != nil {
			t.Error(err)
			return 0
		}
		w.Body.Close()
		return w.StatusCode
	}
	var slow sync.WaitGroup
	var bodies []*io.PipeWriter
	for range 3 {
		body, in := io.Pipe()
		bodies = append(bodies, in)
		slow.Go(func() {
			if status := put(body); status > 201 {
				t.Errorf("a body that came late: %d", status)
			}
		})
	}
	eventually(t, "all three are counted", func() bool { return b.memory.used.Load() >= 3*window })

	never, _ := io.Pipe()
	if status := put(never); status != 503 {
		t.Errorf("a body of any length, without room: %d", status)
	}
	if status := put(strings.NewReader("value=small")); status != 201 {
		t.Errorf("a small body: %d", status)
	}
	for _, in := range bodies {
		in.Close()
	}
	slow.Wait()
	eventually(t, "everything is given back", func() bool { return b.memory.used.Load() == 0 })
}

// A watch may wait for days: its body is read at the beginning, and no longer counts.
func TestAWatchOfHTTP2HoldsNoRoomForItsBody(t *testing.T) {
	b := newBench(t)
	r, err := nethttp.NewRequest("GET", b.serve()+"/v2/keys/k?wait=true", strings.NewReader("ignored"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := plainHTTP2(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	if n := b.memory.used.Load(); n != 0 || b.watchers.Held() != 1 {
		t.Errorf("%d bytes, %d watches", n, b.watchers.Held())
	}
}

// pitfall J9
func TestResetStreamsKeepNobodyBusy(t *testing.T) {
	b := newBench(t)
	url := b.serve()
	before := runtime.NumGoroutine()
	c := rawDial(t, url)
	frame := func(kind, flags byte, stream uint32, payload string) string {
		head := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))[1:]
		head = append(head, kind, flags)
		return string(binary.BigEndian.AppendUint32(head, stream)) + payload
	}
	literal := func(index byte, value string) string { return string([]byte{index, byte(len(value))}) + value }
	head := "\x82\x86" + literal(4, "/v2/keys/k?wait=true") + literal(1, "localhost") // GET, http, :path, :authority
	go io.Copy(io.Discard, c)
	var attack strings.Builder
	attack.WriteString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, ""))
	for i := range uint32(20_000) {
		// HEADERS, RST_STREAM: CANCEL
		attack.WriteString(frame(1, 5, 2*i+1, head) + frame(3, 0, 2*i+1, "\x00\x00\x00\x08"))
	}

	go io.WriteString(c, attack.String()) // it may be cut off
	most := 0
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		most = max(most, runtime.NumGoroutine()-before)
		if w, err := nethttp.Get(url + "/version"); err != nil || w.StatusCode != 200 {
			t.Fatalf("%v, %v", w, err)
		} else {
			w.Body.Close()
		}
	}

	if most > 4*maxStreams {
		t.Errorf("%d goroutines", most)
	}
	c.Close()
	eventually(t, "nothing is left", func() bool {
		return b.inFlight.Load() == 0 && b.watchers.Held() == 0 && b.memory.used.Load() == 0
	})
}

func TestTheRoomIsASixteenthOfTheMemory(t *testing.T) {
	for _, c := range []struct{ memory, body, want int64 }{
		{256 << 20, 10 << 20, leastBudget},
		{4 << 30, 10 << 20, 256 << 20},
		{1 << 40, 10 << 20, mostBudget},
		{4 << 30, 1 << 30, 2 << 30},
	} {
		if got := defaultBudget(c.memory, c.body); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	for text, want := range map[string]int64{
		"MemTotal:       24685160 kB\nMemFree: 1 kB\n": 24685160 << 10,
		"MemFree: 1 kB\n": math.MaxInt64, "MemTotal:": math.MaxInt64, "MemTotal: x kB": math.MaxInt64,
		"": math.MaxInt64,
	} {
		if got := totalMemory([]byte(text)); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
	if n := memoryLimit(); n < 64<<20 || n == math.MaxInt64 {
		t.Errorf("this machine has %d bytes", n)
	}
}

// brokenBody is a body that ends with an error.
type brokenBody struct{ sent int }

func (r *brokenBody) Read(p []byte) (int, error) {
	if r.sent > 100_000 {
		return 0, errors.New("gone")
	}
	r.sent += len(p)
	return len(p), nil
}

func TestABodyThatBreaksOffGivesItsRoomBack(t *testing.T) {
	b := newBench(t)
	r := httptest.NewRequest("PUT", "/v2/keys/k", &brokenBody{})
	r.Header.Set("Content-Type", formType)
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if w.Code != 400 || b.memory.used.Load() != 0 || b.inFlight.Load() != 0 {
		t.Errorf("%d, %s", w.Code, fmt.Sprint(b.memory.used.Load(), b.inFlight.Load()))
	}
}

// pitfall J1
func TestHandshakesOfTLSThatNeverEndAreCutOff(t *testing.T) {
	b := newBench(t)
	b.server.ReadHeaderTimeout = 100 * time.Millisecond
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	ln := listen(t)
	served := make(chan error, 1)
	go func() { served <- b.ServeTLS(ln, certified.TLS) }()
	var slow []net.Conn
	for i := range 20 {
		c := rawDial(t, "http://"+ln.Addr().String())
		if i%2 == 0 {
			io.WriteString(c, "\x16\x03\x01\x02\x00") // a record that is announced and never comes
		}
		slow = append(slow, c)
	}
	for _, c := range slow {
		// bytes that came too late to be read reset it
		if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("still open: %v", err)
		}
	}
	eventually(t, "no connection is left", func() bool { return b.conns.Held() == 0 })
	b.server.Close()
	<-served
}

// The body of a GET means nothing. Only two kinds are read, to their end: that of a GET of a key,
// since it may wait, and that of the GET that writes. pitfall J4
func TestTheBodyOfAGetIsNotRead(t *testing.T) {
	b := newBench(t)
	for i := range routes {
		if rt := &routes[i]; rt.pprof || rt.path == newTokenPath || rt.methods != nil && rt.methods[0] != "GET" {
			continue
		}
		part := "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n"
		rest := &countingReader{left: 1 << 20}
		r := httptest.NewRequest("GET", routes[i].path, io.MultiReader(strings.NewReader(part), rest))
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")

		b.ServeHTTP(httptest.NewRecorder(), r)

		if rest.read > 0 {
			t.Errorf("%s: %d bytes were read", routes[i].path, rest.read)
		}
	}
}

// However long a body is, whether or not its length was announced, and in whatever pieces it comes:
// all of it is read, and it takes about as much memory as it needs beyond a buffer of the pool.
func TestABodyOfAnyLengthIsReadWhole(t *testing.T) {
	s := newBench(t).Server
	readers := map[string]func(io.Reader) io.Reader{
		"at once": func(r io.Reader) io.Reader { return r }, "by halves": iotest.HalfReader,
		"with its end": iotest.DataErrReader, "by single bytes": iotest.OneByteReader,
	}
	for _, size := range []int{0, 1, 1024, bufferSize - 1, bufferSize, 100_000, 1 << 20} {
		text := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		for how, read := range readers {
			for _, announced := range []int{size, -1} {
				name := fmt.Sprintf("%d bytes %s, %d announced", size, how, announced)
				w := &response{server: s}

				got, err := w.text(read(strings.NewReader(text)), int64(announced))

				if err != nil || got != text {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
				most := size + 2*bufferSize
				if announced < 0 {
					most += size
				}
				if w.acquired > int64(most) {
					t.Errorf("%s: %d bytes are taken", name, w.acquired)
				}
				s.memory.release(w.acquired)
			}
		}
	}
}

// pitfall J4
func TestWhatIsOnlyAnnouncedTakesLittleRoom(t *testing.T) {
	const sent = 100_000
	w := &response{server: newBench(t).Server}

	_, err := w.text(io.MultiReader(strings.NewReader(strings.Repeat("x", sent)),
		iotest.ErrReader(io.ErrUnexpectedEOF)), 10<<20)

	if err != io.ErrUnexpectedEOF || w.acquired < sent/2 || w.acquired > 5*sent {
		t.Errorf("%d bytes are taken, %v", w.acquired, err)
	}
}

// With a full tree everything is served but writes that make it grow. Errors, /health and /metrics
// show it.
// pitfall J9
func TestAFullTreeTakesOnlyWhatDoesNotMakeItGrow(t *testing.T) {
	node := newFakeNode(store.Limits{Tree: 10_000})
	b := newBench(t, func(c *Config) { c.Node, c.Store = node, node.store })
	b.do("PUT", "/v2/keys/small", "value=s")
	for b.do("POST", "/v2/keys/big", "value="+strings.Repeat("v", 1000)).Code == 201 {
	}
	index := node.store.Index()

	b.want(b.do("PUT", "/v2/keys/more", "value=x", requestHeader, "id"), 507,
		`{"errorCode":215,"message":"The tree is full","cause":"/more","index":`+fmt.Sprint(index)+"}\n")
	if w := b.do("PUT", "/v2/auth/users/u", `{"user":"u","password":"p"}`, "Content-Type",
		"application/json"); w.Code != 201 {
		t.Errorf("a user: %d %s", w.Code, w.Body)
	}
	w := b.do("GET", "/health", "")
	if want := `^{"health": "true", "reason": "the tree is full, it takes \d+ bytes of the 10000 of --quota-bytes: `; w.Code != 200 ||
		!regexp.MustCompile(want).MatchString(w.Body.String()) {
		t.Errorf("/health: %d %s", w.Code, w.Body)
	}
	if m := b.do("GET", "/metrics", "").Body.String(); !strings.Contains(m, "\netcd2_store_tree_max_bytes 10000\n") {
		t.Error("/metrics does not tell the quota")
	}
	for _, c := range []struct {
		method, target, form string
		status               int
	}{
		{"GET", "/v2/keys/big?recursive=true", "", 200},
		{"PUT", "/v2/keys/small", "value=t", 200},
		{"PUT", "/v2/keys/small", "value=t&ttl=100", 200},
		{"PUT", "/v2/keys/small", "refresh=true&ttl=200&prevExist=true", 200},
		{"PUT", "/v2/keys/small", "value=longer", 507},
		{"PUT", "/v2/keys/small", "value=x&prevExist=false", 412},
		{"DELETE", "/v2/keys/big?recursive=true", "", 200},
		{"PUT", "/v2/keys/small", "value=longer", 200},
	} {
		if w := b.do(c.method, c.target, c.form); w.Code != c.status {
			t.Errorf("%s %s: %d %s", c.method, c.target, w.Code, w.Body)
		}
	}
	if w := b.do("PUT", "/v2/keys/more", "value=x", requestHeader, "id"); w.Code != 201 {
		t.Errorf("the retry gets %d %s", w.Code, w.Body)
	}
	b.want(b.do("GET", "/health", ""), 200, `{"health": "true"}`)
}

// pitfall J2
func TestDefaultLimitLeavesDescriptorsAndMemoryToTheMember(t *testing.T) {
	for _, c := range []struct {
		files  uint64
		memory int64
		want   int
	}{
		{256, 8 << 30, 128},
		{1024, 8 << 30, 1024 - reservedFiles},
		{20_000, 64 << 30, 20_000 - reservedFiles},
		{20_000, 1 << 30, 8192},
		{math.MaxUint64, 64 << 30, 1 << 19},
	} {
		if got := defaultMaxConnections(c.files, c.memory); got != c.want {
			t.Errorf("%d descriptors, %d MB: %d connections, want %d", c.files, c.memory>>20, got, c.want)
		}
	}
	if n := defaultMaxConnections(fileLimit(), memoryLimit()); n < 1 || n >= int(fileLimit()) {
		t.Errorf("here: %d connections", n)
	}
}
