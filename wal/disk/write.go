package disk

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
)

// Publish gives a file or a directory that is complete and synced its name, for good: when it
// returns nil, a crash does not take the name away. Whoever finds the name finds all of it.
func Publish(fs FS, from, to string) error {
	if err := fs.Rename(from, to); err != nil {
		return err
	}
	return fs.SyncDir(filepath.Dir(to))
}

// SyncName makes the name of a directory durable. Where the directory above it may not be read, it
// was somebody else that made the name, and there is nothing to do.
func SyncName(fs FS, dir string) error {
	if err := fs.SyncDir(filepath.Dir(filepath.Clean(dir))); !errors.Is(err, os.ErrPermission) {
		return err
	}
	return nil
}

// WriteFile gives a small file a content, in place of the one that it has: a crash leaves the one
// or the other, whole. One caller at a time may write a file.
func WriteFile(fs FS, path string, content []byte) error {
	aside := path + ".tmp"
	err := writeAside(fs, aside, content)
	if err == nil {
		err = Publish(fs, aside, path)
	}
	if err != nil {
		fs.Remove(aside) // what is left is of no use
	}
	return err
}

func writeAside(fs FS, path string, content []byte) error {
	f, err := fs.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	return cmp.Or(err, f.Sync(), f.Close())
}
