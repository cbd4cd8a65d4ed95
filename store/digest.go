package store

import (
	"hash/crc32"
	"math/bits"
	"unsafe"
)

// Digest is one number for all that Apply has made of the entries so far. Members that have applied
// the same entries have the same digest, whatever their Limits; one that took an entry differently,
// or read a snapshot wrongly, has another from then on (pitfall I8). It says something only
// together with the index of the last entry, so it belongs to the applier, between two Apply. To
// ask for it costs nothing: all of it is kept up to date.
//
// Two parts make it up, since each sees what the other does not:
//
//   - The state. Every node of the tree has a hash, and every directory the sum of those below it.
//     A sum has no order and can be undone, so a write adds what came, takes away what went, on the
//     walk to the root that it makes anyway, and a tree that goes takes one subtraction. Restore
//     computes the sums anew from what it reads, never trusts written ones: what got lost on the
//     way shows at once. What is remembered of requests has a sum, too.
//   - The chain of what happened: every event and with it the tree as it was then, every error,
//     every stamp. So a difference in something that leaves no trace, or that a later write made
//     good, shows for good.
//
// Not in it: the history, which is of another length on every member, and the marks of directories
// when something below changed.
//
// Texts are hashed by CRC-32C, since processors have it: two texts of one length that differ within
// four bytes never have the same, others once in 2^32. That guards against faults, not against
// somebody who looks for two texts of one checksum: he has no way to give them to two members as
// one.
func (s *Store) Digest() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := mix(s.chain, s.roots[Keys].inside.below.sum, s.window.digest())
	d = mix(d, s.roots[Auth].inside.below.sum, s.revision)
	return mix(d, uint64(s.offset), 0)
}

// link takes an event into the chain. s.mu must be held.
func (s *Store) link(space Space, e *Event, silent bool) {
	what := uint64(e.Action.number())
	if silent {
		what = ^what
	}
	s.chain = mix(s.chain, s.roots[space].inside.below.sum, what^uint64(space)<<32)
}

// seal takes the end of an entry into the chain: its place, its time, what Apply returns and what
// it remembers. s.mu must be held.
func (s *Store) seal(answer any) {
	s.chain = mix(s.chain, s.applied, uint64(s.now))
	s.chain = mix(s.chain, s.index, s.window.digest()+hashOf(answer))
}

// hashOf is the hash of what Apply returns. An event's nodes are not in it: those are in the tree.
func hashOf(answer any) uint64 {
	switch a := answer.(type) {
	case *Event:
		return a.Index
	case *Error:
		return mix(uint64(a.Code)<<32, a.Index, uint64(checksum(0, a.Cause)))
	case error:
		return 1 // ErrRevision
	default:
		return 0
	}
}

// hash is the hash of a node of the tree, without what is below it.
func (n *Node) hash() uint64 {
	kind := uint64(len(n.Path))
	if n.Dir {
		kind = ^kind
	}
	h := mix(uint64(checksum(checksum(0, n.Path), n.Value))<<32, n.Created, n.Modified)
	if n.Ends != nil {
		h = mix(h, uint64(n.Ends.Due), uint64(n.Ends.Shown))
	}
	return mix(h, 0, kind)
}

// mix takes two numbers into the hash h: a multiplication to 128 bits folded to 64, as in wyhash
// (Wang Yi). The constants, fractions of the golden ratio and of the square root of 2, keep small
// numbers from being factors. They and the order of what is mixed are part of the format: members
// of all versions must agree on them.
func mix(h, a, b uint64) uint64 {
	high, low := bits.Mul64(h^a^0x9e3779b97f4a7c15, b^0x6a09e667f3bcc909)
	return high ^ low
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC-32C of a text that goes on after one whose checksum is sum; that of nothing
// is 0.
func checksum(sum uint32, text string) uint32 {
	// A conversion would copy: the compiler does not see that Update only reads.
	return crc32.Update(sum, castagnoli, unsafe.Slice(unsafe.StringData(text), len(text)))
}
