package raft

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testStorage makes a member's disk in a directory of the test.
func testStorage(t *testing.T, first ...Entry) storageOptions {
	t.Helper()
	o := storageOptions{Dir: filepath.Join(t.TempDir(), "member"), Bytes: 1 << 16}
	if err := os.Mkdir(o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := createStorage(o, 7, 1, 1<<63, first); err != nil {
		t.Fatal(err)
	}
	return o
}

func reopen(t *testing.T, o storageOptions) (*storage, *recovery) {
	t.Helper()
	s, r, err := openStorage(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return s, r
}

func entries(term uint64, from, to uint64) (es []Entry) {
	for i := from; i <= to; i++ {
		es = append(es, Entry{Index: i, Term: term, Kind: EntryCommand, Data: fmt.Appendf(nil, "%d@%d", i, term)})
	}
	return es
}

func indexTerms(es []Entry) (s string) { return entryNames(es) }

// pitfall B14: all that is fetched at a time goes in one message. The log is read on for as long as
// it does not say what holds, and that may be far.
func TestNoMoreIsFetchedThanFitsAMessage(t *testing.T) {
	s, _ := reopen(t, testStorage(t))
	for _, p := range []Persist{
		{State: State{Term: 1}, Entries: entries(1, 1, 50)},
		{State: State{Term: 1, Commit: 50}},
	} {
		if err := s.persist(&p); err != nil {
			t.Fatal(err)
		}
	}

	few, _, err := s.fetch(Fetch{From: 1, Last: 50}, 5*entrySize(&Entry{Data: []byte("1@1")}), nil)
	two, _, err2 := s.fetch(Fetch{From: 1, Last: 50}, 0, nil)

	if indexTerms(few) != "1@1 2@1 3@1 4@1 5@1" || indexTerms(two) != "1@1 2@1" || err != nil || err2 != nil {
		t.Fatalf("fetched %s and %s (%v, %v)", indexTerms(few), indexTerms(two), err, err2)
	}
}

func TestWhatWasPersistedIsThereAfterReopening(t *testing.T) {
	o := testStorage(t, entries(1, 1, 2)...)
	s, _ := reopen(t, o)

	for _, p := range []Persist{
		{State: State{Term: 2, Vote: 3, Commit: 2}, Entries: entries(2, 3, 6)},
		{State: State{Term: 3, Commit: 3}, Entries: entries(3, 5, 5)}, // takes the place of 5 and 6
	} {
		if err := s.persist(&p); err != nil {
			t.Fatal(err)
		}
	}
	s.close()
	_, r := reopen(t, o)

	if got := indexTerms(r.Entries); got != "1@1 2@1 3@2 4@2 5@3" || r.State != (State{Term: 3, Commit: 3}) ||
		r.ID != 1 {
		t.Fatalf("member %d, state %+v, entries %s", r.ID, r.State, got)
	}
}

func saveTestSnapshot(t *testing.T, s *storage, index, term uint64) Snapshot {
	t.Helper()
	meta := Snapshot{Index: index, Term: term, Membership: voters(3)}
	if _, err := s.saveSnapshot(meta,
		func(w io.Writer) error { _, err := io.WriteString(w, "state"); return err }); err != nil {
		t.Fatal(err)
	}
	return meta
}

// pitfall E1, pitfall E4
func TestAReceivedSnapshotCutsOffADivergentLog(t *testing.T) {
	for _, noted := range []bool{true, false} { // the crash comes after or before the log knows of it
		o := testStorage(t)
		s, _ := reopen(t, o)
		if err := s.persist(&Persist{State: State{Term: 2}, Entries: entries(2, 1, 9)}); err != nil {
			t.Fatal(err)
		}

		meta := saveTestSnapshot(t, s, 5, 3)
		if noted {
			if err := s.persist(&Persist{State: State{Term: 3}, Snapshot: &meta}); err != nil {
				t.Fatal(err)
			}
		}
		s.close()
		s, r := reopen(t, o)
		if len(r.Entries) != 0 || r.Snapshot.Index != 5 {
			t.Fatalf("noted %v: entries %s behind the snapshot at %d", noted, indexTerms(r.Entries), r.Snapshot.Index)
		}
		if err := s.persist(&Persist{State: State{Term: 3, Commit: 5}, Entries: entries(3, 6, 7)}); err != nil {
			t.Fatal(err)
		}
		s.close()
		_, r = reopen(t, o)

		if got := indexTerms(r.Entries); got != "6@3 7@3" {
			t.Fatalf("noted %v: entries %s", noted, got)
		}
	}
}

// The log is cut by another goroutine than the one that notes a received snapshot in it; the race
// detector looks on.
func TestTheLogIsCutWhileAReceivedSnapshotIsNoted(t *testing.T) {
	o := testStorage(t)
	s, _ := reopen(t, o)
	for index := uint64(10); index <= 30; index += 10 {
		saveTestSnapshot(t, s, index, 2)
	}
	meta := Snapshot{Index: 30, Term: 2, Membership: voters(3)}
	noted := make(chan error)
	go func() { noted <- s.persist(&Persist{State: State{Term: 2, Commit: 30}, Snapshot: &meta}) }()

	first, err := s.release(&o, never64)

	if err != nil || first != 1 && first != 31 {
		t.Errorf("whole from %d on, %v", first, err)
	}
	if err := <-noted; err != nil {
		t.Error(err)
	}
	if s.first() != 31 {
		t.Errorf("whole from %d on", s.first())
	}
}

func TestAnOlderSnapshotServesWhenTheNewestIsDamaged(t *testing.T) {
	o := testStorage(t)
	s, _ := reopen(t, o)
	if err := s.persist(&Persist{State: State{Term: 1, Commit: 900}, Entries: entries(1, 1, 900)}); err != nil {
		t.Fatal(err)
	}
	saveTestSnapshot(t, s, 300, 1)
	saveTestSnapshot(t, s, 600, 1)
	if _, err := s.release(&o, never64); err != nil {
		t.Fatal(err)
	}
	s.close()
	names, _ := filepath.Glob(filepath.Join(o.Dir, "snap", "*"))
	if err := os.Truncate(names[len(names)-1], 40); err != nil {
		t.Fatal(err)
	}

	_, r := reopen(t, o)

	if r.Snapshot.Index != 300 || len(r.Entries) != 600 || len(r.Damaged) != 1 {
		t.Fatalf("snapshot %d, %d entries, damaged %v", r.Snapshot.Index, len(r.Entries), r.Damaged)
	}
}

func TestTheLogIsKeptForTwoSnapshotsThatAreSound(t *testing.T) {
	o := testStorage(t)
	o.Bytes = 4 << 10
	s, _ := reopen(t, o)
	for i := uint64(1); i <= 5000; i++ {
		if err := s.persist(&Persist{State: State{Term: 1, Commit: i}, Entries: entries(1, i, i)}); err != nil {
			t.Fatal(err)
		}
	}
	saveTestSnapshot(t, s, 1000, 1)
	saveTestSnapshot(t, s, 3000, 1)
	s.close()
	names, _ := filepath.Glob(filepath.Join(o.Dir, "snap", "*"))
	if err := os.Truncate(names[len(names)-1], 40); err != nil {
		t.Fatal(err)
	}
	s, _ = reopen(t, o)
	saveTestSnapshot(t, s, 5000, 1)

	first, err := s.release(&o, never64)

	if err != nil || first > 1000 {
		t.Errorf("the log begins at %d, %v: without the snapshot at 5000 nothing could be started", first, err)
	}
}

// pitfall H11
func TestAMemberThatLostItsLogIsNotStartedAnew(t *testing.T) {
	o := testStorage(t)
	s, _ := reopen(t, o)
	s.close()
	if err := os.RemoveAll(filepath.Join(o.Dir, "wal")); err != nil {
		t.Fatal(err)
	}

	there, err := storageExists(o)

	if there || err == nil {
		t.Fatalf("exists %v, error %v", there, err)
	}
}

// pitfall D10
func TestADiskKeepsItsIncarnation(t *testing.T) {
	const born = uint64(1 << 63) // see testStorage
	o := testStorage(t)
	life := func(when string, do func(s *storage) error) {
		s, r := reopen(t, o)
		if r.Incarnation != born || s.incarnation != born {
			t.Errorf("%s it is %x, and was made as %x", when, r.Incarnation, born)
		}
		if err := errors.Join(do(s), s.close()); err != nil {
			t.Fatal(err)
		}
	}

	life("new,", func(s *storage) error {
		var errs []error
		for i := range uint64(90) { // in many segments
			p := Persist{State: State{Term: 1, Commit: 100 * i}, Entries: entries(1, 100*i+1, 100*i+100)}
			errs = append(errs, s.persist(&p))
		}
		return errors.Join(errs...)
	})
	life("restarted,", func(s *storage) error {
		saveTestSnapshot(t, s, 8000, 1)
		saveTestSnapshot(t, s, 8500, 1)
		first, err := s.release(&o, never64)
		if first < 2 {
			t.Errorf("nothing was released: the log begins at %d", first)
		}
		return err
	})
	life("released,", func(s *storage) error {
		meta := saveTestSnapshot(t, s, 20_000, 2)
		return s.persist(&Persist{State: State{Term: 2, Commit: 20_000}, Snapshot: &meta})
	})
	life("with a snapshot received,", func(s *storage) error {
		saveTestSnapshot(t, s, 30_000, 2) // a crash, before the log knows of it
		return nil
	})
	life("with one that was not noted,", func(s *storage) error { return nil })
}

// A member that lags gets a large piece wherever in its segment the piece begins: each costs the
// reading of all that is before it.
func TestAsMuchIsFetchedAtTheEndOfASegmentAsAtItsBeginning(t *testing.T) {
	o := testStorage(t)
	s, _ := reopen(t, o)
	const last = 1500
	for i := uint64(1); i <= last; i++ {
		if err := s.persist(&Persist{State: State{Term: 1, Commit: i - 1}, Entries: entries(1, i, i)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []uint64{1, 500, 1000} {
		es, _, err := s.fetch(Fetch{From: from, Last: last}, 100*entryOverhead, nil)
		if err != nil || len(es) < 90 || es[0].Index != from {
			t.Errorf("from %d on %d entries are fetched, %v", from, len(es), err)
		}
	}
}

// handedOn is a rebuilder that notes what it got, and in how many parts.
type handedOn struct {
	names   []string
	longest int
	fail    error
}

func (h *handedOn) restore(*recovery) error { return nil }

func (h *handedOn) replay(es []Entry) error {
	h.longest = max(h.longest, len(es))
	for i := range es {
		h.names = append(h.names, entryNames(es[i:i+1]))
	}
	return h.fail
}

// handOn opens a disk, and notes what is handed on meanwhile.
func handOn(t *testing.T, o storageOptions) (*storage, *recovery, *handedOn) {
	t.Helper()
	to := &handedOn{}
	s, r, err := openStorage(o, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return s, r, to
}

// A start holds no more of the log than a running member: what is committed is handed on while the
// log is read.
func TestAStartHandsOnWhatIsCommittedAsItReads(t *testing.T) {
	o := testStorage(t)
	s, _ := reopen(t, o)
	const last, open, batch = 10_000, 7, 10
	for i := uint64(1); i <= last; i += batch {
		p := Persist{State: State{Term: 1, Commit: i - min(i, open)}, Entries: entries(1, i, i+batch-1)}
		if err := s.persist(&p); err != nil {
			t.Fatal(err)
		}
	}
	s.close()

	s, r, to := handOn(t, o)

	if to.longest > batch+rebuildPiece/entryOverhead || len(to.names) != int(r.State.Commit) ||
		r.Replayed.Index != r.State.Commit {
		t.Errorf("%d entries are handed on, up to %d at a time, and the last one is %d; %d are committed",
			len(to.names), to.longest, r.Replayed.Index, r.State.Commit)
	}
	if len(r.Entries) != last-int(r.State.Commit) || r.Entries[0].Index != r.State.Commit+1 || s.last != last {
		t.Errorf("%d entries are left, up to %d", len(r.Entries), s.last)
	}
	to.names = nil
	if _, _, err := openStorage(o, &handedOn{fail: ErrStopped}); !errors.Is(err, ErrStopped) {
		t.Errorf("the rebuilder failed, and the start did not: %v", err)
	}
}

// A write that takes the place of entries and commits the new ones counts as a whole.
func TestAStartHandsOnNothingThatAWriteReplaces(t *testing.T) {
	o := testStorage(t)
	s, _ := reopen(t, o)
	for _, p := range []Persist{
		{State: State{Term: 2, Commit: 1}, Entries: entries(2, 1, 4)},
		{State: State{Term: 3, Commit: 3}, Entries: entries(3, 3, 5)},
	} {
		if err := s.persist(&p); err != nil {
			t.Fatal(err)
		}
	}
	s.close()

	_, r, to := handOn(t, o)

	if got := strings.Join(to.names, " ") + " | " + indexTerms(r.Entries); got != "1@2 2@2 3@3 | 4@3 5@3" {
		t.Errorf("handed on, and left: %s", got)
	}
}

// What is committed is never replaced: a log that says so is damaged.
func TestALogThatReplacesWhatItCountsAsCommittedIsRefused(t *testing.T) {
	received := Snapshot{Index: 3, Term: 3, Membership: voters(3)}
	for name, second := range map[string]Persist{
		"an entry":   {State: State{Term: 3, Commit: 4}, Entries: entries(3, 3, 5)},
		"a snapshot": {State: State{Term: 3, Commit: 4}, Snapshot: &received},
	} {
		o := testStorage(t)
		s, _ := reopen(t, o)
		for _, p := range []Persist{
			{State: State{Term: 2, Commit: 4}, Entries: entries(2, 1, 4)}, {State: State{Term: 2, Commit: 4}}, second,
		} {
			if err := s.persist(&p); err != nil {
				t.Fatal(err)
			}
		}
		s.close()

		_, _, err := openStorage(o, &handedOn{})

		if err == nil {
			t.Errorf("%s takes the place of what is committed, and the member starts", name)
		}
	}
}

// Many bytes cause a snapshot whatever the number of entries. Of few entries they must be eight
// times as many, since a start replays these faster.
func TestMuchLogCausesASnapshotWhateverTheCount(t *testing.T) {
	const MiB = 1 << 20
	for _, c := range []struct {
		count, entries uint64
		log, state     int64
		want           bool
	}{
		{10_000, 63, 63 * MiB, 0, false},
		{10_000, 64, 64 * MiB, 0, true},
		{1 << 31, 64, 64 * MiB, 0, true},
		{10_000, 399, 399 * MiB, 100 * MiB, false},
		{10_000, 400, 400 * MiB, 100 * MiB, true},
		{10_000, 511, 511 * MiB, 200 * MiB, false},
		{10_000, 512, 512 * MiB, 200 * MiB, true},
		{10_000, 599, 599 * MiB, 600 * MiB, false},
		{10_000, 600, 600 * MiB, 600 * MiB, true},
		{10_000, 9_999, 64 * MiB, 20 * MiB, false},
		{10_000, 10_000, 64 * MiB, 0, true},
		{10_000, 100_000, 63 * MiB, 0, false},
		{100, 100, 100 * replayShare, 0, true},
		{100, 99, 100 * replayShare, 0, false},
		{100, 100, 100*replayShare - 1, 0, false},
		{100, 1000, 2 * MiB, 3 * MiB, false},
	} {
		if got := muchToReplay(c.count, c.entries, c.log, c.state); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
