package migrate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"etcd2/http/auth"
	"etcd2/store"
)

// Options are the options of Read.
type Options struct {
	WALDirs     []string        // directories of the logs, in the order of the data directories; "" or missing: inside
	UntilDamage bool            // take what stands before the first damage
	Removed     bool            // take also the data of a member that was removed
	Read        func(bytes int) // if not nil, is called with the length of each file of a log that was read
}

// A Result is what etcd has left. It belongs to the caller.
type Result struct {
	Tree        *store.Store
	Index, Term uint64    // of the last entry of raft that was applied
	Now         time.Time // the time of Tree's clock
	ClusterID   uint64
	Version     string // "2.3.0"; "" for etcd 2.0
	Members     []Member
	Notes       []string // what was left out and why, a sentence each
}

// Program returns the program that wrote it, such as "etcd 2.3".
func (r *Result) Program() string { return program(r.Version) }

// program returns the program that runs a cluster of a version; etcd 2.0 has no such version.
func program(version string) string {
	if version == "" {
		return "etcd 2.0"
	}
	return "etcd " + strings.TrimSuffix(version, ".0")
}

// A source is one member's data.
type source struct {
	*folder
	*journal
	base *snapshot // nil: the log begins at its beginning
	from position  // of base
}

// Read reads the data directories of one or several members of one cluster, and changes nothing in
// them. It takes the entries that were committed: of a single directory those that its member knew
// to be committed, or all if it was the only voter; of several those that more than half of the
// voters may have had.
//
// The tree has its nodes as etcd would have shown them when it stopped; see [Result.Expire].
func Read(dirs []string, o Options) (*Result, error) {
	var sources []*source
	for i, dir := range dirs {
		walDir := ""
		if i < len(o.WALDirs) {
			walDir = o.WALDirs[i]
		}
		s, unlock, err := open(dir, walDir, o)
		if unlock != nil {
			defer unlock()
		}
		if err != nil {
			return nil, err
		}
		sources = append(sources, s)
	}
	if len(sources) == 0 {
		return nil, errors.New("no directory is given")
	}
	return gather(sources, o)
}

// open reads the log of a directory and chooses the snapshot to begin with.
func open(dir, walDir string, o Options) (s *source, unlock func() error, err error) {
	f, err := openFolder(dir, walDir)
	if err != nil {
		return nil, nil, err
	}
	lock, err := f.lock()
	if err != nil {
		return nil, nil, err
	}
	read := o.Read
	if read == nil {
		read = func(int) {}
	}
	j, err := readJournal(f.logs, o.UntilDamage, read)
	s = &source{folder: f, journal: j}
	var d *Damage
	if errors.As(err, &d) {
		d.Saves = s.saves()
	}
	if err == nil {
		err = s.choose()
	}
	return s, lock.Close, err
}

// saves tells what stands before the damage.
func (s *source) saves() string {
	s.journal.end = new(Damage)
	if err := s.choose(); err != nil {
		return "nothing: " + err.Error()
	}
	last := max(s.last().index, s.from.index)
	return fmt.Sprintf("what is before it, up to entry %d of the log", last)
}

// choose finds the newest snapshot that belongs to the log. Without one, the log must begin with
// the first entry.
func (s *source) choose() error {
	for _, path := range s.snaps {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		snap, err := decodeSnapshot(b)
		if err != nil {
			s.passedOver = append(s.passedOver, fmt.Sprintf("%s (%v)", path, err))
			continue
		}
		if s.fits(snap.at) {
			s.base, s.from = snap, snap.at
			return s.covered()
		}
		s.passedOver = append(s.passedOver, path+" (it does not belong to the log)")
	}
	if first := s.first(); first > 1 {
		return fmt.Errorf("%s: the log begins at entry %d, and no snapshot has those before it: "+
			"take the directory of another member", s.dir, first)
	}
	return s.covered()
}

// fits reports whether the log continues a snapshot. If the log is damaged, every snapshot after
// its end fits: a snapshot has only committed entries.
func (s *source) fits(at position) bool {
	last := s.last().index
	reached := len(s.entries) == 0 || s.first() <= at.index+1 || last <= at.index
	if s.end != nil && at.index >= last {
		return reached
	}
	known := s.saved[at] || s.termAt(at.index) == at.term
	return known && reached && (at.index <= s.state.commit || last <= at.index)
}

// covered returns an error when committed entries are missing.
func (s *source) covered() error {
	if last := max(s.last().index, s.from.index); s.state.commit > last && s.end == nil {
		return fmt.Errorf("%s: entry %d was committed, and the log ends with %d", s.dir, s.state.commit, last)
	}
	return nil
}

