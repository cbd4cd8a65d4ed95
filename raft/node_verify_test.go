package raft

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	testpace "etcd2/e2e/pace"
	"etcd2/wal"
)

// digesting is a register with a digest: how many commands it has.
type digesting struct{ register }

func (d *digesting) Digest() uint64 { return uint64(len(d.list())) }

// refusing is one that can't execute a command.
type refusing struct{ register }

func (r *refusing) Apply(uint64, time.Time, []byte) any { return unable{errors.New("refused")} }

type unable struct{ error }

func (unable) Fatal() bool { return true }

// writtenDir is a data directory with two snapshots and a log behind them, and the member that
// wrote it.
func writtenDir(t *testing.T) (string, *Node) {
	t.Helper()
	c := nodeConfig(t.TempDir())
	n := openNode(t, c, &register{})
	for i := range 9 {
		if _, err := n.Propose(context.Background(), []byte{byte('a' + i)}); err != nil {
			t.Fatal(err)
		}
		if i == 2 || i == 4 {
			takeSnapshot(t, n)
		}
	}
	return c.Dir, n
}

func withDigest() StateMachine { return &digesting{} }

func TestVerifySaysWhatThereIsAndChangesNothing(t *testing.T) {
	dir, n := writtenDir(t)
	for _, running := range []bool{true, false} {
		if !running {
			stopNode(t, n)
		}
		before := tree(t, dir)
		r := sound(t, dir, VerifyOptions{State: withDigest})
		if tree(t, dir) != before {
			t.Error("something has changed")
		}
		if index, _ := n.Applied(); r.Running != running || r.Last != index || r.Snapshot.Index == 0 ||
			r.Commit < r.Snapshot.Index || r.Digest < 5 {
			t.Errorf("%+v", r)
		}
		for _, words := range []string{"snapshot at entry", "log of member 1 of cluster 1", "digest 000000000000000",
			"every record is right"} {
			if !strings.Contains(r.String(), words) {
				t.Errorf("it does not say %q:\n%s", words, &r)
			}
		}
		if strings.Contains(r.String(), "runs here") != running {
			t.Error(r.String())
		}
	}
	if _, err := Verify(t.TempDir(), VerifyOptions{}); err == nil {
		t.Error("an empty directory is one")
	}
	if _, err := Verify(filepath.Join(dir, "nowhere"), VerifyOptions{}); err == nil {
		t.Error("what is not there is one")
	}
}

// Every byte of a directory's files counts: one that is not what was written is a fault at that
// place or before it, or what a start would cut off. Only -long tries every byte; otherwise the
// stride is odd, and so comes to every byte of a word.
//
// pitfall H3, pitfall H14
func TestVerifyFindsEveryWrongByteOfADirectory(t *testing.T) {
	dir, n := writtenDir(t)
	stopNode(t, n)
	files, _ := filepath.Glob(filepath.Join(dir, "member", "*", "*.*"))
	seen, spared, every := 0, 0, testpace.Pick(7, 3, 1)
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		used := len(strings.TrimRight(string(data), "\x00"))
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < used; at += every {
			f.WriteAt([]byte{data[at] ^ 0x10}, int64(at))
			r, err := Verify(dir, VerifyOptions{})
			if err == nil && len(r.Faults) == 0 && r.Torn == (wal.Repair{}) && data[at] == 0 {
				spared++ // behind a batch, to make its length a multiple of 8: nobody reads it
			} else if err != nil || len(r.Faults) == 0 && r.Torn == (wal.Repair{}) {
				t.Fatalf("%s, byte %d: %v\n%s", path, at, err, &r)
			}
			if len(r.Faults) > 0 && (r.Faults[0].File != path || r.Faults[0].Offset > int64(at)+frameSlack) {
				t.Fatalf("%s, byte %d: blamed is %v", path, at, &r.Faults[0])
			}
			seen++
			f.WriteAt(data[at:at+1], int64(at))
		}
		f.Close()
	}
	sound(t, dir, VerifyOptions{})
	if len(files) < 3 || seen < 1000/every || spared > seen/10 {
		t.Errorf("%d bytes of %d files, %d of them spared", seen, len(files), spared)
	}
}

// frameSlack: a wrong size in a segment's header shows at the end of the shorter of both.
const frameSlack = 1 << 17

func TestVerifySaysWhichFileIsMissing(t *testing.T) {
	dir, n := writtenDir(t)
	stopNode(t, n)
	snaps, _ := filepath.Glob(filepath.Join(dir, "member", "snap", "*.snap"))
	logs, _ := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if len(snaps) != 2 || len(logs) != 1 {
		t.Fatalf("%q, %q", snaps, logs)
	}
	damage := func(path string) { // in its last byte
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)-1]++
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	damage(snaps[1])
	r, err := Verify(dir, VerifyOptions{State: withDigest})
	if err != nil || len(r.Faults) != 1 || r.Faults[0].File != snaps[1] || !strings.Contains(r.String(),
		"starts here in spite of that") {
		t.Errorf("%v\n%s", err, &r)
	}
	os.Remove(logs[0])
	r, err = Verify(dir, VerifyOptions{})
	if err != nil || len(r.Faults) != 2 || r.Faults[1].File != filepath.Dir(logs[0]) {
		t.Errorf("%v\n%s", err, &r)
	}
}

