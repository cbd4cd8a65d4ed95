package store

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// windowTime is the longest time that an answer is remembered, by the cluster clock.
const windowTime = 10 * time.Minute

// bounds limit a window. They are part of the format: every member must forget the same requests at
// the same entry, so no member can have other bounds (G5).
type bounds struct {
	answers int // kept
	bytes   int // of the kept answers, by request.size; the last answer stays, whatever its size
	facts   int // requests known to have been executed, besides those whose answer is kept
}

// windowBounds are the bounds of every store, except in tests. 300,000 facts take 12.5 MiB.
var windowBounds = bounds{answers: 10_000, bytes: 16 << 20, facts: 300_000}

// name stands for a user's request id: the same id of another user is another name.
type name [16]byte

// name returns the first half of a SHA-256: nobody can find two ids with the same name.
func (c *Command) name() name {
	var room [2 + MaxUser + MaxRequestID]byte
	sum := sha256.Sum256(append(appendText(room[:0], c.User), c.RequestID...))
	return name(sum[:len(name{})])
}

// halves returns the name as two numbers.
func (n *name) halves() (a, b uint64) {
	return binary.LittleEndian.Uint64(n[:8]), binary.LittleEndian.Uint64(n[8:])
}

// request is a command with an id that was executed, and its answer. It is immutable.
type request struct {
	name   name
	check  [sha256.Size]byte // of the command
	entry  uint64            // of the log, at which it was executed
	stamp  int64             // of that entry
	answer any               // *Event, shared with the history while that has it, or *Error
}

// window remembers the requests that had an id, so that none is executed twice (pitfall G3). Its
// parts follow each other, by the entries at which the requests were executed:
//
//	                 horizon
//	forgotten           │  facts                  │  order
//	refused             │  "was executed"         │  the first answer again
//	────────────────────┴─────────────────────────┴──────────────────────► entry
//
// No member knows which requests were executed at or before the horizon. So a request that is
// unknown, and may have been tried first before the horizon, gets an error and is not executed.
type window struct {
	bounds  bounds
	order   []*request // with an answer, from the oldest on; their stamps never fall
	byName  map[name]*request
	bytes   int // sum of the sizes of order
	facts   facts
	horizon uint64 // the last entry whose fact was forgotten; 0: none was
	sum     uint64 // of the hashes of all requests and facts
}

// once executes a command that has an id, unless it was executed before or may have been. s.mu must
// be held.
//
//   - If the answer is remembered, it is given again; if the command is another one than then, code
//     209.
//   - If only the fact is remembered: code 213.
//   - If it may have been executed at or before the horizon: code 214.
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
		return s.fail(CodeForgotten, fmt.Sprintf("request id %q may have been executed: "+
			"its index is %d, and what was executed up to %d is forgotten", c.RequestID, after, w.horizon))
	}
	r := &request{name: n, check: c.check, entry: s.applied, stamp: s.now, answer: s.execute(c)}
	w.add(r)
	return r.answer
}

// firstTry returns the index of an entry before the first try of the command at entry; 0 when its
// client knew none. An index that the log has not reached is of another cluster, and counts as 0.
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

// keep remembers f, and forgets the oldest facts beyond the bound: the horizon moves to them.
func (w *window) keep(f fact) {
	w.facts.add(f)
	w.sum += f.hash()
	for w.facts.count() > w.bounds.facts {
		oldest := w.facts.drop()
		w.sum -= oldest.hash()
		w.horizon = oldest.entry
	}
}

// Remembered returns how many requests with an id have a kept answer, the size of these answers as
// bounded, and how many others are known to have been executed.
func (s *Store) Remembered() (answers, bytes, facts int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.window.order), s.window.bytes, s.window.facts.count()
}

// digest returns one number for everything that the window holds.
func (w *window) digest() uint64 { return mix(0, w.horizon, w.sum) }

// size returns how much the request counts against bounds.bytes. It depends on the request alone.
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

// index returns the store index after the request; 0 when the request failed.
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
