package store

import (
	"fmt"
	"math/rand/v2"
)

// fact is a request that was executed and whose answer is forgotten. It is immutable.
type fact struct {
	name   name
	entry  uint64 // of the log, at which it was executed
	index  uint64 // of the store after it; 0: it failed, and changed nothing
	before uint64 // the fact before it in its chain, as chains have it
}

// String says what became of the request.
func (f fact) String() string {
	if f.index == 0 {
		return "was refused before: the answer is no longer kept"
	}
	return fmt.Sprintf("was executed at index %d: the answer is no longer kept, read the key", f.index)
}

// hash is the fact's part in the digest.
func (f *fact) hash() uint64 {
	a, b := f.name.halves()
	return mix(mix(a, b, f.entry), f.index, 0)
}

// Places in the parts of a queue of facts. With 300,000 facts a chain has two or three.
const (
	factsAChunk = 4096
	chainPages  = 512
	chainsAPage = 256
)

// facts is a queue of facts. Each has a number, which grows by one; those from first to next-1 are held.
//
//	chains   [ · 9 · 7 · 8 … ]     by a hash of the name: number of the newest fact, plus one; in pages that are made when they are needed
//	               │
//	chunks   [ · · 3 4 5 6 7 ⊔ ]   each fact says which one its chain has before it
//	               ↑ first   ↑ next
//
// Numbers fall along a chain, so it ends where it leaves the queue, and nothing need be done to it when a fact goes. A frozen queue
// is a copy of this struct: it shares the chunks, in which only places at and behind its next are written later.
type facts struct {
	first, next uint64
	chunks      [][]fact // the first one is that of number first
	chains      [chainPages]*[chainsAPage]uint64
	seed        uint64 // of the hash, so that nobody can choose ids that share a chain; it shows nowhere
}

func (q *facts) count() int { return int(q.next - q.first) }

// at returns the fact of a number that is held.
func (q *facts) at(number uint64) *fact {
	return &q.chunks[number/factsAChunk-q.first/factsAChunk][number%factsAChunk]
}

// chain is where the chain of a name begins.
func (q *facts) chain(n name) *uint64 {
	a, b := n.halves()
	hash := mix(q.seed, a, b)
	page := &q.chains[hash%chainPages]
	if *page == nil {
		*page = new([chainsAPage]uint64)
	}
	return &(*page)[hash/chainPages%chainsAPage]
}

// find returns the fact of a name, if there is one.
func (q *facts) find(n name) (fact, bool) {
	if q.count() == 0 {
		return fact{}, false
	}
	for at := *q.chain(n); at > q.first; {
		f := q.at(at - 1)
		if f.name == n {
			return *f, true
		}
		at = f.before
	}
	return fact{}, false
}

// add appends f.
func (q *facts) add(f fact) {
	if q.seed == 0 {
		q.seed = rand.Uint64() | 1
	}
	if q.next/factsAChunk-q.first/factsAChunk == uint64(len(q.chunks)) {
		q.chunks = append(q.chunks, make([]fact, factsAChunk))
	}
	newest := q.chain(f.name)
	f.before = *newest
	q.next++
	*q.at(q.next - 1) = f
	*newest = q.next
}

// drop removes the oldest fact and returns it.
func (q *facts) drop() fact {
	f := *q.at(q.first)
	if q.first++; q.first%factsAChunk == 0 {
		q.chunks = q.chunks[1:]
	}
	return f
}
