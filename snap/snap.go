package snap

import (
	"errors"
	"io"
)

// CONTRACT (to be implemented; exported names are fixed, bodies are not).

// Dir is a directory of snapshot files, named by the index of the last entry they hold.
type Dir struct{}

// Damage is a snapshot file that failed its checks.
type Damage struct {
	File   string
	Offset int64
	Reason string
}

// Open opens dir (making it when missing, 0700), and removes what unfinished writes left.
// fs nil means the operating system's.
func Open(dir string, fs FS) (*Dir, error) { return nil, errors.New("not yet") }

// Newest returns the newest snapshot that passes every check (the whole file is verified before it
// returns), or nil when there is none, and the newer ones that failed.
func (d *Dir) Newest() (*Reader, []Damage, error) { return nil, nil, nil }

// OpenIndex opens the snapshot at index.
func (d *Dir) OpenIndex(index uint64) (*Reader, error) { return nil, nil }

// Create begins a snapshot aside; nothing is visible before Commit. meta is the caller's.
func (d *Dir) Create(index uint64, meta []byte) (*Writer, error) { return nil, nil }

// Purge removes all but the newest keep snapshots, never one that an open Reader uses. keep 0 keeps all.
func (d *Dir) Purge(keep int) error { return nil }

// Indexes lists the snapshots present, ascending.
func (d *Dir) Indexes() ([]uint64, error) { return nil, nil }

// Writer writes one snapshot. Not for concurrent use.
type Writer struct{}

// Write appends to the body. Every few MiB written are synced, so that no
// single fsync of a large file holds up the log's.
func (w *Writer) Write(p []byte) (int, error) { return 0, nil }

// Commit makes it durable: trailer, fsync, rename, fsync of the directory.
func (w *Writer) Commit() error { return nil }

// Abort removes the unfinished file. After Commit it does nothing.
func (w *Writer) Abort() error { return nil }

// Reader reads one snapshot; every block is checked as it is read.
type Reader struct{}

func (r *Reader) Index() uint64              { return 0 }
func (r *Reader) Meta() []byte               { return nil }
func (r *Reader) Size() int64                { return 0 } // bytes of the body
func (r *Reader) Read(p []byte) (int, error) { return 0, io.EOF }
func (r *Reader) Close() error               { return nil }
