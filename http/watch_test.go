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

// stream opens a watch and returns its answer's head and a reader of its events.
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

// flushed is a ResponseWriter that shows each part of an answer that was sent in one piece.
type flushed struct {
	sink
	held strings.Builder
	show func(part string)
}

func (w *flushed) Write(b []byte) (int, error) { return w.held.Write(b) }
func (w *flushed) Flush()                      { w.show(w.held.String()); w.held.Reset() }

// busy is a ResponseWriter that makes another event for each piece that is written to it.
type busy struct {
	sink
	onWrite func() error
}

func (w *busy) Write(b []byte) (int, error) { return len(b), w.onWrite() }

func TestAStreamThatAlwaysHasAnEventEndsWithItsServer(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/k", "value=1")
	sent := 0
	w := &busy{sink{nethttp.Header{}}, func() error {
		b.do("PUT", "/v2/keys/k", "value=2")
		sent++
		switch sent {
		case 10:
			b.endLong()
		case 20:
			return io.ErrClosedPipe
		}
		return nil
	}}

	b.ServeHTTP(w, httptest.NewRequest("GET", "/v2/keys/k?wait=true&stream=true&waitIndex=1", nil))

	if sent != 10 {
		t.Errorf("%d events were sent, want the 10 before the end", sent)
	}
}

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

// A poll from the past has nothing to wait for: its head is sent together with its event.
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

// A watch of a long key counts in the memory for requests until it ends.
// pitfall J9, pitfall L12
func TestAWatchOfALongKeyPaysForIt(t *testing.T) {
	b := newBench(t)
	b.memory.max = maxKeyBytes - freeKey
	target := "/v2/keys/" + strings.Repeat("k", maxKeyBytes-1) + "?wait=true&waitIndex=1"
	b.do("PUT", "/v2/keys/k", "value=1")
	if !b.memory.acquire(1) {
		t.Fatal("there is no room at all")
	}
	b.want(b.do("GET", target, ""), 503, `{"message":"too many watches"}`)
	b.memory.release(1)

	b.do("PUT", strings.TrimSuffix(target, "?wait=true&waitIndex=1"), "")

	if w := b.do("GET", target, ""); w.Code != 200 || b.memory.used.Load() != 0 {
		t.Errorf("%d %.100s, %d bytes taken", w.Code, w.Body, b.memory.used.Load())
	}
}

// When a snapshot is installed during a stream and its history reaches far enough back, the stream
// goes on with its events in order. Otherwise the stream ends, and a new watch gets code 401.
// pitfall E12
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

// poll begins a long poll, and returns when it blocks.
func (b *bench) poll(url string) <-chan *nethttp.Response {
	b.t.Helper()
	answer := make(chan *nethttp.Response, 1)
	go func() {
		w, err := nethttp.Get(url)
		if err != nil {
			b.t.Error(err)
		}
		answer <- w
	}()
	eventually(b.t, "it waits", func() bool { return b.node.store.Stats().Watchers == 1 })
	return answer
}

// textOf reads an answer to its end.
func textOf(t *testing.T, w *nethttp.Response) string {
	t.Helper()
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// A poll without an event says from where to go on, whether it waited or had a timeout of 0.
func TestAPollEndsByItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		client := clientOver(t, b.serveInMemory(t), nil)
		b.do("PUT", "/v2/keys/k", "value=1")
		b.do("PUT", "/v2/keys/other", "value=1")
		for query, want := range map[string]string{
			"timeout=1":              "204 2",
			"timeout=99":             "204 2",
			"timeout=0":              "204 2",
			"timeout=0&waitIndex=2":  "204 2",
			"timeout=0&waitIndex=7":  "204 6",
			"timeout=0&waitIndex=1":  `200 2 {"action":"set","node":{"key":"/k","value":"1","modifiedIndex":1,"createdIndex":1}}` + "\n",
			"timeout=99&waitIndex=1": `200 2 {"action":"set","node":{"key":"/k","value":"1","modifiedIndex":1,"createdIndex":1}}` + "\n",
		} {
			w, err := client.Get("http://x/v2/keys/k?wait=true&" + query)
			if err != nil {
				t.Fatal(err)
			}
			text := textOf(t, w)
			got := strings.TrimSuffix(fmt.Sprint(w.StatusCode, " ", w.Header.Get("X-Etcd-Index"), " ", text), " ")
			if got != want || w.Header.Get("X-Raft-Index") != "2" ||
				(w.Header.Get("Content-Type") == "") != (text == "") {
				t.Errorf("%s: %q %v, want %q", query, got, w.Header, want)
			}
		}
		if n := b.watchers.Held(); n != 0 {
			t.Errorf("%d watches are left", n)
		}
	})
}

