package wal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"etcd2/e2e/pace"
	"etcd2/wal/disk/disktest"
)

// mutant is a log whose last segment is data.
func mutant(data []byte) *disktest.Disk {
	d := disktest.New()
	h, _, reason := parseHeader(append(slices.Clone(data), make([]byte, headerSize)...))
	if reason != "" {
		h = header{number: 1}
	}
	d.Mkdir("wal")
	d.SetContent("wal/"+h.name(), slices.Clone(data))
	return d
}

// openMutant opens the log; if that succeeds, it must be a good log from then on.
func openMutant(t *testing.T, data []byte) {
	d := mutant(data)
	bytesRead := 0
	o := Options{FS: d, From: 1 << 63, SegmentBytes: 1024}
	count := func(r Record) error {
		bytesRead += len(r.Data)
		return nil
	}
	Salvage("wal", d, func(s Salvaged) {
		if s.Damage == nil {
			bytesRead += len(s.Data)
		}
	})
	if bytesRead > len(data) {
		t.Fatalf("%d bytes of records are salvaged of a file of %d", bytesRead, len(data))
	}
	bytesRead = 0
	l, _, err := Open("wal", o, count)
	if err != nil {
		return
	}
	if bytesRead > len(data) {
		t.Fatalf("%d bytes of records in a file of %d", bytesRead, len(data))
	}
	before := bytesRead
	if err := l.Append(1<<63, []Record{{1, []byte("more")}}); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	bytesRead = 0
	o.From = 0
	if l, torn, err := Open("wal", o, count); err == nil {
		closeLog(t, l)
		if bytesRead != before+4 || torn != (Repair{}) {
			t.Fatalf("%d bytes came back of %d: %+v", bytesRead, before+4, torn)
		}
	}
}

// seeds are segments of real logs: fresh, filled, closed, torn, sealed.
func seeds(tb testing.TB) [][]byte {
	d := disktest.New()
	o := Options{FS: d, SegmentBytes: 1024}
	if err := Create("wal", o); err != nil {
		tb.Fatal(err)
	}
	var seeds [][]byte
	grab := func() {
		names, err := d.ReadDir("wal")
		if err != nil {
			tb.Fatal(err)
		}
		for _, name := range names {
			seeds = append(seeds, slices.Clone(d.Content("wal/"+name)))
		}
	}
	grab()
	l, _, err := Open("wal", o, func(Record) error { return nil })
	if err != nil {
		tb.Fatal(err)
	}
	for i := range 12 {
		if err := l.Append(uint64(i), testBatch(0, i)); err != nil {
			tb.Fatal(err)
		}
	}
	grab()
	if err := l.Close(); err != nil {
		tb.Fatal(err)
	}
	grab()
	return append(seeds, nil, []byte(magic), bytes.Repeat([]byte{0xff}, 200))
}

// fixHeaders makes the checksums of all headers right again, so that a mutation
// gets past them and reaches the code behind.
func fixHeaders(data []byte) {
	if len(data) < headerSize {
		return
	}
	binary.LittleEndian.PutUint32(data[8:], uint32(len(data)/8))
	salt := crc32.Checksum(data[:headerSize-4], castagnoli)
	binary.LittleEndian.PutUint32(data[headerSize-4:], salt)
	for at := headerSize; at+frameHeader <= len(data); at += 8 {
		if int(binary.LittleEndian.Uint32(data[at+20:]))*8 == at {
			binary.LittleEndian.PutUint32(data[at:], crc32.Update(salt, castagnoli, data[at+4:at+frameHeader]))
		}
	}
}

func FuzzSegment(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, fix bool) {
		if fix {
			data = slices.Clone(data[:len(data)&^7])
			fixHeaders(data)
		}
		openMutant(t, data)
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte{1, 3, 'a', 'b', 'c', 2, 0})
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{1, 0x80})
	f.Fuzz(func(t *testing.T, data []byte) {
		for rest := data; len(rest) > 0; {
			r, tail, ok := cutRecord(rest)
			if !ok {
				return
			}
			again, empty, ok := cutRecord(appendRecord(nil, r))
			if !ok || len(empty) != 0 || again.Kind != r.Kind || !bytes.Equal(again.Data, r.Data) {
				t.Fatalf("%v became %v", r, again)
			}
			rest = tail
		}
	})
}

// pitfall H4
func TestMutatedSegmentsAreHarmless(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 0))
	seeds := seeds(t)
	deadline, n := time.After(pace.FuzzTime()), 0
	for ; ; n++ {
		select {
		case <-deadline:
			t.Logf("%d mutants", n)
			return
		default:
		}
		data := slices.Clone(seeds[rng.IntN(len(seeds))])
		data = mutate(data, seeds[rng.IntN(len(seeds))], rng)
		if rng.IntN(2) == 0 {
			data = data[:len(data)&^7]
			fixHeaders(data)
		}
		openMutant(t, data)
	}
}

// mutate changes a few places of data: single bytes, numbers, pieces of other.
func mutate(data, other []byte, rng *rand.Rand) []byte {
	for range 1 + rng.IntN(4) {
		if len(data) < 8 {
			return data
		}
		at := rng.IntN(len(data) - 7)
		switch rng.IntN(6) {
		case 0:
			data[at] ^= 1 << rng.IntN(8)
		case 1:
			binary.LittleEndian.PutUint32(data[at&^3:], rng.Uint32())
		case 2:
			binary.LittleEndian.PutUint64(data[at:], []uint64{0, 1<<64 - 1, 1 << 63, 1 << 31}[rng.IntN(4)])
		case 3:
			copy(data[at&^7:], other[min(len(other), at&^7):])
		case 4:
			clear(data[at:min(len(data), at+rng.IntN(600))])
		case 5:
			data = data[:at]
		}
	}
	return data
}
