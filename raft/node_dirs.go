package raft

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"etcd2/wal"
	"etcd2/wal/disk"
)

// Dirs is the directories of one process, which no other process may use before Close (pitfalls
// H12, L14). Each of them holds a file that is locked, DATA/lock and WAL/lock, with the id of the
// process in it.
//
// Close removes what LockDir and LockLogDir have made, unless a member lives there. A Dirs belongs
// to one goroutine at a time.
type Dirs struct {
	dir     string
	walDir  string // "": the directory of the log is not locked yet
	locks   []*os.File
	made    []string // files and directories, in the order in which they were made
	settled bool     // a member lives here: nothing is undone
}

// LockDir locks the data directory dir, which it makes if need be: no other process may use it.
func LockDir(dir string) (*Dirs, error) {
	h := &Dirs{dir: filepath.Clean(dir)}
	if err := h.lockDirs(h.dir); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// LockLogDir does the same for the directory of the log; walDir empty means the one inside the data
// directory. It reports whether a member lives in the two. An error says that (1) a member lived
// there and can't be started, or (2) the log is another member's. No new member may then begin
// there.
func (h *Dirs) LockLogDir(walDir string) (member bool, err error) {
	c := Config{Dir: h.dir, WALDir: walDir, Dirs: h}
	o := c.storage()
	if err = h.lockLogDir(o.walDir()); err == nil {
		member, err = storageExists(o)
	}
	if err == nil && !member {
		err = h.checkSpace()
	}
	return member, h.explain(err)
}

// What a new member needs at least, in bytes: for the first file of the log, and for the beginnings
// of everything else.
const (
	spaceForLog  = wal.DefaultSegmentBytes
	spaceForRest = 64 << 10
)

// checkSpace returns an error when the disk is too full for a new member. Later it would fail after
// the cluster has heard of it.
func (h *Dirs) checkSpace() error {
	return cmp.Or(checkSpaceIn(h.dir, false, spaceForRest), checkSpaceIn(h.walDir, true, spaceForLog))
}

func checkSpaceIn(dir string, log bool, need uint64) error {
	free, err := FreeBytes(dir)
	if err != nil || free >= need {
		return err
	}
	return &DirError{dir, log, fmt.Errorf("%d bytes are free in %s, and a new member needs %d there", free, dir, need),
		remedies[0].remedy}
}

func (h *Dirs) lockLogDir(walDir string) error {
	h.walDir = filepath.Clean(walDir)
	if sameFile(h.walDir, h.dir) {
		return &DirError{h.walDir, true, errors.New("this is the data directory itself"),
			"give the log a directory of its own, or leave it inside"}
	}
	return h.lockDirs(h.walDir)
}

// HadMember reports whether a member lives or has lived in the data directory, wherever its log is.
func (h *Dirs) HadMember() (bool, error) {
	c := Config{Dir: h.dir, Dirs: h}
	o := c.storage()
	if err := o.unfinished(); err != nil {
		return false, err
	}
	noted, err := o.readIdentity()
	if err != nil || noted.made() || hasLog(o.FS, o.walDir()) {
		return err == nil, err
	}
	return o.lived(noted)
}

// Exists reports whether a member lives in the data directory dir, as LockLogDir does. It locks
// nothing and makes nothing.
func Exists(dir, walDir string) (bool, error) {
	c := Config{Dir: filepath.Clean(dir), WALDir: walDir}
	return storageExists(c.storage())
}

// Close unlocks the directories. It may be called more than once.
func (h *Dirs) Close() error {
	if !h.settled {
		h.undo()
	}
	var err error
	for _, l := range h.locks {
		err = errors.Join(err, l.Close())
	}
	h.made, h.locks = nil, nil
	return err
}

func (h *Dirs) undo() {
	for _, path := range slices.Backward(h.made) {
		os.Remove(path) // fails, as it should, for a directory that holds something else by now
	}
}

// lockDirs makes a directory, if need be, and locks it. Its error is a DirError.
func (h *Dirs) lockDirs(dir string) error {
	err := h.makeDir(dir)
	if err == nil {
		err = h.lock(filepath.Join(dir, "lock"))
	}
	var known *DirError
	if err = h.explain(err); err != nil && !errors.As(err, &known) {
		err = &DirError{dir, dir != h.dir, err, "give another directory"}
	}
	return err
}

// makeDir makes a directory, and those above it that are missing.
func (h *Dirs) makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	if err := h.makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	h.willMake(dir)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, iofs.ErrExist) {
		return err
	}
	return disk.SyncName(disk.OS{}, dir) // pitfall H6: the directories above, too
}

