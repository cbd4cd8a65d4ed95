package snap

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"etcd2/wal/disk"
)

// aside is a file under a temporary name, which Newest does not look at. A crash at any moment
// leaves either no snapshot or a whole one (E4, E9).
type aside struct {
	d      *Dir
	path   string
	file   disk.File // nil when the file was renamed or removed
	size   int64
	synced int64 // bytes that are durable
	err    error // the first one; nothing is tried again after it (H8)
}

// syncBytes is how many bytes are written between two syncs. One sync for all of a large file would
// hold up the log's syncs on the same disk.
const syncBytes = 1 << 20

// begin makes an empty file under a temporary name.
func (d *Dir) begin() (*aside, error) {
	d.mu.Lock()
	d.asides++
	path := filepath.Join(d.path, fmt.Sprintf("%d%s", d.asides, asideSuffix))
	d.mu.Unlock()
	f, err := d.fs.Create(path)
	if err != nil {
		return nil, err
	}
	return &aside{d: d, path: path, file: f}, nil
}

// write appends p.
func (a *aside) write(p []byte) error {
	if err := a.usable(); err != nil {
		return err
	}
	n, err := a.file.WriteAt(p, a.size)
	a.size += int64(n)
	if err == nil && a.size-a.synced >= syncBytes {
		err = a.file.Sync()
		a.synced = a.size
	}
	a.err = err
	return err
}

// usable returns the first error, or os.ErrClosed when the file was renamed or removed.
func (a *aside) usable() error {
	if a.err == nil && a.file == nil {
		return os.ErrClosed
	}
	return a.err
}

// commit makes the file durable and gives it the name of snapshot index.
func (a *aside) commit(index uint64) error {
	if err := a.usable(); err != nil {
		return err
	}
	if a.err = a.file.Sync(); a.err != nil {
		return a.err
	}
	a.err = a.file.Close()
	a.file = nil
	if a.err == nil {
		a.err = a.rename(index)
	}
	return a.err
}

func (a *aside) rename(index uint64) error {
	if err := a.d.fs.Rename(a.path, a.d.file(index)); err != nil {
		return err
	}
	a.d.setDamaged(index, false)
	return a.d.fs.SyncDir(a.d.path)
}

// abort removes the file, unless commit has renamed it.
func (a *aside) abort() error {
	if a.file == nil {
		return nil
	}
	err := cmp.Or(a.file.Close(), a.d.fs.Remove(a.path))
	a.file = nil
	return err
}
