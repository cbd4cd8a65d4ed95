//go:build !linux

package disk

import "os"

// datasync syncs all of the file where there is no fdatasync.
func datasync(f *os.File) error { return f.Sync() }
