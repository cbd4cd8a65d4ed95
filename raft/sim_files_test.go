package raft

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"etcd2/wal/disk"
)

// simFS is a file system in memory that loses at a power cut what was not synced: of each sector that was written the
// new or the old bytes stay, of each name that was changed the new one or the old.
//
// The log makes the next segment's file ready in a goroutine of its own, under a name aside. What happens to such names is not counted, and
// they are gone after a power cut, so that a run does not depend on that goroutine's pace.
type simFS struct {
	mu   sync.Mutex // protects the rest
	root *simNode
	fuse int  // changes until the power is cut, when not negative
	dead bool // it was: nothing changes any more

	forgetsSync, forgetsNames func() bool // a mutant's: this sync does nothing; may be nil
}

// simNode is a file or a directory.
type simNode struct {
	names, synced map[string]*simNode // of a directory: as seen, and as on disk
	data          []byte              // of a file, as seen
	undo          []simWrite          // what was there before each write since the last sync
	syncedSize    int
	aside         bool // it has never had a name that counts
}

type simWrite struct {
	offset int
	before []byte
}

const simSector = 512

var errPowerCut = errors.New("the power is cut")

func newSimFS() *simFS { return &simFS{root: newSimDir(), fuse: -1} }

func newSimDir() *simNode {
	return &simNode{names: map[string]*simNode{}, synced: map[string]*simNode{}}
}

func isAside(name string) bool { return strings.HasSuffix(name, ".tmp") }

// change runs a change of the file system, unless the power is cut before, or just after it.
func (fs *simFS) change(aside bool, do func() error) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.dead {
		return errPowerCut
	}
	err := do()
	if fs.fuse >= 0 && !aside {
		if fs.fuse--; fs.fuse < 0 {
			fs.dead = true
			return errPowerCut
		}
	}
	return err
}

// look returns the node at a path, or nil.
func (fs *simFS) look(name string) *simNode {
	node := fs.root
	for _, part := range strings.Split(path.Clean(name), "/") {
		if node == nil || part != "." && node.names == nil {
			return nil
		}
		if part != "." {
			node = node.names[part]
		}
	}
	return node
}

func (fs *simFS) parent(name string) (map[string]*simNode, string) {
	dir := fs.look(path.Dir(name))
	if dir == nil {
		return map[string]*simNode{}, path.Base(name)
	}
	return dir.names, path.Base(name)
}

func (fs *simFS) Open(name string) (disk.File, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	node := fs.look(name)
	if node == nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
	}
	return &simFile{fs, node}, nil
}

func (fs *simFS) OpenRW(name string) (disk.File, error) { return fs.Open(name) }

func (fs *simFS) Create(name string) (disk.File, error) {
	node := &simNode{aside: isAside(name)}
	err := fs.change(node.aside, func() error {
		names, base := fs.parent(name)
		names[base] = node
		return nil
	})
	return &simFile{fs, node}, err
}

func (fs *simFS) Rename(from, to string) error {
	return fs.change(isAside(to), func() error {
		names, base := fs.parent(from)
		node := names[base]
		node.aside = isAside(to)
		delete(names, base)
		names, base = fs.parent(to)
		names[base] = node
		return nil
	})
}

func (fs *simFS) Remove(name string) error {
	return fs.change(isAside(name), func() error {
		names, base := fs.parent(name)
		delete(names, base)
		return nil
	})
}

func (fs *simFS) Mkdir(name string) error {
	return fs.change(isAside(name), func() error {
		if names, base := fs.parent(name); names[base] == nil {
			names[base] = newSimDir()
		}
		return nil
	})
}

func (fs *simFS) ReadDir(name string) ([]string, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	dir := fs.look(name)
	if dir == nil {
		return nil, &os.PathError{Op: "readdir", Path: name, Err: os.ErrNotExist}
	}
	return slices.Sorted(maps.Keys(dir.names)), nil
}

func (fs *simFS) SyncDir(name string) error {
	return fs.change(isAside(name), func() error {
		if dir := fs.look(name); fs.forgetsNames == nil || !fs.forgetsNames() {
			dir.synced = maps.Clone(dir.names)
		}
		return nil
	})
}

// simFile is an open file.
type simFile struct {
	fs   *simFS
	node *simNode
}

func (f *simFile) ReadAt(b []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if offset >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.node.data[offset:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *simFile) WriteAt(b []byte, offset int64) (int, error) {
	err := f.fs.change(f.node.aside, func() error {
		f.node.write(b, int(offset))
		return nil
	})
	return len(b), err
}

func (n *simNode) write(b []byte, offset int) {
	end := offset + len(b)
	if end > len(n.data) {
		n.data = append(n.data, make([]byte, end-len(n.data))...)
	}
	n.undo = append(n.undo, simWrite{offset, slices.Clone(n.data[offset:end])})
	copy(n.data[offset:], b)
}

func (f *simFile) Sync() error {
	return f.fs.change(f.node.aside, func() error {
		if f.node.aside || f.fs.forgetsSync == nil || !f.fs.forgetsSync() {
			f.node.undo, f.node.syncedSize = nil, len(f.node.data)
		}
		return nil
	})
}

func (f *simFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.node.data)), nil
}

func (f *simFile) Close() error { return nil }

// cutAfter lets so many more changes happen before the power is cut.
func (fs *simFS) cutAfter(changes int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.fuse = changes
}

// cut cuts the power, and returns what is there when it is back.
func (fs *simFS) cut(r *rand.Rand) *simFS {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.dead = true
	return &simFS{root: fs.root.survivor(r), fuse: -1, forgetsSync: fs.forgetsSync, forgetsNames: fs.forgetsNames}
}

func (n *simNode) survivor(r *rand.Rand) *simNode {
	if n.names == nil {
		return n.survivingFile(r)
	}
	left := newSimDir()
	both := maps.Clone(n.names)
	maps.Copy(both, n.synced)
	for _, name := range slices.Sorted(maps.Keys(both)) {
		if isAside(name) {
			continue
		}
		node := n.synced[name]
		if seen := n.names[name]; seen != node && r.IntN(2) == 0 {
			node = seen
		}
		if node != nil {
			left.names[name] = node.survivor(r)
		}
	}
	left.synced = maps.Clone(left.names)
	return left
}

func (n *simNode) survivingFile(r *rand.Rand) *simNode {
	now := n.data
	data := slices.Clone(now)
	for _, w := range slices.Backward(n.undo) {
		copy(data[min(w.offset, len(data)):], w.before)
	}
	for _, w := range n.undo {
		for at := w.offset; at < w.offset+len(w.before); at = (at/simSector + 1) * simSector {
			if r.IntN(2) == 0 {
				end := min((at/simSector+1)*simSector, w.offset+len(w.before), len(now))
				copy(data[min(at, end):end], now[min(at, end):end])
			}
		}
	}
	if r.IntN(2) == 0 {
		data = data[:min(n.syncedSize, len(data))]
	}
	return &simNode{data: data, syncedSize: len(data)}
}
