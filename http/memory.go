package http

import (
	"bytes"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
)

// DefaultQuota is the bound of the tree without --quota-bytes: a quarter of the memory. The rest is
// for the garbage collector, the history, and copies for views and snapshots.
func DefaultQuota() int64 { return memoryLimit() / 4 }

// memoryLimit returns how many bytes of memory this process may use: the least of GOMEMLIMIT, the
// limit of its control group, and the memory of the machine.
func memoryLimit() int64 {
	limit := debug.SetMemoryLimit(-1)
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64); err == nil && n > 0 { // not "max"
			limit = min(limit, n)
		}
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		limit = min(limit, totalMemory(b))
	}
	if limit == math.MaxInt64 {
		return assumedMemory
	}
	return limit
}

// totalMemory returns the bytes of MemTotal in /proc/meminfo; math.MaxInt64 when it is not there.
func totalMemory(meminfo []byte) int64 {
	_, rest, _ := bytes.Cut(meminfo, []byte("MemTotal:"))
	if fields := bytes.Fields(rest); len(fields) > 0 {
		if kb, err := strconv.ParseInt(string(fields[0]), 10, 64); err == nil && kb > 0 {
			return kb << 10
		}
	}
	return math.MaxInt64
}

// assumedMemory is the limit in bytes when no source tells one.
const assumedMemory = 1 << 30

// The heap may grow by spareHeap bytes and spareShare percent of its live objects before the
// garbage collector runs. With Go's default of 100 percent the collector would run all the time
// over a small tree, and a large one would take twice its memory. With these values and a tree of
// 1,000,000 keys it runs once in about 25,000 writes, for an eighth of a second of one processor.
const (
	spareHeap  = 24 << 20
	spareShare = 20
)

// PaceCollector sets, from now until the process ends, how much the heap may grow before each run
// of the collector. It does nothing when GOGC is set.
func PaceCollector() {
	if os.Getenv("GOGC") == "" {
		paceCollector()
	}
}

func paceCollector() {
	growHeap(0)
	type garbage struct{ _ *garbage }
	runtime.AddCleanup(new(garbage), func(struct{}) { paceCollector() }, struct{}{})
}

// ExpectState lets the heap grow for a state whose snapshot has this many bytes, and for a log of
// the same size behind it: in memory both together take about 2.5 times these bytes. Otherwise the
// collector would run after each growth by a fifth, and find no garbage.
func ExpectState(bytes int64) {
	if os.Getenv("GOGC") == "" {
		growHeap(uint64(bytes) * 5 / 2)
	}
}

// growHeap lets the heap grow by more bytes than usual until the collector has run once. GOGC is a
// percentage of live heap, stacks and globals together, of 4 MiB at least (see package runtime).
func growHeap(more uint64) {
	found := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}
	metrics.Read(found)
	live, base := found[0].Value.Uint64(), uint64(0)
	for _, s := range found {
		base += s.Value.Uint64()
	}
	debug.SetGCPercent(int((more + spareHeap + live*spareShare/100) * 100 / max(base, 4<<20)))
}
