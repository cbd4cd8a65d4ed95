package store

import (
	"slices"
	"strings"
)

// pageMax is the most nodes of a leaf and the most kids of an inner page; pageFill is how many of
// them leaves.build puts there.
const (
	pageMax  = 32
	pageFill = pageMax * 3 / 4
)

// children are the nodes of one directory, ascending by name: a B-tree whose leaves hold the nodes.
//
//	           ┌ bounds  ""   "f"   "q" ┐
//	root       └ kids    │     │     │  ┘
//	               ┌─────┘     │     └──────┐
//	leaves     a b c d       f g h      q r s t
//
// Reading the names of 32 nodes would be most of the cost of a write to a big directory, since none
// of them is in the processor's cache. So a leaf knows how many leading bytes its names share, and
// keeps the eight bytes of each that follow: names are compared in full only when these heads are
// equal.
//
// Pages are copied on write: a page whose epoch is older than the writer's may be seen by a view
// and is never changed again. A page that overflows at its end is split there, so that names that
// come in ascending order leave full pages behind. A page is merged with a neighbour when both
// together fill half a page, and no page stays empty.
//
// An inner page counts the nodes below it. So one way down finds the rank of a name in the
// directory, and two ranks give the number of names between them.
type children struct {
	skip int   // offset of the name in the path of each child
	root *page // nil when there are none
}

// page is a leaf (kids is nil) or an inner page (nodes is nil).
type page struct {
	epoch  uint64
	nodes  []*Node
	heads  []uint64 // heads[i] is that of nodes[i]: the eight bytes of its name behind shared
	shared uint32   // leading bytes that all names of a leaf have in common; may be too low
	below  uint32   // inner page only: nodes of all leaves below
	kids   []*page
	bounds []string // bounds[i] ≤ every name in kids[i] < bounds[i+1]; bounds[0] is not looked at
}

// get returns the child with this path, or nil.
func (c *children) get(path string) *Node {
	p, name := c.root, path[c.skip:]
	if p == nil {
		return nil
	}
	for p.kids != nil {
		p = p.kids[p.kid(name)]
	}
	if i, ok := p.search(name, c.skip); ok {
		return p.nodes[i]
	}
	return nil
}

// all yields the children ascending by name.
func (c *children) all(yield func(*Node) bool) {
	if c.root != nil {
		walk(c.root.nodes, c.root.kids, yield)
	}
}

// from yields the children whose names are not before name, ascending.
func (c *children) from(name string, yield func(*Node) bool) {
	if c.root != nil {
		c.root.from(name, c.skip, yield)
	}
}

// count returns how many children there are.
func (c *children) count() int {
	if c.root == nil {
		return 0
	}
	return c.root.count()
}

// rank returns how many children have names before name.
func (c *children) rank(name string) int {
	if c.root == nil {
		return 0
	}
	return c.root.rank(name, c.skip)
}

// put stores n in place of the child with its path, if there is one.
func (c *children) put(epoch uint64, n *Node) {
	if c.root == nil {
		c.root = &page{epoch: epoch}
	}
	c.root = c.root.own(epoch)
	if right, bound := c.root.put(n, c.skip); right != nil {
		c.root = newInner(epoch, []*page{c.root, right}, []string{"", bound})
	}
}

// remove takes out the child with this path, which must be there.
func (c *children) remove(epoch uint64, path string) {
	c.root = c.root.own(epoch)
	c.root.remove(path[c.skip:], c.skip)
	for len(c.root.kids) == 1 {
		c.root = c.root.kids[0]
	}
	if c.root.size() == 0 {
		c.root = nil
	}
}

// leaves are the leaves of children that are being built, in ascending order.
type leaves struct {
	pages  []*page
	bounds []string
}

// add makes leaves of nodes, which ascend by name and come behind those added before. Their number
// should be a multiple of pageFill, except in the last call.
func (l *leaves) add(epoch uint64, skip int, nodes []*Node) {
	for part := range slices.Chunk(nodes, pageFill) {
		leaf := &page{epoch: epoch, nodes: slices.Clone(part)}
		leaf.index(skip)
		l.pages = append(l.pages, leaf)
		l.bounds = append(l.bounds, strings.Clone(part[0].Path[skip:]))
	}
}

