package raft

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"etcd2/snap"
	"etcd2/wal"
	"etcd2/wal/disk"
)

// An identity says which log belongs to a data directory. The file DATA/member/identity holds it in
// JSON, and the log has it in its tag and its recordIncarnation. It is written twice, before and
// after the log is made. So when a directory has no log, the identity tells whether (1) the log is
// missing, or (2) a first start was interrupted.
type identity struct {
	Cluster     string // the cluster that founded the log, in hexadecimal digits, as the next two
	Member      string
	Incarnation string
	Log         string // where the log was last, "wal" inside DATA/member; "": it may not have been made
}

func newIdentity(tag wal.Tag, incarnation uint64, log string) identity {
	cluster, member := splitTag(tag)
	return identity{hex(cluster), hex(member), hex(incarnation), log}
}

// made reports whether the log was made. When it was not, a first start was interrupted.
func (i identity) made() bool { return i.Log != "" }

// owns reports whether log is the identity of the same member's log.
func (i identity) owns(log identity) bool {
	i.Log = log.Log
	return i == log
}

func (o *storageOptions) identityFile() string { return filepath.Join(o.Dir, "identity") }

// elsewhere reports whether the log is outside of the data directory. A symbolic link in its place
// counts as outside.
func (o *storageOptions) elsewhere() bool {
	info, err := os.Lstat(o.defaultWALDir())
	return err == nil && info.Mode()&iofs.ModeSymlink != 0 || filepath.Clean(o.walDir()) != o.defaultWALDir()
}

func (o *storageOptions) defaultWALDir() string { return filepath.Join(o.Dir, "wal") }

// logPlace returns where the log is, for identity.Log: "wal" for a log inside, since a data
// directory may be moved together with it, or else an absolute path.
func (o *storageOptions) logPlace() string {
	if !o.elsewhere() {
		return "wal"
	}
	abs, err := filepath.Abs(o.walDir())
	if err != nil {
		return filepath.Clean(o.walDir())
	}
	return abs
}

// readIdentity returns the identity in the data directory; the zero value when there is none.
func (o *storageOptions) readIdentity() (i identity, err error) {
	f, err := orOS(o.FS).Open(o.identityFile())
	if errors.Is(err, iofs.ErrNotExist) {
		return i, nil
	}
	if err != nil {
		return i, fmt.Errorf("raft: %w", err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<16))
	if err = cmp.Or(err, f.Close()); err != nil {
		return i, fmt.Errorf("raft: %w", err)
	}
	if err = json.Unmarshal(b, &i); err != nil || i.Member == "" {
		return i, fmt.Errorf("raft: %s, which says whose log this is, is damaged: if the member in here is to go on, "+
			"%s", o.identityFile(), restoreOrReplace)
	}
	return i, nil
}

func (o *storageOptions) writeIdentity(i identity) error {
	b, err := json.Marshal(i)
	if err == nil {
		err = disk.WriteFile(orOS(o.FS), o.identityFile(), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	return nil
}

// recordLogPlace writes where the log is into the data directory. It comes after the log was
// opened, and before anything in the log is acknowledged.
func (s *storage) recordLogPlace(o *storageOptions, tag wal.Tag) error {
	noted, err := o.readIdentity()
	i := newIdentity(tag, s.incarnation, o.logPlace())
	if err != nil || noted == i {
		return err
	}
	return o.writeIdentity(i)
}

// logIdentity returns the identity in the log; the zero value when there is no log.
func (o *storageOptions) logIdentity() (i identity, err error) {
	tag, recs, err := wal.Head(o.walDir(), o.FS)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return i, nil
	case errors.Is(err, wal.ErrForeign):
		return i, o.refuse("give another directory, and take what etcd has left over with etcdctl migrate; if a "+
			"member of this program lived here, "+restoreOrReplace,
			"%w", err)
	}
	var incarnation uint64
	for _, rec := range recs {
		if rec.Kind == recordIncarnation && err == nil {
			incarnation, err = decodeFixed(rec.Data)
		}
	}
	return newIdentity(tag, incarnation, o.logPlace()), err
}

// hasLog reports whether there is a log in dir, whole or not.
func hasLog(fs disk.FS, dir string) bool {
	names, _ := orOS(fs).ReadDir(dir)
	return slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".wal") })
}

