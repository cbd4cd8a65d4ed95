package http

import (
	"context"
	"fmt"
	"io"
	nethttp "net/http"
	"strings"
	"testing"
	"testing/synctest"
)

// poll begins a long poll, and waits until it waits.
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

// A poll that nothing comes of says from where to go on, whether it waited or only looked.
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

// The end of the server is no event, and no error: the client goes on elsewhere from that index.
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
