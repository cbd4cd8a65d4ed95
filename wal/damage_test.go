package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"etcd2/wal/disk/disktest"
)

// hundred is a log of 100 records in 2 segments, as it is while it is open.
func hundred(t *testing.T, d *disktest.Disk) *Log {
	l := testLog(t, d, Options{SegmentBytes: 4000})
	appendMany(t, l, 100, 20)
	if len(l.segments) != 2 {
		t.Fatalf("%d segments", len(l.segments))
	}
	return l
}

func segmentFile(s segment) string { return "wal/" + s.name() }

// After a clean stop, every flipped bit of a log is found and reported with file
// and offset, or it does no harm: every record that was written is read.
//
// pitfall H2, pitfall H3, pitfall H14
func TestEveryFlippedBitIsFoundOrHarmless(t *testing.T) {
	d := disktest.New()
	l := hundred(t, d)
	segments := l.segments
	closeLog(t, l)
	found, harmless := 0, 0
	for _, s := range segments {
		size := len(d.Content(segmentFile(s)))
		for bit := 0; bit < size*8; bit += stride() {
			copied := d.Kill()
			copied.Content(segmentFile(s))[bit/8] ^= 1 << (bit % 8)
			texts, torn, err := replayed(copied, 0)
			var damage *Damage
			switch {
			case err == nil && len(texts) == 100:
				harmless++
			case errors.As(err, &damage) && damage.File == segmentFile(s):
				found++
			default:
				t.Fatalf("%s, bit %d of byte %d: %d records, %+v, %v", s.name(), bit%8, bit/8, len(texts), torn, err)
			}
		}
	}
	t.Logf("%d flips found, %d harmless", found, harmless)
}

// Without a clean stop, only the very last batch can be taken for torn.
//
// pitfall H2
func TestAFlippedBitBelowTheLastBatchIsNeverATornTail(t *testing.T) {
	d := disktest.New()
	l := hundred(t, d)
	last := l.last()
	lastFrame := int(last.end - frameSize(recordsSize([]Record{{1, make([]byte, 20)}})))
	for bit := 0; bit < int(last.end)*8; bit += stride() {
		copied := d.Kill()
		copied.Content(segmentFile(last))[bit/8] ^= 1 << (bit % 8)
		texts, torn, err := replayed(copied, 0)
		switch {
		case errors.As(err, new(*Damage)):
		case err == nil && len(texts) == 100:
		case err == nil && len(texts) == 99 && bit/8 >= lastFrame && torn.Offset == int64(lastFrame):
		default:
			t.Fatalf("bit %d of byte %d: %d records, %+v, %v", bit%8, bit/8, len(texts), torn, err)
		}
	}
	closeLog(t, l)
}

// The rest of a torn batch is cut off and reported. It never comes back, however
// short the batches are that are written in its place.
//
// pitfall H7
func TestWhatRemainsOfATornBatchIsZeroed(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{SegmentBytes: 4096})
	appendText(t, l, 1, "one")
	appendText(t, l, 2, strings.Repeat("x", 2000))
	torn := d.Kill()
	start := l.at.offset - frameSize(2003)
	file := torn.Content(segmentFile(l.last()))
	clear(file[start : start+512])
	closeLog(t, l)

	texts, repair, err := replayed(torn, 0)

	want := Repair{segmentFile(l.last()), start, 24 + 2003, "no frame begins here"}
	if err != nil || len(texts) != 1 || repair != want {
		t.Fatalf("%d records, %+v instead of %+v, %v", len(texts), repair, want, err)
	}
	l = testLog(t, torn, Options{})
	appendText(t, l, 2, "two")
	end := l.at.offset
	closeLog(t, l)
	if rest := torn.Content(segmentFile(l.last()))[end+markSize:]; slices.ContainsFunc(rest,
		func(b byte) bool { return b != 0 }) {
		t.Fatal("old bytes stand behind the new batch")
	}
}

func TestTheFirstFrameOfASegmentIsNeverTorn(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{})
	for len(l.segments) < 2 {
		appendText(t, l, 1, strings.Repeat("x", 200))
	}
	d.Content(segmentFile(l.last()))[headerSize+40]++

	_, _, err := replayed(d, 0)

	wantDamage(t, err, segmentFile(l.last()), headerSize)
	closeLog(t, l)
}