// An event that comes in time is the answer, with the index at which the watch began.
func TestAPollIsAnsweredByItsEvent(t *testing.T) {
	b := newBench(t)
	url := b.serve()
	answer := b.poll(url + "/v2/keys/k?wait=true&timeout=99")

	b.do("PUT", "/v2/keys/k", "value=1")

	w := <-answer
	if w.StatusCode != 200 || w.Header.Get("X-Etcd-Index") != "0" || !strings.Contains(textOf(t, w),
		`"modifiedIndex":1`) {
		t.Errorf("%d %v", w.StatusCode, w.Header)
	}
}

// When the server stops, a poll ends without an event and without an error: the client goes on at
// another member from that index.
func TestAPollOfAServerThatEndsSaysFromWhereToGoOn(t *testing.T) {
	b := newBench(t)
	url := b.serve()
	b.do("PUT", "/v2/keys/k", "value=1")
	answer := b.poll(url + "/v2/keys/k?wait=true&timeout=99")

	if err := b.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}

	w := <-answer
	if w.StatusCode != 204 || w.Header.Get("X-Etcd-Index") != "1" {
		t.Errorf("%d %v", w.StatusCode, w.Header)
	}
}

// A frame is a block of server-sent events: its lines, but for the comments.
type frame struct{ event, id, data, retry string }

// frames is a stream of server-sent events.
type frames struct {
	t     *testing.T
	head  *nethttp.Response
	lines *bufio.Scanner
}

// events opens a stream; headers are names and values in turn.
func events(t *testing.T, url string, headers ...string) *frames {
	t.Helper()
	r, _ := nethttp.NewRequestWithContext(t.Context(), "GET", url, nil)
	r.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	head, err := nethttp.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { head.Body.Close() })
	return &frames{t, head, bufio.NewScanner(head.Body)}
}

// next reads a block, which is a zero frame at the end of the stream.
func (s *frames) next() (f frame) {
	s.t.Helper()
	fields := map[string]*string{"event": &f.event, "id": &f.id, "data": &f.data, "retry": &f.retry}
	for s.lines.Scan() && s.lines.Text() != "" {
		name, value, _ := strings.Cut(s.lines.Text(), ":")
		if field := fields[name]; field != nil {
			*field = strings.TrimPrefix(value, " ")
		} else if name != "" {
			s.t.Errorf("line %q", s.lines.Text())
		}
	}
	return f
}

func TestServerSentEventsAreThoseOfTheWatch(t *testing.T) {
	b := newBench(t)
	url := b.serve()
	b.do("PUT", "/v2/keys/d/k", "value=1")
	live := events(t, url+"/v2/keys/d?wait=true&recursive=true")
	h := live.head.Header
	if live.head.StatusCode != 200 || h.Get("Content-Type") != "text/event-stream" ||
		h.Get("Cache-Control") != "no-store" || h.Get("X-Etcd-Index") != "1" {
		t.Errorf("%d %v", live.head.StatusCode, h)
	}
	b.do("PUT", "/v2/keys/other", "value=1")
	b.do("PUT", "/v2/keys/d/k", "value=a%0A%0Ddata: b")
	want := []frame{
		{id: "1", retry: "1000"},
		{id: "3", data: `{"action":"set","node":{"key":"/d/k","value":"a\n\rdata: b","modifiedIndex":3,"createdIndex":3},"prevNode":{"key":"/d/k","value":"1","modifiedIndex":1,"createdIndex":1}}`},
	}
	for _, f := range want {
		if got := live.next(); got != f {
			t.Errorf("%+v, want %+v", got, f)
		}
	}
	past := events(t, url+"/v2/keys/d/k?wait=true&stream=true&waitIndex=2")
	for _, f := range want {
		if got := past.next(); got != f {
			t.Errorf("from the past: %+v, want %+v", got, f)
		}
	}
	w := b.do("GET", "/v2/keys/d/k?keysOnly=true", "", "Accept", "text/event-stream")
	b.want(w, 200, `{"action":"get","node":{"key":"/d/k","modifiedIndex":3,"createdIndex":3}}`+"\n")
}

