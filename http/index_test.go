package http

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"etcd2/raft"
	"etcd2/store"
)

// answer is an answer and the time that it took.
type answer struct {
	*httptest.ResponseRecorder
	took time.Duration
}

// begin sends a request from a goroutine of its own, waits until it is answered or blocks, and
// returns the channel for its answer.
func (b *bench) begin(ctx context.Context, method, target string) chan answer {
	done, begun := make(chan answer, 1), time.Now()
	go func() {
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, target, nil))
		done <- answer{w, time.Since(begun)}
	}()
	synctest.Wait()
	return done
}

// put makes the next store index.
func (b *bench) put() {
	b.do("PUT", "/v2/keys/k", "value=1")
	synctest.Wait()
}

func TestAReaderFindsItsOwnWriteAtAnyMember(t *testing.T) {
	for _, c := range []struct {
		method, target string
		status, reads  int
	}{
		{"GET", "/v2/keys/k?minIndex=3", 200, 0},
		{"HEAD", "/v2/keys/k?minIndex=3", 200, 0},
		{"HEAD", "/v2/keys/k?minIndex=3&quorum=true", 200, 0},
		{"GET", "/v2/keys/?recursive=true&minIndex=3", 200, 0},
		{"GET", "/v2/keys/none?minIndex=3", 404, 0},
		{"GET", "/v2/keys/k?minIndex=3&quorum=true", 200, 1},
		{"GET", "/v2/keys/k?minIndex=3&quorum=true&wait=true", 200, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.put()
			done := b.begin(t.Context(), c.method, c.target)
			b.put()
			if len(done) > 0 || b.node.reads > 0 {
				t.Errorf("%s: answered, or asked the leader, at index 2", c.target)
			}
			b.put()
			w := <-done
			if w.Code != c.status || w.Header().Get("X-Etcd-Index") != "3" || b.node.reads != c.reads {
				t.Errorf("%s: %d %v, %d reads", c.target, w.Code, w.Header(), b.node.reads)
			}
		})
	}
}

func TestAnIndexThatIsAppliedIsNotWaitedFor(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/k", "value=1")
	for _, n := range []string{"0", "1", "01"} {
		if w := b.do("GET", "/v2/keys/k?minIndex="+n, ""); w.Code != 200 {
			t.Errorf("minIndex=%s: %d %s", n, w.Code, w.Body)
		}
	}
	if w := b.do("PUT", "/v2/keys/k?minIndex=1000", "value=1"); w.Code != 200 {
		t.Errorf("a write has no use for it: %d %s", w.Code, w.Body)
	}
}

func TestAWatchBeginsAtTheIndexItIsToBeginAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.put()
		done := b.begin(t.Context(), "GET", "/v2/keys/k?wait=true&minIndex=3")
		past := b.begin(t.Context(), "GET", "/v2/keys/k?wait=true&minIndex=3&waitIndex=2")
		if got := b.node.store.Stats().Watchers; got != 0 {
			t.Errorf("%d watch before index 3", got)
		}
		b.put()
		b.put()
		if w := <-past; w.Header().Get("X-Etcd-Index") != "3" || !strings.Contains(w.Body.String(),
			`"modifiedIndex":2`) {
			t.Errorf("from the past: %v %s", w.Header(), w.Body)
		}
		if len(done) > 0 {
			t.Error("the event of index 3 is told, which was there when the watch began")
		}
		b.put()
		if w := <-done; w.Header().Get("X-Etcd-Index") != "3" || !strings.Contains(w.Body.String(),
			`"modifiedIndex":4`) {
			t.Errorf("%v %s", w.Header(), w.Body)
		}
	})
}

// slowReader is a node that finds no leader to confirm a read.
type slowReader struct{ *fakeNode }

func (n slowReader) Read(ctx context.Context) error {
	<-ctx.Done()
	return raft.ErrUnknown
}

// pitfall G1
func TestTheWaitForAnIndexEndsByItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.RequestTimeout = 3 * time.Second })
		for _, target := range []string{"/v2/keys/k?minIndex=18446744073709551615", "/v2/keys/k?minIndex=1&wait=true",
			"/v2/keys/k?minIndex=1&quorum=true"} {
			w := <-b.begin(t.Context(), "GET", target)
			n := "1"
			if strings.Contains(target, "184") {
				n = "18446744073709551615"
			}
			b.want(w.ResponseRecorder, 500,
				`{"errorCode":300,"message":"Raft Internal Error","cause":"etcdserver: request timed out, waiting for index `+n+`","index":0}`+"\n")
			if w.took != 3*time.Second || w.Header().Get("X-Etcd-Index") != "0" {
				t.Errorf("%s: after %v, %v", target, w.took, w.Header())
			}
		}
	})
}

// pitfall G1
func TestIndexAndQuorumHaveOneDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(store.Limits{})
		b := newBench(t, func(c *Config) { c.Node, c.Store = slowReader{node}, node.store })
		b.node = node
		done := b.begin(t.Context(), "GET", "/v2/keys/k?minIndex=1&quorum=true")
		time.Sleep(5 * time.Second)
		b.put()
		if w := <-done; w.took != DefaultRequestTimeout || w.Code != 500 {
			t.Errorf("after %v: %d %s", w.took, w.Code, w.Body)
		}
	})
}

func TestTheWaitForAnIndexEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		done := b.begin(t.Context(), "GET", "/v2/keys/k?minIndex=1")
		b.endLong()
		w := <-done
		b.want(w.ResponseRecorder, 500,
			`{"errorCode":300,"message":"Raft Internal Error","cause":"etcdserver: server stopped","index":0}`+"\n")
		if w.took != 0 {
			t.Errorf("after %v", w.took)
		}
	})
}

// pitfall J3
func TestReadersOfGoneClientsGo(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RequestTimeout = time.Hour })
	url := b.serve()
	before := runtime.NumGoroutine()
	var conns []net.Conn
	for i := range 100 {
		c := rawDial(t, url)
		fmt.Fprintf(c, "GET /v2/keys/k?minIndex=%d HTTP/1.1\r\nHost: x\r\n\r\n", i+1)
		conns = append(conns, c)
	}
	eventually(t, "all have asked", func() bool { return b.metrics.received[methodIndex("GET")].Load() == 100 })

	for _, c := range conns {
		c.Close()
	}

	eventually(t, "their connections are closed", func() bool { return b.conns.Held() == 0 })
	eventually(t, "the goroutines are back", func() bool { return runtime.NumGoroutine() <= before+2 })
	c := rawDial(t, url)
	io.WriteString(c, "GET /version HTTP/1.0\r\n\r\n")
	if text, err := io.ReadAll(c); err != nil || !strings.Contains(string(text), "200 OK") {
		t.Errorf("%q, %v", text, err)
	}
}
