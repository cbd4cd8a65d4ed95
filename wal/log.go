package wal

import (
	"errors"
	"iter"
)

// CONTRACT (to be implemented; exported names are fixed, bodies are not).

// Record is one record of the log: a kind that the caller chooses (1…255) and its bytes.
type Record struct {
	Kind byte
	Data []byte
}

// Tag says whose log this is; it stands in every segment and must match at Open (H5).
type Tag [16]byte

// Options are the parameters of Create, Open and Dump.
type Options struct {
	FS           FS              // nil means the operating system's
	Tag          Tag             // whose log
	SegmentBytes int64           // size of a segment in bytes; 0 means DefaultSegmentBytes
	Preamble     func() []Record // the first records of every new segment, written with its header; may be nil
	From         uint64          // Open replays from the last segment whose label is ≤ From
}

const DefaultSegmentBytes = 32 << 20

// Repair says what Open cut off a torn tail. The zero value: nothing.
type Repair struct {
	File   string
	Offset int64 // first byte cut
	Bytes  int64 // bytes from there to the last byte that was not zero
	Reason string
}

// Log is a log that is ready to append to.
// Append, Release and Close belong to one goroutine; Read may be called from any.
type Log struct{}

// Create makes a new log in dir, which must not exist: everything is written
// aside, synced, and one last rename makes it a log (H10).
func Create(dir string, o Options) error { return errors.New("not yet") }

// Open replays the log in dir from o.From, in order, and returns it ready for
// Append. It repairs a torn tail and nothing else.
func Open(dir string, o Options, replay func(Record) error) (*Log, Repair, error) {
	return nil, Repair{}, errors.New("not yet")
}

// Append writes the records as one batch, all or nothing, and returns when it
// is on disk. label is the log index of the batch's first entry (or of the
// next entry, when there is none in it): when this batch begins a new segment,
// it becomes the segment's label. After the first error the log is dead: every
// later call returns the same error, and nothing is retried (H8).
func (l *Log) Append(label uint64, recs []Record) error { return nil }

// Read yields the records from the last segment whose label is ≤ from up to
// the end of what is durable now, checking every checksum (B15). It may be
// called from any goroutine while Append goes on.
func (l *Log) Read(from uint64) iter.Seq2[Record, error] { return nil }

// Release removes segments that no reader from label on needs: those before the
// last segment whose label is ≤ label, but for the newest keep of them.
func (l *Log) Release(label uint64, keep int) error { return nil }

// Bytes returns the bytes appended since the segment that Read(from) would start at.
func (l *Log) Bytes(from uint64) int64 { return 0 }

// Close writes the mark that everything before it is durable, and closes.
func (l *Log) Close() error { return nil }