func TestVerifyReportsWhatTheStateMachineRefuses(t *testing.T) {
	dir, n := writtenDir(t)
	stopNode(t, n)
	r, err := Verify(dir, VerifyOptions{State: func() StateMachine { return &refusing{} }})
	if err != nil || len(r.Faults) != 1 || !strings.Contains(r.Faults[0].Reason, "refused") {
		t.Errorf("%v\n%s", err, &r)
	}
}

// What a process does meanwhile is never taken for damage.
func TestVerifyFindsNoFaultWhileAMemberWrites(t *testing.T) {
	c := nodeConfig(t.TempDir())
	c.SegmentBytes, c.SnapshotCount = 1<<14, 10
	n := openNode(t, c, &register{})
	ended := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(ended)
		for !isClosed(stop) {
			n.Propose(context.Background(), []byte(strings.Repeat("x", 9000)))
		}
	}()
	for n.stats.Snapshots.Load() < 4 { // each of which lets go of some of the log
		r := sound(t, c.Dir, VerifyOptions{})
		if !r.Running {
			t.Fatal("it runs")
		}
	}
	close(stop)
	<-ended
}

func TestALogThatBreaksARuleOfRaftIsAFault(t *testing.T) {
	state := func(term, vote, commit uint64) wal.Record {
		return wal.Record{Kind: recordState, Data: appendState(nil, State{term, vote, commit})}
	}
	entry := func(index, term uint64) wal.Record {
		return wal.Record{Kind: recordEntry, Data: appendEntry(nil, &Entry{Index: index, Term: term})}
	}
	received := func(index uint64) wal.Record {
		return wal.Record{Kind: recordSnapshot, Data: appendSnapshot(nil, &Snapshot{Index: index, Term: 1})}
	}
	disk := func(v uint64) wal.Record { return wal.Record{Kind: recordIncarnation, Data: appendFixed(nil, v)} }
	change := wal.Record{Kind: recordEntry, Data: appendEntry(nil, &Entry{Index: 1, Term: 1, Kind: EntryChange,
		Data: []byte{99}})}

	for _, c := range []struct {
		words string // of the fault at the last record; empty: there is none
		log   []wal.Record
	}{
		{"", []wal.Record{disk(5), state(1, 0, 1), entry(1, 1), state(2, 1, 1), entry(2, 2), entry(3, 2),
			state(3, 0, 2), entry(3, 3), disk(5)}},
		{"", []wal.Record{state(2, 0, 0), entry(900, 1), entry(901, 2)}},
		{"", []wal.Record{state(3, 0, 0), entry(1, 3), received(9), state(3, 0, 9), entry(10, 3)}},
		{"", []wal.Record{state(2, 0, 0), entry(1, 1), state(3, 0, 1), entry(1, 3)}}, // committed is the new one
		{"term goes back from 3 to 2", []wal.Record{state(3, 0, 0), state(2, 0, 0)}},
		{"two votes in term 3", []wal.Record{state(3, 1, 0), state(3, 2, 0)}},
		{"two votes in term 3", []wal.Record{state(3, 1, 0), state(3, 0, 0)}},
		{"commit index goes back", []wal.Record{state(1, 0, 5), state(1, 0, 4)}},
		{"entry 3 follows entry 1", []wal.Record{state(1, 0, 0), entry(1, 1), entry(3, 1)}},
		{"entry 11 follows entry 9", []wal.Record{state(1, 0, 0), received(9), entry(11, 1)}},
		{"before the member knew", []wal.Record{state(1, 0, 0), entry(1, 2)}},
		{"and the one before of term 2", []wal.Record{state(2, 0, 0), entry(1, 2), entry(2, 1)}},
		{"takes the place of a committed one", []wal.Record{state(1, 0, 0), entry(1, 1), state(1, 0, 1), state(2, 0, 1),
			entry(1, 2)}},
		{"without an index", []wal.Record{state(1, 0, 0), entry(0, 1)}},
		{"incarnation 6, and was 5", []wal.Record{disk(5), disk(6)}},
		{"entry 1: raft: the encoding ends", []wal.Record{state(1, 0, 0), change}},
		{"unknown kind 9", []wal.Record{{Kind: 9}}},
		{"ends early", []wal.Record{{Kind: recordState}}},
	} {
		var a audit
		at := slices.IndexFunc(c.log, func(r wal.Record) bool { return a.record(r) != nil })
		if c.words == "" {
			if at >= 0 {
				t.Errorf("record %d of %d is refused", at, len(c.log))
			}
			continue
		}
		a = audit{}
		var err error
		for _, r := range c.log {
			err = a.record(r)
		}
		if at != len(c.log)-1 || err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: record %d of %d: %v", c.words, at, len(c.log), err)
		}
	}
}

// A fault that the next reading does not find at the same place was a write under way.
func TestAFaultThatIsNotFoundAgainIsNone(t *testing.T) {
	offset := int64(0)
	torn := Fault{"snap", 7, "torn"}
	s, err := untilStable(func() (*survey, error) {
		s := &survey{}
		s.addFault("", &torn)
		if offset++; offset < 100 {
			s.addFault("", &Fault{"wal", offset, "damaged"})
		}
		return s, nil
	})
	if err != nil || !slices.Equal(s.report.Faults, []Fault{torn}) || offset != maxLooks {
		t.Errorf("%v after %d looks, %v", s.report.Faults, offset, err)
	}
	offset = 100
	if s, _ := untilStable(func() (*survey,
		error) {
		offset++
		s := &survey{}
		s.addFault("", &torn)
		return s, nil
	}); len(s.report.Faults) != 1 ||
		offset != 102 {
		t.Errorf("%v after %d looks", s.report.Faults, offset-100)
	}
}
