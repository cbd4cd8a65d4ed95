package http

import (
	"bufio"
	"fmt"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"etcd2/store"
)

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

// Wherever a stream breaks off, one that names its last id tells the events behind it, each once,
// though the address still has the waitIndex of the first.
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

// While nothing comes, the stream says so, and up to where: whoever resumes there has missed
// nothing, and a busy tree does not leave a quiet key's reader behind.
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

// Who has missed events is told so in the stream, with the index behind which it goes on.
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

// Rights and limits are those of any watch, and a beat needs the right, too.
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
