package disktest

// inode is a file or a directory: as it is seen now, as it is on disk, and the changes between
// these.
type inode struct {
	names        map[string]*inode // of a directory; nil for a file
	durableNames map[string]*inode
	renamed      []rename

	data    []byte
	durable []byte
	written []write
}

// write makes a change that is not yet on disk. data then belongs to the inode.
func (n *inode) write(offset int, data []byte) {
	w := write{offset, data}
	n.data = w.apply(n.data)
	n.written = append(n.written, w)
}

// rename is the change of one name; node is nil when the name was removed.
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
