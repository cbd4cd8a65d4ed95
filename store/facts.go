package store

import (
	"fmt"
	"math/rand/v2"
)

// fact is a request that was executed, and whose answer is forgotten. It is immutable.
type fact struct {
	name   name
	entry  uint64 // of the log, at which it was executed
	index  uint64 // of the store after it; 0: the request failed, and changed nothing
	before uint64 // number of the fact before it in its chain, plus one; 0: it is the first
}

// String says what became of the request.
func (f fact) String() string {
	if f.index == 0 {
		return "was refused before: the answer is no longer kept"
	}
	return fmt.Sprintf("was executed at index %d: the answer is no longer kept, read the key", f.index)
}

// hash returns the fact's part of the digest.
func (f *fact) hash() uint64 {
	a, b := f.name.halves()
	return mix(mix(a, b, f.entry), f.index, 0)
}

// Sizes of the parts of a queue of facts. With 300,000 facts a chain has two or three.
const (
	factsAChunk = 4096
	chainPages  = 512
	chainsAPage = 256
)

// facts is a queue of facts, and a hash table of them by name. Facts are numbered as they come; the
// queue holds those from first to next-1.
//
//	chains   [ · 9 · 7 · 8 … ]     by a hash of the name: number of the newest fact, plus one;
//	               │               in pages that are made when they are needed
//	chunks   [ · · 3 4 5 6 7 ⊔ ]   each fact has the number of the one before it in its chain
//	               ↑ first   ↑ next
//
// Numbers fall along a chain, so it ends at the first number below first, and need not be changed
// when a fact is dropped. A frozen queue is a copy of this struct that shares the chunks: what is
// written later goes behind its next.
type facts struct {
	first, next uint64
	chunks      [][]fact // the first one holds number first
	chains      [chainPages]*[chainsAPage]uint64
	seed        uint64 // of the hash, at random: no client can choose ids that share a chain
}

func (q *facts) count() int { return int(q.next - q.first) }

// at returns the fact with a number, which must be held.
func (q *facts) at(number uint64) *fact {
	return &q.chunks[number/factsAChunk-q.first/factsAChunk][number%factsAChunk]
}

// chain returns the place in chains that a name belongs to.
func (q *facts) chain(n name) *uint64 {
	a, b := n.halves()
	hash := mix(q.seed, a, b)
	page := &q.chains[hash%chainPages]
	if *page == nil {
		*page = new([chainsAPage]uint64)
	}
	return &(*page)[hash/chainPages%chainsAPage]
}

// find returns the fact with a name, and whether there is one.
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
