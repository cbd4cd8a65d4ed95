package snap

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"etcd2/wal/disk"
)

const (
	suffix      = ".snap" // of a snapshot, INDEX.snap with the index in 16 hex digits
	asideSuffix = ".tmp"  // of a file that is not a snapshot yet; Open removes it
)

// Dir is a directory of snapshot files, named by the index of the last entry
// they hold. Its methods may be called from any goroutine.
type Dir struct {
	fs   disk.FS
	path string

	// mu protects the fields below. It is held while a file is opened or removed.
	mu      sync.Mutex
	readers map[uint64]int  // index → Readers that are open
	damaged map[uint64]bool // indexes whose files are known to be damaged
	asides  uint64          // temporary files made so far
	kept    *kept           // an interrupted transfer; nil: none
}

// Damage is a snapshot file that failed its checks. A *Damage is the error of reading such a file.
type Damage struct {
	File   string
	Offset int64 // in File, of what can't be read
	Reason string
}

// Error names the place and the reason, in one line.
func (d *Damage) Error() string {
	return fmt.Sprintf("snap: %s: offset %d: %s", d.File, d.Offset, d.Reason)
}

// Exists reports whether dir exists. fs nil means the operating system's.
func Exists(dir string, fs disk.FS) (bool, error) {
	if fs == nil {
		fs = disk.OS{}
	}
	_, err := fs.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Open opens dir, and makes it if it is missing (0700). It removes the files of unfinished
// snapshots. fs nil means the operating system's.
func Open(dir string, fs disk.FS) (*Dir, error) {
	d := Look(dir, fs)
	if err := d.prepare(); err != nil {
		return nil, fmt.Errorf("snap: open: %w", err)
	}
	return d, nil
}

// Look is Open for reading only: it changes nothing, and another process may be writing to dir. A
// snapshot that is listed may then be gone when it is opened. fs nil means the operating system's.
func Look(dir string, fs disk.FS) *Dir {
	if fs == nil {
		fs = disk.OS{}
	}
	return &Dir{fs: fs, path: filepath.Clean(dir), readers: map[uint64]int{}, damaged: map[uint64]bool{}}
}

func (d *Dir) prepare() error {
	if err := d.fs.Mkdir(d.path); err != nil {
		return err
	}
	if err := d.fs.SyncDir(filepath.Dir(d.path)); err != nil {
		return err
	}
	names, err := d.fs.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, asideSuffix) {
			continue
		}
		if err := d.fs.Remove(filepath.Join(d.path, name)); err != nil {
			return err
		}
	}
	return d.fs.SyncDir(d.path)
}

// Indexes returns the indexes of all snapshots in the directory, ascending. They may be damaged.
func (d *Dir) Indexes() ([]uint64, error) {
	names, err := d.fs.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("snap: list: %w", err)
	}
	var indexes []uint64
	for _, name := range names {
		index, err := strconv.ParseUint(strings.TrimSuffix(name, suffix), 16, 64)
		if err == nil && name == fileName(index) {
			indexes = append(indexes, index)
		}
	}
	slices.Sort(indexes)
	return indexes, nil
}

// Sound returns the indexes of the snapshots that Newest has not found damaged, ascending.
func (d *Dir) Sound() ([]uint64, error) {
	indexes, err := d.Indexes()
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.DeleteFunc(indexes, func(index uint64) bool { return d.damaged[index] }), err
}

func fileName(index uint64) string { return fmt.Sprintf("%016x%s", index, suffix) }

func (d *Dir) file(index uint64) string { return filepath.Join(d.path, fileName(index)) }

// Newest returns the newest snapshot that passes every check, or nil when there is none, and the
// damages of the newer ones. The whole file is verified before Newest returns.
func (d *Dir) Newest() (*Reader, []Damage, error) {
	indexes, err := d.Indexes()
	if err != nil {
		return nil, nil, err
	}
	var damages []Damage
	for _, index := range slices.Backward(indexes) {
		r, err := d.verified(index)
		damage, ok := err.(*Damage)
		if !ok {
			return r, damages, err
		}
		damages = append(damages, *damage)
		d.setDamaged(index, true)
	}
	return nil, damages, nil
}

// verified opens the snapshot at index, and checks every block of it.
func (d *Dir) verified(index uint64) (*Reader, error) {
	r, err := d.OpenIndex(index)
	if err != nil {
		return nil, err
	}
	if err := r.Verify(); err != nil {
		return nil, cmp.Or(err, r.Close())
	}
	return r, nil
}

func (d *Dir) setDamaged(index uint64, is bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if is {
		d.damaged[index] = true
	} else {
		delete(d.damaged, index)
	}
}

// OpenIndex opens the snapshot at index. It checks the beginning and the end of the file; each
// block is checked when it is read.
func (d *Dir) OpenIndex(index uint64) (*Reader, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, err := OpenFile(d.file(index), d.fs)
	if err != nil {
		return nil, err
	}
	if r.index != index {
		return nil, cmp.Or[error](&Damage{r.path, 8, fmt.Sprintf("the file holds snapshot %d", r.index)}, r.Close())
	}
	d.readers[index]++
	r.release = func() { d.release(index) }
	return r, nil
}

// release counts one open Reader less.
func (d *Dir) release(index uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.readers[index]--
	if d.readers[index] == 0 {
		delete(d.readers, index)
	}
}

// Purge removes all but the newest keep snapshots and those at the indexes named; it never removes
// a snapshot that an open Reader uses (E5). One that Newest has found damaged does not count as
// kept. keep 0 keeps all. An interrupted transfer that was kept already at the last Purge is
// removed, too.
func (d *Dir) Purge(keep int, named ...uint64) error {
	if err := d.dropOld(); err != nil {
		return fmt.Errorf("snap: purge: %w", err)
	}
	if keep == 0 {
		return nil
	}
	indexes, err := d.Indexes()
	if err != nil {
		return err
	}
	for _, index := range slices.Backward(indexes) {
		sound, err := d.purge(index, keep <= 0 && !slices.Contains(named, index))
		if err != nil {
			return fmt.Errorf("snap: purge: %w", err)
		}
		if sound {
			keep--
		}
	}
	if err := d.fs.SyncDir(d.path); err != nil {
		return fmt.Errorf("snap: purge: %w", err)
	}
	return nil
}

// purge removes the snapshot at index if it is surplus and no Reader is open on it.
func (d *Dir) purge(index uint64, surplus bool) (sound bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if surplus && d.readers[index] == 0 {
		err = d.fs.Remove(d.file(index))
	}
	return !d.damaged[index], err
}
