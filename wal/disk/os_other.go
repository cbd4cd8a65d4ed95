//go:build !linux

package disk

import "os"

// allocate gives the file its length, and no room on the disk.
func allocate(f *os.File, size int64) error { return f.Truncate(size) }

// datasync syncs all of the file where there is no fdatasync.
func datasync(f *os.File) error { return f.Sync() }
