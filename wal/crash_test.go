package wal

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"etcd2/e2e/pace"
	"etcd2/wal/disk/disktest"
)

const crashStates = 20_000 // how many TestEveryCrashStateOpens tries with -long

// stride is 1 under -long, and more otherwise: a test then tries one case in stride. It is odd, so
// that steps of stride bits come to every bit of a byte.
func stride() int { return pace.Pick(15, 7, 1) }

// model is what a log may hold after a crash: at least the batches that were
// acknowledged, at most those that were begun.
type model struct {
	mu           sync.Mutex // the hook of a disk may run in the goroutine that makes a spare
	created      bool
	acknowledged int
	lives        []int // lives[i] is the life in which batch i was begun
	from         int   // batches before this one may have been released
}

func (m *model) snapshot() *model {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &model{created: m.created, acknowledged: m.acknowledged, lives: slices.Clone(m.lives), from: m.from}
}

func (m *model) update(do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	do()
}

// testBatch makes batch i of a life: 1 to 4 records of 8 to 400 bytes, which begin with life, batch
// and place in the batch.
func testBatch(life, i int) []Record {
	rng := rand.New(rand.NewPCG(uint64(life), uint64(i)))
	recs := make([]Record, 1+rng.IntN(4))
	for j := range recs {
		data := []byte{byte(life), byte(i), byte(i >> 8), byte(j), byte(len(recs))}
		for range 3 + rng.IntN([]int{8, 40, 395}[rng.IntN(3)]) {
			data = append(data, byte(rng.Uint32()))
		}
		recs[j] = Record{Kind: byte(1 + j), Data: data}
	}
	return recs
}

const kindPreamble = 200

func testLabel(i int) uint64 { return uint64(i) * 10 }

// history collects the records of a replay and checks their order.
type history struct {
	first int // number of the first batch
	lives []int
	part  []Record // records of the batch that is not yet whole
}

func (h *history) add(r Record) error {
	if r.Kind == kindPreamble {
		i := int(r.Data[0]) | int(r.Data[1])<<8
		if h.lives == nil {
			h.first = i
		}
		if i != h.first+len(h.lives) || h.part != nil {
			return fmt.Errorf("a preamble before batch %d stands before batch %d", i, h.first+len(h.lives))
		}
		return nil
	}
	h.part = append(h.part, r)
	life, i, n := int(r.Data[0]), int(r.Data[1])|int(r.Data[2])<<8, int(r.Data[4])
	if len(h.part) < n {
		return nil
	}
	if i != h.first+len(h.lives) {
		return fmt.Errorf("batch %d stands where %d is due", i, h.first+len(h.lives))
	}
	for j, want := range testBatch(life, i) {
		if h.part[j].Kind != want.Kind || !bytes.Equal(h.part[j].Data, want.Data) {
			return fmt.Errorf("record %d of batch %d is not what was written", j, i)
		}
	}
	h.lives, h.part = append(h.lives, life), nil
	return nil
}

func (h *history) end() int { return h.first + len(h.lives) }

// check compares the history with the model.
func (h *history) check(m *model) error {
	if h.part != nil {
		return fmt.Errorf("batch %d is there in part", h.end())
	}
	if h.first > m.from {
		return fmt.Errorf("batches %d to %d are lost", m.from, h.first)
	}
	if h.end() < m.acknowledged || h.end() > len(m.lives) {
		return fmt.Errorf("%d batches are there, %d were acknowledged, %d begun", h.end(), m.acknowledged, len(m.lives))
	}
	if !slices.Equal(h.lives, m.lives[h.first:h.end()]) {
		return fmt.Errorf("batches of the lives %v are there, of %v were written", h.lives, m.lives[h.first:h.end()])
	}
	return nil
}

// process is one life of a log on a disk.
type process struct {
	d    *disktest.Disk
	m    *model
	life int
	log  *Log
	torn Repair
}

// options makes some lives write zeros ahead of all batches, some of none, and some of small ones.
func (p *process) options() Options {
	return Options{FS: p.d, Tag: Tag{1, 2, 3}, SegmentBytes: 1500, From: testLabel(p.m.from), Preamble: p.preamble,
		largeBatch: []int64{1 << 20, 1, 300}[p.life%3]}
}

func (p *process) preamble() []Record {
	next := 0
	if p.log != nil {
		next = len(p.m.lives) - 1
	}
	return []Record{{kindPreamble, []byte{byte(next), byte(next >> 8)}}}
}

