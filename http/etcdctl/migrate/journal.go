package migrate

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// A Damage is a place in a file that no crash leaves behind.
type Damage struct {
	File   string
	Offset int
	Reason string
	Saves  string // what Options.UntilDamage would take
}

// Error returns one line.
func (d *Damage) Error() string {
	text := fmt.Sprintf("%s, offset %d: %s", d.File, d.Offset, d.Reason)
	if d.Saves != "" {
		text += ": --until-damage would take " + d.Saves
	}
	return text
}

// A journal is the log of a member, as its files have it. It belongs to one goroutine.
type journal struct {
	files         []string
	node, cluster uint64
	state, before hardState         // the last one, and the one before it
	saved         map[position]bool // of snapshots that were written
	entries       []located         // with consecutive indices
	end           *Damage           // where a torn tail begins, or with untilDamage the damage; nil: the log is whole
	replaced      int               // entries that a later leader has overwritten

	head []byte // the metadata
	sum  uint32 // the checksum of all data so far
	file int    // number of the file that was read last; -1: none
	in   []byte // its content
}

// A located entry is where an entry stands, to be read again.
type located struct {
	position
	file, at int
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var logName = regexp.MustCompile(`^([0-9a-f]{16})-[0-9a-f]{16}\.wal$`)

// logFiles returns the files of the log in a directory, in order, and the other files, which are
// ignored.
func logFiles(dir string) (files, others []string, err error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, nil, err
	}
	var last uint64
	for _, e := range entries {
		name := logName.FindStringSubmatch(e.Name())
		if name == nil {
			others = append(others, filepath.Join(dir, e.Name()))
			continue
		}
		number, _ := strconv.ParseUint(name[1], 16, 64)
		if len(files) > 0 && number != last+1 {
			return nil, nil, fmt.Errorf("%s: the file of the log before %s is missing", dir, e.Name())
		}
		files, last = append(files, filepath.Join(dir, e.Name())), number
	}
	return files, others, nil
}

// readJournal reads all files. If there is damage, it returns what stands before it and an error;
// with untilDamage it returns no error.
func readJournal(files []string, untilDamage bool, read func(bytes int)) (*journal, error) {
	j := &journal{files: files, saved: map[position]bool{}, file: -1}
	for i := range files {
		err := j.open(i)
		if err == nil {
			err = j.readFile(j.in)
		}
		var d *Damage
		if errors.As(err, &d) && untilDamage {
			j.end = d
			break
		}
		if err != nil {
			return j, err
		}
		read(len(j.in))
	}
	return j, nil
}

// open reads a file into memory, in place of the one before.
func (j *journal) open(file int) (err error) {
	if j.file != file {
		j.in = nil
		j.in, err = os.ReadFile(j.files[file])
		j.file = file
	}
	return err
}

// readFile reads the file that is next.
func (j *journal) readFile(b []byte) error {
	for at := 0; at < len(b); {
		f, why := cutFrame(b, at)
		if why == flawNone && !j.sums(&f) {
			why = flawSum
		}
		reason := string(why)
		if why == flawNone {
			reason = j.add(&f)
		}
		if reason == "" {
			at = f.next
			continue
		}
		end := &Damage{File: j.files[j.file], Offset: at, Reason: reason}
		if why == flawNone || j.file < len(j.files)-1 || !f.torn(b, at, why) {
			return end
		}
		if why != flawZero {
			j.end = end
		}
		return nil
	}
	return nil
}

// sums adds the data of a frame to the checksum, and reports whether the frame has the same one. A
// file begins with the checksum of the files before it, so that reading can begin with any file.
func (j *journal) sums(f *frame) bool {
	if f.kind == recordChecksum {
		known := j.sum
		j.sum = uint32(f.sum)
		return known == 0 || known == j.sum
	}
	sum := crc32.Update(j.sum, castagnoli, f.data)
	if uint32(f.sum) != sum {
		return false
	}
	j.sum = sum
	return true
}