// A frame that passes its own checks and is not the next one in order is damage:
// no crash leaves such a frame.
func TestASoundFrameThatIsNotDueIsDamage(t *testing.T) {
	for what, forge := range map[string]func(f *frame){
		"a batch is missing":               func(f *frame) { f.batch++ },
		"it is longer than the segment":    func(f *frame) { f.length = 5000 },
		"it is longer than any allocation": func(f *frame) { f.length = 1<<32 - 1 },
	} {
		d := disktest.New()
		l := testLog(t, d, Options{})
		appendText(t, l, 1, "one")
		f := frame{8, l.at.batch, l.at.sum, l.at.offset}
		forge(&f)
		f.put(d.Content(segmentFile(l.last()))[l.at.offset:], l.last().salt)

		_, _, err := replayed(d, 0)

		wantDamage(t, err, segmentFile(l.last()), l.at.offset)
		if strings.Contains(err.Error(), "but a later") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestARecordLongerThanItsBatchIsDamage(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{})
	appendText(t, l, 1, "one")
	b, _ := appendFrame(nil, l.at, l.last().salt, []Record{{1, []byte("long")}})
	b[frameHeader+1] = 5
	sum := l.at
	payload := b[frameHeader : frameHeader+6]
	frame{6, sum.batch, crc32.Update(sum.sum, castagnoli, payload), sum.offset}.put(b, l.last().salt)
	copy(d.Content(segmentFile(l.last()))[l.at.offset:], b)

	_, _, err := replayed(d, 0)

	wantDamage(t, err, segmentFile(l.last()), l.at.offset+frameHeader)
}

// spoilings are ways to spoil a log's i-th segment as a whole. foreign is another log with the same
// number of segments.
func spoilings(segments []segment, i int, foreign *disktest.Disk) map[string]func(d *disktest.Disk) {
	s := segments[i]
	name := segmentFile(s)
	return map[string]func(d *disktest.Disk){
		"removed":  func(d *disktest.Disk) { d.Remove(name) },
		"cut":      func(d *disktest.Disk) { d.SetContent(name, d.Content(name)[:900]) },
		"cut to 0": func(d *disktest.Disk) { d.SetContent(name, nil) },
		"longer":   func(d *disktest.Disk) { d.SetContent(name, append(d.Content(name), 0)) },
		"foreign":  func(d *disktest.Disk) { d.SetContent(name, slices.Clone(foreign.Content(name))) },
		"swapped with the next": func(d *disktest.Disk) {
			next := segmentFile(segments[(i+1)%len(segments)])
			a, b := d.Content(name), d.Content(next)
			d.SetContent(name, b)
			d.SetContent(next, a)
		},
		"copied behind the last": func(d *disktest.Disk) {
			copyAs(d, name, header{number: uint64(len(segments) + 1), label: s.label})
		},
		"doubled with another label": func(d *disktest.Disk) {
			copyAs(d, name, header{number: s.number, label: s.label + 1})
		},
		"made anew with another label": func(d *disktest.Disk) {
			copyAs(d, name, header{number: s.number, label: s.label + 1})
			h := s.header
			h.label++
			b, _ := h.append(nil)
			copy(d.Content(segmentFile(segment{header: h})), b)
		},
		"with another name": func(d *disktest.Disk) { d.Rename(name, "wal/x.wal") },
	}
}

// pitfall H5
func TestASegmentMissingDoubledSwappedOrForeignIsRefused(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{Tag: Tag{1}})
	appendMany(t, l, 30, 100)
	segments := slices.Clone(l.segments)
	closeLog(t, l)
	foreign := disktest.New()
	l = testLog(t, foreign, Options{Tag: Tag{2}})
	appendMany(t, l, 30, 100)
	closeLog(t, l)
	open := func(d *disktest.Disk) error {
		_, _, err := Open("wal", Options{FS: d, Tag: Tag{1}}, func(Record) error { return nil })
		return err
	}
	if len(segments) < 4 {
		t.Fatalf("%d segments", len(segments))
	}
	reason := map[string]string{
		"removed":                      "is missing",
		"doubled with another label":   "the file holds segment",
		"made anew with another label": "is there twice",
		"foreign":                      "belongs to another log",
		"with another name":            "not the name of a segment",
	}

	for i, s := range segments {
		for what, spoil := range spoilings(segments, i, foreign) {
			spoiled := d.Kill()
			spoil(spoiled)
			err := open(spoiled)
			if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "wal/") {
				t.Errorf("segment %d %s: %v", s.number, what, err)
			}
			if i > 0 && !strings.Contains(err.Error(), reason[what]) {
				t.Errorf("segment %d %s: %v", s.number, what, err)
			}
			if spoiled.OpenFiles != 0 {
				t.Errorf("segment %d %s: %d files are still open", s.number, what, spoiled.OpenFiles)
			}
		}
	}
	if err := open(foreign); err == nil || !strings.Contains(err.Error(), "belongs to") {
		t.Errorf("another log: %v", err)
	}
	if err := open(d); err != nil {
		t.Errorf("unspoiled: %v", err)
	}
}

