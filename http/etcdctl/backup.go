package etcdctl

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"etcd2/discovery"
	"etcd2/http/client"
	"etcd2/http/etcdctl/migrate"
	"etcd2/raft"
	"etcd2/store"
	"etcd2/wal/disk"
)

var backupCommand = &command{
	name: "backup", args: "[FILE]", help: "back up a cluster to a file, or copy a data directory", run: runBackup,
	more: "With --from, the file holds everything that was acknowledged before, and is verified. With --data-dir, " +
		"the data directory of one member is\n" +
		"copied, as by etcdctl 2.3.8: the copy starts only with --force-new-cluster.",
	options: []option{
		{name: "from", arg: "URL,...", check: text, help: "members to ask"},
		{name: "stale", help: "with --from: what one member has, when there is no leader"},
		{name: "data-dir", arg: "DIR", check: text, help: "data directory to copy"},
		{name: "wal-dir", arg: "DIR", check: text, help: "directory of its log, when that is elsewhere"},
		{name: "backup-dir", arg: "DIR", check: text, help: "directory of the copy"},
		{name: "backup-wal-dir", arg: "DIR", check: text, help: "directory of the copy's log; default: inside"},
	},
	examples: []example{
		{"backup --from http://127.0.0.1:2379 monday.backup", "from a cluster that runs"},
		{"backup --data-dir /var/lib/etcd --backup-dir /backup/etcd", "a directory, as etcdctl 2.3.8 does"},
	},
}

var restoreCommand = &command{
	name: "restore", args: "FILE", help: "make data directories of a new cluster out of a backup", run: runRestore,
	more: "Each machine may restore its own member, from the same file and with the same list. Then start the " +
		"members as usual.",
	options: append([]option{
		{name: "wal-dir", arg: "DIR", check: text,
			help: "directory of the member's log, or NAME=DIR,... for several; default: inside"},
	}, foundingOptions...),
	examples: []example{
		{"restore monday.backup --data-dir default.etcd", "a cluster of one"},
		{"restore monday.backup --data-dir a.etcd --name a --initial-cluster " +
			"a=http://10.0.0.1:2380,b=http://10.0.0.2:2380", "one member of two"},
	},
}

var verifyCommand = &command{
	name: "verify", args: "PATH", help: "check every byte of a backup or of a data directory", run: runVerify,
	options: []option{{name: "wal-dir", arg: "DIR", check: text,
		help: "directory of the log, when that is elsewhere"}},
	examples: []example{{"verify monday.backup", ""}, {"verify /var/lib/etcd", "works also while the member runs"}},
}

func runBackup(s *session, args []string) error {
	from, dir, to := s.opts.text("from"), s.opts.text("data-dir"), s.opts.text("backup-dir")
	switch {
	case from != "" && (len(args) != 1 || dir != "" || to != ""):
		return wrong("one file for the backup required: backup --from URL FILE")
	case from != "":
		return s.download(args[0])
	case dir == "" || to == "":
		return wrong("--from URL FILE required, or --data-dir DIR and --backup-dir DIR")
	}
	if err := migrate.Left(dir, s.opts.text("wal-dir")); err != nil {
		return err
	}
	snapshot, err := raft.Backup(dir, s.opts.text("wal-dir"), to, s.opts.text("backup-wal-dir"))
	if err != nil {
		return err
	}
	s.tell(s.stdout, "Copied %s to %s, as of raft index %d\n", dir, to, snapshot.Index)
	return nil
}

// download saves a backup under a temporary name, verifies it, and then renames it.
func (s *session) download(path string) (err error) {
	cfg, err := s.userConfig(strings.Split(s.opts.text("from"), ","))
	if err != nil {
		return err
	}
	cfg.Timeout = max(cfg.Timeout, importPatience)
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := s.untilInterrupt()
	defer cancel()
	// A new file that only this user may read: others may write into the directory, too.
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename
	index, err := c.Backup(ctx, f, s.opts.on("stale"))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return bare(wayOut(err, s.opts.on("stale")))
	}
	if err := sound(raft.Verify(f.Name(), raft.VerifyOptions{State: emptyTree})); err != nil {
		return err
	}
	if err := disk.Publish(disk.OS{}, f.Name(), path); err != nil {
		return err
	}
	s.tell(s.stdout, "Saved a backup to %s, as of store index %d\n", path, index)
	return nil
}

