package peer

import (
	"fmt"
	"testing"
	"time"
)

// path simulates a link, on a clock that the test sets: bytes pass at a rate, and each arrives
// after a delay.
type path struct {
	rate float64 // bytes a second
	trip time.Duration
	now  time.Time
	free time.Time // when all that was written has passed
	acks []mark    // what is heard, and when
}

// pump writes bulky bytes for a while, as many as the flight allows. It returns how many were read,
// and the longest time that an urgent message would have waited behind them.
func (p *path) pump(t *testing.T, f *flight, lasting time.Duration) (read uint64, worst time.Duration) {
	before, end := f.read, p.now.Add(lasting)
	for p.now.Before(end) {
		_, room := f.room(p.now)
		size := min(max(room, 0), writeSize)
		if ping := f.wantsPing(p.now, size, min(size, 1)); size > 0 || ping {
			p.write(f, size, ping)
			worst = max(worst, p.free.Sub(p.now))
			continue
		}
		if len(p.acks) == 0 {
			t.Fatalf("nothing moves: %+v", f)
		}
		a := p.acks[0]
		p.acks, p.now = p.acks[1:], later(p.now, a.at)
		f.recordRead(p.now, a.end)
	}
	return f.read - before, worst
}

func (p *path) write(f *flight, size int, ping bool) {
	f.recordWrite(p.now, size+frameHeader, min(size, 1), size > 0, ping)
	p.free = later(p.free, p.now).Add(time.Duration(float64(size) / p.rate * float64(time.Second)))
	if ping {
		p.acks = append(p.acks, mark{end: f.written, at: p.free.Add(p.trip)})
	}
}

func newPath(rate float64, trip time.Duration) (*path, *flight) {
	p := &path{rate: rate, trip: trip, now: time.Now()}
	c := Config{Heartbeat: 200 * time.Millisecond}.withDefaults()
	return p, &flight{window: newWindow(&c, p.now, trip)}
}

// isFilled checks that a link is full except in the pauses in which it is measured, and that its
// queue is short: no longer than a round trip and wait, or than the least window makes it.
func (p *path) isFilled(t *testing.T, f *flight, name string) {
	t.Helper()
	const lasting = 20 * time.Second
	read, worst := p.pump(t, f, lasting)
	if want := min(p.rate, DefaultMaxWindow/p.trip.Seconds()) * lasting.Seconds(); float64(read) < 0.7*want {
		t.Errorf("%s: %.1f MB were read instead of %.1f", name, float64(read)/1e6, want/1e6)
	}
	granule := time.Duration(writeSize / p.rate * float64(time.Second))
	if limit := max(p.trip+f.window.wait, DefaultWindow/writeSize*granule)*5/4 + 2*granule; worst > limit {
		t.Errorf("%s: urgent messages wait for %v, more than %v", name, worst, limit)
	}
}

// pitfalls L7, B14
func TestTheWindowFollowsBandwidthAndDelay(t *testing.T) {
	for _, rate := range []float64{900_000, 5e6, 20e6, 100e6} {
		for _, trip := range []time.Duration{time.Millisecond / 5, 10 * time.Millisecond, 100 * time.Millisecond,
			300 * time.Millisecond} {
			p, f := newPath(rate, trip)
			name := fmt.Sprintf("%.1f MB/s, %v", rate/1e6, trip)
			p.pump(t, f, 5*time.Second)
			p.isFilled(t, f, name)

			p.rate, p.trip = p.rate/10, p.trip*2 // another way through the network
			p.pump(t, f, 60*time.Second)
			p.isFilled(t, f, name+", then a tenth of it and twice as far")
		}
	}
}

// On a link n times slower than firstRate, the first window makes a queue of n round trips, which
// is gone after a few of them.
func TestASlowLinkIsKnownAfterItsFirstWindow(t *testing.T) {
	p, f := newPath(1e6, 300*time.Millisecond)

	_, first := p.pump(t, f, time.Second)
	p.pump(t, f, 2*time.Second)
	_, later := p.pump(t, f, time.Second)

	if first > 1400*time.Millisecond || later > f.window.wait+f.window.wait/4 {
		t.Errorf("urgent messages wait for %v at first, and %v then", first, later)
	}
}

// A mark with few bytes may be late because the other process paused, so it tells little about the
// link.
func TestAPauseCostsHalfOfTheWindowAtMost(t *testing.T) {
	p, f := newPath(100e6, 100*time.Millisecond)
	p.pump(t, f, 2*time.Second)
	before := f.window.size

	for range 20 {
		f.window.update(p.now, &mark{at: p.now.Add(-time.Second), first: p.now.Add(-2 * time.Second),
			ahead: DefaultWindow})
	}

	if got := f.window.size; got < before/2 {
		t.Errorf("the window falls from %d to %d bytes", before, got)
	}
}
