package store

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"io"
	"slices"
)

// A frozen state, as Freeze writes it and Restore reads it. Numbers are uvarints, texts a length
// and bytes.
//
//	state    = "state 1\n"  applied  now  offset  index  chain
//	           history  requests  directory  auth  "end\n"
//	history  = first  count  entry…                    from the oldest to the newest
//	entry    = 0                                       no event at this index
//	         | action+1  stamp  prev  node             action: its place in actions
//	prev     = 0 path | maker | kind path body         the node before; 0: there was none at path
//	node     = kind body
//	requests = horizon  count  share…  count  fact…  count  request…
//	share    = user  horizon                           ascending by user
//	fact     = name  entry  index                      in the order in which they are forgotten
//	request  = name  check  entry  stamp  answer       from the oldest to the newest; name and check
//	                                                   are bytes without a length
//	answer   = 1 index | 2 index entry | 3 code index cause    an event of the history, another one, an error
//	directory= changed  count  child…                  ascending by name
//	child    = maker | kind name body [directory]
//	auth     = revision  directory                     users and roles
//	maker    = 1 index                                 the file that the event of this index made
//	kind     = 2 file | 3 directory
//	body     = modified  created  ends  [value]        value only of files
//	ends     = 0 | due  shown
//
// A node that tree and history share is written once, and shared again after Restore. The same
// state gives the same bytes on every replica. There is no checksum: those of package snap cover
// the file.
const (
	stateHead = "state 1\n"
	stateTail = "end\n"
)

// The kinds of a written node.
const (
	kindNone = iota
	kindMaker
	kindFile
	kindDirectory
)

// The kinds of a written answer.
const (
	answerTold  = iota + 1 // an event of the history
	answerEvent            // an event that is not in the history, or not any more
	answerError
)

// frozen is the state at one moment.
type frozen struct {
	applied, now, index uint64
	offset              int64
	chain               uint64
	window              window // only its order, facts and horizon are used
	users               []userHorizon
	roots               [spacesEnd]*Node
	revision            uint64
	history             *history
}

// Freeze keeps the state as it is now, at once: it copies no node and no event. The function that
// it returns writes that state, in any goroutine and any number of times, while Apply goes on.
func (s *Store) Freeze() func(w io.Writer) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f := frozen{s.applied, uint64(s.now), s.index, s.offset, s.chain, s.window, s.window.users(), s.roots, s.revision,
		s.history.freeze()}
	f.window.order = slices.Clone(s.window.order)
	s.epoch.Add(1)
	return f.write
}

// userHorizon is a frozen share: a user and its horizon.
type userHorizon struct{ user, horizon uint64 }

// users returns the shares, ascending by user.
func (w *window) users() (all []userHorizon) {
	for user, h := range w.shares {
		all = append(all, userHorizon{user, h.horizon})
	}
	slices.SortFunc(all, func(a, b userHorizon) int { return cmp.Compare(a.user, b.user) })
	return all
}

// write writes the frozen state to w.
func (f *frozen) write(w io.Writer) error {
	e := encoder{Writer: bufio.NewWriterSize(w, 64<<10), history: f.history}
	e.WriteString(stateHead)
	e.uint(f.applied)
	e.uint(f.now)
	e.uint(uint64(f.offset))
	e.uint(f.index)
	e.uint(f.chain)
	e.events()
	e.requests(&f.window, f.users)
	e.directory(f.roots[Keys].inside)
	e.uint(f.revision)
	e.directory(f.roots[Auth].inside)
	e.WriteString(stateTail)
	return e.Flush()
}

// encoder writes a frozen state. Its writer keeps the first error until Flush.
type encoder struct {
	*bufio.Writer
	history *history
}

func (e *encoder) uint(v uint64) {
	e.Write(binary.AppendUvarint(e.AvailableBuffer(), v))
}

func (e *encoder) text(s string) {
	e.uint(uint64(len(s)))
	e.WriteString(s)
}

func (e *encoder) events() {
	h := e.history
	e.uint(h.first)
	e.uint(h.next - h.first)
	for i := h.first; i < h.next; i++ {
		e.event(h.at(i))
	}
}

func (e *encoder) event(ev *Event) {
	if ev == nil {
		e.uint(0)
		return
	}
	e.uint(uint64(ev.Action.number()) + 1)
	e.uint(uint64(ev.Stamp))
	switch {
	case ev.Prev == nil:
		e.uint(kindNone)
		e.text(ev.Node.Path)
	case e.made(ev.Prev):
		e.maker(ev.Prev)
	default:
		e.kind(ev.Prev)
		e.text(ev.Prev.Path)
		e.body(ev.Prev)
	}
	e.kind(ev.Node)
	e.body(ev.Node)
}

func (e *encoder) requests(w *window, users []userHorizon) {
	e.uint(w.horizon)
	e.uint(uint64(len(users)))
	for _, u := range users {
		e.uint(u.user)
		e.uint(u.horizon)
	}
	e.uint(uint64(w.facts.count()))
	for i := w.facts.first; i < w.facts.next; i++ {
		f := w.facts.at(i)
		e.Write(f.name[:])
		e.uint(f.entry)
		e.uint(f.index)
	}
	e.uint(uint64(len(w.order)))
	for _, r := range w.order {
		e.Write(r.name[:])
		e.Write(r.check[:])
		e.uint(r.entry)
		e.uint(uint64(r.stamp))
		e.answer(r.answer)
	}
}

func (e *encoder) answer(answer any) {
	switch a := answer.(type) {
	case *Event:
		if e.history.at(a.Index) == a {
			e.uint(answerTold)
			e.uint(a.Index)
			return
		}
		e.uint(answerEvent)
		e.uint(a.Index)
		e.event(a)
	case *Error:
		e.uint(answerError)
		e.uint(uint64(a.Code))
		e.uint(a.Index)
		e.text(a.Cause)
	}
}

// made reports whether n is the node that an event of the history made.
func (e *encoder) made(n *Node) bool {
	maker := e.history.at(n.Modified)
	return maker != nil && maker.Node == n
}

func (e *encoder) maker(n *Node) {
	e.uint(kindMaker)
	e.uint(n.Modified)
}

func (e *encoder) kind(n *Node) {
	if n.Dir {
		e.uint(kindDirectory)
	} else {
		e.uint(kindFile)
	}
}

func (e *encoder) body(n *Node) {
	e.uint(n.Modified)
	e.uint(n.Created)
	e.ends(n.Ends)
	if !n.Dir {
		e.text(n.Value)
	}
}

func (e *encoder) ends(ends *Ends) {
	if ends == nil {
		e.uint(0)
		return
	}
	e.uint(uint64(ends.Due))
	e.uint(uint64(ends.Shown))
}

// directory writes d and all below it.
func (e *encoder) directory(d *directory) {
	e.uint(d.changed)
	e.uint(uint64(d.children.count()))
	for n := range d.children.all {
		if e.made(n) {
			e.maker(n)
			continue
		}
		e.kind(n)
		e.text(n.Path[d.children.skip:])
		e.body(n)
		if n.Dir {
			e.directory(n.inside)
		}
	}
}
