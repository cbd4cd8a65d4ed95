package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"etcd2/e2e/pace"
)

// A source reads server-sent events as a browser does: when a connection ends it opens another one,
// and sends the last id. Here each connection goes to the next of some servers.
type source struct {
	servers []*member
	path    string
	atOnce  int // events that it reads from one connection before it closes it; 0: all

	last string   // id
	told []string // keys of events
}

// follow reads until there was an event of key.
func (s *source) follow(ctx context.Context, key string) error {
	for i := 0; !slices.Contains(s.told, key); i++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("after %d events, the last id %s: %w", len(s.told), s.last, err)
		}
		s.connect(ctx, s.servers[i%len(s.servers)].url, key)
	}
	return nil
}

// connect reads from one connection, until it ends or there was an event of key.
func (s *source) connect(ctx context.Context, server, key string) {
	req, err := http.NewRequestWithContext(ctx, "GET", server+s.path, nil)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if s.last != "" {
		req.Header.Set("Last-Event-ID", s.last)
	}
	resp, err := client.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		return
	}
	id, data := "", ""
	for lines, before := bufio.NewScanner(resp.Body), len(s.told); lines.Scan(); {
		line := lines.Text()
		if rest, found := strings.CutPrefix(line, "id: "); found {
			id = rest
		}
		if rest, found := strings.CutPrefix(line, "data: "); found {
			data = rest
		}
		if line != "" {
			continue
		}
		s.dispatch(id, data)
		if data = ""; slices.Contains(s.told, key) || s.atOnce > 0 && len(s.told) >= before+s.atOnce {
			return
		}
	}
}

// dispatch takes a complete block.
func (s *source) dispatch(id, data string) {
	if s.last = id; data == "" {
		return
	}
	var e event
	if err := json.Unmarshal([]byte(data), &e); err != nil || fmt.Sprint(e.Node.ModifiedIndex) != id {
		s.told = append(s.told, fmt.Sprintf("id %s with %s", id, data))
		return
	}
	s.told = append(s.told, e.Node.Key)
}

// A reader of events gets each of them once, although its connections break and the leader is
// killed, from members and from a proxy.
func TestServerSentEventsOverBrokenConnections(t *testing.T) {
	t.Parallel()
	keys := pace.Pick(45, 45, 120)
	c := startCluster(t, 3, quick...)
	p := c.startProxy()
	name := func(i int) string { return fmt.Sprintf("/s/%04d", i) }
	path := fmt.Sprintf("/v2/keys/s?wait=true&recursive=true&waitIndex=%d", p.put("/other", "1").index(t)+1)
	sources := []*source{
		{servers: []*member{p}, path: path},
		{servers: []*member{p}, path: path, atOnce: 7},
		{servers: c.members, path: path, atOnce: 5},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	defer cancel()
	var reading sync.WaitGroup
	for _, s := range sources {
		reading.Go(func() {
			if err := s.follow(ctx, name(keys-1)); err != nil {
				t.Error(err)
			}
		})
	}
	var want []string
	var leader *member
	for i := range keys {
		want = append(want, name(i))
		switch i {
		case keys / 3:
			leader = c.leader()
			leader.kill()
		case 2 * keys / 3:
			c.start(leader)
		}
		eventually(t, "a write of "+name(i), patience, func() bool { // a repeated write finds the key that it has made
			a, err := p.attempt("PUT", "/v2/keys"+name(i), url.Values{"value": {"v"}, "prevExist": {"false"}})
			return err == nil && (a.status == 201 || a.status == 412)
		})
		p.attempt("PUT", "/v2/keys/other", url.Values{"value": {"v"}})
	}

	reading.Wait()

	for i, s := range sources {
		if !slices.Equal(s.told, want) {
			t.Errorf("source %d was told of %d keys: %q", i, len(s.told), s.told)
		}
	}
}

// A directory is read in the same pages at all members and at a proxy, and a poll with a timeout
// ends there, too.
func TestPagesAndPollsAtAnyServer(t *testing.T) {
	t.Parallel()
	const keys = 40
	c := startCluster(t, 3, quick...)
	p := c.startProxy()
	for i := range keys {
		p.put(fmt.Sprintf("/d/%04d", i), "v")
	}
	for _, m := range append(slices.Clone(c.members), p) {
		names, after := 0, ""
		for left := keys; left > 0; left-- {
			a := m.get("/v2/keys/d?quorum=true&keysOnly=true&limit=7&after=" + after)
			var listing struct {
				Node struct {
					More  int
					Nodes []struct{ Key string }
				}
			}
			if err := json.Unmarshal([]byte(a.body), &listing); err != nil || len(listing.Node.Nodes) == 0 {
				t.Fatalf("%s: %s", m.name, a.body)
			}
			nodes := listing.Node.Nodes
			names += len(nodes)
			if after = strings.TrimPrefix(nodes[len(nodes)-1].Key, "/d/"); listing.Node.More != keys-names ||
				after != fmt.Sprintf("%04d", names-1) {
				t.Errorf("%s: %d names to %s, %d more", m.name, names, after, listing.Node.More)
			}
			if listing.Node.More == 0 {
				break
			}
		}
		if a := m.get("/v2/keys/d?quorum=true&count=true"); names != keys || !strings.Contains(a.body,
			fmt.Sprint(`"count":`, keys)) {
			t.Errorf("%s: %d names; %s", m.name, names, a.body)
		}
		a := m.get("/v2/keys/quiet?wait=true&timeout=1")
		if a.status != 204 || a.body != "" {
			t.Errorf("%s: %d %s", m.name, a.status, a.body)
		}
		done := make(chan answer, 1)
		go func() {
			path := fmt.Sprintf("/v2/keys/awaited/%s?wait=true&timeout=15&waitIndex=%d", m.name, a.index(t)+1)
			a, err := ask(t.Context(), "GET", m.url+path, nil)
			if err != nil {
				t.Error(err)
			}
			done <- a
		}()
		c.members[0].put("/awaited/"+m.name, m.name)
		if a := <-done; a.status != 200 || !strings.Contains(a.body, `"value":"`+m.name+`"`) {
			t.Errorf("%s: %d %s", m.name, a.status, a.body)
		}
	}
}
