package store

// weight is what a directory knows of all nodes below it together.
type weight struct {
	timers int    // how many have a timer
	sum    uint64 // of their hashes
	cost   int64  // of memory, in bytes: see Node.cost
}

func (w weight) plus(v weight) weight {
	return weight{w.timers + v.timers, w.sum + v.sum, w.cost + v.cost}
}

func (w weight) minus(v weight) weight {
	return weight{w.timers - v.timers, w.sum - v.sum, w.cost - v.cost}
}

// total is what n, which may be nil, weighs with all that is below it.
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

// alone is what n weighs without what is below it.
func (n *Node) alone() weight {
	w := weight{sum: n.hash(), cost: n.cost()}
	if n.Ends != nil {
		w.timers = 1
	}
	return w
}

// What a node takes of memory, in bytes, besides its texts: with its place in a page of the
// directory that it is in, with the first page of its own, and with its part of the wheels.
const (
	fileCost      = 144
	directoryCost = 368
	endsCost      = 192
)

// cost is about how many bytes of memory n takes, without what is below it. It depends on nothing
// but the node, so that it is the same at every member, and after a restore.
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
