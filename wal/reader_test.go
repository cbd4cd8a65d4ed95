package wal

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"etcd2/wal/disk/disktest"
)

// readOn reads the next n batches, or fewer at the end, and returns the texts of their records.
func readOn(r *Reader, n int) (texts []string, err error) {
	for batch, err := range r.Batches() {
		if err != nil {
			return texts, err
		}
		for _, record := range batch {
			texts = append(texts, string(record.Data))
		}
		if n--; n <= 0 {
			return texts, nil
		}
	}
	return texts, nil
}

func testReader(t *testing.T, l *Log, from uint64) *Reader {
	t.Helper()
	r, err := l.Reader(from)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A log read in pieces is the same however it is divided: also where a piece ends with a segment,
// at a mark, or at the end of the log, which then grows.
func TestAReaderGoesOnWhereItStopped(t *testing.T) {
	for piece := 1; piece <= 7; piece++ {
		d := disktest.New()
		l := testLog(t, d, Options{})
		appendMany(t, l, 10, 100)
		closeLog(t, l)
		l = testLog(t, d, Options{}) // behind a mark, in the middle of a segment
		r := testReader(t, l, 0)
		var got []string
		for i := 10; i < 60; i++ {
			appendText(t, l, uint64(i), fmt.Sprintf("%0*d", 100, i))
			if i%piece == 0 {
				texts, err := readOn(r, piece)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, texts...)
			}
		}

		rest, err := readOn(r, 100)
		none, end := readOn(r, 100)

		want, whole := readTexts(l, 0)
		if got = append(got, rest...); !slices.Equal(got, want) || len(want) != 60 || len(l.segments) < 5 ||
			len(none) != 0 {
			t.Errorf("in pieces of %d batches it reads %d of %d records in %d segments, and then %d", piece, len(got),
				len(want), len(l.segments), len(none))
		}
		if err := errors.Join(err, end, whole); err != nil {
			t.Error(err)
		}
		closeLog(t, l)
		if d.OpenFiles != 0 {
			t.Errorf("%d files are open", d.OpenFiles)
		}
	}
}

func TestAReaderHindersNoReleaseAndIsTold(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{})
	appendMany(t, l, 40, 100)
	early, late := testReader(t, l, 0), testReader(t, l, 30)
	if _, err := readOn(early, 2); err != nil {
		t.Fatal(err)
	}

	if err := l.Release(30, 0); err != nil {
		t.Fatal(err)
	}
	_, gone := readOn(early, 1)
	texts, err := readOn(late, 100)

	if names, _ := d.ReadDir("wal"); len(names) > len(l.segments)+1 { // and the spare
		t.Errorf("these files are left: %v", names)
	}
	if !errors.Is(gone, ErrReleased) || err != nil || texts[len(texts)-1] != fmt.Sprintf("%0100d", 39) {
		t.Errorf("the one ends with %v, the other reads %d records, %v", gone, len(texts), err)
	}
	closeLog(t, l)
	if _, err := readOn(late, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed log it reads with %v", err)
	}
}

// pitfall B15
func TestAReaderFindsDamageThatCameBehindIt(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{SegmentBytes: 4096})
	appendMany(t, l, 10, 100)
	r := testReader(t, l, 0)
	if _, err := readOn(r, 5); err != nil {
		t.Fatal(err)
	}
	file := "wal/" + l.segments[0].name()
	next := r.at.offset
	d.Content(file)[next-8] ^= 1 // this has been read
	d.Content(file)[next+frameHeader+5] ^= 1

	_, err := readOn(r, 1)

	wantDamage(t, err, file, next)
	closeLog(t, l)
}
