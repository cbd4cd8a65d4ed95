package snap

import "fmt"

// Writer writes one snapshot. It is not for concurrent use.
type Writer struct {
	index   uint64
	aside   *aside
	encoder *encoder
}

// Create begins a snapshot. Nothing is visible before Commit. A meta of more than 1 MiB is an
// error. Several snapshots may be written at a time; of two with the same index the one committed
// last stays.
func (d *Dir) Create(index uint64, meta []byte) (*Writer, error) {
	if err := checkMeta(meta); err != nil {
		return nil, err
	}
	a, err := d.begin()
	if err != nil {
		return nil, fmt.Errorf("snap: create: %w", err)
	}
	w := &Writer{index: index, aside: a}
	if w.encoder, err = newEncoder(a.write, index, meta); err != nil {
		w.Abort()
		return nil, fmt.Errorf("snap: create: %w", err)
	}
	return w, nil
}

func checkMeta(meta []byte) error {
	if len(meta) > maxMeta {
		return fmt.Errorf("snap: the meta of a snapshot has %d bytes, and may have %d", len(meta), maxMeta)
	}
	return nil
}

// Write appends to the body. After every MiB the file is synced, so that no fsync of a large file
// holds up those of the log.
func (w *Writer) Write(p []byte) (int, error) { return w.encoder.append(p) }

// Commit makes the snapshot durable: trailer, fsync, rename, fsync of the directory (E4). It
// replaces a snapshot of the same index.
func (w *Writer) Commit() error {
	if err := w.commit(); err != nil {
		return fmt.Errorf("snap: commit: %w", err)
	}
	return nil
}

func (w *Writer) commit() error {
	if err := w.encoder.end(); err != nil {
		return err
	}
	return w.aside.commit(w.index)
}

// Abort removes the unfinished file. After Commit it does nothing.
func (w *Writer) Abort() error {
	if err := w.aside.abort(); err != nil {
		return fmt.Errorf("snap: abort: %w", err)
	}
	return nil
}
