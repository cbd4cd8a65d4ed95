package raft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"etcd2/wal/disk/disktest"
)

// frozenFile is a backup file with the commands of a member.
func frozenFile(t *testing.T, n *Node) (path string, s Snapshot) {
	t.Helper()
	f, err := n.Freeze(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if size, err := f.WriteTo(&out); err != nil || size != int64(out.Len()) {
		t.Fatalf("%d bytes, %v", size, err)
	}
	path = filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, f.Snapshot
}

// testBackup is the backup of a cluster of one with these commands.
func testBackup(t *testing.T, commands ...string) (path string, s Snapshot) {
	t.Helper()
	n := openNode(t, nodeConfig(t.TempDir()), &register{})
	for _, cmd := range commands {
		if _, err := n.Propose(context.Background(), []byte(cmd)); err != nil {
			t.Fatal(err)
		}
	}
	return frozenFile(t, n)
}

// named are n members m1, m2, … of a list whose cluster would be 70.
func named(n int) Membership {
	m := Membership{ClusterID: 70}
	for id := range uint64(n) {
		m.Members = append(m.Members, Member{ID: id + 1, Name: fmt.Sprint("m", id+1),
			PeerURLs: []string{fmt.Sprintf("http://n%d", id+1)}})
	}
	return m
}

// sound fails the test unless Verify finds nothing wrong.
func sound(t *testing.T, path string, o VerifyOptions) Report {
	t.Helper()
	r, err := Verify(path, o)
	if err != nil || len(r.Faults) > 0 {
		t.Fatalf("%v\n%s", err, &r)
	}
	return r
}

func TestAFrozenStateIsThatOfOneMoment(t *testing.T) {
	n := openNode(t, nodeConfig(t.TempDir()), &register{})
	for _, cmd := range []string{"a", "b"} {
		if _, err := n.Propose(context.Background(), []byte(cmd)); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	f, err := n.Freeze(context.Background(), func() { seen = n.sm.(*register).list() })
	if err != nil {
		t.Fatal(err)
	}
	last, err := n.Propose(context.Background(), []byte("too late"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var out bytes.Buffer
		if _, err := f.WriteTo(&out); err != nil || bytes.Contains(out.Bytes(), []byte("too late")) {
			t.Errorf("%v, %q", err, out.Bytes())
		}
	}
	if !slices.Equal(seen, []string{"a", "b"}) || f.Index >= last.Index || f.Stamp == 0 || !f.Membership.has(1) {
		t.Errorf("seen %q; %+v, then came %d", seen, f.Snapshot, last.Index)
	}
}

func TestAMemberThatEndsGivesNoBackup(t *testing.T) {
	n := openNode(t, nodeConfig(t.TempDir()), &register{})
	f, err := n.Freeze(cancelled, nil)
	if err == nil && f == nil || err != nil && err != context.Canceled {
		t.Errorf("with a context that has ended: %v, %v", f, err)
	}
	n.Stop(cancelled)
	if _, err := n.Freeze(context.Background(), nil); err != ErrStopped {
		t.Errorf("after Stop: %v", err)
	}
}

// pitfall I1: what is frozen before anything is applied has the time of the snapshot that the
// member began with.
func TestTheClockOfABackupIsThatOfItsLastEntry(t *testing.T) {
	dir := t.TempDir()
	file, was := testBackup(t, "a")
	if _, err := Restore(file, RestoreOptions{Cluster: named(1), Places: []Place{{Name: "m1", Dir: dir}},
		SegmentBytes: 1 << 16}); err != nil {
		t.Fatal(err)
	}
	c := nodeConfig(dir).withDefaults()
	c.Dirs = &Dirs{dir: dir}
	n, err := open(c, &register{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.storage.close()
	if now := n.applied.Load(); now.stamp != was.Stamp || now.stamp == 0 ||
		n.core.clock.time(&n.core.log) != was.Stamp {
		t.Errorf("the stamp is %d, the clock %d; want %d", now.stamp, n.core.clock.time(&n.core.log), was.Stamp)
	}
}

func TestEveryFlippedBitOfABackupIsFound(t *testing.T) {
	path, _ := testBackup(t, "a", "b")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sound(t, path, VerifyOptions{})
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for bit := range 8 * len(whole) {
		at := bit / 8
		f.WriteAt([]byte{whole[at] ^ 1<<(bit%8)}, int64(at))
		r, err := Verify(path, VerifyOptions{})
		if err != nil || len(r.Faults) != 1 || r.Faults[0].File != path || r.Faults[0].Offset > int64(at) &&
			r.Faults[0].Offset != 0 {
			t.Fatalf("bit %d of byte %d: %v, %s", bit%8, at, err, &r)
		}
		if _, err := Restore(path, RestoreOptions{Cluster: named(1),
			Places: []Place{{Name: "m1", Dir: filepath.Join(t.TempDir(), "new")}}, SegmentBytes: 1 << 16}); err == nil {
			t.Fatalf("bit %d of byte %d: it is restored", bit%8, at)
		}
		f.WriteAt(whole[at:at+1], int64(at))
	}
	for cut := range whole {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := Verify(path, VerifyOptions{}); err != nil || len(r.Faults) != 1 {
			t.Fatalf("cut at %d: %v, %s", cut, err, &r)
		}
	}
}

func TestARestoredMemberGoesOnFromTheBackup(t *testing.T) {
	file, was := testBackup(t, "a", "b")
	data, logs := filepath.Join(t.TempDir(), "made", "by", "restore"), filepath.Join(t.TempDir(), "logs")
	s, err := Restore(file, RestoreOptions{Cluster: named(1), Places: []Place{{"m1", data, logs}},
		SegmentBytes: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	r := sound(t, data, VerifyOptions{WALDir: logs, State: func() StateMachine { return &register{} }})
	if r.Last != was.Index || r.Commit != was.Index || r.Running {
		t.Errorf("%+v", r)
	}

	c := nodeConfig(data)
	c.WALDir, c.Bootstrap = logs, Membership{} // it needs none
	sm := &register{}
	n := openNode(t, c, sm)
	next, err := n.Propose(context.Background(), []byte("c"))

	if err != nil || next.Index <= was.Index || !slices.Equal(sm.list(), []string{"a", "b", "c"}) {
		t.Errorf("%v: %d after %d, %q", err, next.Index, was.Index, sm.list())
	}
	if m := n.Membership(); m.ClusterID != s.Membership.ClusterID || m.ClusterID == was.Membership.ClusterID ||
		m.ClusterID == 70 || len(m.Members) != 1 || m.Members[0].PeerURLs[0] != "http://n1" {
		t.Errorf("%+v", m)
	}
	if r := sound(t, data, VerifyOptions{WALDir: logs}); !r.Running || r.Last < next.Index {
		t.Errorf("while it runs: %+v", r)
	}
}

// Each member is restored by a call of its own, as on a machine of its own.
func TestThreeRestoredMembersAreOneCluster(t *testing.T) {
	file, was := testBackup(t, "a", "b")
	c := newCluster(t, 0, nil)
	var clusters []uint64
	for id := uint64(1); id <= 3; id++ {
		c.dirs[id] = t.TempDir()
		s, err := Restore(file, RestoreOptions{Cluster: named(3), Places: []Place{{Name: fmt.Sprint("m", id),
			Dir: c.dirs[id]}}, SegmentBytes: 1 << 16})
		if err != nil {
			t.Fatal(err)
		}
		clusters = append(clusters, s.Membership.ClusterID)
	}
	for id := uint64(1); id <= 3; id++ {
		c.start(id, false)
	}
	c.propose(c.follower(), "c")
	c.equal()
	if got := c.sms[2].list(); !slices.Equal(got, []string{"a", "b", "c"}) ||
		slices.Max(clusters) != slices.Min(clusters) {
		t.Errorf("%q in clusters %x", got, clusters)
	}
	if _, err := c.nodes[1].Change(context.Background(), Change{Kind: ChangeAdd, Member: Member{ID: 4,
		PeerURLs: []string{"http://n4"}, Learner: true}}); err != nil {
		t.Fatal(err)
	}
	<-c.start(4, true).Ready() // from before the backup the log has nothing: it gets the snapshot
	c.kill(c.leader())
	c.propose(c.follower(), "d")
	c.equal()
	if index, _ := c.nodes[4].Applied(); index <= was.Index {
		t.Errorf("the joined one is at %d", index)
	}
}

// A state in memory founds a cluster as its file would, and each machine may do so for its own
// member.
func TestAStateInMemoryFoundsACluster(t *testing.T) {
	n := openNode(t, nodeConfig(t.TempDir()), &register{})
	if _, err := n.Propose(context.Background(), []byte("a")); err != nil {
		t.Fatal(err)
	}
	f, err := n.Freeze(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var clusters []uint64
	dir := ""
	for range 2 {
		dir = t.TempDir()
		s, err := Found(f, RestoreOptions{Cluster: named(1), Places: []Place{{Name: "m1", Dir: dir}},
			SegmentBytes: 1 << 16})
		if err != nil {
			t.Fatal(err)
		}
		clusters = append(clusters, s.Membership.ClusterID)
	}
	if clusters[0] != clusters[1] || clusters[0] == f.Membership.ClusterID {
		t.Errorf("clusters %x of %x", clusters, f.Membership.ClusterID)
	}
	sm := &register{}
	next, err := openNode(t, nodeConfig(dir), sm).Propose(context.Background(), []byte("b"))
	if err != nil || next.Index <= f.Index || !slices.Equal(sm.list(), []string{"a", "b"}) {
		t.Errorf("%v: %d after %d, %q", err, next.Index, f.Index, sm.list())
	}
}

func TestAClusterIsNamedAfterItsBackupAndItsList(t *testing.T) {
	file, _ := testBackup(t, "a")
	other, _ := testBackup(t, "b")
	token := named(1)
	token.ClusterID++
	seen := map[uint64]bool{}
	for _, how := range []struct {
		file string
		list Membership
	}{{file, named(1)}, {other, named(1)}, {file, token}, {file, named(1)}} {
		s, err := Restore(how.file, RestoreOptions{Cluster: how.list, Places: []Place{{Name: "m1", Dir: t.TempDir()}},
			SegmentBytes: 1 << 16})
		if err != nil {
			t.Fatal(err)
		}
		seen[s.Membership.ClusterID] = true
	}
	if len(seen) != 3 {
		t.Errorf("%v", seen)
	}
}

func TestARestoreTouchesNoDirectoryInUse(t *testing.T) {
	file, _ := testBackup(t, "a")
	restore := func(places ...Place) error {
		_, err := Restore(file, RestoreOptions{Cluster: named(3), Places: places, SegmentBytes: 1 << 16})
		return err
	}
	taken, used, dir := t.TempDir(), t.TempDir(), t.TempDir()
	if err := restore(Place{Name: "m1", Dir: taken}); err != nil {
		t.Fatal(err)
	}
	lock, err := LockDir(used)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for name, err := range map[string]error{
		"a member":            restore(Place{Name: "m2", Dir: dir}, Place{Name: "m1", Dir: taken}),
		"a process":           restore(Place{Name: "m2", Dir: dir}, Place{Name: "m1", Dir: used}),
		"a log":               restore(Place{Name: "m2", Dir: dir, WALDir: filepath.Join(taken, "member", "wal")}),
		"one twice":           restore(Place{Name: "m1", Dir: dir}, Place{Name: "m1", Dir: filepath.Join(dir, "2")}),
		"one for two":         restore(Place{Name: "m1", Dir: dir}, Place{Name: "m2", Dir: dir + "/"}),
		"a log for two":       restore(Place{"m1", dir, dir + "/l"}, Place{"m2", filepath.Join(dir, "2"), dir + "/l"}),
		"nobody":              restore(),
		"one that is not one": restore(Place{Name: "m4", Dir: dir}),
	} {
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if there, err := Exists(dir, ""); there || err != nil {
		t.Errorf("in the free directory: %v, %v", there, err)
	}
}

func TestAnUnfinishedDiskDoesNotStart(t *testing.T) {
	file, _ := testBackup(t, "a")
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "member"+unfinishedSuffix, "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	if there, err := Exists(dir, ""); there || err == nil {
		t.Errorf("Exists: %v, %v", there, err)
	}
	if n, err := Open(nodeConfig(dir), &register{}); err == nil {
		n.Stop(cancelled)
		t.Error("it starts from nothing")
	}
	if _, err := Verify(dir, VerifyOptions{}); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("Verify: %v", err)
	}
	if _, err := Restore(file, RestoreOptions{Cluster: named(1), Places: []Place{{Name: "m1", Dir: dir}},
		SegmentBytes: 1 << 16}); err != nil {
		t.Fatal(err)
	}
	openNode(t, nodeConfig(dir), &register{})
}

// crashBackup is a backup on a disk of its own.
func crashBackup(t *testing.T) (*disktest.Disk, Snapshot) {
	t.Helper()
	path, s := testBackup(t, "a", "b")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := disktest.New()
	f, err := d.Create("file")
	if err == nil {
		_, err = f.WriteAt(data, 0)
		err = errors.Join(err, f.Sync(), f.Close(), d.SyncDir("."))
	}
	if err != nil {
		t.Fatal(err)
	}
	return d, s
}

// restoreOn restores three members on a disk, one of them with its log elsewhere.
func restoreOn(d *disktest.Disk) error {
	_, err := Restore("file", RestoreOptions{
		Cluster: named(3), Places: []Place{{Name: "m1", Dir: "a"}, {Name: "m2", Dir: "b/c", WALDir: "logs/b"},
			{Name: "m3", Dir: "d"}},
		SegmentBytes: 1 << 10, fs: d,
	})
	return err
}

// wholeOn returns how many of them are there. One that is there and no whole member is an error.
func wholeOn(d *disktest.Disk, was Snapshot) (whole int, err error) {
	for _, o := range []storageOptions{{Dir: "a/member"}, {Dir: "b/c/member", WALDir: "logs/b"}, {Dir: "d/member"}} {
		o.FS, o.Bytes = d, 1<<10
		if there, err := storageExists(o); err != nil || !there {
			continue // refused, or nothing
		}
		if !exists(d, filepath.Join(o.Dir, "snap")) {
			continue // a log alone, which openStorage refuses
		}
		s, r, err := openStorage(o, nil)
		if err != nil {
			return whole, err
		}
		body, err := io.ReadAll(r.Reader)
		err = errors.Join(err, r.Reader.Close(), s.close())
		if err != nil || string(body) != "\x01a\x01b" || r.Snapshot.Index != was.Index || r.State.Commit != was.Index ||
			len(r.Snapshot.Membership.Members) != 3 {
			return whole, fmt.Errorf("%s: %+v with %q, %w", o.Dir, r.boot, body, err)
		}
		whole++
	}
	return whole, nil
}

// Whatever a crash leaves of a restore, each directory holds a whole member, or none that would
// start.
//
// pitfall H10, pitfall H6
func TestACrashDuringARestoreLeavesNothingThatLooksWhole(t *testing.T) {
	d, was := crashBackup(t)
	rng := rand.New(rand.NewPCG(10, 0))
	states, partly := 0, 0
	d.After = func(d *disktest.Disk, call, name string) {
		fates := d.Fates(rng)
		rng.Shuffle(len(fates), func(i, j int) { fates[i], fates[j] = fates[j], fates[i] })
		copies := []*disktest.Disk{d.Kill()}
		for _, f := range fates[:min(30, len(fates))] {
			copies = append(copies, d.Crash(f))
		}
		for _, left := range copies {
			n, err := wholeOn(left, was)
			if err != nil {
				t.Fatalf("call %d (%s %s): %v", d.Calls, call, name, err)
			}
			if states++; n > 0 && n < 3 {
				partly++
			}
		}
	}
	if err := restoreOn(d); err != nil {
		t.Fatal(err)
	}
	d.After = nil
	for _, f := range d.Fates(rng) {
		if n, err := wholeOn(d.Crash(f), was); n != 3 || err != nil {
			t.Fatalf("after the end, %v: %d members, %v", f, n, err)
		}
	}
	if partly == 0 || d.OpenFiles != 0 {
		t.Errorf("%d states, %d of them with some members, %d files open", states, partly, d.OpenFiles)
	}
}

// pitfall H9, pitfall H16
func TestARestoreThatFailsLeavesNothingAndCanBeRepeated(t *testing.T) {
	fresh, was := crashBackup(t)
	for n := 1; ; n++ {
		d := fresh.Kill()
		d.Fault = disktest.FailAt(n)
		err := restoreOn(d)
		if err == nil {
			return
		}
		d.Fault = nil
		whole, bad := wholeOn(d, was)
		if !errors.Is(err, disktest.ErrInjected) || bad != nil || d.OpenFiles != 0 {
			t.Fatalf("call %d failed: %v; %v, %d files open", n, err, bad, d.OpenFiles)
		}
		if whole > 0 {
			continue // the last part: the names are being given
		}
		if err := restoreOn(d); err != nil {
			t.Fatalf("call %d had failed, and again: %v", n, err)
		}
	}
}

func TestACopyStartsOnlyAsAClusterOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	c := nodeConfig(dir)
	c.ForceAlone = true // so that its log holds a cluster's id
	n := openNode(t, c, &register{})
	for i := range 2*batchEntries + 7 {
		if i == batchEntries {
			n.snapshots.wanted.Store(true)
		}
		_, _ = n.enqueue(&waiter{result: make(chan outcome, 1)}, request{proposal: proposal{kind: EntryCommand,
			data: []byte("x")}})
	}
	if _, err := n.Propose(context.Background(), []byte("last")); err != nil {
		t.Fatal(err)
	}
	for _, running := range []bool{true, false} {
		if !running {
			stopNode(t, n)
		}
		copyDir, logs := filepath.Join(t.TempDir(), "copy"), filepath.Join(t.TempDir(), "logs")
		before := tree(t, dir)
		s, err := backup(storageOptions{Dir: filepath.Join(dir, "member"), Bytes: 1 << 16}, Place{Dir: copyDir,
			WALDir: logs})
		if err != nil || tree(t, dir) != before && !running {
			t.Fatalf("running %v: %v", running, err)
		}
		r := sound(t, copyDir, VerifyOptions{WALDir: logs})
		if r.Last != s.Index || !strings.Contains(r.String(), "--force-new-cluster") {
			t.Errorf("%d is copyCluster:\n%s", s.Index, &r)
		}

		c := nodeConfig(copyDir)
		c.WALDir, c.ForceAlone = logs, false
		if _, err := Open(c, &register{}); err == nil || !strings.Contains(err.Error(), "--force-new-cluster") {
			t.Fatalf("without --force-new-cluster: %v", err)
		}
		c.ForceAlone, c.ForceURLs = true, []string{"http://copy"}
		sm := &register{}
		copyCluster := openNode(t, c, sm)
		if m := copyCluster.Membership(); copyCluster.ID() == 1 || len(m.Members) != 1 || !slices.Equal(m.Members[0].PeerURLs,
			c.ForceURLs) || m.ClusterID == n.Membership().ClusterID || !slices.Contains(m.Removed, 1) {
			t.Errorf("member %x of %+v", copyCluster.ID(), m)
		}
		if list := sm.list(); len(list) != 2*batchEntries+8 || list[len(list)-1] != "last" {
			t.Errorf("%d commands are copyCluster", len(list))
		}
		stopNode(t, copyCluster)
		c.ForceAlone = false
		stopNode(t, openNode(t, c, &register{}))
	}
	if _, err := Backup(dir, "", dir, ""); err == nil {
		t.Error("it is copyCluster onto itself")
	}
	if _, err := Backup(t.TempDir(), "", t.TempDir(), ""); err == nil {
		t.Error("nothing is copyCluster")
	}
}

// tree is what there is in a directory: names, sizes and times.
func tree(t *testing.T, dir string) (s string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		s += fmt.Sprintln(path, info.Size(), info.ModTime())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
