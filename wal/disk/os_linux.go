package disk

import (
	"errors"
	"os"
	"syscall"
)

// allocate is fallocate(2), which reserves room on the disk and writes nothing. Where the file
// system does not support it, the file gets its length without the room.
func allocate(f *os.File, size int64) error {
	err := uninterrupted(func() error { return syscall.Fallocate(int(f.Fd()), 0, 0, size) })
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return f.Truncate(size)
	case err != nil:
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}

// datasync is fdatasync(2). It does not sync the times of the file: so when only contents have
// changed, it needs no commit of the file system's journal.
func datasync(f *os.File) error {
	if err := uninterrupted(func() error { return syscall.Fdatasync(int(f.Fd())) }); err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

// uninterrupted repeats a call until no signal interrupts it. An interrupted call has not failed.
func uninterrupted(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR {
			return err
		}
	}
}
