package http

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"etcd2/store"
)

// sink is a ResponseWriter that drops the answer.
type sink struct{ header nethttp.Header }

func (w *sink) Header() nethttp.Header          { return w.header }
func (w *sink) WriteHeader(int)                 {}
func (w *sink) Write(b []byte) (int, error)     { return len(b), nil }
func (w *sink) SetReadDeadline(time.Time) error { return nil }

// rewound is a body that can be read again.
type rewound struct{ *strings.Reader }

func (rewound) Close() error { return nil }

func benchmarkRequest(b *testing.B, h nethttp.Handler, method, target, form string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := nethttp.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		b.Fatal(err)
	}
	body := rewound{strings.NewReader(form)}
	if form != "" {
		r.Header.Set("Content-Type", formType)
		r.Body, r.ContentLength = body, int64(len(form))
	}
	w := &sink{header: nethttp.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		body.Seek(0, io.SeekStart)
		r.Form, r.PostForm = nil, nil
		h.ServeHTTP(w, r)
	}
}

// ceiling is a handler that does as little as can be: it reads the form and sends a fixed answer.
func ceiling(w nethttp.ResponseWriter, r *nethttp.Request) {
	r.ParseForm()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Etcd-Cluster-Id", "c483f6f627ab0861")
	h.Set("X-Etcd-Index", "4")
	h.Set("X-Raft-Index", "4")
	h.Set("X-Raft-Term", "2")
	w.Write([]byte(`{"action":"set","node":{"key":"/b/0/k1","value":"x","modifiedIndex":4,"createdIndex":4}}` + "\n"))
}

const benchmarkForm = "value=" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func BenchmarkGet(b *testing.B) {
	s := newBench(b)
	s.do("PUT", "/v2/keys/b/0/k1", benchmarkForm)
	b.Run("server", func(b *testing.B) { benchmarkRequest(b, s, "GET", "/v2/keys/b/0/k1", "") })
	b.Run("ceiling", func(b *testing.B) { benchmarkRequest(b, nethttp.HandlerFunc(ceiling), "GET", "/v2/keys/b/0/k1", "") })
}

func BenchmarkPut(b *testing.B) {
	s := newBench(b)
	b.Run("server", func(b *testing.B) { benchmarkRequest(b, s, "PUT", "/v2/keys/b/0/k1", benchmarkForm) })
	b.Run("ceiling", func(b *testing.B) {
		benchmarkRequest(b, nethttp.HandlerFunc(ceiling), "PUT", "/v2/keys/b/0/k1", benchmarkForm)
	})
}

// A large value: as it came, as a command, and in the tree, each 100 KB.
func BenchmarkPutLarge(b *testing.B) {
	benchmarkRequest(b, newBench(b), "PUT", "/v2/keys/b/0/k1", "value="+strings.Repeat("x", 100_000))
}

func BenchmarkEncodeEvent(b *testing.B) {
	node := newFakeNode(store.Limits{})
	for name, ev := range map[string]*store.Event{
		"plain": {Action: store.ActionSet, Node: &store.Node{Path: "/b/0/k1", Value: strings.Repeat("x", 256),
			Created: 4, Modified: 5}},
		"ttl": {Action: store.ActionSet, Node: &store.Node{Path: "/b/0/k1", Value: strings.Repeat("x", 256),
			Created: 4, Modified: 5, Ends: &store.Ends{Due: node.now.UnixNano() + 5e9, Shown: node.now.UnixNano() +
				5e9}}, Stamp: node.now.UnixNano()},
	} {
		b.Run(name, func(b *testing.B) {
			e := encoder{}
			b.ReportAllocs()
			for b.Loop() {
				e.b = e.b[:0]
				e.event(ev)
			}
			b.SetBytes(int64(len(e.b)))
		})
	}
}

// flushCounter is a client that leaves when something has been sent to it.
type flushCounter struct {
	sink
	leave func()
	n     int
}

func (w *flushCounter) Flush() { w.n++; w.leave() }

