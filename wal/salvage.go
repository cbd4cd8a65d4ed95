package wal

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"

	"etcd2/wal/disk"
)

// Salvaged is a record of a damaged log, or the place where a piece of it is missing.
//
//	Damage   Kind
//	nil      not 0   the record is what was written, behind the one before
//	not nil  0       something is missing here, or can't be read
//	not nil  not 0   the record can be read, and its checksum can't be checked or is wrong
type Salvaged struct {
	File   string
	Offset int64 // in File
	Record
	Damage *Damage
}

// Salvage visits the records that can be read of the log in dir, whatever has happened to it, and
// changes nothing. It goes on behind each damage, which is possible since every frame can be
// recognized by its own checks. Segments are recognized by their headers, or by their names if the
// headers are damaged. A torn tail, as Open would cut it off, is no damage. The tag that is
// returned is that of most segments. The error is os.ErrNotExist when there is no segment, or that
// of a directory that can't be read. fs nil means the operating system's.
func Salvage(dir string, fs disk.FS, visit func(Salvaged)) (Tag, error) {
	fs, dir = Options{FS: fs}.withDefaults().FS, filepath.Clean(dir)
	list, err := listRemains(fs, dir)
	if err != nil {
		return Tag{}, fmt.Errorf("wal: salvage: %w", err)
	}
	s := salvage{fs: fs, visit: visit, tag: mostCommon(list), at: place{batch: 1}}
	slices.SortStableFunc(list, func(a, b remains) int {
		return cmp.Or(cmp.Compare(a.number, b.number), s.rank(a)-s.rank(b), cmp.Compare(a.label, b.label))
	})
	// Of two segments with one number, one is a copy, or of another log. Whether anything is
	// missing shows at the next segment.
	list = slices.CompactFunc(list, func(a, b remains) bool { return a.number == b.number })
	for i := range list {
		s.segment(&list[i], list[i+1:])
	}
	return s.tag, nil
}

// remains is a file that is, or was, a segment of a damaged log.
type remains struct {
	segment // as the header says; if that is damaged, only number and label, as the name says
	path    string
	length  int64    // of the file in bytes
	salts   []uint32 // candidates for the salt of its frames
	reason  string   // why the header is damaged; "": it is sound
}

// listRemains lists the segments of a damaged log, in any order.
func listRemains(fs disk.FS, dir string) (list []remains, err error) {
	names, err := fs.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		r := remains{path: filepath.Join(dir, name)}
		if isSegment(name) && r.identify(fs) {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		err = fmt.Errorf("%s: no segment is there: %w", dir, os.ErrNotExist)
	}
	return list, err
}

// identify reads the header, and reports whether header or name tell which segment this is.
func (r *remains) identify(fs disk.FS) (ok bool) {
	f, err := fs.Open(r.path)
	if err != nil {
		return false
	}
	defer f.Close() // it was only read
	var b [headerSize]byte
	forgiving{f}.ReadAt(b[:], 0) // the file may be shorter
	if r.length, err = f.Size(); err != nil {
		return false
	}
	r.header, r.salt, r.reason = parseHeader(b[:])
	if r.salts = []uint32{r.salt}; r.reason == "" {
		return true
	}
	r.salts = []uint32{crc32.Checksum(b[:headerSize-4], castagnoli), binary.LittleEndian.Uint32(b[headerSize-4:])}
	r.header, ok = parseName(filepath.Base(r.path))
	return ok
}

// forgiving is a file in which pages that the disk can't read are zeros.
type forgiving struct{ disk.File }

const page = 4096 // bytes

// ReadAt fills b, up to the end of the file.
func (f forgiving) ReadAt(b []byte, offset int64) (n int, err error) {
	if n, err = f.File.ReadAt(b, offset); err == nil || err == io.EOF {
		return n, err
	}
	for n = 0; n < len(b); {
		part := b[n:min(len(b), n+page-int((offset+int64(n))%page))]
		read, err := f.File.ReadAt(part, offset+int64(n))
		if err == io.EOF {
			return n + read, err
		}
		if err != nil {
			clear(part)
		}
		n += len(part)
	}
	return n, nil
}

// mostCommon returns the tag of most segments.
func mostCommon(list []remains) (tag Tag) {
	times := map[Tag]int{}
	for _, r := range list {
		if r.reason != "" {
			continue
		}
		if times[r.tag]++; times[r.tag] > times[tag] {
			tag = r.tag
		}
	}
	return tag
}

// salvage reads the segments of a damaged log one after the other.
type salvage struct {
	fs     disk.FS
	visit  func(Salvaged)
	tag    Tag
	number uint64 // of the segment before; 0: there is none
	at     place  // behind the last frame
	lost   bool   // the frame before is missing: visit was told so, and at.sum is not known
	sealed bool   // another segment was begun behind the last frame
	last   bool   // no segment follows
}

// rank orders files of one number: the most likely one, with the lowest rank, comes first.
func (s *salvage) rank(r remains) int {
	switch {
	case r.reason != "":
		return 1
	case r.tag != s.tag:
		return 2
	}
	return 0
}

// missing calls visit for a place where something is missing, unless the frame before was missing,
// too.
func (s *salvage) missing(path string, offset int64, reason string) {
	if !s.lost {
		s.visit(Salvaged{File: path, Offset: offset, Damage: &Damage{path, offset, reason}})
	}
	s.lost = true
}

