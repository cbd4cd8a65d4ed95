package snap

import (
	"cmp"
	"fmt"
)

// Receiver takes the bytes of a whole snapshot file, as another member's
// Reader.Raw gave them. Not for concurrent use.
type Receiver struct{ aside *aside }

// Receive begins a snapshot whose file comes from elsewhere. Nothing is visible
// before Commit. Several may be received at a time.
func (d *Dir) Receive() (*Receiver, error) {
	a, err := d.begin()
	if err != nil {
		return nil, fmt.Errorf("snap: receive: %w", err)
	}
	return &Receiver{a}, nil
}

// Write appends bytes of the file. Every MiB written is synced.
func (r *Receiver) Write(p []byte) (int, error) {
	if err := r.aside.write(p); err != nil {
		return 0, fmt.Errorf("snap: receive: %w", err)
	}
	return len(p), nil
}

// Commit verifies all of the file and only then gives it its name, durably
// (E9). It returns the index that the file tells. The error of a file that
// came incomplete or changed is a *Damage; Abort removes it.
func (r *Receiver) Commit() (index uint64, err error) {
	if index, err = r.check(); err != nil {
		return 0, err
	}
	if err = r.aside.name(index); err != nil {
		return 0, fmt.Errorf("snap: commit: %w", err)
	}
	return index, nil
}

// check reads the file that was written aside from beginning to end.
func (r *Receiver) check() (index uint64, err error) {
	if err := r.aside.open(); err != nil {
		return 0, fmt.Errorf("snap: commit: %w", err)
	}
	in, err := OpenFile(r.aside.path, r.aside.d.fs)
	if err != nil {
		return 0, err
	}
	return in.Index(), cmp.Or(in.Verify(), in.Close())
}

// Abort removes the file. After Commit it does nothing.
func (r *Receiver) Abort() error {
	if err := r.aside.abort(); err != nil {
		return fmt.Errorf("snap: abort: %w", err)
	}
	return nil
}
