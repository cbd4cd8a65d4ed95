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

// DefaultQuota is what the tree may cost when nobody says it: a quarter of the memory. The garbage
// collector, the history, and copies for views and snapshots want their part.
func DefaultQuota() int64 { return memoryLimit() / 4 }

// memoryLimit is how many bytes of memory this process may have: by GOMEMLIMIT, by its control
// group, or by what there is.
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

// totalMemory reads /proc/meminfo.
func totalMemory(meminfo []byte) int64 {
	_, rest, _ := bytes.Cut(meminfo, []byte("MemTotal:"))
	if fields := bytes.Fields(rest); len(fields) > 0 {
		if kb, err := strconv.ParseInt(string(fields[0]), 10, 64); err == nil && kb > 0 {
			return kb << 10
		}
	}
	return math.MaxInt64
}

// assumedMemory is how much there is when nobody tells, in bytes.
const assumedMemory = 1 << 30

// The heap may grow by spareHeap bytes and spareShare percent of what lives in it before the
// garbage collector runs. Its own rule, 100 percent, has it run all the time over a small tree, and
// doubles the memory of a large one. Over a tree of 1,000,000 keys it runs once in about 25,000
// writes, for an eighth of a second of one processor.
const (
	spareHeap  = 24 << 20
	spareShare = 20
)

// PaceCollector sets how much the heap may grow before each run of the collector, for the rest of
// the process, unless GOGC says it.
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

// ExpectState makes room for a state that is in a snapshot of so many bytes, and for a log behind
// it that is as long: in memory they take about half as much again. Otherwise the collector would
// run at every fifth of it, over what is no garbage.
func ExpectState(bytes int64) {
	if os.Getenv("GOGC") == "" {
		growHeap(uint64(bytes) * 5 / 2)
	}
}

// growHeap lets the heap grow by more bytes besides, until the collector has run once. The
// percentage counts for stacks and globals, too, and for 4 MiB at least (package runtime: "GOGC").
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
