package wal

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"etcd2/wal/disk"
	"etcd2/wal/disk/disktest"
)

// testLog is a log on a disk in memory, opened.
func testLog(t *testing.T, d disk.FS, o Options) *Log {
	t.Helper()
	o.FS = d
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 1024
	}
	if _, err := d.ReadDir("wal"); err != nil {
		if err := Create("wal", o); err != nil {
			t.Fatal(err)
		}
	}
	l, torn, err := Open("wal", o, func(Record) error { return nil })
	if err != nil || torn != (Repair{}) {
		t.Fatalf("open: %v, %+v", err, torn)
	}
	return l
}

// appendText appends a batch of one record.
func appendText(t *testing.T, l *Log, label uint64, text string) {
	t.Helper()
	if err := l.Append(label, []Record{{1, []byte(text)}}); err != nil {
		t.Fatal(err)
	}
	if l.spare != nil {
		<-l.spare.done
	}
}

// appendMany appends n batches of one record of size bytes, the i-th with label i.
func appendMany(t *testing.T, l *Log, n, size int) {
	t.Helper()
	for i := range n {
		appendText(t, l, uint64(i), fmt.Sprintf("%0*d", size, i))
	}
}

func closeLog(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// replayed opens the log, returns the texts of its records, and closes it.
func replayed(d *disktest.Disk, from uint64) (texts []string, torn Repair, err error) {
	l, torn, err := Open("wal", Options{FS: d, From: from}, func(r Record) error {
		texts = append(texts, string(r.Data))
		return nil
	})
	if err == nil {
		err = l.Close()
	}
	return texts, torn, err
}

// Read yields the records that a Reader yields, one after the other.
func (l *Log) Read(from uint64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		r, err := l.Reader(from)
		if err != nil {
			yield(Record{}, err)
			return
		}
		for batch, err := range r.Batches() {
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, record := range batch {
				if !yield(record, nil) {
					return
				}
			}
		}
	}
}

func readTexts(l *Log, from uint64) (texts []string, err error) {
	for r, err := range l.Read(from) {
		if err != nil {
			return texts, err
		}
		texts = append(texts, string(r.Data))
	}
	return texts, nil
}

// wantDamage checks that err is damage, of the file and at the offset, in one line.
func wantDamage(t *testing.T, err error, file string, offset int64) {
	t.Helper()
	var damage *Damage
	if !errors.As(err, &damage) || damage.File != file || damage.Offset != offset {
		t.Fatalf("want damage of %s at %d, got %v", file, offset, err)
	}
	line := err.Error()
	if strings.Contains(line, "\n") || !strings.Contains(line, fmt.Sprintf("%s: offset %d: ", file, offset)) {
		t.Fatalf("not one line with file and offset: %q", line)
	}
}

