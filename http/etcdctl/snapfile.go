package etcdctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"etcd2/http/client"
	"etcd2/http/etcdctl/migrate"
	"etcd2/store"
)

// A snapshotSource is a snapshot file of etcd 0.4 or 2 as a source of import: its keys, at the time
// when it was read.
type snapshotSource struct{ tree *store.Store }

// openFile makes a snapshot file the source. It is read as a whole, as etcd does.
func (i *importer) openFile(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		// Unwrap, since err names the file, too.
		return &failure{statusWrong, fmt.Sprintf("cannot read snapshot file %s: %v", file, errors.Unwrap(err))}
	}
	i.old, err = migrate.ReadSnapshot(b)
	if err != nil {
		return &failure{statusWrong,
			fmt.Sprintf("cannot read snapshot file %s: %v: take another copy of it, or an earlier snapshot, or "+
				"import --from a cluster that has the keys", file, err)}
	}
	i.old.Expire(time.Now())
	i.from = snapshotSource{i.old.Tree}
	if i.old.Version == migrate.Version04 {
		i.places = slices.DeleteFunc(slices.Clone(i.places), func(key string) bool { return key == oldBookkeeping })
	}
	return nil
}

// list returns the node of a key and its children that are not hidden.
func (f snapshotSource) list(_ context.Context, key string) (listing, error) {
	v, err := f.tree.Get(store.Canonical(key))
	if err != nil {
		return nil, &client.Error{Code: client.CodeKeyNotFound, Message: "Key not found", Cause: key}
	}
	list := &nodes{asClientNode(v.Node)}
	for n := range v.Children(v.Node) {
		*list = append(*list, asClientNode(n))
	}
	return list, nil
}

// asClientNode returns a node as a member would show it now, without its children. One that has
// expired since the snapshot was read has a second left.
func asClientNode(n *store.Node) *client.Node {
	node := &client.Node{Key: strings.TrimSuffix(n.Path, "/"), Dir: n.Dir, Value: n.Value}
	if n.Ends != nil {
		left := time.Until(time.Unix(0, n.Ends.Shown))
		node.TTL = max(1, int64((left+time.Second-1)/time.Second))
	}
	return node
}

// nodes are a listing that is in memory.
type nodes []*client.Node

// Next returns the next node, and io.EOF after the last one.
func (l *nodes) Next() (*client.Node, error) {
	if len(*l) == 0 {
		return nil, io.EOF
	}
	n := (*l)[0]
	*l = (*l)[1:]
	return n, nil
}

// Close does nothing.
func (l *nodes) Close() error { return nil }

// leftOut prints what the snapshot has and the import did not copy.
func (s *session) leftOut(old *migrate.Result) {
	for _, note := range old.Notes {
		s.tell(s.stderr, "note: %s\n", note)
	}
	copied := slices.Clone(hiddenPlaces)
	for _, key := range s.opts.all("hidden") {
		copied = append(copied, canonical(key))
	}
	if v, err := old.Tree.Get(store.Canonical(s.opts.text("key"))); err == nil {
		if keys := hiddenIn(v, v.Node, copied); len(keys) > 0 {
			s.tell(s.stderr, "note: left out, since they are hidden: %s: name those that you want with --hidden\n",
				some(keys))
		}
	}
	if users := old.Count().Users; users > 0 {
		s.tell(s.stderr, "note: the snapshot has users, %d of them, which are not copied: add them with etcdctl "+
			"user add\n", users)
	}
}

// hiddenIn returns the hidden keys below a directory, except those that were copied and what is
// below the ones returned.
func hiddenIn(v store.View, dir *store.Node, copied []string) (keys []string) {
	for n := range v.All(dir) {
		if path.Base(n.Path)[0] == '_' && !slices.Contains(copied, n.Path) {
			keys = append(keys, n.Path)
			continue
		}
		keys = append(keys, hiddenIn(v, n, copied)...)
	}
	return keys
}

// some lists the keys, or the first of many.
func some(keys []string) string {
	const most = 10
	if len(keys) <= most {
		return strings.Join(keys, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(keys[:most], ", "), len(keys)-most)
}
