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
	name: "migrate", args: "OLD [OLD ...]", help: "make data directories of a new cluster out of those of etcd 2 or 3",
	run: runMigrate,
	more: "OLD is the data directory of a stopped member of etcd 2, or of etcd 3 with --enable-v2, or a copy of one. " +
		"It is not changed. The new cluster has\n" +
		"the same keys, directories, times to live, indices, users and roles, and new members: start them as usual. " +
		"If there were several members, give\n" +
		"the directories of all that still have one: a write that was acknowledged just before they stopped may not " +
		"be recognizable in a single one.\n" +
		"Keys whose time to live is over are removed. The command prints what it left out.",
	options: append([]option{
		{name: "wal-dir", arg: "DIR", check: text,
			help: "directory of the log of OLD, when that is elsewhere; may be given once for each"},
		{name: "without-ttl",
			help: "leave out keys with a time to live, such as leases and locks that their owners make again"},
		{name: "until-damage", help: "take what is before the first damage of a log"},
		{name: "removed", help: "take the data of a member that was removed from its cluster"},
		{name: "dry-run", help: "only print what would be taken"},
	}, foundingOptions...),
	examples: []example{
		{"migrate /var/lib/etcd --data-dir /var/lib/etcd2", "a cluster of one member"},
		{"migrate a b c --data-dir a=new-a,b=new-b --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380",
			"two new members out of three old ones"},
		{"migrate /var/lib/etcd --wal-dir /ssd/etcd-wal --dry-run", "show what there is"},
	},
}

func runMigrate(s *session, args []string) error {
	dry := s.opts.on("dry-run")
	if len(args) == 0 || s.opts.text("data-dir") == "" && !dry {
		return wrong("an old data directory and a new one required: migrate OLD --data-dir DIR")
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

// apart returns an error when the new directory dir is one of the old ones.
func apart(dir string, old []string) error {
	there, err := os.Stat(dir)
	for _, o := range old {
		if info, oldErr := os.Stat(o); err == nil && oldErr == nil && os.SameFile(there, info) {
			return fmt.Errorf("%s is the old directory, which is not changed: give another directory with --data-dir",
				dir)
		}
	}
	return nil
}

// read reads the old directories, and shows the progress.
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

// state returns the result in the form in which package raft makes a cluster of it.
func state(left *migrate.Result) *raft.Frozen {
	return raft.NewFrozen(raft.Snapshot{
		Index: left.Index, Term: left.Term, Stamp: left.Now.UnixNano(),
		Membership: raft.Membership{ClusterID: left.ClusterID},
	}, left.Tree.Freeze())
}

// summarize prints what was found, and what is left out.
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
