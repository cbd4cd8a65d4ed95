package peer

import (
	"testing"
	"time"

	"etcd2/raft"
)

// far makes two members, and a link over which a calls b.
func far(t *testing.T, rate int, trip time.Duration, change ...func(*Config)) (a, b *member) {
	a, b = newMember(t, 0xa, change...), newMember(t, 0xb)
	k := newFarLink(t, b, rate, trip)
	b.start()
	a.start(at(b.id, k.url()))
	connected(t, a)
	return a, b
}

// slowness is how many times longer everything takes with the race detector.
var slowness time.Duration = 1

// bestOf returns the least of up to six measurements, and stops at one that is good: other
// processes share the processors with this test.
func bestOf[T int | time.Duration](good T, measure func() T) T {
	best := measure()
	for i := 0; i < 5 && best > good; i++ {
		best = min(best, measure())
	}
	return best
}

// pitfall L7: the first window takes one round trip, and the rest of a large entry takes half of
// one.
func TestALargeEntryIsThereInTwoRoundTrips(t *testing.T) {
	for _, trip := range []time.Duration{200 * time.Millisecond, 300 * time.Millisecond} {
		limit := (2*trip + trip/4) * slowness
		took := bestOf(limit, func() time.Duration {
			a, b := far(t, 0, trip, func(c *Config) { c.Heartbeat = trip })
			begun := time.Now()
			a.Send([]raft.Message{appendOf(a, b, 1, 10<<20), appendOf(a, b, 2, 100)})
			b.get(t)
			large := time.Since(begun)
			b.get(t)
			t.Logf("round trip %v: 10 MiB after %v, a small one behind it after %v", trip, large, time.Since(begun))
			return time.Since(begun)
		})
		if took > limit {
			t.Error("the window is too small")
		}
	}
}

// pitfall L7: a far stream takes about as long as a near one. On a busy machine both are slow.
func TestAStreamIsNotHeldUpByItsDelay(t *testing.T) {
	const trip = 100 * time.Millisecond
	limit := time.Duration(0)
	took := bestOf(0, func() time.Duration {
		near := passAll(t, 0)
		limit = max(limit, 2*near+10*trip)
		return passAll(t, trip) - limit
	})
	if took > 0 {
		t.Errorf("%v longer than %v: the window is too small", took, limit)
	}
}

// passAll returns how long 79 MB take. Like a leader, it hands over no more than 8 MiB at a time.
func passAll(t *testing.T, trip time.Duration) time.Duration {
	const size, count = 64 << 10, 1200
	a, b := far(t, 0, trip)
	begun := time.Now()
	for i := range uint64(count) {
		if i >= (8<<20)/size {
			b.get(t)
		}
		a.Send([]raft.Message{appendOf(a, b, i, size)})
	}
	for range (8 << 20) / size {
		b.get(t)
	}
	t.Logf("%.0f MB/s at a round trip of %v", count*size/1e6/time.Since(begun).Seconds(), trip)
	return time.Since(begun)
}

// pitfall B14: an urgent message waits for no more than half a heartbeat behind bulky ones, though
// the link is slow and its delay calls for a large window.
func TestHeartbeatsPassTheBulkOfASlowFarLink(t *testing.T) {
	const rate, trip, interval, lasting = 900_000, 300 * time.Millisecond, 300 * time.Millisecond, 5 * time.Second
	t.Parallel() // it mostly waits
	limit := (trip/2 + interval/2 + 400*time.Millisecond) * slowness
	took := bestOf(limit, func() time.Duration {
		a, b := far(t, rate, trip, func(c *Config) { c.Heartbeat = interval })
		worst, bulky := pump(t, a, b, interval, lasting)
		t.Logf("heartbeats took %v at most after the first two seconds, beside %.1f MB, with a window of %d bytes",
			worst, float64(bulky)/1e6, a.Peers()[b.id].Window)
		if float64(bulky) < 0.7*rate*lasting.Seconds()/float64(slowness) {
			t.Log("the link is not full")
			worst += limit
		}
		return worst
	})
	if took > limit {
		t.Error("heartbeats wait for the bulk, or the link is not full")
	}
}

// pump sends Appends, 8 MiB of them ahead, and heartbeats beside them. It returns the longest time
// that a heartbeat took after the first two seconds, and the bytes of the Appends that arrived.
func pump(t *testing.T, a, b *member, interval, lasting time.Duration) (worst time.Duration, bulky int) {
	const size = 128 << 10
	for i := range uint64(64) {
		a.Send([]raft.Message{appendOf(a, b, i, size)})
	}
	tick, begun := time.NewTicker(interval), time.Now()
	defer tick.Stop()
	end := time.After(lasting)
	var sent []time.Time
	for {
		select {
		case <-tick.C:
			sent = append(sent, time.Now())
			a.Send([]raft.Message{heartbeat(a, b, uint64(len(sent)-1))})
		case m := <-b.steps:
			if m.Kind == raft.Append {
				bulky += size
				a.Send([]raft.Message{appendOf(a, b, m.Index+64, size)})
			} else if sent[m.Round].Sub(begun) > 2*time.Second {
				worst = max(worst, time.Since(sent[m.Round]))
			}
		case <-end:
			return worst, bulky
		}
	}
}
