package http

import (
	"bytes"
	"context"
	"io"
	nethttp "net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"etcd2/raft"
	"etcd2/store"
)

// restored returns the tree in a backup file.
func restored(t *testing.T, file []byte) *store.Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	tree := store.New(store.Limits{})
	r, err := raft.Verify(path, raft.VerifyOptions{State: func() raft.StateMachine { return tree }})
	if err != nil || len(r.Faults) > 0 {
		t.Fatalf("%v\n%s", err, &r)
	}
	return tree
}

func TestABackupHasTheTreeAndSaysWhich(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/a", "value=1")
	b.do("PUT", "/v2/keys/_hidden/b", "value=2&ttl=60")
	b.node.onRead = func() { // what another member acknowledged
		b.node.index++
		b.node.store.Apply(b.node.index, b.node.now, advance(raft.ChangeAdd))
	}

	w := b.do("GET", "/v2/backup", "")

	h := w.Header()
	if w.Code != 200 || h.Get("Content-Type") != "application/octet-stream" || h.Get("X-Etcd-Index") != "3" ||
		h.Get("X-Etcd-Cluster-Id") != hexID(testCluster) || h.Get("X-Raft-Index") != "3" {
		t.Errorf("%d %v", w.Code, h)
	}
	if tree := restored(t, w.Body.Bytes()); tree.Digest() != b.store.Digest() || tree.Index() != 3 {
		t.Errorf("another tree, at %d", tree.Index())
	}
	b.node.onRead = nil
	reads := b.node.reads
	if w := b.do("GET", "/v2/backup?quorum=false", ""); w.Code != 200 || b.node.reads != reads {
		t.Errorf("without quorum: %d, %d reads", w.Code, b.node.reads-reads)
	}
	b.want(b.do("GET", "/v2/backup?quorum=maybe", ""), 400, `{"message":"quorum is true or false"}`)
	b.want(b.do("POST", "/v2/backup", ""), 405, "Method Not Allowed\n")
}

func TestWithoutALeaderThereIsNoBackupButALocalOne(t *testing.T) {
	b := newBench(t)
	b.node.set(func() { b.node.err = raft.ErrNoLeader })
	w := b.do("GET", "/v2/backup", "")
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "no leader") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	b.node.set(func() { b.node.err = nil })
	if w := b.do("GET", "/v2/backup", ""); w.Code != 200 {
		t.Errorf("a refusal holds up the next one: %d", w.Code)
	}
}

// large makes a tree whose backup is larger than the buffers of a socket.
func (b *bench) large() {
	for _, key := range strings.Fields("a b c d e f g h i j k l m n o p") {
		b.do("PUT", "/v2/keys/"+key, "value="+strings.Repeat("x", 1<<20))
	}
}

func TestOneBackupIsSentAtATimeAndAShutdownBreaksIt(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		b := newBench(t)
		b.large()
		transport := &nethttp.Transport{Protocols: new(nethttp.Protocols)}
		transport.Protocols.SetHTTP1(protocol == "HTTP/1.1")
		transport.Protocols.SetUnencryptedHTTP2(protocol != "HTTP/1.1")
		defer transport.CloseIdleConnections()
		client := nethttp.Client{Transport: transport}
		url := b.serve()
		first, err := client.Get(url + "/v2/backup")
		if err != nil || first.Proto != protocol {
			t.Fatal(err, first)
		}
		defer first.Body.Close()

		second := b.do("GET", "/v2/backup", "")
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() { ended <- b.Shutdown(ctx) }()
		<-b.ending.Done()
		var got bytes.Buffer
		_, err = io.Copy(&got, first.Body)

		if second.Code != 503 || second.Header().Get("Retry-After") == "" {
			t.Errorf("%s: the second one gets %d", protocol, second.Code)
		}
		if err == nil || got.Len() == 0 {
			t.Errorf("%s: it ends with %v after %d bytes", protocol, err, got.Len())
		}
		if err := <-ended; err != nil {
			t.Errorf("%s: Shutdown: %v", protocol, err)
		}
		if n := b.metrics.panics.Load(); n > 0 {
			t.Errorf("%s: %d panics are counted", protocol, n)
		}
	}
}
