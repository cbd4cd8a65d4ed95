package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestALogLivesOnTheOperatingSystemsFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wal")
	o := Options{SegmentBytes: 4096}
	if err := Create(dir, o); err != nil {
		t.Fatal(err)
	}
	total := 0
	for range 3 {
		n := 0
		l, torn, err := Open(dir, o, func(r Record) error {
			n++
			return nil
		})
		if err != nil || torn != (Repair{}) || n != total {
			t.Fatalf("%d records of %d, %+v, %v", n, total, torn, err)
		}
		for range 50 {
			appendText(t, l, uint64(total), fmt.Sprintf("%0200d", total))
			total++
		}
		if err := l.Release(uint64(total/2), 100); err != nil {
			t.Fatal(err)
		}
		if texts, err := readTexts(l, 0); err != nil || len(texts) != total {
			t.Fatalf("%d records of %d read: %v", len(texts), total, err)
		}
		closeLog(t, l)
	}
	if err := Create(dir, o); !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
}

// pitfall H13
func TestNobodyElseMayReadALog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wal")
	if err := Create(dir, Options{SegmentBytes: 4096}); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	for _, open := range []bool{false, true} {
		if open {
			os.Chmod(dir, 0o755)
			os.Chmod(segments[0], 0o644)
			l, _, err := Open(dir, Options{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			closeLog(t, l)
		}
		for path, want := range map[string]os.FileMode{dir: 0o700, segments[0]: 0o600} {
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
		}
	}
}

func TestErrorsOfTheOperatingSystemNameTheFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wal")
	_, _, err := Open(dir, Options{}, nil)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), dir) {
		t.Error(err)
	}
	if err := Create(filepath.Join(dir, "below", "nothing"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(dir, Options{}); err == nil {
		t.Error("created over a file")
	}
}
