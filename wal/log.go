package wal

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Tag says whose log this is; it stands in every segment and must match at Open (H5).
type Tag [16]byte

// Options are the parameters of Create and Open.
type Options struct {
	FS           FS              // nil means the operating system's
	Tag          Tag             // whose log
	SegmentBytes int64           // size of a segment in bytes; 0 means DefaultSegmentBytes
	Preamble     func() []Record // the first records of every new segment, written with its header; may be nil
	From         uint64          // Open replays from the last segment whose label is ≤ From
}

// DefaultSegmentBytes is the size of a segment when Options doesn't say it.
const DefaultSegmentBytes = 32 << 20

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = osFS{}
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.Preamble == nil {
		o.Preamble = func() []Record { return nil }
	}
	return o
}

// Log is a log that is ready to append to.
// Append, Release and Close belong to one goroutine; Read and Bytes may be called from any.
type Log struct {
	// Fixed.
	fs      FS
	dir     string
	options Options

	// Of the goroutine that appends.
	file   File   // of the last segment
	at     place  // of the next frame, in the last segment
	marked bool   // the last frame is a mark
	buf    []byte // the frame that is being written
	spare  *spare // of the next segment; nil before it is needed

	// mu protects what readers share. Only the goroutine that appends changes it.
	mu       sync.Mutex
	segments []segment // at least one, in order; at.offset == end of the last
	err      error     // the first one: from then on the log is dead
}

// Create makes a new log in dir, which must not exist: everything is written
// aside, synced, and one last rename makes it a log (H10). Its first segment
// has the label 0 and holds the preamble.
func Create(dir string, o Options) error {
	o = o.withDefaults()
	if err := create(filepath.Clean(dir), o); err != nil {
		return fmt.Errorf("wal: create: %w", err)
	}
	return nil
}

func create(dir string, o Options) error {
	_, err := o.FS.ReadDir(dir)
	if err == nil {
		return fmt.Errorf("%s: %w", dir, os.ErrExist)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	aside := dir + asideSuffix
	if err := o.FS.Mkdir(aside); err != nil {
		return err
	}
	if err := removeAll(o.FS, aside, ""); err != nil {
		return err
	}
	if err := createFirst(aside, o); err != nil {
		return err
	}
	if err := o.FS.Rename(aside, dir); err != nil {
		return err
	}
	return o.FS.SyncDir(filepath.Dir(dir))
}

func createFirst(dir string, o Options) error {
	preamble := o.Preamble()
	h := header{size: o.sizeFor(recordsSize(preamble)), number: 1, batch: 1, tag: o.Tag}
	b, salt := h.append(nil)
	b, _ = appendFrame(b, h.first(), salt, preamble)
	f, err := o.FS.Create(filepath.Join(dir, asideName(h.number)))
	if err != nil {
		return err
	}
	err = fill(f, 0, h.size)
	if err == nil {
		err = publish(o.FS, dir, f, h, b)
	}
	return cmp.Or(err, f.Close())
}

// publish writes b at the beginning of a file that is full of zeros, and gives
// the file its name when all of it is durable (H6).
func publish(fs FS, dir string, f File, h header, b []byte) error {
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := fs.Rename(filepath.Join(dir, asideName(h.number)), filepath.Join(dir, h.name())); err != nil {
		return err
	}
	return fs.SyncDir(dir)
}

// sizeFor is the size of a segment whose first frame has payload bytes.
func (o Options) sizeFor(payload int64) int64 {
	return max(align(min(o.SegmentBytes, maxSize)), headerSize+frameSize(payload)+reserve)
}

// removeAll removes the files of dir whose names end in suffix.
func removeAll(fs FS, dir, suffix string) error {
	names, err := fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		if err := fs.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// Open replays the log in dir from o.From, in order, and returns it ready for
// Append. It repairs a torn tail and nothing else: see tail and mend. An error
// of replay stops it and comes back with file and offset.
func Open(dir string, o Options, replay func(Record) error) (*Log, Repair, error) {
	o = o.withDefaults()
	l := &Log{fs: o.FS, dir: filepath.Clean(dir), options: o}
	var err error
	if l.segments, err = listSegments(l.fs, l.dir); err != nil {
		return nil, Repair{}, err
	}
	if first := l.segments[0]; first.tag != o.Tag {
		return nil, Repair{}, fmt.Errorf("wal: open: %s: offset 40: the log belongs to %x, not to %x",
			filepath.Join(l.dir, first.name()), first.tag, o.Tag)
	}
	if err := l.tidy(); err != nil {
		return nil, Repair{}, fmt.Errorf("wal: open: %w", err)
	}
	torn, err := l.replay(o.From, replay)
	if err != nil {
		return nil, Repair{}, err
	}
	return l, torn, nil
}

// tidy takes the directory from everybody else's eyes (H13) and removes what
// never became a segment.
func (l *Log) tidy() error {
	if err := l.fs.Mkdir(l.dir); err != nil {
		return err
	}
	return removeAll(l.fs, l.dir, asideSuffix)
}

// replay reads the log from label from on and makes it ready for Append.
func (l *Log) replay(from uint64, replay func(Record) error) (Repair, error) {
	segments, err := l.durable(from)
	if err != nil {
		return Repair{}, err
	}
	in := func(s segment) func(int64, Record) error {
		return func(offset int64, r Record) error {
			if err := replay(r); err != nil {
				return fmt.Errorf("wal: replay: %s: offset %d: %w", filepath.Join(l.dir, s.name()), offset, err)
			}
			return nil
		}
	}
	for i, s := range segments[:len(segments)-1] {
		if err := readClosed(l.fs, l.dir, s, segments[i+1].header, in(s)); err != nil {
			return Repair{}, err
		}
	}
	last := segments[len(segments)-1]
	return l.openLast(last, in(last))
}

// openLast reads the last segment, mends its tail and keeps it open.
func (l *Log) openLast(last segment, visit func(int64, Record) error) (torn Repair, err error) {
	l.file, err = l.fs.OpenRW(filepath.Join(l.dir, last.name()))
	if err != nil {
		return torn, fmt.Errorf("wal: open: %w", err)
	}
	c := newCursor(l.dir, last, l.file, last.size)
	torn, err = c.tail(visit)
	if err == nil {
		err = c.mend(torn)
	}
	if err == nil {
		err = l.fs.SyncDir(l.dir)
	}
	if err != nil {
		return Repair{}, cmp.Or(err, l.file.Close())
	}
	l.at, l.marked = c.at, c.empty
	l.segments[len(l.segments)-1].end = c.at.offset
	return torn, nil
}

// reserve is kept free behind the last batch of a segment, for the mark that
// Close writes and the seal that a rotation writes.
const reserve = markSize + sealSize

// Append writes the records as one batch, all or nothing, and returns when it
// is on disk. label is the log index of the batch's first entry (or of the
// next entry, when there is none in it): when this batch begins a new segment,
// it becomes the segment's label. After the first error the log is dead: every
// later call returns the same error, and nothing is retried (H8). The batch of
// the call that failed may or may not be there at the next Open. Append keeps
// nothing of recs; without records it does nothing.
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
		l.spare = prepare(l.fs, l.dir, last.number+1, l.options.sizeFor(0))
	}
	return nil
}

