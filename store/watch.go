package store

import (
	"context"
	"fmt"
	"strings"
)

// Watcher is a cursor on the history. Next, Ready and Close belong to one goroutine.
type Watcher struct {
	store     *Store
	path      string
	recursive bool
	began     uint64 // index of the store when the watch began
	wake      chan struct{}

	// Protected by store.mu: Apply writes them under the lock, Next under the read lock.
	from  uint64 // events before it are not wanted
	next  uint64 // no event before it is wanted and not delivered; 0: none up to the present index
	perch *perch // where it sits in the index
	seat  int    // and its place in the list there
}

// lookMax is how many entries of the history a watcher looks at before it lets go of the lock.
const lookMax = 1024

// Watch begins a watch at path: every matching event from index since on (0: from now on), in
// order, none twice. A since that the history no longer reaches gives code 401, unless nothing at
// or below path changed since. path must be canonical; it need not exist. Registering and deciding
// where to begin are one step (I9).
func (s *Store) Watch(path string, recursive bool, since uint64) (*Watcher, *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.WatchRequests++
	w := &Watcher{store: s, path: path, recursive: recursive, began: s.index, from: since, wake: make(chan struct{}, 1)}
	if since > 0 && since <= s.index {
		if s.cleared(path, since) {
			return nil, s.fail(CodeHistoryCleared, fmt.Sprintf("the requested history has been cleared [%d/%d]",
				s.history.first, since))
		}
		w.next = since
	}
	s.watchers.add(w)
	return w, nil
}

// cleared reports whether an event from since on that concerns a watch at path may be lost. s.mu
// must be held.
func (s *Store) cleared(path string, since uint64) bool {
	return since < s.history.first && s.changed(path) >= since
}

// Index is the store index at which the watch began.
func (w *Watcher) Index() uint64 { return w.began }

// Seen is an index up to which the watcher has told all events that it is to tell. A watch from the
// index after it goes on where this one is. It belongs to the goroutine of Next.
func (w *Watcher) Seen() uint64 {
	w.store.mu.RLock()
	defer w.store.mu.RUnlock()
	if w.next > 0 {
		return w.next - 1
	}
	return max(w.store.index+1, w.from) - 1
}

