package store

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The wheels fire what a sorted list fires, in its order, and know the earliest at every moment.
func TestClockIsASortedList(t *testing.T) {
	const steps = 20_000
	// how far away timers are, in nanoseconds
	for seed, reach := range []int64{1e6, 1e8, 1e11, 1e15, math.MaxInt64 / 2} {
		g := rand.New(rand.NewPCG(uint64(seed), 2))
		c, now, want := newClock(), int64(0), []*timer{}
		for step := range steps {
			switch g.IntN(5) {
			default:
				expires := now + g.Int64N(reach) - reach/20
				if g.IntN(3) == 0 {
					expires = now + reach/3 // many at once
				}
				timer := c.arm(max(1, expires), fmt.Sprint(g.IntN(1000), step))
				i, _ := slices.BinarySearchFunc(want, timer, before)
				want = slices.Insert(want, i, timer)
			case 0:
				if len(want) > 0 {
					i := g.IntN(len(want))
					want[i].remove()
					want = slices.Delete(want, i, i+1)
				}
			case 1:
				if g.IntN(20) > 0 {
					continue
				}
				now += g.Int64N(reach / 4)
				due := c.due(now)
				if !slices.Equal(due, want[:len(due)]) || len(want) > len(due) && want[len(due)].expires <= now {
					t.Fatalf("reach %d, step %d: %d timers are due", reach, step, len(due))
				}
				for _, timer := range due {
					timer.remove()
				}
				want = want[len(due):]
				c.updateFloor()
			}
			if first := c.top.earliest(); len(want) > 0 && first != want[0] || len(want) == 0 && first != nil {
				t.Fatalf("reach %d, step %d: the earliest is %+v", reach, step, first)
			}
			if step%1000 == 0 {
				wellFormedClock(t, c, want)
			}
		}
		for _, timer := range want {
			timer.remove()
		}
		wellFormedClock(t, c, nil)
	}
}

func wellFormedClock(t *testing.T, c *clock, want []*timer) {
	t.Helper()
	armed := make(map[*timer]bool)
	for _, timer := range want {
		armed[timer] = true
	}
	if err := c.top.wellFormed(armed); err != nil || len(armed) > 0 {
		t.Fatalf("%v; %d timers are lost", err, len(armed))
	}
}

// The expiration that a node shows comes from the clocks at the moment when it got its time to
// live. Later readings, other clocks and a snapshot do not change it, neither in the tree nor in
// events. pitfall L9
func TestEveryMemberShowsTheSameEnd(t *testing.T) {
	s := New(Limits{})
	for _, c := range []Command{
		set("/early", "").ttl(time.Hour), offset(time.Minute), set("/f", "").ttl(time.Hour), set("/d",
			"").dir().ttl(time.Hour),
		offset(-time.Minute), set("/f/x", ""), set("/d/x", ""), swap("/early", "2").prev("",
			1).ttl(time.Hour), offset(math.MaxInt64), set("/far", "").ttl(time.Hour),
	} {
		s.do(c)
	}
	index := s.Index()
	w, _ := s.Watch("/", true, 1)
	want := `/d/ 3/3 until 1h0m0s shown as 1970-01-01T01:01:00Z
/d/x= 4/4
/early=2 1/5 until 1h0m0s shown as 1970-01-01T00:59:00Z
/f= 2/2 until 1h0m0s shown as 1970-01-01T01:01:00Z
/far= 6/6 until 1h0m0s shown as 2262-04-11T23:47:16.854775807Z
`

	for _, m := range []*Store{s, restored(t, Limits{}, s.frozenBytes(t))} {
		expect(t, "tree", m.listing(), want)
		expect(t, "index", m.Index(), index)
		m.do(offset(0))
		expect(t, "after another offset", m.listing(), want)
		expect(t, "refreshed", sketch(m.do(update("/d", "").refresh().ttl(time.Hour))),
			"update /d/ 3/7 until 1h0m0s was /d/ 3/3 until 1h0m0s shown as 1970-01-01T01:01:00Z")
		m.check(t)
	}
	told, err := w.drain()
	expect(t, "events", len(told), 6)
	if err != nil || told[1] != "set /f= 2/2 until 1h0m0s shown as 1970-01-01T01:01:00Z" {
		t.Errorf("told %q, %v", told, err)
	}
}

func TestNextDueIsTheEarliest(t *testing.T) {
	s := New(Limits{})
	_, none := s.NextDue()
	s.do(set("/b", "1").ttl(2_000_001))
	s.do(set("/a", "1").ttl(2_000_000))
	first, some := s.NextDue()
	s.do(del("/a"))
	second, _ := s.NextDue()

	if none || !some || first.UnixNano() != 2_000_000 || second.UnixNano() != 2_000_001 {
		t.Errorf("none %v, some %v, first %v, second %v", none, some, first, second)
	}
}
