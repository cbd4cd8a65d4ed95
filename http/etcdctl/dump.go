package etcdctl

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"etcd2/http/etcdctl/migrate"
	"etcd2/raft"
	"etcd2/snap"
	"etcd2/store"
	"etcd2/wal"
)

// Dump prints the snapshots and the log of a data directory, one line a record. args are the data
// directory, and the directory of the log if that is elsewhere. It changes nothing, and may be used
// while the member runs.
func Dump(args []string, w io.Writer) error {
	if len(args) < 1 || len(args) > 2 {
		return errors.New("dump: want the data directory, and the log's if it is elsewhere: etcd2 dump DIR [WALDIR]")
	}
	member := filepath.Join(args[0], "member")
	logDir := filepath.Join(member, "wal")
	if len(args) == 2 {
		logDir = args[1]
	}
	if err := migrate.Left(args[0], strings.Join(args[1:], "")); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	err := cmp.Or(dumpSnapshots(filepath.Join(member, "snap"), out), dumpLog(logDir, out))
	return cmp.Or(err, out.Flush())
}

func dumpSnapshots(dir string, out *bufio.Writer) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.snap"))
	if err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	for _, path := range paths {
		if err := dumpSnapshot(path, out); err != nil {
			return err
		}
	}
	return nil
}

func dumpSnapshot(path string, out *bufio.Writer) error {
	r, err := snap.OpenFile(path, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	tree := store.New(store.Limits{})
	if err := tree.Restore(r); err != nil {
		return fmt.Errorf("dump: %s: %w", path, err)
	}
	meta, err := raft.DescribeSnapshot(r.Meta())
	if err != nil {
		return fmt.Errorf("dump: %s: %w", path, err)
	}
	fmt.Fprintf(out, "%s %s bytes=%d index=%d digest=%016x\n", filepath.Base(path), meta, r.Size(), tree.Index(),
		tree.Digest())
	root, _ := tree.Get("/") // the root is always there
	dumpNode(root, root.Node, out)
	if users, revision := tree.Auth(); revision != 0 {
		dumpAuth(users, users.Node, out)
	}
	return nil
}

// dumpAuth prints what is below a node of users and roles, without the values, which include hashes
// of passwords.
func dumpAuth(v store.View, n *store.Node, out *bufio.Writer) {
	for child := range v.All(n) {
		fmt.Fprintf(out, "  auth %q modified=%d created=%d\n", child.Path, child.Modified, child.Created)
		dumpAuth(v, child, out)
	}
}

// dumpNode prints a node and what is below it.
func dumpNode(v store.View, n *store.Node, out *bufio.Writer) {
	fmt.Fprintf(out, "  %q modified=%d created=%d", n.Path, n.Modified, n.Created)
	if n.Ends != nil {
		fmt.Fprintf(out, " expires=%s", time.Unix(0, n.Ends.Shown).UTC().Format(time.RFC3339Nano))
	}
	if !n.Dir {
		fmt.Fprintf(out, " value=%q\n", n.Value)
		return
	}
	fmt.Fprintln(out, " dir")
	for child := range v.Children(n) {
		dumpNode(v, child, out)
	}
}

func dumpLog(dir string, out *bufio.Writer) error {
	return wal.Dump(dir, nil, func(file string, offset int64, r wal.Record) error {
		text, err := raft.Describe(r, store.Describe)
		if err != nil {
			return fmt.Errorf("dump: %s: offset %d: %w", file, offset, err)
		}
		_, err = fmt.Fprintf(out, "%s %8d  %s\n", filepath.Base(file), offset, text)
		return err
	})
}
