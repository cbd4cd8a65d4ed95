package snap

import (
	"cmp"
	"fmt"
)

// Receiver receives the bytes of a whole snapshot file, as Reader.Raw returned them at another
// member. It is not for concurrent use.
type Receiver struct {
	aside *aside
	err   error // see Err
}

// Err returns the first error of the disk; nil when there was none, even if the received bytes were
// damaged.
func (r *Receiver) Err() error { return r.err }

// fail records an error of the disk, and returns it.
func (r *Receiver) fail(doing string, err error) error {
	err = fmt.Errorf("snap: %s: %w", doing, err)
	r.err = cmp.Or(r.err, err)
	return err
}

// Receive begins a snapshot whose file comes from another member. Nothing is visible before Commit.
// Several may be received at a time. Receive removes the file that Keep has kept.
func (d *Dir) Receive() (*Receiver, error) {
	err := d.keep(nil)
	var a *aside
	if err == nil {
		a, err = d.begin()
	}
	if err != nil {
		return nil, fmt.Errorf("snap: receive: %w", err)
	}
	return &Receiver{aside: a}, nil
}

// Write appends bytes of the file. After every MiB the file is synced.
func (r *Receiver) Write(p []byte) (int, error) {
	if err := r.aside.write(p); err != nil {
		return 0, r.fail("receive", err)
	}
	return len(p), nil
}

// Commit verifies all of the file, and only then gives it its name, durably (E9). It returns the
// index that the file states. The error of an incomplete or changed file is a *Damage; Abort
// removes the file.
func (r *Receiver) Commit() (index uint64, err error) {
	if index, err = r.check(); err != nil {
		return 0, err
	}
	if err = r.aside.commit(index); err != nil {
		return 0, r.fail("commit", err)
	}
	return index, nil
}

// check verifies the received file from beginning to end.
func (r *Receiver) check() (index uint64, err error) {
	if err := r.aside.usable(); err != nil {
		return 0, r.fail("commit", err)
	}
	in, err := OpenFile(r.aside.path, r.aside.d.fs)
	if err != nil {
		return 0, err
	}
	return in.Index(), cmp.Or(in.Verify(), in.Close())
}

// kept is an incomplete file that Resume may continue.
type kept struct {
	name  string
	aside *aside
	isOld bool // it was kept already at the last Purge
}

// Keep interrupts the transfer: the bytes that have come are kept for Resume. name must stand for
// one file only. The Receiver can't be used any more. One file is kept, until another transfer
// begins or until the second Purge. After a write error the file is removed instead.
func (r *Receiver) Keep(name string) error {
	if r.aside.usable() != nil {
		return r.Abort()
	}
	if err := r.aside.d.keep(&kept{name: name, aside: r.aside}); err != nil {
		return r.fail("keep", err)
	}
	return nil
}

// keep makes k the file that is kept, or none if k is nil, and removes the one before.
func (d *Dir) keep(k *kept) error {
	d.mu.Lock()
	was := d.kept
	d.kept = k
	d.mu.Unlock()
	if was == nil {
		return nil
	}
	return was.aside.abort()
}

// Kept returns how many bytes of the file with that name are kept for Resume; 0 when it is not
// kept.
func (d *Dir) Kept(name string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept == nil || d.kept.name != name {
		return 0
	}
	return d.kept.aside.size
}

// Resume returns a Receiver that continues the file kept under a name; nil when there is none. It
// checks nothing: Commit verifies all of the file.
func (d *Dir) Resume(name string) *Receiver {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept == nil || d.kept.name != name {
		return nil
	}
	r := &Receiver{aside: d.kept.aside}
	d.kept = nil
	return r
}

// dropOld removes the kept file if it was kept already at the last call.
func (d *Dir) dropOld() error {
	d.mu.Lock()
	k := d.kept
	old := k != nil && k.isOld
	if k != nil {
		k.isOld = true
	}
	d.mu.Unlock()
	if old {
		return d.keep(nil)
	}
	return nil
}

// Abort removes the file. After Commit it does nothing.
func (r *Receiver) Abort() error {
	if err := r.aside.abort(); err != nil {
		return r.fail("abort", err)
	}
	return nil
}
