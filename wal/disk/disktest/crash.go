package disktest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// Fate decides what a crash does to the changes that were not synced.
type Fate struct {
	name  func() bool                      // called for every changed name: does the change survive?
	write func(old []byte, w write) []byte // returns what a write over old leaves; it may change old
	what  string
	at    int // of what
}

// String returns the fate in a few words, for the message of a test that fails.
func (f Fate) String() string { return fmt.Sprint(f.what, " ", f.at) }

// Kill returns the disk as the next process finds it when this one is killed now: with all changes,
// but those that were not synced still are not.
func (d *Disk) Kill() *Disk {
	return &Disk{root: d.root.copied(map[*inode]*inode{nil: nil})}
}

// copied returns a copy of n and all below it. copies has the copies made so far.
func (n *inode) copied(copies map[*inode]*inode) *inode {
	if c, ok := copies[n]; ok {
		return c
	}
	c := &inode{data: slices.Clone(n.data), durable: slices.Clone(n.durable), written: slices.Clone(n.written)}
	copies[n] = c
	if n.names != nil {
		c.names, c.durableNames = maps.Clone(n.names), maps.Clone(n.durableNames)
	}
	for name := range c.names {
		c.names[name] = c.names[name].copied(copies)
	}
	for name := range c.durableNames {
		c.durableNames[name] = c.durableNames[name].copied(copies)
	}
	for _, r := range n.renamed {
		c.renamed = append(c.renamed, rename{r.name, r.node.copied(copies)})
	}
	return c
}

// Crash returns the disk as it comes up after a power cut now.
func (d *Disk) Crash(f Fate) *Disk {
	return &Disk{root: d.root.crashed(f, map[*inode]*inode{})}
}

// crashed returns what the fate leaves of n and all below it. copies has the copies made so far.
func (n *inode) crashed(f Fate, copies map[*inode]*inode) *inode {
	if c, ok := copies[n]; ok {
		return c
	}
	c := &inode{}
	copies[n] = c
	if n.names == nil {
		c.data = slices.Clone(n.durable)
		for _, w := range n.written {
			c.data = f.write(c.data, w)
		}
		c.durable = slices.Clone(c.data)
		return c
	}
	names := maps.Clone(n.durableNames)
	for _, r := range n.renamed {
		if f.name() {
			names[r.name] = r.node
		}
	}
	c.names = map[string]*inode{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if names[name] != nil {
			c.names[name] = names[name].crashed(f, copies)
		}
	}
	c.durableNames = maps.Clone(c.names)
	return c
}

// UnsyncedBytes returns how many bytes of files a crash now may lose.
func (d *Disk) UnsyncedBytes() (n int) {
	writes, _ := d.unsynced()
	for _, w := range writes {
		n += len(w.data)
	}
	return n
}

// unsynced returns the writes and the number of names that a crash may lose.
func (d *Disk) unsynced() (writes []write, names int) {
	seen := map[*inode]bool{}
	var walk func(n *inode)
	walk = func(n *inode) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		writes = append(writes, n.written...)
		names += len(n.renamed)
		for _, name := range slices.Sorted(maps.Keys(n.names)) {
			walk(n.names[name])
		}
		for _, r := range n.renamed {
			walk(r.node)
		}
	}
	walk(d.root)
	return writes, names
}

// Fates returns ways in which a crash now may end: all that differ in one write or up to ten names,
// and some of the others.
func (d *Disk) Fates(rng *rand.Rand) []Fate {
	writes, names := d.unsynced()
	fates := []Fate{
		{all, keepWrite, "all", 0},
		{none, loseWrite, "none", 0},
		{all, loseWrite, "names, no bytes", 0},
		{none, keepWrite, "bytes, no names", 0},
		{coin(rng), tearWrite(rng), "at random", 0},
	}
	if names <= 10 {
		for mask := range 1 << names {
			fates = append(fates,
				Fate{masked(mask), keepWrite, "names", mask},
				Fate{masked(mask), tearWrite(rng), "bytes at random, names", mask})
		}
	}
	if len(writes) == 0 {
		return fates
	}
	last := writes[len(writes)-1]
	for n := 0; n < len(last.data); n += 1 + len(last.data)/4096 {
		fates = append(fates, Fate{all, keepPrefix(last, n), "prefix", n})
	}
	for at := last.offset / sector; at*sector < last.offset+len(last.data); at++ {
		for _, in := range []string{"old bytes", "zeros", "garbage"} {
			fates = append(fates, Fate{all, loseSector(last, at, in, rng), in + " in sector", at})
		}
	}
	for range 8 {
		fates = append(fates, Fate{all, tearWrite(rng), "sectors at random", 0})
	}
	return fates
}

func all() bool  { return true }
func none() bool { return false }

func coin(rng *rand.Rand) func() bool { return func() bool { return rng.IntN(2) == 0 } }

func masked(mask int) func() bool {
	return func() bool {
		keep := mask&1 != 0
		mask >>= 1
		return keep
	}
}