// start creates the log if there is none, opens it, and compares it with the model.
func (p *process) start() error {
	if _, err := namedSegments(p.d, "wal"); errors.Is(err, os.ErrNotExist) {
		if p.m.created {
			return errors.New("the log is gone")
		}
		if err := Create("wal", p.options()); err != nil {
			return err
		}
		p.m.update(func() { p.m.created = true })
	}
	var h history
	l, torn, err := Open("wal", p.options(), h.add)
	if err != nil {
		return err
	}
	p.log, p.torn = l, torn
	p.m.update(func() { p.m.created = true })
	if err := h.check(p.m); err != nil {
		return err
	}
	p.m.update(func() {
		p.m.acknowledged = h.end()
		p.m.lives = p.m.lives[:h.end()]
	})
	var again history
	for r, err := range l.Read(testLabel(p.m.from)) {
		if err == nil {
			err = again.add(r)
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
	}
	if again.first != h.first || !slices.Equal(again.lives, h.lives) {
		return fmt.Errorf("batches %d to %d were replayed, %d to %d read", h.first, h.end(), again.first, again.end())
	}
	return nil
}

// append appends n batches and waits for the spare after each, so that the
// calls on the disk always have the same order.
func (p *process) append(n int) error {
	for range n {
		i := len(p.m.lives)
		p.m.update(func() { p.m.lives = append(p.m.lives, p.life) })
		if err := p.log.Append(testLabel(i), testBatch(p.life, i)); err != nil {
			return err
		}
		p.m.update(func() { p.m.acknowledged = i + 1 })
		if p.log.spare != nil {
			<-p.log.spare.done
		}
	}
	return nil
}

func (p *process) release(back, keep int) error {
	p.m.update(func() { p.m.from = max(p.m.from, len(p.m.lives)-back) })
	return p.log.Release(testLabel(p.m.from), keep)
}

// live is a short life: start, appends, releases, close.
func (p *process) live(appends int) error {
	if err := p.start(); err != nil {
		return err
	}
	for range 3 {
		if err := p.append(appends / 3); err != nil {
			return err
		}
		if err := p.release(12, p.life%3); err != nil {
			return err
		}
	}
	return p.log.Close()
}

// tidy checks what must hold for a disk after a clean end.
func tidy(d *disktest.Disk, m *model) error {
	p := &process{d: d, m: m}
	if err := p.start(); err != nil {
		return fmt.Errorf("after a clean end: %w", err)
	}
	if p.torn != (Repair{}) {
		return fmt.Errorf("after a clean end: %+v", p.torn)
	}
	calls := d.Calls
	if err := p.log.Close(); err != nil {
		return err
	}
	if d.Calls != calls {
		return errors.New("a log that was not appended to was written to")
	}
	names, err := d.ReadDir("wal")
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, ok := parseName(name); !ok {
			return fmt.Errorf("%s is left over", name)
		}
	}
	if d.OpenFiles != 0 {
		return fmt.Errorf("%d files are still open", d.OpenFiles)
	}
	return nil
}

// afterCrash runs a life on a disk that has crashed, crashes it again at some call,
// runs a life on that one, and so on.
func afterCrash(d *disktest.Disk, m *model, life, crashes int, rng *rand.Rand) error {
	var next *disktest.Disk
	var nextModel *model
	var what disktest.Fate
	at := d.Calls + 1 + rng.IntN(14)
	d.After = func(d *disktest.Disk, call, name string) {
		if crashes > 0 && d.Calls == at {
			fates := d.Fates(rng)
			what = fates[rng.IntN(len(fates))]
			next, nextModel = d.Crash(what), m.snapshot()
		}
	}
	p := &process{d: d, m: m, life: life}
	if err := p.live(6); err != nil {
		return err
	}
	if err := tidy(d, m); err != nil || next == nil {
		return err
	}
	if err := afterCrash(next, nextModel, life+1, crashes-1, rng); err != nil {
		return fmt.Errorf("second crash at call %d, %v: %w", at, what, err)
	}
	return nil
}

// Every state that a power cut, or the end of the process alone, can leave opens
// with all that was acknowledged, a prefix of the rest, and nothing else. The same
// holds for every state that a second crash leaves.
//
// pitfall H1, pitfall H6, pitfall H7, pitfall H10
func TestEveryCrashStateOpens(t *testing.T) {
	states := 0
	for seed := uint64(1); states < crashStates/stride(); seed++ {
		rng := rand.New(rand.NewPCG(seed, 0))
		m := &model{}
		d := disktest.New()
		var failure error
		d.After = func(d *disktest.Disk, call, name string) {
			if failure == nil {
				n, err := tryStates(d, m, rng, pace.Pick(8, 25, 25))
				states += n
				if err != nil {
					failure = fmt.Errorf("seed %d, call %d (%s %s): %w", seed, d.Calls, call, name, err)
				}
			}
		}
		for life := range 3 {
			p := &process{d: d, m: m, life: life}
			if err := cmp.Or(p.live(18), failure); err != nil {
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
		}
	}
	t.Logf("%d crash states", states)
}

// tryStates tries n of the states that a crash now may leave. Nothing may use the disk meanwhile.
func tryStates(d *disktest.Disk, m *model, rng *rand.Rand, n int) (tried int, err error) {
	if err := afterCrash(d.Kill(), m.snapshot(), 100, 1, rng); err != nil {
		return 1, fmt.Errorf("process killed: %w", err)
	}
	fates := some(rng, d.Fates(rng), n)
	for i, f := range fates {
		if err := afterCrash(d.Crash(f), m.snapshot(), 100, 1, rng); err != nil {
			return i + 2, fmt.Errorf("%v: %w", f, err)
		}
	}
	return len(fates) + 1, nil
}

// some returns n of the fates, and always the first two.
func some(rng *rand.Rand, fates []disktest.Fate, n int) []disktest.Fate {
	rng.Shuffle(len(fates)-2, func(i, j int) { fates[2+i], fates[2+j] = fates[2+j], fates[2+i] })
	return fates[:min(n, len(fates))]
}
