package http

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"etcd2/store"
)

// stream opens a watch and returns its answer's head, and a reader of its events.
func stream(t *testing.T, url string) (*nethttp.Response, *json.Decoder) {
	t.Helper()
	w, err := nethttp.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Body.Close() })
	return w, json.NewDecoder(w.Body)
}

type watched struct {
	Action string
	Node   struct {
		Key           string
		ModifiedIndex uint64
	}
}

func TestHeadOfAWatchIsSentBeforeAnyEvent(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/k", "value=1")
	url := b.serve()

	w, events := stream(t, url+"/v2/keys/k?wait=true")

	h := w.Header
	if w.StatusCode != 200 || h.Get("X-Etcd-Index") != "1" || h.Get("X-Raft-Index") != "1" ||
		h.Get("X-Raft-Term") != "2" || h.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v", w.StatusCode, h)
	}
	b.do("PUT", "/v2/keys/k", "value=2")
	var ev watched
	if err := events.Decode(&ev); err != nil || ev.Node.ModifiedIndex != 2 {
		t.Errorf("%+v, %v", ev, err)
	}
	if err := events.Decode(&ev); err != io.EOF {
		t.Errorf("the answer goes on after its event: %+v, %v", ev, err)
	}
}

func TestStreamGoesFromThePastOnWithoutGap(t *testing.T) {
	b := newBench(t)
	url := b.serve()
	for i := range 50 {
		b.do("PUT", fmt.Sprintf("/v2/keys/d/%d", i), "value=1")
	}
	w, events := stream(t, url+"/v2/keys/d?wait=true&stream=true&recursive=true&waitIndex=1")
	if w.Header.Get("X-Etcd-Index") != "50" {
		t.Errorf("began at %s", w.Header.Get("X-Etcd-Index"))
	}
	go func() {
		for i := range 50 {
			c := store.Command{Op: store.OpSet, Path: fmt.Sprintf("/d/%d", i)}
			b.node.Propose(context.Background(), c.Append(nil))
		}
	}()
	for want := uint64(1); want <= 100; want++ {
		var ev watched
		if err := events.Decode(&ev); err != nil || ev.Node.ModifiedIndex != want {
			t.Fatalf("event %d: %+v, %v", want, ev, err)
		}
	}
}

// flushed is a ResponseWriter that shows each part of an answer that was sent at once.
type flushed struct {
	sink
	held strings.Builder
	show func(part string)
}

func (w *flushed) Write(b []byte) (int, error) { return w.held.Write(b) }
func (w *flushed) Flush()                      { w.show(w.held.String()); w.held.Reset() }

// A write to a socket costs ten times what its event does.
func TestTheEventsOfAStreamThatAreThereAreSentTogether(t *testing.T) {
	b := newBench(t)
	for range 50 {
		b.do("PUT", "/v2/keys/k", "value=1")
	}
	ctx, cancel := context.WithCancel(t.Context())
	parts := make(chan string, 10)
	r := httptest.NewRequestWithContext(ctx, "GET", "/v2/keys/k?wait=true&stream=true&waitIndex=1", nil)
	ended := make(chan struct{})
	go func() {
		b.ServeHTTP(&flushed{sink: sink{nethttp.Header{}}, show: func(part string) { parts <- part }}, r)
		close(ended)
	}()

	if part := <-parts; strings.Count(part, "\n") != 50 {
		t.Errorf("%d events are sent together of 50 that are there", strings.Count(part, "\n"))
	}
	b.do("PUT", "/v2/keys/k", "value=2")
	if part := <-parts; strings.Count(part, "\n") != 1 {
		t.Errorf("%q is sent, want the event that came", part)
	}
	cancel()
	<-ended
}

// A poll from the past has nothing to wait for: its head goes with its event.
func TestTheHeadOfAWatchGoesWithAnEventThatIsThere(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/k", "value=1")
	w := &flushed{sink: sink{nethttp.Header{}}, show: func(part string) { t.Errorf("%q is sent alone", part) }}

	b.ServeHTTP(w, httptest.NewRequest("GET", "/v2/keys/k?wait=true&waitIndex=1", nil))

	if !strings.HasPrefix(w.held.String(), `{"action":"set"`) {
		t.Errorf("%q", w.held.String())
	}
}

func TestWatchFromClearedHistoryIsCode401(t *testing.T) {
	b := newBench(t, func(c *Config) {
		node := newFakeNode(store.Limits{Events: 10})
		c.Node, c.Store = node, node.store
	})
	for range 30 {
		b.do("PUT", "/v2/keys/k", "value=1")
	}
	w := b.do("GET", "/v2/keys/k?wait=true&waitIndex=1", "")
	if got := decode(t, w.Body.String()); w.Code != 400 || got["errorCode"] != 401.0 || got["index"] != 30.0 ||
		w.Header().Get("X-Etcd-Index") != "30" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if n := b.watchers.Held(); n != 0 {
		t.Errorf("%d watches counted after the refusal", n)
	}
}

func TestWatchesOverTheLimitGet503(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxWatchers = 2 })
	url := b.serve()
	first, _ := stream(t, url+"/v2/keys/k?wait=true")
	stream(t, url+"/v2/keys/k?wait=true")

	w, _ := stream(t, url+"/v2/keys/k?wait=true")

	if w.StatusCode != 503 || w.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", w.StatusCode, w.Header)
	}
	first.Body.Close()
	eventually(t, "one may watch again", func() bool { return b.watchers.Held() == 1 })
}