func copyAs(d *disktest.Disk, name string, h header) {
	d.SetContent("wal/"+h.name(), slices.Clone(d.Content(name)))
}

// pitfall H5
func TestAHeaderThatDoesNotGoOnFromTheSegmentBeforeIsDamage(t *testing.T) {
	for what, forge := range map[string]func(h *header){
		"end before the first frame": func(h *header) { h.previousEnd = headerSize - 8 },
		"end behind the segment":     func(h *header) { h.previousEnd = 1 << 20 },
		"batch goes back":            func(h *header) { h.batch = 0 },
	} {
		d := disktest.New()
		l := testLog(t, d, Options{})
		appendMany(t, l, 30, 100)
		h := l.segments[1].header
		closeLog(t, l)
		file := "wal/" + h.name()
		forge(&h)
		b, _ := h.append(nil)
		copy(d.Content(file), b)

		_, _, err := replayed(d, 1<<63)

		t.Log(what)
		wantDamage(t, err, file, 12)
	}
}

// A segment of the same log at another time has the right tag, name and size; the
// sums and batch numbers tell that it does not belong here.
//
// pitfall H5
func TestASegmentOfAnotherTimeIsRefused(t *testing.T) {
	d, other := disktest.New(), disktest.New()
	for i, d := range []*disktest.Disk{d, other} {
		l := testLog(t, d, Options{})
		appendText(t, l, 0, fmt.Sprint("log ", i))
		appendMany(t, l, 30, 100)
		closeLog(t, l)
	}
	segments, err := listSegments(d, "wal")
	if err != nil {
		t.Fatal(err)
	}

	for i, s := range segments[1:] {
		spoiled := d.Kill()
		spoiled.SetContent(segmentFile(s), slices.Clone(other.Content(segmentFile(s))))
		_, _, err := replayed(spoiled, 0)
		wantDamage(t, err, segmentFile(segments[i]), segments[i].end)
	}
}

// pitfall B15
func TestReadFindsDamageUnderARunningLog(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{})
	appendMany(t, l, 30, 100)
	closed, last := l.segments[1], l.last()

	for _, s := range []segment{closed, last} {
		d.Content(segmentFile(s))[headerSize+50] ^= 4
		texts, err := readTexts(l, 0)
		wantDamage(t, err, segmentFile(s), headerSize)
		if len(texts) == 0 || len(texts) >= 30 {
			t.Errorf("%d records before the damage", len(texts))
		}
		d.Content(segmentFile(s))[headerSize+50] ^= 4
	}
	d.Content(segmentFile(closed))[30] ^= 1
	_, err := readTexts(l, 0)
	wantDamage(t, err, segmentFile(closed), 0)
	d.Content(segmentFile(closed))[30] ^= 1

	if texts, err := readTexts(l, 0); err != nil || len(texts) != 30 {
		t.Fatalf("%d records, %v", len(texts), err)
	}
	closeLog(t, l)
}

func TestDumpTellsATornTailAndLeavesIt(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{})
	appendText(t, l, 1, "one")
	appendText(t, l, 2, "two")
	torn := d.Kill()
	end := l.at.offset
	torn.Content(segmentFile(l.last()))[end-4]++
	closeLog(t, l)

	var texts []string
	err := Dump("wal", torn, func(_ string, _ int64, r Record) error {
		texts = append(texts, string(r.Data))
		return nil
	})

	want := fmt.Sprintf("%s: offset %d: 29 bytes of a torn tail", segmentFile(l.last()), end-32)
	if err == nil || !strings.Contains(err.Error(), want) || len(texts) != 1 || torn.Calls != 0 {
		t.Fatalf("%q, %v", texts, err)
	}
}
