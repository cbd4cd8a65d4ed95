package raft

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"etcd2/wal/disk"
	"etcd2/wal/disk/disktest"
)

// apart is a member whose log is not inside its data directory.
func apart(dir, walDir string) Config {
	c := nodeConfig(dir)
	c.WALDir = walDir
	return c
}

// pitfall H12, pitfall L14
func TestEveryDirectoryHasOneProcess(t *testing.T) {
	dir := t.TempDir()
	first := apart(dir+"/a", dir+"/wal")
	openNode(t, first, &register{})
	for _, c := range []Config{
		first,
		apart(dir+"/b", dir+"/wal"), // adopting the log of a member that runs
		apart(dir+"/a", dir+"/other"),
	} {
		n, err := Open(c, &register{})
		if err == nil {
			n.Stop(cancelled)
			t.Fatalf("%s with %s: two processes write there", c.Dir, c.WALDir)
		}
		if !strings.Contains(err.Error(), "is in use by another process") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s with %s: %v", c.Dir, c.WALDir, err)
		}
	}
	for _, name := range []string{"b", "other"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s was made in vain, and is still there", name)
		}
	}
}

// pitfall L14
func TestALogIsNotAdopted(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"1", "2"} {
		stopNode(t, openNode(t, apart(dir+"/data"+name, dir+"/wal"+name), &register{}))
	}
	stopNode(t, openNode(t, apart(dir+"/lone", dir+"/wal-lone"), &register{}))
	if err := os.Remove(dir + "/lone/member/identity"); err != nil {
		t.Fatal(err)
	}
	etcd := dir + "/etcd/member/wal/0000000000000000-0000000000000000.wal"
	err := errors.Join(os.MkdirAll(dir+"/skeleton/member/snap", 0o700), os.MkdirAll(filepath.Dir(etcd), 0o700),
		os.WriteFile(etcd, append([]byte("\x04\x00\x00\x00\x00\x00\x00\x84\b\x04\x10\x00"), make([]byte, 99)...),
			0o600))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(dir+"/link", 0o700), os.Mkdir(dir+"/link/member", 0o700), os.Symlink(dir+"/wal1",
		dir+"/link/member/wal")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct{ data, wal, want string }{
		{"link", "", "is that of member"},
		{"data1", "wal2", "is that of member"},
		{"none", "wal1", "is that of member"},
		{"skeleton", "wal1", "is that of member"},
		{"none", "wal-lone", "is that of member"},
		{"data1", "none", "there is no log in"},
		{"data1", "", "/wal1"},
		{"data1", "data1", "this is the data directory itself"},
		{"etcd", "", "was not written by this program"},
		{"lone", "wal-lone", "is that of member"},
		{"data1", "wal1", ""},
	} {
		c := apart(filepath.Join(dir, p.data), "")
		if p.wal != "" {
			c.WALDir = filepath.Join(dir, p.wal)
		}
		before := contents(t, dir)
		n, err := Open(c, &register{})
		switch {
		case p.want == "" && err != nil:
			t.Errorf("%+v: %v", p, err)
		case p.want == "":
			stopNode(t, n)
		case err == nil:
			n.Stop(cancelled)
			t.Errorf("%+v: it starts", p)
		case !strings.Contains(err.Error(), p.want) || strings.Contains(err.Error(), "\n"):
			t.Errorf("%+v: %v", p, err)
		case contents(t, dir) != before:
			t.Errorf("%+v: something was changed", p)
		}
	}
}

// A data directory and a log that do not belong together are a fault.
func TestVerifySaysWhoseLogItIs(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"1", "2"} {
		stopNode(t, openNode(t, apart(dir+"/data"+name, dir+"/wal"+name), &register{}))
	}
	for logs, faults := range map[string]int{"/wal1": 0, "/wal2": 1} {
		r, err := Verify(dir+"/data1", VerifyOptions{WALDir: dir + logs})
		if err != nil || len(r.Faults) != faults {
			t.Errorf("%s: %v, %s", logs, err, &r)
		}
	}
}

// noRoom is a file system on which no log can be made.
type noRoom struct{ disk.OS }

func (noRoom) Create(name string) (disk.File, error) {
	if strings.Contains(name, "wal") {
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.ENOSPC}
	}
	return disk.OS{}.Create(name)
}

func TestAFirstStartThatFailsLeavesNothing(t *testing.T) {
	for _, walDir := range []string{"", "/wal"} {
		for _, made := range []string{"/other", "/data/member/snap", "/wal"} {
			dir := t.TempDir()
			if err := os.MkdirAll(dir+made, 0o700); err != nil {
				t.Fatal(err)
			}
			c := apart(dir+"/data", "")
			if walDir != "" {
				c.WALDir = dir + walDir
			}
			c.fs = noRoom{}
			before := contents(t, dir)

			n, err := Open(c, &register{})

			var e *DirError
			if err == nil {
				n.Stop(cancelled)
				t.Fatal("it starts")
			}
			if !errors.As(err, &e) || !e.Log || e.Remedy != remedies[0].remedy {
				t.Errorf("%v", err)
			}
			if after := contents(t, dir); after != before {
				t.Errorf("there is\n%s\nand was\n%s", after, before)
			}
		}
	}
}

