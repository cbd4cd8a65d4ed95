package wal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"etcd2/wal/disk"
)

// header is the beginning of a segment file, NUMBER-LABEL.wal (16 hex digits each):
//
//	 0       8      12       16       24      32      40    56    60    64
//	┌───────┬──────┬────────┬────────┬───────┬───────┬─────┬─────┬─────┬────────┐
//	│ magic │ size │previous│ number │ label │ batch │ tag │ sum │ CRC │ frames…│
//	│       │  /8  │ end /8 │        │       │       │     │     │     │ zeros… │
//	└───────┴──────┴────────┴────────┴───────┴───────┴─────┴─────┴─────┴────────┘
//
// Before the file gets this name, it has its whole size, and the header and the first frame are
// synced: neither is ever torn. CRC is the CRC-32C of the 60 bytes before it. The first frame holds
// the preamble and the first batch.
type header struct {
	size        int64  // of the file in bytes, a multiple of 8
	previousEnd int64  // of the last batch in the segment before; 0 in the first one
	number      uint64 // one more than that of the segment before, from 1
	label       uint64 // the caller's; may be lower than in the segment before
	batch       uint64 // of the first frame
	tag         Tag
	sum         uint32 // of the last frame in the segment before
}

const (
	magic      = "etcdwal\x01" // the last byte is the version of the format
	headerSize = 64
	maxSize    = 1 << 34 // bytes of a segment; a frame's offset can be twice that

	segmentSuffix = ".wal"
	asideSuffix   = ".tmp" // of a file that is not a segment yet; Open removes it
)

// segment is a segment file of a log.
type segment struct {
	header
	salt uint32 // CRC of the header
	end  int64  // of the last frame that is durable
}

// name returns the name of the segment's file.
func (h header) name() string {
	return fmt.Sprintf("%016x-%016x%s", h.number, h.label, segmentSuffix)
}

// asideName returns the name of the file that is to become segment number.
func asideName(number uint64) string { return fmt.Sprintf("%016x%s", number, asideSuffix) }

func isSegment(name string) bool { return strings.HasSuffix(name, segmentSuffix) }

// isAside reports whether asideName returns that name for some number.
func isAside(name string) bool {
	number, err := strconv.ParseUint(strings.TrimSuffix(name, asideSuffix), 16, 64)
	return err == nil && name == asideName(number)
}

// Owns reports whether a file of that name, in the directory of a log, belongs to the log.
func Owns(name string) bool { return isSegment(name) || isAside(name) }

// first returns the place of the segment's first frame.
func (h header) first() place { return place{headerSize, h.batch, h.sum} }

// append appends the encoded header to b and returns the salt of its frames.
func (h header) append(b []byte) (_ []byte, salt uint32) {
	start := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.size/8))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.previousEnd/8))
	b = binary.LittleEndian.AppendUint64(b, h.number)
	b = binary.LittleEndian.AppendUint64(b, h.label)
	b = binary.LittleEndian.AppendUint64(b, h.batch)
	b = append(b, h.tag[:]...)
	b = binary.LittleEndian.AppendUint32(b, h.sum)
	salt = crc32.Checksum(b[start:], castagnoli)
	return binary.LittleEndian.AppendUint32(b, salt), salt
}

// parseHeader is the inverse of header.append.
func parseHeader(b []byte) (h header, salt uint32, reason string) {
	if len(magic) > len(b) || string(b[:len(magic)]) != magic {
		return h, 0, "not a segment of this format"
	}
	salt = crc32.Checksum(b[:headerSize-4], castagnoli)
	if salt != binary.LittleEndian.Uint32(b[headerSize-4:]) {
		return h, 0, "the segment's header fails its checksum"
	}
	h = header{
		size:        int64(binary.LittleEndian.Uint32(b[8:])) * 8,
		previousEnd: int64(binary.LittleEndian.Uint32(b[12:])) * 8,
		number:      binary.LittleEndian.Uint64(b[16:]),
		label:       binary.LittleEndian.Uint64(b[24:]),
		batch:       binary.LittleEndian.Uint64(b[32:]),
		tag:         Tag(b[40:56]),
		sum:         binary.LittleEndian.Uint32(b[56:]),
	}
	return h, salt, ""
}

// listSegments returns the segments of dir in order. It reads their headers and checks that they
// are one unbroken sequence (H5). The end of the last one is not known yet, and 0.
func listSegments(fs disk.FS, dir string) ([]segment, error) {
	named, err := namedSegments(fs, dir)
	if err != nil {
		return nil, err
	}
	segments := make([]segment, 0, len(named))
	for _, h := range named {
		s, err := loadSegment(fs, dir, h)
		if err != nil {
			return nil, err
		}
		segments = append(segments, s)
	}
	for i := range segments[1:] {
		if err := join(dir, &segments[i], segments[i+1].header); err != nil {
			return nil, err
		}
	}
	return segments, nil
}

