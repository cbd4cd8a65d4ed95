package auth

import (
	"net/netip"
	"sync"
	"time"
)

// What a wrong password costs the next try of the same user from the same address: nothing at first, since people mistype, then a time that
// doubles. Tries from one address at whatever users count together, with more patience.
const (
	freeGuesses  = 10
	freeAtAll    = 50 // from one address
	firstDelay   = time.Second
	longestDelay = time.Minute
	forgetGuess  = 10 * time.Minute // after the last one
	maxGuesses   = 10_000           // entries of the table; the one that is longest ago goes
)

// guesses remembers who gave wrong passwords (K12).
type guesses struct {
	now func() time.Time // the clock; another one in tests

	mu    sync.Mutex // protects table
	table map[sum]*guess
}

type guess struct {
	failed int
	last   time.Time
	until  time.Time // no try before it
}

// wait returns how long none of the names may try.
func (g *guesses) wait(names ...sum) (d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range names {
		if e := g.table[name]; e != nil {
			d = max(d, e.until.Sub(g.now()))
		}
	}
	return d
}

// failed counts a wrong password under a name that has so many free.
func (g *guesses) failed(name sum, free int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	e := g.table[name]
	if e == nil || now.Sub(e.last) >= forgetGuess {
		e = &guess{}
		g.table[name] = e
	}
	e.failed++
	e.last = now
	if over := e.failed - free; over > 0 {
		e.until = now.Add(min(longestDelay, firstDelay<<min(over-1, 10)))
	}
	if len(g.table) > maxGuesses {
		g.drop(name)
	}
}

// drop makes room: it forgets the entry that is longest ago, but not keep. g.mu must be held.
func (g *guesses) drop(keep sum) {
	var oldest sum
	var last time.Time
	for name, e := range g.table {
		if name != keep && (last.IsZero() || e.last.Before(last)) {
			oldest, last = name, e.last
		}
	}
	delete(g.table, oldest)
}

// right forgets the wrong passwords under a name.
func (g *guesses) right(name sum) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.table, name)
}

// origin is whom an address counts for: who has one address of version 6 has the 2^64 beside it.
func origin(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if a = a.Unmap().WithZone(""); a.Is4() {
		return a.String()
	}
	network, _ := a.Prefix(64) // 64 bits are there
	return network.String()
}
