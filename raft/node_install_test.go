package raft

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"etcd2/wal/disk/disktest"
)

// persistAll persists the writes one after the other.
func persistAll(t *testing.T, s *storage, writes ...Persist) {
	t.Helper()
	for i := range writes {
		if err := s.persist(&writes[i]); err != nil {
			t.Fatal(err)
		}
	}
}

// member50 makes the disk of a member that has the entries up to 50: in its log, or in the snapshot
// by which it joined.
func member50(t *testing.T, joined bool) (storageOptions, *storage) {
	t.Helper()
	o := testStorage(t)
	s, _ := reopen(t, o)
	if !joined {
		persistAll(t, s, Persist{State: State{Term: 1, Commit: 50}, Entries: entries(1, 1, 50)})
		return o, s
	}
	meta := saveTestSnapshot(t, s, 50, 1)
	persistAll(t, s, Persist{State: State{Term: 1, Commit: 50}, Snapshot: &meta})
	return o, s
}

// The table above openStorage, cell by cell: the log at 100, which is the index of a snapshot of
// term 3, and whether the log notes that snapshot. In each cell a member starts three times, and
// acknowledges two entries after each start.
//
// pitfall L1
func TestWhatWasAcknowledgedBehindASnapshotIsThereAfterEachStart(t *testing.T) {
	open, agreed := State{Term: 5, Commit: 50}, State{Term: 5, Commit: 100}
	logs := map[string]struct {
		before []Persist
		holds  bool // the snapshot is the log's own state, and the log goes on
	}{
		"ends before": {before: []Persist{{State: open, Entries: entries(2, 51, 80)}}},
		"holds it": {before: []Persist{{State: open, Entries: append(entries(2, 51, 99),
			entries(3, 100, 104)...)}}, holds: true},
		"conflicts": {before: []Persist{{State: open, Entries: entries(2, 51, 120)}}},
		"gave way": {before: []Persist{{State: open, Entries: entries(3, 51, 120)},
			{State: open, Entries: entries(4, 90, 95)}}},
	}
	for name, log := range logs {
		for _, noted := range []bool{true, false} {
			for _, joined := range []bool{true, false} {
				what := fmt.Sprintf("a log that %s, noted %v, joined by a snapshot %v", name, noted, joined)
				o, s := member50(t, joined)
				persistAll(t, s, log.before...)
				meta := saveTestSnapshot(t, s, 100, 3)
				if noted {
					persistAll(t, s, Persist{State: agreed, Snapshot: &meta})
				}
				var want []Entry
				if log.holds && !noted {
					want = entries(3, 101, 104)
				}
				first := uint64(101)
				if log.holds && !noted {
					first = map[bool]uint64{true: 51, false: 1}[joined]
				}

				for start := 1; start <= 3; start++ {
					s.close()
					var r *recovery
					s, r = reopen(t, o)
					if got := indexTerms(r.Entries); got != indexTerms(want) || r.Snapshot.Index != 100 ||
						r.First != first {
						t.Fatalf("%s: start %d finds %q behind %d, whole from %d on; want %q, from %d on",
							what, start, got, r.Snapshot.Index, r.First, indexTerms(want), first)
					}
					next := 101 + uint64(len(want))
					more := entries(3, next, next+1)
					persistAll(t, s, Persist{State: agreed, Entries: more})
					want = append(want, more...)
				}
				if seen, err := surveyDisk(o); err != nil || len(seen.report.Faults) > 0 || seen.report.Last != s.last {
					t.Errorf("%s: verify says, %v:\n%s", what, err, &seen.report)
				}
			}
		}
	}
}

// A log with a gap is refused, though a snapshot fills the gap: a member that received the snapshot
// has noted it before it wrote anything behind it.
//
// pitfall L1
func TestALogWithAGapIsRefused(t *testing.T) {
	for _, tail := range []uint64{80, 120} { // the log ends before the snapshot, or conflicts with it
		o, s := member50(t, true)
		persistAll(t, s, Persist{State: State{Term: 2, Commit: 50}, Entries: entries(2, 51, tail)})
		saveTestSnapshot(t, s, 100, 3)
		persistAll(t, s, Persist{State: State{Term: 3, Commit: 100}, Entries: entries(3, tail+2, tail+9)})
		s.close()

		_, _, err := openStorage(o, nil)

		if !errors.Is(err, errHole) {
			t.Errorf("behind %d: %v", tail, err)
		}
		if seen, err := surveyDisk(o); err != nil || len(seen.report.Faults) != 1 {
			t.Errorf("behind %d verify says, %v:\n%s", tail, err, &seen.report)
		}
	}
}

