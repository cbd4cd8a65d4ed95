package raft

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"

	"etcd2/snap"
	"etcd2/wal"
	"etcd2/wal/disk"
)

// Kinds of the records in the log on disk. A new kind needs a line in replayer.record and in
// Describe.
const (
	recordState       byte = 1 // State
	recordEntry       byte = 2 // Entry; it takes the place of an earlier one with its index, and of all that followed
	recordSnapshot    byte = 3 // Snapshot, received: it takes the place of all entries before it
	recordIncarnation byte = 4 // incarnation of this disk; at the head of every segment
	recordWhole       byte = 5 // index of the last recordSnapshot, 0 without one; at the head of every segment
)

// storage is what a member has on disk: the log, and the snapshots beside it.
//
//	DATA/member/wal       the log (or the directory named by --wal-dir)
//	DATA/member/snap      the snapshots
//	DATA/member/identity  the member and the cluster that they belong to
//
// The log goes back at least to the older of the two newest snapshots, so that a start does without
// the newest if that is damaged. The disk writer calls persist, the snapshot writer saveSnapshot
// and release. All other methods may be called from any goroutine.
type storage struct {
	dir   string // DATA/member
	log   *wal.Log
	snaps *snap.Dir
	state atomic.Pointer[State] // as last written; every segment begins with it

	incarnation uint64 // of this disk

	last uint64 // index of the last entry written
	buf  []byte // memory of persist, as recs
	recs []wal.Record

	wholeAfter atomic.Uint64 // index of the last received snapshot that the log notes; 0: none. See first
}

// storageOptions say where a member's disk is, and how it is kept.
type storageOptions struct {
	Dir    string  // DATA/member
	WALDir string  // of the log; empty means Dir/wal
	FS     disk.FS // nil means the operating system's
	Bytes  int64   // of a segment; 0 means the default

	MaxSegments int // how many segments are kept that are no longer needed
}

func (o *storageOptions) walDir() string {
	return cmp.Or(o.WALDir, o.defaultWALDir())
}

// recovery is what openStorage found. Replayed has no membership.
type recovery struct {
	boot
	ID uint64 // of this member
	// the snapshot that boot begins with, to restore the state machine from; nil when there is none
	Reader  *snap.Reader
	Torn    wal.Repair
	Damaged []snap.Damage // newer snapshots that could not be used
}

// makeTag names a log's owner: the cluster that founded it, and the member.
func makeTag(cluster, member uint64) (t wal.Tag) {
	binary.BigEndian.PutUint64(t[:8], cluster)
	binary.BigEndian.PutUint64(t[8:], member)
	return t
}

func splitTag(t wal.Tag) (cluster, member uint64) {
	return binary.BigEndian.Uint64(t[:8]), binary.BigEndian.Uint64(t[8:])
}

// createStorage makes the disk of a new member, in an incarnation of its own, with the entries that
// every first member of the cluster begins with. Its last step is a rename, which makes it a
// member: what an interrupted start has left before does not count (pitfall H10). The identity
// comes first, so that no log is ever there without it.
func createStorage(o storageOptions, cluster, member, incarnation uint64, first []Entry) error {
	tag := makeTag(cluster, member)
	if err := o.writeIdentity(newIdentity(tag, incarnation, "")); err != nil {
		return err
	}
	return wal.Create(o.walDir(), wal.Options{
		FS: o.FS, Tag: tag, SegmentBytes: o.Bytes,
		Preamble: func() []wal.Record {
			var last State
			if n := len(first); n > 0 {
				last = State{Term: first[n-1].Term, Commit: first[n-1].Index}
			}
			recs := preamble(incarnation, 0, last)
			for i := range first {
				recs = append(recs, wal.Record{Kind: recordEntry, Data: appendEntry(nil, &first[i])})
			}
			return recs
		},
	})
}

