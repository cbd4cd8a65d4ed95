package raft

import (
	"slices"
	"syscall"
)

// simDisk is what survives of a member. An error of a write ends this life of the member's process:
// what it wrote may or may not be on the disk.
type simDisk interface {
	open() (boot, any, error)                    // what a start finds: the log, and the state of the newest snapshot
	write(*Persist) error                        // returns when the write is synced
	crash(*Persist)                              // the power fails while this write, if any, is under way
	fetch(Fetch) []Entry                         // nil when the entries are gone
	receive(s *Snapshot, file any) error         // stores a whole snapshot file under its name
	file(index uint64) any                       // of a snapshot, as it is sent; nil when there is none
	restored(index uint64) any                   // the state in the snapshot at index
	has(index, term uint64) bool                 // the entry is in the log, or in the snapshot
	remembers() State                            // synced
	save(s Snapshot, state any) error            // stores a snapshot that the member itself has made
	release(keep uint64) (first uint64, _ error) // the log before keep may go

	fail(errno syscall.Errno) // one of the next writes; ENOSPC: all, until there is room
	makeRoom()
	rot() // flips one bit, while no process runs on the disk; then open may refuse
}

// simCluster is the membership before the first entry of the log.
var simCluster = Membership{ClusterID: 1}

func (w *simWorld) newDisk(id uint64, first []Entry) simDisk {
	d := simMemory{w: w, first: 1, log: first, snapshot: Snapshot{Membership: simCluster}}
	if n := len(first); n > 0 {
		d.state = State{Term: first[n-1].Term, Commit: first[n-1].Index}
	}
	if w.whole {
		return newSimFiles(d, id)
	}
	d.files = map[uint64]any{0: w.newMachine(id).freeze()}
	return &d
}

// simMemory is a model of a disk, without bytes: a write is on it as a whole, or not at all.
type simMemory struct {
	w        *simWorld
	state    State
	snapshot Snapshot // the newest snapshot that the log knows of
	anew     uint64   // index of the last received snapshot that the log knows of; no entry is at or below it
	first    uint64   // index of log[0]
	log      []Entry
	files    map[uint64]any
	fault    syscall.Errno // of the next write
}

func (d *simMemory) last() uint64 { return d.first + uint64(len(d.log)) - 1 }

func (d *simMemory) open() (boot, any, error) {
	b := boot{State: d.state, Snapshot: d.snapshot, First: d.first}
	if d.last() > d.snapshot.Index {
		b.Entries = append(b.Entries, d.log[d.snapshot.Index+1-d.first:]...)
	}
	return b, d.files[d.snapshot.Index], nil
}

func (d *simMemory) write(q *Persist) error {
	if err := d.broken(); err != nil {
		d.crash(q)
		return err
	}
	d.put(q)
	return nil
}

// broken returns the error of a write that is due to fail.
func (d *simMemory) broken() error {
	fault := d.fault
	switch fault {
	case 0:
		return nil
	case syscall.EIO:
		d.fault = 0
	}
	return fault
}

func (d *simMemory) put(q *Persist) {
	d.state = q.State
	if q.Snapshot != nil {
		d.snapshot, d.anew, d.first, d.log = *q.Snapshot, q.Snapshot.Index, q.Snapshot.Index+1, nil
	}
	if len(q.Entries) > 0 {
		keep := q.Entries[0].Index - d.first
		if keep < uint64(len(d.log)) {
			d.log = slices.Clone(d.log[:keep]) // others may still read what is dropped
		}
		d.log = append(d.log, q.Entries...)
	}
}

func (d *simMemory) crash(q *Persist) {
	if q != nil && d.w.chance(0.5) {
		d.put(q)
	}
}

func (d *simMemory) fetch(f Fetch) []Entry {
	if f.From < d.first || f.Last > d.last() {
		return nil
	}
	return upTo(d.w.fetchBytes(), d.log[f.From-d.first:f.Last-d.first+1])
}

// fetchBytes is how much of a log is read at a time: a part of a window.
func (w *simWorld) fetchBytes() int {
	window := w.profile.inflightBytes
	return window/4 + w.rand.IntN(window)*3/4
}

func (d *simMemory) receive(s *Snapshot, state any) error {
	d.files[s.Index] = state
	return d.broken()
}

func (d *simMemory) file(index uint64) any { return d.files[index] }

func (d *simMemory) restored(index uint64) any { return d.files[index] }

func (d *simMemory) save(s Snapshot, state any) error {
	if err := d.broken(); err != nil {
		return err
	}
	d.files[s.Index] = state
	d.snapshot = s
	return nil
}

func (d *simMemory) release(keep uint64) (uint64, error) {
	if err := d.broken(); err != nil {
		return 0, err
	}
	if keep > d.first {
		d.log = d.log[keep-d.first:]
		d.first = keep
	}
	return d.first, nil
}

func (d *simMemory) has(index, term uint64) bool {
	switch {
	case index <= d.snapshot.Index:
		return true
	case index < d.first || index > d.last():
		return false
	}
	return d.log[index-d.first].Term == term
}

func (d *simMemory) remembers() State { return d.state }

func (d *simMemory) fail(errno syscall.Errno) { d.fault = errno }
func (d *simMemory) makeRoom()                { d.fault = 0 }
func (d *simMemory) rot()                     {}
