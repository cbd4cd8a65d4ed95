package store

// weight is the sum over some nodes, usually all below a directory.
type weight struct {
	timers int    // nodes that have a timer
	sum    uint64 // of their hashes
	cost   int64  // of their memory, in bytes: see Node.cost
}

func (w weight) plus(v weight) weight {
	return weight{w.timers + v.timers, w.sum + v.sum, w.cost + v.cost}
}

func (w weight) minus(v weight) weight {
	return weight{w.timers - v.timers, w.sum - v.sum, w.cost - v.cost}
}

// total returns the weight of n, which may be nil, and all that is below it.
func (n *Node) total() weight {
	switch {
	case n == nil:
		return weight{}
	case n.inside == nil:
		return n.alone()
	default:
		return n.alone().plus(n.inside.below)
	}
}

// alone returns the weight of n without what is below it.
func (n *Node) alone() weight {
	w := weight{sum: n.hash(), cost: n.cost()}
	if n.Ends != nil {
		w.timers = 1
	}
	return w
}

// Bytes of memory that a node takes besides its texts. They include its place in a page of its
// directory, the first page of a directory's own children, and a timer's part of the wheels.
const (
	fileCost      = 144
	directoryCost = 368
	endsCost      = 192
)

// cost returns about how many bytes of memory n takes, without what is below it. It depends only on
// the node: it is the same at every member, and after a restore.
func (n *Node) cost() int64 {
	c := fileCost
	if n.Dir {
		c = directoryCost
	}
	return int64(c+len(n.Path)+len(n.Value)) + n.Ends.cost()
}

func (e *Ends) cost() int64 {
	if e == nil {
		return 0
	}
	return endsCost
}
