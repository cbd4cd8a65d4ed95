package wal

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"etcd2/wal/disk"
	"etcd2/wal/disk/disktest"
)

// counted is a file system that counts the bytes written to it.
type counted struct {
	disk.FS
	mu     sync.Mutex // protects the rest
	frames int        // bytes
	zeros  []int      // bytes of each write of only zeros
}

func (c *counted) written() (n int) {
	for _, zeros := range c.zeros {
		n += zeros
	}
	return n + c.frames
}

func (c *counted) Create(name string) (disk.File, error) {
	f, err := c.FS.Create(name)
	return countedFile{f, c}, err
}

func (c *counted) OpenRW(name string) (disk.File, error) {
	f, err := c.FS.OpenRW(name)
	return countedFile{f, c}, err
}

type countedFile struct {
	disk.File
	c *counted
}

func (f countedFile) WriteAt(b []byte, offset int64) (int, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) {
		f.c.frames += len(b)
	} else {
		f.c.zeros = append(f.c.zeros, len(b))
	}
	return f.File.WriteAt(b, offset)
}

// Each byte of a large batch is written to the disk once. Small batches overwrite zeros, which were
// written ahead a page at a time: see fillPiece.
func TestZerosAreWrittenAheadOfSmallBatchesAndOfNoLargeOnes(t *testing.T) {
	for size, ahead := range map[int]bool{10_000: true, 100_000: false} {
		const segment = 1 << 20
		c := &counted{FS: disktest.New()}
		l := testLog(t, c, Options{SegmentBytes: segment})
		c.zeros = nil // of the first segment, made before the size of batches is known

		appendMany(t, l, 3*segment/size, size)
		closeLog(t, l)

		zeros := c.written() - c.frames
		if zeros > 0 && slices.Max(c.zeros) > 4096 {
			t.Errorf("%d zeros were written at once", slices.Max(c.zeros))
		}
		if made := len(l.segments) - 1; made < 2 || ahead != (zeros >= made*segment) || ahead != (zeros > 0) {
			t.Errorf("batches of %d bytes: %d bytes of batches and %d zeros in %d segments", size,
				c.frames, zeros, made)
		}
	}
}

// A spare may be needed before all of its zeros were written. Batches that are written behind the
// zeros survive a crash like those that overwrite zeros.
//
// pitfall H1
func TestWhatIsWrittenBehindTheZerosSurvives(t *testing.T) {
	const segment = 2 * fillSync
	d := disktest.New()
	l := testLog(t, d, Options{SegmentBytes: segment})
	s := &spare{path: "wal/" + asideName(2), done: make(chan struct{})}
	filled := 0
	d.After = func(_ *disktest.Disk, call, _ string) {
		if call == "write" {
			filled += fillPiece
			s.stop.Store(true)
		}
	}
	s.run(d, segment, true)
	l.spare = s
	var acknowledged atomic.Int64
	d.After = func(d *disktest.Disk, call, name string) {
		for _, f := range some(rand.New(rand.NewPCG(1, 0)), d.Fates(rand.New(rand.NewPCG(2, 0))), 8) {
			texts, _, err := replayed(d.Crash(f), 0)
			acked := int(acknowledged.Load())
			if n := len(texts); err != nil || n < acked || n > acked+1 {
				t.Errorf("%s %s, %v: %d of %d batches, %v", call, name, f, n, acked, err)
			}
		}
	}

	for range 6 { // the third one is the first of a segment, the fourth goes beyond its zeros
		if err := l.Append(1, []Record{{1, make([]byte, 3*fillSync/4)}}); err != nil {
			t.Fatal(err)
		}
		acknowledged.Add(1)
	}

	if filled != fillSync || len(l.segments) != 3 {
		t.Errorf("%d zeros were written, and %d segments", filled, len(l.segments))
	}
}
