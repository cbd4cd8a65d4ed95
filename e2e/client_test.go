package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	etcd "etcd2/http/client"
)

// Watchers see every write, once and in order, while each member is killed in turn.
func TestAClientsWatchSurvivesTheLossOfMembers(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	client, err := etcd.New(etcd.Config{Endpoints: []string{c.members[0].url}, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	eventually(t, "all members are known", patience,
		func() bool { return client.Sync(ctx) == nil && len(client.Endpoints()) == 3 })
	begin, err := client.Mkdir(ctx, "/w", etcd.SetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const writes = 150
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { writeInOrder(ctx, t, client, writes) })
	all.Go(func() {
		w := client.Watch("/w", etcd.WatchOptions{AfterIndex: begin.Index, Recursive: true, Stream: true})
		defer w.Close()
		for i := range writes {
			if !isWrite(ctx, t, w, i) {
				return
			}
		}
	})
	w := client.Watch("/w", etcd.WatchOptions{AfterIndex: begin.Index, Recursive: true})
	for i := range writes {
		if i%50 == 25 { // each member in turn, so also the one that serves the watcher
			c.members[i/50].kill()
			c.members[i/50].launch()
		}
		if !isWrite(ctx, t, w, i) {
			return
		}
	}
}

// isWrite reports whether the next event is write i.
func isWrite(ctx context.Context, t *testing.T, w *etcd.Watcher, i int) bool {
	event, err := w.Next(ctx)
	if err != nil || event.Node.Value != fmt.Sprint(i) {
		t.Errorf("%v: %+v, want write %d", err, event, i)
		return false
	}
	return true
}

// writeInOrder makes keys, each exactly once: a write of unknown outcome is sent again with the
// same request id.
func writeInOrder(ctx context.Context, t *testing.T, client *etcd.Client, n int) {
	for i := range n {
		name := etcd.NewRequestID()
		for {
			_, err := client.CreateInOrder(ctx, "/w", fmt.Sprint(i), etcd.SetOptions{RequestID: name})
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				t.Error(err)
				return
			}
			<-time.After(20 * time.Millisecond)
		}
	}
}
