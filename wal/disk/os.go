package disk

import (
	"cmp"
	"errors"
	"os"
)

// OS is the operating system's file system.
type OS struct{}

var _ FS = OS{}

// Open opens a file for reading.
func (OS) Open(name string) (File, error) {
	f, err := os.Open(name)
	return osFile{f}, err
}

// Create makes a file, or empties the one that is there, for reading and writing.
func (OS) Create(name string) (File, error) {
	return openPrivate(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

// OpenRW opens a file that is there for reading and writing.
func (OS) OpenRW(name string) (File, error) { return openPrivate(name, os.O_RDWR) }

// openPrivate opens a file for writing and makes it private.
func openPrivate(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	if err := makePrivate(f, 0o600); err != nil {
		return nil, cmp.Or(err, f.Close())
	}
	return osFile{f}, nil
}

// makePrivate sets the mode of a file or directory that other users can access. Only its owner may
// do that: if this user may write to it but does not own it, the mode stays as it is.
func makePrivate(f *os.File, mode os.FileMode) error {
	info, err := f.Stat()
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	if err := f.Chmod(mode); !errors.Is(err, os.ErrPermission) {
		return err
	}
	return nil
}

// Rename gives a file or a directory another name. A file that has that name already is replaced.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove removes a file.
func (OS) Remove(name string) error { return os.Remove(name) }

// Mkdir makes a directory, or makes an existing one private.
func (OS) Mkdir(name string) error {
	if err := os.Mkdir(name, 0o700); !errors.Is(err, os.ErrExist) {
		return err
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return cmp.Or(makePrivate(d, 0o700), d.Close())
}

// ReadDir returns the names in a directory.
func (OS) ReadDir(name string) ([]string, error) {
	d, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	return names, cmp.Or(err, d.Close())
}

// SyncDir makes the names in a directory durable.
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return cmp.Or(d.Sync(), d.Close())
}

// osFile is an open file of the operating system.
type osFile struct{ *os.File }

func (f osFile) Allocate(size int64) error { return allocate(f.File, size) }

func (f osFile) Sync() error { return datasync(f.File) }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