// A leader of a later term may have written behind an entry that no majority had (fig. 8): that is
// a tail like any other.
func TestATailOfALaterTermThanTheSnapshotGivesWay(t *testing.T) {
	o, s := member50(t, true)
	persistAll(t, s, Persist{State: State{Term: 4, Commit: 50}, Entries: append(entries(2, 51, 100),
		entries(4, 101, 110)...)})
	saveTestSnapshot(t, s, 100, 3)
	persistAll(t, s, Persist{State: State{Term: 5, Vote: 2, Commit: 50}})
	s.close()

	s, r := reopen(t, o)
	persistAll(t, s, Persist{State: State{Term: 5, Commit: 100}, Entries: entries(5, 101, 102)})
	s.close()
	_, again := reopen(t, o)

	if got := indexTerms(r.Entries) + ", then " + indexTerms(again.Entries); got != ", then 101@5 102@5" {
		t.Errorf("it finds %s", got)
	}
}

// pitfall L1
func TestALogIsWholeOnlyBehindAReceivedSnapshot(t *testing.T) {
	o, s := member50(t, false)
	o.MaxSegments = 1000
	meta := saveTestSnapshot(t, s, 1000, 2)
	persistAll(t, s, Persist{State: State{Term: 2, Commit: 1000}, Snapshot: &meta})
	for i := uint64(1001); i < 20_000; i += 1000 {
		persistAll(t, s, Persist{State: State{Term: 2, Commit: i}, Entries: entries(2, i, i+999)})
	}
	saveTestSnapshot(t, s, 15_000, 2)
	saveTestSnapshot(t, s, 19_000, 2)
	for range 3 {
		s.close()
		var r *recovery
		s, r = reopen(t, o)
		first, err := s.release(&o, never64)
		if r.First != 1001 || first != 1001 || err != nil {
			t.Errorf("the log is whole from %d on, then %d, %v; want 1001", r.First, first, err)
		}
		if s.log.First() > 50 {
			t.Fatal("the segments before the snapshot are gone")
		}
		for from := uint64(10); from <= 1000; from += 30 {
			if es, _, err := s.fetch(Fetch{From: from, Last: 1005}, 1<<20, nil); es != nil || err != nil {
				t.Errorf("from %d on %d entries are read, %v", from, len(es), err)
			}
		}
		if got, _ := fetchText(t, s, Fetch{From: 1001, Last: 1005}, nil); got != "1001@2 1002@2" {
			t.Errorf("behind the snapshot it reads %s", got)
		}
		// in another segment
		persistAll(t, s, Persist{State: State{Term: 2, Commit: 20_000}, Entries: entries(2, s.last+1, s.last+1000)})
	}
}

// Entries that a snapshot replaced are not damaged: the member that lacks them gets a snapshot, and
// no error is counted.
func TestAFetchOfWhatASnapshotReplacedRaisesNoAlarm(t *testing.T) {
	o, s := member50(t, false)
	meta := saveTestSnapshot(t, s, 1000, 2)
	persistAll(t, s, Persist{State: State{Term: 2, Commit: 1000}, Snapshot: &meta},
		Persist{State: State{Term: 2, Commit: 1010}, Entries: entries(2, 1001, 1010)})
	s.close()
	s, _ = reopen(t, o)
	n := &Node{Config: Config{Logger: slog.New(slog.DiscardHandler)}, storage: s, loopState: loopState{core: newMember(3, 1)}}
	n.inbox.init()

	n.fetch(Fetch{To: 2, From: 60, Last: 1005}, nil)

	if n.stats.Unreadable.Load() != 0 || n.snapshots.wanted.Load() {
		t.Error("the disk is called unreadable")
	}
}

// installing is a member that receives a snapshot and writes entries behind it, on a disk that may
// crash at each step.
type installing struct {
	index, term uint64 // of the snapshot
	before      string // the log behind the snapshot before this one
	begun       bool   // the snapshot may be on disk
	done        bool   // it is on disk
	acked       string // behind the snapshot
	writing     string // acked, and the write under way
}

