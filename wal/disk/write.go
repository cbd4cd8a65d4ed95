package disk

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
)

// Publish gives a file or a directory that is complete and synced its name. When it returns nil,
// the name survives a crash.
func Publish(fs FS, from, to string) error {
	if err := fs.Rename(from, to); err != nil {
		return err
	}
	return fs.SyncDir(filepath.Dir(to))
}

// SyncName makes the name of a directory durable. If this process may not read the directory above,
// it did not make the name: then SyncName does nothing.
func SyncName(fs FS, dir string) error {
	if err := fs.SyncDir(filepath.Dir(filepath.Clean(dir))); !errors.Is(err, os.ErrPermission) {
		return err
	}
	return nil
}

// WriteFile replaces the content of a small file, or makes the file. A crash leaves the old content
// or the new one. Only one caller at a time may write a file.
func WriteFile(fs FS, path string, content []byte) error {
	aside := path + ".tmp"
	err := writeAside(fs, aside, content)
	if err == nil {
		err = Publish(fs, aside, path)
	}
	if err != nil {
		fs.Remove(aside) // a remainder is of no use
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
