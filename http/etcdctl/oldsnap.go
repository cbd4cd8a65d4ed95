package etcdctl

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"etcd2/http/client"
)

// An oldSnapshot is the keys in a snapshot file of an older etcd. [oldSnapshot.Get] answers as a server with these keys would. It belongs to one
// goroutine.
//
// There are three formats, of which each begins in its own way.
//
// etcd 0.4 has them from the library go-raft, as snapshot/TERM_INDEX.ss in its data directory:
//
//	│ checksum 8 │ \n │ {"lastIndex":N,"lastTerm":N,"peers":[{"name":"a","connectionString":"URL"}],"path":"PATH","state":"BASE64"} │
//
// The checksum is the CRC-32 of IEEE of all that comes after the newline, in small hexadecimal digits. The state is a dump.
//
// etcd 2 has them as member/snap/TERM-INDEX.snap, both numbers in 16 hexadecimal digits; so has etcd 3, whose keys of the API v3 are not in them.
// It is two messages of protobuf, one in the other:
//
//	│ 08 │ checksum, varint │ 12 │ length, varint │ 0a │ length, varint │ dump │ 12 │ length, varint │ metadata │
//	                                              └────────────────── the checksum covers this ─────────────────┘
//
// The checksum is the CRC-32C (Castagnoli). The metadata are (1) who the members are, (2) the index and (3) the term of raft; nothing of that is
// needed here. Fields may come in any order, of those that come twice the last one counts, and unknown ones are passed over.
//
// A dump is what the store of both makes of itself, in JSON, and what import of etcdctl 2.3.8 takes. It has no checksum: nobody sees that a value is wrong.
//
//	{"Root":NODE,"WatcherHub":{...},"CurrentIndex":N,"Stats":{...},"CurrentVersion":2}
//
// with a node for the root, and in it for each that is below it, by the last part of its name. What a file is has null for Children, and
// what has no end the year 1 for ExpireTime. etcd 0.4 has an "ACL":"" besides, which it never used:
//
//	{"Path":"/a","CreatedIndex":4,"ModifiedIndex":4,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"b":NODE}}
//
// Directly below the root, 0.4 has the users' keys, and /_etcd, which it keeps for itself: machines and configuration. For etcd 2 see [dump.isOfEtcd2].
type oldSnapshot struct {
	root   *oldNode // of the users' keys
	index  uint64   // of the store
	places []string // hidden keys that are looked for, by their names
	own    string   // a hidden key that nobody misses; "": none
	users  int      // of the cluster; they are not keys

	// What Get left out of the directories that it was asked for; a key may be there more than once.
	hidden []string // their names begin with "_"
	past   []string // their time is over
}

// oldBookkeeping is what etcd 0.4 kept for itself among the keys.
const oldBookkeeping = "/_etcd"

// An oldNode is one in a dump.
type oldNode struct {
	ExpireTime time.Time // zero: never
	Value      string
	Children   map[string]*oldNode // nil in a file
}

// A dump is the store's own form of itself.
type dump struct {
	Root         *oldNode
	CurrentIndex uint64
}

// decodeOldSnapshot takes any of the formats.
func decodeOldSnapshot(b []byte) (*oldSnapshot, error) {
	var err error
	state := b
	ofGoRaft, ofEtcd2 := isOfGoRaft(b), len(b) > 0 && b[0] == tagOfChecksum
	switch {
	case ofGoRaft:
		state, err = stateOfGoRaft(b)
	case ofEtcd2:
		state, err = stateOfEtcd2(b)
	case len(b) == 0:
		err = errors.New("it is empty")
	case b[0] != '{':
		err = errors.New("it begins neither with a checksum of 8 hexadecimal digits and a newline, as those of etcd 0.4, nor with the byte 08, as those of etcd 2, nor with {, as the dump of a store")
	}
	if err != nil {
		return nil, err
	}
	d, err := decodeDump(state)
	switch {
	case err != nil:
		return nil, err
	case !ofGoRaft && d.isOfEtcd2():
		return d.ofEtcd2(), nil
	case ofEtcd2:
		return nil, errors.New("the store in it is none of etcd 2: there is no /0/members, or there are others than /0, /1 and /2")
	}
	return d.ofEtcd04(), nil
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

// tagOfChecksum is what a snapshot of etcd 2 begins with: field 1, a varint.
const tagOfChecksum = 1 << 3

// stateOfEtcd2 returns the dump in a snapshot of etcd 2.
func stateOfEtcd2(b []byte) ([]byte, error) {
	outer, err := decodeMessage(b)
	if err != nil {
		return nil, err
	}
	checksum, data := outer[1].number, outer[2].content
	if sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)); uint64(sum) != checksum {
		return nil, fmt.Errorf("its checksum says %08x, and that of its data is %08x", checksum, sum)
	}
	inner, err := decodeMessage(data)
	return inner[1].content, err
}

// A field is the value of one in a message of protobuf: a number, or bytes.
type field struct {
	number  uint64
	content []byte // a part of the message
}

// The types of fields, the lowest 3 bits of a tag.
const (
	typeVarint = iota
	typeFixed64
	typeBytes
	_ // the beginning and the end of a group, which nobody uses
	_
	typeFixed32
)

