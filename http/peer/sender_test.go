package peer

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"etcd2/raft"
)

// patient makes a Config in which no tick helps.
func patient(c *Config) { c.Silence = time.Hour }

func TestAPingGoesWithAWriteNowAndThen(t *testing.T) {
	const windowSize = 1000
	begun := time.Now()
	after := func(d time.Duration) time.Time { return begun.Add(d) }
	fresh := window{size: windowSize, renewed: begun.Add(time.Hour)}
	f := flight{window: fresh, written: 700, read: 600, pinged: 600, measured: begun}
	for _, c := range []struct {
		name     string
		change   func(f *flight)
		at       time.Time
		size     int
		messages int
		want     bool
	}{
		{"soon after the last one", nil, after(measurePause - 1), 10, 1, false},
		{"a while after it", nil, after(measurePause), 10, 1, true},
		{"nothing to measure", nil, after(time.Hour), 10, 0, false},
		{"nothing to send", func(f *flight) { f.read = 0 }, after(time.Hour), 0, 0, false},
		{"half of the window is out", nil, after(0), windowSize/2 - 100, 1, false},
		{"more than half is", nil, after(0), windowSize/2 - 99, 0, true},
		{"another one is on its way", func(f *flight) { f.pinged = 601 }, after(time.Hour), windowSize, 1, false},
		{"another one is, and many bytes went since", func(f *flight) { f.pinged = 700 }, after(0), pingStep, 1, true},
		{"the delay has to be measured, and nothing is on its way", func(f *flight) { f.window.renewed = begun },
			after(tripAge), 0, 0, true},
		{"it has to be, and bulky bytes are that nobody asks for",
			func(f *flight) { f.window.renewed, f.bulk = begun, 650 }, after(tripAge), 0, 0, true},
		{"it has to be, and somebody does", func(f *flight) { f.window.renewed, f.bulk, f.pinged = begun, 650, 650 },
			after(tripAge), 0, 0, false},
	} {
		g := flight{window: f.window, written: f.written, read: f.read, pinged: f.pinged, measured: f.measured}
		if c.change != nil {
			c.change(&g)
		}
		if got := g.wantsPing(c.at, c.size, c.messages); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestAMarkStandsForAllMessagesSinceTheOneBefore(t *testing.T) {
	var f flight
	begun := time.Now()
	f.recordWrite(begun, 100, 1, true, true)
	f.recordWrite(begun.Add(1), 100, 2, true, false)
	f.recordWrite(begun.Add(2), 100, 0, false, false)
	if f.hasLeftOver() {
		t.Error("while a ping is on its way nothing is left over")
	}
	first, err := f.recordRead(begun, 100)
	if want := []mark{{100, begun, 1, 100, begun, false}}; err != nil || !slices.Equal(first, want) {
		t.Errorf("%v landed, %v", first, err)
	}
	if !f.hasLeftOver() || f.awaitsCount() {
		t.Error("two messages are measured by nobody")
	}

	f.recordWrite(begun.Add(3), 100, 4, true, true)
	none, _ := f.recordRead(begun, 399)
	second, err := f.recordRead(begun, 400)

	if want := []mark{{400, begun.Add(3), 6, 300, begun.Add(3), false}}; err != nil || len(none) > 0 ||
		!slices.Equal(second, want) || f.hasLeftOver() || !f.empty() {
		t.Errorf("%v and %v landed, %v", none, second, err)
	}
	for _, count := range []uint64{399, 401} {
		if _, err := f.recordRead(begun, count); err != errCount {
			t.Errorf("count %d: %v", count, err)
		}
	}
}

func TestWhatIsLeftOverIsMeasuredAtTheTick(t *testing.T) {
	s := &sender{p: &peer{wake: make(chan struct{}, 1)}}
	s.flight.recordWrite(time.Now(), 10, 1, true, true)
	s.checkSilence()
	if s.wantPing.Load() {
		t.Error("a second ping is sent while the first one is on its way")
	}

	s.flight.recordWrite(time.Now(), 10, 1, true, false)
	s.flight.recordRead(time.Now(), 10)
	s.waiting = 0 // a count came
	s.checkSilence()

	if !s.wantPing.Load() || len(s.p.wake) == 0 {
		t.Error("the last message is not measured")
	}
}

// Only counts come back: at most one for each measurePause, each pingStep, and each tick of the
// receiver.
func TestABusyStreamCostsFewCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		const n, size = 2000, 100
		begun := time.Now()
		for i := range uint64(n) {
			a.Send([]raft.Message{appendOf(a, b, i, size)})
			b.get(t)
		}
		a.awaitPeer(t, func(s raft.PeerStats) bool { return s.Trips == n })

		lasted := time.Since(begun)
		s := a.Peers()[b.id]
		var counts int
		p := a.Transport.peers[b.id]
		p.set(func() { counts = int(p.out.read.Load()) / (frameHeader + 8) })
		most := 2 + int(lasted/measurePause+lasted/a.tick()) + int(s.SentBytes/pingStep)
		t.Logf("%d counts for %d messages, %d bytes, %v", counts, n, s.SentBytes, lasted)
		if counts > most || counts == 0 {
			t.Errorf("%d counts came back, and no more than %d are due", counts, most)
		}
	})
}

func TestASmallWindowMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newMember(t, 0xa, patient, func(c *Config) { c.Window, c.MaxWindow = 1000, 1000 }), newMember(t,
			0xb, patient)
		b.start()
		a.start(at(b.id, b.url()))
		connected(t, a)

		const n = 100
		for i := range uint64(n) {
			a.Send([]raft.Message{appendOf(a, b, i, 500)})
		}

		for i := range uint64(n) {
			if m := b.get(t); m.Index != i {
				t.Fatalf("%v after %d", m, i)
			}
		}
	})
}

func TestLeavingAsksWhetherAllIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newMember(t, 0xa, patient), newMember(t, 0xb, patient)
		a.Transport.times.leave = time.Hour
		b.start()
		a.start(at(b.id, b.url()))
		connected(t, a)
		for i := range uint64(3) { // in writes of their own: the first asks, the others do not
			a.Send([]raft.Message{appendOf(a, b, i, 100)})
			b.get(t)
		}

		a.become([]raft.Member{at(0xc, "http://127.0.0.1:1")}, []uint64{b.id})

		b.await(t, 1, "closed there: "+errLeft.Error())
	})
}
