package wal

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"etcd2/wal/disk"
)

// Tag names the owner of a log. It is in every segment and must match at Open (H5).
type Tag [16]byte

// Options are the parameters of Create and Open.
type Options struct {
	FS           disk.FS         // nil means the operating system's
	Tag          Tag             // the owner of the log
	SegmentBytes int64           // size of a segment in bytes; 0 means DefaultSegmentBytes
	Preamble     func() []Record // returns the first records of every new segment; may be nil
	From         uint64          // Open replays from the last segment whose label is ≤ From

	largeBatch int64 // average bytes of a batch from which on no zeros are written ahead; 0: defaultLargeBatch
}

// DefaultSegmentBytes is the default of Options.SegmentBytes.
const DefaultSegmentBytes = 32 << 20

// defaultLargeBatch is the size from which on writing the zeros takes longer than what they save:
// the file system's record that the bytes were written.
const defaultLargeBatch = 64 << 10

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = disk.OS{}
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.largeBatch == 0 {
		o.largeBatch = defaultLargeBatch
	}
	if o.Preamble == nil {
		o.Preamble = func() []Record { return nil }
	}
	return o
}

// Log is a log that is ready to append to. Append and Close belong to one goroutine, Release to
// another or the same one. Close must come after the last Release has returned. Reader, Bytes and
// First may be called from any goroutine.
type Log struct {
	// Fixed.
	fs      disk.FS
	dir     string
	options Options

	// Of the goroutine that appends.
	file   disk.File // of the last segment
	at     place     // of the next frame, in the last segment
	marked bool      // the last frame is a mark
	buf    []byte    // the frame that is being written
	spare  *spare    // of the next segment; nil before it is needed
	closed bool      // Close has been called

	// mu protects the fields below. Append adds segments at the end, and Release removes them from
	// the front.
	mu       sync.Mutex
	segments []segment // at least one, in order; at.offset == end of the last
	err      error     // the first one, which ended the log
}

// reserve is the room in bytes that is kept free behind the last batch of a segment: for the mark
// that Close writes, and for the seal that rotate writes.
const reserve = markSize + sealSize

// Append writes the records as one batch, all or nothing, and returns when it is on disk. label is
// the log index of the batch's first entry, or of the next entry if the batch has none: if the
// batch begins a new segment, it becomes the segment's label. The first error ends the log: every
// later call returns the same error, and nothing is retried (H8). The batch of the call that failed
// may or may not be there at the next Open. Append keeps nothing of recs. Without records it does
// nothing.
func (l *Log) Append(label uint64, recs []Record) error {
	if err := l.failed(); err != nil || len(recs) == 0 {
		return err
	}
	if err := l.append(label, recs); err != nil {
		return l.fail(fmt.Errorf("wal: append: %w", err))
	}
	return nil
}

func (l *Log) append(label uint64, recs []Record) error {
	last := l.last()
	payload := recordsSize(recs)
	if l.at.offset+frameSize(payload)+reserve > last.size {
		return l.rotate(label, recs, payload)
	}
	if err := l.write(last.salt, recs); err != nil {
		return err
	}
	if l.spare == nil && l.at.offset > last.size/2 {
		l.spare = prepare(l.fs, l.dir, last.number+1, l.options.sizeFor(0), l.meanBatch(last) < l.options.largeBatch)
	}
	return nil
}

// meanBatch returns the bytes of an average batch of the last segment.
func (l *Log) meanBatch(last segment) int64 {
	return (l.at.offset - headerSize) / int64(l.at.batch-last.batch)
}

