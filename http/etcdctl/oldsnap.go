package etcdctl

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"etcd2/http/client"
	"etcd2/http/etcdctl/migrate"
	"etcd2/store"
)

// An oldSnapshot is the keys in a snapshot file of an older etcd. [oldSnapshot.list] answers as a
// server with these keys would. It belongs to one
// goroutine.
//
// There are three formats, of which each begins in its own way.
//
// etcd 0.4 has them from the library go-raft, as snapshot/TERM_INDEX.ss in its data directory:
//
//	│ checksum 8 │ \n │ {"lastIndex":N,"lastTerm":N,"peers":[{"name":"a","connectionString":"URL"}],"path":"PATH","state":"BASE64"} │
//
// The checksum is the CRC-32 of IEEE of all that comes after the newline, in small hexadecimal
// digits. The state is a dump.
//
// etcd 2 has them as member/snap/TERM-INDEX.snap, see [migrate.Snapshot]; so has etcd 3, whose keys
// of the API v3 are not in them. The third is a dump alone, see [migrate.Dump], which import of
// etcdctl 2.3.8 takes. It has no checksum: nobody sees that a value is wrong.
//
// Directly below the root, 0.4 has the users' keys, and /_etcd, which it keeps for itself: machines
// and configuration. For etcd 2 see [oldSnapshot.isOfEtcd2].
type oldSnapshot struct {
	tree   *store.Store // all of the dump
	top    string       // the path there of the users' keys; "": the root
	index  uint64       // of the store
	places []string     // hidden keys that are looked for, by their names
	own    string       // a hidden key that nobody misses; "": none
	users  int          // of the cluster; they are not keys

	// What list left out of the directories that it was asked for; a key may be there more than
	// once.
	hidden []string // their names begin with "_"
	past   []string // their time is over
}

// oldBookkeeping is what etcd 0.4 kept for itself among the keys.
const oldBookkeeping = "/_etcd"

// decodeOldSnapshot takes any of the formats.
func decodeOldSnapshot(b []byte) (*oldSnapshot, error) {
	var err error
	state := b
	ofGoRaft, ofEtcd2 := isOfGoRaft(b), migrate.IsSnapshot(b)
	switch {
	case ofGoRaft:
		state, err = stateOfGoRaft(b)
	case ofEtcd2:
		state, err = stateOfEtcd2(b)
	case len(b) == 0:
		err = errors.New("it is empty")
	case b[0] != '{':
		err = errors.New("it begins neither with a checksum of 8 hexadecimal digits and a newline, as those of etcd " +
			"0.4, nor with the byte 08, as those of etcd 2, nor with {, as the dump of a store")
	}
	if err != nil {
		return nil, err
	}
	o := &oldSnapshot{tree: store.New(store.Limits{})}
	o.index, err = migrate.Dump(state, o.plant)
	switch {
	case err != nil:
		return nil, err
	case !ofGoRaft && o.isOfEtcd2():
		return o, o.ofEtcd2()
	case ofEtcd2:
		return nil, errors.New("the store in it is none of etcd 2: there is no /0/members, or there are others than " +
			"/0, /1 and /2")
	}
	o.ofEtcd04()
	return o, nil
}

// plant takes a node of the dump. Its indices do not come along.
func (o *oldSnapshot) plant(n store.Node) error {
	if n.Path == "/" {
		return nil
	}
	n.Created, n.Modified = 0, 0
	return o.tree.Plant(store.Keys, n)
}

// oldHead is the length of the first line of a snapshot of etcd 0.4, without its end.
const oldHead = 8

func isOfGoRaft(b []byte) bool {
	return len(b) > oldHead && b[oldHead] == '\n' && len(bytes.Trim(b[:oldHead], "0123456789abcdef")) == 0
}

// stateOfGoRaft returns the dump in a snapshot of etcd 0.4.
func stateOfGoRaft(b []byte) ([]byte, error) {
	head, body := string(b[:oldHead]), b[oldHead+1:]
	if sum := fmt.Sprintf("%08x", crc32.ChecksumIEEE(body)); sum != head {
		return nil, fmt.Errorf("its first line says that the checksum of the rest is %s, and that is %s", head, sum)
	}
	var snapshot struct {
		State []byte `json:"state"`
	}
	if err := json.Unmarshal(body, &snapshot); err != nil {
		return nil, fmt.Errorf("what follows its first line is not the JSON of a snapshot: %w", err)
	}
	return snapshot.State, nil
}

