package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"etcd2/wal/disk/disktest"
)

// Whatever call fails, be it a write, a sync or a rename, the log stops with that
// error and acknowledges nothing more. All that was acknowledged is there after a
// restart of the process, and after a restart of the machine. The same holds when
// a call of the next life fails as well.
//
// pitfall H8, pitfall H9, pitfall H16
func TestTheFirstErrorIsFinal(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 0))
	failed := 0
	for n := 1; ; n += stride() {
		d, m := disktest.New(), &model{}
		d.Fault = disktest.FailAt(n)
		hit, err := untilError(d, m, 0)
		if err != nil {
			t.Fatalf("call %d fails: %v", n, err)
		}
		if !hit {
			break
		}
		failed++
		for range 3 {
			again, m := d.Kill(), m.snapshot()
			again.Fault = disktest.FailAt(1 + rng.IntN(40))
			if _, err := untilError(again, m, 50); err != nil {
				t.Fatalf("call %d fails, and one after it: %v", n, err)
			}
			again.Fault = nil
			if _, err := tryStates(again, m, rng, 10); err != nil {
				t.Fatalf("call %d failed, and one after it: %v", n, err)
			}
		}
		d.Fault = nil
		if _, err := tryStates(d, m, rng, 20); err != nil {
			t.Fatalf("call %d failed: %v", n, err)
		}
	}
	t.Logf("each of %d calls failed", failed)
}

// untilError runs a life on d until a call fails, and checks what the log does then.
func untilError(d *disktest.Disk, m *model, life int) (hit bool, err error) {
	for i := range 2 {
		p := &process{d: d, m: m, life: life + i}
		err := p.live(18)
		if err == nil {
			continue
		}
		if !errors.Is(err, disktest.ErrInjected) {
			return true, err
		}
		if p.log != nil {
			if err := p.dead(); err != nil {
				return true, err
			}
		}
		if d.OpenFiles != 0 {
			return true, fmt.Errorf("%d files are still open", d.OpenFiles)
		}
		return true, nil
	}
	return false, nil
}

// dead checks that every method of a failed log returns its error, and that none touches the disk.
func (p *process) dead() error {
	first := p.log.Append(1, testBatch(0, 0))
	closed := p.log.Close()
	calls := p.d.Calls
	var read error
	for _, err := range p.log.Read(0) {
		read = err
	}
	for i, err := range []error{p.log.Append(1, testBatch(0, 0)), p.log.Release(1000, 0), read, p.log.Close()} {
		if err == nil || err != first {
			return fmt.Errorf("method %d: %v came after %v", i, err, first)
		}
	}
	if !errors.Is(first, disktest.ErrInjected) || closed != first {
		return fmt.Errorf("dead of %v, closed with %v", first, closed)
	}
	if p.d.Calls != calls {
		return errors.New("a dead log changed the disk")
	}
	return nil
}