func TestReplayGivesWhatWasAppended(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{})
	want := []Record{{1, nil}, {255, []byte{0}}, {7, bytes.Repeat([]byte("x"), 700)},
		{7, bytes.Repeat([]byte("y"), 5000)}}
	for i := range want {
		if err := l.Append(uint64(i), want[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Append(9, want); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)

	var got []Record
	l, _, err := Open("wal", Options{FS: d}, func(r Record) error {
		got = append(got, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)

	same := func(a, b Record) bool { return a.Kind == b.Kind && bytes.Equal(a.Data, b.Data) }
	if !slices.EqualFunc(got, append(slices.Clone(want), want...), same) {
		t.Fatalf("got %d records, want %d twice", len(got), len(want))
	}
}

func TestABatchLargerThanASegmentGetsOneOfItsOwn(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{})
	appendText(t, l, 1, "small")

	appendText(t, l, 2, strings.Repeat("x", 10_000))

	if size := l.last().size; size < 10_000 || size > 10_200 {
		t.Fatalf("the segment of a batch of 10000 bytes has %d", size)
	}
	closeLog(t, l)
	texts, _, err := replayed(d, 0)
	if err != nil || len(texts) != 2 || len(texts[1]) != 10_000 {
		t.Fatalf("%d records, %v", len(texts), err)
	}
}

func TestTheKindZeroIsRefused(t *testing.T) {
	l := testLog(t, disktest.New(), Options{})
	defer closeLog(t, l)
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	l.Append(1, []Record{{0, nil}})
}

func TestABatchBeyondAllMeasureIsRefused(t *testing.T) {
	l := testLog(t, disktest.New(), Options{})
	mebibyte := Record{1, make([]byte, 1<<20)}

	err := l.Append(1, slices.Repeat([]Record{mebibyte}, maxPayload>>20))

	if err == nil || !strings.Contains(err.Error(), "too large") {
		t.Fatal(err)
	}
}

func TestEverySegmentBeginsWithThePreamble(t *testing.T) {
	d, calls := disktest.New(), 0
	l := testLog(t, d, Options{Preamble: func() []Record {
		calls++
		return []Record{{9, fmt.Appendf(nil, "preamble %d", calls)}}
	}})
	appendMany(t, l, 20, 200)
	last := l.last().label
	closeLog(t, l)

	texts, _, err := replayed(d, last)

	if err != nil || texts[0] != fmt.Sprintf("preamble %d", calls) || texts[1] != fmt.Sprintf("%0200d", last) {
		t.Fatalf("%.20q, %v", texts, err)
	}
}

// A log whose entries are overwritten has labels that go back: reading starts at
// the last segment whose label is not above the one asked for, so no record that still
// counts is missed.
func TestReadingStartsAtTheLastSegmentNotAbove(t *testing.T) {
	l := testLog(t, disktest.New(), Options{SegmentBytes: 300})
	defer closeLog(t, l)
	big := strings.Repeat("x", 200)
	for _, label := range []uint64{5, 100, 200, 150, 300} { // one segment each, but 5 shares none with 0
		appendText(t, l, label, fmt.Sprint(label, big))
	}

	for from, want := range map[uint64]string{120: "100", 160: "150", 250: "150", 149: "100", 300: "300",
		1 << 63: "300"} {
		texts, err := readTexts(l, from)
		if err != nil || !strings.HasPrefix(texts[0], want) {
			t.Errorf("from %d: begins with %.4s, not %s: %v", from, texts[0], want, err)
		}
	}
}

func TestReleaseRemovesWhatNoReaderFromTheLabelOnNeeds(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{})
	appendMany(t, l, 40, 200)
	all := len(l.segments)

	if err := l.Release(25, 2); err != nil {
		t.Fatal(err)
	}
	kept := len(l.segments)
	if err := l.Release(25, 0); err != nil {
		t.Fatal(err)
	}

	if l.First() != l.segments[0].label {
		t.Errorf("the log begins at label %d, and says %d", l.segments[0].label, l.First())
	}
	if len(l.segments) != kept-2 || kept >= all || l.segments[0].label > 25 || l.segments[1].label <= 25 {
		t.Fatalf("of %d segments %d and then %d stayed, the first with label %d", all, kept, len(l.segments),
			l.segments[0].label)
	}
	texts, err := readTexts(l, 25)
	if err != nil || texts[len(texts)-1] != fmt.Sprintf("%0200d", 39) {
		t.Fatalf("%d records, %v", len(texts), err)
	}
	if _, err := readTexts(l, 3); !errors.Is(err, ErrReleased) {
		t.Fatalf("reading what was released: %v", err)
	}
	closeLog(t, l)
	if _, _, err := replayed(d, 3); !errors.Is(err, ErrReleased) {
		t.Fatalf("replaying what was released: %v", err)
	}
	if _, _, err := replayed(d, 25); err != nil {
		t.Fatal(err)
	}
}

// A batch that replaces others may begin a segment with a label below that of the segment before.
func TestFirstIsTheLowestLabelThoughLabelsGoBack(t *testing.T) {
	l := testLog(t, disktest.New(), Options{})
	for _, label := range []uint64{1, 50, 20, 21} {
		appendText(t, l, label, fmt.Sprintf("%0900d", label))
	}

	before := l.First()
	err := l.Release(20, 1)
	after := l.First()

	if err != nil || before != 0 || after != 20 {
		t.Errorf("first %d before the release, and %d after it (%v)", before, after, err)
	}
	for _, err := range l.Read(after) {
		if err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
}

func TestReleaseNeverRemovesTheLastSegment(t *testing.T) {
	l := testLog(t, disktest.New(), Options{})
	defer closeLog(t, l)
	appendMany(t, l, 40, 200)

	if err := l.Release(1<<63, 0); err != nil {
		t.Fatal(err)
	}

	if texts, err := readTexts(l, 1<<63); err != nil || len(texts) == 0 {
		t.Fatal(texts, err)
	}
}

func TestAReaderThatReleaseOvertakesIsTold(t *testing.T) {
	l := testLog(t, disktest.New(), Options{})
	defer closeLog(t, l)
	appendMany(t, l, 40, 200)

	var last error
	for _, err := range l.Read(0) {
		if err == nil {
			err = l.Release(30, 0)
		}
		last = err
	}

	if !errors.Is(last, ErrReleased) {
		t.Fatal(last)
	}
}

func TestBytesCountsFromTheSegmentThatReadWouldStartAt(t *testing.T) {
	l := testLog(t, disktest.New(), Options{})
	defer closeLog(t, l)
	before := l.Bytes(0)
	appendMany(t, l, 40, 200)
	frame := frameSize(recordsSize([]Record{{1, make([]byte, 200)}}))

	whole, last := l.Bytes(0), l.Bytes(1<<63)

	if whole-before != 40*frame {
		t.Errorf("40 frames of %d bytes count %d", frame, whole-before)
	}
	if want := l.last().end - headerSize; last != want {
		t.Errorf("the last segment counts %d, not %d", last, want)
	}
	if err := l.Release(39, 0); err != nil {
		t.Fatal(err)
	}
	if got := l.Bytes(0); got != l.Bytes(1<<63) {
		t.Errorf("from before the first segment it counts %d, not all that is there", got)
	}
}

func TestANextSegmentIsPreparedOnlyWhenThisOneIsHalfFull(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{SegmentBytes: 4096})
	calls := d.Calls

	for l.at.offset+232 <= 2048 {
		appendText(t, l, 1, strings.Repeat("x", 200))
		calls += 2
	}
	if d.Calls != calls {
		t.Fatalf("%d calls more than a write and a sync for each batch", d.Calls-calls)
	}
	appendText(t, l, 1, strings.Repeat("x", 200))

	names, err := d.ReadDir("wal")
	if err != nil || !slices.Contains(names, asideName(2)) {
		t.Fatal(names, err)
	}
	closeLog(t, l)
	if names, err = d.ReadDir("wal"); err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
}

// pitfall I7
func TestAnErrorOfReplayStopsTheStart(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{})
	appendText(t, l, 1, "one")
	appendText(t, l, 2, "two")
	closeLog(t, l)
	unknown := errors.New("kind 77 is unknown")

	_, _, err := Open("wal", Options{FS: d}, func(r Record) error {
		if string(r.Data) == "two" {
			return unknown
		}
		return nil
	})

	if want := "0000000000000001-0000000000000000.wal: offset 144: kind 77 is unknown"; !errors.Is(err, unknown) ||
		!strings.HasSuffix(err.Error(), want) {
		t.Fatal(err)
	}
	if d.OpenFiles != 0 {
		t.Fatalf("%d files are still open", d.OpenFiles)
	}
}

