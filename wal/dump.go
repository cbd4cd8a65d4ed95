package wal

import (
	"fmt"
	"path/filepath"

	"etcd2/wal/disk"
)

// Dump visits all records of the log in dir, whoever's it is, from its first
// segment on, and changes nothing. A torn tail, which may also be a batch that
// is being written this moment, gives an error behind the last record. fs nil
// means the operating system's.
func Dump(dir string, fs disk.FS, visit func(file string, offset int64, r Record) error) error {
	fs, dir = Options{FS: fs}.withDefaults().FS, filepath.Clean(dir)
	segments, err := listSegments(fs, dir)
	if err != nil {
		return err
	}
	if err := readClosed(fs, dir, segments, visit); err != nil {
		return err
	}
	last := segments[len(segments)-1]
	return withSegment(fs, dir, last, last.first(), last.size, func(c *cursor) error {
		torn, err := c.tail(visit)
		if err == nil && torn != (Repair{}) {
			err = fmt.Errorf("wal: %s: offset %d: %d bytes of a torn tail: %s", torn.File, torn.Offset, torn.Bytes, torn.Reason)
		}
		return err
	})
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
