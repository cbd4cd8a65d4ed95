package wal

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"etcd2/wal/disk"
)

// Create makes a new log in dir. It makes the directory if it is missing. The error is os.ErrExist
// if the directory holds a segment. The first segment is written and synced under a temporary name,
// and one last rename makes a log of it (H10). The file of an unfinished Create is overwritten. The
// first segment has the label 0 and holds the preamble.
func Create(dir string, o Options) error {
	o = o.withDefaults()
	if err := create(filepath.Clean(dir), o); err != nil {
		return fmt.Errorf("wal: create: %w", err)
	}
	return nil
}

func create(dir string, o Options) error {
	names, err := o.FS.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := o.FS.Mkdir(dir); err != nil {
			return err
		}
	case err != nil:
		return err
	case slices.ContainsFunc(names, isSegment):
		return fmt.Errorf("%s: %w", dir, os.ErrExist)
	}
	if err := disk.SyncName(o.FS, dir); err != nil { // an earlier process may have made it
		return err
	}
	return createFirst(dir, o)
}

func createFirst(dir string, o Options) error {
	preamble := o.Preamble()
	h := header{size: o.sizeFor(recordsSize(preamble)), number: 1, batch: 1, tag: o.Tag}
	b, salt := h.append(nil)
	b, _ = appendFrame(b, h.first(), salt, preamble)
	f, err := o.FS.Create(filepath.Join(dir, asideName(h.number)))
	if err != nil {
		return err
	}
	if err = f.Allocate(h.size); err == nil {
		err = fill(f, 0, h.size)
	}
	if err == nil {
		err = publish(o.FS, dir, f, h, b)
	}
	if err = cmp.Or(err, f.Close()); err != nil {
		o.FS.Remove(filepath.Join(dir, asideName(h.number))) // a remainder is of no use
	}
	return err
}

// publish writes b at the beginning of a file of zeros, and gives the file its name when all of it
// is durable (H6).
func publish(fs disk.FS, dir string, f disk.File, h header, b []byte) error {
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return disk.Publish(fs, filepath.Join(dir, asideName(h.number)), filepath.Join(dir, h.name()))
}

// sizeFor returns the size of a segment whose first frame has payload bytes.
func (o Options) sizeFor(payload int64) int64 {
	return max(align(min(o.SegmentBytes, maxSize)), headerSize+frameSize(payload)+reserve)
}