// check compares what a start found with what may and must be there.
func (m *installing) check(r *recovery) error {
	got := indexTerms(r.Entries)
	switch {
	case r.Snapshot.Index != m.index && m.done, r.Snapshot.Index == m.index && !m.begun:
		return fmt.Errorf("it starts from the snapshot at %d", r.Snapshot.Index)
	case r.Snapshot.Index != m.index && got != m.before:
		return fmt.Errorf("behind the snapshot at %d it finds %s, and had %s", r.Snapshot.Index, got, m.before)
	case r.Snapshot.Index == m.index && got != m.acked && got != m.writing:
		return fmt.Errorf("behind the snapshot at %d it finds %q, and acknowledged %q", m.index, got, m.acked)
	}
	return nil
}

// live receives the snapshot, unless it is on disk, and writes one entry behind it.
func (m *installing) live(s *storage, r *recovery) error {
	if r.Snapshot.Index < m.index {
		m.begun = true
		meta := Snapshot{Index: m.index, Term: m.term, Membership: voters(3)}
		if _, err := s.saveSnapshot(meta,
			func(w io.Writer) error { _, err := io.WriteString(w, "state"); return err }); err != nil {
			return err
		}
		m.done = true
		if err := s.persist(&Persist{State: State{Term: m.term, Commit: m.index}, Snapshot: &meta}); err != nil {
			return err
		}
	}
	more := entries(m.term, s.last+1, s.last+1)
	m.acked = m.found(r)
	m.writing = strings.TrimSpace(m.acked + " " + indexTerms(more))
	if err := s.persist(&Persist{State: State{Term: m.term, Commit: m.index}, Entries: more}); err != nil {
		return err
	}
	m.acked = m.writing
	return s.close()
}

// found returns what a start found behind the snapshot.
func (m *installing) found(r *recovery) string {
	if r.Snapshot.Index < m.index {
		return ""
	}
	return indexTerms(r.Entries)
}

// startOn starts the member on a disk, and checks what it finds.
func (m *installing) startOn(d *disktest.Disk) (*storage, *recovery, error) {
	s, r, err := openStorage(storageOptions{Dir: "m", FS: d, Bytes: 1 << 13}, nil)
	if err != nil {
		return nil, nil, err
	}
	if r.Reader != nil {
		err = r.Reader.Close()
	}
	return s, r, errors.Join(err, m.check(r))
}

// crashes runs a life on the disk, and another one on each state that a crash at some step may
// leave, lives levels deep. states counts the starts.
func (m *installing) crashes(t *testing.T, d *disktest.Disk, rng *rand.Rand, lives int, states *int) {
	was := *m
	if lives > 0 {
		d.After = func(d *disktest.Disk, call, name string) {
			fates := d.Fates(rng)
			for i, fate := range fates {
				// the first five are the plain ones
				if i >= 5 && rng.IntN(len(fates)) > 3 || lives == 1 && rng.IntN(20) > 0 {
					continue
				}
				left, now := d.Crash(fate), *m
				now.crashes(t, left, rng, lives-1, states)
				if t.Failed() {
					t.Fatalf("after %s %s, crashed with %v", call, name, fate)
				}
			}
		}
	}
	*states++
	s, r, err := m.startOn(d)
	if err == nil {
		err = m.live(s, r)
	}
	if err != nil {
		t.Errorf("%+v: %v", was, err)
	}
}

// pitfall L1, pitfall E4
func TestEveryCrashAroundAReceivedSnapshotKeepsWhatWasAcknowledged(t *testing.T) {
	states := 0
	for name, tail := range map[string][]Entry{
		"ends before": entries(2, 51, 80), "conflicts": entries(2, 51, 120), "holds it": append(entries(2, 51, 99),
			entries(3, 100, 100)...),
	} {
		d := disktest.New()
		o := storageOptions{Dir: "m", FS: d, Bytes: 1 << 13}
		if err := errors.Join(d.Mkdir("m"), d.SyncDir("."), createStorage(o, 7, 1, 1, nil)); err != nil {
			t.Fatal(err)
		}
		s, _ := reopen(t, o)
		joined := saveTestSnapshot(t, s, 50, 1)
		persistAll(t, s, Persist{State: State{Term: 1, Commit: 50}, Snapshot: &joined},
			Persist{State: State{Term: 2, Commit: 50}, Entries: tail})
		s.close()
		m := installing{index: 100, term: 3, before: indexTerms(tail)}

		m.crashes(t, d, rand.New(rand.NewPCG(1, 2)), 2, &states)

		if t.Failed() {
			t.Fatalf("with a log that %s", name)
		}
	}
	t.Log(states, "starts")
}
