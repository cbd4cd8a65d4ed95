package snap

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
)

// disk is a file system in memory that knows what of it has been synced. It can
// be crashed at any moment into any state that a real one may be in after a power
// cut, and be made to fail at any call.
//
//   - What was written since the last Sync of a file may be there or not: all, none,
//     a part, single sectors missing, zeros or garbage in place of what was lost.
//   - Names that changed since the last SyncDir may have changed or not, each alone.
//   - A Sync that fails leaves its writes in the cache, clean: they are read
//     back but never reach the disk (H8).
type disk struct {
	mu    sync.Mutex // protects everything below
	root  *inode
	calls int                                  // changes so far
	fault func(n int, call, name string) error // asked before the n-th change, from 1; may be nil
	after func(d *disk, call, name string)     // called after every change, with mu held; may be nil
	open  int                                  // files that are open
}

// inode is a file or a directory: as it is seen now, as it is on disk, and the
// changes between.
type inode struct {
	names        map[string]*inode // of a directory; nil for a file
	durableNames map[string]*inode
	renamed      []rename

	data    []byte
	durable []byte
	written []write
}

// rename is the change of one name; node is nil when the name went away.
type rename struct {
	name string
	node *inode
}

type write struct {
	offset int
	data   []byte
}

const sector = 512

var errInjected = errors.New("injected fault")

func newDisk() *disk { return &disk{root: newDirectory()} }

func newDirectory() *inode {
	return &inode{names: map[string]*inode{}, durableNames: map[string]*inode{}}
}

