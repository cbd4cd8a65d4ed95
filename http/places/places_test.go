package places

import (
	"fmt"
	"math/rand/v2"
	"testing"

	_ "etcd2/e2e/pace" // -long
)

// takeAll takes places for origin until one is refused, and returns how many it got.
func takeAll(p *Places, origin string) (n int) {
	for p.Acquire(origin) {
		n++
	}
	return n
}

func TestOneAddressLeavesAQuarterToOthers(t *testing.T) {
	for max, want := range map[int]int{0: 0, 1: 1, 3: 3, 4: 3, 32: 24, 1000: 750} {
		p := &Places{Max: max}
		if got := takeAll(p, "one"); got != want {
			t.Errorf("one address gets %d of %d places, want %d", got, max, want)
		}
		if got := takeAll(p, "other"); got != max-want {
			t.Errorf("the other address gets %d of %d places, want %d", got, max, max-want)
		}
	}
}

func TestWhatIsScarceIsShared(t *testing.T) {
	p := &Places{Max: 1000}
	for i := range 10 {
		for range 75 {
			p.Acquire(fmt.Sprint(i))
		}
	}
	for i := range 10 {
		takeAll(p, fmt.Sprint(i))
	}

	share := 1000 / 11
	for i := range 10 {
		if n := p.by[fmt.Sprint(i)]; n < share || n > share+1 {
			t.Errorf("address %d holds %d places, want %d", i, n, share)
		}
	}
	if n := takeAll(p, "newcomer"); n == 0 {
		t.Error("nothing is left for a newcomer")
	}
}

func TestANewcomerGetsAPlaceWhileOneIsFree(t *testing.T) {
	p := &Places{Max: 100}
	for i := range 100 {
		if !p.Acquire(fmt.Sprint(i)) {
			t.Fatalf("newcomer %d gets no place", i)
		}
	}
	if p.Acquire("one more") || p.Acquire("0") {
		t.Error("there is a place more than there is")
	}
	p.Release("0")
	if !p.Acquire("one more") {
		t.Error("the place that was given back is not there")
	}
}

// However places are taken and given back, the books are right.
func TestNoMoreIsHeldThanThereIs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	p, held := &Places{Max: 50}, map[string]int{}
	sum, refused := 0, uint64(0)
	for range 20_000 {
		origin := fmt.Sprint(random.IntN(12))
		switch {
		case random.IntN(2) == 0 && held[origin] > 0:
			p.Release(origin)
			held[origin]--
			sum--
		case p.Acquire(origin):
			held[origin]++
			sum++
		default:
			refused++
		}
		if sum > 50 || p.Held() != sum || p.by[origin] != held[origin] {
			t.Fatalf("%d are held, and %d by %s; want %d and %d", p.Held(), p.by[origin], origin, sum, held[origin])
		}
	}
	for origin, n := range held {
		for range n {
			p.Release(origin)
		}
	}
	if s := p.Stats(); s.Held != 0 || s.Origins != 0 || s.Max != 50 || s.Refused != refused {
		t.Errorf("%+v in the end", s)
	}
}

func TestAnAddressCountsWithItsNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"fe80::1%eth0": "fe80::/64", "": "", "@": "@",
	} {
		if got := Origin(address); got != want {
			t.Errorf("%q counts as %q, want %q", address, got, want)
		}
	}
}