// A watch of a long key takes its part of the memory for requests, and gives it back.
// pitfall J9, pitfall L12
func TestAWatchOfALongKeyPaysForIt(t *testing.T) {
	b := newBench(t)
	b.room.max = maxKeyBytes - freeKey
	target := "/v2/keys/" + strings.Repeat("k", maxKeyBytes-1) + "?wait=true&waitIndex=1"
	b.do("PUT", "/v2/keys/k", "value=1")
	if !b.room.take(1) {
		t.Fatal("there is no room at all")
	}
	b.want(b.do("GET", target, ""), 503, `{"message":"too many watches"}`)
	b.room.give(1)

	b.do("PUT", strings.TrimSuffix(target, "?wait=true&waitIndex=1"), "")

	if w := b.do("GET", target, ""); w.Code != 200 || b.room.used.Load() != 0 {
		t.Errorf("%d %.100s, %d bytes taken", w.Code, w.Body, b.room.used.Load())
	}
}

// A snapshot that is installed under a stream is followed in order when its history reaches far
// enough back, and ends the stream when it does not; a new watch is then told so. pitfall E12
func TestAStreamOutlivesASnapshotOrEnds(t *testing.T) {
	const seen, missed = 5, 40
	for _, c := range []struct {
		name    string
		history int // events that the snapshot carries
		goesOn  bool
	}{
		{"all of it", 100, true},
		{"just enough", missed, true},
		{"one too few", missed - 1, false},
	} {
		limits := store.Limits{Events: c.history}
		node, ahead := newFakeNode(limits), newFakeNode(limits)
		b := newBench(t, func(c *Config) { c.Node, c.Store = node, node.store })
		url := b.serve()
		_, events := stream(t, url+"/v2/keys/d?wait=true&stream=true&recursive=true")
		put := func(i int, nodes ...*fakeNode) {
			for _, n := range nodes {
				c := store.Command{Op: store.OpSet, Path: fmt.Sprintf("/d/%d", i)}
				n.Propose(context.Background(), c.Append(nil))
			}
		}
		follow := func(from, to uint64) {
			t.Helper()
			for want := from; want <= to; want++ {
				var ev watched
				if err := events.Decode(&ev); err != nil || ev.Node.ModifiedIndex != want {
					t.Fatalf("%s: event %d: %+v, %v", c.name, want, ev, err)
				}
			}
		}
		for i := range seen {
			put(i, node, ahead)
		}
		follow(1, seen)
		for i := range missed {
			put(i, ahead)
		}
		var snapshot bytes.Buffer
		if err := ahead.store.Freeze()(&snapshot); err != nil {
			t.Fatal(err)
		}

		node.set(func() {
			if err := node.store.Restore(&snapshot); err != nil {
				t.Fatal(err)
			}
			node.index = ahead.index
		})

		if !c.goesOn {
			var ev watched
			if err := events.Decode(&ev); err != io.EOF {
				t.Errorf("%s: %+v, %v; the stream goes on with a gap", c.name, ev, err)
			}
			if w := b.do("GET", fmt.Sprintf("/v2/keys/d?wait=true&recursive=true&waitIndex=%d", seen+1),
				""); w.Code != 400 || decode(t, w.Body.String())["errorCode"] != 401.0 {
				t.Errorf("%s: a new watch: %d %s", c.name, w.Code, w.Body)
			}
			continue
		}
		follow(seen+1, seen+missed)
		put(0, node)
		follow(seen+missed+1, seen+missed+1)
	}
}

// pitfall J3
func TestWatchersOfGoneClientsGo(t *testing.T) {
	b := newBench(t)
	url := b.serve()
	before := runtime.NumGoroutine()
	var polls []net.Conn
	for i := range 300 {
		c := rawDial(t, url)
		body := ""
		if i%3 == 0 {
			body = "Content-Length: 5\r\n\r\nhello"
		} else {
			body = "\r\n"
		}
		io.WriteString(c, "GET /v2/keys/k?wait=true HTTP/1.1\r\nHost: x\r\n"+body)
		polls = append(polls, c)
	}
	eventually(t, "all watch", func() bool { return b.node.store.Stats().Watchers == 300 })

	for _, c := range polls {
		c.Close()
	}

	eventually(t, "no watcher is left", func() bool { return b.node.store.Stats().Watchers == 0 })
	eventually(t, "the goroutines are back", func() bool { return runtime.NumGoroutine() <= before+2 })
}

// pitfall J11
func TestReaderThatDoesNotReadLosesItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		dial := b.serveInMemory(t)
		const readers = 10
		for range readers {
			c := dial()
			io.WriteString(c, "GET /v2/keys/k?wait=true&stream=true HTTP/1.1\r\nHost: x\r\n\r\n")
			if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
				t.Fatalf("%q, %v", line, err)
			}
		}
		synctest.Wait()
		if n := b.node.store.Stats().Watchers; n != readers {
			t.Fatalf("%d watch", n)
		}
		begun := time.Now()

		for range 10 {
			b.do("PUT", "/v2/keys/k", "value="+strings.Repeat("x", 400_000))
		}

		if waited := time.Since(begun); waited > 0 {
			t.Errorf("the writes waited %v", waited)
		}
		time.Sleep(b.times.write)
		synctest.Wait()
		if conns, watchers := b.conns.Held(), b.node.store.Stats().Watchers; conns > 0 || watchers > 0 {
			t.Errorf("%d connections and %d watchers are left", conns, watchers)
		}
	})
}

// pitfall J11
func TestStuckStreamOfHTTP2IsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		w, err := clientOver(t, b.serveInMemory(t), onlyHTTP2()).Get("http://x/v2/keys/k?wait=true&stream=true")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Body.Close()

		for range 40 { // more than the stream's window
			b.do("PUT", "/v2/keys/k", "value="+strings.Repeat("x", 400_000))
		}

		time.Sleep(2 * b.times.write)
		synctest.Wait()
		if n := b.node.store.Stats().Watchers; n > 0 {
			t.Errorf("%d watchers are left", n)
		}
	})
}
