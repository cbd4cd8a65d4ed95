package raft

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"

	"etcd2/snap"
	"etcd2/wal"
	"etcd2/wal/disk"
)

// Place says where a member's disk is made.
type Place struct {
	Name   string // of the member
	Dir    string // its data directory; Dir/member must not exist
	WALDir string // the directory of its log, which must be missing or empty; "": inside Dir
}

// RestoreOptions say what Restore makes of a backup.
type RestoreOptions struct {
	// Cluster lists all members of the new cluster, by id, as discovery.Static makes it of a list
	// and a token. All of them vote. The new cluster gets another ClusterID: see Restore.
	Cluster Membership
	Places  []Place // of those members whose disks are made by this call: all of them, or only this machine's

	SegmentBytes int64 // of their logs; 0 means wal.DefaultSegmentBytes
	fs           disk.FS
}

// Restore makes the data directories of members of a new cluster out of a backup: a file that
// Frozen.WriteTo wrote, or any snapshot of a data directory. It returns the snapshot that they
// begin with. The new cluster goes on from the backup's state, its index, its events and its clock.
// A member that runs with a new directory needs no more flags than at any later start.
//
// Each machine of the new cluster may restore its own member: the same file and the same list give
// the same cluster. The cluster's id is made of both, so that its members never talk to those of
// the old cluster, of another backup or of another list, whatever their addresses. (To keep apart
// two restores of one file with one list, give them different tokens.)
//
// The whole file is verified before anything is written. All disks are made under temporary names
// before the first one gets its name. Open refuses a directory that was left unfinished, and
// Restore, called again, makes it anew.
func Restore(file string, o RestoreOptions) (Snapshot, error) {
	r, old, err := openBackup(file, o.fs)
	if err != nil {
		return Snapshot{}, err
	}
	defer r.Close()
	return foundCluster(NewFrozen(old, func(w io.Writer) error { return copyBody(w, r) }), r.Sum(), o)
}

// Found does what Restore does, with a state that is in no file. The same state and the same list
// give the same cluster.
func Found(f *Frozen, o RestoreOptions) (Snapshot, error) {
	sum := crc32.NewIEEE()
	if _, err := f.WriteTo(sum); err != nil {
		return Snapshot{}, err
	}
	return foundCluster(f, sum.Sum32(), o)
}

// foundCluster makes the disks of a cluster that goes on from f. sum is the checksum of f as a
// backup.
func foundCluster(f *Frozen, sum uint32, o RestoreOptions) (Snapshot, error) {
	s := f.Snapshot
	s.Membership = founders(o.Cluster)
	s.Membership.ClusterID = successorID(&f.Snapshot, sum, o.Cluster.ClusterID)
	s.Membership.Version = f.Membership.Version
	disks, err := o.disks(s)
	if err != nil {
		return Snapshot{}, err
	}
	for i := range disks {
		disks[i].body = f.write
	}
	return s, makeDisks(o.fs, disks)
}

// openBackup checks every block of a backup and opens it.
func openBackup(file string, fs disk.FS) (*snap.Reader, Snapshot, error) {
	r, err := snap.OpenFile(file, fs)
	if err != nil {
		return nil, Snapshot{}, err
	}
	return checkBackup(r)
}

// checkBackup reads all of an open snapshot, and closes it if anything is wrong with it.
func checkBackup(r *snap.Reader) (*snap.Reader, Snapshot, error) {
	var s Snapshot
	err := r.Verify()
	if err == nil {
		s, err = decodeSnapshot(r.Meta())
	}
	if err == nil && s.Index != r.Index() {
		err = fmt.Errorf("raft: its head says entry %d, and its meta %d", r.Index(), s.Index)
	}
	if err != nil {
		return nil, s, errors.Join(err, r.Close())
	}
	return r, s, nil
}

// copyBody copies the body of a snapshot, and sets the reader back to the beginning of the body.
func copyBody(w io.Writer, r *snap.Reader) error {
	defer r.Rewind()
	_, err := io.Copy(w, r)
	return err
}

