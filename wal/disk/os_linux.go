package disk

import (
	"os"
	"syscall"
)

// datasync is fdatasync(2): it leaves out the times of the file, and with them
// a commit of the file system's journal whenever only contents have changed.
// An interrupted call has not failed and is made again, as os.File.Sync does.
func datasync(f *os.File) error {
	for {
		switch err := syscall.Fdatasync(int(f.Fd())); err {
		case nil:
			return nil
		case syscall.EINTR:
		default:
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}
