package raft

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"etcd2/snap"
	"etcd2/wal"
)

// Fault is something on a disk that can't be what was written there, or that contradicts what was
// written before it.
type Fault struct {
	File   string
	Offset int64 // in File
	Reason string
}

// Error names the place and the reason, in one line.
func (f *Fault) Error() string {
	return fmt.Sprintf("%s: offset %d: %s", f.File, f.Offset, f.Reason)
}

// Report says what Verify found.
type Report struct {
	Running bool     // a member runs on the directory
	Found   []string // what is there, in words, a line each, in the order of reading
	Faults  []Fault  // in the order of reading; none: every record is right

	Snapshot Snapshot // the newest that is whole, or the backup's own; Index 0: there is none
	Last     uint64   // index of the last entry
	Commit   uint64   // index up to which the entries are known to be agreed
	Torn     wal.Repair
	Digest   uint64 // of the state at Commit; 0: not asked for, or not computable
}

// String prints the report, a line for each thing found and one for each fault.
func (r *Report) String() string {
	lines := slices.Clone(r.Found)
	for i := range r.Faults {
		lines = append(lines, "FAULT "+r.Faults[i].Error())
	}
	if len(r.Faults) == 0 {
		lines = append(lines, "every record is right")
	}
	return strings.Join(lines, "\n") + "\n"
}

// VerifyOptions say how Verify looks.
type VerifyOptions struct {
	WALDir string // the directory of the log; "": inside the data directory
	// State makes an empty state machine, to restore the newest snapshot and to apply the log
	// behind it. When it refuses one of them, that is a fault; when it is a Digester, the report
	// has its digest. nil: only checksums cover what snapshots and commands hold.
	State func() StateMachine
}

// Verify checks every byte of a data directory or of a backup file: the checksums of snapshots and
// log, that the log has no gap, and that its records follow from one another by the rules of Raft.
// It changes nothing. If a member runs on the directory, Verify sees it as of some moment of the
// call: what is written or removed meanwhile is read again until it stands still. The error says
// that there is nothing to read, or that it can't be read.
func Verify(path string, o VerifyOptions) (Report, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return Report{}, fmt.Errorf("raft: verify: %w", err)
	case !info.IsDir():
		return verifyWith(o, func() (*survey, error) { return surveyFile(path) })
	}
	c := Config{Dir: path, WALDir: o.WALDir}
	running := inUse(path)
	r, err := verifyWith(o, func() (*survey, error) { return surveyDisk(c.storage()) })
	r.Running = running || inUse(path)
	if r.Running {
		r.Found = append(r.Found, "a member runs here: what it has written since is not in this report")
	}
	return r, err
}

func verifyWith(o VerifyOptions, look func() (*survey, error)) (Report, error) {
	s, err := untilStable(look)
	if err != nil {
		return Report{}, err
	}
	defer s.close()
	if o.State != nil && len(s.report.Faults) == 0 {
		s.apply(o.State())
	}
	return s.report, nil
}

// inUse reports whether a process holds the lock of a data directory.
func inUse(dir string) bool {
	lock, err := shareLock(dir)
	if lock != nil {
		lock.Close()
	}
	return err != nil
}

// shareLock takes the lock of a directory, which others that only read may share; nil: there is no
// lock.
func shareLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), syscall.O_NOFOLLOW, 0) // as LockDir does
	if err != nil {
		return nil, nil
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == syscall.EWOULDBLOCK {
		return nil, errors.Join((&Dirs{dir: dir}).inUse(f), f.Close())
	}
	return f, nil
}

// survey is what one reading of a disk has found.
type survey struct {
	report Report
	newest Snapshot     // its ClusterID is the founder's when there is none
	reader *snap.Reader // of it, nil when there is none
	replay replayer     // the log from there on
	audit  audit        // all of the log
	logDir string
	starts bool // a member starts here
}

func (s *survey) close() {
	if s.reader != nil {
		s.reader.Close() // nothing was written: an error means nothing
	}
}

func (s *survey) say(format string, args ...any) {
	s.report.Found = append(s.report.Found, fmt.Sprintf(format, args...))
}

// addFault adds a fault, which is at path unless err names a place.
func (s *survey) addFault(path string, err error) {
	f := Fault{File: path, Reason: err.Error()}
	var inSnap *snap.Damage
	var inLog *wal.Damage
	var found *Fault
	switch {
	case errors.As(err, &found):
		f = *found
	case errors.As(err, &inSnap):
		f = Fault{inSnap.File, inSnap.Offset, inSnap.Reason}
	case errors.As(err, &inLog):
		f = Fault{inLog.File, inLog.Offset, inLog.Reason}
	}
	s.report.Faults = append(s.report.Faults, f)
}

// maxLooks is how often a disk is read until two readings agree on what is wrong: a reading may
// meet a write that is under way, but two do not meet it at the same place.
const maxLooks = 6

// untilStable returns the first reading that finds nothing wrong, or the same faults as the reading
// before. After maxLooks it returns the last one, with those faults that the one before had as
// well.
func untilStable(look func() (*survey, error)) (*survey, error) {
	var before []Fault
	for n := 1; ; n++ {
		s, err := look()
		if err != nil || len(s.report.Faults) == 0 || slices.Equal(s.report.Faults, before) {
			return s, err
		}
		if n == maxLooks {
			s.keepRecurring(before)
			return s, nil
		}
		before = s.report.Faults
		s.close()
	}
}

// keepRecurring drops the faults that the reading before did not find.
func (s *survey) keepRecurring(before []Fault) {
	s.report.Faults = slices.DeleteFunc(s.report.Faults, func(f Fault) bool { return !slices.Contains(before, f) })
	s.say("something looked wrong in %d readings, each time elsewhere: it is being written, so verify again "+
		"when there is less to do", maxLooks)
}

