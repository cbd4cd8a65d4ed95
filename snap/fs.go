package snap

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// FS is the file system as this package needs it, so that a test can put a
// faulty or a recording one in its place. FS and File are aliases of interface
// literals, written alike in packages wal and snap, so that one type serves both.
type FS = interface {
	Open(name string) (File, error)        // for reading
	Create(name string) (File, error)      // for writing, truncated, mode 0600
	OpenRW(name string) (File, error)      // an existing file, for reading and writing; mode 0600 from now on
	Rename(from, to string) error          // of a file or a directory
	Remove(name string) error              // of a file
	Mkdir(name string) error               // mode 0700, also when it is there already
	ReadDir(name string) ([]string, error) // the names in it, in any order
	SyncDir(name string) error             // makes the names in it durable
}

// File is an open file of an FS.
type File = interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error // fdatasync: contents and length
	Size() (int64, error)
}

// osFS is the operating system's file system.
type osFS struct{}

func (osFS) Open(name string) (File, error) {
	f, err := os.Open(name)
	return osFile{f}, err
}

func (osFS) Create(name string) (File, error) {
	return openPrivate(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (osFS) OpenRW(name string) (File, error) { return openPrivate(name, os.O_RDWR) }

// openPrivate opens a file for writing and takes it from everybody else's eyes,
// whatever its mode was before.
func openPrivate(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(0o600); err != nil {
		return nil, cmp.Or(err, f.Close())
	}
	return osFile{f}, nil
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(name string) error     { return os.Remove(name) }

func (osFS) Mkdir(name string) error {
	if err := os.Mkdir(name, 0o700); !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.Chmod(filepath.Clean(name), 0o700)
}

func (osFS) ReadDir(name string) ([]string, error) {
	d, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	return names, cmp.Or(err, d.Close())
}

func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return cmp.Or(d.Sync(), d.Close())
}

// osFile is an open file of the operating system.
type osFile struct{ *os.File }

func (f osFile) Sync() error { return datasync(f.File) }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
