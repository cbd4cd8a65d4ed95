package raft

import (
	"encoding/binary"
	"fmt"
)

// Digester is a StateMachine that can tell in 64 bits what its state is. Two members that applied the
// same entries have the same digest.
type Digester interface {
	// Digest is called by the applier, between two calls of Apply.
	Digest() uint64
}

// DigestEvery is how many entries are applied between two digests.
const DigestEvery = 10_000

// digests compares this member's state with the others'. Every member puts a digest of its state into the log at the same indexes;
// where a majority of the voters agrees, one that has another stops: it applied something differently, and what it
// serves was not agreed (pitfall I8).
type digests struct {
	index uint64 // at which the digests below were taken
	own   uint64
	known bool              // own is known
	said  map[uint64]uint64 // member → its digest
}

// digest takes this member's digest when it is time, and compares it when the others' come.
func (n *Node) digest(e *Entry, m *Membership) {
	if d, ok := n.sm.(Digester); ok && e.Index%DigestEvery == 0 && e.Index > n.born && len(m.Members) > 1 {
		n.digests = digests{index: e.Index, own: d.Digest(), known: true, said: map[uint64]uint64{}}
		n.inbox.ask(request{proposal: proposal{kind: EntryDigest, data: appendDigest(nil, n.id, e.Index, n.digests.own)}})
	}
	if e.Kind != EntryDigest {
		return
	}
	member, index, sum, err := decodeDigest(e.Data)
	if err != nil || index != n.digests.index || !n.digests.known {
		return
	}
	n.digests.said[member] = sum
	n.compareDigests(newConfig(e.Index, *m))
}

// compareDigests ends this member when a majority of the voters has another state.
func (n *Node) compareDigests(c config) {
	votes := map[uint64]int{}
	for member, sum := range n.digests.said {
		if c.votes(member) {
			votes[sum]++
		}
	}
	for sum, count := range votes {
		if count < c.quorum() {
			continue
		}
		n.digests.known = false // decided
		if sum != n.digests.own {
			n.fail(fmt.Errorf("%w: at entry %d it has the digest %016x, and %d of %d voters have %016x; remove the member, empty its data directory and add it anew",
				ErrDiverged, n.digests.index, n.digests.own, count, len(c.voters), sum))
			return
		}
		n.stats.Digests.Add(1)
		return
	}
}

func appendDigest(b []byte, member, index, sum uint64) []byte {
	b = binary.AppendUvarint(b, member)
	b = binary.AppendUvarint(b, index)
	return binary.AppendUvarint(b, sum)
}

func decodeDigest(b []byte) (member, index, sum uint64, err error) {
	d := decoder{in: b}
	member, index, sum = d.uint(), d.uint(), d.uint()
	return member, index, sum, d.end()
}
