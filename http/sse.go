package http

import (
	"math"
	nethttp "net/http"
	"strconv"
	"strings"

	"etcd2/store"
)

// Server-sent events are another framing of a stream, which browsers read by themselves
// (EventSource):
//
//	retry: 1000                        how long to wait before the next request, in milliseconds
//	id: 41                             the client has all events up to here
//
//	id: 42
//	data: {"action":"set","node":…}    an event as any watch tells it
//
//	:                                  nothing came for a while, and there was nothing up to here
//	id: 57
//
//	event: cleared                     at the beginning: events were lost behind the id that the client
//	id: 57                             named; it reads the tree anew, at this index or a later one, and
//	data: {"errorCode":401,…}          then takes the events that follow
//
// A browser sends the last id with its next request, so each id names an index behind which no
// event is lost and none doubled, also those ids that come without an event.
const (
	lastIDHeader = "Last-Event-ID"
	eventStream  = "text/event-stream"
	retryLine    = "retry: 1000\n"
)

// wantsEvents reports whether the request asks for server-sent events, if it is a watch.
func wantsEvents(r *nethttp.Request) bool {
	for _, accept := range r.Header["Accept"] {
		if strings.Contains(accept, eventStream) {
			return true
		}
	}
	return false
}

// since returns the index at which the watch begins: behind the last event that the client has, or
// as it was asked for.
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

// openEvents appends what stands before the first event. cleared is why earlier events are not
// told; nil when nothing was lost.
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

// beat appends that nothing came up to the index seen.
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