// pitfall H10, pitfall H11
func TestALogIsCreatedOnceAndNeverTakenForGranted(t *testing.T) {
	d := disktest.New()
	if _, _, err := replayed(d, 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("opening no directory: %v", err)
	}
	if err := d.Mkdir("wal"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := replayed(d, 0); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(),
		"wal: no segment is there") {
		t.Errorf("opening an empty directory: %v", err)
	}
	for _, want := range []error{nil, os.ErrExist} {
		if err := Create("wal", Options{FS: d}); !errors.Is(err, want) {
			t.Errorf("creating in a directory: %v, want %v", err, want)
		}
	}
}

func TestReadSeesOnlyWhatIsDurable(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{SegmentBytes: 2000})
	const n = 300
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for seen := 0; seen < n; {
				texts, err := readTexts(l, 0)
				if err != nil || len(texts) < seen {
					t.Errorf("%d records after %d: %v", len(texts), seen, err)
					return
				}
				for i, text := range texts {
					if text != fmt.Sprintf("%050d", i) {
						t.Errorf("record %d is %s", i, text)
						return
					}
				}
				seen = len(texts)
			}
		})
	}

	appendMany(t, l, n, 50)

	readers.Wait()
	closeLog(t, l)
}

func TestAReaderMayStop(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{})
	defer closeLog(t, l)
	appendMany(t, l, 20, 100)
	open := d.OpenFiles

	seen := 0
	for _, err := range l.Read(0) {
		if seen++; err != nil || seen == 7 {
			break
		}
	}

	if seen != 7 || d.OpenFiles != open {
		t.Fatalf("%d records, %d files open more", seen, d.OpenFiles-open)
	}
}