// segment visits the records that can be read in r; later are the segments behind it.
func (s *salvage) segment(r *remains, later []remains) {
	s.join(r)
	s.last = len(later) == 0
	f, err := s.fs.Open(r.path)
	if err != nil {
		s.missing(r.path, 0, err.Error())
	} else if r.reason == "" && r.tag != s.tag {
		s.missing(r.path, 40, "the segment belongs to another log than the others")
	} else {
		s.frames(r.cursor(forgiving{f}, s.at, r.end(later)))
	}
	if err == nil {
		f.Close() // it was only read
	}
	switch {
	case s.last && s.sealed:
		s.missing(r.path, s.at.offset, fmt.Sprintf("segment %d after it is missing", r.number+1))
	case s.last && r.reason == "" && r.length < r.size:
		s.missing(r.path, r.length, fmt.Sprintf("the file has %d bytes and was made with %d", r.length, r.size))
	}
}

// join moves to the beginning of r, and reports what is missing before it. A damaged header loses
// nothing when the frames behind it continue those of the segment before.
func (s *salvage) join(r *remains) {
	follows := r.number == s.number+1
	switch {
	case s.number == 0 && !follows && r.reason != "":
		s.missing(r.path, 0, r.reason)
	case s.number > 0 && !follows:
		s.missing(r.path, 16, fmt.Sprintf("segment %d before it is missing", r.number-1))
	case s.number > 0 && r.reason == "" && r.tag == s.tag && (r.batch != s.at.batch || r.sum != s.at.sum):
		s.missing(r.path, 12, "the segment does not go on from the one before")
	}
	s.number, s.sealed, s.at.offset = r.number, false, headerSize
	if r.reason == "" {
		s.at, s.lost = r.first(), false
	}
}

// end returns the offset at which the frames of r end: the one that the segment after it states, or
// else the end of the file.
func (r *remains) end(later []remains) int64 {
	end := r.length &^ 7
	if len(later) > 0 && later[0].reason == "" && later[0].number == r.number+1 && (r.reason != "" ||
		later[0].tag == r.tag) {
		end = min(end, later[0].previousEnd)
	}
	return max(headerSize, end)
}

// cursor returns a cursor at a place of the file, with the salt with which frames are found.
func (r *remains) cursor(f disk.File, at place, end int64) (c *cursor) {
	for _, r.salt = range r.salts {
		c = newCursor(r.segment, f, r.path, at, end)
		if later, _, err := c.scan(headerSize); err != nil || later != 0 {
			break
		}
	}
	c.seek()
	return c
}

// frames visits the records from a cursor on.
func (s *salvage) frames(c *cursor) {
	if c.limit == headerSize {
		s.missing(c.path, headerSize, "the file ends before its first batch")
	}
	for more := true; more && c.at.offset < c.limit && !s.sealed; {
		f, err := c.frame()
		switch {
		case err == nil:
			more = s.frame(c, f)
		case f.batch != 0: // sound, but not the next batch
			s.missing(c.path, c.at.offset, err.Error())
			c.at.batch = f.batch
		default:
			more = s.resume(c, err)
		}
	}
	s.at = c.at
}

// frame visits the records of f, whose header the cursor has just passed.
func (s *salvage) frame(c *cursor, f frame) (more bool) {
	payload, sound, err := c.payload(f)
	if err != nil {
		s.missing(c.path, c.at.offset, err.Error())
		return false
	}
	if s.sealed = len(payload) == 2 && payload[0] == kindSeal; s.sealed {
		return false
	}
	if !sound && s.mayBeTorn(c) {
		if later, _, err := c.scan(f.after().offset); err == nil && later == 0 {
			return false
		}
	}
	var unproven *Damage
	if !sound {
		unproven = &Damage{c.path, c.at.offset, badSum}
		s.missing(c.path, c.at.offset, badSum)
	}
	c.pass(f)
	if !sound {
		c.seek() // the scan has gone on
	}
	s.lost = false // f's header has the sum to continue
	s.records(c, payload, unproven)
	return true
}

// records visits the records in payload, that of the frame before the cursor.
func (s *salvage) records(c *cursor, payload []byte, unproven *Damage) {
	for rest := payload; len(rest) > 0; {
		offset := c.last + frameHeader + int64(len(payload)-len(rest))
		r, tail, ok := cutRecord(rest)
		if !ok || r.Kind == kindSeal {
			break // the batch is unproven, or forged
		}
		s.visit(Salvaged{c.path, offset, r, unproven})
		rest = tail
	}
}

// mayBeTorn reports whether a flaw at the cursor is a torn tail if no frame follows it: see
// cursor.tail.
func (s *salvage) mayBeTorn(c *cursor) bool { return s.last && !s.lost && c.at.offset != headerSize }

// resume moves the cursor from a place without a frame to the next frame, and reports whether there
// is one.
func (s *salvage) resume(c *cursor, err error) (more bool) {
	later, used, err2 := c.scan(c.at.offset + 8)
	none := err2 == nil && later == 0
	flaw, ok := err.(*flaw)
	if none && (used == c.at.offset && c.at.offset != headerSize || s.mayBeTorn(c) && ok && flaw.scan != 0) {
		return false
	}
	s.missing(c.path, c.at.offset, err.Error())
	if err2 != nil || later == 0 {
		return false
	}
	c.at.offset = later
	c.seek()
	return true
}
