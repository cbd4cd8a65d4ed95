package disktest

// inode is a file or a directory: as it is seen now, as it is on disk, and the
// changes between.
type inode struct {
	names        map[string]*inode // of a directory; nil for a file
	durableNames map[string]*inode
	renamed      []rename

	data    []byte
	durable []byte
	written []write
}

// rename is the change of one name; node is nil when the name went away.
type rename struct {
	name string
	node *inode
}

func newDirectory() *inode {
	return &inode{names: map[string]*inode{}, durableNames: map[string]*inode{}}
}

func (n *inode) rename(name string, node *inode) {
	if node == nil {
		delete(n.names, name)
	} else {
		n.names[name] = node
	}
	n.renamed = append(n.renamed, rename{name, node})
}