// surveyFile reads a backup, or any snapshot.
func surveyFile(path string) (*survey, error) {
	s := &survey{}
	r, meta, err := openBackup(path, nil)
	if errors.Is(err, iofs.ErrNotExist) || errors.Is(err, iofs.ErrPermission) {
		return nil, err
	}
	if err != nil {
		s.addFault(path, err)
		return s, nil
	}
	s.addSnapshot(r, meta)
	s.report.Last, s.report.Commit = meta.Index, meta.Index
	return s, nil
}

// addSnapshot takes a snapshot that is whole, and newer than the one before.
func (s *survey) addSnapshot(r *snap.Reader, meta Snapshot) {
	s.say("%s: snapshot at entry %d of term %d, of a cluster %x with %d members; its state has %d bytes",
		r.Path(), meta.Index, meta.Term, meta.Membership.ClusterID, len(meta.Membership.Members), r.Size())
	s.close()
	s.newest, s.reader, s.report.Snapshot = meta, r, meta
}

// surveyDisk reads a member's disk as openStorage does, and what openStorage does not read as well.
// It changes nothing.
func surveyDisk(o storageOptions) (*survey, error) {
	s := &survey{logDir: o.walDir()}
	s.surveySnapshots(&o)
	passedOver := len(s.report.Faults)
	s.replay.base = &s.newest
	log, err := wal.Scan(o.walDir(), o.FS, s.record)
	if errors.Is(err, iofs.ErrNotExist) && s.reader == nil && len(s.report.Faults) == 0 {
		return nil, errors.Join(fmt.Errorf("raft: there is no member in %s", filepath.Dir(o.Dir)), o.unfinished())
	}
	if err != nil {
		s.addFault(o.walDir(), err)
		return s, nil
	}
	s.surveyLog(&o, log)
	s.starts = passedOver == len(s.report.Faults)
	if s.starts && passedOver > 0 {
		s.say("a member starts here in spite of that, from the snapshot at %d and the log behind it", s.newest.Index)
	}
	return s, nil
}

// surveySnapshots reads all snapshots, oldest first.
func (s *survey) surveySnapshots(o *storageOptions) {
	dir := filepath.Join(o.Dir, "snap")
	snaps := snap.Look(dir, o.FS)
	indexes, _ := snaps.Indexes() // without the directory there are none
	for _, index := range indexes {
		r, err := snaps.OpenIndex(index)
		var meta Snapshot
		if err == nil {
			r, meta, err = checkBackup(r)
		}
		if err != nil {
			s.addFault(dir, err)
			continue
		}
		s.addSnapshot(r, meta)
	}
}

// record checks one record of the log.
func (s *survey) record(file string, offset int64, rec wal.Record) error {
	err := s.audit.record(rec)
	if err == nil {
		err = s.replay.record(rec)
	}
	if err != nil {
		return &Fault{file, offset, err.Error()}
	}
	return nil
}

// surveyLog judges the log as a whole.
func (s *survey) surveyLog(o *storageOptions, log wal.Found) {
	cluster, member := splitTag(log.Tag)
	state := s.replay.state
	r := recovery{ID: member}
	if s.reader == nil {
		s.newest.Membership.ClusterID = cluster
	}
	r.Snapshot, r.Entries, r.State = s.newest, s.replay.after(), state
	first, last := s.newest.Index+1, r.last()
	s.report.Last, s.report.Commit, s.report.Torn = last, max(state.Commit, s.newest.Index), log.Torn
	s.say("%s: log of member %x of cluster %x: %d files, %d records; term %d, %d committed, last entry %d",
		o.walDir(), r.ID, cluster, log.Segments, s.audit.records, state.Term, s.report.Commit, last)
	if torn := log.Torn; torn != (wal.Repair{}) {
		s.say("%s: offset %d: the last %d bytes are those of a write that was cut short, or goes on (%s): a start "+
			"cuts them off, and nothing that was acknowledged",
			torn.File, torn.Offset, torn.Bytes, torn.Reason)
	}
	if cluster == copyCluster {
		s.say("it is a copy made for --force-new-cluster, unless it has been started so")
	}
	if err := r.check(); err != nil {
		s.addFault(o.walDir(), err)
	}
	switch noted, err := o.readIdentity(); {
	case err != nil:
		s.addFault(o.identityFile(), err)
	case noted == identity{}:
		s.addFault(o.identityFile(), errors.New("the file, which says whose log is in here, is missing"))
	case !noted.owns(newIdentity(log.Tag, s.replay.incarnation, "")):
		s.addFault(o.identityFile(), fmt.Errorf("this directory is that of member %s of cluster %s, and the log is not",
			noted.Member, noted.Cluster))
	}
	if log.First > first {
		s.addFault(o.walDir(), fmt.Errorf("the log begins at entry %d, and the newest whole snapshot is that at %d",
			log.First, s.newest.Index))
	}
}

// apply gives what was found to a state machine.
func (s *survey) apply(sm StateMachine) {
	if s.reader != nil {
		if err := sm.Restore(s.reader); err != nil {
			s.addFault(s.reader.Path(), err)
			return
		}
	}
	for _, e := range s.replay.after() {
		if e.Index > s.report.Commit {
			break
		}
		if _, err := applyTo(sm, &e); err != nil {
			s.addFault(s.logDir, fmt.Errorf("entry %d: %w", e.Index, err))
			return
		}
	}
	if d, ok := sm.(Digester); ok {
		s.report.Digest = d.Digest()
		s.say("the state at entry %d has the digest %016x, as that of every other member at this entry",
			s.report.Commit, s.report.Digest)
	}
}