// willMake records the paths that are missing: Close removes them unless a member lives there.
func (h *Dirs) willMake(paths ...string) {
	for _, path := range paths {
		if _, err := os.Lstat(path); errors.Is(err, iofs.ErrNotExist) && !slices.Contains(h.made, path) {
			h.made = append(h.made, path)
		}
	}
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	two, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(one, two)
}

// How long a lock is waited for. Verify tests a lock by holding it for a moment, which must not
// keep a member from its start.
const (
	lockTries = 3
	lockPause = 20 * time.Millisecond
)

// lock opens and locks a file. The end of the process also unlocks it.
func (h *Dirs) lock(name string) error {
	for try := 1; ; {
		made := len(h.made)
		h.willMake(name)
		// the target of a symbolic link may not be written to
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return err
		}
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == syscall.EWOULDBLOCK && try == lockTries:
			h.made = h.made[:made]
			return errors.Join(h.inUse(f), f.Close())
		case err == syscall.EWOULDBLOCK:
			try++
			time.Sleep(lockPause)
		case err != nil:
			return errors.Join(&os.PathError{Op: "flock", Path: name, Err: err}, f.Close())
		case isNamed(f):
			h.locks = append(h.locks, f)
			sign(f)
			return nil
		}
		f.Close() // the file is locked, or its last holder has removed it
		h.made = h.made[:made]
	}
}

// isNamed reports whether the name of an open file is still that of this file.
func isNamed(f *os.File) bool {
	here, err := f.Stat()
	named, err2 := os.Lstat(f.Name())
	return err == nil && err2 == nil && os.SameFile(here, named)
}

// inUse is the error of a directory whose lock f another process holds.
func (h *Dirs) inUse(f *os.File) error {
	dir := filepath.Dir(f.Name())
	pid, _ := io.ReadAll(io.NewSectionReader(f, 0, 64))
	return &DirError{
		dir, dir != h.dir, fmt.Errorf("%s is in use by another process (pid %s)", dir,
			cmp.Or(strings.TrimSpace(string(pid)), "unknown")),
		"stop that one, or give this one a directory of its own",
	}
}

// sign writes the id of this process into the file that it has locked. It ignores errors: the lock
// counts whatever is in the file, and a full disk must not keep a member from its directory.
func sign(f *os.File) {
	text := fmt.Sprintln(os.Getpid())
	if _, err := f.WriteAt([]byte(text), 0); err == nil {
		f.Truncate(int64(len(text)))
	}
}

// DirError is the error of a directory that a process can't use, and the remedy.
type DirError struct {
	Dir    string
	Log    bool // Dir is that of the log
	Err    error
	Remedy string
}

// Error names the directory, the reason and the remedy, in one line.
func (e *DirError) Error() string { return fmt.Sprintf("raft: %s: %v: %s", e.Dir, e.Err, e.Remedy) }

// Unwrap returns the reason.
func (e *DirError) Unwrap() error { return e.Err }

// remedies say what to do about an error of the operating system.
var remedies = []struct {
	err    error
	remedy string
}{
	{syscall.ENOSPC, "make room there, or give a directory on another disk"},
	{syscall.EDQUOT, "make room there, or give a directory on another disk"},
	{syscall.EROFS, "mount it for writing, or give another directory"},
	{syscall.ENOTDIR, "give a directory: a file is in the way"},
	{syscall.ELOOP, "a symbolic link is in the place of a file: delete it, or give another directory"},
	{iofs.ErrPermission, "let the user of this process write there (chown -R), or give another directory"},
}

// explain adds the directory and the remedy to an error of the operating system.
func (h *Dirs) explain(err error) error {
	var known *DirError
	path := pathOf(err)
	if path == "" || errors.As(err, &known) {
		return err
	}
	e := &DirError{Dir: h.dir, Err: err}
	if h.walDir != "" && (path == h.walDir || strings.HasPrefix(path, h.walDir+string(filepath.Separator))) {
		e.Dir, e.Log = h.walDir, true
	}
	for _, r := range remedies {
		if errors.Is(err, r.err) {
			e.Remedy = r.remedy
			return e
		}
	}
	return err
}

// pathOf returns the path in an error of the operating system; "": there is none.
func pathOf(err error) string {
	var one *os.PathError
	var two *os.LinkError
	switch {
	case errors.As(err, &one):
		return one.Path
	case errors.As(err, &two):
		return two.New
	}
	return ""
}
