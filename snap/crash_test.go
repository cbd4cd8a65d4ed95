package snap

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"etcd2/e2e/pace"
	"etcd2/wal/disk/disktest"
)

// stride is 1 under -long, and more otherwise: a test then tries one case in stride.
func stride() int { return pace.Pick(15, 7, 1) }

// model is what a directory may hold after a crash: as its newest a snapshot that is not older
// than the last one that was committed, nor newer than the last one that was begun.
type model struct{ committed, begun uint64 }

// testBody is the body of the snapshot at index: of no, one, or two blocks.
func testBody(index uint64) []byte {
	size := []int{0, 90, 3000, blockBytes, blockBytes + 700}[index%5]
	return bytes.Repeat([]byte{byte(index), 'x', byte(index >> 1)}, size/3)
}

func testMeta(index uint64) []byte { return fmt.Appendf(nil, "meta %d", index) }

// check reads a snapshot to its end.
func check(r *Reader) error {
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if !bytes.Equal(body, testBody(r.Index())) || r.Size() != int64(len(body)) || !bytes.Equal(r.Meta(),
		testMeta(r.Index())) {
		return fmt.Errorf("snapshot %d is not what was written", r.Index())
	}
	return nil
}

// start opens the directory and compares it with the model.
func start(d *disktest.Disk, m *model) (*Dir, error) {
	dir, err := Open("snap", d)
	if err != nil {
		return nil, err
	}
	r, damages, err := dir.Newest()
	if err != nil || damages != nil {
		return nil, fmt.Errorf("%v damaged, %w", damages, err)
	}
	var newest uint64
	if r != nil {
		newest = r.Index()
		if err := cmp.Or(check(r), r.Close()); err != nil {
			return nil, err
		}
	}
	if newest < m.committed || newest > m.begun {
		return nil, fmt.Errorf("%d is the newest, %d was committed and %d begun", newest, m.committed, m.begun)
	}
	m.committed, m.begun = newest, newest
	return dir, nil
}

// writeNext writes the next snapshot.
func writeNext(dir *Dir, m *model) error {
	index := m.committed + 1
	w, err := dir.Create(index, testMeta(index))
	if err != nil {
		return err
	}
	defer w.Abort()
	m.begun = index
	if _, err := w.Write(testBody(index)); err != nil {
		return err
	}
	if err := w.Commit(); err != nil {
		return err
	}
	m.committed = index
	return nil
}

// receiveNext takes the next snapshot from another member's disk.
func receiveNext(dir *Dir, m *model) error {
	index := m.committed + 1
	in, err := OpenFile(fileName(index), testFiles)
	if err != nil {
		return err
	}
	defer in.Close()
	r, err := dir.Receive()
	if err != nil {
		return err
	}
	defer r.Abort()
	m.begun = index
	raw, size := in.Raw()
	if _, err := io.Copy(r, io.NewSectionReader(raw, 0, size)); err != nil {
		return err
	}
	if got, err := r.Commit(); err != nil || got != index {
		return cmp.Or(err, fmt.Errorf("received %d as %d", index, got))
	}
	m.committed = index
	return nil
}

// testFiles is another member's disk that holds the snapshots 1 to 30.
var testFiles = func() *disktest.Disk {
	d := disktest.New()
	dir, err := Open(".", d)
	for m := (&model{}); err == nil && m.committed < 30; {
		err = writeNext(dir, m)
	}
	if err != nil {
		panic(err)
	}
	return d
}()

// live is a life with everything in it.
func live(d *disktest.Disk, m *model, rounds int) error {
	dir, err := start(d, m)
	if err != nil {
		return err
	}
	for range rounds {
		if err := writeNext(dir, m); err != nil {
			return err
		}
		if err := receiveNext(dir, m); err != nil {
			return err
		}
		if err := dir.Purge(2); err != nil {
			return err
		}
	}
	return nil
}

// tidy checks that a directory holds snapshots only, and that all files are closed.
func tidy(d *disktest.Disk) error {
	names, err := d.ReadDir("snap")
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, suffix) {
			return fmt.Errorf("%s is left over", name)
		}
	}
	if len(names) > 2 || d.OpenFiles != 0 {
		return fmt.Errorf("%d snapshots are there, %d files open", len(names), d.OpenFiles)
	}
	return nil
}

// afterCrash lives on a disk that has crashed, crashes it once more, and lives on that.
func afterCrash(d *disktest.Disk, m model, crashes int, rng *rand.Rand) error {
	var next *disktest.Disk
	var nextModel model
	at := d.Calls + 1 + rng.IntN(16)
	d.After = func(d *disktest.Disk, _, _ string) {
		if crashes > 0 && d.Calls == at {
			fates := d.Fates(rng)
			next, nextModel = d.Crash(fates[rng.IntN(len(fates))]), m
		}
	}
	if err := live(d, &m, 1); err != nil {
		return err
	}
	if err := tidy(d); err != nil || next == nil {
		return err
	}
	if err := afterCrash(next, nextModel, crashes-1, rng); err != nil {
		return fmt.Errorf("second crash at call %d: %w", at, err)
	}
	return nil
}

// tryStates tries n of the states that a crash now may leave. The disk has to stand still.
func tryStates(d *disktest.Disk, m model, rng *rand.Rand, n int) (tried int, err error) {
	if err := afterCrash(d.Kill(), m, 1, rng); err != nil {
		return 1, fmt.Errorf("process killed: %w", err)
	}
	fates := d.Fates(rng)
	rng.Shuffle(len(fates), func(i, j int) { fates[i], fates[j] = fates[j], fates[i] })
	fates = fates[:min(n, len(fates))]
	for i, f := range fates {
		if err := afterCrash(d.Crash(f), m, 1, rng); err != nil {
			return i + 2, fmt.Errorf("%v: %w", f, err)
		}
	}
	return len(fates) + 1, nil
}

// Whatever a power cut or the end of the process leaves, the newest snapshot is
// whole, and not older than the last one that was committed; nothing damaged
// ever has a name.
//
// pitfall E4, pitfall E9, pitfall H6
func TestEveryCrashStateHasAWholeSnapshot(t *testing.T) {
	states := 0
	for seed := uint64(1); states < 5000/stride(); seed++ {
		rng := rand.New(rand.NewPCG(seed, 0))
		d, m := disktest.New(), model{}
		d.After = func(d *disktest.Disk, call, name string) {
			n, err := tryStates(d, m, rng, pace.Pick(4, 12, 12))
			if states += n; err != nil {
				t.Fatalf("seed %d, call %d (%s %s): %v", seed, d.Calls, call, name, err)
			}
		}
		for range 2 {
			if err := live(d, &m, 3); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d crash states", states)
}

// Whatever call fails, what was committed stays the newest, or what was being
// committed is it, whole.
//
// pitfall H8, pitfall H9, pitfall H16
func TestAFailedCallCostsNoCommittedSnapshot(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 0))
	for n := 1; ; n += stride() {
		d, m := disktest.New(), model{}
		d.Fault = disktest.FailAt(n)
		err := live(d, &m, 3)
		if err == nil {
			t.Logf("calls up to %d failed", n-1)
			return
		}
		if !errors.Is(err, disktest.ErrInjected) || strings.Contains(err.Error(), "\n") || d.OpenFiles != 0 {
			t.Fatalf("call %d failed: %v; %d files are open", n, err, d.OpenFiles)
		}
		d.Fault = nil
		if _, err := tryStates(d, m, rng, 10); err != nil {
			t.Fatalf("call %d failed: %v", n, err)
		}
	}
}
