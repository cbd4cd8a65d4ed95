package raft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// numbers is a directory whose member got the commands c000, c001, … and was stopped. It has a
// snapshot behind each of the commands that are named.
func numbers(t *testing.T, n int, snapshots ...int) (dir string, commands []string) {
	t.Helper()
	c := nodeConfig(t.TempDir())
	node := openNode(t, c, &register{})
	for i := range n {
		commands = append(commands, fmt.Sprintf("c%03d", i))
		if _, err := node.Propose(context.Background(), []byte(commands[i])); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(snapshots, i) {
			takeSnapshot(t, node)
		}
	}
	stopNode(t, node)
	return c.Dir, commands
}

// takeSnapshot makes a member write a snapshot, and waits for it.
func takeSnapshot(t *testing.T, n *Node) {
	t.Helper()
	before := n.stats.Snapshots.Load()
	n.do(func(*core) { n.snapshots.wanted.Store(true); n.backlog = append(n.backlog, job{}) })
	for n.stats.Snapshots.Load() == before {
		if err := n.Read(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// logFile returns the one file of a directory that matches.
func logFile(t *testing.T, dir, pattern string) (path string, data []byte) {
	t.Helper()
	paths, _ := filepath.Glob(filepath.Join(dir, "member", pattern))
	if len(paths) != 1 {
		t.Fatalf("%s: %q", pattern, paths)
	}
	data, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	return paths[0], data
}

// flip changes a byte of a file at the last place of text.
func flip(t *testing.T, path string, data []byte, text string) {
	t.Helper()
	at := bytes.LastIndex(data, []byte(text))
	if at < 0 {
		t.Fatalf("%q is not in %s", text, path)
	}
	data[at] ^= 0x40
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// salvage salvages a directory, and returns the commands of the state and those behind it.
func salvage(t *testing.T, dir string) (w *Wreck, saved, lost []string) {
	t.Helper()
	sm := &register{}
	w, err := Salvage(dir, SalvageOptions{
		State: func() StateMachine { return sm },
		Lost:  func(cmd []byte) { lost = append(lost, string(cmd)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, sm.list(), lost
}

func TestSalvageMakesAClusterOfWhatIsWhole(t *testing.T) {
	dir, commands := numbers(t, 30)
	path, data := logFile(t, dir, "wal/*.wal")
	flip(t, path, data, "c011")
	if _, err := Open(nodeConfig(dir), &register{}); err == nil || !strings.Contains(err.Error(), "etcdctl salvage") {
		t.Fatalf("a start says %v", err)
	}
	before := tree(t, dir)

	w, saved, lost := salvage(t, dir)

	if tree(t, dir) != before {
		t.Error("something has changed")
	}
	if !slices.Equal(saved, commands[:11]) || !slices.Equal(lost[1:], commands[12:]) {
		t.Errorf("saved %q, lost %q", saved, lost)
	}
	// The command with the flipped bit is one of those that can be read, and reads wrong.
	if !w.Cut || w.Lost != 19 || w.Last != w.Index+19 || w.Self.Name != "n1" || len(w.Faults) != 1 ||
		w.Faults[0].File != path {
		t.Errorf("%+v of %+v at %d", w, w.Self, w.Index)
	}
	again := t.TempDir()
	s, err := Found(w.Frozen, RestoreOptions{Cluster: named(1), Places: []Place{{Name: "m1", Dir: again}},
		SegmentBytes: 1 << 16})
	if err != nil || s.Membership.ClusterID == w.Membership.ClusterID {
		t.Fatalf("%v: cluster %x of %x", err, s.Membership.ClusterID, w.Membership.ClusterID)
	}
	sm := &register{}
	next, err := openNode(t, nodeConfig(again), sm).Propose(context.Background(), []byte("next"))
	if err != nil || next.Index <= w.Index || !slices.Equal(sm.list(), append(commands[:11:11], "next")) {
		t.Errorf("%v: %d after %d, %q", err, next.Index, w.Index, sm.list())
	}
}

// Whatever byte is wrong, what is saved is what was agreed up to some entry, and only one batch of
// what follows can't be read.
func TestSalvageSavesABeginningWhateverIsWrong(t *testing.T) {
	dir, commands := numbers(t, 30)
	path, data := logFile(t, dir, "wal/*.wal")
	used := len(bytes.TrimRight(data, "\x00"))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	salvages := 0
	for at := 0; at < used; at += 3 {
		f.WriteAt([]byte{data[at] ^ 0x10}, int64(at))
		var lost []string
		sm := &register{}
		w, err := Salvage(dir, SalvageOptions{State: func() StateMachine { return sm },
			Lost: func(cmd []byte) { lost = append(lost, string(cmd)) }})
		f.WriteAt(data[at:at+1], int64(at))
		if err != nil && strings.Contains(err.Error(), "a member starts there") {
			continue
		}
		salvages++
		saved := sm.list()
		if err != nil || len(saved) > len(commands) || !slices.Equal(saved, commands[:len(saved)]) ||
			len(w.Faults) == 0 {
			t.Fatalf("byte %d: %v, saved %q", at, err, saved)
		}
		if sure := lost[min(2, len(lost)):]; len(lost) < len(commands)-len(saved)-1 || !slices.Equal(sure,
			commands[len(commands)-len(sure):]) {
			t.Fatalf("byte %d: saved %d, lost %q", at, len(saved), lost)
		}
	}
	if salvages < used/6 {
		t.Errorf("%d of %d", salvages, used)
	}
}

// What the snapshot holds is not lost, though the beginning of the log, from which it was made, is
// damaged.
func TestDamageBelowTheSnapshotCostsNothing(t *testing.T) {
	dir, commands := numbers(t, 30, 20)
	path, data := logFile(t, dir, "wal/*.wal")
	flip(t, path, data, "c003")

	w, saved, lost := salvage(t, dir)

	if !slices.Equal(saved, commands) || len(lost) > 0 || w.Cut || w.Lost > 0 || w.Last != w.Index ||
		len(w.Faults) == 0 {
		t.Errorf("saved %q, lost %q: %+v", saved, lost, w)
	}
}

// A snapshot that is damaged is passed over for an older one, from which the log goes on up to its
// own damage.
func TestSalvageBeginsWithAnOlderSnapshot(t *testing.T) {
	dir, commands := numbers(t, 60, 20, 40)
	path, data := logFile(t, dir, "wal/*.wal")
	snaps, _ := filepath.Glob(filepath.Join(dir, "member", "snap", "*.snap"))
	newest, err := os.ReadFile(snaps[len(snaps)-1])
	if err != nil || len(snaps) < 2 {
		t.Fatalf("%q, %v", snaps, err)
	}
	flip(t, snaps[len(snaps)-1], newest, "c030")
	flip(t, path, data, "c050")

	w, saved, lost := salvage(t, dir)

	if !slices.Equal(saved, commands[:50]) || !slices.Equal(lost[1:], commands[51:]) || len(w.Faults) != 2 {
		t.Errorf("saved %q, lost %q: %+v", saved, lost, w.Faults)
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	w, saved, lost = salvage(t, dir)
	if len(saved) == 0 || !slices.Equal(saved, commands[:len(saved)]) || len(lost) > 0 || len(w.Faults) != 2 ||
		w.Self.ID != 0 {
		t.Errorf("without a log: saved %q, lost %q: %+v of %+v", saved, lost, w.Faults, w.Self)
	}
}

// When the beginning of the log is missing, and there is no snapshot, nothing is whole.
func TestALogWithoutItsBeginningIsLost(t *testing.T) {
	dir, commands := numbers(t, 5)
	path, data := logFile(t, dir, "wal/*.wal")
	data[100] ^= 1 // in the first batch
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	w, saved, lost := salvage(t, dir)
	if w.Index != 0 || len(saved) > 0 || !slices.Equal(lost[len(lost)-5:], commands) {
		t.Errorf("up to %d, saved %q, lost %q", w.Index, saved, lost)
	}
}

func TestSalvageLeavesMembersAlone(t *testing.T) {
	dir, _ := numbers(t, 5)
	o := SalvageOptions{State: func() StateMachine { return &register{} }, Lost: func([]byte) {}}
	if _, err := Salvage(dir, o); err == nil || !strings.Contains(err.Error(), "nothing has to be salvaged") {
		t.Errorf("a member that starts: %v", err)
	}
	path, data := logFile(t, dir, "wal/*.wal")
	flip(t, path, data, "c002")
	home, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var inUse *DirError
	if _, err := Salvage(dir, o); !errors.As(err, &inUse) || !strings.Contains(err.Error(),
		"in use by another process") {
		t.Errorf("a directory that is locked: %v", err)
	}
	home.settled = true
	if err := home.Close(); err != nil {
		t.Fatal(err)
	}
	salvage(t, dir)
	if _, err := Salvage(t.TempDir(), o); err == nil {
		t.Error("an empty directory is salvaged")
	}
	if _, err := Salvage(filepath.Join(dir, "none"), o); err == nil {
		t.Error("what is not there is salvaged")
	}
}
