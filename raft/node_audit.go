package raft

import (
	"fmt"

	"etcd2/wal"
)

// audit checks all records of a log on disk, in the order in which they were written, and finds the
// first that can't follow from those before it. It is stricter than the opening of a log, which
// reads only what is behind the snapshot.
type audit struct {
	records     int
	state       State
	committed   uint64 // commit index of the write before: no entry up to it may be replaced
	incarnation uint64
	wholeAfter  uint64 // as in storage

	// The entries read: terms[i] is the term of entry first+i. While first is 0 none was read, and
	// any may be the first.
	first uint64
	terms []uint64
}

func (a *audit) record(rec wal.Record) (err error) {
	a.records++
	switch rec.Kind {
	case recordState:
		var s State
		if s, err = decodeState(rec.Data); err == nil {
			err = a.checkState(s)
		}
	case recordEntry:
		var e Entry
		if e, err = decodeEntry(rec.Data); err == nil {
			err = a.checkEntry(&e)
		}
	case recordSnapshot:
		var s Snapshot
		s, err = decodeSnapshot(rec.Data)
		a.first, a.terms = s.Index+1, nil
		err = a.checkWhole(s.Index, err)
	case recordIncarnation:
		var v uint64
		if v, err = decodeFixed(rec.Data); err == nil && a.incarnation != 0 && v != a.incarnation {
			err = fmt.Errorf("the disk is incarnation %x, and was %x", v, a.incarnation)
		}
		a.incarnation = v
	case recordWhole:
		err = a.checkWhole(decodeFixed(rec.Data))
	default: // pitfall I7
		err = fmt.Errorf("raft: record of the unknown kind %d: written by a newer version?", rec.Kind)
	}
	return err
}

// checkState checks that terms grow, that a vote is never taken back, and that the commit index
// never falls (fig. 2).
func (a *audit) checkState(s State) error {
	was := a.state
	a.state, a.committed = s, was.Commit
	switch {
	case s.Term < was.Term:
		return fmt.Errorf("the term goes back from %d to %d", was.Term, s.Term)
	case s.Term == was.Term && was.Vote != None && s.Vote != was.Vote:
		return fmt.Errorf("two votes in term %d: for %x, then for %x", s.Term, was.Vote, s.Vote)
	case s.Commit < was.Commit:
		return fmt.Errorf("the commit index goes back from %d to %d", was.Commit, s.Commit)
	}
	return nil
}

// checkWhole checks that each received snapshot that the log notes is later than the one before. It
// returns err if that is set.
func (a *audit) checkWhole(index uint64, err error) error {
	if err == nil && index < a.wholeAfter {
		err = fmt.Errorf("the log notes a received snapshot at %d, after one at %d", index, a.wholeAfter)
	}
	a.wholeAfter = index
	return err
}

// checkEntry checks that the log has no gap, that its terms never fall, and that an entry which is
// committed is never replaced by another (§5.3, §5.4).
func (a *audit) checkEntry(e *Entry) error {
	if a.first == 0 || e.Index < a.first { // entries below first were released
		a.first, a.terms = e.Index, nil
	}
	at := e.Index - a.first
	switch {
	case e.Index == 0:
		return fmt.Errorf("an entry without an index")
	case at > uint64(len(a.terms)):
		return fmt.Errorf("entry %d follows entry %d", e.Index, a.first+uint64(len(a.terms))-1)
	case e.Term > a.state.Term:
		return fmt.Errorf("entry %d is of term %d, before the member knew that term", e.Index, e.Term)
	case at > 0 && e.Term < a.terms[at-1]:
		return fmt.Errorf("entry %d is of term %d, and the one before of term %d", e.Index, e.Term, a.terms[at-1])
	case at < uint64(len(a.terms)) && e.Index <= a.committed && e.Term != a.terms[at]:
		return fmt.Errorf("entry %d of term %d takes the place of a committed one of term %d", e.Index,
			e.Term, a.terms[at])
	}
	a.terms = append(a.terms[:at], e.Term)
	return e.readable()
}

// readable returns an error when the data of an entry can't be decoded as its kind says.
func (e *Entry) readable() (err error) {
	switch e.Kind {
	case EntryChange:
		_, err = decodeChange(e.Data)
	case EntryDigest:
		_, _, _, err = decodeDigest(e.Data)
	}
	if err != nil {
		err = fmt.Errorf("entry %d: %w", e.Index, err)
	}
	return err
}
