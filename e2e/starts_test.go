package e2e

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"etcd2/e2e/pace"
)

// The kinds of directories that a start may find.
const (
	empty    = "empty"
	ofMember = "of the member"
	skeleton = "skeleton"
	ofOther  = "of another member"
	foreign  = "foreign"
	notOwned = "not owned"
	readOnly = "read-only"
	full     = "full"
)

var kinds = []string{empty, ofMember, skeleton, ofOther, foreign, notOwned, readOnly, full}

// startOutcome says how a start with two kinds of directories, for data and for the log, must end:
// the flag that an error must name and words of it; "" when the start works.
func startOutcome(data, log string) (flag, words string) {
	lived := data == ofMember || data == ofOther
	hasLog := log == ofMember || log == ofOther
	switch {
	case data == readOnly:
		return "--data-dir", "permission denied"
	case log == readOnly:
		return "--wal-dir", "permission denied"
	case lived && data == log:
		return "", ""
	case hasLog:
		return "--wal-dir", "is that of member"
	case lived:
		return "--wal-dir", "there is no log in"
	case log == foreign:
		return "--wal-dir", "there is something else"
	case data == full:
		return "--data-dir", "are free in"
	case log == full:
		return "--wal-dir", "are free in"
	}
	return "", ""
}

// A start works with any directories, or prints one line that names the flag, the directory and
// what to do, and changes nothing.
func TestEveryStartWorksOrSaysWhatToDo(t *testing.T) {
	t.Parallel()
	w := newStartWorld(t)
	for _, data := range kinds {
		for _, log := range kinds {
			for _, how := range []string{"first", "join"} {
				if other := data == empty || log == empty; data != log && (how == "join" || !other) && !pace.Long() {
					continue // what is refused depends on the directories, and mostly on one of them
				}
				t.Run(fmt.Sprint(how, "/", data, "/", log), func(t *testing.T) {
					t.Parallel()
					w.cell(t, data, log, how == "join")
				})
			}
		}
	}
}

// startWorld is shared by all cells.
type startWorld struct {
	user      *syscall.Credential // the user that members run as, when the test may choose
	templates map[string][]copied // kind → what a member has left
	seed      *member             // a cluster that accepts no new member
}

