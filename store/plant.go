package store

import (
	"fmt"
	"strings"
)

// Continue returns an empty store with this index, whose history begins behind it: it is to go on
// from the tree of another server. Plant adds the nodes.
func Continue(l Limits, index uint64) *Store {
	s := New(l)
	s.index, s.history = index, newHistory(l, index+1)
	return s
}

// Plant adds a node of another server, with the path, value, indices and end that n has. n is not
// kept. Directories must come before the nodes in them. Plant makes no event. An error says why the
// tree can't have the node; then it stays as it was.
//
// When something below a directory changed last is not known: it counts as changed at the present
// index.
func (s *Store) Plant(space Space, n Node) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Command{Op: OpSet, Path: n.Path, Space: space, HasTTL: n.Ends != nil}
	if !c.valid() || n.Path == "/" || n.Dir && n.Value != "" || n.Created > n.Modified || n.Modified > s.index {
		return fmt.Errorf("store: plant: %.200q, created at %d and modified at %d of %d, is no node",
			n.Path, n.Created, n.Modified, s.index)
	}
	if dir := parent(n.Path); s.deepest(space, n.Path).Path != dir || !s.deepest(space, dir).Dir {
		return fmt.Errorf("store: plant: %.200q is there already, or its directory is not there", n.Path)
	}
	planted := newDirectory(strings.Clone(n.Path), s.index, s.epoch.Load())
	if !n.Dir {
		text := n.Path + n.Value
		planted = &Node{Path: text[:len(n.Path)], Value: text[len(n.Path):]}
	}
	planted.Created, planted.Modified = n.Created, n.Modified
	s.put(space, planted, nil, n.Ends)
	if space == Auth {
		s.revise(s.index)
	}
	return nil
}
