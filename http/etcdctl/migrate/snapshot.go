package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"etcd2/store"
)

// A snapshot is a file of etcd 2 or 3, member/snap/TERM-INDEX.snap in its data directory. It is two
// messages of protobuf, one in the other:
//
//	│ 1: checksum │ 2: data                                                          │
//	              │ 1: dump │ 2: metadata                                            │
//	                        │ 1: configuration             │ 2: index │ 3: term      │
//	                        │ 1: voter, 1: voter …, others │
//
// The checksum is the CRC-32C of the data. The dump is the store in JSON, see [readDump]. Keys of
// the API v3 are not in it.
type snapshot struct {
	dump   []byte
	at     position
	voters []uint64
}

// isSnapshot reports whether b begins as a snapshot of etcd 2 does.
func isSnapshot(b []byte) bool { return len(b) > 0 && b[0] == 1<<3|typeVarint }

// decodeSnapshot reads the content of a file. The result refers to b.
func decodeSnapshot(b []byte) (*snapshot, error) {
	var sum uint64
	var data, metadata, voters []byte
	if whole, _ := message(b, &sum, &data); !whole {
		return nil, fmt.Errorf("its %d bytes are no message: it is cut off, or something else", len(b))
	}
	if len(data) == 0 {
		return nil, errors.New("there are no data in it")
	}
	if is := crc32.Checksum(data, castagnoli); uint64(is) != sum || sum == 0 {
		return nil, fmt.Errorf("its checksum says %08x, and that of its data is %08x", sum, is)
	}
	s := new(snapshot)
	one, _ := message(data, &s.dump, &metadata)
	two, _ := message(metadata, &voters, &s.at.index, &s.at.term)
	if !one || !two || !s.readVoters(voters) {
		return nil, errors.New("its data are not those of a snapshot")
	}
	return s, nil
}

func (s *snapshot) readVoters(b []byte) bool {
	return fields(b, func(f field) bool {
		if f.id == 1 {
			s.voters = append(s.voters, f.number)
		}
		return true
	})
}

// Version04 is the Version of a Result that etcd 0.4 has left.
const Version04 = "0.4.0"

// ReadSnapshot reads the content of one snapshot file, without a log. There are three formats, and
// each begins in its own way:
//
//   - etcd 2 and 3 write a [snapshot].
//   - etcd 0.4 writes one with the library go-raft, see [decodeGoRaft].
//   - A dump alone is what import of etcdctl 2.3.8 takes, see [readDump]. It has no checksum, so a
//     wrong value in it is not found.
//
// The result has the keys, users and roles, and no indices, members and notes.
func ReadSnapshot(b []byte) (*Result, error) {
	state, isGoRaft := b, isGoRaft(b)
	var err error
	switch {
	case isGoRaft:
		state, err = decodeGoRaft(b)
	case isSnapshot(b):
		var s *snapshot
		if s, err = decodeSnapshot(b); err == nil {
			state = s.dump
		}
	case len(b) == 0:
		err = errors.New("it is empty")
	case b[0] != '{':
		err = errors.New("it begins neither with a checksum of 8 hexadecimal digits and a newline, as those of etcd " +
			"0.4, nor with the byte 08, as those of etcd 2, nor with {, as the dump of a store")
	}
	if err != nil {
		return nil, err
	}
	isEtcd2, err := isOfEtcd2(state)
	switch {
	case err != nil:
		return nil, err
	case isSnapshot(b) && !isEtcd2:
		return nil, errors.New("the store in it is none of etcd 2: it has no /0/members, or something beside /0, /1 " +
			"and /2 at its top")
	}
	return resultOfDump(state, isEtcd2 && !isGoRaft)
}

// resultOfDump plants the nodes of a dump. Directly below its root etcd 0.4 has the users' keys.
func resultOfDump(state []byte, isEtcd2 bool) (*Result, error) {
	r := &replay{tree: store.New(store.Limits{}), members: newMembers(), version: Version04}
	plant := func(n store.Node) error { return r.tree.Plant(store.Keys, n) }
	if isEtcd2 {
		r.version = ""
		plant = r.plant
	}
	_, err := readDump(state, func(n store.Node) error {
		n.Created, n.Modified = 0, 0
		if n.Path == "/" {
			return nil
		}
		return plant(n)
	})
	return &Result{Tree: r.tree, Version: r.version}, err
}

// goRaftHead is the length of the first line of a snapshot of etcd 0.4, without its newline.
const goRaftHead = 8

// isGoRaft reports whether b begins as a snapshot of etcd 0.4 does.
func isGoRaft(b []byte) bool {
	return len(b) > goRaftHead && b[goRaftHead] == '\n' && len(bytes.Trim(b[:goRaftHead], "0123456789abcdef")) == 0
}

// decodeGoRaft returns the dump in a snapshot of etcd 0.4, snapshot/TERM_INDEX.ss in its data
// directory:
//
//	│ checksum 8 │ \n │ {"lastIndex":N,"lastTerm":N,"peers":[{"name":"a","connectionString":"URL"}],"path":"PATH","state":"BASE64"} │
//
// The checksum is the CRC-32 of IEEE of all that follows the newline, in small hexadecimal digits.
// The state is a dump.
func decodeGoRaft(b []byte) ([]byte, error) {
	head, body := string(b[:goRaftHead]), b[goRaftHead+1:]
	if sum := fmt.Sprintf("%08x", crc32.ChecksumIEEE(body)); sum != head {
		return nil, fmt.Errorf("its first line says that the checksum of the rest is %s, and that is %s", head, sum)
	}
	var v struct {
		State []byte `json:"state"`
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, fmt.Errorf("what follows its first line is not the JSON of a snapshot: %w", err)
	}
	return v.State, nil
}

// isOfEtcd2 tells a dump of etcd 2 from one of etcd 0.4: at its top are the directories of etcd 2
// and nothing else, and there is /0/members. A store of 0.4 has /_etcd there.
func isOfEtcd2(state []byte) (bool, error) {
	members, others := false, false
	_, err := readDump(state, func(n store.Node) error {
		top, below := split(n.Path)
		if n.Path != "/" && below == "/" && !(n.Dir && slices.Contains([]string{topCluster, topKeys, topAuth}, top)) {
			others = true
		}
		members = members || n.Dir && n.Path == topCluster+"/members"
		return nil
	})
	return members && !others, err
}

const snapSuffix = ".snap"

// snapFiles returns the snapshot files in a directory, the newest first, and the other files, which
// are ignored.
func snapFiles(dir string) (files, others []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range slices.Backward(entries) {
		path := filepath.Join(dir, e.Name())
		if strings.HasSuffix(path, snapSuffix) {
			files = append(files, path)
		} else {
			others = append(others, path)
		}
	}
	return files, others, err
}
