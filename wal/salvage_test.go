package wal

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"etcd2/wal/disk"
	"etcd2/wal/disk/disktest"
)

// wreck is what Salvage has found.
type wreck struct {
	sound    []string // texts of records
	before   int      // how many of sound come before the first damage
	unproven []string
	damages  []Damage
}

func salvaged(t *testing.T, d *disktest.Disk) (w wreck) {
	t.Helper()
	calls := d.Calls
	_, err := Salvage("wal", d, func(s Salvaged) {
		switch {
		case s.Damage == nil:
			w.sound = append(w.sound, string(s.Data))
		case s.Kind == 0:
			w.damages = append(w.damages, *s.Damage)
		default:
			w.unproven = append(w.unproven, string(s.Data))
		}
		if len(w.damages) == 0 {
			w.before = len(w.sound)
		}
	})
	if err != nil || d.OpenFiles != 0 || d.Calls != calls {
		t.Fatalf("%v; %d files are open, %d calls have changed something", err, d.OpenFiles, d.Calls-calls)
	}
	return w
}

// numbered returns the texts of appendMany from the i-th up to, but not with, the j-th.
func numbered(i, j, size int) (texts []string) {
	for ; i < j; i++ {
		texts = append(texts, fmt.Sprintf("%0*d", size, i))
	}
	return texts
}

// Salvage finds the batches behind a flipped bit. At most one batch is lost, and at most one more
// can't be proven. Before the bit no batch is lost, and every sound record is what was written.
func TestSalvageGoesOnBehindEveryFlippedBit(t *testing.T) {
	d := disktest.New()
	l := hundred(t, d)
	segments := l.segments
	closeLog(t, l)
	all := numbered(0, 100, 20)
	for _, s := range segments {
		size := len(d.Content(segmentFile(s)))
		for bit := 0; bit < size*8; bit += 9 * stride() {
			copied := d.Kill()
			copied.Content(segmentFile(s))[bit/8] ^= 1 << (bit % 8)
			w := salvaged(t, copied)
			harmless := bit/8 < headerSize || len(w.damages) == 0 &&
				func() bool { _, _, err := replayed(copied, 0); return err == nil }()
			switch {
			case harmless && slices.Equal(w.sound, all):
			case !harmless && len(w.damages) == 1 && w.damages[0].File == segmentFile(s) &&
				w.damages[0].Offset <= int64(bit/8) &&
				slices.Equal(w.sound[:w.before], all[:w.before]) && slices.Equal(w.sound[w.before:],
				all[100-len(w.sound)+w.before:]) &&
				len(w.sound) >= 98 && len(w.unproven) <= 1 && len(w.sound)+len(w.unproven) >= 99:
			default:
				t.Fatalf("%s, bit %d of byte %d: %d records before %+v, %d in all, %q", s.name(), bit%8, bit/8,
					w.before, w.damages, len(w.sound), w.unproven)
			}
		}
	}
}

// A torn tail was never acknowledged, so nothing is lost. Like Open, Salvage reads nothing behind
// it.
func TestSalvageCallsATornTailNoDamage(t *testing.T) {
	for what, tear := range map[string]func(frame []byte){
		"header":  func(frame []byte) { clear(frame[:8]) },
		"payload": func(frame []byte) { clear(frame[frameHeader+1:]) },
	} {
		d := disktest.New()
		l := testLog(t, d, Options{})
		appendMany(t, l, 3, 20)
		torn := d.Kill()
		end := l.at.offset
		tear(torn.Content(segmentFile(l.last()))[end-frameSize(22) : end])
		closeLog(t, l)

		w := salvaged(t, torn)

		if !slices.Equal(w.sound, numbered(0, 2, 20)) || len(w.damages)+len(w.unproven) > 0 {
			t.Errorf("%s: %+v", what, w)
		}
	}
}

// When segments are missing, doubled, swapped or foreign, Salvage finds all that the files hold
// together, in order.
func TestSalvagePutsSegmentsTogether(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{Tag: Tag{1}})
	appendMany(t, l, 30, 100)
	segments := slices.Clone(l.segments)
	closeLog(t, l)
	foreign := disktest.New()
	l = testLog(t, foreign, Options{Tag: Tag{2}})
	appendMany(t, l, 30, 100)
	closeLog(t, l)
	all, frame := numbered(0, 30, 100), int(frameSize(recordsSize([]Record{{1, make([]byte, 100)}})))
	for i, s := range segments {
		from, to := int(s.label), len(all)
		if i+1 < len(segments) {
			to = int(segments[i+1].label)
		}
		lost := map[string]int{ // how many of the segment's last records are lost; other segments lose none
			"removed": to - from, "cut to 0": to - from, "foreign": to - from, "cut": max(0,
				to-from-(900-headerSize)/frame),
		}
		for what, spoil := range spoilings(segments, i, foreign) {
			spoiled := d.Kill()
			spoil(spoiled)

			w := salvaged(t, spoiled)

			want := slices.Delete(slices.Clone(all), to-lost[what], to)
			// as after a Release: the caller knows the first
			told := lost[what] > 0 && !(what == "removed" && i == 0) ||
				what == "cut" && i+1 == len(segments) // nobody knows what stood there
			if !slices.Equal(w.sound, want) || (len(w.damages) == 1) != told || len(w.damages) > 1 ||
				len(w.unproven) > 0 {
				t.Errorf("segment %d of %d %s: %d of %d to %d are lost, and there are %q; %+v",
					s.number, len(segments), what, lost[what], from, to, w.sound, w.damages)
			}
		}
	}
}

// When a disk can't read some pages of a file, only the records in these pages are lost.
func TestSalvageGoesOnBehindPagesThatCannotBeRead(t *testing.T) {
	d := disktest.New()
	l := testLog(t, d, Options{SegmentBytes: 40 << 10})
	appendMany(t, l, 300, 100)
	closeLog(t, l)
	if _, err := Scan("wal", bad{d}, func(string, int64, Record) error { return nil }); err == nil {
		t.Fatal("the log can be read")
	}
	var sound []string
	places := 0
	_, err := Salvage("wal", bad{d}, func(s Salvaged) {
		if s.Damage == nil {
			sound = append(sound, string(s.Data))
		} else if s.Kind == 0 {
			places++
		}
	})
	all := numbered(0, 300, 100)
	if n := len(sound); err != nil || places == 0 || places > 2 || n < 230 || n >= 300 || !slices.Equal(sound[n-100:],
		all[200:]) || sound[50] != all[50] {
		t.Errorf("%v: %d records, %d places", err, n, places)
	}
}

// bad is a disk whose files can't be read between the offsets 10,000 and 16,000.
type bad struct{ *disktest.Disk }

func (b bad) Open(name string) (disk.File, error) {
	f, err := b.Disk.Open(name)
	return badFile{f}, err
}

type badFile struct{ disk.File }

func (f badFile) ReadAt(b []byte, offset int64) (int, error) {
	if offset < 16_000 && offset+int64(len(b)) > 10_000 {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(b, offset)
}

func TestWhereNoSegmentIsThereIsNothingToSalvage(t *testing.T) {
	d := disktest.New()
	d.Mkdir("wal")
	d.SetContent("wal/x.wal", []byte(strings.Repeat("x", 100)))
	for _, dir := range []string{"wal", "none"} {
		if _, err := Salvage(dir, d, func(Salvaged) {}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
