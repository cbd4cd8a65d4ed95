package store

import (
	"fmt"
	"strings"
)

// builder makes directories of the nodes that a decoder has read. It has a goroutine of its own:
// building takes about as long as reading, so both together are twice as fast. Parts are built in
// the order in which they are added, so a directory is complete before the one that holds it.
type builder struct {
	epoch uint64
	clock *clock

	// Of the decoder's goroutine.
	parts []part // not sent yet
	count int    // nodes in them

	queue chan []part
	built chan struct{} // closed when all is built
	fault error         // the first one; to be read when built is closed
}

// partNodes is how many nodes are built at a time.
const partNodes = 40 * pageFill

// site is a directory that is being built.
type site struct {
	inside *directory
	leaves leaves
	last   string // name of the last node in it
}

// part is nodes of one directory, ascending by name.
type part struct {
	*site
	nodes []*Node
	ends  bool // no more follow
}

func newBuilder(epoch uint64, c *clock) *builder {
	b := &builder{epoch: epoch, clock: c, queue: make(chan []part, 4), built: make(chan struct{})}
	go func() {
		defer close(b.built)
		for parts := range b.queue {
			for i := range parts {
				b.build(&parts[i])
			}
		}
	}()
	return b
}

// add queues a part. The nodes then belong to the builder.
func (b *builder) add(p part) {
	b.parts = append(b.parts, p)
	if b.count += 1 + len(p.nodes); b.count >= partNodes {
		b.queue <- b.parts
		b.parts, b.count = nil, 0
	}
}

// finish waits until the rest is built, and returns the first fault of a node.
func (b *builder) finish() error {
	b.queue <- b.parts
	close(b.queue)
	<-b.built
	return b.fault
}

// build adds the nodes of p to their directory. After a fault it does nothing.
func (b *builder) build(p *part) {
	skip := p.inside.children.skip
	for _, n := range p.nodes {
		if b.fault == nil {
			b.admit(n, n.Path[skip:], p.site)
		}
	}
	if b.fault != nil {
		return
	}
	p.leaves.add(b.epoch, skip, p.nodes)
	if p.ends {
		p.inside.children = p.leaves.build(b.epoch, skip)
	}
}

// admit checks that the directory of s can have the node n, called name, behind its last one, and
// arms n's timer.
func (b *builder) admit(n *Node, name string, s *site) {
	if name <= s.last || name == "." || name == ".." || strings.Contains(name, "/") {
		b.fault = fmt.Errorf("%q can't stand behind %q in %q", name, s.last, n.Path[:len(n.Path)-len(name)])
	}
	if changed := n.lastChange(); changed > s.inside.changed {
		b.fault = fmt.Errorf("%q changed at %d, its directory at %d", n.Path, changed, s.inside.changed)
	}
	s.last = name
	s.inside.below = s.inside.below.plus(n.total())
	if n.Ends != nil {
		n.timer = b.clock.arm(n.Ends.Due, n.Path)
	}
}
