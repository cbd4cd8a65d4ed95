package store

import (
	"hash/crc32"
	"math/bits"
	"unsafe"
)

// Digest returns a hash of all that Apply has made of the entries so far. Members that have applied
// the same entries have the same digest, whatever their Limits. A member that executed an entry
// differently, or read a snapshot wrongly, has another digest from then on (pitfall I8). Digests
// can be compared only at the same entry, so the applier calls Digest, between two calls of Apply.
// The call is cheap: all parts are kept up to date.
//
// There are two parts, since each sees what the other does not:
//
//   - The state. Every node of the tree has a hash, and every directory the sum of the hashes below
//     it. A sum has no order and can be undone: a write adds and subtracts on its walk from the
//     root, and to remove a subtree is one subtraction. Restore computes the sums from the nodes
//     that it reads, and trusts no written ones: what got lost on the way shows at once. The
//     requests that are remembered have a sum as well.
//   - The chain: a hash of every event and of the tree at that time, every error and every stamp.
//     So a difference stays visible when it leaves no trace in the tree, or a later write undoes
//     it.
//
// Two things are not in the digest: the history, which may have another length on every member, and
// the indices at which something below a directory changed.
//
// Texts are hashed by CRC-32C, which processors compute. Two texts of one length that differ only
// within four bytes never have the same checksum, others once in 2^32. That guards against faults.
// Against an attacker it need not guard: nobody can give two members different texts for one entry.
func (s *Store) Digest() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := mix(s.chain, s.roots[Keys].inside.below.sum, s.window.digest())
	d = mix(d, s.roots[Auth].inside.below.sum, s.revision)
	return mix(d, uint64(s.offset), 0)
}

// link adds an event to the chain. s.mu must be held.
func (s *Store) link(space Space, e *Event, silent bool) {
	what := uint64(e.Action.number())
	if silent {
		what = ^what
	}
	s.chain = mix(s.chain, s.roots[space].inside.below.sum, what^uint64(space)<<32)
}

// seal adds the end of an entry to the chain: its index, its time, what Apply returns and the
// requests that are remembered. s.mu must be held.
func (s *Store) seal(answer any) {
	s.chain = mix(s.chain, s.applied, uint64(s.now))
	s.chain = mix(s.chain, s.index, s.window.digest()+hashOf(answer))
}

// hashOf returns the hash of what Apply returns. It leaves out an event's nodes: the tree has them.
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

// hash returns the hash of a node of the tree, without what is below it.
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

// mix mixes two numbers into the hash h: a multiplication to 128 bits folded to 64, as in wyhash
// (Wang Yi). The constants, fractions of the golden ratio and of the square root of 2, keep the
// factors from being small. They and the order of the arguments are part of the format: members of
// all versions must agree on them.
func mix(h, a, b uint64) uint64 {
	high, low := bits.Mul64(h^a^0x9e3779b97f4a7c15, b^0x6a09e667f3bcc909)
	return high ^ low
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the CRC-32C of two texts, one behind the other: the first one has the checksum
// sum, 0 when it is empty.
func checksum(sum uint32, text string) uint32 {
	// A conversion would copy: the compiler does not see that Update only reads.
	return crc32.Update(sum, castagnoli, unsafe.Slice(unsafe.StringData(text), len(text)))
}
