package wal

import (
	"cmp"
	"path/filepath"
	"sync/atomic"

	"etcd2/wal/disk"
)

// spare is the file of the next segment while it is made ready in the background. It has its whole
// length, so that Append does not wait for the file system to look for room.
//
// Where small batches are to come, it is written full of zeros as well: an fdatasync over bytes
// that were written before takes a third to two thirds of one that has to record that they now are.
// For large batches the disk would write twice as much, and little would be gained. How far the
// zeros reach matters to the speed only: what was never written reads as zeros, too.
//
// Its fields belong to the goroutine until done is closed.
type spare struct {
	path string
	file disk.File
	size int64 // of the file in bytes
	err  error
	done chan struct{}
	stop atomic.Bool
}

const (
	// A page of zeros is written at a time. Larger writes leave larger pages in the page cache of
	// Linux, which counts all of such a page as written when a small batch changes a part of it.
	fillPiece = 4 << 10

	fillSync = 256 << 10 // synced at once: one sync of all of it would hold up the log's own
)

var zeros [fillPiece]byte

// prepare begins to make a spare of size bytes, of zeros that are written when fill says so.
func prepare(fs disk.FS, dir string, number uint64, size int64, fill bool) *spare {
	s := &spare{path: filepath.Join(dir, asideName(number)), done: make(chan struct{})}
	go s.run(fs, size, fill)
	return s
}

func (s *spare) run(fs disk.FS, size int64, fill bool) {
	defer close(s.done)
	if s.file, s.err = fs.Create(s.path); s.err != nil {
		return
	}
	if s.err = s.file.Allocate(size); s.err != nil {
		return
	}
	s.size = size
	if s.err = s.file.Sync(); s.err == nil && fill {
		s.err = s.fill()
	}
}

// fill writes zeros until it has to stop.
func (s *spare) fill() error {
	for offset := int64(0); offset < s.size && !s.stop.Load(); offset += fillSync {
		if err := fill(s.file, offset, min(offset+fillSync, s.size)); err != nil {
			return err
		}
		if err := s.file.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// take returns the file and its size, as soon as the zeros that are just being written are.
func (s *spare) take() (disk.File, int64, error) {
	s.stop.Store(true)
	<-s.done
	return s.file, s.size, s.err
}

// discard ends the goroutine and removes the file.
func (s *spare) discard(fs disk.FS) error {
	f, _, err := s.take()
	if f == nil {
		return err
	}
	return cmp.Or(err, f.Close(), fs.Remove(s.path))
}

// fill writes zeros from offset to end.
func fill(f disk.File, offset, end int64) error {
	for offset < end {
		n, err := f.WriteAt(zeros[:min(fillPiece, end-offset)], offset)
		if err != nil {
			return err
		}
		offset += int64(n)
	}
	return nil
}
