package disk

import (
	"errors"
	"os"
	"syscall"
)

// allocate is fallocate(2), which sets room on the disk aside and writes nothing. Where the file
// system has no such thing, the file gets its length without the room.
func allocate(f *os.File, size int64) error {
	err := again(func() error { return syscall.Fallocate(int(f.Fd()), 0, 0, size) })
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return f.Truncate(size)
	case err != nil:
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}

// datasync is fdatasync(2): it leaves out the times of the file, and with them
// a commit of the file system's journal whenever only contents have changed.
func datasync(f *os.File) error {
	if err := again(func() error { return syscall.Fdatasync(int(f.Fd())) }); err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

// again makes a call until nothing interrupts it: an interrupted one has not failed.
func again(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR {
			return err
		}
	}
}
