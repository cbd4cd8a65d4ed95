package disktest

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	_ "etcd2/e2e/pace" // -long
)

// half is a disk on which the file a holds "old", and its name, for good; that "new" stands there
// instead, and that there is a file b, is not synced.
func half(t *testing.T) *Disk {
	t.Helper()
	d := New()
	d.SetContent("a", []byte("old"))
	f, err := d.OpenRW("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create("b"); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEveryFateOfWhatWasNotSyncedIsMet(t *testing.T) {
	d, met := half(t), map[string]bool{}

	for _, f := range d.Fates(rand.New(rand.NewPCG(1, 0))) {
		c := d.Crash(f)
		_, b, _ := c.find("b")
		met[string(c.Content("a"))] = true
		met[map[bool]string{true: "b is there", false: "b is gone"}[b != nil]] = true
	}

	for _, want := range []string{"old", "nld", "ned", "new", "\x00\x00\x00", "b is there", "b is gone"} {
		if !met[want] {
			t.Errorf("%q is missing in %v", want, met)
		}
	}
	if got := d.Content("a"); string(got) != "new" {
		t.Errorf("a crash of the copy left %q", got)
	}
}

func TestWhatWasSyncedSurvivesEveryFate(t *testing.T) {
	d := half(t)
	f, err := d.OpenRW("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), d.SyncDir(".")); err != nil {
		t.Fatal(err)
	}

	for _, f := range d.Fates(rand.New(rand.NewPCG(1, 0))) {
		c := d.Crash(f)
		names, err := c.ReadDir(".")
		if slices.Sort(names); err != nil || !slices.Equal(names, []string{"a", "b"}) ||
			string(c.Content("a")) != "new" {
			t.Errorf("%v: %q, a is %q, %v", f, names, c.Content("a"), err)
		}
	}
}

func TestAKilledProcessLosesNothingYet(t *testing.T) {
	d := half(t)

	killed := d.Kill()

	if got := killed.Content("a"); string(got) != "new" || killed.UnsyncedBytes() != 3 {
		t.Errorf("%q, %d bytes are not synced", got, killed.UnsyncedBytes())
	}
	if got := killed.Crash(Fate{none, loseWrite, "none", 0}).Content("a"); string(got) != "old" {
		t.Errorf("%q survived a power cut", got)
	}
}

// pitfall H8
func TestAFailedSyncIsNotMadeGoodByTheNext(t *testing.T) {
	d := half(t)
	f, err := d.OpenRW("a")
	if err != nil {
		t.Fatal(err)
	}
	d.Fault = FailAt(d.Calls + 1)

	first, second := f.Sync(), f.Sync()

	if !errors.Is(first, ErrInjected) || second != nil {
		t.Fatal(first, second)
	}
	for _, f := range d.Fates(rand.New(rand.NewPCG(1, 0))) {
		if got := d.Crash(f).Content("a"); string(got) != "old" {
			t.Errorf("%v: %q", f, got)
		}
	}
}
