package http

import (
	"context"
	nethttp "net/http"
	"time"

	"etcd2/store"
)

// watch answers with the next event at key, or with all of them from now on (stream). The head is sent at once,
// with the index at which the watch began. The body ends early when the server stops, and when the client reads
// so slowly that the history overtakes it: it must ask again, and may be told that it missed something. It ends, too, before the first event
// that the client has no right to any more.
func (s *Server) watch(w *response, r *nethttp.Request, key string, p *params, may *permit) *store.Error {
	if s.watchers.Add(1) > int64(s.cfg.MaxWatchers) {
		s.watchers.Add(-1)
		tooBusy(w, "too many watches")
		return nil
	}
	defer s.watchers.Add(-1)
	w.landed()
	watcher, err := s.store.Watch(key, p.recursive, p.waitIndex)
	if err != nil {
		return err
	}
	defer watcher.Close()
	raftIndex, raftTerm := s.node.Applied()
	s.keysHeader(w, watcher.Index(), raftIndex, raftTerm)
	w.WriteHeader(nethttp.StatusOK)

	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	s.sendEvents(ctx, w, watcher, p.stream, may)
	return nil
}

// sendEvents sends what watcher sees, each event in a piece of its own (large ones in several), until the context is done, the
// client is gone, takes a piece too slowly or has lost its right, or, without stream, one is sent.
func (s *Server) sendEvents(ctx context.Context, w *response, watcher *store.Watcher, stream bool, may *permit) {
	out := nethttp.NewResponseController(w)
	if out.Flush() != nil {
		return
	}
	for {
		ev, err := watcher.Next(ctx)
		if err != nil || may.check() != nil {
			return
		}
		if s.sendEvent(w, ev) != nil || !stream || out.Flush() != nil {
			return
		}
		out.SetWriteDeadline(time.Time{}) // HTTP/2 would end the stream by it though nothing waits
	}
}

// sendEvent holds a buffer no longer than one event takes: most watches wait most of the time.
func (s *Server) sendEvent(w *response, ev *store.Event) error {
	buf := getBuffer()
	defer putBuffer(buf)
	e := encoder{b: *buf, out: w, now: ev.Stamp}
	e.event(ev)
	e.send()
	*buf = e.b
	return e.err
}