// find returns the directory of name, and the inode or nil.
func (d *disk) find(name string) (dir, node *inode, base string) {
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

func (n *inode) rename(name string, node *inode) {
	if node == nil {
		delete(n.names, name)
	} else {
		n.names[name] = node
	}
	n.renamed = append(n.renamed, rename{name, node})
}

// change runs do as one call that changes the disk.
func (d *disk) change(call, name string, do func(fault error) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	var fault error
	if d.fault != nil {
		fault = d.fault(d.calls, call, name)
	}
	err := do(fault)
	if d.after != nil && err == nil {
		d.after(d, call, name)
	}
	return cmp.Or(fault, err)
}

func missing(call, name string) error {
	return &os.PathError{Op: call, Path: name, Err: os.ErrNotExist}
}

func (d *disk) Open(name string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, node, _ := d.find(name)
	if node == nil || node.names != nil {
		return nil, missing("open", name)
	}
	d.open++
	return &handle{d, node, name}, nil
}

func (d *disk) OpenRW(name string) (File, error) { return d.Open(name) }

func (d *disk) Create(name string) (File, error) {
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

func (d *disk) Mkdir(name string) error {
	return d.change("mkdir", name, func(fault error) error {
		dir, node, base := d.find(name)
		if fault == nil && node == nil {
			dir.rename(base, newDirectory())
		}
		return fault
	})
}

func (d *disk) Rename(from, to string) error {
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

func (d *disk) Remove(name string) error {
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

func (d *disk) ReadDir(name string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, node, _ := d.find(name)
	if node == nil || node.names == nil {
		return nil, missing("readdir", name)
	}
	return slices.Collect(maps.Keys(node.names)), nil
}

// SyncDir that fails leaves the names unsynced: a file system whose journal fails
// makes nothing durable after it, so no later SyncDir can seem to succeed.
func (d *disk) SyncDir(name string) error {
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
	d    *disk
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

// WriteAt that fails has written the first half.
func (h *handle) WriteAt(p []byte, offset int64) (n int, err error) {
	err = h.d.change("write", h.name, func(fault error) error {
		n = len(p)
		if fault != nil {
			n /= 2
		}
		w := write{int(offset), slices.Clone(p[:n])}
		h.node.data = w.apply(h.node.data)
		h.node.written = append(h.node.written, w)
		return fault
	})
	return n, err
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
	h.d.open--
	return nil
}

// apply returns data with w in it. data is written to.
func (w write) apply(data []byte) []byte {
	if end := w.offset + len(w.data); end > len(data) {
		data = append(data, make([]byte, end-len(data))...)
	}
	copy(data[w.offset:], w.data)
	return data
}

// fate decides what becomes of what was not synced when the disk crashes.
type fate struct {
	name  func() bool                      // asked for every changed name: does the change survive?
	write func(old []byte, w write) []byte // returns what is there of a write over old; old is its own copy
	what  string
	at    int // of what
}

// kill returns the disk as the next process finds it when this one is killed now:
// everything is there, and what was not synced still is not. d.mu must be held.
func (d *disk) kill() *disk {
	copies := map[*inode]*inode{nil: nil}
	var clone func(n *inode) *inode
	clone = func(n *inode) *inode {
		if c, ok := copies[n]; ok {
			return c
		}
		c := &inode{data: slices.Clone(n.data), durable: slices.Clone(n.durable), written: slices.Clone(n.written)}
		copies[n] = c
		if n.names != nil {
			c.names, c.durableNames = maps.Clone(n.names), maps.Clone(n.durableNames)
		}
		for name := range c.names {
			c.names[name] = clone(c.names[name])
		}
		for name := range c.durableNames {
			c.durableNames[name] = clone(c.durableNames[name])
		}
		for _, r := range n.renamed {
			c.renamed = append(c.renamed, rename{r.name, clone(r.node)})
		}
		return c
	}
	return &disk{root: clone(d.root)}
}

// crash returns the disk as it comes up after a power cut now. d.mu must be held.
func (d *disk) crash(f fate) *disk {
	copies := map[*inode]*inode{}
	var clone func(n *inode) *inode
	clone = func(n *inode) *inode {
		if c, ok := copies[n]; ok {
			return c
		}
		c := &inode{}
		copies[n] = c
		if n.names == nil {
			data := slices.Clone(n.durable)
			for _, w := range n.written {
				data = f.write(data, w)
			}
			c.data, c.durable = data, slices.Clone(data)
			return c
		}
		names := maps.Clone(n.durableNames)
		for _, r := range n.renamed {
			if f.name() {
				names[r.name] = r.node
			}
		}
		c.names = map[string]*inode{}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if names[name] != nil {
				c.names[name] = clone(names[name])
			}
		}
		c.durableNames = maps.Clone(c.names)
		return c
	}
	return &disk{root: clone(d.root)}
}

// unsynced returns the writes and the number of names that a crash may lose.
func (d *disk) unsynced() (writes []write, names int) {
	seen := map[*inode]bool{}
	var walk func(n *inode)
	walk = func(n *inode) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		writes = append(writes, n.written...)
		names += len(n.renamed)
		for _, name := range slices.Sorted(maps.Keys(n.names)) {
			walk(n.names[name])
		}
		for _, r := range n.renamed {
			walk(r.node)
		}
	}
	walk(d.root)
	return writes, names
}

// fates returns the ways in which a crash now may end: all of them that
// concern one write or up to ten names, and some of the rest.
// d.mu must be held.
func (d *disk) fates(rng *rand.Rand) []fate {
	writes, names := d.unsynced()
	fates := []fate{
		{all, keepWrite, "all", 0},
		{none, loseWrite, "none", 0},
		{all, loseWrite, "names, no bytes", 0},
		{none, keepWrite, "bytes, no names", 0},
		{coin(rng), tearWrite(rng), "at random", 0},
	}
	if names <= 10 {
		for mask := range 1 << names {
			fates = append(fates,
				fate{masked(mask), keepWrite, "names", mask},
				fate{masked(mask), tearWrite(rng), "bytes at random, names", mask})
		}
	}
	if len(writes) == 0 {
		return fates
	}
	last := writes[len(writes)-1]
	for n := 0; n < len(last.data); n += 1 + len(last.data)/4096 {
		fates = append(fates, fate{all, keepPrefix(last, n), "prefix", n})
	}
	for at := last.offset / sector; at*sector < last.offset+len(last.data); at++ {
		for _, in := range []string{"old bytes", "zeros", "garbage"} {
			fates = append(fates, fate{all, loseSector(last, at, in, rng), in + " in sector", at})
		}
	}
	for range 8 {
		fates = append(fates, fate{all, tearWrite(rng), "sectors at random", 0})
	}
	return fates
}

func all() bool  { return true }
func none() bool { return false }

func coin(rng *rand.Rand) func() bool { return func() bool { return rng.IntN(2) == 0 } }

func masked(mask int) func() bool {
	return func() bool {
		keep := mask&1 != 0
		mask >>= 1
		return keep
	}
}

func keepWrite(old []byte, w write) []byte { return w.apply(old) }
func loseWrite(old []byte, _ write) []byte { return old }

// keepPrefix keeps n bytes of the last write, and all of those before it.
func keepPrefix(last write, n int) func([]byte, write) []byte {
	return func(old []byte, w write) []byte {
		if &w.data[0] == &last.data[0] {
			w.data = w.data[:n]
		}
		return w.apply(old)
	}
}

// loseSector loses one sector of the last write.
func loseSector(last write, at int, in string, rng *rand.Rand) func([]byte, write) []byte {
	return func(old []byte, w write) []byte {
		if &w.data[0] != &last.data[0] {
			return w.apply(old)
		}
		return w.lose(old, rng, func(sector int) string {
			if sector == at {
				return in
			}
			return ""
		})
	}
}

// tearWrite decides for every sector of every write.
func tearWrite(rng *rand.Rand) func([]byte, write) []byte {
	return func(old []byte, w write) []byte {
		return w.lose(old, rng, func(int) string {
			return []string{"", "", "", "old bytes", "zeros", "garbage"}[rng.IntN(6)]
		})
	}
}

// lose applies the write but for the sectors for which lost names what is there
// instead. A sector that is written again with the bytes it has can't be lost.
func (w write) lose(old []byte, rng *rand.Rand, lost func(sector int) string) []byte {
	data := w.apply(slices.Clone(old))
	for at := w.offset; at < w.offset+len(w.data); {
		end := min((at/sector+1)*sector, w.offset+len(w.data))
		was := make([]byte, end-at)
		if at < len(old) {
			copy(was, old[at:])
		}
		in := lost(at / sector)
		if in != "" && string(was) != string(data[at:end]) {
			for i := range was {
				switch in {
				case "old bytes":
					data[at+i] = was[i]
				case "zeros":
					data[at+i] = 0
				case "garbage":
					data[at+i] = byte(rng.Uint32())
				}
			}
		}
		at = end
	}
	return data
}
