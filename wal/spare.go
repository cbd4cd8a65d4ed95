package wal

import (
	"cmp"
	"path/filepath"
	"sync/atomic"

	"etcd2/wal/disk"
)

// spare is the file of the next segment while it is made ready: written full
// of zeros in the background, so that a rotation finds it ready and Append
// never waits for the file system to allocate. (An fdatasync over zeros that
// were written costs two thirds of one that has to record an allocation.)
// Its fields belong to the goroutine until done is closed.
type spare struct {
	path string
	file disk.File
	size int64 // bytes of zeros in it
	err  error
	done chan struct{}
	stop atomic.Bool
}

const fillPiece = 256 << 10 // bytes written at once, and synced at once, of a new segment

var zeros [fillPiece]byte

// prepare begins to make a spare of size bytes.
func prepare(fs disk.FS, dir string, number uint64, size int64) *spare {
	s := &spare{path: filepath.Join(dir, asideName(number)), done: make(chan struct{})}
	go s.run(fs, size)
	return s
}

// run writes and syncs piece after piece: one sync of all of it would hold up
// the log's own.
func (s *spare) run(fs disk.FS, size int64) {
	defer close(s.done)
	if s.file, s.err = fs.Create(s.path); s.err != nil {
		return
	}
	for s.size < size && !s.stop.Load() {
		end := min(s.size+fillPiece, size)
		if s.err = fill(s.file, s.size, end); s.err != nil {
			return
		}
		if s.err = s.file.Sync(); s.err != nil {
			return
		}
		s.size = end
	}
}

// take waits until the spare is ready and returns its file.
func (s *spare) take() (disk.File, int64, error) {
	<-s.done
	return s.file, s.size, s.err
}

// discard ends the goroutine and removes the file.
func (s *spare) discard(fs disk.FS) error {
	s.stop.Store(true)
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
