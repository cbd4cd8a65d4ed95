package auth

import (
	"sync"
	"time"
)

// How wrong passwords delay the next try of the same user from the same address: not at all at
// first, since people mistype, then by a time that doubles. Wrong passwords from one address are
// also counted for all users together, and more of them are free.
//
// Many users may share an address, and one of them who guesses must not delay the others. So a user
// with fewer than graceGuesses wrong passwords there is tried at once even when the address must
// wait. An address has graceBurst such tries, and one more each graceEvery, so that trying many
// names makes guessing no faster.
const (
	graceGuesses = 3
	graceBurst   = 10
	graceEvery   = time.Second

	freeGuesses  = 10
	freeAtAll    = 50 // from one address
	firstDelay   = time.Second
	longestDelay = time.Minute
	forgetGuess  = 10 * time.Minute // after the last wrong password
	maxGuesses   = 10_000           // entries of the table; the oldest is dropped
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
	until  time.Time // no try before this time
	spent  time.Time // of an address: when it has all graceBurst tries again; zero: it has them now
}

// wait returns how long a user at an address (one) must wait before a try; all is the address
// alone. When it returns 0 it may have used up one of the address's graceBurst tries.
func (g *guesses) wait(one, all sum) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	user, address := g.at(one, now), g.at(all, now)
	own, shared := user.until.Sub(now), address.until.Sub(now)
	if own > 0 || shared <= 0 || user.failed >= graceGuesses {
		return max(own, shared, 0)
	}
	return min(shared, address.grace(now))
}

// at returns the entry of name, an empty one when it has none, or a forgotten one. g.mu must be
// held.
func (g *guesses) at(name sum, now time.Time) *guess {
	e := g.table[name]
	if e == nil || now.Sub(e.last) >= forgetGuess {
		return &guess{}
	}
	return e
}

// grace uses up one of the address's tries and returns 0, or returns how long there is none left.
func (e *guess) grace(now time.Time) time.Duration {
	if e.spent.Before(now) {
		e.spent = now
	}
	if later := e.spent.Sub(now) - (graceBurst-1)*graceEvery; later > 0 {
		return later
	}
	e.spent = e.spent.Add(graceEvery)
	return 0
}

// failed counts a wrong password under name. Only those after the first free ones delay.
func (g *guesses) failed(name sum, free int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	e := g.at(name, now)
	g.table[name] = e
	e.failed++
	e.last = now
	if over := e.failed - free; over > 0 {
		e.until = now.Add(min(longestDelay, firstDelay<<min(over-1, 10)))
	}
	if len(g.table) > maxGuesses {
		g.drop(name)
	}
}

// drop forgets the entry, other than keep, whose last wrong password is the oldest. g.mu must be
// held.
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