// Next waits for the next event. It returns ErrFellBehind, or the context's error.
func (w *Watcher) Next(ctx context.Context) (*Event, error) {
	for {
		if e, err := w.Ready(); e != nil || err != nil {
			return e, err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Ready is Next that does not wait: the event is nil when none has come yet.
func (w *Watcher) Ready() (*Event, error) {
	for {
		e, more, err := w.look()
		if e != nil || err != nil || !more {
			return e, err
		}
	}
}

// look returns the next event that matches, if there is one among the next lookMax entries, and
// whether there are more entries to look at.
func (w *Watcher) look() (e *Event, more bool, err error) {
	w.store.mu.RLock()
	defer w.store.mu.RUnlock()
	h := w.store.history
	if w.next == 0 {
		return nil, false, nil
	}
	if w.store.cleared(w.path, w.next) {
		return nil, false, ErrFellBehind
	}
	w.next = max(w.next, h.first)
	for end := min(h.next, w.next+lookMax); w.next < end && e == nil; w.next++ {
		if at := h.at(w.next); at != nil && at.matches(w.path, w.recursive) {
			e = at
		}
	}
	if w.next >= h.next {
		w.next = 0
		return e, false, nil
	}
	return e, true, nil
}

// notify tells the watcher of an event that matches. The store's lock must be held.
func (w *Watcher) notify(index uint64) {
	if w.next == 0 && index >= w.from {
		w.next = index
	}
	select {
	case w.wake <- struct{}{}:
	default: // it is awake already
	}
}

// resume makes the watcher go on in a restored history, from the index after the one the tree had.
func (w *Watcher) resume(after uint64) {
	w.from = max(w.from, after)
	w.notify(w.from)
}

// Close ends the watch. It must be called.
func (w *Watcher) Close() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.watchers.remove(w)
}

// watchers is the index of all watchers by their paths: a tree that has a perch where watchers sit
// and where two ways part, and none on the way between. So a watch makes two perches at most,
// however deep its path, and an event reads its key once on the way from the root to it: it costs
// nothing how many watchers sit elsewhere.
//
//	watched        perches
//	/a/b/c/d       "" ── /a/b ┬─ /a/b/c/d
//	/a/b/x                    └─ /a/b/x
type watchers struct {
	root  perch
	count int
}

// perch is where the watchers of one path sit. It has some, or two kids, unless it is the root.
type perch struct {
	up     *perch
	path   string            // "" for the root
	kids   map[string]*perch // by the element of their paths behind path
	plain  []*Watcher
	recurs []*Watcher
}

// add seats w, which no perch holds yet.
func (x *watchers) add(w *Watcher) {
	p, path := &x.root, w.path[:stem(w.path)]
	for len(p.path) < len(path) {
		p = p.toward(path)
	}
	list := p.list(w)
	w.perch, w.seat = p, len(*list)
	*list = append(*list, w)
	x.count++
}

// toward returns the perch below p on the way to path, as far as path leads. It makes one where
// there is none.
func (p *perch) toward(path string) *perch {
	name := p.element(path)
	k := p.kids[name]
	if k == nil {
		return p.adopt(&perch{path: path})
	}
	n := len(p.path) + shared(k.path[len(p.path):], path[len(p.path):])
	if n == len(k.path) {
		return k
	}
	parting := &perch{path: strings.Clone(path[:n])} // no part of a long path, which it would keep
	parting.adopt(k)
	return p.adopt(parting)
}

// adopt makes k a kid of p, and returns it.
func (p *perch) adopt(k *perch) *perch {
	if p.kids == nil {
		p.kids = make(map[string]*perch)
	}
	k.up = p
	p.kids[p.element(k.path)] = k
	return k
}

// element returns the element behind p of a path below p.
func (p *perch) element(path string) string {
	return path[len(p.path)+1 : elementEnd(path, len(p.path))]
}

// shared is the length of the longest path at which or below which both a and b lie.
func shared(a, b string) int {
	n := common(a, b)
	if (n == len(a) || a[n] == '/') && (n == len(b) || b[n] == '/') {
		return n
	}
	return strings.LastIndexByte(a[:n], '/')
}

// list is the one that w sits in at its perch.
func (p *perch) list(w *Watcher) *[]*Watcher {
	if w.recursive {
		return &p.recurs
	}
	return &p.plain
}

// remove takes w away, and the perches that nobody needs then.
func (x *watchers) remove(w *Watcher) {
	p := w.perch
	if p == nil {
		return
	}
	list := p.list(w)
	last := len(*list) - 1
	moved := (*list)[last]
	(*list)[w.seat], moved.seat = moved, w.seat
	(*list)[last] = nil
	*list = (*list)[:last]
	w.perch = nil
	x.count--
	if up := p.up; p.idle() {
		up.idle()
	}
}

// idle takes p away if it has no watcher and one kid at most, which takes its place, and reports
// whether it did.
func (p *perch) idle() bool {
	if p.up == nil || len(p.plain)+len(p.recurs) > 0 || len(p.kids) > 1 {
		return false
	}
	delete(p.up.kids, p.up.element(p.path))
	for _, k := range p.kids {
		p.up.adopt(k)
	}
	return true
}

// wake notifies the watchers that e matches: recursive ones above its key, all at its key, and when
// a directory went, all below.
func (x *watchers) wake(e *Event) {
	p, key := &x.root, e.Node.Path
	for len(p.path) < len(key) {
		notify(p.recurs, e)
		k := p.kids[p.element(key)]
		if k == nil {
			return
		}
		switch way, rest := k.path[len(p.path):], key[len(p.path):]; {
		case way == rest || below(rest, way):
			p = k
		case below(way, rest):
			k.gone(e)
			return
		default:
			return
		}
	}
	notify(p.recurs, e)
	notify(p.plain, e)
	for _, k := range p.kids {
		k.gone(e)
	}
}

// gone notifies the watchers at p and below, if e took away a directory above p.
func (p *perch) gone(e *Event) {
	if e.removes() && e.Prev.Dir {
		p.each(func(w *Watcher) { w.notify(e.Index) })
	}
}

// notify tells those of the list that e matches.
func notify(list []*Watcher, e *Event) {
	for _, w := range list {
		if e.matches(w.path, w.recursive) {
			w.notify(e.Index)
		}
	}
}

// each visits the watchers at p and below, in no order.
func (p *perch) each(visit func(*Watcher)) {
	for _, w := range p.plain {
		visit(w)
	}
	for _, w := range p.recurs {
		visit(w)
	}
	for _, k := range p.kids {
		k.each(visit)
	}
}
