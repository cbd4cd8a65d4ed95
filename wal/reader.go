package wal

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"

	"etcd2/wal/disk"
)

// visitor is called for every record that is read, with its file and its offset there.
type visitor func(file string, offset int64, r Record) error

// cursor reads the frames of one segment in order and checks each of them.
type cursor struct {
	segment
	file  disk.File
	path  string
	in    *bufio.Reader // reads from at.offset to limit
	limit int64         // offset at which the frames end

	at    place // of the next frame
	last  int64 // offset of the frame before it, 0 when there is none
	empty bool  // the frame before it is a mark
}

const readAhead = 256 << 10 // bytes

// newCursor returns a cursor at a place in s, before a frame. The caller closes file.
func newCursor(s segment, file disk.File, path string, at place, limit int64) *cursor {
	c := &cursor{segment: s, file: file, path: path, limit: limit, at: at}
	c.seek()
	return c
}

// seek makes the cursor read on from at.offset.
func (c *cursor) seek() {
	section := io.NewSectionReader(c.file, c.at.offset, c.limit-c.at.offset)
	c.in = bufio.NewReaderSize(section, int(max(min(readAhead, c.limit-c.at.offset), frameHeader)))
}

// flaw is the error of a place where a frame is expected and none is.
type flaw struct {
	reason string
	// scan is an offset: a frame at or behind it proves that this is damage and not a torn tail.
	// 0: it is damage anyway.
	scan int64
}

func (f *flaw) Error() string { return f.reason }

// damage turns a flaw into damage at the place of the next frame.
func (c *cursor) damage(f *flaw) error { return &Damage{c.path, c.at.offset, f.reason} }

// failure is the error of a file that can't be read at the place of the next frame.
func (c *cursor) failure(err error) error {
	return fmt.Errorf("wal: read: %s: offset %d: %w", c.path, c.at.offset, err)
}

// next returns the payload of the next frame, io.EOF at the limit, a *flaw, or
// the file's error.
func (c *cursor) next() ([]byte, error) {
	if c.at.offset == c.limit {
		return nil, io.EOF
	}
	f, err := c.frame()
	if err != nil {
		return nil, err
	}
	payload, sound, err := c.payload(f)
	if err != nil {
		return nil, err
	}
	if !sound {
		return nil, &flaw{badSum, f.after().offset}
	}
	c.pass(f)
	return payload, nil
}

const badSum = "the payload fails its checksum"

// payload reads the payload of f, behind its header, and reports whether its checksum is right.
func (c *cursor) payload(f frame) (payload []byte, sound bool, err error) {
	payload = make([]byte, f.length)
	_, err = io.ReadFull(c.in, payload)
	if err == nil {
		_, err = c.in.Discard(int(align(f.length) - f.length))
	}
	if err != nil {
		return nil, false, c.failure(err)
	}
	return payload, crc32.Update(c.at.sum, castagnoli, payload) == f.sum, nil
}

// pass moves the cursor behind f.
func (c *cursor) pass(f frame) {
	c.last, c.at, c.empty = c.at.offset, f.after(), f.length == 0
}

// frame reads the header of the next frame, and checks that the frame fits into the segment (H4).
// The sound header of a batch that is not the next one is returned with the flaw.
func (c *cursor) frame() (frame, error) {
	left := c.limit - c.at.offset
	if left < frameHeader {
		return frame{}, &flaw{"the segment ends within a frame", c.limit}
	}
	b, err := c.in.Peek(frameHeader)
	if err != nil {
		return frame{}, c.failure(err)
	}
	f, ok := parseFrame(b, c.salt, c.at.offset)
	switch {
	case !ok:
		return frame{}, &flaw{"no frame begins here", c.at.offset + 8}
	case f.batch != c.at.batch:
		return f, &flaw{fmt.Sprintf("batch %d stands where %d is expected", f.batch, c.at.batch), 0}
	case f.length > maxPayload || frameSize(f.length) > left:
		return frame{}, &flaw{"the frame is longer than what is left of the segment", 0}
	}
	_, err = c.in.Discard(frameHeader)
	return f, err
}

// each visits the records of all frames up to the limit, and then returns nil. It returns a flaw as
// it is.
func (c *cursor) each(visit visitor) error {
	for {
		payload, err := c.next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = c.records(payload, visit)
		}
		if err != nil {
			return err
		}
	}
}

