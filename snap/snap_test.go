package snap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"etcd2/e2e/pace"
	"etcd2/wal/disk/disktest"
)

// testDir is a directory on a disk in memory with the snapshots 1 to n.
func testDir(t *testing.T, n uint64) (*disktest.Disk, *Dir) {
	t.Helper()
	d := disktest.New()
	dir, err := Open("snap", d)
	for m := (&model{}); err == nil && m.committed < n; {
		err = writeNext(dir, m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d, dir
}

func indexes(t *testing.T, dir *Dir) []uint64 {
	t.Helper()
	list, err := dir.Indexes()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// wantDamaged checks that the newest snapshot is the one at index, or none when that is
// 0, and that the file is the one that was found damaged.
func wantDamaged(t *testing.T, dir *Dir, file string, index uint64) {
	t.Helper()
	r, damages, err := dir.Newest()
	if err != nil {
		t.Fatal(err)
	}
	if len(damages) != 1 || damages[0].File != file || damages[0].Reason == "" {
		t.Fatalf("%+v", damages)
	}
	if (r == nil) != (index == 0) {
		t.Fatalf("snapshot %v instead of %d", r, index)
	}
	if r == nil {
		return
	}
	if r.Index() != index || check(r) != nil || r.Close() != nil {
		t.Fatalf("snapshot %d instead of %d", r.Index(), index)
	}
}

func TestASnapshotIsReadAsItWasWritten(t *testing.T) {
	_, dir := testDir(t, 10)
	for index := uint64(1); index <= 10; index++ {
		r, err := dir.OpenIndex(index)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(r); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWritesOfAnySizeMakeTheSameFile(t *testing.T) {
	d, dir := testDir(t, 4)
	want := slices.Clone(d.Content(dir.file(4)))
	w, err := dir.Create(4, testMeta(4))
	if err != nil {
		t.Fatal(err)
	}

	for rest := testBody(4); len(rest) > 0; {
		n, err := w.Write(rest[:min(977, len(rest))])
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}

	if !bytes.Equal(d.Content(dir.file(4)), want) {
		t.Fatal("the files differ")
	}
}

func TestNothingIsVisibleBeforeCommit(t *testing.T) {
	d, dir := testDir(t, 1)
	w, err := dir.Create(2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 3*blockBytes)); err != nil {
		t.Fatal(err)
	}
	if got := indexes(t, dir); !slices.Equal(got, []uint64{1}) {
		t.Fatal(got)
	}

	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}

	if err := tidy(d); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, blockBytes)); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	if err := w.Commit(); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
}

func TestAbortAfterCommitDoesNothing(t *testing.T) {
	_, dir := testDir(t, 0)
	w, err := dir.Create(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}

	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}

	if got := indexes(t, dir); !slices.Equal(got, []uint64{1}) {
		t.Fatal(got)
	}
}

