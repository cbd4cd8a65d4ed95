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

// windowBounds are the bounds of every store, except in tests. 300,000 facts take 15 MiB.
var windowBounds = bounds{answers: 10_000, bytes: 16 << 20, facts: 300_000}

// name stands for a user's request id: the same id of another user is another name. The first 8
// bytes are the user's, those of all names of it.
type name [24]byte

// name returns parts of two SHA-256: nobody can find two ids with the same name.
func (c *Command) name() (n name) {
	user := sha256.Sum256([]byte(c.User))
	var room [2 + MaxUser + MaxRequestID]byte
	id := sha256.Sum256(append(appendText(room[:0], c.User), c.RequestID...))
	copy(n[:8], user[:])
	copy(n[8:], id[:])
	return n
}

// user returns the number that stands for the user.
func (n *name) user() uint64 { return binary.LittleEndian.Uint64(n[:8]) }

// halves returns all but the user as two numbers. They depend on the user, too.
func (n *name) halves() (a, b uint64) {
	return binary.LittleEndian.Uint64(n[8:16]), binary.LittleEndian.Uint64(n[16:])
}

// request is a command with an id that was executed, and its answer. It is immutable.
type request struct {
	name   name
	check  [sha256.Size]byte // of the command
	entry  uint64            // of the log, at which it was executed
	stamp  int64             // of that entry
	answer any               // *Event, shared with the history while that has it, or *Error
}

// window remembers the requests that had an id, so that none is executed twice (pitfall G3). For
// each user its parts follow each other, by the entries at which the requests were executed:
//
//	                 horizon
//	forgotten           │  facts                  │  order
//	refused             │  "was executed"         │  the first answer again
//	────────────────────┴─────────────────────────┴──────────────────────► entry
//
// No member knows which requests of the user were executed at or before its horizon. So a request
// that is unknown, and may have been tried first before the horizon, gets an error and is not
// executed.
//
// A bound falls to the users in equal parts. When it is passed, the oldest of a user that holds
// more than its part is dropped: so no user can have another's requests forgotten beyond that one's
// part. What one entry of the log may cost is bounded, too: see shed and trim.
type window struct {
	bounds  bounds
	order   []*request // with an answer, from the oldest on; their stamps never fall
	byName  map[name]*request
	bytes   int // sum of the sizes of order
	facts   facts
	shares  map[uint64]*share // by user; only of those that hold something
	answers int               // shares that hold answers
	knowing int               // shares that hold facts
	horizon uint64            // of the users without a share: the last entry of theirs whose fact was forgotten
	sum     uint64            // of the hashes of all requests, facts and shares
}

// share is what one user holds of a window.
type share struct {
	answers, bytes, facts int
	horizon               uint64 // the last entry whose fact was forgotten; 0: none was
}

// hash is the share's part in the digest. What the user holds is in it by itself.
func (h *share) hash(user uint64) uint64 { return mix(user, h.horizon, 1) }

// share returns the share of a user, which may be new.
func (w *window) share(user uint64) *share {
	h := w.shares[user]
	if h == nil {
		if w.shares == nil {
			w.shares = make(map[uint64]*share)
		}
		h = &share{horizon: w.horizon}
		w.shares[user] = h
		w.sum += h.hash(user)
	}
	return h
}

// leave forgets the share of a user that holds nothing any more.
func (w *window) leave(user uint64) {
	if h := w.shares[user]; h.answers == 0 && h.facts == 0 {
		w.horizon = max(w.horizon, h.horizon)
		w.sum -= h.hash(user)
		delete(w.shares, user)
	}
}

// horizonOf returns the horizon of a user.
func (w *window) horizonOf(user uint64) uint64 {
	if h := w.shares[user]; h != nil {
		return h.horizon
	}
	return w.horizon
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
	if after, horizon := c.firstTry(s.applied), w.horizonOf(n.user()); after < horizon {
		return s.fail(CodeForgotten, fmt.Sprintf("request id %q may have been executed: "+
			"its index is %d, and what was executed up to %d is forgotten", c.RequestID, after, horizon))
	}
	answer := s.execute(c)
	if e, failed := answer.(*Error); failed && e.Code == CodeQuota {
		return answer // not the last word: there may be room for the next try
	}
	r := &request{name: n, check: c.check, entry: s.applied, stamp: s.now, answer: answer}
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
	h := w.share(r.name.user())
	h.bytes += r.size()
	if h.answers++; h.answers == 1 {
		w.answers++
	}
	w.shed(func() bool { return len(w.byName) > w.bounds.answers },
		func(h *share) bool { return h.answers > w.bounds.answers/w.answers })
	w.shed(func() bool { return w.bytes > w.bounds.bytes },
		func(h *share) bool { return h.bytes > w.bounds.bytes/w.answers })
}

// shed forgets answers of users that hold too much, from the oldest on, as long as a bound is
// passed; but the last answer stays, whatever its size. It looks at each answer once.
func (w *window) shed(passed func() bool, tooMuch func(*share) bool) {
	var kept []*request
	at := 0
	for ; at < len(w.order)-1 && passed(); at++ {
		if r := w.order[at]; tooMuch(w.shares[r.name.user()]) {
			w.drop(r)
		} else {
			kept = append(kept, r)
		}
	}
	copy(w.order[at-len(kept):], kept)
	w.cut(at - len(kept))
}

// cut takes the first n answers out of order.
func (w *window) cut(n int) {
	clear(w.order[:n])
	w.order = w.order[n:]
}

// expire forgets the answers that are too old at now.
func (w *window) expire(now int64) {
	for len(w.order) > 0 && now-w.order[0].stamp >= int64(windowTime) {
		w.drop(w.order[0])
		w.cut(1)
	}
}

// drop forgets an answer, which the caller takes out of order, and keeps the fact that there was
// one.
func (w *window) drop(r *request) {
	delete(w.byName, r.name)
	w.bytes -= r.size()
	w.sum -= r.hash()
	h := w.share(r.name.user())
	h.bytes -= r.size()
	if h.answers--; h.answers == 0 {
		w.answers--
	}
	w.keep(fact{name: r.name, entry: r.entry, index: r.index()})
	w.leave(r.name.user())
}

// keep remembers f.
func (w *window) keep(f fact) {
	w.sum += f.hash()
	h := w.share(f.name.user())
	if h.facts++; h.facts == 1 {
		w.knowing++
	}
	w.facts.add(f)
}

// movesAnEntry is how many facts trim moves for one entry of the log: so it takes a millisecond at
// most. It is part of the format.
const movesAnEntry = 1000

// trim forgets, beyond the bound, the oldest facts of users that have more than their part: the
// horizon of each moves to them. Older facts of other users go to the end of the queue; when there
// are many of them, the bound is passed until later entries have moved the rest. While all are
// moved once, no more than bounds.answers and one for each of these entries come in.
func (w *window) trim() {
	for moves := 0; w.facts.count() > w.bounds.facts && moves < movesAnEntry; {
		oldest := w.facts.drop()
		if w.shares[oldest.name.user()].facts > w.bounds.facts/w.knowing {
			w.forget(oldest)
		} else {
			w.facts.add(oldest)
			moves++
		}
	}
}

// forget takes a fact that was dropped out of what its user holds.
func (w *window) forget(f fact) {
	user := f.name.user()
	h := w.shares[user]
	w.sum -= f.hash() + h.hash(user)
	h.horizon = max(h.horizon, f.entry)
	w.sum += h.hash(user)
	if h.facts--; h.facts == 0 {
		w.knowing--
	}
	w.leave(user)
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
