package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// A folder is the data directory of a member of etcd.
type folder struct {
	dir        string
	logs       []string // the files of its log, in order
	snaps      []string // its snapshots, the newest first
	passedOver []string // files that are not read, and are told to the user
}

// beside are endings of files that have nothing of the store of the API v2: space reserved for a
// log, and the store of the API v3.
var beside = []string{"0.tmp", "1.tmp", ".touch", "db", ".snap.db"}

// openFolder finds the files in a data directory. walDir is where its log is, "" inside.
func openFolder(dir, walDir string) (*folder, error) {
	f := &folder{dir: dir}
	inside := inside(dir)
	if walDir == "" {
		walDir = filepath.Join(inside, "wal")
	}
	logs, others, err := logFiles(walDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, f.noLog(inside)
	}
	snaps, more, snapErr := snapFiles(filepath.Join(inside, "snap"))
	if err == nil && !errors.Is(snapErr, fs.ErrNotExist) {
		err = snapErr
	}
	if err != nil {
		return nil, err
	}
	f.logs, f.snaps = logs, snaps
	for _, path := range append(others, more...) {
		if !slices.ContainsFunc(beside, func(end string) bool { return strings.HasSuffix(path, end) }) {
			f.passedOver = append(f.passedOver, path)
		}
	}
	if len(logs) == 0 {
		return nil, f.noLog(inside)
	}
	if !begins(logs[0]) {
		return nil, fmt.Errorf("%s: no etcd has written this log", logs[0])
	}
	return f, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// inside returns the directory in a data directory that has the logs and snapshots. In those of
// etcd 2.0.0 and 2.0.1 it is the data directory itself, and dir may also be the inner one.
func inside(dir string) string {
	if member := filepath.Join(dir, "member"); isDir(member) {
		return member
	}
	return dir
}

// noLog returns the error of a directory without a log.
func (f *folder) noLog(inside string) error {
	if err := incomplete(f.dir); err != nil {
		return err
	}
	if isDir(filepath.Join(f.dir, "proxy")) {
		return fmt.Errorf("%s is that of a proxy of etcd, which has no data", f.dir)
	}
	return fmt.Errorf("%s is no data directory of etcd 2: there is no log in %s", f.dir, filepath.Join(inside, "wal"))
}

// incomplete returns an error when the directory is etcd's and can't be read as it is, nil when
// nothing in it is etcd's.
func incomplete(dir string) error {
	if old := filepath.Join(dir, "snapshot"); isDir(old) && isFile(filepath.Join(dir, "conf")) {
		return fmt.Errorf("%s is the data directory of etcd 0.4: copy its keys with etcdctl import --snap "+
			"and the newest file in %s", dir, old)
	}
	snaps, _, _ := snapFiles(filepath.Join(inside(dir), "snap"))
	for _, path := range snaps {
		if isSnapshot(head(path)) {
			return fmt.Errorf("%s has snapshots of etcd, and no log: name the directory of the log, "+
				"etcdctl migrate %[1]s --wal-dir DIR --data-dir NEW", dir)
		}
	}
	return nil
}

// Left returns an error when a directory has the data of etcd, and nil otherwise. walDir is the
// directory of its log, "" inside. The error is one line: the version of etcd, and the command that
// converts the data.
func Left(dir, walDir string) error {
	f, err := openFolder(dir, walDir)
	if err != nil {
		return incomplete(dir)
	}
	convert := "etcdctl migrate " + dir
	if walDir != "" {
		convert += " --wal-dir " + walDir
	}
	return fmt.Errorf("%s is the data directory of %s: %s --data-dir NEW converts it, and then start with --data-dir "+
		"NEW",
		dir, f.program(), convert)
}

// program returns the program that wrote a folder, as exactly as it can be determined.
func (f *folder) program() string {
	s := &source{folder: f}
	var err error
	if s.journal, err = readJournal(f.logs, true, func(int) {}); err != nil || s.choose() != nil {
		return "etcd 2 or 3"
	}
	r, err := newReplay(s.base)
	if err != nil {
		return "etcd 2 or 3"
	}
	version, _ := s.lastVersion(s.committed(), r.version)
	return program(version)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// setLockOfFile is F_OFD_SETLK of Linux, which etcd 3 locks with.
const setLockOfFile = 37

// lock keeps etcd from starting with the folder until the file is closed. It never waits, and
// changes nothing. etcd 2 locks the newest file of its log with flock, etcd 3 with a lock of the
// open file description.
func (f *folder) lock() (*os.File, error) {
	file, err := os.Open(f.logs[len(f.logs)-1])
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil && runtime.GOOS == "linux" {
		err = syscall.FcntlFlock(file.Fd(), setLockOfFile, &syscall.Flock_t{Type: syscall.F_RDLCK})
	}
	if err == nil {
		return file, nil
	}
	file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EACCES) {
		err = fmt.Errorf("a server runs with %s: stop it, or give a copy of the directory", f.dir)
	}
	return nil, err
}
