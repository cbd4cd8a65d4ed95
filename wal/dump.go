package wal

import (
	"fmt"
	"path/filepath"
	"slices"

	"etcd2/wal/disk"
)

// Found is what Scan saw of a log, besides its records.
type Found struct {
	Tag      Tag    // whose log it is
	Segments int    // files
	First    uint64 // the lowest label: Open with an earlier From fails
	Torn     Repair // what Open would cut off; the zero value: nothing
}

// Scan visits all records of the log in dir, whoever's it is, from its first
// segment on, and changes nothing. Another process may be writing to it: then Scan sees the
// log as it was at some moment; a torn tail may be a batch that is being written, and damage
// counts only when a second Scan finds it at the same place. The error is os.ErrNotExist
// when there is no such directory, and ErrReleased when the other process has let go of a
// segment that was still to be read. fs nil means the operating system's.
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

// outgrown tells whether a segment that was read as the last one, with an error, is none any more, and sound: then
// the error was that of one who read while it was written to, and what was visited is the log as it was.
func outgrown(fs disk.FS, dir string, last segment) bool {
	segments, err := listSegments(fs, dir)
	i := slices.IndexFunc(segments, func(s segment) bool { return s.number == last.number })
	if err != nil || i < 0 || i+1 == len(segments) {
		return false
	}
	return readClosed(fs, dir, segments[i:i+2], func(string, int64, Record) error { return nil }) == nil
}

// Dump is Scan with an error for a torn tail, which comes behind the last record.
func Dump(dir string, fs disk.FS, visit func(file string, offset int64, r Record) error) error {
	f, err := Scan(dir, fs, visit)
	if torn := f.Torn; err == nil && torn != (Repair{}) {
		err = fmt.Errorf("wal: %s: offset %d: %d bytes of a torn tail: %s", torn.File, torn.Offset, torn.Bytes, torn.Reason)
	}
	return err
}

// Owner returns the tag of the log in dir, for one who is to open it and does
// not know the tag by heart. When there is no such directory, the error is
// os.ErrNotExist. fs nil means the operating system's.
func Owner(dir string, fs disk.FS) (Tag, error) {
	segments, err := listSegments(Options{FS: fs}.withDefaults().FS, filepath.Clean(dir))
	if err != nil {
		return Tag{}, err
	}
	return segments[0].tag, nil
}
