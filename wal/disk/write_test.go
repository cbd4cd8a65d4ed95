package disk_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"etcd2/wal/disk"
	"etcd2/wal/disk/disktest"
)

// Whatever fails, and whatever a crash then leaves, the file is the old one or the new one; and the
// new one, when WriteFile says so.
func TestAFileIsReplacedAsAWhole(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for n, done := 1, false; !done; n++ {
		d := disktest.New()
		if err := errors.Join(d.Mkdir("d"), d.SyncDir("."), disk.WriteFile(d, "d/f",
			[]byte("the old one"))); err != nil {
			t.Fatal(err)
		}
		calls := 0
		d.Fault = func(int, string, string) error {
			if calls++; calls == n {
				return disktest.ErrInjected
			}
			return nil
		}
		err := disk.WriteFile(d, "d/f", []byte("new"))
		done = err == nil
		d.Fault = nil
		for _, fate := range d.Fates(rng) {
			got := string(d.Crash(fate).Content("d/f"))
			if got != "new" && (done || got != "the old one") {
				t.Errorf("call %d failed, %v: %q is left", n, fate, got)
			}
		}
		names, err := d.ReadDir("d")
		if err != nil || !slices.Equal(names, []string{"f"}) {
			t.Errorf("call %d failed: %q, %v", n, names, err)
		}
	}
}
