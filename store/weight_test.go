package store

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The cost is the same after a restore, like every other sum that a directory keeps of the nodes
// below it: see check.
func TestTheCostIsTheSameAfterARestore(t *testing.T) {
	s := varied()
	s.do(set("/users/u", "secret").in(Auth))

	r := restored(t, Limits{}, s.frozenBytes(t))

	r.check(t)
	if r.cost() != s.cost() || s.cost() == 0 {
		t.Errorf("%d bytes before, %d after", s.cost(), r.cost())
	}
	r.do(del("/users").recursive().in(Auth).judged(r.revision))
	view, _ := r.Get("/")
	for n := range view.All(view.Node) {
		r.do(del(n.Path).recursive().judged(r.revision))
	}
	expect(t, "the cost of nothing", r.cost(), int64(0))
}

// The cost is what the tree takes of memory, and no less, whatever its shape.
func TestTheCostIsThatOfTheMemory(t *testing.T) {
	const count = 20_000
	least := 0.4
	if strconv.IntSize == 32 {
		least = 0.25 // pointers and lengths are half as long, but the cost is the same on every machine
	}
	for name, c := range map[string]func(i int) Command{
		"large values":      func(i int) Command { return set(fmt.Sprintf("/d/%d", i), strings.Repeat("v", 1000)) },
		"small values":      func(i int) Command { return set(fmt.Sprintf("/d/%d", i*7919%count), "v") },
		"long keys":         func(i int) Command { return set("/d/"+strings.Repeat("k", 300)+fmt.Sprint(i), "") },
		"in order":          func(i int) Command { return post("/d", "v") },
		"with a ttl":        func(i int) Command { return set(fmt.Sprintf("/d/%d", i), "v").ttl(time.Duration(i) * time.Second) },
		"empty directories": func(i int) Command { return set(fmt.Sprintf("/d/%d", i), "").dir() },
		"one file each":     func(i int) Command { return set(fmt.Sprintf("/d/%d/e/f", i), "v") },
		"directories that are left": func(i int) Command {
			below := fmt.Sprintf("/%d/", i/2) + strings.Repeat("d", 2000)
			return []Command{set(below+"/k", "v"), del(below).recursive()}[i%2]
		},
		"files that are left": func(i int) Command {
			if i < count/2 {
				return set(fmt.Sprintf("/d/%d", i), "v")
			}
			return del(fmt.Sprintf("/d/%d", (i-count/2)/15*16+i%15))
		},
		"deep": func(i int) Command { return set(fmt.Sprintf("/%d", i/30)+strings.Repeat("/x", i%30), "").dir() },
	} {
		t.Run(name, func(t *testing.T) {
			before := heapInUse()
			s := New(Limits{Events: 1})
			for i := range count {
				s.do(c(i))
			}
			used := heapInUse() - before
			if share := float64(used) / float64(s.cost()); share < least || share > 1.2 {
				t.Errorf("%d bytes of memory, counted as %d: %.2f", used, s.cost(), share)
			}
			runtime.KeepAlive(s)
		})
	}
}