// decodeMessage returns a message's fields by their numbers.
func decodeMessage(b []byte) (map[uint64]field, error) {
	whole := len(b)
	fields := map[uint64]field{}
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 {
			return nil, fmt.Errorf("there is no field at offset %d of %d of a message", whole-len(b), whole)
		}
		f, length := decodeField(tag&7, b[n:])
		if length < 0 {
			return nil, fmt.Errorf("field %d at offset %d of a message does not end within its %d bytes, or is of a kind that is not known", tag>>3, whole-len(b), whole)
		}
		fields[tag>>3], b = f, b[n+length:]
	}
	return fields, nil
}

// decodeField returns what b begins with, and its length; that is negative when b ends before it.
func decodeField(kind uint64, b []byte) (field, int) {
	var fixed int
	switch kind {
	case typeVarint, typeBytes:
		number, n := binary.Uvarint(b)
		switch {
		case n <= 0:
			return field{}, -1
		case kind == typeVarint:
			return field{number: number}, n
		case number > uint64(len(b)-n):
			return field{}, -1
		}
		end := n + int(number)
		return field{content: b[n:end]}, end
	case typeFixed64:
		fixed = 8
	case typeFixed32:
		fixed = 4
	}
	if fixed == 0 || fixed > len(b) {
		return field{}, -1
	}
	return field{}, fixed
}

func decodeDump(b []byte) (*dump, error) {
	d := new(dump)
	if err := json.Unmarshal(b, d); err != nil {
		return nil, fmt.Errorf("the store in it is not the JSON of one: %w", err)
	}
	if d.Root == nil || d.Root.Children == nil {
		return nil, errors.New("the store in it has no directory Root")
	}
	return d, d.Root.check("")
}

// check tells whether every node below a key is one, and has a name that a key can have.
func (n *oldNode) check(key string) error {
	for name, child := range n.Children {
		below := key + "/" + name
		if child == nil || name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
			return fmt.Errorf("the store in it has at %q what is no key", below)
		}
		if err := child.check(below); err != nil {
			return err
		}
	}
	return nil
}

// spaces are the directories at the top of etcd 2's store, which has more than keys in it: what the cluster knows of itself, as members and
// version, the users' keys, and users and roles. The last is there since somebody has made one.
var spaces = []string{"0", "1", "2"}

// isOfEtcd2 tells a dump by etcd 2 from one by 0.4: at its top are spaces and nothing else, and in the first are members. A store of 0.4 has
// its /_etcd there; and a store that had lost that, and all keys except /0/members and some in /1 and /2, is nothing that 0.4 would leave behind.
func (d *dump) isOfEtcd2() bool {
	for name, n := range d.Root.Children {
		if n.Children == nil || !slices.Contains(spaces, name) {
			return false
		}
	}
	members := d.Root.child("0").child("members")
	return members != nil && members.Children != nil
}

// ofEtcd04 takes the keys out of a dump by etcd 0.4.
func (d *dump) ofEtcd04() *oldSnapshot {
	others := slices.DeleteFunc(slices.Clone(hiddenPlaces), func(place string) bool { return place == oldBookkeeping })
	return &oldSnapshot{root: d.Root, index: d.CurrentIndex, places: others, own: oldBookkeeping}
}

// ofEtcd2 takes the keys out of a dump by etcd 2. Without their space there are none.
func (d *dump) ofEtcd2() *oldSnapshot {
	keys := cmp.Or(d.Root.child("1"), &oldNode{Children: map[string]*oldNode{}})
	o := &oldSnapshot{root: keys, index: d.CurrentIndex, places: hiddenPlaces}
	if users := d.Root.child("2").child("users"); users != nil {
		o.users = len(users.Children)
	}
	return o
}

// child is nil when there is none of that name, or no n.
func (n *oldNode) child(name string) *oldNode {
	if n == nil {
		return nil
	}
	return n.Children[name]
}

func (n *oldNode) isOver(now time.Time) bool {
	return !n.ExpireTime.IsZero() && !n.ExpireTime.After(now)
}

// as is the node as a client gets it, without what is below it. Its time is not over.
func (n *oldNode) as(key string, now time.Time) *client.Node {
	node := &client.Node{Key: key, Dir: n.Children != nil, Value: n.Value}
	if !n.ExpireTime.IsZero() {
		left := min(n.ExpireTime.Sub(now), math.MaxInt64-time.Second) // so that it can be rounded up
		node.TTL = int64((left + time.Second - 1) / time.Second)
	}
	return node
}

// Get returns a node as [client.Client.Get] does, whatever the options say. It never asks anybody.
func (o *oldSnapshot) Get(_ context.Context, key string, _ client.GetOptions) (*client.Response, error) {
	n, at, now := o.root, "", time.Now()
	for name := range strings.FieldsFuncSeq(key, func(r rune) bool { return r == '/' }) {
		n, at = n.child(name), at+"/"+name
		if n == nil || n.isOver(now) {
			return nil, &client.Error{Code: client.CodeKeyNotFound, Message: "Key not found", Cause: at, Index: o.index}
		}
	}
	node := n.as(at, now)
	for _, name := range slices.Sorted(maps.Keys(n.Children)) {
		child, below := n.Children[name], at+"/"+name
		switch {
		case child.isOver(now):
			o.past = append(o.past, below)
		case name[0] == '_':
			o.hidden = append(o.hidden, below)
		default:
			node.Nodes = append(node.Nodes, child.as(below, now))
		}
	}
	return &client.Response{Action: "get", Node: node, Index: o.index}, nil
}