// write appends one frame to the last segment, with one write and one sync.
func (l *Log) write(salt uint32, recs []Record) error {
	b, after := appendFrame(l.buf[:0], l.at, salt, recs)
	l.keep(b)
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

// keep holds on to the buffer for the next frame, unless a batch was so large
// that the memory is better given back.
func (l *Log) keep(b []byte) {
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
	b, salt := h.append(l.buf[:0])
	b, after := appendFrame(b, h.first(), salt, preamble, recs)
	l.keep(b)
	file, err := l.blank(h)
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

// blank returns the file that is to become segment h, full of zeros.
func (l *Log) blank(h header) (f File, err error) {
	var size int64
	if l.spare != nil {
		f, size, err = l.spare.take()
		l.spare = nil
	} else {
		f, err = l.fs.Create(filepath.Join(l.dir, asideName(h.number)))
	}
	if err != nil {
		return nil, err
	}
	if err := fill(f, size, h.size); err != nil {
		return nil, cmp.Or(err, f.Close())
	}
	return f, nil
}

// seal writes behind the last batch of a full segment that another one follows,
// so that the loss of that one is noticed, and closes it.
func (l *Log) seal(salt uint32) error {
	b, _ := appendFrame(nil, l.at, salt, []Record{{Kind: kindSeal}})
	_, err := l.file.WriteAt(b, l.at.offset)
	if err == nil {
		err = l.file.Sync()
	}
	return cmp.Or(err, l.file.Close())
}

// Release removes segments that no reader from label on needs: those before the
// last segment whose label is ≤ label, but for the newest keep of them. A Read
// that goes on meanwhile may end with ErrReleased.
func (l *Log) Release(label uint64, keep int) error {
	if err := l.failed(); err != nil {
		return err
	}
	for n := lastAtOrBelow(l.segments, label) - keep; n > 0; n-- {
		if err := l.removeFirst(); err != nil {
			return l.fail(fmt.Errorf("wal: release: %w", err))
		}
	}
	return nil
}

// removeFirst removes the oldest segment and syncs the directory at once: of
// two names that went unsynced, a crash could keep the older one alone.
func (l *Log) removeFirst() error {
	name := l.segments[0].name()
	l.mu.Lock()
	l.segments = l.segments[1:]
	l.mu.Unlock()
	if err := l.fs.Remove(filepath.Join(l.dir, name)); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}

// Bytes returns the bytes appended since the segment that Read(from) would
// start at, or that are there at all when it would start before the first one.
func (l *Log) Bytes(from uint64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for _, s := range l.segments[max(lastAtOrBelow(l.segments, from), 0):] {
		n += s.end - headerSize
	}
	return n
}

// durable returns the segments that hold what is durable from label from on.
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

func (l *Log) last() segment { return l.segments[len(l.segments)-1] }

// failed returns the error that the log died of.
func (l *Log) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// fail makes err the log's end, unless it is dead already, and returns what it died of.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	return l.err
}

// Close writes the mark that everything before it is durable, and closes. On a
// dead log it writes nothing and returns the error that the log died of.
func (l *Log) Close() error {
	dead := l.failed()
	if dead == ErrClosed {
		return dead
	}
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