// add adds a record to the journal, or returns why it can't be right: neither the kind nor the
// length of a record is in a checksum, so its content is checked as well.
func (j *journal) add(f *frame) (why string) {
	switch f.kind {
	case recordMetadata:
		return j.readMetadata(f.data)
	case recordEntry:
		return j.appendEntry(f)
	case recordState:
		s, isOne := decodeState(f.data)
		if !isOne || !j.state.follows(s) {
			return fmt.Sprintf("the state %d/%d/%d can't follow %d/%d/%d (term, vote, commit)",
				s.term, s.vote, s.commit, j.state.term, j.state.vote, j.state.commit)
		}
		j.before, j.state = j.state, s
	case recordSnapshot:
		return j.recordSnapshot(f.data)
	}
	return ""
}

func (j *journal) readMetadata(b []byte) string {
	if j.head != nil && string(j.head) != string(b) {
		return "the log of another member begins"
	}
	j.head = slices.Clone(b)
	if whole, others := message(b, &j.node, &j.cluster); !whole || others {
		return "the ids of member and cluster can't be read"
	}
	return ""
}

func (j *journal) recordSnapshot(b []byte) string {
	var at position
	if whole, others := message(b, &at.index, &at.term, nil); !whole || others {
		return "the record of a snapshot can't be read"
	}
	j.saved[at] = true
	return ""
}

// appendEntry appends an entry. If there is already one with its index, a later leader has
// overwritten that and all after it. A gap appears when a member was sent a snapshot: the log
// begins again after the gap.
func (j *journal) appendEntry(f *frame) string {
	e, isOne := decodeEntry(f.data)
	if !isOne {
		return "an entry can't be read"
	}
	last := j.last()
	switch first := j.first(); {
	case len(j.entries) == 0 || e.index < first || e.index > last.index+1:
		j.entries = j.entries[:0]
	case e.index <= last.index:
		old := j.entries[e.index-first]
		if old.term == e.term || e.index <= j.before.commit {
			return fmt.Sprintf("entry %d of term %d overwrites that of term %d, which was committed", e.index,
				e.term, old.term)
		}
		j.replaced += len(j.entries[e.index-first:])
		j.entries = j.entries[:e.index-first]
	}
	if n := len(j.entries); n > 0 && e.term < j.entries[n-1].term {
		return fmt.Sprintf("entry %d of term %d follows one of term %d", e.index, e.term, j.entries[n-1].term)
	}
	j.entries = append(j.entries, located{e.position, j.file, f.at})
	return ""
}

// first returns the index of the first entry, 0 when there is none.
func (j *journal) first() uint64 {
	if len(j.entries) == 0 {
		return 0
	}
	return j.entries[0].index
}

// last returns the position of the last entry, zero when there is none.
func (j *journal) last() position {
	if len(j.entries) == 0 {
		return position{}
	}
	return j.entries[len(j.entries)-1].position
}

// termAt returns the term of an entry, 0 when the log does not have it.
func (j *journal) termAt(index uint64) uint64 {
	if len(j.entries) == 0 || index < j.first() || index > j.last().index {
		return 0
	}
	return j.entries[index-j.first()].term
}

// each calls visit for the entries from one index to another, both included. The files are read
// again, one at a time.
func (j *journal) each(from, to uint64, visit func(entry) error) error {
	for _, l := range j.entries {
		if l.index < from || l.index > to {
			continue
		}
		if err := j.open(l.file); err != nil {
			return err
		}
		f, why := cutFrame(j.in, l.at)
		e, isOne := decodeEntry(f.data)
		if why != flawNone || !isOne || e.position != l.position {
			return fmt.Errorf("%s: offset %d has changed meanwhile", j.files[l.file], l.at)
		}
		if err := visit(e); err != nil {
			return fmt.Errorf("%s, offset %d: entry %d: %w", j.files[l.file], l.at, e.index, err)
		}
	}
	return nil
}

// begins reports whether a file begins as etcd's logs do: with a checksum and the metadata.
func begins(file string) bool {
	b := head(file)
	one, why := cutFrame(b, 0)
	if why != flawNone || one.kind != recordChecksum || len(one.data) > 0 {
		return false
	}
	two, why := cutFrame(b, one.next)
	return why == flawNone && two.kind == recordMetadata
}

// head returns the first bytes of a file, at most 256; none when it can't be read. A server looks
// at its files so at every start, and they may be large.
func head(file string) []byte {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, 256)
	n, _ := f.ReadAt(b, 0)
	return b[:n]
}