// build makes children of all that was added.
func (l *leaves) build(epoch uint64, skip int) children {
	level, bounds := l.pages, l.bounds
	for len(level) > 1 {
		level, bounds = group(epoch, level, bounds)
	}
	if level == nil {
		return children{skip: skip}
	}
	return children{skip: skip, root: level[0]}
}

// group returns the level of pages above this one.
func group(epoch uint64, kids []*page, bounds []string) (level []*page, above []string) {
	for at := 0; at < len(kids); at += pageFill {
		end := min(at+pageFill, len(kids))
		p := newInner(epoch, slices.Clone(kids[at:end]), slices.Clone(bounds[at:end]))
		level, above = append(level, p), append(above, bounds[at])
	}
	return level, above
}

// newInner returns an inner page.
func newInner(epoch uint64, kids []*page, bounds []string) *page {
	p := &page{epoch: epoch, kids: kids, bounds: bounds}
	for _, k := range kids {
		p.below += uint32(k.count())
	}
	return p
}

func (p *page) size() int { return len(p.nodes) + len(p.kids) }

// own returns p if it has this epoch, else a copy that has.
func (p *page) own(epoch uint64) *page {
	if p.epoch == epoch {
		return p
	}
	return &page{epoch, slices.Clone(p.nodes), slices.Clone(p.heads), p.shared, p.below, slices.Clone(p.kids),
		slices.Clone(p.bounds)}
}

// kid returns the place of the kid that name belongs to.
func (p *page) kid(name string) int {
	low, high := 1, len(p.bounds)
	for low < high {
		if m := (low + high) / 2; p.bounds[m] <= name {
			low = m + 1
		} else {
			high = m
		}
	}
	return low - 1
}

// search returns the place of name in a leaf, and whether it is there.
func (p *page) search(name string, skip int) (int, bool) {
	if len(p.nodes) == 0 {
		return 0, false
	}
	h := head(name[min(int(p.shared), len(name)):])
	i, _ := slices.BinarySearch(p.heads, h)
	for ; i < len(p.nodes) && p.heads[i] == h; i++ {
		if c := strings.Compare(p.nodes[i].Path[skip:], name); c == 0 {
			return i, true
		} else if c > 0 {
			break
		}
	}
	// The first node is read only here: a search for a name that exists does without it.
	if first := p.nodes[0].Path[skip:]; !strings.HasPrefix(name, first[:p.shared]) {
		if name < first {
			return 0, false
		}
		return len(p.nodes), false
	}
	return i, false
}

// head is the first eight bytes of s as a number that orders like them.
func head(s string) (h uint64) {
	for i := range min(8, len(s)) {
		h |= uint64(s[i]) << (56 - 8*i)
	}
	return h
}

// insert puts n at its place in a leaf.
func (p *page) insert(i int, n *Node, skip int) {
	name := n.Path[skip:]
	shares := len(p.nodes) > 0 && strings.HasPrefix(name, p.nodes[0].Path[skip:][:p.shared])
	p.nodes = slices.Insert(p.nodes, i, n)
	if shares {
		p.heads = slices.Insert(p.heads, i, head(name[p.shared:]))
	} else {
		p.index(skip)
	}
}

// index computes shared and the heads of a leaf.
func (p *page) index(skip int) {
	first, last := p.nodes[0], p.nodes[len(p.nodes)-1]
	p.shared = uint32(common(first.Path[skip:], last.Path[skip:]))
	p.heads = slices.Grow(p.heads[:0], len(p.nodes))
	for _, n := range p.nodes {
		p.heads = append(p.heads, head(n.Path[skip+int(p.shared):]))
	}
}

// common returns the length of the longest prefix that a and b share.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// walk yields nodes, and those below kids.
func walk(nodes []*Node, kids []*page, yield func(*Node) bool) bool {
	const ahead = 16
	for i, n := range nodes {
		if i%ahead == 0 {
			touch(nodes[i:min(i+ahead, len(nodes))])
		}
		if !yield(n) {
			return false
		}
	}
	for _, k := range kids {
		if !walk(k.nodes, k.kids, yield) {
			return false
		}
	}
	return true
}

