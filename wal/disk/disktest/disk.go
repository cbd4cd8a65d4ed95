package disktest

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"etcd2/wal/disk"
)

// Disk is a disk.FS in memory that knows which changes were synced. At any moment it can be crashed
// into any state that a real disk may have after a power cut, and it can be made to fail at any
// call.
//
//   - Of what was written to a file since its last Sync, a crash may leave all, nothing, a part, or
//     all but single sectors, with zeros or garbage in place of what was lost.
//   - Each name that changed since the last SyncDir may have changed or not.
//   - A Sync that fails leaves its writes in the cache, clean: they are read
//     back but never reach the disk.
//
// The methods of disk.FS, and those of its files, may be called from any goroutine. Everything
// else may be used in After, while the disk stands still, and when nobody else uses the disk.
type Disk struct {
	// Fault, if not nil, is called before every change with its number n, from 1 on. If it returns
	// an error, the change fails.
	Fault func(n int, call, name string) error

	// After, if not nil, is called after every change that did not fail, and the disk stands still
	// meanwhile: the methods of disk.FS would wait for ever.
	After func(d *Disk, call, name string)

	// Calls counts the changes so far, and OpenFiles the files that are open.
	Calls, OpenFiles int

	mu   sync.Mutex // protects Calls, OpenFiles and all inodes against the methods of disk.FS
	root *inode
}

var _ disk.FS = (*Disk)(nil)

// New returns an empty disk.
func New() *Disk { return &Disk{root: newDirectory()} }

// ErrInjected is the error that FailAt makes calls fail with.
var ErrInjected = errors.New("injected fault")

// FailAt returns a Fault that lets only the n-th change fail.
func FailAt(n int) func(int, string, string) error {
	return func(call int, _, _ string) error {
		if call == n {
			return ErrInjected
		}
		return nil
	}
}

// Content returns the bytes of a file as they are read now. Changing them changes the file: that is
// how a test damages it.
func (d *Disk) Content(name string) []byte {
	_, node, _ := d.find(name)
	return node.data
}

// SetContent makes data, which then belongs to the disk, the durable content of a file.
// If there is no such file, it makes one; its directory has to be there.
func (d *Disk) SetContent(name string, data []byte) {
	dir, node, base := d.find(name)
	if node == nil {
		node = &inode{}
		dir.names[base], dir.durableNames[base] = node, node
	}
	*node = inode{data: data, durable: slices.Clone(data)}
}

// find returns the directory of name, and the inode or nil.
func (d *Disk) find(name string) (dir, node *inode, base string) {
	dir, base = d.root, path.Base(name)
	for _, part := range strings.Split(path.Dir(name), "/") {
		if part != "." && dir != nil {
			dir = dir.names[part]
		}
	}
	if name == "." {
		return nil, d.root, base
	}
	if dir == nil {
		return nil, nil, base
	}
	return dir, dir.names[base], base
}

// change runs do as one call that changes the disk.
func (d *Disk) change(call, name string, do func(fault error) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Calls++
	var fault error
	if d.Fault != nil {
		fault = d.Fault(d.Calls, call, name)
	}
	err := do(fault)
	if d.After != nil && err == nil {
		d.After(d, call, name)
	}
	return cmp.Or(fault, err)
}

func missing(call, name string) error {
	return &os.PathError{Op: call, Path: name, Err: os.ErrNotExist}
}

// Open opens a file.
func (d *Disk) Open(name string) (disk.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, node, _ := d.find(name)
	if node == nil || node.names != nil {
		return nil, missing("open", name)
	}
	d.OpenFiles++
	return &handle{d, node, name}, nil
}

// OpenRW opens a file, as Open does: there are no modes.
func (d *Disk) OpenRW(name string) (disk.File, error) { return d.Open(name) }

// Create makes an empty file, in place of the one that is there.
func (d *Disk) Create(name string) (disk.File, error) {
	err := d.change("create", name, func(fault error) error {
		dir, _, base := d.find(name)
		if dir == nil {
			return missing("create", name)
		}
		if fault == nil {
			dir.rename(base, &inode{})
		}
		return fault
	})
	if err != nil {
		return nil, err
	}
	return d.Open(name)
}

// Mkdir makes a directory if it is not there.
func (d *Disk) Mkdir(name string) error {
	return d.change("mkdir", name, func(fault error) error {
		dir, node, base := d.find(name)
		if fault == nil && node == nil {
			dir.rename(base, newDirectory())
		}
		return fault
	})
}

// Rename changes two names: a crash may lose either change.
func (d *Disk) Rename(from, to string) error {
	return d.change("rename", to, func(fault error) error {
		fromDir, node, fromBase := d.find(from)
		toDir, _, toBase := d.find(to)
		if node == nil || toDir == nil {
			return missing("rename", from)
		}
		if fault == nil {
			toDir.rename(toBase, node)
			fromDir.rename(fromBase, nil)
		}
		return fault
	})
}

// Remove removes a name.
func (d *Disk) Remove(name string) error {
	return d.change("remove", name, func(fault error) error {
		dir, node, base := d.find(name)
		if node == nil {
			return missing("remove", name)
		}
		if fault == nil {
			dir.rename(base, nil)
		}
		return fault
	})
}

// ReadDir returns the names in a directory.
func (d *Disk) ReadDir(name string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, node, _ := d.find(name)
	if node == nil || node.names == nil {
		return nil, missing("readdir", name)
	}
	return slices.Collect(maps.Keys(node.names)), nil
}

// SyncDir makes the names in a directory durable. If it fails, they stay unsynced: a file system
// whose journal has failed makes nothing durable any more, so no later SyncDir falsely succeeds.
func (d *Disk) SyncDir(name string) error {
	return d.change("syncdir", name, func(fault error) error {
		_, node, _ := d.find(name)
		if node == nil {
			return missing("syncdir", name)
		}
		if fault == nil {
			node.durableNames = maps.Clone(node.names)
			node.renamed = nil
		}
		return fault
	})
}

// handle is an open file.
type handle struct {
	d    *Disk
	node *inode
	name string
}

func (h *handle) ReadAt(p []byte, offset int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if offset >= int64(len(h.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.node.data[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes p at offset. If it fails, it has written the first half.
func (h *handle) WriteAt(p []byte, offset int64) (n int, err error) {
	err = h.d.change("write", h.name, func(fault error) error {
		n = len(p)
		if fault != nil {
			n /= 2
		}
		h.node.write(int(offset), slices.Clone(p[:n]))
		return fault
	})
	return n, err
}

// Allocate writes zeros at the end of the file: a crash may leave all, some or none of them. If it
// fails, it has changed nothing.
func (h *handle) Allocate(size int64) error {
	return h.d.change("allocate", h.name, func(fault error) error {
		if more := int(size) - len(h.node.data); fault == nil && more > 0 {
			h.node.write(len(h.node.data), make([]byte, more))
		}
		return fault
	})
}

func (h *handle) Sync() error {
	return h.d.change("sync", h.name, func(fault error) error {
		if fault == nil {
			for _, w := range h.node.written {
				h.node.durable = w.apply(h.node.durable)
			}
		}
		h.node.written = nil
		return fault
	})
}

func (h *handle) Size() (int64, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return int64(len(h.node.data)), nil
}

func (h *handle) Close() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.d.OpenFiles--
	return nil
}
