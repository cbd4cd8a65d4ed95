package store

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
)

// sets returns the commands that set n keys, in an order without pattern.
func sets(n int) [][]byte {
	cmds := make([][]byte, n)
	for i := range cmds {
		c := Command{Op: OpSet, Path: fmt.Sprintf("/bench/key-%08d", i), Value: strings.Repeat("v", 256)}
		cmds[i] = c.Append(nil)
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(n, func(i, j int) { cmds[i], cmds[j] = cmds[j], cmds[i] })
	return cmds
}

// filled returns a store that the commands were applied to.
func filled(cmds [][]byte) *Store {
	s := New(Limits{})
	for i, cmd := range cmds {
		s.Apply(uint64(i)+1, time.Unix(1, 0), cmd)
	}
	return s
}

// BenchmarkApplySet overwrites keys; the rate at a million keys should be near that at ten
// thousand.
func BenchmarkApplySet(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			cmds := sets(n)
			s := filled(cmds)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				s.Apply(s.applied+1, time.Unix(1, 0), cmds[i%n])
			}
		})
	}
}

// BenchmarkApplyNamed applies each command, which has an id, twice: it is executed, and then
// answered from memory.
func BenchmarkApplyNamed(b *testing.B) {
	const n = 10_000
	cmds := make([][]byte, 0, n)
	for i := range n {
		c := Command{Op: OpSet, Path: fmt.Sprintf("/bench/key-%08d", i), Value: strings.Repeat("v", 256),
			RequestID: fmt.Sprintf("client-%08d", i)}
		cmds = append(cmds, c.Append(nil))
	}
	s, now := New(Limits{}), time.Unix(1, 0)
	b.ReportAllocs()
	for i := range b.N {
		if i%n == 0 {
			now = now.Add(windowTime)
		}
		s.Apply(s.applied+1, now, cmds[i/2%n])
	}
}

// BenchmarkApplyTTL refreshes keys that expire, the next to expire first.
func BenchmarkApplyTTL(b *testing.B) {
	const n = 100_000
	s := New(Limits{})
	now := time.Unix(1, 0)
	cmds := make([][]byte, n)
	for i := range cmds {
		c := Command{Op: OpSet, Path: fmt.Sprintf("/ttl/%06d", i), HasTTL: true, TTL: time.Hour}
		cmds[i] = c.Append(nil)
	}
	b.ReportAllocs()
	for i := range b.N + n {
		if i == n {
			b.ResetTimer()
		}
		now = now.Add(300 * time.Microsecond)
		s.Apply(s.applied+1, now, cmds[i%n])
		s.NextDue()
	}
}

func BenchmarkGet(b *testing.B) {
	s := filled(sets(10_000))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get("/bench/key-00001234"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPage reads a hundred of a million children, from some place on.
func BenchmarkPage(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := filled(sets(n))
			g := rand.New(rand.NewPCG(1, 1))
			for b.Loop() {
				v, err := s.Get("/bench")
				if err != nil {
					b.Fatal(err)
				}
				seen := 0
				for range v.Part(v.Node, Range{After: fmt.Sprintf("key-%08d", g.IntN(n-100))}) {
					if seen++; seen == 100 {
						break
					}
				}
			}
		})
	}
}

// BenchmarkCount counts about half of the children.
func BenchmarkCount(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := filled(sets(n))
			g := rand.New(rand.NewPCG(1, 1))
			for b.Loop() {
				v, _ := s.Get("/bench")
				v.Count(v.Node, Range{After: fmt.Sprintf("key-%08d", g.IntN(n))})
			}
		})
	}
}

// BenchmarkApplyWatchedElsewhere sets a key with 100,000 watchers on other keys and one on its own.
func BenchmarkApplyWatchedElsewhere(b *testing.B) {
	s := filled(sets(10_000))
	for i := range 100_000 {
		if _, err := s.Watch(fmt.Sprintf("/elsewhere/%d/%d", i%300, i), i%2 == 0, 0); err != nil {
			b.Fatal(err)
		}
	}
	w, _ := s.Watch("/bench/key-00001234", false, 0)
	c := Command{Op: OpSet, Path: "/bench/key-00001234", Value: "v"}
	cmd := c.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		s.Apply(s.applied+1, time.Unix(1, 0), cmd)
		if _, err := w.Next(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWatch begins and ends a watch on a path of some levels, beside 1,000 others.
func BenchmarkWatch(b *testing.B) {
	for _, levels := range []int{3, MaxDepth} {
		b.Run(fmt.Sprint(levels), func(b *testing.B) {
			s := New(Limits{})
			for i := range 1000 {
				s.Watch(fmt.Sprintf("/elsewhere/%d/%d", i%30, i), true, 0)
			}
			path := strings.Repeat("/x", levels)
			b.ReportAllocs()
			for b.Loop() {
				w, _ := s.Watch(path, false, 0)
				w.Close()
			}
		})
	}
}

// BenchmarkApplyWatched sets a key of some levels, with a watch at each of eight directories
// above it.
func BenchmarkApplyWatched(b *testing.B) {
	for _, levels := range []int{8, MaxDepth} {
		b.Run(fmt.Sprint(levels), func(b *testing.B) {
			s := New(Limits{})
			path := strings.Repeat("/x", levels)
			for i := range 8 {
				s.Watch(path[:len(path)*(i+1)/8], true, 0)
			}
			c := set(path, "v")
			cmd := c.bytes()
			b.ReportAllocs()
			for b.Loop() {
				s.Apply(s.applied+1, time.Unix(1, 0), cmd)
			}
		})
	}
}

// BenchmarkFreeze writes a million keys of 256 bytes.
func BenchmarkFreeze(b *testing.B) {
	s := filled(sets(1_000_000))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Freeze()(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRestore reads a million keys of 256 bytes, and reports the heap that they take.
func BenchmarkRestore(b *testing.B) {
	const n = 1_000_000
	state := func() []byte { return filled(sets(n)).frozenBytes(b) }()
	before := heapInUse()
	var s *Store
	b.ReportAllocs()
	for b.Loop() {
		s = New(Limits{})
		if err := s.Restore(bytes.NewReader(state)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(heapInUse()-before)/n, "heap-B/key")
	runtime.KeepAlive(s)
	runtime.KeepAlive(state)
}

// BenchmarkHeapPerKey fills a store by a million writes, as a member does that runs.
func BenchmarkHeapPerKey(b *testing.B) {
	const n = 1_000_000
	cmds := sets(n)
	before := heapInUse()
	for b.Loop() {
		s := filled(cmds)
		b.ReportMetric(float64(heapInUse()-before)/n, "heap-B/key")
		runtime.KeepAlive(s)
	}
}

// heapInUse returns how many bytes are in use after two collections: the second one also frees what
// a sync.Pool holds.
func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
