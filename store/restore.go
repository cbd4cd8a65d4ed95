package store

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Restore replaces the state by one that Freeze wrote. If r holds no such state, the error says
// what is wrong at which byte, and the old state stays. Restore trusts no written length: memory
// grows only with the bytes that are read.
//
// Watchers stay. Each goes on in the restored history behind the last index that it could have
// seen, or gets ErrFellBehind when that history begins later (E12).
func (s *Store) Restore(r io.Reader) error {
	d := decoder{
		in:    bufio.NewReaderSize(r, 64<<10),
		epoch: s.epoch.Load(),
		store: &Store{clock: newClock(), window: window{bounds: s.window.bounds}},
	}
	d.builder = newBuilder(d.epoch, d.store.clock)
	d.state(s.history.limits)
	if d.err != nil {
		return fmt.Errorf("store: restore: at byte %d: %w", d.at, d.err)
	}
	s.adopt(d.store)
	return nil
}

// adopt replaces the state of s by that of t.
func (s *Store) adopt(t *Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := s.index + 1
	s.gone += uint64(s.cost()) + s.history.gone + uint64(s.history.bytes)
	s.applied, s.now, s.offset, s.index, s.chain = t.applied, t.now, t.offset, t.index, t.chain
	s.roots, s.history, s.clock, s.window = t.roots, t.history, t.clock, t.window
	s.revise(t.revision)
	s.publish()
	s.watchers.root.each(func(w *Watcher) { w.resume(after) })
	s.wakeWaiters()
}

// decoder reads a frozen state into a store of its own. After the first error all its methods
// return zero values.
type decoder struct {
	in       *bufio.Reader
	at       int64 // bytes read
	err      error
	epoch    uint64
	store    *Store
	path     []byte // of the directory that is being read; "" for the root
	text     []byte // scratch: path and value of the node that is being read
	lastPath string // of the directory that was read before, or of one in it

	builder *builder // of what is in directories
}

func (d *decoder) state(l Limits) {
	s := d.store
	d.head()
	s.applied, s.now, s.offset = d.uint(), d.time(), int64(d.uint())
	s.index, s.chain = d.uint(), d.uint()
	d.history(l)
	d.requests()
	d.trees()
	s.history.trim()
}

// trees reads both trees, and the end of the state.
func (d *decoder) trees() {
	s := d.store
	for space := range s.roots {
		s.roots[space] = newDirectory("/", 0, d.epoch)
	}
	s.roots[Keys].inside = d.directory(1)
	d.auth()
	d.expect(stateTail)
	if _, err := d.in.ReadByte(); d.err == nil && err != io.EOF {
		d.fail("something follows the end")
	}
	if err := d.builder.finish(); err != nil {
		d.fail("%w", err)
	}
	auth := s.roots[Auth].inside
	if d.err == nil && (auth.changed != s.revision || auth.below.timers > 0) {
		d.fail("users and roles changed at %d, not at %d, with %d timers", auth.changed, s.revision, auth.below.timers)
	}
}

// fail sets the error, if it is the first.
func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

func (d *decoder) byte() byte {
	if d.err != nil {
		return 0
	}
	b, err := d.in.ReadByte()
	if err != nil {
		d.end(err)
		return 0
	}
	d.at++
	return b
}

// end sets the error of a read that failed or found the end.
func (d *decoder) end(err error) {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	d.fail("%w", err)
}