// records visits the records of the frame that was read last.
func (c *cursor) records(payload []byte, visit visitor) error {
	for rest := payload; len(rest) > 0; {
		offset := c.last + frameHeader + int64(len(payload)-len(rest))
		r, tail, ok := cutRecord(rest)
		switch {
		case !ok:
			return &Damage{c.path, offset, "the record is longer than its batch"}
		case r.Kind == kindSeal:
			return &Damage{c.path, c.last, fmt.Sprintf("segment %d after it is missing", c.number+1)}
		}
		if err := visit(c.path, offset, r); err != nil {
			return err
		}
		rest = tail
	}
	return nil
}

// strict turns a flaw into damage, for frames that are known to be durable.
func (c *cursor) strict(err error) error {
	if f, ok := err.(*flaw); ok {
		return c.damage(f)
	}
	return err
}

// batch returns the records of the next frame, which is known to be durable. A mark has none. The
// error is io.EOF at the limit.
func (c *cursor) batch() (batch []Record, err error) {
	payload, err := c.next()
	if err != nil {
		return nil, c.strict(err)
	}
	err = c.records(payload, func(_ string, _ int64, r Record) error {
		batch = append(batch, r)
		return nil
	})
	return batch, err
}

// joins checks, at the end of a segment, that the segment next continues it.
func (c *cursor) joins(next segment) error {
	if c.at.batch != next.batch || c.at.sum != next.sum {
		return c.damage(&flaw{reason: "the segment after it does not go on from here"})
	}
	return nil
}

// readClosed visits the records of all segments but the last one. Every flaw in them is damage, and
// each must end as the header of the next one says.
func readClosed(fs disk.FS, dir string, segments []segment, visit visitor) error {
	for i, s := range segments[:len(segments)-1] {
		err := withSegment(fs, dir, s, s.first(), s.end, func(c *cursor) error {
			if err := c.each(visit); err != nil {
				return c.strict(err)
			}
			return c.joins(segments[i+1])
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// withSegment opens the file of s for reading, checks its header again, and
// calls do with a cursor from a place up to limit.
func withSegment(fs disk.FS, dir string, s segment, at place, limit int64, do func(*cursor) error) (err error) {
	f, path, err := openSegment(fs, dir, s.header)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, f.Close()) }()
	if _, err := readHeader(f, path, s.header); err != nil {
		return err
	}
	return do(newCursor(s, f, path, at, limit))
}

// Reader is a position between two batches of a log, to read on from. It has a file open only while
// it reads: it holds up no Release and need not be closed. A Reader belongs to one goroutine at a
// time, which need not be the one that appends.
type Reader struct {
	log    *Log
	number uint64 // of the segment
	at     place  // of the next frame, in that segment
}

// Reader returns a Reader at the beginning of the last segment whose label is ≤ from. The error is
// ErrReleased when from is older than the log. Reader may be called from any goroutine while Append
// and Release go on.
func (l *Log) Reader(from uint64) (*Reader, error) {
	segments, err := l.durable(from)
	if err != nil {
		return nil, err
	}
	return &Reader{l, segments[0].number, segments[0].first()}, nil
}

// Batches yields the records of one batch after the other, up to the durable end of the log, and
// checks every checksum (B15). The next call goes on behind the last batch that was yielded. It
// ends with the first error, after which the Reader can't be used any more: a *Damage where the
// disk has changed what was written, or ErrReleased when Release has removed the segment.
func (r *Reader) Batches() iter.Seq2[[]Record, error] {
	return func(yield func([]Record, error) bool) {
		segments, err := r.log.durableAt(r.number)
		for i := 0; i < len(segments) && err == nil; i++ {
			err = r.finish(segments[i:], yield)
		}
		if err != nil && err != errStopped {
			yield(nil, err)
		}
	}
}

// errStopped ends a read whose consumer wants no more.
var errStopped = errors.New("stopped")

// finish yields the rest of the first of the segments, and moves the Reader to the second one, if
// there is one.
func (r *Reader) finish(segments []segment, yield func([]Record, error) bool) error {
	s := segments[0]
	return withSegment(r.log.fs, r.log.dir, s, r.at, s.end, func(c *cursor) error {
		batch, err := c.batch()
		for ; err == nil; batch, err = c.batch() {
			r.at = c.at
			if len(batch) > 0 && !yield(batch, nil) {
				return errStopped
			}
		}
		if err != io.EOF {
			return err
		}
		if len(segments) == 1 {
			return nil
		}
		next := segments[1]
		r.number, r.at = next.number, next.first()
		return c.joins(next)
	})
}
