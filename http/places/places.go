// Package places shares a limited number of places among the addresses that ask for them.
//
// # What it is
//
// Connections, watches, requests and passwords that are checked have a limit each, so that clients
// can't fill the machine. A limit alone lets one client keep all others out. Places lets everybody
// take what is there while plenty is free, and shares out the rest.
//
// # Picture
//
//	held by  192.0.2.1             192.0.2.2   free
//	         ├─────────────────────┼───────────┼────────────────┤
//	         0                       3/4 of Max               Max
//	         while plenty is free, ──►          ◄── an address has a share:
//	         everybody may take                     Max / (addresses + 1)
//
// # Types
//
// [Places] is one such limit. [Origin] tells for whom an address counts.
//
// # Life of a place
//
// [Places.Acquire] gives it to an origin, and [Places.Release] takes it back. An origin keeps the
// places that it holds: only a new one is refused.
//
// # Invariants
//
//   - No more than Max places are held. (TestNoMoreIsHeldThanThereIs)
//   - One origin alone never holds the last quarter. (TestOneAddressLeavesAQuarterToOthers)
//   - An origin that holds nothing gets a place as long as one is free.
//     (TestANewcomerGetsAPlaceWhileOneIsFree)
//   - Origins that hold nothing are not remembered.
//
// # What is left out
//
// Taking a place away from one who holds it. Whoever has very many addresses gets very many shares.
package places

import (
	"net/netip"
	"sync"
)

// Places are Max places, some of which are held. All methods may be called from any goroutine.
type Places struct {
	Max int // never changed after the first Acquire

	mu      sync.Mutex // protects what follows
	total   int
	by      map[string]int // more than 0 each; the sum is total
	refused uint64
}

// Stats are figures about Places.
type Stats struct {
	Max, Held int
	Origins   int    // that hold a place
	Refused   uint64 // since the beginning
}

// Acquire reports whether origin got a place; if so, it must be released.
func (p *Places) Acquire(origin string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total >= p.Max || p.total >= p.Max-p.Max/4 && !p.hasShare(origin) {
		p.refused++
		return false
	}
	if p.by == nil {
		p.by = map[string]int{}
	}
	p.total++
	p.by[origin]++
	return true
}

// hasShare reports whether origin holds less than its share. One share more than there are origins
// leaves something for the next one. p.mu must be held.
func (p *Places) hasShare(origin string) bool {
	held, origins := p.by[origin], len(p.by)
	if held == 0 {
		origins++
	}
	return held*(origins+1) < p.Max
}

// Release gives back a place that origin holds.
func (p *Places) Release(origin string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.by[origin] == 0 {
		panic("places: Release: no place is held by " + origin)
	}
	p.total--
	if p.by[origin]--; p.by[origin] == 0 {
		delete(p.by, origin)
	}
}

// Held returns how many places are held.
func (p *Places) Held() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// Stats returns the figures as they are.
func (p *Places) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{p.Max, p.total, len(p.by), p.refused}
}

// Origin returns the origin of an address without a port: the address itself, or the /64 network of
// an address of IPv6, since whoever has one has them all. A text that is no address is returned.
func Origin(address string) string {
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
