package snap

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"

	"etcd2/wal/disk"
)

// Reader reads one snapshot, and checks every block as it is read. Read, Verify, Rewind and Close
// belong to one goroutine; the others may be called from any.
type Reader struct {
	path     string
	file     disk.File
	fileSize int64
	index    uint64
	meta     []byte
	size     int64  // of the body
	sum      uint32 // over index, meta and body, as the trailer states it
	release  func() // tells the Dir that this Reader is closed
	start    spot   // of the first block of the body

	next  spot   // of the next block
	buf   []byte // room for a block of the body
	rest  []byte // the part of the block before it that has not been read
	total int64  // bytes of the body before next
}

// spot is where a block begins, and the sum that it continues.
type spot struct {
	offset int64
	sum    uint32
}

// OpenFile opens the snapshot file at path, which may have any name. It changes nothing. It checks
// the beginning and the end of the file; each block is checked when it is read. fs nil means the
// operating system's.
func OpenFile(path string, fs disk.FS) (*Reader, error) {
	if fs == nil {
		fs = disk.OS{}
	}
	f, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("snap: open: %w", err)
	}
	r := &Reader{path: path, file: f, release: func() {}}
	if err := r.open(); err != nil {
		return nil, cmp.Or(err, f.Close())
	}
	return r, nil
}

// open reads header, trailer and meta.
func (r *Reader) open() (err error) {
	if r.fileSize, err = r.file.Size(); err != nil {
		return fmt.Errorf("snap: open: %w", err)
	}
	if r.fileSize < headerSize+blockHeader+trailerSize {
		return r.damage(r.fileSize, "the file is too short for a snapshot")
	}
	var b [max(headerSize, trailerSize)]byte
	if err := r.readAt(b[:headerSize], 0); err != nil {
		return err
	}
	index, sum, reason := parseHeader(b[:])
	if reason != "" {
		return r.damage(0, reason)
	}
	r.index = index
	end := r.fileSize - trailerSize
	if err := r.readAt(b[:trailerSize], end); err != nil {
		return err
	}
	var ok bool
	if r.size, ok = parseTrailer(b[:]); !ok {
		return r.damage(end, "the file does not end as a snapshot does")
	}
	r.sum = binary.LittleEndian.Uint32(b[4:])
	r.meta, r.start, err = r.block(spot{headerSize, sum}, maxMeta, nil)
	r.next = r.start
	return err
}

// block reads the block at s, of at most limit bytes, into buf or, when that is too small, into a
// new buffer. It returns the data and the spot of the next block.
func (r *Reader) block(s spot, limit int, buf []byte) ([]byte, spot, error) {
	var head [blockHeader]byte
	if err := r.readAt(head[:], s.offset); err != nil {
		return nil, s, err
	}
	length := int64(binary.LittleEndian.Uint32(head[:])) // int64, since an int may have 32 bits
	end := s.offset + blockHeader + length
	if length > int64(limit) || end > r.fileSize-trailerSize {
		return nil, s, r.damage(s.offset, "the block's length is wrong")
	}
	if length > int64(cap(buf)) {
		buf = make([]byte, length)
	}
	data := buf[:length]
	if err := r.readAt(data, s.offset+blockHeader); err != nil {
		return nil, s, err
	}
	sum := blockSum(head[:4], data, s.sum)
	if sum != binary.LittleEndian.Uint32(head[4:]) {
		return nil, s, r.damage(s.offset, "the block fails its checksum")
	}
	return data, spot{end, sum}, nil
}

// readAt fills b. A file that can't be read counts as damaged.
func (r *Reader) readAt(b []byte, offset int64) error {
	if n, err := r.file.ReadAt(b, offset); n < len(b) {
		return r.damage(offset, err.Error())
	}
	return nil
}

func (r *Reader) damage(offset int64, reason string) error { return &Damage{r.path, offset, reason} }

// Path returns the name under which the file was opened.
func (r *Reader) Path() string { return r.path }

// Index returns the index of the last entry that the snapshot holds.
func (r *Reader) Index() uint64 { return r.index }

// Meta returns the meta that Create was given. The caller may not change it.
func (r *Reader) Meta() []byte { return r.meta }

// Size returns the size of the body in bytes.
func (r *Reader) Size() int64 { return r.size }

// Sum returns a checksum over index, meta and body: two snapshots with the same Sum are the same,
// as far as 32 bits can tell. Verify checks whether it is right.
func (r *Reader) Sum() uint32 { return r.sum }

// Raw returns the file itself and its size in bytes: the bytes that a Receiver expects. It may be
// read until Close.
func (r *Reader) Raw() (io.ReaderAt, int64) { return r.file, r.fileSize }

// Read reads from the body. Its error is io.EOF behind a whole and sound body, or a *Damage.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.rest) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// fill reads the next block of the body, or checks the trailer.
func (r *Reader) fill() error {
	if r.next.offset == r.fileSize-trailerSize {
		return r.finish()
	}
	if r.buf == nil {
		r.buf = make([]byte, min(blockBytes, r.fileSize))
	}
	data, next, err := r.block(r.next, blockBytes, r.buf)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return r.damage(r.next.offset, "the body ends before the file does")
	}
	r.next, r.rest = next, data
	r.total += int64(len(data))
	return nil
}

// finish checks that the trailer belongs to the blocks that were read.
func (r *Reader) finish() error {
	b := make([]byte, trailerSize)
	if err := r.readAt(b, r.next.offset); err != nil {
		return err
	}
	if string(b) != string(trailer(r.next.sum, r.total)) {
		return r.damage(r.next.offset, "the trailer does not belong to the blocks before it")
	}
	return io.EOF
}

// Verify checks all of the body and goes back to its beginning. Its error is a *Damage, at the
// first block that is not what was written.
func (r *Reader) Verify() error {
	var err error
	for err == nil {
		err = r.fill()
	}
	if err != io.EOF {
		return err
	}
	r.Rewind()
	return nil
}

// Rewind goes back to the beginning of the body.
func (r *Reader) Rewind() { r.next, r.rest, r.total = r.start, nil, 0 }

// Close closes the file. From then on Purge may remove it. Call Close once.
func (r *Reader) Close() error {
	r.release()
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("snap: close: %w", err)
	}
	return nil
}