// openStorage reads the newest whole snapshot, called base here, and the log.
//
// A snapshot of this member's own state changes nothing in the log. A received one takes three
// steps: (1) its file gets its name, (2) the log notes it with a recordSnapshot, unless it holds
// the snapshot's last entry, (3) entries behind it are acknowledged. A crash may come between any
// two steps. So the log and the last snapshot that it notes decide together what counts:
//
//	the log                 it notes base             it notes an earlier snapshot, or none
//	ends before base        entries behind the note   base was received, and the crash came before
//	                        count, those before it    the note: the whole log is dropped, since it
//	                        are dropped               may differ from base, and base is noted now
//	holds base's entry      the same                  base is this member's own state, or the log
//	                                                  had its entry when base came: entries behind
//	                                                  it count (§7)
//	has another entry       the same                  as where the log ends before base
//	  at base's index
//	has a gap               refused                   refused
//
// When the log notes a snapshot behind base, that snapshot is lost, and the disk is refused. A note
// counts for its own index only: when it stood for "this snapshot or an earlier one", entries that
// were acknowledged after one start were dropped at the next (pitfall L1).
//
// Entries that the log counts as committed go to a rebuilder while the log is read, so that a start
// holds no more of the log in memory than a running member does.
func openStorage(o storageOptions, to rebuilder) (*storage, *recovery, error) {
	snaps, err := snap.Open(filepath.Join(o.Dir, "snap"), o.FS)
	if err != nil {
		return nil, nil, err
	}
	tag, _, err := wal.Head(o.walDir(), o.FS)
	if err != nil {
		return nil, nil, err
	}
	s := &storage{dir: o.Dir, snaps: snaps}
	r := &recovery{}
	r.Snapshot.Membership.ClusterID, r.ID = splitTag(tag)
	if err := s.openSnapshot(r); err != nil {
		return nil, nil, err
	}
	var work *rebuilding
	if to != nil {
		work = rebuild(to, r)
	}
	if err := s.openLog(o, tag, r, work); err != nil {
		if r.Reader != nil {
			err = errors.Join(err, r.Reader.Close())
		}
		return nil, nil, err
	}
	return s, r, nil
}

func (s *storage) openSnapshot(r *recovery) (err error) {
	r.Reader, r.Damaged, err = s.snaps.Newest()
	if err != nil || r.Reader == nil {
		return err
	}
	r.Snapshot, err = decodeSnapshot(r.Reader.Meta())
	return err
}

func (s *storage) openLog(o storageOptions, tag wal.Tag, r *recovery, to *rebuilding) (err error) {
	s.state.Store(&State{})
	replay := replayer{base: &r.Snapshot, to: to}
	s.log, r.Torn, err = wal.Open(o.walDir(), wal.Options{
		FS: o.FS, Tag: tag, SegmentBytes: o.Bytes, From: r.Snapshot.Index, Preamble: s.preamble,
	}, replay.record)
	if err == nil {
		err = replay.handOn()
	}
	if to != nil {
		err = cmp.Or(err, to.finish())
	}
	if err != nil {
		if s.log != nil {
			err = cmp.Or(err, s.log.Close())
		}
		return s.explain(err, r)
	}
	s.state.Store(&replay.state)
	s.incarnation = replay.incarnation
	r.State, r.Incarnation = replay.state, replay.incarnation
	r.Replayed, r.Entries = replay.handed, replay.after()
	s.last = r.last()
	s.wholeAfter.Store(replay.wholeAfter)
	if replay.detached() { // the snapshot was received, and the crash came before the log noted it
		if err := s.persist(&Persist{State: r.State, Snapshot: &r.Snapshot}); err != nil {
			return cmp.Or(err, s.log.Close())
		}
	}
	r.First = s.first()
	if err := cmp.Or(r.check(), s.recordLogPlace(&o, tag)); err != nil {
		return errors.Join(err, s.log.Close())
	}
	return nil
}

// first returns the index from which on the log on disk is whole. Segments from before a received
// snapshot may be kept, but entries are missing between them and those behind the snapshot.
func (s *storage) first() uint64 { return max(s.log.First(), s.wholeAfter.Load()+1) }

// explain adds to an error of the log that the damage of a snapshot has made it fatal.
func (s *storage) explain(err error, r *recovery) error {
	if errors.Is(err, wal.ErrReleased) && len(r.Damaged) > 0 {
		d := r.Damaged[0]
		return fmt.Errorf("raft: the snapshot %s is damaged at offset %d (%s), and the log does not go back far "+
			"enough to do without it: %w; %s",
			d.File, d.Offset, d.Reason, err, restoreOrReplace)
	}
	return err
}

// check returns an error when committed entries are missing (pitfall B12).
func (r *recovery) check() error {
	if r.State.Commit > r.last() {
		return fmt.Errorf("raft: %d is committed, but the log ends at %d and the snapshot at %d: entries are "+
			"missing; %s",
			r.State.Commit, r.last(), r.Snapshot.Index, restoreOrReplace)
	}
	return nil
}

