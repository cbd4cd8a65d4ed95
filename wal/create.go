package wal

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"etcd2/wal/disk"
)

// Create makes a new log in dir, which must not exist: everything is written
// aside, synced, and one last rename makes it a log (H10). What an unfinished
// Create has left aside is overwritten. The first segment has the label 0 and
// holds the preamble.
func Create(dir string, o Options) error {
	o = o.withDefaults()
	if err := create(filepath.Clean(dir), o); err != nil {
		return fmt.Errorf("wal: create: %w", err)
	}
	return nil
}

func create(dir string, o Options) error {
	_, err := o.FS.ReadDir(dir)
	if err == nil {
		return fmt.Errorf("%s: %w", dir, os.ErrExist)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	aside := dir + asideSuffix
	if err := o.FS.Mkdir(aside); err != nil {
		return err
	}
	if err := createFirst(aside, o); err != nil {
		return err
	}
	return disk.Publish(o.FS, aside, dir)
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
	err = fill(f, 0, h.size)
	if err == nil {
		err = publish(o.FS, dir, f, h, b)
	}
	return cmp.Or(err, f.Close())
}

// publish writes b at the beginning of a file that is full of zeros, and gives
// the file its name when all of it is durable (H6).
func publish(fs disk.FS, dir string, f disk.File, h header, b []byte) error {
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return disk.Publish(fs, filepath.Join(dir, asideName(h.number)), filepath.Join(dir, h.name()))
}

// sizeFor is the size of a segment whose first frame has payload bytes.
func (o Options) sizeFor(payload int64) int64 {
	return max(align(min(o.SegmentBytes, maxSize)), headerSize+frameSize(payload)+reserve)
}
