package snap

import (
	"bytes"
	"errors"
	"testing"

	"etcd2/wal/disk/disktest"
)

// streamed is the file of the snapshot at index, as a Stream writes it.
func streamed(t *testing.T, index uint64) []byte {
	t.Helper()
	var out bytes.Buffer
	s, err := NewStream(&out, index, testMeta(index))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(testBody(index)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAStreamWritesTheSameFile(t *testing.T) {
	for index := uint64(1); index <= 10; index++ {
		file, want := streamed(t, index), testFiles.Content(fileName(index))
		if !bytes.Equal(file, want) {
			t.Errorf("snapshot %d: %d bytes, want those %d of the file", index, len(file), len(want))
		}
	}
}

func TestAStreamThatWasCutIsRefused(t *testing.T) {
	file := streamed(t, 4) // of two blocks
	d := disktest.New()
	for cut := 0; cut < len(file); cut += max(1, len(file)/997) {
		d.SetContent("f", file[:cut])
		r, err := OpenFile("f", d)
		if err == nil {
			err = r.Verify()
		}
		var damage *Damage
		if !errors.As(err, &damage) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

// short is a writer with room for a number of bytes.
type short struct {
	room int
	got  bytes.Buffer
}

var errFull = errors.New("full")

func (s *short) Write(p []byte) (int, error) {
	if len(p) > s.room {
		s.room = len(p) // whoever tries again would succeed
		return 0, errFull
	}
	s.room -= len(p)
	return s.got.Write(p)
}

func TestAStreamEndsWithItsFirstError(t *testing.T) {
	out := &short{room: 1000}
	s, err := NewStream(out, 1, nil)
	if err != nil {
		t.Fatal(err)
	}

	_, write := s.Write(make([]byte, 3*blockBytes))
	end := s.Close()

	if !errors.Is(write, errFull) || !errors.Is(end, errFull) || out.got.Len() > 1000 {
		t.Errorf("%v, %v, and %d bytes are written", write, end, out.got.Len())
	}
}

func TestLookingChangesNothing(t *testing.T) {
	d := disktest.New()
	dir, err := Open("snap", d)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeNext(dir, &model{}); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Create(7, nil); err != nil { // which is never committed
		t.Fatal(err)
	}
	d.Fault = func(int, string, string) error { t.Error("something was changed"); return nil }

	seen := Look("snap", d)

	if indexes, err := seen.Indexes(); err != nil || len(indexes) != 1 {
		t.Fatalf("%v, %v", indexes, err)
	}
	r, damages, err := seen.Newest()
	if err != nil || damages != nil {
		t.Fatal(damages, err)
	}
	if err := check(r); err != nil {
		t.Error(err)
	}
	r.Close()
}
