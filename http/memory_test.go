package http

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

// A large tree takes as much memory as its live objects and a fifth more, not twice as much.
func TestALargeHeapGrowsByAFifth(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	tree := make([]byte, 200<<20)
	runtime.GC()

	paceCollector()

	found := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/goal:bytes"}}
	metrics.Read(found)
	live, goal := found[0].Value.Uint64(), found[1].Value.Uint64()
	if live < uint64(len(tree)) || goal > live*6/5+2*spareHeap {
		t.Errorf("a heap of %d bytes may grow to %d", live, goal)
	}
	runtime.KeepAlive(tree)
}