func (s *storage) preamble() []wal.Record {
	return preamble(s.incarnation, s.wholeAfter.Load(), *s.state.Load())
}

func preamble(incarnation, wholeAfter uint64, s State) []wal.Record {
	return []wal.Record{
		{Kind: recordIncarnation, Data: appendFixed(nil, incarnation)},
		{Kind: recordWhole, Data: appendFixed(nil, wholeAfter)},
		{Kind: recordState, Data: appendState(nil, s)},
	}
}

// replayer makes the entries of the log from its records.
type replayer struct {
	base        *Snapshot // its Term is 0 where only the index counts (see fetcher)
	state       State
	incarnation uint64
	entries     []Entry     // from base.Index on, if the log still has that one, or behind handed
	last        uint64      // index of the last entry read, or of the snapshot that took its place; 0: not known
	wholeAfter  uint64      // as in storage
	to          *rebuilding // gets what is committed; nil: entries keeps all
	handed      Snapshot    // the last entry that to has got: index, term and stamp; Index 0: none
}

// errHole is the error of a log with a gap.
var errHole = errors.New("raft: entries are missing in the log")

func (r *replayer) record(rec wal.Record) (err error) {
	switch rec.Kind {
	case recordState: // it begins a write, so all of the write before has been read
		if err = r.handOn(); err == nil {
			r.state, err = decodeState(rec.Data)
		}
		return err
	case recordEntry:
		return r.entry(rec.Data)
	case recordSnapshot:
		return r.snapshot(rec.Data)
	case recordWhole:
		return r.setWholeAfter(decodeFixed(rec.Data))
	case recordIncarnation:
		r.incarnation, err = decodeFixed(rec.Data)
		return err
	default: // pitfall I7
		return fmt.Errorf("raft: record of the unknown kind %d: written by a newer version?", rec.Kind)
	}
}

// entry takes an entry into the log. Those below the snapshot are skipped, but not the snapshot's
// own: its term tells whether the entries behind it belong to the snapshot.
func (r *replayer) entry(data []byte) error {
	e, err := decodeEntry(data)
	if err == nil {
		err = r.makeRoom(e.Index)
	}
	if err != nil {
		return err
	}
	if r.last = e.Index; e.Index < r.base.Index {
		return nil
	}
	e.Data = append([]byte(nil), e.Data...)
	r.entries = append(r.entries, e)
	return nil
}

// handOn gives the rebuilder what is committed, and drops it here. It is called between two writes.
// The entries of a write come after its State, and may replace others that this State would count
// as committed. After the write, no entry at or below its commit index is ever replaced.
func (r *replayer) handOn() error {
	es := r.after()
	if r.to == nil || len(es) == 0 || es[0].Index > r.state.Commit {
		return nil
	}
	n := min(r.state.Commit+1-es[0].Index, uint64(len(es)))
	if err := r.to.add(es[:n]); err != nil {
		return err
	}
	last := &es[n-1]
	r.handed = Snapshot{Index: last.Index, Term: last.Term, Stamp: last.Stamp}
	clear(es[:n]) // so that their data is freed, though the array stays
	r.entries = es[n:]
	return nil
}

// makeRoom drops the entries from index on, which another entry replaces. It returns an error when
// entries are missing before index, or when index is committed.
func (r *replayer) makeRoom(index uint64) error {
	next := r.last + 1
	if r.last == 0 { // the log may begin anywhere up to here
		next = r.base.Index + 1
	}
	switch {
	case index > next:
		return fmt.Errorf("%w: entry %d follows, but %d is due", errHole, index, next)
	case index <= r.handed.Index:
		return fmt.Errorf("raft: entry %d is replaced, though %d is committed", index, r.handed.Index)
	case index <= r.base.Index:
		r.entries = nil
	case len(r.entries) > 0:
		r.entries = r.entries[:index-min(index, r.entries[0].Index)]
	}
	return nil
}

func (r *replayer) snapshot(data []byte) error {
	s, err := decodeSnapshot(data)
	if err == nil && s.Index <= r.handed.Index {
		err = fmt.Errorf("raft: the snapshot at %d takes the place of the log, though %d is committed", s.Index,
			r.handed.Index)
	}
	r.entries, r.last = nil, s.Index
	return r.setWholeAfter(s.Index, err)
}

// setWholeAfter records the index of the last received snapshot that the log notes. It returns err
// if that is set.
func (r *replayer) setWholeAfter(index uint64, err error) error {
	if err == nil && index > r.base.Index {
		err = fmt.Errorf("%w: it goes on behind the snapshot at %d, which is missing or damaged", errHole, index)
	}
	r.wholeAfter = index
	return err
}

