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
	from     uint64     // index of the first event that is wanted
	next     uint64     // index of the next event to look at; 0 when caught up
	at       *watchNode // its place in the index of watchers; nil when closed
	position int        // in the list there
}

// lookMax is how many entries of the history a watcher looks at before it releases the lock.
const lookMax = 1024

// Watch begins a watch at path: every matching event from index since on (0: from now on), in
// order, none twice. It returns code 401 when the history no longer reaches back to since, unless
// nothing at or below path has changed since then. path must be canonical; it need not exist.
// Finding the place to begin and registering are one step (I9).
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

// cleared reports whether the history may have dropped an event from since on that a watch at path
// matches. s.mu must be held.
func (s *Store) cleared(path string, since uint64) bool {
	return since < s.history.first && s.changed(path) >= since
}

// Index returns the store index at which the watch began.
func (w *Watcher) Index() uint64 { return w.began }

// Seen returns an index up to which the watcher has returned all events that it matches: a watch
// from the index after it goes on where this one is. It belongs to the goroutine of Next.
func (w *Watcher) Seen() uint64 {
	w.store.mu.RLock()
	defer w.store.mu.RUnlock()
	if w.next > 0 {
		return w.next - 1
	}
	return max(w.store.index+1, w.from) - 1
}

// Next waits for the next event. Its error is ErrFellBehind or the context's.
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

// Ready is Next without waiting: the event is nil when there is none yet.
func (w *Watcher) Ready() (*Event, error) {
	for {
		e, more, err := w.look()
		if e != nil || err != nil || !more {
			return e, err
		}
	}
}

// look returns the next event that matches, if it is among the next lookMax entries, and whether
// there are more entries to look at.
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

// notify wakes the watcher for a matching event at index. The store's lock must be held.
func (w *Watcher) notify(index uint64) {
	if w.next == 0 && index >= w.from {
		w.next = index
	}
	select {
	case w.wake <- struct{}{}:
	default: // a wake-up is pending already
	}
}

// resume makes the watcher go on in a restored history. after is the index behind that of the tree
// before.
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

// watchers finds the watchers of a path: a radix tree over the elements of paths. It has a node
// where a watched path ends and where two of them part, and no others. So a watch makes two nodes
// at most, however deep its path. An event reads its key once, from the root down; watchers
// elsewhere cost it nothing.
//
//	watched        nodes
//	/a/b/c/d       "" ── /a/b ┬─ /a/b/c/d
//	/a/b/x                    └─ /a/b/x
type watchers struct {
	root  watchNode
	count int
}

// watchNode is a node of that tree. Unless it is the root, it has a watcher or two kids.
type watchNode struct {
	up        *watchNode
	path      string                // "" for the root
	kids      map[string]*watchNode // by the first element of their paths behind path
	plain     []*Watcher            // watches of the path alone
	recursive []*Watcher            // and of what is below it
}

// add registers w, which is not registered yet.
func (x *watchers) add(w *Watcher) {
	p, path := &x.root, w.path[:stem(w.path)]
	for len(p.path) < len(path) {
		p = p.step(path)
	}
	list := p.list(w)
	w.at, w.position = p, len(*list)
	*list = append(*list, w)
	x.count++
}

// step returns the next node below p on the way to path, at path at the latest. It makes the node
// if there is none.
func (p *watchNode) step(path string) *watchNode {
	name := p.element(path)
	k := p.kids[name]
	if k == nil {
		return p.adopt(&watchNode{path: path})
	}
	n := len(p.path) + shared(k.path[len(p.path):], path[len(p.path):])
	if n == len(k.path) {
		return k
	}
	fork := &watchNode{path: strings.Clone(path[:n])} // a part of path would keep all of it in memory
	fork.adopt(k)
	return p.adopt(fork)
}

// adopt makes k a kid of p, and returns it.
func (p *watchNode) adopt(k *watchNode) *watchNode {
	if p.kids == nil {
		p.kids = make(map[string]*watchNode)
	}
	k.up = p
	p.kids[p.element(k.path)] = k
	return k
}

// element returns the first element behind p of a path below p.
func (p *watchNode) element(path string) string {
	return path[len(p.path)+1 : elementEnd(path, len(p.path))]
}

// shared returns the length of the longest path at or below which both a and b are.
func shared(a, b string) int {
	n := common(a, b)
	if (n == len(a) || a[n] == '/') && (n == len(b) || b[n] == '/') {
		return n
	}
	return strings.LastIndexByte(a[:n], '/')
}

// list returns the list at p that w belongs to.
func (p *watchNode) list(w *Watcher) *[]*Watcher {
	if w.recursive {
		return &p.recursive
	}
	return &p.plain
}

// remove removes w, and the nodes that are not needed any more.
func (x *watchers) remove(w *Watcher) {
	p := w.at
	if p == nil {
		return
	}
	list := p.list(w)
	last := len(*list) - 1
	moved := (*list)[last]
	(*list)[w.position], moved.position = moved, w.position
	(*list)[last] = nil
	*list = (*list)[:last]
	w.at = nil
	x.count--
	if up := p.up; p.prune() {
		up.prune()
	}
}

// prune removes p if it has no watcher and one kid at most, which takes its place. It reports
// whether it did.
func (p *watchNode) prune() bool {
	if p.up == nil || len(p.plain)+len(p.recursive) > 0 || len(p.kids) > 1 {
		return false
	}
	delete(p.up.kids, p.up.element(p.path))
	for _, k := range p.kids {
		p.up.adopt(k)
	}
	return true
}

// wake notifies the watchers that e matches: the recursive ones above its key, all at its key, and
// all below it when e removed a directory.
func (x *watchers) wake(e *Event) {
	p, key := &x.root, e.Node.Path
	for len(p.path) < len(key) {
		notify(p.recursive, e)
		k := p.kids[p.element(key)]
		if k == nil {
			return
		}
		switch way, rest := k.path[len(p.path):], key[len(p.path):]; {
		case way == rest || below(rest, way):
			p = k
		case below(way, rest):
			k.wakeBelow(e)
			return
		default:
			return
		}
	}
	notify(p.recursive, e)
	notify(p.plain, e)
	for _, k := range p.kids {
		k.wakeBelow(e)
	}
}

// wakeBelow notifies the watchers at p and below, if e removed a directory above p.
func (p *watchNode) wakeBelow(e *Event) {
	if e.removes() && e.Prev.Dir {
		p.each(func(w *Watcher) { w.notify(e.Index) })
	}
}

// notify notifies those of the list that e matches.
func notify(list []*Watcher, e *Event) {
	for _, w := range list {
		if e.matches(w.path, w.recursive) {
			w.notify(e.Index)
		}
	}
}

// each visits the watchers at p and below, in no order.
func (p *watchNode) each(visit func(*Watcher)) {
	for _, w := range p.plain {
		visit(w)
	}
	for _, w := range p.recursive {
		visit(w)
	}
	for _, k := range p.kids {
		k.each(visit)
	}
}