// lived reports whether there is evidence in the data directory that its log was made: an identity
// that says so, or a snapshot. Empty directories are no evidence.
func (o *storageOptions) lived(noted identity) (bool, error) {
	dir := filepath.Join(o.Dir, "snap")
	there, err := snap.Exists(dir, o.FS)
	if err != nil || noted.made() || !there {
		return noted.made(), err
	}
	indexes, err := snap.Look(dir, o.FS).Indexes()
	return len(indexes) > 0, err
}

// storageExists reports whether a member lives there. It changes nothing. An error says that (1) a
// member lived there and its log is missing (pitfall H11), or (2) the log is another member's
// (pitfall L14). A member that began there with an empty log, or with that one, would have
// forgotten votes and entries.
func storageExists(o storageOptions) (bool, error) {
	noted, log, err := o.identities()
	if err != nil {
		return false, err
	}
	lived, err := o.lived(noted)
	switch none := (identity{}); {
	case err != nil:
		return false, err
	case o.hasSecondLog():
		return false, o.refuse("start it without --wal-dir, or move the files of its log and start it again",
			"the log of the member in %s is in %s", filepath.Dir(o.Dir), o.defaultWALDir())
	case log == none && lived:
		return false, o.missing(noted)
	case log == none:
		return false, o.foreign()
	case noted.owns(log):
		return true, nil
	case noted == none && !o.elsewhere():
		return false, o.refuse(restoreOrReplace, "%s, which says whose the log is, is missing",
			o.identityFile())
	}
	return false, o.refuse("give each member a directory of its own for its log, or give the data directory of that "+
		"member",
		"the log in %s is that of member %s of cluster %s, which does not live in "+
			"%s", o.walDir(), log.Member, log.Cluster, filepath.Dir(o.Dir))
}

// identities returns the identity in the data directory, and that in the log. One that was written
// before the log was made counts only if it is of this log.
func (o *storageOptions) identities() (noted, log identity, err error) {
	if err = o.unfinished(); err == nil {
		noted, err = o.readIdentity()
	}
	if err == nil {
		log, err = o.logIdentity()
	}
	if !noted.made() && !noted.owns(log) {
		noted = identity{}
	}
	return noted, log, err
}

// hasSecondLog reports whether there is a log inside the data directory although another place is
// given.
func (o *storageOptions) hasSecondLog() bool {
	inside := o.defaultWALDir()
	return filepath.Clean(o.walDir()) != inside && !sameFile(o.walDir(), inside) && hasLog(o.FS, inside)
}

// refuse returns the error of a log's directory that can't be this member's.
func (o *storageOptions) refuse(remedy, format string, args ...any) error {
	return &DirError{o.walDir(), o.elsewhere(), fmt.Errorf(format, args...), remedy}
}

// restoreOrReplace is the remedy for a member whose disk has lost something.
const restoreOrReplace = "restore it from a backup, or remove it and add it anew with an empty data directory; " +
	lastResort

// lastResort is the remedy with neither a backup nor another member.
const lastResort = "with neither a backup nor another member, etcdctl salvage makes a new cluster of what is whole"

// missing returns the error of a member without a log.
func (o *storageOptions) missing(noted identity) error {
	remedy := restoreOrReplace
	if noted.made() && noted.Log != o.logPlace() {
		remedy = fmt.Sprintf("give the directory where it was last (%s) as --wal-dir, or none if it is inside the "+
			"data directory; otherwise %s", noted.Log, remedy)
	}
	return o.refuse("mount what is to be there; otherwise "+remedy, "%s was a member's, but there is no log in %s",
		o.Dir, o.walDir())
}

// foreign returns an error when the directory for a new log holds files that are not those of a
// log.
func (o *storageOptions) foreign() error {
	names, err := orOS(o.FS).ReadDir(o.walDir())
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	for _, name := range names {
		if !wal.Owns(name) && !ordinary(name) {
			return o.refuse("give an empty directory, of the log's own", "there is something else in %s: %s",
				o.walDir(), name)
		}
	}
	return err
}

// ordinary reports whether any directory may hold a file of that name: a lock, or what file systems
// make.
func ordinary(name string) bool {
	return name == "lock" || name == "lost+found" || strings.HasPrefix(name, ".")
}
