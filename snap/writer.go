package snap

import "fmt"

// Writer writes one snapshot. Not for concurrent use.
type Writer struct {
	index uint64
	aside *aside
	block []byte // the block that is being filled, behind room for its header
	sum   uint32 // of the block before it
	total int64  // bytes of the body that are in blocks before it
}

// Create begins a snapshot aside; nothing is visible before Commit. meta is the
// caller's, at most 1 MiB. Several may be written at a time; of two with the
// same index the last one committed stays.
func (d *Dir) Create(index uint64, meta []byte) (*Writer, error) {
	if len(meta) > maxMeta {
		panic("snap: meta of a snapshot is larger than 1 MiB")
	}
	a, err := d.begin()
	if err != nil {
		return nil, fmt.Errorf("snap: create: %w", err)
	}
	b, sum := appendHeader(nil, index)
	b = append(b, make([]byte, blockHeader)...)
	b = append(b, meta...)
	w := &Writer{
		index: index, aside: a,
		block: make([]byte, blockHeader, blockHeader+blockBytes),
		sum:   sealBlock(b[headerSize:], sum),
	}
	if err := a.write(b); err != nil {
		w.Abort()
		return nil, fmt.Errorf("snap: create: %w", err)
	}
	return w, nil
}

// Write appends to the body. Every MiB written is synced, so that no single
// fsync of a large file holds up the log's.
func (w *Writer) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), cap(w.block)-len(w.block))
		w.block = append(w.block, p[:n]...)
		if len(w.block) == cap(w.block) {
			if err := w.flush(); err != nil {
				return written, fmt.Errorf("snap: write: %w", err)
			}
		}
		written += n
		p = p[n:]
	}
	return written, nil
}

// flush writes the block, when there is anything in it, and begins the next one.
func (w *Writer) flush() error {
	data := len(w.block) - blockHeader
	if data == 0 {
		return nil
	}
	w.sum = sealBlock(w.block, w.sum)
	if err := w.aside.write(w.block); err != nil {
		return err
	}
	w.total += int64(data)
	w.block = w.block[:blockHeader]
	return nil
}

// Commit makes it durable: trailer, fsync, rename, fsync of the directory (E4).
// It replaces a snapshot of the same index.
func (w *Writer) Commit() error {
	if err := w.commit(); err != nil {
		return fmt.Errorf("snap: commit: %w", err)
	}
	return nil
}

func (w *Writer) commit() error {
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.aside.write(trailer(w.sum, w.total)); err != nil {
		return err
	}
	return w.aside.name(w.index)
}

// Abort removes the unfinished file. After Commit it does nothing.
func (w *Writer) Abort() error {
	if err := w.aside.abort(); err != nil {
		return fmt.Errorf("snap: abort: %w", err)
	}
	return nil
}
