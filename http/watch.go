package http

import (
	"context"
	"errors"
	"math"
	nethttp "net/http"
	"strconv"
	"time"

	"etcd2/store"
)

// watch answers with the next event at key, or with all of them from now on (stream). The head is
// sent before the watch waits, with the index at which the watch began, but that of a poll with a
// timeout: it depends on whether an event comes. The body ends early when the server stops, and
// when the client reads so slowly that the history overtakes it: it must ask again, and may be told
// that it missed something. It ends, too, before the first event that the client has no right to
// any more.
func (s *Server) watch(w *response, r *nethttp.Request, key string, p *params, may *permit) *store.Error {
	since, err := p.since(r.Header)
	if err != nil {
		return err
	}
	long := max(int64(len(key))-freeKey, 0) // the index of watches may have a copy
	origin := originOf(r)
	if !w.take(long) || !s.watchers.Take(origin) {
		tooBusy(w, "too many watches")
		return nil
	}
	defer s.watchers.Give(origin)
	w.landed()
	watcher, cleared := s.store.Watch(key, p.recursive, since)
	switch {
	case cleared != nil && p.events:
		watcher, _ = s.store.Watch(key, p.recursive, 0) // of which nothing is lost
	case cleared != nil:
		return cleared
	}
	defer watcher.Close()
	raftIndex, raftTerm := s.node.Applied()
	s.keysHeader(w, watcher.Index(), raftIndex, raftTerm)

	ctx, stop := s.untilLeft(s.ending, r)
	defer stop()
	f := &feed{s, w, nethttp.NewResponseController(w), watcher, p, may}
	if p.given[pTimeout] {
		return f.poll(ctx)
	}
	f.run(ctx, cleared)
	return nil
}

// feed is the answer to one watch. It belongs to the handler.
type feed struct {
	server  *Server
	w       *response
	out     *nethttp.ResponseController // of w
	watcher *store.Watcher
	params  *params
	may     *permit
}

// poll answers with the next event, if it comes within the timeout. Otherwise it says from where to
// go on: there is no event to tell up to the index in its head. So it does when the watch ends
// early, for whatever reason.
func (f *feed) poll(ctx context.Context) *store.Error {
	ev, _ := f.next(ctx, f.params.timeout)
	if ev == nil {
		h := f.w.Header()
		h["X-Etcd-Index"] = []string{strconv.FormatUint(f.watcher.Seen(), 10)}
		delete(h, "Content-Type")
		f.w.WriteHeader(nethttp.StatusNoContent)
		return nil
	}
	if err := f.may.check(); err != nil {
		return f.server.noResult(f.w, err)
	}
	f.tell(ev)
	return nil
}

// run sends what the watcher sees until (1) the context is done, (2) the client is gone or takes a
// piece too slowly, (3) it has lost its right, or (4) one event is sent, if this is no stream. The
// events that are there go out together, with the head if they are there at the beginning: a write
// costs ten times what an event does. cleared is why server-sent events don't begin where they were
// to.
func (f *feed) run(ctx context.Context, cleared *store.Error) {
	beat := time.Duration(math.MaxInt64)
	if f.params.events {
		beat = f.server.times.beat
	}
	for err := f.begin(cleared); err == nil; {
		if err = f.step(ctx, beat); !f.params.streams() {
			return
		}
	}
}

// step sends the next event. Before it waits for one, it sends what is held back.
func (f *feed) step(ctx context.Context, beat time.Duration) error {
	ev, err := f.watcher.Ready()
	if ev == nil && err == nil {
		if err = f.out.Flush(); err != nil {
			return err
		}
		f.out.SetWriteDeadline(time.Time{}) // HTTP/2 would end the stream by it though nothing waits
		ev, err = f.next(ctx, beat)
	}
	if err == nil {
		err = f.may.check()
	}
	if err != nil {
		return err
	}
	return f.tell(ev)
}

// next waits for the next event. It is nil when none came for so long.
func (f *feed) next(ctx context.Context, patience time.Duration) (*store.Event, error) {
	short := ctx
	if patience < math.MaxInt64 {
		var cancel context.CancelFunc
		short, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	ev, err := f.watcher.Next(short)
	if errors.Is(err, context.DeadlineExceeded) {
		err = ctx.Err()
	}
	return ev, err
}

// begin writes the head, and what server-sent events begin with.
func (f *feed) begin(cleared *store.Error) error {
	h := f.w.Header()
	if f.params.events {
		h["Content-Type"], h["Cache-Control"] = []string{eventStream}, []string{"no-store"}
	}
	f.w.WriteHeader(nethttp.StatusOK)
	if !f.params.events {
		return nil
	}
	var e encoder
	e.openEvents(f.watcher.Seen(), cleared)
	_, err := f.w.Write(e.b)
	return err
}

// tell writes an event; nil means that none came for a while. It holds a buffer no longer than that
// takes: most watches wait most of the time.
func (f *feed) tell(ev *store.Event) error {
	f.w.hold()
	defer f.w.letGo()
	buf := getBuffer()
	defer putBuffer(buf)
	e := encoder{b: *buf, out: f.w}
	switch {
	case !f.params.events:
		e.event(ev)
	case ev == nil:
		e.beat(f.watcher.Seen())
	default:
		e.sentEvent(ev)
	}
	e.send()
	*buf = e.b
	return e.err
}