// A directory in which no member has lived counts as missing.
func TestAMemberBeginsInEmptyDirectories(t *testing.T) {
	for name, made := range map[string][]string{
		"nothing":      nil,
		"a log's":      {"wal"},
		"a disk's":     {"wal/lost+found", "data/lost+found"},
		"a skeleton's": {"wal", "data/member/snap", "data/member/wal"},
	} {
		dir := t.TempDir()
		for _, d := range made {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []Config{apart(dir+"/data", dir+"/wal"), apart(dir+"/data", dir+"/wal")} {
			n, err := Open(c, &register{})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			stopNode(t, n)
		}
	}
}

// A log names its member, and so must the data directory: otherwise there is no start.
func TestADirectoryWithoutAnIdentityIsRefused(t *testing.T) {
	dir := t.TempDir()
	stopNode(t, openNode(t, nodeConfig(dir), &register{}))
	if err := os.Remove(dir + "/member/identity"); err != nil {
		t.Fatal(err)
	}

	_, err := Open(nodeConfig(dir), &register{})
	seen, lookErr := Verify(dir, VerifyOptions{})

	if err == nil || !strings.Contains(err.Error(), "member/identity, which says whose the log is") {
		t.Errorf("the start says %v", err)
	}
	if lookErr != nil || len(seen.Faults) != 1 || seen.Faults[0].File != dir+"/member/identity" {
		t.Errorf("verify says %v, %s", lookErr, &seen)
	}
}

// contents is what there is in a directory: names, modes and bytes.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var s strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		s.WriteString(path + " " + info.Mode().String() + "\n")
		if !info.Mode().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		s.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}

// Whatever a crash leaves of a first start, the next one succeeds: it begins anew, or, once the
// first has opened its log, goes on with that.
//
// pitfall H10, pitfall H11
func TestAFirstStartThatCrashedIsRepeated(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for _, o := range []storageOptions{{Dir: "m"}, {Dir: "m", WALDir: "logs"}} {
		o.Bytes = 1 << 10
		start := func(d *disktest.Disk) error {
			o := o
			o.FS = d
			there, err := storageExists(o)
			if err == nil && !there {
				err = errors.Join(d.Mkdir("m"), createStorage(o, 7, 1, 1, entries(1, 1, 3)), d.SyncDir("."))
			}
			if err != nil {
				return err
			}
			s, r, err := openStorage(o, nil)
			if err == nil && len(r.Entries) != 3 {
				err = fmt.Errorf("entries %s", indexTerms(r.Entries))
			}
			if err == nil {
				err = s.close()
			}
			return err
		}
		d, states := disktest.New(), 0
		d.After = func(d *disktest.Disk, call, name string) {
			for _, left := range append([]*disktest.Disk{d.Kill()}, crashes(d, rng)...) {
				states++
				if err := start(left); err != nil {
					t.Fatalf("%+v: call %d (%s %s): %v", o, d.Calls, call, name, err)
				}
			}
		}
		if err := start(d); err != nil {
			t.Fatal(err)
		}
		d.After = nil
		for _, left := range crashes(d, rng) {
			o.FS = left
			if there, err := storageExists(o); !there || err != nil {
				t.Fatalf("%+v: after the end: %v, %v", o, there, err)
			}
		}
		t.Log(states, "starts")
	}
}

// crashes are some of the states that a crash may leave.
func crashes(d *disktest.Disk, rng *rand.Rand) (left []*disktest.Disk) {
	fates := d.Fates(rng)
	rng.Shuffle(len(fates), func(i, j int) { fates[i], fates[j] = fates[j], fates[i] })
	for _, f := range fates[:min(30, len(fates))] {
		left = append(left, d.Crash(f))
	}
	return left
}

func TestALockThatIsALinkIsNotFollowed(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{victim, victim + "-that-is-not-there"} {
		dir := t.TempDir()
		if err := os.Symlink(target, dir+"/lock"); err != nil {
			t.Fatal(err)
		}

		_, err := LockDir(dir)

		var e *DirError
		if !errors.As(err, &e) || e.Dir != dir || !strings.Contains(e.Remedy, "delete it") {
			t.Errorf("%v", err)
		}
		if b, _ := os.ReadFile(victim); string(b) != "precious" {
			t.Errorf("the link's target says %q", b)
		}
		if there, err := os.ReadDir(filepath.Dir(victim)); len(there) != 1 {
			t.Errorf("%v %v", there, err)
		}
	}
}

// Verify looks whether a member runs by holding the lock for a moment.
func TestVerifyKeepsNoMemberFromItsStart(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(dir + "/lock")
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH)
	}
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(lockPause/2, func() { f.Close() })

	h, err := LockDir(dir)

	if err != nil {
		t.Fatal(err)
	}
	h.Close()
}

// A lock file that its holder removes is not taken for the one that is there afterwards.
func TestADirectoryIsLockedByOneAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var inside, got atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				h, err := LockDir(dir)
				if err != nil {
					continue
				}
				if got.Add(1); inside.Add(1) > 1 {
					t.Error("two are in the same directory")
				}
				inside.Add(-1)
				h.Close()
			}
		})
	}
	wg.Wait()
	if got.Load() == 0 {
		t.Error("nobody was ever in it")
	}
}
