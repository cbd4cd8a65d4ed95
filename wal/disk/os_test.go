package disk

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	_ "etcd2/e2e/pace" // -long
)

func TestAFileIsReadAsItWasWritten(t *testing.T) {
	dir, fs := filepath.Join(t.TempDir(), "d"), OS{}
	name := filepath.Join(dir, "f")
	steps := []func() error{
		func() error { return fs.Mkdir(dir) },
		func() error { return write(fs.Create, name+".tmp", "abcd", 0) },
		func() error { return fs.Rename(name+".tmp", name) },
		func() error { return write(fs.OpenRW, name, "xy", 3) },
		func() error { return write(fs.Create, name+"2", "", 0) },
		func() error { return fs.SyncDir(dir) },
		func() error { return fs.Remove(name + "2") },
	}

	for i, do := range steps {
		if err := do(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}

	if names, err := fs.ReadDir(dir); err != nil || !slices.Equal(names, []string{"f"}) {
		t.Error(names, err)
	}
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 4)
	if _, err := f.ReadAt(b, 1); err != nil || string(b) != "bcxy" {
		t.Errorf("%q, %v", b, err)
	}
	if size, err := f.Size(); size != 5 || err != nil {
		t.Error(size, err)
	}
}

// write opens a file, writes text at offset, syncs and closes it.
func write(open func(string) (File, error), name, text string, offset int64) error {
	f, err := open(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), offset)
	return errors.Join(err, f.Sync(), f.Close())
}

func TestRoomThatIsSetAsideReadsAsZeros(t *testing.T) {
	f, err := OS{}.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("ab"), 0); err != nil {
		t.Fatal(err)
	}

	err = errors.Join(f.Allocate(10_000), f.Sync())

	b, want := make([]byte, 10_001), append([]byte("ab"), make([]byte, 9_998)...)
	n, end := f.ReadAt(b, 0)
	if err != nil || end != io.EOF || !slices.Equal(b[:n], want) {
		t.Errorf("%v, %d bytes, %v", err, n, end)
	}
}

// pitfall H13
func TestWhatIsOpenedForWritingIsPrivate(t *testing.T) {
	dir, fs := filepath.Join(t.TempDir(), "d"), OS{}
	name := filepath.Join(dir, "f")
	for _, open := range []func(string) (File, error){fs.Create, fs.OpenRW, fs.Create} {
		if err := fs.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
		if err := write(open, name, "a", 0); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]os.FileMode{dir: 0o700, name: 0o600} {
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
		}
		os.Chmod(dir, 0o755)
		os.Chmod(name, 0o644)
	}
}

func TestErrorsOfTheOperatingSystemAreTold(t *testing.T) {
	missing, fs := filepath.Join(t.TempDir(), "missing"), OS{}
	if _, err := fs.OpenRW(missing); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := fs.SyncDir(missing); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	f, err := fs.Create(missing)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := f.Sync(); err == nil {
		t.Error("a closed file was synced")
	}
	if err := f.Allocate(1); err == nil {
		t.Error("a closed file was made longer")
	}
	if _, err := f.Size(); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}