// namedSegments returns what the names of dir's segments say, ascending by number.
func namedSegments(fs disk.FS, dir string) ([]header, error) {
	names, err := fs.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("wal: open: %w", err)
	}
	var named []header
	for _, name := range names {
		if !isSegment(name) {
			continue
		}
		h, ok := parseName(name)
		if !ok {
			return nil, fmt.Errorf("wal: open: %s: not the name of a segment", filepath.Join(dir, name))
		}
		named = append(named, h)
	}
	if len(named) == 0 {
		return nil, fmt.Errorf("wal: open: %s: no segment is there: %w", dir, os.ErrNotExist)
	}
	slices.SortFunc(named, func(a, b header) int { return cmp.Compare(a.number, b.number) })
	return named, nil
}

// parseName returns a header with the number and the label that the name says.
func parseName(name string) (header, bool) {
	number, label, _ := strings.Cut(strings.TrimSuffix(name, segmentSuffix), "-")
	n, err1 := strconv.ParseUint(number, 16, 64)
	l, err2 := strconv.ParseUint(label, 16, 64)
	h := header{number: n, label: l}
	return h, err1 == nil && err2 == nil && h.name() == name
}

// loadSegment reads the header of a segment and compares it with its name.
func loadSegment(fs disk.FS, dir string, named header) (segment, error) {
	f, path, err := openSegment(fs, dir, named)
	if err != nil {
		return segment{}, err
	}
	s, err := readHeader(f, path, named)
	return s, cmp.Or(err, f.Close())
}

// openSegment opens the file of a segment that was listed. When it has been removed since, the
// error is ErrReleased, and not os.ErrNotExist, which would say that there is no log.
func openSegment(fs disk.FS, dir string, h header) (f disk.File, path string, err error) {
	path = filepath.Join(dir, h.name())
	f, err = fs.Open(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		err = fmt.Errorf("%w: %v", ErrReleased, err)
	case err != nil:
		err = fmt.Errorf("wal: open: %w", err)
	}
	return f, path, err
}

// isForeign reports whether b was never a header, not even one that the disk has damaged: most of
// the magic is missing, and there are no zeros in its place.
func isForeign(b []byte) bool {
	same := 0
	for i := range len(magic) {
		if b[i] == magic[i] {
			same++
		}
	}
	return same < len(magic)/2 && !slices.Equal(b[:len(magic)], make([]byte, len(magic)))
}

func readHeader(f disk.File, path string, named header) (segment, error) {
	var b [headerSize]byte
	if n, err := f.ReadAt(b[:], 0); n < headerSize && err != io.EOF {
		return segment{}, fmt.Errorf("wal: open: %w", err)
	}
	h, salt, reason := parseHeader(b[:])
	switch {
	case reason != "" && isForeign(b[:]):
		return segment{}, fmt.Errorf("%w: %s", ErrForeign, path)
	case reason != "":
		return segment{}, &Damage{path, 0, reason}
	}
	if h.number != named.number || h.label != named.label {
		return segment{}, &Damage{path, 16, "the file holds segment " + h.name()}
	}
	size, err := f.Size()
	if err != nil {
		return segment{}, fmt.Errorf("wal: open: %w", err)
	}
	if size != h.size {
		return segment{}, &Damage{path, min(size, h.size), fmt.Sprintf("the file has %d bytes and was made with %d",
			size, h.size)}
	}
	return segment{header: h, salt: salt}, nil
}

// join checks that next continues s, and sets the end of s.
func join(dir string, s *segment, next header) error {
	damage := func(offset int64, reason string) error {
		return &Damage{filepath.Join(dir, next.name()), offset, reason}
	}
	switch {
	case next.number == s.number:
		return damage(16, fmt.Sprintf("segment %d is there twice", s.number))
	case next.number != s.number+1:
		return damage(16, fmt.Sprintf("segment %d before it is missing", next.number-1))
	case next.tag != s.tag:
		return damage(40, "the segment belongs to another log than the one before")
	case next.previousEnd < headerSize || next.previousEnd > s.size || next.batch < s.batch:
		return damage(12, "the segment does not go on from the one before")
	}
	s.end = next.previousEnd
	return nil
}

// lastAtOrBelow returns the position of the last segment whose label is ≤ label, or -1.
func lastAtOrBelow(segments []segment, label uint64) int {
	for i := len(segments) - 1; i >= 0; i-- {
		if segments[i].label <= label {
			return i
		}
	}
	return -1
}