// founders returns the members of a cluster that has not started yet. Only their ids, names and
// peer URLs are known.
func founders(m Membership) (f Membership) {
	for _, p := range m.Members {
		f.Members = append(f.Members, Member{ID: p.ID, Name: p.Name, PeerURLs: p.PeerURLs})
	}
	slices.SortFunc(f.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return f
}

// successorID returns the id of the cluster that goes on from a backup. founded is the cluster id
// that belongs to the list of its members. The new id differs from that one: somebody may begin
// another cluster with the same list, from nothing.
func successorID(old *Snapshot, sum uint32, founded uint64) uint64 {
	var b []byte
	for _, v := range []uint64{founded, old.Membership.ClusterID, old.Index, old.Term, uint64(sum)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	hash := sha256.Sum256(b)
	return binary.BigEndian.Uint64(hash[:]) &^ 1 // even: never copyCluster; and hardly ever None
}

// disks returns the disks to make.
func (o *RestoreOptions) disks(s Snapshot) (list []newDisk, err error) {
	if len(o.Places) == 0 {
		return nil, errors.New("raft: restore: no member's directory is asked for")
	}
	for i, p := range o.Places {
		at := slices.IndexFunc(s.Membership.Members, func(m Member) bool { return m.Name == p.Name })
		if at < 0 {
			return nil, fmt.Errorf("raft: restore: there is no %q in the new cluster", p.Name)
		}
		if slices.ContainsFunc(o.Places[:i], p.collides) {
			return nil, fmt.Errorf("raft: restore: %q in %s: give each member one directory of its own", p.Name, p.Dir)
		}
		list = append(list, newDisk{
			Place: p, member: s.Membership.Members[at].ID, bytes: o.SegmentBytes,
			snapshot: s, state: State{Term: s.Term, Commit: s.Index},
		})
	}
	return list, nil
}

// collides reports whether two members would share a name or a directory.
func (p Place) collides(q Place) bool {
	return p.Name == q.Name || filepath.Clean(p.Dir) == filepath.Clean(q.Dir) || p.WALDir != "" &&
		filepath.Clean(p.WALDir) == filepath.Clean(q.WALDir)
}

// newDisk is a member's disk that is to be made of a snapshot and the entries behind it.
type newDisk struct {
	Place
	member   uint64
	bytes    int64
	snapshot Snapshot
	body     func(io.Writer) error // of the snapshot; nil: there is none, and the entries begin the log
	state    State
	entries  []Entry
}

// unfinishedSuffix ends the name of a member's directory until all of it is complete. A log outside
// of that directory is made at its final place: it belongs to no member until the directory has its
// name.
//
//	DATA/member.unfinished    is made, synced, and then renamed:
//	DATA/member
const unfinishedSuffix = ".unfinished"

// unfinished returns an error when a disk was being made in a directory, and its making was
// interrupted. (A member that has started since has the directory of its snapshots.)
func (o *storageOptions) unfinished() error {
	fs := orOS(o.FS)
	if _, err := fs.ReadDir(o.Dir + unfinishedSuffix); err != nil || exists(fs, filepath.Join(o.Dir, "snap")) {
		return nil
	}
	return fmt.Errorf("raft: the making of a member from a backup was interrupted in %s: do it again, or remove that "+
		"directory", o.Dir+unfinishedSuffix)
}

func orOS(fs disk.FS) disk.FS {
	if fs == nil {
		return disk.OS{}
	}
	return fs
}

// exists reports whether there is a directory, or anything else that can't be read as one.
func exists(fs disk.FS, dir string) bool {
	_, err := fs.ReadDir(dir)
	return !errors.Is(err, iofs.ErrNotExist)
}

// makeDisks makes all disks under temporary names, and then gives each its name. After an error
// before the first has its name, nothing is left of them.
func makeDisks(fs disk.FS, disks []newDisk) (err error) {
	var locked []*Dirs
	for i := range disks {
		home, err := disks[i].lockDirs(fs)
		if home != nil {
			defer home.Close()
		}
		if err != nil {
			return err
		}
		locked = append(locked, home)
	}
	fs = orOS(fs)
	for i := range disks {
		if err = disks[i].makeAside(fs); err != nil {
			err = locked[i].explain(err)
			break
		}
	}
	if err != nil {
		for i := range disks {
			err = errors.Join(err, disks[i].removeAside(fs))
		}
		return err
	}
	for i := range disks {
		locked[i].settled = true
		if err := disk.Publish(fs, disks[i].aside(fs).Dir, disks[i].final().Dir); err != nil {
			return fmt.Errorf("raft: %s: the disk is made, and does not get its name: %w", disks[i].Dir, err)
		}
	}
	return nil
}

// final returns where the disk is when it is complete, and aside where it is until then.
func (d *newDisk) final() storageOptions {
	o := storageOptions{Dir: filepath.Join(d.Dir, "member")}
	if d.WALDir != "" && filepath.Clean(d.WALDir) != o.walDir() {
		o.WALDir = filepath.Clean(d.WALDir)
	}
	return o
}

func (d *newDisk) aside(fs disk.FS) storageOptions {
	o := d.final()
	o.FS, o.Bytes, o.Dir = fs, d.bytes, o.Dir+unfinishedSuffix
	return o
}

// lockDirs makes the directories, if need be, locks them until the returned Dirs is closed, and
// returns an error when a member lives in them.
func (d *newDisk) lockDirs(fs disk.FS) (home *Dirs, err error) {
	o := d.final()
	if fs != nil { // only the real disk has other processes
		home = &Dirs{dir: d.Dir}
		err = cmp.Or(makePath(fs, d.Dir), makePath(fs, filepath.Dir(cmp.Or(o.WALDir, o.Dir))))
	} else if home, err = LockDir(d.Dir); err == nil && o.WALDir != "" {
		err = home.lockLogDir(o.WALDir)
	}
	return home, cmp.Or(err, d.checkFree(orOS(fs)))
}

// checkFree returns an error when a member lives in the directories. The log that an interrupted
// making has left is no member's.
func (d *newDisk) checkFree(fs disk.FS) error {
	o, aside := d.final(), d.aside(fs)
	o.FS = fs
	if exists(fs, o.Dir) {
		return &DirError{d.Dir, false, fmt.Errorf("%s is there already", o.Dir), "give another directory, or remove it"}
	}
	begun, err := aside.readIdentity()
	if err != nil {
		return err
	}
	log, err := o.logIdentity()
	if err == nil && (log == identity{} || begun.owns(log)) {
		return o.foreign()
	}
	return cmp.Or(err, o.refuse("give another directory for the log, or remove it", "there is a log in %s already",
		o.walDir()))
}

// makePath makes a directory, and those above it that are missing, and syncs their names.
func makePath(fs disk.FS, dir string) error {
	dir = filepath.Clean(dir)
	if exists(fs, dir) {
		return nil
	}
	if err := makePath(fs, filepath.Dir(dir)); err != nil {
		return err
	}
	if err := fs.Mkdir(dir); err != nil {
		return err
	}
	return fs.SyncDir(filepath.Dir(dir))
}

// makeAside makes the disk under its temporary name, complete and durable, in the way of a member
// that joins: an empty log, a snapshot that counts as received, which openStorage finds and notes
// in the log, and the entries behind it.
func (d *newDisk) makeAside(fs disk.FS) error {
	if err := d.removeAside(fs); err != nil {
		return err
	}
	o := d.aside(fs)
	if err := fs.Mkdir(o.Dir); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	if err := createStorage(o, d.snapshot.Membership.ClusterID, d.member, rand.Uint64()|1, nil); err != nil {
		return err
	}
	if err := d.saveSnapshot(&o); err != nil {
		return err
	}
	s, r, err := openStorage(o, nil)
	if err != nil {
		return err
	}
	if r.Reader != nil {
		err = r.Reader.Close()
	}
	return cmp.Or(err, d.append(s), s.close(), fs.SyncDir(o.Dir))
}

func (d *newDisk) saveSnapshot(o *storageOptions) error {
	if d.body == nil {
		return nil
	}
	snaps, err := snap.Open(filepath.Join(o.Dir, "snap"), o.FS)
	if err != nil {
		return err
	}
	_, err = (&storage{snaps: snaps}).saveSnapshot(d.snapshot, d.body)
	return err
}

// batchEntries is how many entries of a copied log are written at once.
const batchEntries = 1000

// append writes state and entries to the log. With each batch only what is already written counts
// as committed.
func (d *newDisk) append(s *storage) error {
	es := d.entries
	for {
		n := min(len(es), batchEntries)
		state := d.state
		if n < len(es) {
			state.Commit = min(state.Commit, es[n-1].Index)
		}
		if err := s.persist(&Persist{State: state, Entries: es[:n]}); err != nil {
			return err
		}
		if es = es[n:]; len(es) == 0 {
			return nil
		}
	}
}

// removeAside removes what an interrupted making has left.
func (d *newDisk) removeAside(fs disk.FS) error {
	o := d.aside(fs)
	begun, err := o.readIdentity()
	log, logErr := o.logIdentity()
	if o.elsewhere() && err == nil && logErr == nil && begun.owns(log) {
		err = wal.Remove(o.walDir(), fs)
	}
	if err = cmp.Or(err, removeAll(fs, o.Dir)); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	return nil
}

func removeAll(fs disk.FS, path string) error {
	names, _ := fs.ReadDir(path) // of a file there are none
	for _, name := range names {
		if err := removeAll(fs, filepath.Join(path, name)); err != nil {
			return err
		}
	}
	if err := fs.Remove(path); !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	return nil
}
