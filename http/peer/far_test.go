package peer

import (
	"testing"
	"testing/synctest"
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

// pitfall L7: the first window takes one round trip, and the rest of a large entry takes half of
// one.
func TestALargeEntryIsThereInTwoRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const trip = 300 * time.Millisecond
		a, b := far(t, 0, trip, func(c *Config) { c.Heartbeat = trip })
		begun := time.Now()
		a.Send([]raft.Message{appendOf(a, b, 1, 10<<20), appendOf(a, b, 2, 100)})

		b.get(t)
		b.get(t)

		if took := time.Since(begun); took > 2*trip {
			t.Errorf("10 MiB and a small one behind it took %v: the window is too small", took)
		}
	})
}

// pitfall L7: like a leader, a hands over no more than 8 MiB at a time: 79 MB need ten windows,
// half a round trip each, and some more while the window grows.
func TestAStreamIsNotHeldUpByItsDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, ahead, count, trip = 64 << 10, 128, 1200, 100 * time.Millisecond
		a, b := far(t, 0, trip)
		begun := time.Now()

		for i := range uint64(count + ahead) {
			if i >= ahead {
				b.get(t)
			}
			if i < count {
				a.Send([]raft.Message{appendOf(a, b, i, size)})
			}
		}

		if took := time.Since(begun); took > 8*trip {
			t.Errorf("it took %v: the window is too small", took)
		}
	})
}

// pitfall B14: an urgent message waits for no more than half a heartbeat behind bulky ones, and for
// a write or two, though there are 8 MiB of them at any time and the link's delay calls for a large
// window. And yet the bulky ones fill the link.
func TestHeartbeatsPassTheBulk(t *testing.T) {
	for name, c := range map[string]struct {
		rate           int
		trip, interval time.Duration
	}{
		"near":         {5_000_000, 0, 100 * time.Millisecond},
		"far and slow": {900_000, 300 * time.Millisecond, 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const lasting = 5 * time.Second
				a, b := far(t, c.rate, c.trip, func(f *Config) { f.Heartbeat = c.interval })

				worst, bulky := pump(t, a, b, c.interval, lasting)

				granule := writeSize * time.Second / time.Duration(c.rate)
				t.Logf("heartbeats took %v at most after the first two seconds, beside %.1f MB, with a window of %d "+
					"bytes",
					worst, float64(bulky)/1e6, a.Peers()[b.id].Window)
				if limit := c.trip/2 + c.interval/2 + 2*granule; worst == 0 || worst > limit {
					t.Errorf("heartbeats wait for %v, more than %v", worst, limit)
				}
				if want := 0.85 * float64(c.rate) * lasting.Seconds(); float64(bulky) < want {
					t.Error("the link is not full")
				}
			})
		})
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
