package disk

import "io"

// FS is a file system. An error names the operation and the file, and wraps the errors of package
// os, such as os.ErrNotExist. The methods may be called from any goroutine.
type FS interface {
	Open(name string) (File, error)   // for reading
	Create(name string) (File, error) // for writing, truncated, mode 0600
	// an existing file, for reading and writing; mode 0600 from now on, if it is this user's
	OpenRW(name string) (File, error)
	Rename(from, to string) error          // of a file or a directory
	Remove(name string) error              // of a file
	Mkdir(name string) error               // mode 0700, also when it is there already and this user's
	ReadDir(name string) ([]string, error) // the names in it, in any order
	SyncDir(name string) error             // makes the names in it durable
}

// File is an open file of an FS. The caller that opened it must close it, once. Its other methods
// may be called from any goroutine.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Allocate(size int64) error // makes the file longer, up to size bytes, with zeros that have room on the disk
	Sync() error               // fdatasync: contents and length
	Size() (int64, error)      // in bytes
}