func (d *decoder) uint() (v uint64) {
	for shift := 0; shift < 64; shift += 7 {
		b := d.byte()
		if shift == 63 && b > 1 {
			break
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	d.fail("a number has more than 64 bits")
	return 0
}

// time reads a moment of the cluster clock.
func (d *decoder) time() int64 {
	v := d.uint()
	if v > 1<<63-1 {
		d.fail("a time is too big")
		return 0
	}
	return int64(v)
}

// upTo reads a number that may not exceed limit.
func (d *decoder) upTo(limit uint64, what string) uint64 {
	v := d.uint()
	if v > limit {
		d.fail("%s %d is above %d", what, v, limit)
		return 0
	}
	return v
}

// readText appends the next text to d.text, in steps, since its length may be wrong.
func (d *decoder) readText() {
	const step = 64 << 10
	for n := d.uint(); n > 0 && d.err == nil; {
		size, old := int(min(n, step)), len(d.text)
		d.text = append(d.text, make([]byte, size)...)
		d.fill(d.text[old:])
		n -= uint64(size)
	}
}

func (d *decoder) expect(word string) {
	for i := range len(word) {
		if d.byte() != word[i] {
			d.fail("%q is missing", word)
			return
		}
	}
}

// head reads the first line.
func (d *decoder) head() {
	head := make([]byte, len(stateHead))
	if d.fill(head); string(head) != stateHead {
		d.fail("it begins with %q, not with %q: it was written by another version of this program", head, stateHead)
	}
}

// history reads all events, even more than the limits allow: the tree shares nodes with them.
func (d *decoder) history(l Limits) {
	s := d.store
	first := d.upTo(s.index+1, "first index")
	count := d.upTo(s.index+1, "number of events")
	s.history = newHistory(l, first)
	for range count {
		if d.err != nil {
			return
		}
		s.history.append(d.event(s.history.next))
	}
	if s.history.next != s.index+1 {
		d.fail("the history ends at %d, not at %d", s.history.next-1, s.index)
	}
}

func (d *decoder) event(index uint64) *Event {
	action := d.upTo(uint64(len(actions)), "action")
	if action == 0 {
		return nil
	}
	e := &Event{Action: actions[action-1], Index: index, Stamp: d.time()}
	d.text = d.text[:0]
	switch kind := d.kind(); kind {
	case kindNone:
		d.readText()
	case kindMaker:
		e.Prev = d.maker()
		d.text = append(d.text, e.Prev.Path...)
	default:
		d.readText()
		e.Prev = d.node(kind)
		d.text = append(d.text[:0], e.Prev.Path...)
	}
	if path := string(d.text); path == "/" || Canonical(path) != path {
		d.fail("the event of index %d is of %q, which is no key", index, path)
	}
	e.Node = d.node(d.kind())
	if e.Node.Modified != index || e.removes() && e.Prev == nil {
		d.fail("the event of index %d contradicts itself", index)
	}
	return e
}

func (d *decoder) requests() {
	w := &d.store.window
	w.horizon = d.upTo(d.store.applied, "horizon")
	d.shares()
	d.facts()
	last := uint64(0)
	for count := d.uint(); count > 0 && d.err == nil; count-- {
		last = d.request(last)
	}
	w.expire(d.store.now)
	for user, h := range w.shares {
		if d.err == nil && h.answers+h.facts == 0 {
			d.fail("the user %x has a share of the requests, and no request", user)
		}
	}
}

// shares reads the users and their horizons.
func (d *decoder) shares() {
	w, last := &d.store.window, uint64(0)
	for count := d.uint(); count > 0 && d.err == nil; count-- {
		user, horizon := d.uint(), d.upTo(d.store.applied, "horizon of a user")
		if user <= last && w.shares != nil {
			d.fail("the user %x can't stand behind %x", user, last)
			return
		}
		last = user
		h := &share{horizon: horizon}
		if w.shares == nil {
			w.shares = make(map[uint64]*share)
		}
		w.shares[user] = h
		w.sum += h.hash(user)
	}
}

// facts reads the facts.
func (d *decoder) facts() {
	w := &d.store.window
	for count := d.uint(); count > 0 && d.err == nil; count-- {
		f := fact{name: d.name()}
		f.entry = d.upTo(d.store.applied, "entry")
		f.index = d.upTo(d.store.index, "index of a request")
		if f.entry == 0 {
			d.fail("a fact has no entry")
		}
		d.remember(f.name, func() { w.addFact(f) })
	}
}

// request reads a request and its answer. It returns the entry of the request, which must be behind
// last, that of the one before.
func (d *decoder) request(last uint64) (entry uint64) {
	w, r := &d.store.window, &request{name: d.name()}
	d.fill(r.check[:])
	r.entry = d.upTo(d.store.applied, "entry")
	r.stamp, r.answer = d.time(), d.answer()
	if r.entry <= max(last, w.horizonOf(r.name.user())) || r.stamp > d.store.now ||
		len(w.order) > 0 && r.stamp < w.order[len(w.order)-1].stamp {
		d.fail("the request of entry %d, at %d, can't stand behind %d", r.entry, r.stamp, last)
	}
	d.remember(r.name, func() { w.add(r) })
	return r.entry
}

// remember calls add for a request of that name, unless the name is known already.
func (d *decoder) remember(n name, add func()) {
	w := &d.store.window
	if _, known := w.facts.find(n); known || w.byName[n] != nil {
		d.fail("two requests have the name %x", n)
	}
	if w.shares[n.user()] == nil {
		d.fail("the user %x of a request has no share", n.user())
	}
	if d.err == nil {
		add()
	}
}

func (d *decoder) name() (n name) {
	d.fill(n[:])
	return n
}

// fill fills b.
func (d *decoder) fill(b []byte) {
	if d.err != nil {
		return
	}
	got, err := io.ReadFull(d.in, b)
	d.at += int64(got)
	if err != nil {
		d.end(err)
	}
}

func (d *decoder) answer() any {
	switch kind := d.uint(); kind {
	case answerTold, answerEvent:
		index := d.upTo(d.store.index, "index of an answer")
		e := d.store.history.at(index)
		if kind == answerEvent {
			e = d.event(index)
		}
		if e == nil {
			d.fail("the event of index %d is not there", index)
		}
		return e
	case answerError:
		return &Error{Code: int(d.upTo(999, "code")), Index: d.upTo(d.store.index, "index of an error"),
			Cause: d.string()}
	default:
		d.fail("an answer of kind %d", kind)
		return nil
	}
}

func (d *decoder) string() string {
	d.text = d.text[:0]
	d.readText()
	return string(d.text)
}

func (d *decoder) kind() uint64 { return d.upTo(kindDirectory, "kind") }

// maker reads the index of an event and returns the file that it made.
func (d *decoder) maker() *Node {
	index := d.uint()
	if e := d.store.history.at(index); e != nil && !e.removes() && !e.Node.Dir {
		return e.Node
	}
	d.fail("the event of index %d made no file", index)
	return &Node{}
}

// node reads the body of a node, whose path d.text has.
func (d *decoder) node(kind uint64) *Node {
	n := d.indices(kind)
	end := len(d.text)
	if kind == kindFile {
		d.readText()
	}
	text := string(d.text)
	n.Path, n.Value = text[:end], text[end:]
	return n
}

// indices reads the beginning of a body, which files and directories have alike.
func (d *decoder) indices(kind uint64) *Node {
	if kind != kindFile && kind != kindDirectory {
		d.fail("kind %d is not that of a node", kind)
	}
	n := &Node{Dir: kind == kindDirectory}
	n.Modified = d.upTo(d.store.index, "modified index")
	n.Created = d.upTo(n.Modified, "created index")
	if due := d.time(); due != 0 {
		n.Ends = &Ends{Due: due, Shown: int64(d.uint())}
	}
	return n
}

// auth reads users and roles.
func (d *decoder) auth() {
	s := d.store
	s.revision = d.upTo(s.index, "revision")
	s.roots[Auth].inside = d.directory(1)
}

// directory reads the inside of the directory at d.path, whose children are at this depth. The
// builder fills it later.
func (d *decoder) directory(depth int) *directory {
	inside := &directory{epoch: d.epoch, changed: d.upTo(d.store.index, "changed index")}
	inside.children.skip = len(d.path) + 1
	site := &site{inside: inside}
	var nodes []*Node
	for count := d.uint(); count > 0; count-- {
		n := d.child(depth)
		if d.err != nil {
			return nil
		}
		if nodes = append(nodes, n); len(nodes) == partNodes {
			d.builder.add(part{site, nodes, false})
			nodes = nil
		}
	}
	d.builder.add(part{site, nodes, true})
	return inside
}

// child reads a child of the directory at d.path.
func (d *decoder) child(depth int) *Node {
	kind := d.kind()
	d.text = append(append(d.text[:0], d.path...), '/')
	if kind == kindMaker {
		n := d.maker()
		if !strings.HasPrefix(n.Path, string(d.text)) {
			d.fail("%q is not in %q", n.Path, d.path)
		}
		return n
	}
	d.readText()
	if kind != kindDirectory {
		return d.node(kind)
	}
	if depth > depthLimit {
		d.fail("%q lies too deep", d.text)
	}
	up := len(d.path)
	d.path = append(d.path[:0], d.text...)
	n := d.indices(kind)
	if n.inside = d.directory(depth + 1); n.inside != nil {
		n.Path = d.pathOf(d.path)
	}
	d.path = d.path[:up]
	return n
}

// pathOf returns path as a string. If the directory that was read before lies in it, the string is
// a part of that one's path: so the paths of a long chain of directories take about twice the
// longest one, not each its own memory. No path keeps a string of more than twice its length.
func (d *decoder) pathOf(path []byte) string {
	if len(d.lastPath) > 2*len(path) || !strings.HasPrefix(d.lastPath, string(path)) {
		d.lastPath = string(path)
	}
	return d.lastPath[:len(path)]
}
