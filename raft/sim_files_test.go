package raft

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"etcd2/wal/disk"
)

// simFS is a file system in memory. A power cut loses what was not synced: each sector that was
// written keeps its new or its old bytes, and each name that was changed is the new one or the old.
// It may fail, have no room left, and flip a bit.
//
// The log prepares the file of the next segment in a goroutine of its own, under a temporary name.
// Changes of temporary names are not counted, and such files are gone after a power cut, so that a
// run does not depend on that goroutine's pace.
type simFS struct {
	mu   sync.Mutex // protects the rest
	root *simNode
	fuse int         // changes until blow happens; negative: it never does
	kind simCallKind // of the changes that count; anyCall: all
	blow error       // what happens then: errPowerCut, or one change fails with EIO or ENOSPC
	dead bool        // the power is cut: nothing changes any more
	full uint64      // when not 0: there is no room for snapshots, nor for segments of this number and above

	forgetsSync, forgetsNames func() bool // set by a mutant: this sync does nothing; may be nil
}

// simNode is a file or a directory.
type simNode struct {
	names, synced map[string]*simNode // of a directory: as seen, and as on disk
	data          []byte              // of a file, as seen
	undo          []simWrite          // what was there before each write since the last sync
	syncedSize    int
	lastSync      int  // the lowest offset that the last sync made durable
	aside         bool // its name is a temporary one
	noRoom        bool
	// After a failed sync the operating system takes the pages for clean, and they never reach the
	// disk (pitfall H8).
	broken bool
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

// change makes a change of the file system, unless the power is cut before it or just after it.
// When the change is to fail with an error, do is called with failing set, and what do then does is
// all that happens.
func (fs *simFS) change(kind simCallKind, aside bool, do func(failing bool)) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	switch {
	case fs.dead:
		return errPowerCut
	case aside || fs.fuse != 0 || fs.kind != anyCall && fs.kind != kind:
		if !aside && fs.fuse > 0 && (fs.kind == anyCall || fs.kind == kind) {
			fs.fuse--
		}
		do(false)
		return nil
	}
	fs.fuse = -1
	fs.dead = fs.blow == errPowerCut
	do(!fs.dead)
	return fs.blow
}

// name changes a name, or fails and leaves it as it was.
func (fs *simFS) name(kind simCallKind, aside bool, do func()) error {
	return fs.change(kind, aside, func(failing bool) {
		if !failing {
			do()
		}
	})
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
	err := fs.name(createCall, node.aside, func() {
		names, base := fs.parent(name)
		names[base] = node
		node.noRoom = fs.full != 0 && (path.Base(path.Dir(name)) == "snap" || segmentNumber(base) >= fs.full)
	})
	return &simFile{fs, node}, err
}

func (fs *simFS) Rename(from, to string) error {
	return fs.name(renameCall, isAside(to), func() {
		names, base := fs.parent(from)
		node := names[base]
		node.aside = isAside(to)
		delete(names, base)
		names, base = fs.parent(to)
		names[base] = node
	})
}

func (fs *simFS) Remove(name string) error {
	return fs.name(removeCall, isAside(name), func() {
		names, base := fs.parent(name)
		delete(names, base)
	})
}

func (fs *simFS) Mkdir(name string) error {
	return fs.name(createCall, isAside(name), func() {
		if names, base := fs.parent(name); names[base] == nil {
			names[base] = newSimDir()
		}
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
	return fs.name(syncDirCall, isAside(name), func() {
		if dir := fs.look(name); fs.forgetsNames == nil || !fs.forgetsNames() {
			dir.synced = maps.Clone(dir.names)
		}
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
	written := len(b)
	err := f.fs.change(writeCall, f.node.aside, func(failing bool) {
		if failing || f.node.noRoom {
			written /= 2
		}
		f.node.write(b[:written], int(offset))
	})
	if err == nil && f.node.noRoom {
		err = syscall.ENOSPC
	}
	return written, err
}

// Allocate writes zeros at the end of the file.
func (f *simFile) Allocate(size int64) error {
	now, err := f.Size()
	if err == nil && size > now {
		_, err = f.WriteAt(make([]byte, size-now), now)
	}
	return err
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
	return f.fs.change(syncCall, f.node.aside, func(failing bool) {
		f.node.broken = f.node.broken || failing
		if f.node.aside || f.fs.forgetsSync == nil || !f.fs.forgetsSync() {
			f.node.sync()
		}
	})
}

func (n *simNode) sync() {
	if n.broken {
		return
	}
	for i, w := range n.undo {
		if i == 0 || w.offset < n.lastSync {
			n.lastSync = w.offset
		}
	}
	n.undo, n.syncedSize = nil, len(n.data)
}

func (f *simFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.node.data)), nil
}

func (f *simFile) Close() error { return nil }

// failAfter lets a number of changes succeed. The next one fails with an error, or the power is
// cut. When the number is negative, none fails.
func (fs *simFS) failAfter(changes int, with error) { fs.failAt(anyCall, changes, with) }

// failAt is failAfter for changes of one kind.
func (fs *simFS) failAt(kind simCallKind, changes int, with error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.kind, fs.fuse, fs.blow = kind, changes, with
}

// simCallKind is a kind of calls that change a file system.
type simCallKind int

const (
	anyCall simCallKind = iota
	writeCall
	syncCall
	createCall
	renameCall
	removeCall
	syncDirCall
	callKindsEnd
)

// fillUp leaves no room for snapshots, nor for the segment after the next one. The next one is
// spared because it may already be in preparation.
func (fs *simFS) fillUp(log string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for name := range fs.look(log).names {
		if !isAside(name) {
			fs.full = max(fs.full, segmentNumber(name)+2)
		}
	}
}

// cutTail clears the last synced batch of a log, as if a crash had torn it. A mutant uses it.
func (fs *simFS) cutTail(log string) {
	dir := fs.look(log)
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(dir.names)), isAside)
	if last := dir.names[names[len(names)-1]]; last.lastSync > 0 {
		clear(last.data[last.lastSync:])
	}
}

// segmentNumber returns the number in the name of a segment of the log.
func segmentNumber(name string) uint64 {
	n, _ := strconv.ParseUint(name[:min(16, len(name))], 16, 64) // 0 when the file is no segment
	return n
}

// rot flips one bit of a file without a temporary name. It spares the last synced batch of a log,
// because such damage looks like a write that a crash has torn.
func (fs *simFS) rot(r *rand.Rand) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	dirs := []*simNode{fs.look("m/wal"), fs.look("m/snap")}
	dir := dirs[r.IntN(2)]
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(dir.names)), isAside)
	if len(names) == 0 {
		return
	}
	newest := names[len(names)-1]
	name := newest
	if r.IntN(4) == 0 {
		name = names[r.IntN(len(names))]
	}
	file := dir.names[name]
	data := file.data
	if name == newest && dir == dirs[0] {
		data = data[:file.lastSync]
	}
	if used := len(bytes.TrimRight(data, "\x00")); used > 0 {
		data[r.IntN(used)] ^= 1 << r.IntN(8)
	}
}

// cut cuts the power, and returns the file system as it is when the power is back.
func (fs *simFS) cut(r *rand.Rand) *simFS {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.dead = true
	return &simFS{root: fs.root.survivor(r), fuse: -1, full: fs.full, forgetsSync: fs.forgetsSync,
		forgetsNames: fs.forgetsNames}
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
	return &simNode{data: data, syncedSize: len(data), lastSync: n.lastSync}
}
