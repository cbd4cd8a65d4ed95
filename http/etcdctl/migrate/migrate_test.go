package migrate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"etcd2/http/auth"
)

// logOf returns the file of the log in an unpacked directory.
func logOf(dir string) string {
	return filepath.Join(dir, "data", "member", "wal", "0000000000000000-0000000000000000.wal")
}

// flip changes a bit of a file.
func flip(t *testing.T, file string, at int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func cut(t *testing.T, file string, size int64) {
	t.Helper()
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

// newestSnapshot is the newest snapshot in b-238-snapshots.
func newestSnapshot(dir string) string {
	return filepath.Join(dir, "data", "member", "snap", "0000000000000002-0000000000000198.snap")
}

func TestRealDirectoriesGiveWhatTheirServersAnswered(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, dir string, want *recorded)
	}{
		{"a-238-plain", nil}, {"b-238-snapshots", nil}, {"c-238-cluster-m1", nil}, {"c-238-cluster-m2", nil},
		{"d-238-auth", nil}, {"e-209-snapshots", nil}, {"f-34-mixed", nil}, {"f-34-torn-sector", nil},
		{"g-238-orphan-snap", nil}, {"h-238-waldir", nil}, {"k-238-backup", nil}, {"l-238-bytes", nil},
		{"n-238-forced", nil}, {"s-238-two-files", nil}, {"v-34-learner", nil}, {"w-225-snapshots", nil},
		{"x-238-expired-meanwhile", nil}, {"z-200-layout", nil}, {"y-238-killed-all", nil},
		// the last state is torn, the entry before it whole
		{"b-238-snapshots", func(t *testing.T, dir string, _ *recorded) {
			cut(t, logOf(dir), 75121)
		}},
		{"b-238-snapshots", func(t *testing.T, dir string, _ *recorded) { flip(t, newestSnapshot(dir), 5000) }},
		{"b-238-snapshots", func(t *testing.T, dir string, _ *recorded) {
			if err := os.RemoveAll(filepath.Join(dir, "data", "member", "snap")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, want := unpack(t, c.name)
			if c.change != nil {
				c.change(t, dir, want)
			}

			r := read(t, dir, Options{})

			want.check(t, r)
		})
	}
}

// read reads what was unpacked: one directory, or those of several members.
func read(t *testing.T, dir string, o Options) *Result {
	t.Helper()
	dirs := []string{filepath.Join(dir, "data")}
	if several, _ := filepath.Glob(filepath.Join(dir, "y*")); several != nil {
		dirs = several
	}
	if wal := filepath.Join(dir, "wal"); isDir(wal) {
		o.WALDirs = []string{wal}
	}
	r, err := Read(dirs, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (w *recorded) check(t *testing.T, r *Result) {
	t.Helper()
	same(t, linesOf(r.Tree), w.lines())
	if r.Tree.Index() != w.Index {
		t.Errorf("index %d, want %d", r.Tree.Index(), w.Index)
	}
	if w.RaftTerm != 0 && (r.Term != w.RaftTerm || r.Index < w.RaftIndex) {
		t.Errorf("entry %d of term %d, want %d of %d", r.Index, r.Term, w.RaftIndex, w.RaftTerm)
	}
	for i, m := range w.Members {
		if i >= len(r.Members) || fmt.Sprintf("%x", r.Members[i].ID) != m.ID || r.Members[i].Name != m.Name {
			t.Errorf("members %+v, want %+v", r.Members, w.Members)
			break
		}
	}
	st := auth.New(auth.Config{Store: r.Tree}).State()
	if bytes.Contains(w.Roles, []byte("permissions")) {
		sameJSON(t, map[string]any{"roles": slices.Collect(st.Roles())}, map[string]any{"roles": w.Roles})
	}
	if len(w.Users) > 2 {
		sameJSON(t, map[string]any{"users": slices.Collect(st.Users())}, map[string]any{"users": w.Users})
	}
	if st.Enabled != w.AuthEnabled && w.AuthEnabled || strings.Contains(fmt.Sprint(r.Notes), "log in") {
		t.Errorf("rights count: %v, and %q", st.Enabled, r.Notes)
	}
}

func TestWhatEndedMeanwhileIsGone(t *testing.T) {
	dir, want := unpack(t, "x-238-expired-meanwhile")
	r := read(t, dir, Options{})

	r.Expire(time.Now())

	same(t, linesOf(r.Tree), flat(want.AfterStart.Tree))
	if r.Tree.Index() != want.AfterStart.Index {
		t.Errorf("index %d, want %d", r.Tree.Index(), want.AfterStart.Index)
	}
}

func TestOneMemberAloneGivesWhatItKnewToBeCommitted(t *testing.T) {
	dir, want := unpack(t, "y-238-killed-all")

	r, err := Read([]string{filepath.Join(dir, "y1")}, Options{})

	if err != nil || r.Tree.Index() != want.Single.Index {
		t.Fatalf("%v, index %d, want %d", err, r.Tree.Index(), want.Single.Index)
	}
	if all := strings.Join(r.Notes, "\n"); !strings.Contains(all, want.Single.Missing[0]) {
		t.Errorf("%q does not tell of %s", all, want.Single.Missing[0])
	}
}

func TestSeveralMembersGiveWhatMoreThanHalfMayHaveHad(t *testing.T) {
	dir, want := unpack(t, "y-238-killed-all")
	other, _ := unpack(t, "a-238-plain")

	r, err := Read([]string{filepath.Join(dir, "y3"), filepath.Join(dir, "y1")}, Options{})

	if err != nil || r.Tree.Index() != want.Index {
		t.Fatalf("two of three: %v, index %d, want %d", err, r.Tree.Index(), want.Index)
	}
	if all := strings.Join(r.Notes, "\n"); !strings.Contains(all, "taken: what none of these members knew") ||
		!strings.Contains(all, "/ack/9") {
		t.Errorf("it does not tell of the tail: %q", all)
	}
	if _, err := Read([]string{filepath.Join(dir, "y3"), filepath.Join(other, "data")}, Options{}); err == nil {
		t.Error("members of two clusters are taken together")
	}
}

func TestAnEmptyStoreIsTakenLikeAnyOther(t *testing.T) {
	dir, _ := unpack(t, "a-238-plain")
	b, err := os.ReadFile(logOf(dir))
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for range 3 { // checksum, metadata, the note of no snapshot
		f, why := cutFrame(b, at)
		if why != flawNone {
			t.Fatal(why)
		}
		at = f.next
	}
	cut(t, logOf(dir), int64(at))

	r := read(t, dir, Options{})
	r.Expire(time.Now())

	if lines := linesOf(r.Tree); len(lines) > 0 || r.Index != 1 || r.Term != 1 || r.Tree.Index() != 0 {
		t.Errorf("%q at entry %d of term %d, index %d", lines, r.Index, r.Term, r.Tree.Index())
	}
}

func TestWhatHasATimeToLiveIsLeftOutOnDemand(t *testing.T) {
	dir, want := unpack(t, "b-238-snapshots")
	r := read(t, dir, Options{})

	r.RemoveTTLs()

	for _, l := range linesOf(r.Tree) {
		if strings.Contains(l, " until ") {
			t.Errorf("%s is there", l)
		}
	}
	if r.Tree.Index() <= want.Index || !strings.Contains(fmt.Sprint(r.Notes), "had a time to live") {
		t.Errorf("index %d, notes %q", r.Tree.Index(), r.Notes)
	}
}

func TestDamageIsRefusedWithItsPlaceAndWhatCouldBeSaved(t *testing.T) {
	for _, c := range []struct {
		name string
		at   int
	}{{"b-238-snapshots", 48042}, {"b-238-snapshots", 48004}, {"a-238-plain", 20501}} {
		dir, _ := unpack(t, c.name)
		flip(t, logOf(dir), c.at)
		data := filepath.Join(dir, "data")

		_, err := Read([]string{data}, Options{})

		for _, part := range []string{logOf(dir), "offset",
			"--until-damage would take what is before it, up to entry"} {
			if !strings.Contains(fmt.Sprint(err), part) {
				t.Errorf("%s with a bit flipped at %d: %v", c.name, c.at, err)
			}
		}
		r, err := Read([]string{data}, Options{UntilDamage: true})
		if err != nil || r.Tree.Index() == 0 {
			t.Errorf("%s until the damage at %d: %v", c.name, c.at, err)
		}
	}
}

func TestARemovedMembersDirectoryIsTakenOnlyOnDemand(t *testing.T) {
	dir, _ := unpack(t, "r-238-removed")
	data := filepath.Join(dir, "data")

	_, err := Read([]string{data}, Options{})
	if err == nil || !strings.Contains(err.Error(), "--removed") {
		t.Errorf("refused with %v", err)
	}
	if r, err := Read([]string{data}, Options{Removed: true}); err != nil || r.Tree.Index() == 0 {
		t.Errorf("on demand: %v", err)
	}
}

func TestATornTailGivesAllThatIsWhole(t *testing.T) {
	dir, want := unpack(t, "b-238-snapshots")
	cut(t, logOf(dir), 75016) // in the length of the last entry

	r := read(t, dir, Options{})

	if r.Tree.Index() != want.Index-1 || !strings.Contains(fmt.Sprint(r.Notes), "offset 75013") {
		t.Errorf("index %d, want %d; notes %q", r.Tree.Index(), want.Index-1, r.Notes)
	}
}

func TestReadingChangesNothing(t *testing.T) {
	dir, _ := unpack(t, "b-238-snapshots")
	flip(t, newestSnapshot(dir), 5000)
	before := fingerprint(t, dir)

	read(t, dir, Options{})

	if !bytes.Equal(fingerprint(t, dir), before) {
		t.Error("it has changed the directory")
	}
}

// fingerprint returns the names, times and contents of all files.
func fingerprint(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		fmt.Fprintln(&b, path, info.Size(), info.ModTime(), info.Mode())
		if err == nil && !info.IsDir() {
			content, _ := os.ReadFile(path)
			b.Write(content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestADirectoryThatAServerHasLockedIsRefused(t *testing.T) {
	for name, lock := range map[string]func(fd uintptr) error{
		"etcd 2": func(fd uintptr) error { return syscall.Flock(int(fd), syscall.LOCK_EX) },
		"etcd 3": func(fd uintptr) error {
			return syscall.FcntlFlock(fd, setLockOfFile, &syscall.Flock_t{Type: syscall.F_WRLCK})
		},
	} {
		if name == "etcd 3" && runtime.GOOS != "linux" {
			continue // it locks as etcd 2 there
		}
		dir, _ := unpack(t, "a-238-plain")
		f, err := os.OpenFile(logOf(dir), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := lock(f.Fd()); err != nil {
			t.Fatal(err)
		}

		_, err = Read([]string{filepath.Join(dir, "data")}, Options{})

		if err == nil || !strings.Contains(err.Error(), "a server runs with") {
			t.Errorf("locked by %s: %v", name, err)
		}
		f.Close()
		read(t, dir, Options{})
	}
}

func TestWhatIsNoDataDirectoryIsNamed(t *testing.T) {
	for files, want := range map[string]string{
		"":                          "is no data directory of etcd 2",
		"snapshot/1_2.ss conf":      "import --snap",
		"proxy/cluster":             "a proxy",
		"member/snap/1.snap":        "--wal-dir",
		"member/wal/0.tmp":          "is no data directory",
		"member/wal/" + hex16(0, 0): "no etcd has written",
		"member/wal/" + hex16(0, 0) + " member/wal/" + hex16(2, 9): "missing",
	} {
		dir := t.TempDir()
		for path := range strings.FieldsSeq(files) {
			path = filepath.Join(dir, path)
			if err := cmp.Or(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("\bwhat?"),
				0o644)); err != nil {
				t.Fatal(err)
			}
		}

		_, err := Read([]string{dir}, Options{})

		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%q: %v, want %q", files, err, want)
		}
	}
}

func TestWhatEtcdHasLeftIsRecognized(t *testing.T) {
	for name, want := range map[string]string{
		"a-238-plain": "etcd 2.3", "e-209-snapshots": "etcd 2.0", "f-34-mixed": "etcd 3.4",
		"z-200-layout": "etcd 2.0", "w-225-snapshots": "etcd 2.2", "r-238-removed": "etcd 2.3",
	} {
		dir, _ := unpack(t, name)
		data := filepath.Join(dir, "data")
		want = fmt.Sprintf("%s is the data directory of %s: etcdctl migrate %[1]s --data-dir NEW converts it, "+
			"and then start with --data-dir NEW", data, want)
		if err := Left(data, ""); fmt.Sprint(err) != want {
			t.Errorf("%s: %v", name, err)
		}
		if member := filepath.Join(data, "member"); isDir(member) && Left(member, "") == nil {
			t.Errorf("%s: its directory member is not recognized", name)
		}
	}
	dir, _ := unpack(t, "h-238-waldir")
	data, log := filepath.Join(dir, "data"), filepath.Join(dir, "wal")
	if err := Left(data, ""); err == nil || !strings.Contains(err.Error(), "--wal-dir DIR") {
		t.Errorf("without its log: %v", err)
	}
	if err := Left(data, log); err == nil || !strings.Contains(err.Error(), "--wal-dir "+log) {
		t.Errorf("with its log: %v", err)
	}
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if err := Left(dir, ""); err != nil {
			t.Errorf("nothing in %s: %v", dir, err)
		}
	}
}

// Every start checks whether the directory is etcd's, and its snapshots may be larger than the
// memory.
func TestLookingReadsNoWholeFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "member", "snap", "0000000000000001.snap")
	if err := cmp.Or(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("etcdsnap"), 0o644),
		os.Truncate(file, 1<<40)); err != nil {
		t.Fatal(err)
	}
	if err := Left(dir, ""); err != nil {
		t.Error(err)
	}
}

// Two copies of one member's data do not count as two members: an entry that the older copy lacks
// would seem to be missing at another member.
func TestOneMemberCountsOnce(t *testing.T) {
	dir, _ := unpack(t, "y-238-killed-all")
	y1, y2 := filepath.Join(dir, "y1"), filepath.Join(dir, "y2")
	_, err := Read([]string{y1, y2, y1}, Options{})
	if err == nil || !strings.Contains(err.Error(), "are of the same member") || !strings.Contains(err.Error(), y1) {
		t.Errorf("%v", err)
	}
}

// hex16 returns the name of a file of the log.
func hex16(number, index int) string { return fmt.Sprintf("%016x-%016x.wal", number, index) }

func sameJSON(t *testing.T, got, want any) {
	t.Helper()
	g, w := normal(t, got), normal(t, want)
	if g != w {
		t.Errorf("\n got %s\nwant %s", g, w)
	}
}

// normal returns a value as JSON with its keys in order.
func normal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	var plain any
	if err == nil {
		err = json.Unmarshal(b, &plain)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, _ = json.Marshal(plain)
	return string(b)
}
