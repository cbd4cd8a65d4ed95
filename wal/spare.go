package wal

import (
	"cmp"
	"path/filepath"
	"sync/atomic"

	"etcd2/wal/disk"
)

// spare is the file of the next segment while it is prepared in the background. It gets its whole
// length, so that Append does not wait for the file system to find room.
//
// When batches are small, it is also filled with zeros: an fdatasync over bytes that were written
// before takes a third to two thirds of the time of one that must record that they were written.
// For large batches the disk would write twice as much and little would be gained. How far the
// zeros reach matters only to the speed: bytes that were never written read as zeros as well.
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
	// Zeros are written by the page. Larger writes leave larger pages in the page cache of Linux,
	// and when a small batch changes a part of a page, the whole page is written.
	fillPiece = 4 << 10

	fillSync = 256 << 10 // bytes between two syncs: one sync of all would hold up the log's own
)

var zeros [fillPiece]byte

// prepare begins to make a spare of size bytes. fill says whether zeros are written.
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

// fill writes zeros, to the end of the file or until stop is set.
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

// finish stops the filling, waits for the goroutine to end, and returns the file and its size.
func (s *spare) finish() (disk.File, int64, error) {
	s.stop.Store(true)
	<-s.done
	return s.file, s.size, s.err
}

// discard ends the goroutine and removes the file.
func (s *spare) discard(fs disk.FS) error {
	f, _, err := s.finish()
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
