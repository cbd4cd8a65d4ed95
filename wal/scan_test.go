package wal

import (
	"errors"
	"os"
	"testing"

	"etcd2/wal/disk/disktest"
)

func TestAScanTellsWhatIsThereAndChangesNothing(t *testing.T) {
	d := disktest.New()
	o := Options{FS: d, Tag: Tag{7}, SegmentBytes: 1 << 10}
	if err := Create("log", o); err != nil {
		t.Fatal(err)
	}
	l, _, err := Open("log", o, func(Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := l.Append(uint64(i), []Record{{Kind: 1, Data: make([]byte, 100)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Release(10, 0); err != nil {
		t.Fatal(err)
	}
	first, names, kept := l.First(), 0, 0
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	now := d.Kill()
	now.Fault = func(int, string, string) error { t.Error("something was changed"); return nil }

	f, err := Scan("log", now, func(string, int64, Record) error { kept++; return nil })

	all, _ := now.ReadDir("log")
	for _, name := range all {
		if _, ok := parseName(name); ok {
			names++
		}
	}
	if err != nil || f.Tag != o.Tag || f.First != first || f.Segments != names || f.Torn != (Repair{}) ||
		kept == 0 || kept == 20 {
		t.Errorf("%+v with %d records, %v; want %d segments from %d on", f, kept, err, names, first)
	}
	if _, err := Scan("nowhere", d, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no log: %v", err)
	}
}

// The writer begins a new segment, again and again, while Scan reads the one that was the last.
func TestAScanOfALogThatGrowsSeesItAsItWas(t *testing.T) {
	d := disktest.New()
	o := Options{FS: d, SegmentBytes: 1 << 20} // much more than is read ahead
	if err := Create("log", o); err != nil {
		t.Fatal(err)
	}
	l, _, err := Open("log", o, func(Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	write := func() {
		if err := l.Append(0, []Record{{Kind: 1, Data: make([]byte, 100<<10)}}); err != nil {
			t.Fatal(err)
		}
	}
	write()
	for range 8 {
		seen := 0
		_, err := Scan("log", d, func(string, int64, Record) error {
			if seen++; seen == 1 {
				for range 12 {
					write()
				}
			}
			return nil
		})
		if err != nil || seen == 0 {
			t.Fatalf("%d records, %v", seen, err)
		}
	}
}

// When segments are released while Scan reads, it does not report that there is no log.
func TestAScanThatReleaseOvertakesIsTold(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{})
	defer closeLog(t, l)
	appendMany(t, l, 40, 200)
	seen := 0

	_, err := Scan("wal", d, func(string, int64, Record) error {
		seen++
		return l.Release(30, 0)
	})

	if !errors.Is(err, ErrReleased) || errors.Is(err, os.ErrNotExist) || seen == 0 {
		t.Errorf("after %d records: %v", seen, err)
	}
}
