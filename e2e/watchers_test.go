package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

// Watchers follow a directory while anything may happen to the members. When a watch ends, or
// brings nothing for a while, they continue at another member, from the index after the last event.
type watchers struct {
	c       *cluster
	key     string
	targets []*member
	done    sync.WaitGroup
	all     []*follower
}

// A follower is one watcher, and what it has seen.
type follower struct {
	next   uint64 // index of the event that it waits for
	events []seen
	bad    []string
}

// A seen event has the time at which it arrived.
type seen struct {
	event
	at time.Time
}

// lastWord is the key below the directory whose event ends all watchers.
const lastWord = "/end"

// watch starts n watchers of a directory at the running members; they see events from now on.
func (c *cluster) watch(key string, n int) *watchers {
	c.t.Helper()
	w := &watchers{c: c, key: key, targets: c.running()}
	begin := c.leader().put(key+"/begin", "")
	ctx, cancel := context.WithCancel(context.Background())
	c.t.Cleanup(func() { cancel(); w.done.Wait() })
	for i := range n {
		f := &follower{next: begin.index(c.t)}
		w.all = append(w.all, f)
		w.done.Go(func() {
			for ctx.Err() == nil && !f.ended(key) {
				f.follow(ctx, w.targets[rand.IntN(len(w.targets))], key, i%2 == 0)
			}
		})
	}
	return w
}

func (f *follower) ended(key string) bool {
	n := len(f.events)
	return len(f.bad) > 0 || n > 0 && f.events[n-1].Node.Key == key+lastWord
}

// follow watches at one member until the watch ends or a second is over.
func (f *follower) follow(ctx context.Context, m *member, key string, stream bool) {
	ctx, cancel := context.WithTimeout(ctx, shortly)
	defer cancel()
	query := fmt.Sprintf("?wait=true&recursive=true&waitIndex=%d", f.next)
	if stream {
		query += "&stream=true"
	}
	req, err := http.NewRequestWithContext(ctx, "GET", m.url+"/v2/keys"+key+query, nil)
	if err != nil {
		panic(err) // the URL is wrong
	}
	resp, err := client.Do(req)
	if err != nil {
		<-time.After(time.Millisecond)
		return // down
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusServiceUnavailable {
		return // starting
	}
	for decoder := json.NewDecoder(resp.Body); ; {
		var e event
		if decoder.Decode(&e) != nil {
			return
		}
		f.take(e, m)
		if f.ended(key) {
			return
		}
	}
}

func (f *follower) take(e event, m *member) {
	if e.ErrorCode == 401 || e.Node.ModifiedIndex < f.next && e.ErrorCode == 0 {
		f.bad = append(f.bad, fmt.Sprintf("waiting for %d at %s: %+v", f.next, m.name, e))
	}
	if e.ErrorCode == 0 {
		f.events = append(f.events, seen{e, time.Now()})
		f.next = e.Node.ModifiedIndex + 1
	}
}

// finish writes the last key, waits until every watcher has seen it, and compares: all must have
// seen the same events. It returns them, each with the time at which it was first seen.
func (w *watchers) finish() []seen {
	t := w.c.t
	t.Helper()
	eventually(t, "the last word", patience, func() bool {
		a, err := w.c.running()[0].attempt("PUT", "/v2/keys"+w.key+lastWord, url.Values{"value": {"x"}})
		return err == nil && a.status <= 201
	})
	w.await(t)
	most := slices.MaxFunc(w.all, func(a, b *follower) int { return len(a.events) - len(b.events) })
	events := most.events
	for i, f := range w.all {
		for _, bad := range f.bad {
			t.Errorf("watcher %d: %s", i, bad)
		}
		if len(f.events) != len(events) {
			t.Errorf("watcher %d has seen %d events, another one %d", i, len(f.events), len(events))
		}
		for j := range min(len(events), len(f.events)) {
			mine, first := f.events[j], &events[j]
			if mine.Action != first.Action || mine.Node.Key != first.Node.Key || mine.Node.Value != first.Node.Value ||
				mine.Node.ModifiedIndex != first.Node.ModifiedIndex {
				t.Errorf("watcher %d has seen %+v as number %d, another one %+v", i, mine.event, j, first.event)
				break
			}
			if mine.at.Before(first.at) {
				first.at = mine.at
			}
		}
	}
	return events
}

func (w *watchers) await(t *testing.T) {
	t.Helper()
	ended := make(chan struct{})
	go func() { w.done.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("some watchers do not end")
	}
}
