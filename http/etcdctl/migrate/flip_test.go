package migrate

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"etcd2/e2e/pace"
	"etcd2/store"
)

// all are the options under which a member that was removed is read, too.
var all = Options{Removed: true}

// A copied directory has its files in memory, for tests that read it often.
type copied struct {
	dir   string
	files []string
	data  [][]byte
	lines []string // of its tree
}

func copyOf(t testing.TB, name string) *copied {
	t.Helper()
	dir, _ := unpack(t, name)
	c := &copied{dir: filepath.Join(dir, "data")}
	err := filepath.WalkDir(c.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b, _ := os.ReadFile(path)
			c.files, c.data = append(c.files, path), append(c.data, b)
		}
		return err
	})
	r, readErr := Read([]string{c.dir}, all)
	if err != nil || readErr != nil {
		t.Fatal(err, readErr)
	}
	c.lines = linesOf(r.Tree)
	return c
}

// with reads the directory with another content of a file.
func (c *copied) with(t testing.TB, file int, content []byte, o Options) (*Result, error) {
	t.Helper()
	if err := os.WriteFile(c.files[file], content, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(c.files[file], c.data[file], 0o600)
	return Read([]string{c.dir}, o)
}

// A flipped bit anywhere in a log or a snapshot is found, or changes nothing. Only in the last two
// records, an entry and a state, may it look like a tail that a crash has torn.
func TestAFlippedBitIsFoundOrHarmless(t *testing.T) {
	flips := 30 // in each file
	if pace.Long() {
		flips = 150
	}
	for _, name := range []string{"d-238-auth", "x-238-expired-meanwhile", "r-238-removed"} {
		c := copyOf(t, name)
		for file, b := range c.data {
			end := len(b)
			if strings.HasSuffix(c.files[file], ".wal") {
				end -= lastRecords(b, 2)
			}
			for bit := 0; bit < 8*end; bit += 8*end/flips | 1 {
				flipped := slices.Clone(b)
				flipped[bit/8] ^= 1 << (bit % 8)

				r, err := c.with(t, file, flipped, all)

				if err == nil && !slices.Equal(linesOf(r.Tree), c.lines) {
					t.Errorf("%s: bit %d of byte %d gives another tree", c.files[file], bit%8, bit/8)
				}
			}
		}
	}
}

// lastRecords is how many bytes the last records of a file have.
func lastRecords(b []byte, n int) int {
	var starts []int
	for at := 0; at < len(b); {
		f, why := cutFrame(b, at)
		if why != flawNone {
			break
		}
		starts, at = append(starts, at), f.next
	}
	return len(b) - starts[len(starts)-n]
}

// Whatever a file contains, reading ends with a tree or an error, and the memory for it is at most
// a multiple of the size of the files.
func FuzzADirectoryThatIsDamaged(f *testing.F) {
	c := copyOf(f, "x-238-expired-meanwhile")
	f.Add(uint8(0), []byte{0, 0, 1}, false)
	f.Add(uint8(1), []byte{1, 0, 0xff, 0x20, 0, 0x80}, true)
	f.Add(uint8(1), []byte{0x20, 0x10, 0x07, 0x20, 0x17, 0x01}, false)
	f.Fuzz(func(t *testing.T, file uint8, changes []byte, untilDamage bool) {
		which := int(file) % len(c.files)
		content := slices.Clone(c.data[which])
		for ; len(changes) > 2; changes = changes[3:] {
			at := int(binary.BigEndian.Uint16(changes)) % len(content)
			content[at] ^= changes[2]
		}
		if len(changes) == 2 {
			content = content[:int(binary.BigEndian.Uint16(changes))%len(content)]
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)

		r, err := c.with(t, which, content, Options{UntilDamage: untilDamage, Removed: true})

		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
			t.Errorf("it took %d bytes, %v", grown, err)
		}
		if err != nil {
			return
		}
		r.RemoveTTLs()
		sound(t, r.Tree)
	})
}

// sound fails the test unless a member can use the tree.
func sound(t *testing.T, tree *store.Store) {
	t.Helper()
	var state bytes.Buffer
	err := tree.Freeze()(&state)
	if err = cmp.Or(err, store.New(store.Limits{}).Restore(&state)); err != nil {
		t.Error(err)
	}
}

// Entries whose checksum is right, whatever is in them, are applied or are an error.
func FuzzEntries(f *testing.F) {
	f.Add([]byte("\x12\x03PUT\x1a\x04/1/a\x22\x01v"), []byte("\x12\x04SYNC\x78\x7f"), false)
	f.Add([]byte("\x12\x04SYNC"), []byte("\x12\x03PUT\x1a\x02/2\x28\x01"), false)
	f.Add([]byte("\x10\x00\x18\x05\x22\x02{}"), []byte("\x10\x01\x18\x05"), true)
	f.Fuzz(func(t *testing.T, one, two []byte, change bool) {
		r, err := newReplay(nil)
		for i, data := range [][]byte{one, two, two, one} {
			if err == nil {
				err = r.entry(entry{position{uint64(i) + 1, 1}, change, data})
			}
		}
		sound(t, r.tree)
	})
}

// A dump whose checksum is right, whatever is in it, is planted or is an error.
func FuzzADump(f *testing.F) {
	c := copyOf(f, "x-238-expired-meanwhile")
	s, err := decodeSnapshot(c.data[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.dump)
	f.Add([]byte(`{"Root":{"Path":"/","Children":{"1":{"Children":{"a":{"Value":"v","Children":null}}}}},"CurrentIndex":3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newReplay(&snapshot{dump: b})
		if err == nil {
			sound(t, r.tree)
		}
	})
}
