package disk

import (
	"cmp"
	"path/filepath"
)

// Publish gives a file or a directory that is complete and synced its name, for good: when it returns nil, a crash does not take the name
// away. Whoever finds the name finds all of it.
func Publish(fs FS, from, to string) error {
	if err := fs.Rename(from, to); err != nil {
		return err
	}
	return fs.SyncDir(filepath.Dir(to))
}

// WriteFile gives a small file a content, in place of the one that it has: a crash leaves the one or the other, whole. One caller
// at a time may write a file.
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
