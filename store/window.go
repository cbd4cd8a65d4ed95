package store

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// windowTime is how long an answer is remembered at most, by the cluster clock.
const windowTime = 10 * time.Minute

// bounds of a window. Every member forgets the same at the same entry, so they are part of the format, and no member can have bounds
// of its own (G5).
type bounds struct {
	answers int // how many answers are kept
	bytes   int // of them, by size; the last one stays, however big
	facts   int // how many requests are known to have been executed, beside those that have an answer
}

// windowBounds are those of every store but in tests. 300,000 facts take 12.5 MiB.
var windowBounds = bounds{answers: 10_000, bytes: 16 << 20, facts: 300_000}

// name stands for a user's request id: the same id of another user is another name.
type name [16]byte

// name is a part of SHA-256: nobody finds two ids that have one.
func (c *Command) name() name {
	var room [2 + MaxUser + MaxRequestID]byte
	sum := sha256.Sum256(append(appendText(room[:0], c.User), c.RequestID...))
	return name(sum[:len(name{})])
}

// halves are the name as two numbers.
func (n *name) halves() (a, b uint64) {
	return binary.LittleEndian.Uint64(n[:8]), binary.LittleEndian.Uint64(n[8:])
}

// request is a command with an id that was executed, and its answer. It is immutable.
type request struct {
	name   name
	check  [sha256.Size]byte // of the command
	entry  uint64            // of the log, at which it was executed
	stamp  int64             // of that entry
	answer any               // *Event, shared with the history as long as that has it, or *Error
}

// window is what is known of requests that have an id, so that one that comes again is not executed again (pitfall G3). Its
// parts follow each other, by the entries at which the requests were executed:
//
//	                 horizon
//	forgotten           │  facts                  │  order
//	refused             │  "was executed"         │  the first answer again
//	────────────────────┴─────────────────────────┴──────────────────────► entry
//
// Whether a request was executed at or before the horizon, nobody knows any more. So whoever made its first try before that gets an error,
// and nothing is done.
type window struct {
	bounds  bounds
	order   []*request // those that have an answer, from the oldest, by stamps that never fall
	byName  map[name]*request
	bytes   int // of all sizes
	facts   facts
	horizon uint64 // the last entry of which a fact was forgotten; 0: none
	sum     uint64 // of the hashes of all requests and facts
}

// once executes a command that has an id, unless it was executed before, or may have been. s.mu must be held.
//
//   - A request whose answer is remembered gets that answer; with another command than before it gets code 209.
//   - One of which only the fact is remembered gets code 213.
//   - One that was made before what is remembered gets code 214.
func (s *Store) once(c Command) any {
	w, n := &s.window, c.name()
	first := w.byName[n]
	switch {
	case first != nil && first.check == c.check:
		return first.answer
	case first != nil:
		return s.fail(CodeField, fmt.Sprintf("request id %q was used for another command", c.RequestID))
	}
	if f, known := w.facts.find(n); known {
		return s.fail(CodeExecuted, fmt.Sprintf("request id %q %s", c.RequestID, f))
	}
	if after := c.firstTry(s.applied); after < w.horizon {
		return s.fail(CodeForgotten, fmt.Sprintf("request id %q may have been executed: its index is %d, and what was executed up to %d is forgotten",
			c.RequestID, after, w.horizon))
	}
	r := &request{name: n, check: c.check, entry: s.applied, stamp: s.now, answer: s.execute(c)}
	w.add(r)
	return r.answer
}

// firstTry is an entry of the log before the first try of the command that stands at entry; 0 when its client knows none. An index that the
// log has not reached is one of another cluster, and says nothing.
func (c *Command) firstTry(entry uint64) uint64 {
	if c.RequestIndex >= entry {
		return 0
	}
	return c.RequestIndex
}

// add remembers r, whose name is new, and forgets what exceeds the bounds.
func (w *window) add(r *request) {
	if w.byName == nil {
		w.byName = make(map[name]*request)
	}
	w.byName[r.name] = r
	w.order = append(w.order, r)
	w.bytes += r.size()
	w.sum += r.hash()
	for len(w.order) > 1 && (len(w.order) > w.bounds.answers || w.bytes > w.bounds.bytes) {
		w.drop()
	}
}

// expire forgets the answers that are too old at now.
func (w *window) expire(now int64) {
	for len(w.order) > 0 && now-w.order[0].stamp >= int64(windowTime) {
		w.drop()
	}
}

// drop forgets the oldest answer, and keeps the fact that there was one.
func (w *window) drop() {
	r := w.order[0]
	w.order[0] = nil
	w.order = w.order[1:]
	delete(w.byName, r.name)
	w.bytes -= r.size()
	w.sum -= r.hash()
	w.keep(fact{name: r.name, entry: r.entry, index: r.index()})
}

// keep remembers f, and forgets the oldest facts beyond the bound: they are behind the horizon from then on.
func (w *window) keep(f fact) {
	w.facts.add(f)
	w.sum += f.hash()
	for w.facts.count() > w.bounds.facts {
		oldest := w.facts.drop()
		w.sum -= oldest.hash()
		w.horizon = oldest.entry
	}
}

// Remembered is how many requests with an id have an answer that is kept, how many bytes these count, and how many others are
// known to have been executed.
func (s *Store) Remembered() (answers, bytes, facts int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.window.order), s.window.bytes, s.window.facts.count()
}

// digest is one number for all that the window holds.
func (w *window) digest() uint64 { return mix(0, w.horizon, w.sum) }

// size is what the request counts against the bound of bytes. It depends on nothing but the request.
func (r *request) size() int {
	n := eventOverhead
	switch a := r.answer.(type) {
	case *Event:
		n += a.size()
	case *Error:
		n += len(a.Cause)
	}
	return n
}

// index is the store's after the request; 0 when it failed.
func (r *request) index() uint64 {
	if e, done := r.answer.(*Event); done {
		return e.Index
	}
	return 0
}

// hash is the request's part in the digest.
func (r *request) hash() uint64 {
	a, b := r.name.halves()
	return mix(mix(a, b, r.entry), hashOf(r.answer), mix(binary.LittleEndian.Uint64(r.check[:]), uint64(r.stamp), 0))
}
