package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"etcd2/e2e/pace"
)

// A B-tree holds what a sorted slice holds, whatever is put and removed, and its frozen copies hold
// what it held. pitfall E8
func TestChildrenAreASortedSlice(t *testing.T) {
	const steps = 30_000
	byPath := func(a, b *Node) int { return strings.Compare(a.Path, b.Path) }
	for seed := range pace.Pick[uint64](1, 1, 4) {
		g := rand.New(rand.NewPCG(seed, 1))
		c, epoch, want := children{skip: 3}, uint64(0), []*Node{}
		type shot struct {
			children children
			want     []*Node
		}
		var shots []shot
		for step := range steps {
			// Some seeds grow, some shrink, all have phases of both; names have long and short
			// common beginnings.
			n := &Node{Path: "/d/" + strings.Repeat("long", g.IntN(3)) + fmt.Sprint(g.IntN(1500))}
			i, found := slices.BinarySearchFunc(want, n, byPath)
			switch grow := step/5000%2 == 0; {
			case found && (!grow || g.IntN(4) == 0):
				c.remove(epoch, n.Path)
				want = slices.Delete(want, i, i+1)
			case found:
				c.put(epoch, n)
				want[i] = n
			case grow || g.IntN(8) == 0:
				c.put(epoch, n)
				want = slices.Insert(want, i, n)
			}
			if got := c.get(n.Path); got != nil && got.Path != n.Path {
				t.Fatalf("seed %d, step %d: get(%q) is %q", seed, step, n.Path, got.Path)
			}
			if g.IntN(700) == 0 {
				shots = append(shots, shot{c, slices.Clone(want)})
				epoch++
			}
			if step%500 == 0 {
				sameChildren(t, &c, want)
			}
		}
		for _, s := range shots {
			sameChildren(t, &s.children, s.want)
		}
		for len(want) > 0 {
			i := g.IntN(len(want))
			c.remove(epoch, want[i].Path)
			want = slices.Delete(want, i, i+1)
			if len(want)%50 == 0 {
				sameChildren(t, &c, want)
			}
		}
		if c.root != nil {
			t.Errorf("seed %d: pages are left of nothing", seed)
		}
	}
}

// sameChildren fails unless c holds exactly the nodes want, in order, in well-formed pages.
func sameChildren(t *testing.T, c *children, want []*Node) {
	t.Helper()
	if !slices.Equal(slices.Collect(c.all), want) || c.count() != len(want) {
		t.Fatalf("%d children, want %d, or not the same", c.count(), len(want))
	}
	for i, n := range want {
		if c.get(n.Path) != n {
			t.Fatalf("get(%q) does not find it", n.Path)
		}
		if got := c.rank(n.Path[c.skip:]); got != i {
			t.Fatalf("%q is in place %d, want %d", n.Path, got, i)
		}
	}
	if c.get("/d/missing") != nil || c.get("/d/zzz") != nil {
		t.Fatal("get finds what is not there")
	}
	if c.root != nil {
		if _, err := c.root.wellFormed(c.skip, "", ""); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBuildMakesTheSameChildren(t *testing.T) {
	for _, size := range []int{0, 1, pageFill, pageFill + 1, pageFill * pageFill, pageFill*pageFill + 1, 20_000} {
		nodes := make([]*Node, size)
		for i := range nodes {
			nodes[i] = &Node{Path: fmt.Sprintf("/d/%06d", i)}
		}

		c := build(1, 3, nodes)

		sameChildren(t, &c, nodes)
	}
}

// Names that ascend leave full pages behind.
func TestAscendingNamesFillPages(t *testing.T) {
	c := children{skip: 1}
	for i := range 10_000 {
		c.put(0, &Node{Path: fmt.Sprintf("/%020d", i)})
	}

	if leaves, most := len(c.root.leaves()), 10_000/pageMax+2; leaves > most {
		t.Errorf("%d leaves, want at most %d", leaves, most)
	}
}

// Pages that lose their nodes are merged: what is left of many names takes few pages.
func TestSparsePagesAreMerged(t *testing.T) {
	const names = 10_000
	c := children{skip: 1}
	for i := range names {
		c.put(0, &Node{Path: fmt.Sprintf("/%020d", i)})
	}

	for i := range names {
		if i%20 != 0 {
			c.remove(0, fmt.Sprintf("/%020d", i))
		}
	}

	if leaves, most := len(c.root.leaves()), names/20/(pageMax/4); leaves > most {
		t.Errorf("%d leaves for %d names, want at most %d", leaves, names/20, most)
	}
}

// A page that came to hold a name below its first bound keeps it when it is merged into the page
// before it.
func TestMergedPageKeepsNamesBelowItsFirstBound(t *testing.T) {
	const half = pageFill * pageFill // names of one inner page
	var nodes []*Node
	for i := range 2 * half {
		nodes = append(nodes, &Node{Path: fmt.Sprintf("/%06d", 10*i)})
	}
	c := build(0, 1, nodes)
	low := &Node{Path: fmt.Sprintf("/%06d", 10*half+5)}
	for _, n := range nodes[half : half+pageFill] { // the first leaf of the second page
		c.remove(0, n.Path)
	}
	c.put(0, low)

	for _, n := range append(nodes[:half-4*pageFill:half-4*pageFill], nodes[half+4*pageFill:]...) {
		c.remove(0, n.Path)
	}

	want := append(append(nodes[half-4*pageFill:half:half], low), nodes[half+pageFill:half+4*pageFill]...)
	if c.root.kids[0].kids != nil {
		t.Error("the inner pages were not merged")
	}
	if !slices.Equal(slices.Collect(c.all), want) || c.get(low.Path) != low {
		t.Errorf("%d names, want %d, or %s is lost", c.count(), len(want), low.Path)
	}
}

// leaves returns the leaves of a page.
func (p *page) leaves() (all []*page) {
	if p.kids == nil {
		return []*page{p}
	}
	for _, k := range p.kids {
		all = append(all, k.leaves()...)
	}
	return all
}