// committed returns the index of the last entry that the member knew to be committed.
func (s *source) committed() uint64 {
	last := max(s.last().index, s.from.index)
	return min(max(s.state.commit, s.from.index), last)
}

// newest returns the position of the last entry, in the log or the snapshot.
func (s *source) newest() position {
	return slices.MaxFunc([]position{s.last(), s.from}, position.compare)
}

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.term, q.term), cmp.Compare(p.index, q.index))
}

// has reports whether the member had an entry.
func (s *source) has(p position) bool { return s.termAt(p.index) == p.term || p.index <= s.from.index }

// newestOf returns the source whose log has the newest last entry, and the highest index that any
// source knew to be committed.
func newestOf(sources []*source) (best *source, committed uint64, err error) {
	best = slices.MaxFunc(sources, func(a, b *source) int { return a.newest().compare(b.newest()) })
	for i, s := range sources {
		if s.cluster != best.cluster {
			return nil, 0, fmt.Errorf("%s is of cluster %x, and %s of %x: take directories of one",
				best.dir, best.cluster, s.dir, s.cluster)
		}
		for _, other := range sources[:i] {
			if other.node == s.node {
				return nil, 0, fmt.Errorf("%s and %s are of the same member, %x: give the newer one alone",
					other.dir, s.dir, s.node)
			}
		}
		committed = max(committed, s.committed())
	}
	if newest := best.newest().index; committed > newest {
		err = fmt.Errorf("%s has the newest log, which ends with entry %d, and another member knew %d to be committed",
			best.dir, newest, committed)
	}
	return best, committed, err
}

// gather applies the committed entries.
func gather(sources []*source, o Options) (*Result, error) {
	best, committed, err := newestOf(sources)
	if err != nil {
		return nil, err
	}
	r, err := newReplay(best.base)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", best.dir, err)
	}
	if err := best.replay(r, committed); err != nil {
		return nil, err
	}
	if r.members.removed[best.node] && !o.Removed {
		return nil, fmt.Errorf("%s: its member %x was removed from the cluster, so its data may be old: "+
			"take the directory of another member, or this with --removed", best.dir, best.node)
	}
	last := best.lastAcknowledged(committed, sources, r.members.voters)
	if err := best.each(committed+1, last, r.entry); err != nil {
		return nil, err
	}
	result := best.result(r, sources)
	if len(sources) > 1 {
		err = result.noteEntries(best, committed+1, last, "taken: what none of these members knew to be "+
			"committed, and more than half may have had: entries %d to %d%s")
	}
	if err == nil {
		err = result.noteEntries(best, last+1, best.last().index, "left out: what was not known to be "+
			"committed: entries %d to %d%s: give the directories of all members")
	}
	return result, err
}

// replay applies the entries that a member knew to be committed.
func (s *source) replay(r *replay, committed uint64) error {
	version, err := s.lastVersion(committed, r.version)
	if err != nil {
		return err
	}
	r.runAs(version)
	return s.each(s.from.index+1, committed, r.entry)
}

// lastVersion returns the version of the cluster after an entry.
func (s *source) lastVersion(to uint64, before string) (version string, err error) {
	version = before
	err = s.each(s.from.index+1, to, func(e entry) error {
		if bytes.Contains(e.data, []byte(versionKey)) {
			if q, isOne := decodeRequest(e.data); isOne && q.path == versionKey {
				version = q.value
			}
		}
		return nil
	})
	return version, err
}

// lastAcknowledged returns the index of the last entry that may have been acknowledged. An only
// voter has acknowledged all that it has. Of several voters, those whose data is not given may have
// had an entry. With the data of one member only, no entry is taken that it did not know to be
// committed.
func (s *source) lastAcknowledged(committed uint64, sources []*source, voters map[uint64]bool) uint64 {
	last := s.last().index
	if len(voters) == 1 && voters[s.node] {
		return max(committed, last)
	}
	if len(sources) == 1 {
		return committed
	}
	for index := committed + 1; index <= last; index++ {
		had := len(voters)
		for _, other := range sources {
			if voters[other.node] && !other.has(position{index, s.termAt(index)}) {
				had--
			}
		}
		if 2*had <= len(voters) {
			return index - 1
		}
	}
	return max(committed, last)
}