func newStartWorld(t *testing.T) *startWorld {
	w := &startWorld{templates: map[string][]copied{}}
	if os.Getuid() == 0 {
		w.user = &syscall.Credential{Uid: 65534, Gid: 65534}
		if err := os.Chmod(filepath.Dir(binary), 0o711); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{ofMember, ofOther} {
		m := newMember(t)
		m.flags = []string{"--wal-dir=" + m.logs()}
		m.start()
		m.put("/who", kind)
		m.stop()
		w.templates[kind] = m.left()
	}
	w.seed = startMember(t)
	t.Cleanup(func() {
		a, err := ask(context.Background(), "GET", w.seed.url+"/v2/members", nil)
		if err != nil || strings.Count(a.body, `"peerURLs"`) != 1 {
			t.Errorf("a start that was refused has changed the cluster: %v, %s", err, a.body)
		}
	})
	return w
}

func (m *member) logs() string { return filepath.Join(m.dir, "logs") }

// cell tests one start, and a second one like it.
func (w *startWorld) cell(t *testing.T, data, log string, join bool) {
	m := newMember(t)
	m.name, m.founded, m.user = "cell", "cell="+m.peer, w.user
	if err := os.Chmod(m.dir, 0o711); err != nil {
		t.Fatal(err)
	}
	w.make(t, data, m.data(), "data")
	w.make(t, log, m.logs(), "logs")
	flag, words := startOutcome(data, log)
	m.flags = []string{"--wal-dir=" + m.logs()}
	if join {
		seed := w.seed
		if words == "" && data != ofMember && data != ofOther {
			seed = startMember(t)
		}
		m.founded, m.flags = "", append(m.flags, "--join="+seed.url)
	}
	if words != "" {
		m.isRefused(flag, words)
		return
	}
	m.lives(data, log)
}

// isRefused starts the member twice; both starts must fail.
func (m *member) isRefused(flag, words string) {
	m.t.Helper()
	before := m.digest()
	for range 2 {
		first := m.log.count()
		line := m.refused()
		dir := map[string]string{"--data-dir": m.data(), "--wal-dir": m.logs()}[flag]
		if !strings.HasPrefix(line, "etcd2: "+flag+"="+dir+": ") || !strings.Contains(line, words) ||
			strings.Count(line, ": ") < 3 {
			m.t.Errorf("want %s, %q and a remedy: %s", flag, words, line)
		}
		if lines := m.log.since(first); len(lines) > 1 {
			m.t.Errorf("%d lines: %q", len(lines), lines)
		}
		if after := m.digest(); after != before {
			m.t.Errorf("something was changed:\n%s\nwas\n%s", after, before)
		}
	}
}

// lives starts the member twice; both starts must succeed.
func (m *member) lives(data, log string) {
	m.t.Helper()
	m.start()
	if data == log && data != empty && data != skeleton && data != notOwned {
		if a := m.get("/v2/keys/who"); !strings.Contains(a.body, data) {
			m.t.Errorf("it is not what was there: %s", a.body)
		}
	}
	m.put("/cell", "1")
	m.stop()
	if warned := m.log.has(0, "may look into a directory"); warned != (data == notOwned || log == notOwned ||
		data == foreign) {
		m.t.Errorf("it has warned of directories that others may look into: %v", warned)
	}
	m.start()
	if a := m.get("/v2/keys/cell?quorum=true"); a.status != 200 {
		m.t.Errorf("after a restart: %s", a.body)
	}
	for path, want := range strangers {
		for _, dir := range []string{m.data(), m.logs()} {
			if b, err := os.ReadFile(filepath.Join(dir, path)); !errors.Is(err, fs.ErrNotExist) && string(b) != want {
				m.t.Errorf("%s in %s: %q, %v", path, dir, b, err)
			}
		}
	}
}

// strangers are the files in a directory of the kind foreign.
var strangers = map[string]string{"notes.txt": "notes", "deep/data.tmp": "mine"}

// make makes a directory of a kind; what is "data" or "logs".
func (w *startWorld) make(t *testing.T, kind, dir, what string) {
	t.Helper()
	mode := fs.FileMode(0o700)
	var err error
	switch kind {
	case ofMember, ofOther:
		for _, c := range w.templates[kind] {
			if in, path, _ := strings.Cut(c.path, "/"); in == what {
				err = errors.Join(err, c.put(filepath.Join(dir, path)))
			}
		}
	case skeleton:
		for _, name := range map[string][]string{"data": {"member/snap", "member/wal", "lost+found"},
			"logs": {"lost+found"}}[what] {
			err = errors.Join(err, os.MkdirAll(filepath.Join(dir, name), 0o700))
		}
	case foreign:
		mode = 0o755
		for name, text := range strangers {
			path := filepath.Join(dir, name)
			err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
		}
	case readOnly:
		mode = 0o500
		err = os.Mkdir(dir, 0o700)
	case notOwned:
		mode = 0o777
		err = os.Mkdir(dir, 0o700)
	default:
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case kind == full:
		fillUp(t, dir)
	case kind == notOwned && w.user == nil:
		t.Skip("only root can make a directory that belongs to somebody else")
	}
	w.give(t, dir, kind != notOwned)
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
}

// give makes the user that runs members own a tree, or only what is in it.
func (w *startWorld) give(t *testing.T, dir string, whole bool) {
	t.Helper()
	if w.user == nil {
		return
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == dir && !whole {
			return err
		}
		return os.Chown(path, int(w.user.Uid), int(w.user.Gid))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// fillUp makes dir a file system of its own that has no room.
func fillUp(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("mounting is not permitted here: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	err := os.WriteFile(filepath.Join(dir, "lost+found"), make([]byte, 1<<20), 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// copied is a file without the zeros at its end, or a directory.
type copied struct {
	path string // below the member's directory
	dir  bool
	data []byte
	size int64
}

// left is what a member has left in its directories.
func (m *member) left() (list []copied) {
	m.t.Helper()
	for _, dir := range []string{m.data(), m.logs()} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			c := copied{path: strings.TrimPrefix(path, m.dir+"/"), dir: d.IsDir()}
			if !c.dir {
				var b []byte
				b, err = os.ReadFile(path)
				c.data, c.size = slices.Clone(b[:used(b)]), int64(len(b))
			}
			list = append(list, c)
			return err
		})
		if err != nil {
			m.t.Fatal(err)
		}
	}
	return list
}

func (c *copied) put(path string) error {
	if c.dir {
		return os.MkdirAll(path, 0o700)
	}
	return cmp.Or(os.WriteFile(path, c.data, 0o600), os.Truncate(path, c.size))
}

// digest returns the content of the member's directories: names, owners, modes, sizes and bytes; of
// large files only the first bytes.
func (m *member) digest() string {
	var lines []string
	for _, dir := range []string{m.data(), m.logs()} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			line := fmt.Sprint(path, " ", info.Mode(), " ", info.Sys().(*syscall.Stat_t).Uid)
			if !d.IsDir() && d.Name() != "lock" { // lock names the process that tried last
				f, err := os.Open(path)
				if err != nil {
					return err
				}
				b, err := io.ReadAll(io.LimitReader(f, 1<<16))
				if err = cmp.Or(err, f.Close()); err != nil {
					return err
				}
				line += fmt.Sprintf(" %d %x", info.Size(), sha256.Sum256(b))
			}
			lines = append(lines, line)
			return nil
		})
		if err != nil {
			m.t.Error(err)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// pitfall L14: `ETCD_WAL_DIR` is in a file that two services share.
func TestTwoServersDoNotShareALog(t *testing.T) {
	t.Parallel()
	first := newMember(t)
	first.environ = []string{"ETCD_WAL_DIR=" + first.logs()}
	first.start()
	first.put("/mine", "1")
	second := newMember(t)
	second.environ = first.environ
	for _, pid := range []string{fmt.Sprint(first.pid.Load()), ""} {
		if pid == "" {
			first.stop()
		}
		line := second.refused()
		if want := cmp.Or(pid, "is that of member"); !hasAll(line, "--wal-dir="+first.logs(), want) {
			t.Errorf("want %s: %s", want, line)
		}
	}
	first.start()
	if a := first.get("/v2/keys/mine"); a.status != 200 {
		t.Error(a.body)
	}
}

// etcdctl respects the locks of a server, and restores a member into directories that exist.
func TestRestoreRespectsLocksAndTakesAnEmptyDirectory(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	m.flags = []string{"--wal-dir=" + m.logs()}
	m.start()
	m.put("/kept", "1")
	file := filepath.Join(m.dir, "backup")
	if status, text := m.ctl("backup", "--from", m.url, file); status != 0 {
		t.Fatal(text)
	}
	other := newMember(t)
	restore := func(logs string) (int, string) {
		return m.ctl("restore", file, "--data-dir", other.data(), "--wal-dir", logs)
	}
	if status, text := restore(m.logs()); status == 0 || !hasAll(text, "is in use", m.logs()) {
		t.Errorf("into the log of a member that runs: %d, %s", status, text)
	}
	if _, err := os.Stat(other.data()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("what was made in vain is still there")
	}
	if err := os.MkdirAll(filepath.Join(other.logs(), "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if status, text := restore(other.logs()); status != 0 {
		t.Fatal(text)
	}
	other.flags = []string{"--wal-dir=" + other.logs()}
	other.start()
	if a := other.get("/v2/keys/kept"); a.status != 200 {
		t.Error(a.body)
	}
}
