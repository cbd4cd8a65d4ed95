package wal

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is the error of every method after Close.
	ErrClosed = errors.New("wal: the log is closed")
	// ErrReleased says that records were asked for that have been released.
	ErrReleased = errors.New("wal: these records have been released")
	// ErrForeign says that a file is named like a segment, but begins neither like one nor with
	// zeros.
	ErrForeign = errors.New("wal: the file was not written by this program")
)

// Damage is the error of a log that does not hold what was written to it. It is never repaired: the
// damaged batch may have been acknowledged (H14).
type Damage struct {
	File   string
	Offset int64 // in File, of what can't be read
	Reason string
}

// Error names the place, the reason and the remedy, in one line.
func (d *Damage) Error() string {
	return fmt.Sprintf("wal: %s: offset %d: %s: the log is damaged and not repaired; "+
		"restore it from a backup, or remove this member from the cluster and add it anew; "+
		"with neither a backup nor another member, etcdctl salvage makes a new cluster of what is whole",
		d.File, d.Offset, d.Reason)
}