// result makes the Result after all entries are applied.
func (s *source) result(r *replay, sources []*source) *Result {
	result := &Result{
		Tree: r.tree, Index: r.at.index, Term: max(1, r.at.term), ClusterID: s.cluster,
		Version: r.version, Members: r.members.list(), Now: time.Unix(0, r.now),
	}
	for _, one := range sources {
		result.noteFiles(one)
	}
	if r.v3 > 0 {
		result.note("left out: %d operations of the API v3 in the log, and all keys, leases and users of that API",
			r.v3)
	}
	if r.doubtful > 0 {
		result.note("%d updates with a comparison were taken as etcd 2.0.10 and later do: before, it did not count",
			r.doubtful)
	}
	result.noteUsers()
	return result
}

// noteFiles notes which of a member's files were not read.
func (r *Result) noteFiles(s *source) {
	for _, path := range s.passedOver {
		r.note("passed over: %s", path)
	}
	if s.end != nil {
		r.note("the log ends at %s, offset %d: %s", s.end.File, s.end.Offset, s.end.Reason)
	}
}

// noteEntries notes the entries from one index to another, with some of their keys.
func (r *Result) noteEntries(s *source, from, to uint64, format string) error {
	if from > to {
		return nil
	}
	keys, err := s.keys(from, to)
	r.note(format, from, to, keys)
	return err
}

func (r *Result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// keys lists some of the keys that the entries from one index to another write.
func (s *source) keys(from, to uint64) (text string, err error) {
	const most = 5
	var keys []string
	err = s.each(from, to, func(e entry) error {
		q, isOne := decodeRequest(e.data)
		if top, key := split(q.path); isOne && top == topKeys && len(keys) < most {
			keys = append(keys, key)
		}
		return nil
	})
	if len(keys) == 0 {
		return "", err
	}
	return " (" + strings.Join(keys, ", ") + ")", err
}

// noteUsers notes the users that can't log in.
func (r *Result) noteUsers() {
	var without []string
	v, _ := r.Tree.Auth()
	for dir := range v.All(v.Node) {
		for n := range v.All(dir) {
			var u auth.User
			name, isUser := strings.CutPrefix(n.Path, usersPrefix)
			if isUser && (json.Unmarshal([]byte(n.Value), &u) != nil || len(u.Secret.Key) == 0) {
				without = append(without, name)
			}
		}
	}
	if len(without) > 0 {
		r.note("these users can't log in until their passwords are set anew: %s", strings.Join(without, ", "))
	}
}

// Expire sets the clock of the tree to now and removes what has expired, each key with an index of
// its own, as etcd would have done at its next start.
func (r *Result) Expire(now time.Time) {
	if now.After(r.Now) {
		r.Now = now
	}
	before := r.Tree.Index()
	r.apply(nil)
	if gone := r.Tree.Index() - before; gone > 0 {
		r.note("left out: %d keys and directories that have expired meanwhile", gone)
	}
}

// RemoveTTLs removes what has a time to live, each key with an index of its own.
func (r *Result) RemoveTTLs() {
	paths := r.ending()
	for _, path := range paths {
		c := store.Command{Op: store.OpDelete, Path: path, Recursive: true, Revision: r.Tree.AuthRevision()}
		r.apply(c.Append(nil))
	}
	if len(paths) > 0 {
		r.note("left out: %d keys and directories that had a time to live", len(paths))
	}
}

func (r *Result) apply(command []byte) {
	r.Index++
	r.Tree.Apply(r.Index, r.Now, command)
}

// ending returns the nodes that have a time to live, without those that are below such a node.
func (r *Result) ending() (paths []string) {
	v, _ := r.Tree.Get("/")
	var walk func(*store.Node)
	walk = func(dir *store.Node) {
		for n := range v.All(dir) {
			if n.Ends != nil {
				paths = append(paths, n.Path)
			} else {
				walk(n)
			}
		}
	}
	walk(v.Node)
	return paths
}

// Counts tell how much there is in a tree.
type Counts struct {
	Keys, Directories, Bytes int // with hidden ones; Bytes are those of keys and values
	Users, Roles             int
}

// Count counts what is in the tree.
func (r *Result) Count() (c Counts) {
	keys, _ := r.Tree.Get("/")
	users, _ := r.Tree.Auth()
	c.add(keys, keys.Node)
	for dir := range users.All(users.Node) {
		for n := range users.All(dir) {
			if strings.HasPrefix(n.Path, usersPrefix) {
				c.Users++
			} else {
				c.Roles++
			}
		}
	}
	return c
}

// add counts what is below a directory.
func (c *Counts) add(v store.View, dir *store.Node) {
	for n := range v.All(dir) {
		c.Bytes += len(n.Path) + len(n.Value)
		if !n.Dir {
			c.Keys++
			continue
		}
		c.Directories++
		c.add(v, n)
	}
}
