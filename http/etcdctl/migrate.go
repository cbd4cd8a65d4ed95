package etcdctl

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"etcd2/http/etcdctl/migrate"
	"etcd2/raft"
)

var migrateCommand = &command{
	name: "migrate", args: "OLD [OLD ...]", help: "make data directories of a new cluster out of what etcd 2 or 3 " +
		"has left", run: runMigrate,
	more: "OLD is the data directory of a member of etcd 2, or of etcd 3 with --enable-v2, that is stopped, or a " +
		"copy of one. Nothing is changed in it. Keys,\n" +
		"directories, times to live, indices, users and roles come along, and members begin anew: start the new ones " +
		"as usual, with no data lost. Of several\n" +
		"members give the directories of all that there are: a write that was acknowledged just before they stopped " +
		"may be known as such to none alone.\n" +
		"Keys whose time to live is over by now are gone. What is left out is told.",
	options: append([]option{
		{name: "wal-dir", arg: "DIR", check: text,
			help: "the log of OLD, when that is elsewhere; may be given once for each"},
		{name: "without-ttl",
			help: "leave out what has a time to live, such as leases and locks that their owners make anew"},
		{name: "until-damage", help: "take what is before the first damage of a log"},
		{name: "removed", help: "take the data of a member that was removed from its cluster"},
		{name: "dry-run", help: "only tell what would be taken"},
	}, foundingOptions...),
	examples: []example{
		{"migrate /var/lib/etcd --data-dir /var/lib/etcd2", "a member that was alone"},
		{"migrate a b c --data-dir a=new-a,b=new-b --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380",
			"two members of what three have left"},
		{"migrate /var/lib/etcd --wal-dir /ssd/etcd-wal --dry-run", "what there is"},
	},
}

func runMigrate(s *session, args []string) error {
	dry := s.opts.on("dry-run")
	if len(args) == 0 || s.opts.text("data-dir") == "" && !dry {
		return wrong("what etcd has left and where its members are to live required: migrate OLD --data-dir DIR")
	}
	o, err := s.founding("")
	if err != nil {
		return err
	}
	for _, place := range o.Places {
		if err := apart(place.Dir, args); err != nil {
			return err
		}
	}
	left, err := s.read(args)
	if err != nil {
		return err
	}
	s.summarize(left)
	if dry {
		return nil
	}
	made, err := raft.Found(state(left), o)
	if err != nil {
		return err
	}
	s.founded("Made", o, made)
	return nil
}

// apart returns an error when a new directory is an old one.
func apart(dir string, old []string) error {
	there, err := os.Stat(dir)
	for _, o := range old {
		if info, oldErr := os.Stat(o); err == nil && oldErr == nil && os.SameFile(there, info) {
			return fmt.Errorf("%s is what etcd has left, and nothing is changed in it: give another directory with "+
				"--data-dir", dir)
		}
	}
	return nil
}

// read reads the old directories, with progress.
func (s *session) read(dirs []string) (*migrate.Result, error) {
	var bytes atomic.Int64
	p := s.progress(func() string { return fmt.Sprintf("%d MB of the log read", bytes.Load()/1e6) })
	left, err := migrate.Read(dirs, migrate.Options{
		WALDirs: s.opts.all("wal-dir"), UntilDamage: s.opts.on("until-damage"), Removed: s.opts.on("removed"),
		Read: func(n int) { bytes.Add(int64(n)) },
	})
	p.end()
	if err != nil {
		return nil, err
	}
	left.Expire(time.Now())
	if s.opts.on("without-ttl") {
		left.RemoveTTLs()
	}
	return left, nil
}

// state is what was left, as raft makes a cluster of it.
func state(left *migrate.Result) *raft.Frozen {
	return raft.NewFrozen(raft.Snapshot{
		Index: left.Index, Term: left.Term, Stamp: left.Now.UnixNano(),
		Membership: raft.Membership{ClusterID: left.ClusterID},
	}, left.Tree.Freeze())
}

// summarize tells what was left, and what is left out.
func (s *session) summarize(left *migrate.Result) {
	c := left.Count()
	s.tell(s.stdout, "%s, cluster %x, of %d members\n", left.Program(), left.ClusterID, len(left.Members))
	if len(left.Members) > 0 {
		s.tell(s.stdout, "--initial-cluster %s\n", migrate.InitialCluster(left.Members))
	}
	s.tell(s.stdout, "%d keys in %d directories, %d bytes, %d users, %d roles, store index %d\n",
		c.Keys, c.Directories, c.Bytes, c.Users, c.Roles, left.Tree.Index())
	for _, note := range left.Notes {
		s.tell(s.stderr, "note: %s\n", note)
	}
}
