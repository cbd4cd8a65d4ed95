package store

import (
	"iter"
	"slices"
	"strings"
	"sync/atomic"
)

// Node is one file or directory as it was at some index. Files are immutable: a write makes a new
// Node, and tree, events and views share it. A directory's children are reached through the View
// that showed it; the directories in events have none.
type Node struct {
	Path     string // absolute; "/" for the root
	Value    string // files only; cut from the same allocation as Path
	Dir      bool
	plain    uint32 // atomic; see MarkPlain
	Created  uint64
	Modified uint64
	Ends     *Ends // nil = never

	timer  *timer     // nil when it never expires; armed while the node is in the tree
	inside *directory // nil for files, and for directories in events
}

// MarkPlain records, for later readers of a file, that a reader has found its value plain: it needs
// no escaping where it is shown. What makes a value plain is up to the readers. MarkPlain may be
// called from any goroutine.
func (n *Node) MarkPlain() { atomic.StoreUint32(&n.plain, 1) }

// Plain reports whether MarkPlain was called. It may be called from any goroutine.
func (n *Node) Plain() bool { return atomic.LoadUint32(&n.plain) != 0 }

// Ends is when a node expires. It is immutable. Shown is computed once, when the node gets its time
// to live: so every member always shows the same, even when wall clocks are changed.
type Ends struct {
	Due   int64 // cluster clock, in nanoseconds
	Shown int64 // wall clock, in nanoseconds since 1970, by the offset in the log at that time
}

// directory is the inside of a directory of the tree. When its epoch is older than the store's, a
// view may see it: then it and its Node are never changed again, but replaced by copies.
type directory struct {
	epoch    uint64
	changed  uint64 // highest index at which anything here or below changed, refreshes included
	below    weight
	children children
}

// View is a node and everything below it as of one moment. Reading it takes no lock.
type View struct {
	Node  *Node
	Index uint64 // of the store
}

// All yields the children of a directory seen in this view, ascending by name.
func (v View) All(n *Node) iter.Seq[*Node] {
	if n.inside == nil {
		return func(func(*Node) bool) {}
	}
	return n.inside.children.all
}

// Children yields the children of n that are not hidden, ascending by name.
func (v View) Children(n *Node) iter.Seq[*Node] { return v.Part(n, Range{}) }

// Part yields the children that are in r, ascending by name. To find the first takes logarithmic
// time; those before it, and hidden ones, are not visited.
func (v View) Part(n *Node, r Range) iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		if n.inside == nil {
			return
		}
		c, more := &n.inside.children, true
		for _, i := range r.intervals() {
			c.from(i.from, func(child *Node) bool {
				if i.to != "" && child.Path[c.skip:] >= i.to {
					return false
				}
				more = yield(child)
				return more
			})
			if !more {
				return
			}
		}
	}
}

// Count returns how many children are in r, in logarithmic time.
func (v View) Count(n *Node, r Range) (count int) {
	if n.inside == nil {
		return 0
	}
	c := &n.inside.children
	for _, i := range r.intervals() {
		end := c.count()
		if i.to != "" {
			end = c.rank(i.to)
		}
		count += max(0, end-c.rank(i.from))
	}
	return count
}

// newDirectory returns an empty directory of the tree, made at index.
func newDirectory(path string, index, epoch uint64) *Node {
	inside := &directory{epoch: epoch, changed: index, children: children{skip: stem(path) + 1}}
	return &Node{Path: path, Dir: true, Created: index, Modified: index, inside: inside}
}

// own returns n, a directory, if it has this epoch, else a copy that has.
func (n *Node) own(epoch uint64) *Node {
	if n.inside.epoch == epoch {
		return n
	}
	node, inside := *n, *n.inside
	inside.epoch = epoch
	node.inside = &inside
	return &node
}

// shown returns n as events show it: a file as it is, a directory without its inside, so that
// the history keeps no removed subtree alive.
func (n *Node) shown() *Node {
	if n == nil || n.inside == nil {
		return n
	}
	return &Node{Path: n.Path, Dir: true, Created: n.Created, Modified: n.Modified, Ends: n.Ends}
}

// lastChange returns the highest index at which the node, or anything below it, changed.
func (n *Node) lastChange() uint64 {
	if n.inside != nil {
		return n.inside.changed
	}
	return n.Modified
}

// deepest returns the last node on the way from the space's root to path: the node at path, a file
// above it, or the last directory that exists. s.mu must be held.
func (s *Store) deepest(space Space, path string) *Node {
	n, end := s.roots[space], 0
	for len(n.Path) < len(path) && n.Dir {
		end = elementEnd(path, end)
		child := n.inside.children.get(path[:end])
		if child == nil {
			return n
		}
		n = child
	}
	return n
}

// find returns the node at path, or the API's error when there is none. s.mu must be held.
func (s *Store) find(space Space, path string) (*Node, *Error) {
	n := s.deepest(space, path)
	switch {
	case len(n.Path) == len(path):
		return n, nil
	case !n.Dir:
		return nil, s.fail(CodeNotDirectory, n.Path)
	default:
		return nil, s.fail(CodeKeyNotFound, path[:elementEnd(path, stem(n.Path))])
	}
}

// changed returns the highest index at which the key at path, or anything below it, changed. When
// there is no such key, it returns that of the last directory on the way to it. s.mu must be held.
func (s *Store) changed(path string) uint64 {
	n := s.deepest(Keys, path)
	if !n.Dir && len(n.Path) < len(path) {
		n = s.deepest(Keys, parent(n.Path))
	}
	return n.lastChange()
}

// writableParent returns the directory that holds path, ready to be written. It and all directories
// above it belong to the present epoch, are made when missing, are marked as changed at the present
// index, and weigh more by more. s.mu must be held.
func (s *Store) writableParent(space Space, path string, more weight) *directory {
	root := &s.roots[space]
	*root = (*root).own(s.epoch.Load())
	at, made := *root, ""
	var room [8]*Node
	way, found := append(room[:0], at), 1 // found: how many directories of the way existed before
	for end := elementEnd(path, 0); end < len(path); end = elementEnd(path, end) {
		n := at.inside.children.get(path[:end])
		if n == nil {
			if len(made) < end {
				// New directories share this text for their paths. It is at most twice as long as
				// each of them.
				made = strings.Clone(path[:min(2*end, len(path))])
			}
			n = newDirectory(made[:end], s.index, s.epoch.Load())
			at.inside.children.put(s.epoch.Load(), n)
		} else if mine := n.own(s.epoch.Load()); mine != n {
			n = mine
			at.inside.children.put(s.epoch.Load(), n)
		}
		at = n
		way = append(way, at)
		if made == "" {
			found = len(way)
		}
	}
	for i, n := range slices.Backward(way) {
		n.inside.changed = s.index
		n.inside.below = n.inside.below.plus(more)
		if i >= found {
			more = more.plus(n.alone()) // n is new
		}
	}
	return at.inside
}