// BenchmarkStream sends a hundred events of the past over a stream, and reports in how many pieces.
func BenchmarkStream(b *testing.B) {
	s := newBench(b)
	for range 100 {
		s.do("PUT", "/v2/keys/k", "value=1")
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		r, _ := nethttp.NewRequestWithContext(ctx, "GET", "/v2/keys/k?wait=true&stream=true&waitIndex=1", nil)
		w := &flushCounter{sink: sink{nethttp.Header{}}, leave: cancel}
		s.ServeHTTP(w, r)
		n += w.n
	}
	b.ReportMetric(float64(n)/float64(b.N), "flushes/op")
}

// BenchmarkPoll answers a watch whose event has happened already.
func BenchmarkPoll(b *testing.B) {
	s := newBench(b)
	s.do("PUT", "/v2/keys/k", "value=1")
	benchmarkRequest(b, s, "GET", "/v2/keys/k?wait=true&waitIndex=1", "")
}

// BenchmarkText encodes values in which no byte, every hundredth, or every fourth is escaped.
func BenchmarkText(b *testing.B) {
	for name, s := range map[string]string{
		"plain": strings.Repeat("x", 400),
		"prose": strings.Repeat(strings.Repeat("x", 99)+"\n", 4),
		"json":  strings.Repeat(`{"ab":"1.2","cde":3}`, 20),
	} {
		b.Run(name, func(b *testing.B) {
			var buf []byte
			b.SetBytes(int64(len(s)))
			b.ReportAllocs()
			for b.Loop() {
				buf = appendText(buf[:0], s)
			}
		})
	}
}

// BenchmarkWaitingClients opens a thousand watches, and reports the memory of one, including the
// client's side.
func BenchmarkWaitingClients(b *testing.B) {
	const clients = 1000
	s := newBench(b)
	url := s.serve()
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	for b.Loop() {
		before := inUse()
		conns := make([]net.Conn, clients)
		for i := range conns {
			conns[i], _ = net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			io.WriteString(conns[i], watchHead+"\r\n")
		}
		for s.watchers.Held() < clients {
			runtime.Gosched()
		}
		b.ReportMetric(float64(inUse()-before)/clients, "B/client")
		b.ReportMetric(float64(runtime.NumGoroutine())/clients, "goroutines/client")
		for _, c := range conns {
			c.Close()
		}
		for s.conns.Held() > 0 {
			runtime.Gosched()
		}
	}
}

// BenchmarkListing lists a directory of 100,000 keys.
func BenchmarkListing(b *testing.B) {
	s := newBench(b)
	for range 100_000 {
		c := store.Command{Op: store.OpCreateInOrder, Path: "/q", Value: strings.Repeat("x", 100)}
		s.node.Propose(context.Background(), c.Append(nil))
	}
	benchmarkRequest(b, s, "GET", "/v2/keys/q", "")
}

// BenchmarkSent sends a listing of a hundred keys to a client. The system calls are those of both
// sides: one is the client's request.
func BenchmarkSent(b *testing.B) {
	s := newBench(b)
	for i := range 100 {
		s.do("PUT", fmt.Sprint("/v2/keys/d/k", i), "value="+strings.Repeat("x", 256))
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(s.serve(), "http://"))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	b.ReportAllocs()
	before := writeCalls()
	for b.Loop() {
		io.WriteString(c, "GET /v2/keys/d HTTP/1.1\r\nHost: x\r\n\r\n")
		w, err := nethttp.ReadResponse(in, nil)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, w.Body)
	}
	b.ReportMetric(float64(writeCalls()-before)/float64(b.N), "writes/op")
}

// writeCalls returns how many system calls this process has made to write something; 0 where only
// Linux tells.
func writeCalls() (n int) {
	text, _ := os.ReadFile("/proc/self/io")
	_, after, _ := strings.Cut(string(text), "syscw:")
	fmt.Sscan(after, &n)
	return n
}

// BenchmarkPage lists a hundred of a directory's children, from some place on. It should cost the
// same for a million children as for a thousand.
func BenchmarkPage(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			node := newFakeNode(store.Limits{})
			s, err := New(Config{Node: node, Store: node.store})
			if err != nil {
				b.Fatal(err)
			}
			for i := range n {
				c := store.Command{Op: store.OpSet, Path: fmt.Sprintf("/d/key-%08d", i), Value: strings.Repeat("v", 16)}
				node.Propose(b.Context(), c.Append(nil))
			}
			benchmarkRequest(b, s, "GET", fmt.Sprintf("/v2/keys/d?limit=100&after=key-%08d", n/3), "")
		})
	}
}
