package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A tape is the history of a cluster in which every event sets /k. Its servers are the members:
// each may lag, and treats watches badly.
type tape struct {
	mu   sync.Mutex
	last uint64        // index of the last event
	news chan struct{} // closed when there is one more
}

func newTape(last uint64) *tape { return &tape{last: last, news: make(chan struct{})} }

func (h *tape) write() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	close(h.news)
	h.news = make(chan struct{})
}

func (h *tape) now() (uint64, chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last, h.news
}

func event(index uint64) string {
	return fmt.Sprintf(`{"action":"set","node":{"key":"/k","value":"v%d","modifiedIndex":%d,"createdIndex":%d}}`+"\n",
		index, index, index)
}

// ServeHTTP answers watches correctly.
func (h *tape) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.watch(w, r, func(index uint64) bool {
		io.WriteString(w, event(index))
		return true
	})
}

// watch calls tell with each event, until tell returns false.
func (h *tape) watch(w http.ResponseWriter, r *http.Request, tell func(index uint64) bool) {
	last, _ := h.now()
	next := last + 1
	if i, err := strconv.ParseUint(r.FormValue("waitIndex"), 10, 64); err == nil {
		next = i
	}
	w.Header().Set("X-Etcd-Index", fmt.Sprint(last))
	w.Header().Set("X-Etcd-Cluster-Id", "c1")
	w.(http.Flusher).Flush()
	for {
		last, news := h.now()
		for ; next <= last; next++ {
			if !tell(next) || r.FormValue("stream") == "" {
				return
			}
			w.(http.Flusher).Flush()
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}

// misbehave is a member that does everything wrong that a watcher must endure, except lying.
func (h *tape) misbehave(w http.ResponseWriter, r *http.Request) {
	switch rand.IntN(10) {
	case 0:
		refusing(503, `{"message":"this member is starting"}`)(w, r)
		return
	case 1:
		hangUp(w, r)
	case 2:
		refusing(200, "nonsense")(w, r)
		return
	}
	h.watch(w, r, func(index uint64) bool {
		switch rand.IntN(10) {
		case 0: // it stops
			return false
		case 1: // it breaks off
			io.WriteString(w, event(index)[:30])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case 2: // it repeats itself
			io.WriteString(w, event(max(index-1, 1))+event(index))
		case 3:
			io.WriteString(w, `{"action":"set"}`+"\n")
		default:
			io.WriteString(w, event(index))
		}
		return true
	})
}

func TestNoEventIsLostDoubledOrOutOfOrder(t *testing.T) {
	const events = 200
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprint("stream=", stream), func(t *testing.T) {
			t.Parallel()
			h := newTape(5)
			c := newClient(t, Config{}, serve(t, h.misbehave), nobody(t), serve(t, h.misbehave), serve(t, h.ServeHTTP))
			w := c.Watch("/k", WatchOptions{AfterIndex: 5, Stream: stream})
			defer w.Close()
			go func() {
				for range events {
					h.write()
				}
			}()

			for want := uint64(6); want <= 5+events; want++ {
				resp, err := w.Next(t.Context())
				if err != nil || resp.Node.ModifiedIndex != want || resp.Node.Value != fmt.Sprint("v", want) ||
					w.Index() != want {
					t.Fatalf("%v: %+v, want event %d", err, resp, want)
				}
			}
		})
	}
}

// What happens between a broken connection and the next one is not lost, even before the first
// event.
func TestAWatchBeginsAtTheIndexOfItsFirstHead(t *testing.T) {
	h := newTape(41)
	var asked []string
	c := newClient(t, Config{}, serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		if len(asked) > 1 {
			h.ServeHTTP(w, r)
			return
		}
		w.Header().Set("X-Etcd-Index", "41")
		w.Header().Set("X-Etcd-Cluster-Id", "c1")
		w.(http.Flusher).Flush()
		h.write()
	}))

	resp, err := c.Watch("/k", WatchOptions{Recursive: true}).Next(t.Context())

	if err != nil || resp.Node.ModifiedIndex != 42 {
		t.Errorf("%v: %+v", err, resp)
	}
	if got := strings.Join(asked, " "); got != "recursive=true&wait=true recursive=true&wait=true&waitIndex=42" {
		t.Error(got)
	}
}

func TestAWatcherSaysThatTheHistoryIsCleared(t *testing.T) {
	var asked atomic.Int64
	refusal := `{"errorCode":401,"message":"The event in requested index is outdated and cleared","cause":"the requested history has been cleared [1007/8]","index":2006}`
	c := newClient(t, Config{}, serve(t, counting(&asked, refusing(400, refusal))), serve(t, newTape(2006).ServeHTTP))
	w := c.Watch("/k", WatchOptions{AfterIndex: 7})

	_, err := w.Next(t.Context())

	var e *Error
	if !IsHistoryCleared(err) || !errors.As(err, &e) || e.FirstIndex() != 1007 || e.Index != 2006 ||
		asked.Load() != 1 || w.Index() != 7 {
		t.Errorf("%v, %d requests", err, asked.Load())
	}
}

func TestNextEndsWithItsContextAndMayBeCalledAgain(t *testing.T) {
	for _, stream := range []bool{false, true} {
		h := newTape(5)
		listening := make(chan struct{}, 10)
		c := newClient(t, Config{}, serve(t, func(w http.ResponseWriter, r *http.Request) {
			listening <- struct{}{}
			h.ServeHTTP(w, r)
		}))
		w := c.Watch("/k", WatchOptions{Stream: stream, AfterIndex: 5})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-listening; cancel() }()

		_, ended := w.Next(ctx)
		h.write()
		resp, err := w.Next(t.Context())
		w.Close()

		if !errors.Is(ended, context.Canceled) || err != nil || resp.Node.ModifiedIndex != 6 {
			t.Errorf("stream=%v: %v, then %v, %v", stream, ended, resp, err)
		}
	}
}

func TestAWatcherGivesUpWhenToldTo(t *testing.T) {
	first, second := nobody(t), serve(t, refusing(500, "down"))
	c := newClient(t, Config{}, first, second)

	_, err := c.Watch("/k", WatchOptions{Patience: time.Nanosecond}).Next(t.Context())

	if err == nil || !strings.Contains(err.Error(), "status 500") {
		t.Error(err)
	}
}

func TestAWatcherDoesNotFollowIntoAnotherCluster(t *testing.T) {
	h := newTape(5)
	other := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Etcd-Cluster-Id", "c2")
		io.WriteString(w, event(6))
	})
	c := newClient(t, Config{}, serve(t, h.ServeHTTP), other)
	w := c.Watch("/k", WatchOptions{AfterIndex: 5})
	h.write()
	if _, err := w.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.prefer(other)
	h.write()

	resp, err := w.Next(t.Context())

	if err != nil || resp.ClusterID != "c1" || resp.Node.ModifiedIndex != 7 {
		t.Errorf("%v: %+v", err, resp)
	}
}

// An event without an end costs a bounded piece of memory. pitfall K6
func TestAnEndlessEventIsNotAnEvent(t *testing.T) {
	h := newTape(5)
	c := newClient(t, Config{MaxAnswerBytes: 1 << 16}, serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Etcd-Cluster-Id", "c1")
		io.WriteString(w, `{"action":"set","node":{"key":"`)
		endless(w, r)
	}), serve(t, h.ServeHTTP))
	h.write()

	resp, err := c.Watch("/k", WatchOptions{AfterIndex: 5}).Next(t.Context())

	if err != nil || resp.Node.ModifiedIndex != 6 {
		t.Errorf("%v: %+v", err, resp)
	}
}
