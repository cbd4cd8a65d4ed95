package wal

import (
	"fmt"
	"path/filepath"
	"testing"

	"etcd2/wal/disk"
)

func BenchmarkAppend(b *testing.B) {
	for _, synced := range []bool{true, false} {
		for _, n := range []int{1, 64, 256} {
			b.Run(fmt.Sprintf("records=%d/sync=%t", n, synced), func(b *testing.B) {
				o := Options{}
				if !synced {
					o.FS = unsynced{}
				}
				benchmarkAppend(b, o, n, 300)
			})
		}
	}
}

// How many bytes are written to the disk for each byte of a batch: 1 for large batches, 2 for small
// ones.
func BenchmarkWritten(b *testing.B) {
	for _, size := range []int{300, 20_000, 800_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c := &counted{FS: unsynced{}}
			benchmarkAppend(b, Options{FS: c}, 1, size)
			b.ReportMetric(float64(c.written()-DefaultSegmentBytes)/float64(b.N*size), "B/B")
		})
	}
}

func benchmarkAppend(b *testing.B, o Options, n, size int) {
	dir := filepath.Join(b.TempDir(), "wal")
	if err := Create(dir, o); err != nil {
		b.Fatal(err)
	}
	l, _, err := Open(dir, o, nil)
	if err != nil {
		b.Fatal(err)
	}
	recs := make([]Record, n)
	for i := range recs {
		recs[i] = Record{1, make([]byte, size)}
	}
	b.SetBytes(int64(n * size))
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Append(1, recs); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if err := l.Release(1<<63, 0); err != nil {
		b.Fatal(err)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

// unsynced is the operating system's file system with a Sync that does nothing.
type unsynced struct{ disk.OS }

func (fs unsynced) Create(name string) (disk.File, error) {
	f, err := fs.OS.Create(name)
	return unsyncedFile{f}, err
}

func (fs unsynced) OpenRW(name string) (disk.File, error) {
	f, err := fs.OS.OpenRW(name)
	return unsyncedFile{f}, err
}

type unsyncedFile struct{ disk.File }

func (unsyncedFile) Sync() error { return nil }

func BenchmarkOpen(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "wal")
	if err := Create(dir, Options{}); err != nil {
		b.Fatal(err)
	}
	l, _, err := Open(dir, Options{FS: unsynced{}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	recs := make([]Record, 4)
	for i := range recs {
		recs[i] = Record{1, make([]byte, 300)}
	}
	total := int64(0)
	for ; total < 64<<20; total += 1200 {
		if err := l.Append(1, recs); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(total)
	b.ReportAllocs()
	for b.Loop() {
		l, _, err := Open(dir, Options{}, func(Record) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
}
