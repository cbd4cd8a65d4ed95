package snap

import "io"

// FS is the file system as this package needs it, so that a test can put a
// faulty or a recording one in its place. FS and File are aliases of interface
// literals, written alike in package wal, so that one type serves both.
type FS = interface {
	Open(name string) (File, error)   // for reading
	Create(name string) (File, error) // for writing, truncated, mode 0600
	OpenRW(name string) (File, error) // an existing file, for reading and writing
	Rename(from, to string) error
	Remove(name string) error
	Mkdir(name string) error // mode 0700
	ReadDir(name string) ([]string, error)
	SyncDir(name string) error
}

// File is an open file of an FS.
type File = interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error // fdatasync: contents and length
	Truncate(size int64) error
	Size() (int64, error)
}