func TestALargeSnapshotIsSyncedInParts(t *testing.T) {
	d, dir := testDir(t, 0)
	unsynced := 0
	d.After = func(d *disktest.Disk, _, _ string) {
		unsynced = max(unsynced, d.UnsyncedBytes())
	}
	w, err := dir.Create(1, nil)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := w.Write(make([]byte, 10<<20)); err != nil {
		t.Fatal(err)
	}

	if unsynced > syncBytes+2*blockBytes {
		t.Fatalf("%d bytes were not synced", unsynced)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
}

// pitfall H2
func TestEveryFlippedBitIsFound(t *testing.T) {
	d, dir := testDir(t, 2)
	file := dir.file(2)
	data := d.Content(file)
	for bit := range len(data) * 8 {
		data[bit/8] ^= 1 << (bit % 8)
		wantDamaged(t, dir, file, 1)
		data[bit/8] ^= 1 << (bit % 8)
	}
	t.Logf("%d flips found", len(data)*8)
}

func TestEveryTruncationIsFound(t *testing.T) {
	d, dir := testDir(t, 4)
	two, four := dir.file(2), dir.file(4)
	data := d.Content(four)
	blocks := headerSize + blockHeader + len(testMeta(4))
	for _, size := range []int{blocks, blocks + blockHeader + blockBytes, len(data) - trailerSize} {
		d.SetContent(four, data[:size])
		wantDamaged(t, dir, four, 3)
	}
	d.SetContent(four, data)
	d.SetContent(dir.file(3), nil)
	data = d.Content(two)
	for size := range data {
		d.SetContent(two, data[:size])
		if _, err := dir.verified(2); !errors.As(err, new(*Damage)) {
			t.Fatalf("cut to %d bytes: %v", size, err)
		}
	}
	d.SetContent(two, append(data, 0))
	if _, err := dir.verified(2); !errors.As(err, new(*Damage)) {
		t.Fatalf("one byte longer: %v", err)
	}
}

func TestABlockMissingDoubledOrForeignIsFound(t *testing.T) {
	d, dir := testDir(t, 9)
	data := d.Content(dir.file(9))
	first := headerSize + blockHeader + len(testMeta(9))
	second := first + blockHeader + blockBytes
	end := len(data) - trailerSize
	foreign := d.Content(dir.file(4))[first:second]
	for what, spoiled := range map[string][]byte{
		"missing":   slices.Concat(data[:first], data[second:]),
		"last gone": slices.Concat(data[:second], data[end:]),
		"doubled":   slices.Concat(data[:second], data[first:]),
		"swapped":   slices.Concat(data[:first], data[second:end], data[first:second], data[end:]),
		"foreign":   slices.Concat(data[:first], foreign, data[second:]),
		"empty":     slices.Concat(data[:end], make([]byte, blockHeader), data[end:]),
		"two ends":  slices.Concat(data, data[end:]),
	} {
		d.SetContent(dir.file(9), spoiled)
		r, err := dir.verified(9)
		if !errors.As(err, new(*Damage)) {
			t.Errorf("%s: %v, %v", what, r, err)
		}
	}
	d.SetContent(dir.file(9), data)
	d.SetContent(dir.file(8), data)
	if _, err := dir.OpenIndex(8); !errors.As(err, new(*Damage)) {
		t.Errorf("under another name: %v", err)
	}
	if d.OpenFiles != 0 {
		t.Errorf("%d files are open", d.OpenFiles)
	}
}

// A file may carry the right sums and still be none that a Writer makes.
//
// pitfall H4
func TestAForgedFileIsFound(t *testing.T) {
	block := func(b []byte, sum uint32, size int) ([]byte, uint32) {
		start := len(b)
		b = append(b, make([]byte, blockHeader+size)...)
		return b, sealBlock(b[start:], sum)
	}
	forge := func(sizes ...int) []byte {
		b, sum := appendHeader(nil, 1)
		total := 0
		for i, size := range sizes {
			if b, sum = block(b, sum, size); i > 0 {
				total += size
			}
		}
		return append(b, trailer(sum, int64(total))...)
	}
	intoTrailer := forge(10, 100)
	at := headerSize + 2*blockHeader + 10
	binary.LittleEndian.PutUint32(intoTrailer[at-blockHeader:], 104)
	otherFormat := forge(10, 100)
	otherFormat[7]++
	binary.LittleEndian.PutUint32(otherFormat[16:], crc32.Checksum(otherFormat[:16], castagnoli))

	for what, c := range map[string]struct {
		data   []byte
		reason string
	}{
		"as a Writer makes it": {forge(10, 100), ""},
		"an empty block":       {forge(10, 0, 100), "the body ends before the file does"},
		"a large block":        {forge(10, blockBytes+1), "the block's length is wrong"},
		"a large meta":         {forge(maxMeta+1, 100), "the block's length is wrong"},
		"into the trailer":     {intoTrailer, "the block's length is wrong"},
		"another format":       {otherFormat, "not a snapshot of this format"},
	} {
		d, dir := testDir(t, 1)
		d.SetContent(dir.file(1), c.data)
		_, err := dir.verified(1)
		var damage *Damage
		if (c.reason != "") != errors.As(err, &damage) || damage != nil && damage.Reason != c.reason {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// pitfall H8
func TestAFailedWriteIsNotTriedAgain(t *testing.T) {
	d, dir := testDir(t, 1)
	w, err := dir.Create(2, nil)
	if err != nil {
		t.Fatal(err)
	}
	d.Fault = func(int, string, string) error { return disktest.ErrInjected }
	if _, err := w.Write(make([]byte, blockBytes)); !errors.Is(err, disktest.ErrInjected) {
		t.Fatal(err)
	}
	d.Fault = nil

	err = w.Commit()

	if !errors.Is(err, disktest.ErrInjected) {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := tidy(d); err != nil {
		t.Fatal(err)
	}
}

func TestDamageWhileReadingIsFound(t *testing.T) {
	d, dir := testDir(t, 4)
	r, damages, err := dir.Newest()
	if err != nil || damages != nil {
		t.Fatal(damages, err)
	}
	d.Content(dir.file(4))[blockBytes+500]++

	n, err := io.Copy(io.Discard, r)

	var damage *Damage
	if !errors.As(err, &damage) || n != blockBytes ||
		damage.Offset != int64(headerSize+2*blockHeader+len(testMeta(4))+blockBytes) {
		t.Fatalf("%d bytes, then %v", n, err)
	}
	if want := fmt.Sprintf("snap: %s: offset %d: ", dir.file(4), damage.Offset); !strings.HasPrefix(err.Error(), want) {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWithoutASoundSnapshotThereIsNone(t *testing.T) {
	_, empty := testDir(t, 0)
	if r, damages, err := empty.Newest(); r != nil || damages != nil || err != nil {
		t.Fatal(r, damages, err)
	}
	d, dir := testDir(t, 1)
	d.Content(dir.file(1))[3]++
	wantDamaged(t, dir, dir.file(1), 0)
}

// pitfall E5
func TestPurgeLeavesWhatIsBeingRead(t *testing.T) {
	d, dir := testDir(t, 6)
	r, err := dir.OpenIndex(2)
	if err != nil {
		t.Fatal(err)
	}
	again, err := dir.OpenIndex(2)
	if err != nil {
		t.Fatal(err)
	}
	purge := func(keep int, want ...uint64) {
		t.Helper()
		if err := dir.Purge(keep); err != nil {
			t.Fatal(err)
		}
		if got := indexes(t, dir); !slices.Equal(got, want) {
			t.Fatalf("%v stayed, not %v", got, want)
		}
	}

	purge(0, 1, 2, 3, 4, 5, 6)
	purge(3, 2, 4, 5, 6)
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	purge(1, 2, 6)
	if err := check(r); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	purge(1, 6)
	if d.OpenFiles != 0 {
		t.Fatalf("%d files are open", d.OpenFiles)
	}
}

func TestADamagedSnapshotDoesNotCountAsKept(t *testing.T) {
	d, dir := testDir(t, 3)
	d.Content(dir.file(3))[30]++
	wantDamaged(t, dir, dir.file(3), 2)

	if err := dir.Purge(1); err != nil {
		t.Fatal(err)
	}
	if got := indexes(t, dir); !slices.Equal(got, []uint64{2, 3}) {
		t.Fatal(got)
	}
	if err := writeNext(dir, &model{committed: 2}); err != nil {
		t.Fatal(err)
	}
	if err := dir.Purge(1); err != nil {
		t.Fatal(err)
	}

	if got := indexes(t, dir); !slices.Equal(got, []uint64{3}) {
		t.Fatal(got)
	}
}

// pitfall E9
func TestAnIncompleteOrChangedFileIsNeverReceived(t *testing.T) {
	d, dir := testDir(t, 1)
	data := testFiles.Content(fileName(7))
	try := func(data []byte) error {
		r, err := dir.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Write(data); err != nil {
			t.Fatal(err)
		}
		_, err = r.Commit()
		if err := r.Abort(); err != nil {
			t.Fatal(err)
		}
		return err
	}

	for n := range data {
		if err := try(data[:n]); !errors.As(err, new(*Damage)) {
			t.Fatalf("the first %d bytes of %d were received: %v", n, len(data), err)
		}
		changed := slices.Clone(data)
		changed[n]++
		if err := try(changed); !errors.As(err, new(*Damage)) {
			t.Fatalf("received with byte %d changed: %v", n, err)
		}
	}

	if err := tidy(d); err != nil {
		t.Fatal(err)
	}
	if err := try(data); err != nil {
		t.Fatal(err)
	}
	if got := indexes(t, dir); !slices.Equal(got, []uint64{1, 7}) {
		t.Fatal(got)
	}
}

// asides lists what is in the directory and no snapshot.
func asides(t *testing.T, d *disktest.Disk) (names []string) {
	t.Helper()
	all, err := d.ReadDir("snap")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(name string) bool { return strings.HasSuffix(name, suffix) })
}

// keepPart receives the beginning of a file.
func keepPart(t *testing.T, dir *Dir, name string, data []byte) {
	t.Helper()
	r, err := dir.Receive()
	if err == nil {
		_, err = r.Write(data)
	}
	if err == nil {
		err = r.Keep(name)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// pitfall E9
func TestAFileThatWasKeptGoesOnWhereItWas(t *testing.T) {
	_, dir := testDir(t, 1)
	data := testFiles.Content(fileName(7))
	for n := range data {
		keepPart(t, dir, "seven", data[:n])
		if dir.Kept("seven") != int64(n) || dir.Kept("eight") != 0 || dir.Resume("eight") != nil {
			t.Fatalf("%d bytes of seven are kept, %d of eight", dir.Kept("seven"), dir.Kept("eight"))
		}

		r := dir.Resume("seven")
		r.Write(data[n:])
		index, err := r.Commit()

		if err != nil || index != 7 || dir.Kept("seven") != 0 || dir.Resume("seven") != nil {
			t.Fatalf("%d, %v; then %d bytes are kept", index, err, dir.Kept("seven"))
		}
	}
}

// pitfall E9
func TestAFileThatWasKeptAndChangedIsNeverReceived(t *testing.T) {
	d, dir := testDir(t, 1)
	data := testFiles.Content(fileName(7))
	changed := slices.Clone(data)
	changed[40]++
	keepPart(t, dir, "seven", changed[:60])

	r := dir.Resume("seven")
	r.Write(data[60:])
	if _, err := r.Commit(); !errors.As(err, new(*Damage)) {
		t.Errorf("it is received: %v", err)
	}
	if err := r.Abort(); err != nil {
		t.Fatal(err)
	}

	if left := asides(t, d); len(left) > 0 || dir.Kept("seven") != 0 {
		t.Errorf("%v are left", left)
	}
}

func TestOneFileIsKeptAndNotForEver(t *testing.T) {
	d, dir := testDir(t, 1)
	for name, change := range map[string]func(){
		"another transfer": func() { keepPart(t, dir, "eight", []byte("x")); dir.Resume("eight").Abort() },
		"a restart":        func() { dir, _ = Open("snap", d) },
		"two purges":       func() { dir.Purge(1); dir.Purge(1) },
	} {
		keepPart(t, dir, "seven", []byte("x"))
		if left := asides(t, d); len(left) != 1 {
			t.Errorf("%s: before, %v are there", name, left)
		}
		change()
		if left := asides(t, d); len(left) > 0 || dir.Kept("seven") != 0 {
			t.Errorf("%s: %v are left", name, left)
		}
	}
}

func TestMetaBeyondAllMeasureIsRefused(t *testing.T) {
	_, dir := testDir(t, 0)

	_, err := dir.Create(1, make([]byte, maxMeta+1))
	_, err2 := NewStream(io.Discard, 1, make([]byte, maxMeta+1))

	if err == nil || err2 == nil || !strings.Contains(err.Error(), "1048577 bytes") || len(indexes(t, dir)) != 0 {
		t.Errorf("%v, %v", err, err2)
	}
}

// pitfall H13
func TestNobodyElseMayReadASnapshot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snap")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeNext(dir, &model{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{path: 0o700, dir.file(1): 0o600} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	r, err := OpenFile(dir.file(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := check(r); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// readMutant reads a file: it gives not a byte more than it says, and never a panic.
func readMutant(t *testing.T, data []byte) {
	d := disktest.New()
	d.SetContent("x", data)
	r, err := OpenFile("x", d)
	if err != nil {
		return
	}
	n, err := io.Copy(io.Discard, r)
	if n > int64(len(data)) || err == nil && n != r.Size() || err != nil && !errors.As(err, new(*Damage)) {
		t.Fatalf("%d bytes of %d, %v", n, r.Size(), err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func seeds() [][]byte {
	seeds := [][]byte{nil, []byte(magic), make([]byte, 100)}
	for _, index := range []uint64{1, 2, 5} {
		seeds = append(seeds, testFiles.Content(fileName(index)))
	}
	return seeds
}

func FuzzFile(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(readMutant)
}

// pitfall H4
func TestMutatedFilesAreHarmless(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 0))
	seeds := seeds()[3:]
	deadline, n := time.After(pace.FuzzTime()), 0
	for ; ; n++ {
		select {
		case <-deadline:
			t.Logf("%d mutants", n)
			return
		default:
		}
		data := slices.Clone(seeds[rng.IntN(len(seeds))])
		for left := 1 + rng.IntN(3); left > 0 && len(data) > 50; left-- {
			at := rng.IntN(len(data) - 8)
			switch rng.IntN(4) {
			case 0:
				data[at] ^= 1 << rng.IntN(8)
			case 1:
				copy(data[at:], []byte{0xff, 0xff, 0xff, 0xff})
			case 2:
				copy(data[at:], data[rng.IntN(len(data)):])
			case 3:
				data = slices.Delete(data, at, min(at+rng.IntN(40), len(data)))
			}
		}
		readMutant(t, data)
	}
}

func BenchmarkWrite(b *testing.B) {
	dir, err := Open(filepath.Join(b.TempDir(), "snap"), nil)
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 64<<20)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		w, err := dir.Create(1, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			b.Fatal(err)
		}
		if err := w.Commit(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewest(b *testing.B) {
	dir, err := Open(filepath.Join(b.TempDir(), "snap"), nil)
	if err != nil {
		b.Fatal(err)
	}
	w, err := dir.Create(1, nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 64<<20)); err != nil {
		b.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(64 << 20)
	b.ReportAllocs()
	for b.Loop() {
		r, _, err := dir.Newest()
		if err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}

func TestPurgeLeavesWhatIsNamed(t *testing.T) {
	_, dir := testDir(t, 6)

	if err := dir.Purge(2, 1, 3); err != nil {
		t.Fatal(err)
	}

	if got := indexes(t, dir); !slices.Equal(got, []uint64{1, 3, 5, 6}) {
		t.Fatalf("%v stayed", got)
	}
}