// touch reads a byte of each node's text, without using it. So the processor fetches the texts from
// memory at the same time, and a walk does not wait for each of them. The compiler would drop the
// reads if it inlined touch.
//
//go:noinline
func touch(nodes []*Node) (sum byte) {
	for _, n := range nodes {
		sum += n.Path[0]
	}
	return sum
}

// from yields the nodes whose names are not before name.
func (p *page) from(name string, skip int, yield func(*Node) bool) bool {
	if p.kids == nil {
		i, _ := p.search(name, skip)
		return walk(p.nodes[i:], nil, yield)
	}
	i := p.kid(name)
	return p.kids[i].from(name, skip, yield) && walk(nil, p.kids[i+1:], yield)
}

func (p *page) count() int { return len(p.nodes) + int(p.below) }

// rank returns how many nodes have names before name.
func (p *page) rank(name string, skip int) int {
	if p.kids == nil {
		i, _ := p.search(name, skip)
		return i
	}
	i := p.kid(name)
	n := p.kids[i].rank(name, skip)
	for _, k := range p.kids[:i] {
		n += k.count()
	}
	return n
}

// put stores n in this page, which belongs to the present epoch. When the page overflows, put
// splits it and returns the right part and its bound.
func (p *page) put(n *Node, skip int) (right *page, bound string) {
	name := n.Path[skip:]
	var at int
	if p.kids == nil {
		i, found := p.search(name, skip)
		if found {
			p.nodes[i] = n
			return nil, ""
		}
		at = i
		p.insert(i, n, skip)
	} else {
		i := p.kid(name)
		kid := p.kids[i].own(p.epoch)
		p.kids[i], p.below = kid, p.below-uint32(kid.count())
		right, bound := kid.put(n, skip)
		p.below += uint32(kid.count())
		if right == nil {
			return nil, ""
		}
		p.below += uint32(right.count())
		at, p.kids, p.bounds = i+1, slices.Insert(p.kids, i+1, right), slices.Insert(p.bounds, i+1, bound)
	}
	if p.size() <= pageMax {
		return nil, ""
	}
	return p.split(at, skip)
}

// split moves the upper half to a new page, or only the last entry when that is the new one.
func (p *page) split(last, skip int) (right *page, bound string) {
	at := p.size() / 2
	if last == p.size()-1 {
		at = last
	}
	if p.kids == nil {
		right = &page{epoch: p.epoch}
		right.nodes, p.nodes, p.heads = slices.Clone(p.nodes[at:]), slices.Clone(p.nodes[:at]), nil
		right.index(skip)
		p.index(skip)
		return right, strings.Clone(right.nodes[0].Path[skip:])
	}
	bound = p.bounds[at]
	right = newInner(p.epoch, slices.Clone(p.kids[at:]), slices.Clone(p.bounds[at:]))
	p.kids, p.bounds = slices.Clone(p.kids[:at]), slices.Clone(p.bounds[:at])
	p.below -= right.below
	return right, bound
}

// remove removes the node called name from this page, which belongs to the present epoch.
func (p *page) remove(name string, skip int) {
	if p.kids == nil {
		if i, found := p.search(name, skip); found {
			p.nodes, p.heads = slices.Delete(p.nodes, i, i+1), slices.Delete(p.heads, i, i+1)
		}
		return
	}
	i := p.kid(name)
	p.kids[i] = p.kids[i].own(p.epoch)
	p.kids[i].remove(name, skip)
	p.below--
	if p.kids[i].size() == 0 {
		p.kids, p.bounds = slices.Delete(p.kids, i, i+1), slices.Delete(p.bounds, i, i+1)
	} else if i = max(i, 1); i < len(p.kids) && p.kids[i-1].size()+p.kids[i].size() <= pageMax/2 {
		p.merge(i, skip)
	}
}

// merge appends the entries of kid i to the kid before it.
func (p *page) merge(i, skip int) {
	left, right := p.kids[i-1].own(p.epoch), p.kids[i]
	if right.kids == nil {
		left.nodes = append(left.nodes, right.nodes...)
		left.index(skip)
	} else {
		left.bounds = append(append(left.bounds, p.bounds[i]), right.bounds[1:]...)
		left.kids = append(left.kids, right.kids...)
		left.below += right.below
	}
	p.kids[i-1] = left
	p.kids, p.bounds = slices.Delete(p.kids, i, i+1), slices.Delete(p.bounds, i, i+1)
}