// wayOut adds --stale to the error of a backup that failed for lack of a quorum.
func wayOut(err error, stale bool) error {
	var refusal *client.Error
	if !stale && errors.As(err, &refusal) && refusal.Code == client.CodeRaft {
		text := described(err) +
			"\nwithout a quorum no member knows all that was acknowledged: with --stale, the backup has what one " +
			"member knows"
		return &failure{statusWrong, text}
	}
	return err
}

func emptyTree() raft.StateMachine { return store.New(store.Limits{}) }

// sound returns err, or the first fault of the report as an error.
func sound(r raft.Report, err error) error {
	if err == nil && len(r.Faults) > 0 {
		err = &r.Faults[0]
	}
	return err
}

func runRestore(s *session, args []string) error {
	if len(args) != 1 || s.opts.text("data-dir") == "" {
		return wrong("a backup and a new data directory required: restore FILE --data-dir DIR")
	}
	o, err := s.founding(s.opts.text("wal-dir"))
	if err != nil {
		return err
	}
	snapshot, err := raft.Restore(args[0], o)
	if err != nil {
		return err
	}
	s.founded("Restored", o, snapshot)
	return nil
}

// foundingOptions are the options of commands that make data directories of a new cluster.
var foundingOptions = []option{
	{name: "data-dir", arg: "DIR", check: text,
		help: "new data directory of the member NAME, or NAME=DIR,... for several"},
	{name: "name", arg: "NAME", check: text, preset: "default", help: "name of the member"},
	{name: "initial-cluster", arg: "NAME=URL,...", check: text,
		help: "all members of the new cluster; default: NAME at the default peer URLs"},
	{name: "initial-cluster-token", arg: "TEXT", check: text, preset: "etcd-cluster",
		help: "another token makes another cluster of the same file and list"},
}

// founding returns what foundingOptions ask for. walDirs are the directories of the logs, in the
// form of --data-dir; "": inside.
func (s *session) founding(walDirs string) (o raft.RestoreOptions, err error) {
	name, list := s.opts.text("name"), s.opts.text("initial-cluster")
	if list == "" {
		list = fmt.Sprintf("%s=http://localhost:2380,%[1]s=http://localhost:7001", name)
	}
	if o.Cluster, err = discovery.Static(list, s.opts.text("initial-cluster-token")); err != nil {
		return o, err
	}
	dirs, logs := byName(s.opts.text("data-dir"), name), byName(walDirs, name)
	if err := listed(o.Cluster, dirs, s.opts.text("initial-cluster")); err != nil {
		return o, err
	}
	for name, dir := range dirs {
		o.Places = append(o.Places, raft.Place{Name: name, Dir: dir, WALDir: logs[name]})
	}
	return o, nil
}

// founded prints what was made.
func (s *session) founded(did string, o raft.RestoreOptions, made raft.Snapshot) {
	s.tell(s.stdout, "%s %d of %d members of cluster %x, as of raft index %d\n",
		did, len(o.Places), len(made.Membership.Members), made.Membership.ClusterID, made.Index)
}

// listed returns an error when a directory is for a member that the list lacks.
func listed(cluster raft.Membership, dirs map[string]string, list string) error {
	for _, name := range slices.Sorted(maps.Keys(dirs)) {
		if slices.ContainsFunc(cluster.Members, func(m raft.Member) bool { return m.Name == name }) {
			continue
		}
		if list == "" {
			return wrong(fmt.Sprintf("the URLs of all members required, since --data-dir names %s: --initial-cluster "+
				"%[1]s=URL,...", name))
		}
		return wrong(fmt.Sprintf("--initial-cluster=%s lacks %s, which --data-dir names: list it, with its URL", list,
			name))
	}
	return nil
}

// byName parses NAME=DIR,...; a directory without a name is that of the given one.
func byName(text, name string) map[string]string {
	dirs := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		if owner, dir, named := strings.Cut(part, "="); named {
			dirs[owner] = dir
		} else if part != "" {
			dirs[name] = part
		}
	}
	return dirs
}

func runVerify(s *session, args []string) error {
	if len(args) != 1 {
		return wrong("a backup or a data directory required: verify PATH")
	}
	if err := migrate.Left(args[0], s.opts.text("wal-dir")); err != nil {
		return err
	}
	r, err := raft.Verify(args[0], raft.VerifyOptions{WALDir: s.opts.text("wal-dir"), State: emptyTree})
	if err != nil {
		return err
	}
	fmt.Fprint(s.stdout, strings.TrimSuffix(r.String(), "\n")+"\n")
	if len(r.Faults) > 0 {
		return &failure{statusWrong, fmt.Sprintf("%d faults", len(r.Faults))}
	}
	return nil
}
