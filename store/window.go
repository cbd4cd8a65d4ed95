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
// the same entry, so all members must have the same bounds (G5).
type bounds struct {
	answers int // kept
	bytes   int // of the answers that are kept, by request.size; the last answer stays, whatever its size
	facts   int // requests known to have been executed, besides those whose answer is kept
}

// windowBounds are the bounds of every store, except in tests. 300,000 facts take 15 MiB.
var windowBounds = bounds{answers: 10_000, bytes: 16 << 20, facts: 300_000}

// name stands for a user's request id: the same id of another user has another name. The first 8
// bytes stand for the user: all names of one user begin with them.
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

// user returns a number that stands for the user.
func (n *name) user() uint64 { return binary.LittleEndian.Uint64(n[:8]) }

// halves returns the 16 bytes behind the user's as two numbers. They depend on the user as well.
func (n *name) halves() (a, b uint64) {
	return binary.LittleEndian.Uint64(n[8:16]), binary.LittleEndian.Uint64(n[16:])
}

// request is a command with an id that was executed, and its answer. It is immutable.
type request struct {
	name   name
	check  [sha256.Size]byte // of the command
	entry  uint64            // of the log, at which it was executed
	stamp  int64             // of that entry
	answer any               // *Event, shared with the history while it is there, or *Error
}

// window remembers the requests that had an id, so that none is executed twice (pitfall G3). The
// requests of one user, by the entries at which they were executed:
//
//	                 horizon
//	forgotten           │  facts                  │  order
//	refused             │  "was executed"         │  the first answer again
//	────────────────────┴─────────────────────────┴──────────────────────► entry
//
// No member knows which requests of the user were executed at or before its horizon. So a request
// that is unknown, and may have been tried for the first time before the horizon, gets an error and
// is not executed.
//
// Each bound is divided among the users in equal parts. When it is exceeded, the oldest answer or
// fact of a user that holds more than its part is forgotten. So a user that keeps to its part loses
// nothing to the others. The work for one entry of the log is bounded as well: see shed and trim.
type window struct {
	bounds      bounds
	order       []*request // with an answer, the oldest first; their stamps never fall
	byName      map[name]*request
	bytes       int // sum of the sizes of order
	facts       facts
	shares      map[uint64]*share // by user; only of users that hold something
	withAnswers int               // shares that hold answers
	withFacts   int               // shares that hold facts
	horizon     uint64            // of all users without a share: the last of their entries whose fact was forgotten
	sum         uint64            // of the hashes of all requests, facts and shares
}

// share is what one user holds of a window.
type share struct {
	answers, bytes, facts int
	horizon               uint64 // the last entry whose fact was forgotten; 0: none was
}

// hash returns the share's part of the digest. The requests and facts that the user holds have
// parts of their own.
func (h *share) hash(user uint64) uint64 { return mix(user, h.horizon, 1) }

// share returns the share of a user, and makes it if there is none.
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

// dropShare removes the share of a user that holds nothing any more.
func (w *window) dropShare(user uint64) {
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
//   - The answer is remembered: it is given again, or code 209 if the command is not the same.
//   - Only the fact is remembered: code 213.
//   - The command may have been executed at or before the horizon: code 214.
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
		return answer // it is not remembered: the next try may find room
	}
	r := &request{name: n, check: c.check, entry: s.applied, stamp: s.now, answer: answer}
	w.add(r)
	return r.answer
}

// firstTry returns the command's RequestIndex, when it stands at entry. An index that the log has
// not reached is of another cluster, and counts as 0.
func (c *Command) firstTry(entry uint64) uint64 {
	if c.RequestIndex >= entry {
		return 0
	}
	return c.RequestIndex
}

// add adds r, whose name is new, and forgets what exceeds the bounds.
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
		w.withAnswers++
	}
	w.shed(func() bool { return len(w.byName) > w.bounds.answers },
		func(h *share) bool { return h.answers > w.bounds.answers/w.withAnswers })
	w.shed(func() bool { return w.bytes > w.bounds.bytes },
		func(h *share) bool { return h.bytes > w.bounds.bytes/w.withAnswers })
}

// shed forgets answers of users that hold too much, the oldest first, as long as a bound is
// exceeded. The last answer stays, whatever its size. shed looks at each answer once.
func (w *window) shed(exceeded func() bool, tooMuch func(*share) bool) {
	var kept []*request
	at := 0
	for ; at < len(w.order)-1 && exceeded(); at++ {
		if r := w.order[at]; tooMuch(w.shares[r.name.user()]) {
			w.forgetAnswer(r)
		} else {
			kept = append(kept, r)
		}
	}
	copy(w.order[at-len(kept):], kept)
	w.removeOldest(at - len(kept))
}

// removeOldest removes the first n answers from order.
func (w *window) removeOldest(n int) {
	clear(w.order[:n])
	w.order = w.order[n:]
}

// expire forgets the answers that are older than windowTime at now.
func (w *window) expire(now int64) {
	for len(w.order) > 0 && now-w.order[0].stamp >= int64(windowTime) {
		w.forgetAnswer(w.order[0])
		w.removeOldest(1)
	}
}

// forgetAnswer forgets the answer of r, and keeps the fact that r was executed. The caller removes
// r from order.
func (w *window) forgetAnswer(r *request) {
	delete(w.byName, r.name)
	w.bytes -= r.size()
	w.sum -= r.hash()
	h := w.share(r.name.user())
	h.bytes -= r.size()
	if h.answers--; h.answers == 0 {
		w.withAnswers--
	}
	w.addFact(fact{name: r.name, entry: r.entry, index: r.index()})
	w.dropShare(r.name.user())
}

// addFact adds f.
func (w *window) addFact(f fact) {
	w.sum += f.hash()
	h := w.share(f.name.user())
	if h.facts++; h.facts == 1 {
		w.withFacts++
	}
	w.facts.add(f)
}

// movesPerEntry is how many facts trim moves at most for one entry of the log, which takes up to a
// millisecond. It is part of the format.
const movesPerEntry = 1000

// trim forgets facts while there are more than the bound: the oldest of users that hold more than
// their part, whose horizons move there. Older facts of other users go to the end of the queue.
// When there are many of those, the bound stays exceeded until later entries have moved the rest.
// Until all have been moved once, at most bounds.answers facts come in, and one more for each of
// these entries.
func (w *window) trim() {
	for moves := 0; w.facts.count() > w.bounds.facts && moves < movesPerEntry; {
		oldest := w.facts.drop()
		if w.shares[oldest.name.user()].facts > w.bounds.facts/w.withFacts {
			w.forgetFact(oldest)
		} else {
			w.facts.add(oldest)
			moves++
		}
	}
}

// forgetFact takes f, which is not in the queue any more, off its user's share.
func (w *window) forgetFact(f fact) {
	user := f.name.user()
	h := w.shares[user]
	w.sum -= f.hash() + h.hash(user)
	h.horizon = max(h.horizon, f.entry)
	w.sum += h.hash(user)
	if h.facts--; h.facts == 0 {
		w.withFacts--
	}
	w.dropShare(user)
}

// Remembered returns how many answers of requests with an id are kept, their size as it is bounded,
// and how many other requests are known to have been executed.
func (s *Store) Remembered() (answers, bytes, facts int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.window.order), s.window.bytes, s.window.facts.count()
}

// digest returns a hash of everything that the window holds.
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

// hash returns the request's part of the digest.
func (r *request) hash() uint64 {
	a, b := r.name.halves()
	return mix(mix(a, b, r.entry), hashOf(r.answer), mix(binary.LittleEndian.Uint64(r.check[:]), uint64(r.stamp), 0))
}