// stateOfEtcd2 returns the dump in a snapshot of etcd 2.
func stateOfEtcd2(b []byte) ([]byte, error) {
	s, err := migrate.DecodeSnapshot(b)
	if err != nil {
		return nil, err
	}
	return s.Dump, nil
}

// spaces are the directories at the top of etcd 2's store, which has more than keys in it: what the
// cluster knows of itself, as members and version, the users' keys, and users and roles. The last
// is there since somebody has made one.
var spaces = []string{"/0", "/1", "/2"}

// isOfEtcd2 tells a dump by etcd 2 from one by 0.4: at its top are spaces and nothing else, and in
// the first are members. A store of 0.4 has its /_etcd there; and a store that had lost that, and
// all keys except /0/members and some in /1 and /2, is nothing that 0.4 would leave behind.
func (o *oldSnapshot) isOfEtcd2() bool {
	top, _ := o.tree.Get("/")
	for n := range top.All(top.Node) {
		if !n.Dir || !slices.Contains(spaces, n.Path) {
			return false
		}
	}
	members, err := o.tree.Get(spaces[0] + "/members")
	return err == nil && members.Node.Dir
}

// ofEtcd04 finds the keys in a dump by etcd 0.4.
func (o *oldSnapshot) ofEtcd04() {
	o.places = slices.DeleteFunc(slices.Clone(hiddenPlaces), func(place string) bool { return place == oldBookkeeping })
	o.own = oldBookkeeping
}

// ofEtcd2 finds the keys in a dump by etcd 2. Without their space there are none.
func (o *oldSnapshot) ofEtcd2() error {
	o.top, o.places = spaces[1], hiddenPlaces
	if users, err := o.tree.Get(spaces[2] + "/users"); err == nil {
		for range users.All(users.Node) {
			o.users++
		}
	}
	if _, err := o.tree.Get(o.top); err != nil {
		return o.plant(store.Node{Path: o.top, Dir: true})
	}
	return nil
}

// isOver reports whether a node's time to live is over.
func isOver(n *store.Node, now time.Time) bool {
	return n.Ends != nil && n.Ends.Shown <= now.UnixNano()
}

// shown is the node as a client gets it, without what is below it. Its time is not over.
func (o *oldSnapshot) shown(n *store.Node, now time.Time) *client.Node {
	node := &client.Node{Key: strings.TrimSuffix(n.Path[len(o.top):], "/"), Dir: n.Dir, Value: n.Value}
	if n.Ends != nil {
		left := time.Duration(n.Ends.Shown - now.UnixNano())
		node.TTL = int64((left + time.Second - 1) / time.Second)
	}
	return node
}

// find returns the node of a key, unless it or a directory that it is in is missing or over.
func (o *oldSnapshot) find(key string, now time.Time) (store.View, error) {
	path := cmp.Or(o.top, "/")
	v, err := o.tree.Get(path)
	for name := range strings.FieldsFuncSeq(key, func(r rune) bool { return r == '/' }) {
		path = store.Canonical(path + "/" + name)
		if v, err = o.tree.Get(path); err != nil || isOver(v.Node, now) {
			return v, &client.Error{Code: client.CodeKeyNotFound, Message: "Key not found", Cause: path[len(o.top):],
				Index: o.index}
		}
	}
	return v, nil
}

// list returns a node and its children. It never asks anybody.
func (o *oldSnapshot) list(_ context.Context, key string) (listing, error) {
	now := time.Now()
	v, err := o.find(key, now)
	if err != nil {
		return nil, err
	}
	found := &nodes{o.shown(v.Node, now)}
	for child := range v.All(v.Node) {
		below := child.Path[len(o.top):]
		switch {
		case isOver(child, now):
			o.past = append(o.past, below)
		case path.Base(below)[0] == '_':
			o.hidden = append(o.hidden, below)
		default:
			*found = append(*found, o.shown(child, now))
		}
	}
	return found, nil
}

// nodes are a listing that is there already.
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
