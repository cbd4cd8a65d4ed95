package migrate

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Snapshot is one of etcd 2 or 3, as member/snap/TERM-INDEX.snap in its data directory has it. It
// is two messages of protobuf, one in the other:
//
//	│ 1: checksum │ 2: data                                                          │
//	              │ 1: dump │ 2: metadata                                            │
//	                        │ 1: configuration             │ 2: index │ 3: term      │
//	                        │ 1: voter, 1: voter …, others │
//
// The checksum is the CRC-32C of the data. The dump is the store in JSON, see [Dump].
type Snapshot struct {
	Dump   []byte
	at     position
	voters []uint64
}

// IsSnapshot reports whether b begins as a snapshot does.
func IsSnapshot(b []byte) bool { return len(b) > 0 && b[0] == 1<<3|typeVarint }

// DecodeSnapshot reads a file's content, of which the result is a part.
func DecodeSnapshot(b []byte) (*Snapshot, error) {
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
	s := new(Snapshot)
	one, _ := message(data, &s.Dump, &metadata)
	two, _ := message(metadata, &voters, &s.at.index, &s.at.term)
	if !one || !two || !s.readVoters(voters) {
		return nil, errors.New("its data are not those of a snapshot")
	}
	return s, nil
}

func (s *Snapshot) readVoters(b []byte) bool {
	return fields(b, func(f field) bool {
		if f.id == 1 {
			s.voters = append(s.voters, f.number)
		}
		return true
	})
}

const snapSuffix = ".snap"

// snapFiles returns the files of snapshots in a directory, the newest first, and those beside that
// are passed over.
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
