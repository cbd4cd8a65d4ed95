package store

import (
	"fmt"
	"hash/crc64"
	"time"
)

// The bounds of the window: what came earlier, or before that many or that many bytes, is forgotten. Every member forgets the
// same at the same entry, so they are part of the format and no member can have bounds of its own (G5).
const (
	windowTime     = 10 * time.Minute // of the cluster clock
	windowRequests = 10_000
	windowBytes    = 16 << 20 // of ids and answers, by size; the last one stays, however big
)

// request is a command with an id that was executed. It is immutable.
type request struct {
	id     string
	check  uint64 // of the command
	stamp  int64  // cluster clock, in nanoseconds
	answer any    // *Event, shared with the history as long as that has it, or *Error
}

// window is the requests whose answers are remembered, so that one that comes again is not executed again (pitfall G3).
//
//	order   [ r4 r5 r6 r7 ⊔ ]     from the oldest, by stamps that never fall
//	byID    "r6" → r6  …
type window struct {
	order []*request
	byID  map[string]*request
	bytes int    // of all sizes
	sum   uint64 // of all hashes
}

// once executes a command that has an id, unless it was executed before; then it gives the answer of that
// time. An id that comes with another command than before gives code 209, and does nothing. s.mu must be held.
func (s *Store) once(c Command) any {
	first, check := s.window.byID[c.RequestID], c.check()
	switch {
	case first == nil:
		first = &request{c.RequestID, check, s.now, s.execute(c)}
		s.window.add(first)
	case first.check != check:
		return s.fail(CodeField, fmt.Sprintf("request id %q was used for another command", c.RequestID))
	}
	return first.answer
}

var ecma = crc64.MakeTable(crc64.ECMA)

// check tells the command from others, whatever its id and by whichever revision it was judged.
func (c Command) check() uint64 {
	c.RequestID, c.Revision = "", 0
	return crc64.Checksum(c.Append(nil), ecma)
}

// add remembers r, whose id is new, and forgets what exceeds the bounds.
func (w *window) add(r *request) {
	if w.byID == nil {
		w.byID = make(map[string]*request)
	}
	w.byID[r.id] = r
	w.order = append(w.order, r)
	w.bytes += r.size()
	w.sum += r.hash()
	for len(w.order) > 1 && (len(w.order) > windowRequests || w.bytes > windowBytes) {
		w.drop()
	}
}

// expire forgets what is too old at now.
func (w *window) expire(now int64) {
	for len(w.order) > 0 && now-w.order[0].stamp >= int64(windowTime) {
		w.drop()
	}
}

// drop forgets the oldest request.
func (w *window) drop() {
	r := w.order[0]
	w.order[0] = nil
	w.order = w.order[1:]
	delete(w.byID, r.id)
	w.bytes -= r.size()
	w.sum -= r.hash()
}

// size is what the request counts against windowBytes. It depends on nothing but the request.
func (r *request) size() int {
	n := eventOverhead + len(r.id)
	switch a := r.answer.(type) {
	case *Event:
		n += a.size()
	case *Error:
		n += len(a.Cause)
	}
	return n
}

// hash is the request's part in the digest.
func (r *request) hash() uint64 {
	return mix(mix(uint64(checksum(0, r.id))<<32, r.check, uint64(r.stamp)), hashOf(r.answer), uint64(len(r.id)))
}