// detached reports whether the log neither notes base nor holds its entry.
func (r *replayer) detached() bool {
	return r.base.Index > 0 && r.wholeAfter != r.base.Index && !r.holdsBase()
}

// holdsBase reports whether the log holds base's entry. Nothing is handed on before that is known.
func (r *replayer) holdsBase() bool {
	return r.handed.Index > 0 ||
		len(r.entries) > 0 && r.entries[0].Index == r.base.Index && r.entries[0].Term == r.base.Term
}

// after returns the entries behind base that are not handed on. There are none when the log has
// another entry at base's index (§7; pitfall E1).
func (r *replayer) after() []Entry {
	switch {
	case len(r.entries) > 0 && r.entries[0].Index > r.base.Index:
		return r.entries
	case len(r.entries) > 0 && r.holdsBase():
		return r.entries[1:]
	}
	return nil
}

// persist writes one Persist, and returns when it is on disk. After an error the storage can't be
// used.
func (s *storage) persist(p *Persist) error {
	s.recs, s.buf = s.recs[:0], slices.Grow(s.buf[:0], entriesSize(p.Entries))
	if p.Snapshot != nil {
		s.last = p.Snapshot.Index
		s.record(recordSnapshot, appendSnapshot(s.buf, p.Snapshot))
	}
	s.record(recordState, appendState(s.buf, p.State))
	for i := range p.Entries {
		s.record(recordEntry, appendEntry(s.buf, &p.Entries[i]))
	}
	label := s.last + 1
	if n := len(p.Entries); n > 0 {
		label, s.last = p.Entries[0].Index, p.Entries[n-1].Index
	}
	err := s.log.Append(label, s.recs)
	s.state.Store(&p.State) // not before: a preamble must not commit what comes behind it (see fetcher.holds)
	if p.Snapshot != nil {
		s.wholeAfter.Store(p.Snapshot.Index)
	}
	s.forget()
	return err
}

// record adds a record whose bytes were just appended to buf. If buf was moved by that, earlier
// records keep the old one.
func (s *storage) record(kind byte, grown []byte) {
	s.recs = append(s.recs, wal.Record{Kind: kind, Data: grown[len(s.buf):]})
	s.buf = grown
}

// forget frees the memory that one huge batch needed.
func (s *storage) forget() {
	if cap(s.buf) > 4<<20 {
		s.buf = nil
	}
	clear(s.recs)
}

// saveSnapshot writes the state machine's frozen state; when it returns, the snapshot is durable
// and has its name (pitfall E4). It returns the size of the body in bytes.
func (s *storage) saveSnapshot(meta Snapshot, write func(io.Writer) error) (int64, error) {
	w, err := s.snaps.Create(meta.Index, appendSnapshot(nil, &meta))
	if err != nil {
		return 0, err
	}
	count := &countingWriter{w: w}
	if err := write(count); err != nil {
		return 0, errors.Join(err, w.Abort())
	}
	if err := w.Commit(); err != nil {
		return 0, errors.Join(err, w.Abort())
	}
	return count.n, nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// maxKeptBytes is how many bytes of log are kept for members that lag, beyond what the snapshots
// need. A member that lags further gets a new snapshot (pitfall E6).
const maxKeptBytes = 4 << 30

// release removes the beginning of the log. It keeps what the older of the two newest snapshots
// needs, and, up to maxKeptBytes, what a member needs that lacks the log from keep on. It returns
// the index from which on the log is whole.
func (s *storage) release(o *storageOptions, keep uint64) (first uint64, err error) {
	indexes, err := s.snaps.Sound()
	if err != nil || len(indexes) < 2 {
		return s.first(), err
	}
	cut := indexes[len(indexes)-2]
	if keep < cut && s.log.Bytes(keep)-s.log.Bytes(cut) < maxKeptBytes {
		cut = keep
	}
	err = s.log.Release(cut, o.MaxSegments)
	return s.first(), err
}

// FreeBytes returns how many bytes this process may still write to the disk of dir.
func FreeBytes(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("raft: statfs %s: %w", dir, err)
	}
	return uint64(max(int64(s.Bavail), 0)) * uint64(s.Bsize), nil // FreeBSD counts below 0
}

// close closes the log.
func (s *storage) close() error { return s.log.Close() }