func TestDumpShowsEveryRecordWithItsPlace(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{Tag: Tag{7}})
	appendMany(t, l, 20, 100)
	if err := l.Append(20, []Record{{1, []byte("ab")}, {2, []byte("cd")}}); err != nil {
		t.Fatal(err)
	}
	calls, open := d.Calls, d.OpenFiles

	var texts []string
	var offsets []int64
	err := Dump("wal", d, func(file string, offset int64, r Record) error {
		b := make([]byte, len(r.Data))
		f, err := d.Open(file)
		if err != nil {
			return err
		}
		f.ReadAt(b, offset+2)
		if !bytes.Equal(b, r.Data) {
			t.Errorf("at %d of %s there is %q, not %q", offset, file, b, r.Data)
		}
		texts, offsets = append(texts, string(r.Data)), append(offsets, offset)
		return f.Close()
	})

	if err != nil || len(texts) != 22 || offsets[21]-offsets[20] != 4 {
		t.Fatalf("%d records, %v", len(texts), err)
	}
	if d.Calls != calls || d.OpenFiles != open {
		t.Fatal("dump changed the disk")
	}
	closeLog(t, l)
}

func TestTheOwnerOfALogCanBeAsked(t *testing.T) {
	d := disktest.New()
	if _, _, err := Head("wal", d); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	preamble := func() []Record { return []Record{{7, []byte("whose")}} }
	closeLog(t, testLog(t, d, Options{Tag: Tag{4, 2}, Preamble: preamble}))

	tag, recs, err := Head("wal", d)

	if err != nil || tag != (Tag{4, 2}) || len(recs) == 0 || recs[0].Kind != 7 {
		t.Fatal(tag, recs, err)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	l := testLog(t, disktest.New(), Options{SegmentBytes: 1 << 20})
	l.file = void{}
	recs := []Record{{1, make([]byte, 300)}, {2, make([]byte, 300)}}

	allocations := testing.AllocsPerRun(100, func() { l.Append(1, recs) })

	if allocations != 0 {
		t.Fatalf("%v allocations a batch", allocations)
	}
	closeLog(t, l)
}

// void is a file that accepts every write and keeps nothing.
type void struct{ disk.File }

func (void) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (void) Sync() error                            { return nil }
func (void) Close() error                           { return nil }