// write appends one frame to the last segment, with one write and one sync.
func (l *Log) write(salt uint32, recs []Record) error {
	b, after := appendFrame(l.buffer(recordsSize(recs)), l.at, salt, recs)
	l.reuse(b)
	if _, err := l.file.WriteAt(b, l.at.offset); err != nil {
		return fmt.Errorf("offset %d: %w", l.at.offset, err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("offset %d: %w", l.at.offset, err)
	}
	l.at, l.marked = after, len(recs) == 0
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments[len(l.segments)-1].end = after.offset
	return nil
}

// buffer returns an empty buffer for a header and a frame of payload bytes.
func (l *Log) buffer(payload int64) []byte {
	return slices.Grow(l.buf[:0], int(headerSize+frameSize(payload)))
}

// reuse keeps the buffer for the next frame, unless a large batch made it too large to be kept.
func (l *Log) reuse(b []byte) {
	if cap(b) > 4<<20 {
		b = nil
	}
	l.buf = b
}

// rotate begins a new segment with the records.
func (l *Log) rotate(label uint64, recs []Record, payload int64) error {
	last := l.last()
	preamble := l.options.Preamble()
	payload += recordsSize(preamble)
	h := header{
		size: l.options.sizeFor(payload), previousEnd: l.at.offset,
		number: last.number + 1, label: label,
		batch: l.at.batch, tag: last.tag, sum: l.at.sum,
	}
	if payload > maxPayload {
		return fmt.Errorf("a batch of %d bytes is too large", payload)
	}
	b, salt := h.append(l.buffer(payload))
	b, after := appendFrame(b, h.first(), salt, preamble, recs)
	l.reuse(b)
	file, err := l.nextFile(h)
	if err != nil {
		return err
	}
	if err := publish(l.fs, l.dir, file, h, b); err != nil {
		return cmp.Or(err, file.Close())
	}
	err = l.seal(last.salt)
	l.file, l.at, l.marked = file, after, false
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = append(l.segments, segment{h, salt, after.offset})
	return err
}

// nextFile returns the file that is to become segment h. It reads as zeros.
func (l *Log) nextFile(h header) (disk.File, error) {
	if l.spare == nil {
		l.spare = prepare(l.fs, l.dir, h.number, h.size, false)
	}
	s := l.spare
	l.spare = nil
	f, size, err := s.finish()
	if err == nil && size < h.size {
		err = f.Allocate(h.size)
	}
	if err != nil {
		return nil, cmp.Or(err, s.discard(l.fs))
	}
	return f, nil
}

// seal writes the seal behind the last batch of a full segment, and closes its file. With the seal,
// the loss of the segment after it is noticed.
func (l *Log) seal(salt uint32) error {
	b, _ := appendFrame(nil, l.at, salt, []Record{{Kind: kindSeal}})
	_, err := l.file.WriteAt(b, l.at.offset)
	if err == nil {
		err = l.file.Sync()
	}
	return cmp.Or(err, l.file.Close())
}

// Release removes segments that no reader from label on needs: those before the last segment whose
// label is ≤ label, except the newest keep of them. It removes one after the other, while Append
// goes on. A Reader may then get ErrReleased. An error of Release ends the log, as one of Append
// does.
func (l *Log) Release(label uint64, keep int) error {
	for {
		name, err := l.dropFirst(label, keep)
		if err != nil || name == "" {
			return err
		}
		if err := l.remove(name); err != nil {
			return l.fail(fmt.Errorf("wal: release: %w", err))
		}
	}
}

// dropFirst drops the oldest segment from the list if it may be removed, and returns its name; ""
// if it may not.
func (l *Log) dropFirst(label uint64, keep int) (name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || lastAtOrBelow(l.segments, label) <= keep {
		return "", l.err
	}
	name = l.segments[0].name()
	l.segments = l.segments[1:]
	return name, nil
}

// remove removes the file of a segment and syncs the directory at once: after two removals without
// a sync, a crash could bring back only the older segment, and leave a gap.
func (l *Log) remove(name string) error {
	if err := l.fs.Remove(filepath.Join(l.dir, name)); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}

// Bytes returns how many bytes were appended from the segment on at which Reader(from) starts; all
// bytes if from is older than the log.
func (l *Log) Bytes(from uint64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for _, s := range l.segments[max(lastAtOrBelow(l.segments, from), 0):] {
		n += s.end - headerSize
	}
	return n
}

// First returns the lowest label that Reader accepts. That is not always the first segment's:
// labels go back where a batch replaces others.
func (l *Log) First() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.segments[0].label
	for _, s := range l.segments {
		first = min(first, s.label)
	}
	return first
}

// durable returns the segments from the last one on whose label is ≤ from, each up to its durable
// end.
func (l *Log) durable(from uint64) ([]segment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	i := lastAtOrBelow(l.segments, from)
	if i < 0 {
		return nil, fmt.Errorf("%w: %s: the log begins at label %d, and %d is asked for",
			ErrReleased, filepath.Join(l.dir, l.segments[0].name()), l.segments[0].label, from)
	}
	return slices.Clone(l.segments[i:]), nil
}

// durableAt returns the segment with this number and those after it, each up to its durable end.
func (l *Log) durableAt(number uint64) ([]segment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	first := l.segments[0]
	if number < first.number {
		return nil, fmt.Errorf("%w: %s: the log begins at segment %d, and a reader is in segment %d",
			ErrReleased, filepath.Join(l.dir, first.name()), first.number, number)
	}
	return slices.Clone(l.segments[number-first.number:]), nil
}

func (l *Log) last() segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[len(l.segments)-1]
}

// failed returns the error that ended the log, or nil.
func (l *Log) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// fail ends the log with err, unless another error has ended it already. It returns the error that
// did.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = cmp.Or(l.err, err)
	return l.err
}

// Close writes the mark, which says that everything before it is durable, and closes the log. After
// an error it writes nothing and returns that error.
func (l *Log) Close() error {
	dead := l.failed()
	if l.closed {
		return dead
	}
	l.closed = true
	var err error
	if dead == nil && !l.marked {
		err = l.write(l.last().salt, nil)
	}
	err = cmp.Or(err, l.file.Close())
	if l.spare != nil {
		err = cmp.Or(err, l.spare.discard(l.fs))
	}
	if dead == nil && err != nil {
		dead = fmt.Errorf("wal: close: %w", err)
	}
	l.fail(cmp.Or(dead, ErrClosed))
	return dead
}
