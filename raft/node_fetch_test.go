package raft

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"etcd2/wal"
	"etcd2/wal/disk"
)

// countingFS counts what is read.
type countingFS struct {
	disk.OS
	bytes atomic.Int64
}

type countingFile struct {
	disk.File
	bytes *atomic.Int64
}

func (fs *countingFS) Open(name string) (disk.File, error) {
	f, err := fs.OS.Open(name)
	return &countingFile{f, &fs.bytes}, err
}

func (f *countingFile) ReadAt(p []byte, offset int64) (int, error) {
	n, err := f.File.ReadAt(p, offset)
	f.bytes.Add(int64(n))
	return n, err
}

// longLog writes count entries of a kilobyte, a hundred in a batch, each with the commit of the one
// before.
func longLog(t testing.TB, fs disk.FS, segment int64, count uint64) *storage {
	t.Helper()
	o := storageOptions{Dir: filepath.Join(t.TempDir(), "member"), Bytes: segment, FS: fs}
	if err := os.Mkdir(o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := createStorage(o, 7, 1, 1<<63, nil); err != nil {
		t.Fatal(err)
	}
	s, _, err := openStorage(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	value := []byte(strings.Repeat("x", 1000))
	for i := uint64(1); i <= count; i += 100 {
		p := Persist{State: State{Term: 1, Commit: i - 1}}
		for j := i; j < i+100; j++ {
			p.Entries = append(p.Entries, Entry{Index: j, Term: 1, Kind: EntryCommand, Data: value})
		}
		if err := s.persist(&p); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// Otherwise a leader would read a segment of 32 MB eight times for a member that lags, and have no
// time for its clients.
func TestAMemberThatLagsCostsTheReadingOfItsLogOnce(t *testing.T) {
	fs := &countingFS{}
	const last = 16_000
	s := longLog(t, fs, 6<<20, last)
	fs.bytes.Store(0)

	fed := fetchAll(t, s, 1, last, 2<<20)

	if read := fs.bytes.Load(); fed < 16<<20 || read > fed*13/10 {
		t.Errorf("%d bytes of the disk are read to feed %d", read, fed)
	}
}

// fetchAll fetches entries for a member piece by piece, and returns how many bytes they have.
func fetchAll(t testing.TB, s *storage, next, last uint64, piece int) (fed int64) {
	t.Helper()
	var on *fetcher
	for next <= last {
		es, now, err := s.fetch(Fetch{From: max(next-1, 1), Last: last}, piece, on)
		if err != nil || len(es) == 0 {
			t.Fatalf("from %d on %d entries, %v", next, len(es), err)
		}
		for i := range es {
			if es[i].Index != max(next-1, 1)+uint64(i) {
				t.Fatalf("entry %d instead of %d", es[i].Index, max(next-1, 1)+uint64(i))
			}
			fed += int64(entrySize(&es[i]))
		}
		next, on = es[len(es)-1].Index+1, now
	}
	return fed
}

// fetchText fetches two entries or more, and prints them.
func fetchText(t *testing.T, s *storage, f Fetch, on *fetcher) (string, *fetcher) {
	t.Helper()
	es, now, err := s.fetch(f, 0, on)
	if err != nil {
		t.Fatal(err)
	}
	return indexTerms(es), now
}

// What was read ahead need not be final: entries of another leader may have replaced it since.
func TestAFetcherReturnsEntriesThatReplacedWhatItHadRead(t *testing.T) {
	s, _ := reopen(t, testStorage(t))
	for _, p := range []Persist{
		{State: State{Term: 1}, Entries: entries(1, 1, 4)},
		{State: State{Term: 1, Commit: 2}, Entries: entries(1, 5, 6)},
	} {
		if err := s.persist(&p); err != nil {
			t.Fatal(err)
		}
	}
	first, on := fetchText(t, s, Fetch{From: 1, Last: 2}, nil)
	if ahead := indexTerms(on.replay.entries); ahead != "2@1 3@1 4@1 5@1 6@1" {
		t.Fatalf("it has read ahead %s", ahead)
	}
	for _, p := range []Persist{
		{State: State{Term: 2, Commit: 2}, Entries: entries(2, 3, 5)},
		{State: State{Term: 2, Commit: 5}},
	} {
		if err := s.persist(&p); err != nil {
			t.Fatal(err)
		}
	}

	second, now := fetchText(t, s, Fetch{From: 2, Last: 5}, on)
	third, _ := fetchText(t, s, Fetch{From: 3, Last: 5}, now)

	if first != "1@1 2@1" || second != "2@1 3@2" || third != "3@2 4@2" || now != on {
		t.Errorf("fetched: %s, then %s, then %s; by one fetcher: %v", first, second, third, now == on)
	}
}

func TestAFetcherThatCannotGoOnBeginsAnew(t *testing.T) {
	o := testStorage(t)
	o.Bytes = 4 << 10
	s, _ := reopen(t, o)
	const last = 4000
	for i := uint64(1); i <= last; i += 4 {
		if err := s.persist(&Persist{State: State{Term: 1, Commit: i - 1}, Entries: entries(1, i, i+3)}); err != nil {
			t.Fatal(err)
		}
	}
	_, on := fetchText(t, s, Fetch{From: 499, Last: last}, nil)

	earlier, other := fetchText(t, s, Fetch{From: 100, Last: last}, on)
	if earlier != "100@1 101@1" || other == on {
		t.Errorf("asked for something else it gives %s; by the same fetcher: %v", earlier, other == on)
	}
	if err := s.log.Release(last-10, 0); err != nil {
		t.Fatal(err)
	}
	if es, _, err := s.fetch(Fetch{From: 500, Last: last}, 1<<10, on); es != nil || err != nil {
		t.Errorf("of a segment that is gone it reads %d entries, %v", len(es), err)
	}
	meta := saveTestSnapshot(t, s, 5000, 2)
	for _, p := range []Persist{
		{State: State{Term: 1, Commit: last}},
		{State: State{Term: 2, Commit: 5000}, Snapshot: &meta, Entries: entries(2, 5001, 5003)},
	} {
		if err := s.persist(&p); err != nil {
			t.Fatal(err)
		}
	}
	_, on = fetchText(t, s, Fetch{From: last - 2, Last: last - 1}, nil)

	behind, now := fetchText(t, s, Fetch{From: 5001, Last: 5003}, on)

	if behind != "5001@2 5002@2" || now == on {
		t.Errorf("behind a snapshot it gives %s; by the same fetcher: %v", behind, now == on)
	}
}

func TestAnIdleFetcherIsDropped(t *testing.T) {
	n := &Node{loopState: loopState{core: newMember(3, 1), fetchers: map[uint64]*fetcher{2: {}, 3: {idle: 5}}}}
	patience := fetcherPatience * n.core.ElectionTicks

	n.dropIdleFetchers(patience - 4)
	if n.fetchers[2] == nil || n.fetchers[3] != nil {
		t.Errorf("after nearly all its time: %v", n.fetchers)
	}
	if n.detachFetcher(2) == nil || n.detachFetcher(2) != nil {
		t.Error("two fetches may use one fetcher")
	}
}

// BenchmarkFetch gives a member that lags a log of 64 MB in pieces, as a leader does; read/fed is
// how many bytes are read from the disk for each.
func BenchmarkFetch(b *testing.B) {
	const last = 64_000
	fs := &countingFS{}
	s := longLog(b, fs, wal.DefaultSegmentBytes, last)
	fs.bytes.Store(0)
	fed := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		fed += fetchAll(b, s, 1, last, fetchBytes)
	}
	b.SetBytes(fed / int64(b.N))
	b.ReportMetric(float64(fs.bytes.Load())/float64(fed), "read/fed")
}
