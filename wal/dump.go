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

// Found is what Scan found in a log besides its records.
type Found struct {
	Tag      Tag    // the owner of the log
	Segments int    // number of segment files
	First    uint64 // the lowest label: Open with an earlier From fails
	Torn     Repair // the torn tail that Open would cut off; the zero value: none
}

// Scan visits all records of the log in dir, of any owner, from its first segment on. It changes
// nothing. Another process may be writing to the log: then Scan sees the log as of some moment, a
// torn tail may be a batch that is being written, and damage is proven only when a second Scan
// finds it at the same place. The error is os.ErrNotExist when there is no log, and ErrReleased
// when the other process has released a segment that Scan had yet to read. fs nil means the
// operating system's.
func Scan(dir string, fs disk.FS, visit func(file string, offset int64, r Record) error) (f Found, err error) {
	fs, dir = Options{FS: fs}.withDefaults().FS, filepath.Clean(dir)
	segments, err := listSegments(fs, dir)
	if err != nil {
		return f, err
	}
	f.Tag, f.Segments, f.First = segments[0].tag, len(segments), segments[0].label
	for _, s := range segments {
		f.First = min(f.First, s.label)
	}
	if err := readClosed(fs, dir, segments, visit); err != nil {
		return f, err
	}
	last := segments[len(segments)-1]
	err = withSegment(fs, dir, last, last.first(), last.size, func(c *cursor) (err error) {
		f.Torn, err = c.tail(visit)
		return err
	})
	if err != nil && outgrown(fs, dir, last) {
		f.Torn, err = Repair{}, nil
	}
	return f, err
}

// outgrown reports whether last, which was read with an error, is not the last segment any more,
// and is sound. Then the error came from reading it while it was written to, and the records
// visited are the log as of that moment.
func outgrown(fs disk.FS, dir string, last segment) bool {
	segments, err := listSegments(fs, dir)
	i := slices.IndexFunc(segments, func(s segment) bool { return s.number == last.number })
	if err != nil || i < 0 || i+1 == len(segments) {
		return false
	}
	return readClosed(fs, dir, segments[i:i+2], func(string, int64, Record) error { return nil }) == nil
}

// Dump is Scan, but a torn tail is an error, returned after the last record was visited.
func Dump(dir string, fs disk.FS, visit func(file string, offset int64, r Record) error) error {
	f, err := Scan(dir, fs, visit)
	if torn := f.Torn; err == nil && torn != (Repair{}) {
		err = fmt.Errorf("wal: %s: offset %d: %d bytes of a torn tail: %s", torn.File, torn.Offset,
			torn.Bytes, torn.Reason)
	}
	return err
}

// Head returns the tag of the log in dir and the first records of its last segment, which begin
// with the preamble. It changes nothing. When there is no log, the error is os.ErrNotExist. fs nil
// means the operating system's.
func Head(dir string, fs disk.FS) (tag Tag, recs []Record, err error) {
	fs, dir = Options{FS: fs}.withDefaults().FS, filepath.Clean(dir)
	segments, err := listSegments(fs, dir)
	if err != nil {
		return tag, nil, err
	}
	last := segments[len(segments)-1]
	err = withSegment(fs, dir, last, last.first(), last.size, func(c *cursor) (err error) {
		recs, err = c.batch()
		return err
	})
	return last.tag, recs, err
}

// Remove removes all files of the log in dir, and leaves the directory and other files in it. A
// crash meanwhile leaves a log that Open refuses, or none.
func Remove(dir string, fs disk.FS) error {
	names, err := fs.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	slices.Sort(names)
	for _, name := range slices.DeleteFunc(names, func(name string) bool { return !Owns(name) }) {
		err = cmp.Or(err, fs.Remove(filepath.Join(dir, name)))
	}
	return err
}
