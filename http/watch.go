package http

import (
	"context"
	"errors"
	"math"
	nethttp "net/http"
	"strconv"
	"strings"
	"time"

	"etcd2/store"
)

// watch answers with the next event at key, or with all events from now on (stream). The head is
// sent before the watch waits, with the index at which the watch began. Only a poll with a timeout
// sends it later: its status depends on whether an event comes. The body ends early (1) when the
// server stops, (2) when the client reads so slowly that the history drops its next event, (3)
// before the first event that the client no longer has the right to read. The client must then ask
// again, and may be told that it missed events.
func (s *Server) watch(w *response, r *nethttp.Request, key string, p *params, permit *permit) *store.Error {
	since, err := p.since(r.Header)
	if err != nil {
		return err
	}
	long := max(int64(len(key))-freeKey, 0) // the store's index of watches may copy the key
	origin := originOf(r)
	if !w.acquire(long) || !s.watchers.Acquire(origin) {
		tooBusy(w, "too many watches")
		return nil
	}
	defer s.watchers.Release(origin)
	w.leaveInFlight()
	watcher, cleared := s.store.Watch(key, p.recursive, since)
	switch {
	case cleared != nil && p.events:
		watcher, _ = s.store.Watch(key, p.recursive, 0) // from now on: no event is lost
	case cleared != nil:
		return cleared
	}
	defer watcher.Close()
	raftIndex, raftTerm := s.node.Applied()
	s.keysHeader(w, watcher.Index(), raftIndex, raftTerm)

	ctx, stop := s.untilLeft(s.ending, r)
	defer stop()
	f := &feed{s, w, nethttp.NewResponseController(w), watcher, p, permit}
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
	permit  *permit
}

// poll answers with the next event, if it comes within the timeout. Otherwise, and when the watch
// ends early for any reason, it answers 204, with an index in the head up to which there was no
// event.
func (f *feed) poll(ctx context.Context) *store.Error {
	ev, _ := f.next(ctx, f.params.timeout)
	if ev == nil {
		h := f.w.Header()
		h["X-Etcd-Index"] = []string{strconv.FormatUint(f.watcher.Seen(), 10)}
		delete(h, "Content-Type")
		f.w.WriteHeader(nethttp.StatusNoContent)
		return nil
	}
	if err := f.permit.check(); err != nil {
		return f.server.noResult(f.w, err)
	}
	f.tell(ev)
	return nil
}

// run sends events until (1) the context is done, (2) the client is gone or takes a piece too
// slowly, (3) it has lost its right, or (4) one event is sent, if this is no stream. Events that
// are ready are sent together, at the beginning with the head: a system call costs ten times what
// an event does. cleared is why server-sent events begin later than was asked for; nil if they
// don't.
func (f *feed) run(ctx context.Context, cleared *store.Error) {
	beat := time.Duration(math.MaxInt64)
	if f.params.events {
		beat = f.server.times.beat
	}
	for err := f.begin(cleared); err == nil; {
		if err = f.step(ctx, beat); !f.params.streams() || ctx.Err() != nil {
			return
		}
	}
}

// step sends the next event. Before it waits for one, it flushes the earlier ones.
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
		err = f.permit.check()
	}
	if err != nil {
		return err
	}
	return f.tell(ev)
}

// next waits for the next event; nil when none came within patience.
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

// begin writes the head, and the beginning of server-sent events.
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
// takes, since most watches wait most of the time.
func (f *feed) tell(ev *store.Event) error {
	f.w.beginHolding()
	defer f.w.endHolding()
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

// Server-sent events are another framing of a stream, which browsers read by themselves
// (EventSource):
//
//	retry: 1000                        milliseconds to wait before the next request
//	id: 41                             the client has all events up to here
//
//	id: 42
//	data: {"action":"set","node":…}    an event as any watch tells it
//
//	:                                  nothing came for a while, and there was nothing up to here
//	id: 57
//
//	event: cleared                     at the beginning: events behind the id that the client named
//	id: 57                             are lost; it reads the tree again, at this index or later, and
//	data: {"errorCode":401,…}          then applies the events that follow
//
// A browser sends the last id with its next request. So each id, also one without an event, is an
// index behind which no event is lost and none repeated.
const (
	lastIDHeader = "Last-Event-ID"
	eventStream  = "text/event-stream"
	retryLine    = "retry: 1000\n"
)

// wantsEvents reports whether the request, if it is a watch, asks for server-sent events.
func wantsEvents(r *nethttp.Request) bool {
	for _, accept := range r.Header["Accept"] {
		if strings.Contains(accept, eventStream) {
			return true
		}
	}
	return false
}

// since returns the index at which the watch begins: behind the last event that the client has, or
// waitIndex.
func (p *params) since(h nethttp.Header) (uint64, *store.Error) {
	last := h.Get(lastIDHeader)
	if !p.events || last == "" {
		return p.waitIndex, nil
	}
	var id uint64
	if !number(last, &id) || id == math.MaxUint64 {
		return 0, &store.Error{Code: store.CodeIndex, Cause: `invalid value for "` + lastIDHeader + `"`}
	}
	return id + 1, nil
}

// openEvents appends what comes before the first event. cleared is why earlier events are lost; nil
// when none are.
func (e *encoder) openEvents(id uint64, cleared *store.Error) {
	e.b = append(e.b, retryLine...)
	if cleared == nil {
		e.id(id)
	} else {
		e.b = append(e.b, "event: cleared\n"...)
		e.id(id)
		e.b = append(e.b, "data: "...)
		e.b = appendError(e.b, &store.Error{Code: cleared.Code, Cause: cleared.Cause, Index: id})
	}
	e.b = append(e.b, '\n')
}

// sentEvent appends an event.
func (e *encoder) sentEvent(ev *store.Event) {
	e.id(ev.Index)
	e.b = append(e.b, "data: "...)
	e.event(ev)
	e.b = append(e.b, '\n')
}

// beat appends that there was no event up to the index seen.
func (e *encoder) beat(seen uint64) {
	e.b = append(e.b, ":\n"...)
	e.id(seen)
	e.b = append(e.b, '\n')
}

// id appends a line.
func (e *encoder) id(index uint64) {
	e.b = strconv.AppendUint(append(e.b, "id: "...), index, 10)
	e.b = append(e.b, '\n')
}