// Wherever a stream breaks off, a new one with its last id has the events behind that id, each
// once, although the URL still has the waitIndex of the first stream.
func TestServerSentEventsResumeWithoutAGapOrADouble(t *testing.T) {
	b := newBench(t)
	url := b.serve() + "/v2/keys/d?wait=true&recursive=true&waitIndex=1"
	last, told := "", ""
	for i := range 30 {
		b.do("PUT", fmt.Sprint("/v2/keys/d/", i), "value=1")
		if i%4 == 1 {
			continue
		}
		headers := []string{}
		if last != "" {
			headers = []string{lastIDHeader, last}
		}
		s := events(t, url, headers...)
		for reads := 1 + i%3; reads > 0 && last != fmt.Sprint(i+1); reads-- {
			f := s.next()
			if last = f.id; f.data != "" {
				told += f.id + " "
			}
		}
		s.head.Body.Close()
	}

	want := ""
	for i := 1; fmt.Sprint(i-1) != last; i++ {
		want += fmt.Sprint(i, " ")
	}
	if told != want || len(told) < 30 {
		t.Errorf("%s, want %s", told, want)
	}
}

// Without events a stream sends its id from time to time. A client that resumes there has missed
// nothing, even if the key was quiet while the history moved on with events of other keys.
func TestServerSentEventsBeat(t *testing.T) {
	b := newBench(t)
	b.times.beat = time.Millisecond
	s := events(t, b.serve()+"/v2/keys/quiet?wait=true")
	if f := s.next(); f != (frame{id: "0", retry: "1000"}) {
		t.Errorf("%+v", f)
	}
	for i := range 3 {
		want := fmt.Sprint(i + 1)
		b.do("PUT", "/v2/keys/busy", "value=1")
		for f := s.next(); f.id != want; f = s.next() {
			if f != (frame{id: fmt.Sprint(i)}) {
				t.Fatalf("%+v", f)
			}
		}
	}
	if text := s.lines.Text(); text != "" {
		t.Errorf("%q", text)
	}
}

// A client that has missed events is told so in the stream, with the index behind which it goes on.
func TestServerSentEventsTellThatEventsAreLost(t *testing.T) {
	b := newBench(t, func(c *Config) {
		node := newFakeNode(store.Limits{Events: 10})
		c.Node, c.Store = node, node.store
	})
	url := b.serve()
	for range 30 {
		b.do("PUT", "/v2/keys/k", "value=1")
	}

	s := events(t, url+"/v2/keys/k?wait=true", lastIDHeader, "3")

	want := frame{event: "cleared", id: "30", retry: "1000",
		data: `{"errorCode":401,"message":"The event in requested index is outdated and cleared","cause":"the requested history has been cleared [21/4]","index":30}`}
	if f := s.next(); f != want {
		t.Errorf("%+v, want %+v", f, want)
	}
	b.do("PUT", "/v2/keys/k", "value=2")
	if f := s.next(); f.id != "31" || !strings.Contains(f.data, `"modifiedIndex":31`) {
		t.Errorf("%+v", f)
	}
	if n := b.watchers.Held(); n != 1 {
		t.Errorf("%d watchers", n)
	}
}

func TestABadLastEventIDIsRefused(t *testing.T) {
	b := newBench(t)
	for _, id := range []string{"x", "-1", "18446744073709551615"} {
		w := b.do("GET", "/v2/keys/k?wait=true", "", "Accept", "text/event-stream", lastIDHeader, id)
		b.want(w, 400, `{"errorCode":203,"message":"The given index in POST form is not a number","cause":"invalid value for \"Last-Event-ID\"","index":0}`+"\n")
	}
	w := b.do("GET", "/v2/keys/k?wait=true&timeout=1", "", "Accept", "text/event-stream")
	b.want(w, 400, `{"errorCode":209,"message":"Invalid field","cause":"\"timeout\" can only be used with \"wait\", without \"stream\"","index":0}`+"\n")
}

// Server-sent events have the rights and limits of any watch, and a beat needs the right, too.
// pitfall K9
func TestServerSentEventsEndWithTheirRight(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxWatchers = 1 }).enabled()
	b.times.beat = time.Millisecond
	b.role("r", "/d*", "")
	b.user("u", "r")
	url := b.serve() + "/v2/keys/d?wait=true&recursive=true"
	if s := events(t, url); s.head.StatusCode != 401 {
		t.Errorf("a stranger gets %d", s.head.StatusCode)
	}
	s := events(t, url, "Authorization", password("u"))
	s.next()
	if more := events(t, url, "Authorization", password("u")); more.head.StatusCode != 503 {
		t.Errorf("one over the limit gets %d", more.head.StatusCode)
	}

	b.must("PUT", "/roles/r", `{"role":"r","revoke":{"kv":{"read":["/d*"]}}}`)
	b.as("root", "PUT", "/v2/keys/d/3", "value=third")

	for f := s.next(); f != (frame{}); f = s.next() {
		if f.data != "" {
			t.Errorf("without a right: %+v", f)
		}
	}
}
