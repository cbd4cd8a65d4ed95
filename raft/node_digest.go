package raft

import (
	"encoding/binary"
	"fmt"
)

// Digester is a StateMachine with a digest of its state: 64 bits, which are the same at two members
// that have applied the same entries.
type Digester interface {
	// Digest is called by the applier, between two calls of Apply.
	Digest() uint64
}

// DigestEvery is how many entries are applied between two digests.
const DigestEvery = 10_000

// digests compares this member's state with that of the other members. Every member proposes a
// digest of its state at the same indexes. When a majority of the voters has the same digest, a
// member with another one stops: it has applied something differently, and serves what was not
// agreed (pitfall I8).
type digests struct {
	index    uint64 // at which the digests below were taken
	own      uint64
	known    bool              // own is known
	received map[uint64]uint64 // member → its digest
}

// digest proposes this member's digest when one is due, and compares it with those in the log. A
// member whose state differs ends.
func (n *Node) digest(e *Entry, m *Membership) {
	if d, ok := n.sm.(Digester); ok && e.Index%DigestEvery == 0 && e.Index > n.startCommit && len(m.Members) > 1 {
		own := n.digests.begin(n.id, e.Index, d.Digest())
		// The outcome does not matter. Without room there is no digest this time.
		_, _ = n.enqueue(&waiter{result: make(chan outcome, 1)}, request{proposal: own})
	}
	if e.Kind != EntryDigest {
		return
	}
	switch same, err := n.digests.compare(e, newConfig(e.Index, e.Term, *m)); {
	case err != nil:
		n.fail(err)
	case same:
		n.stats.Digests.Add(1)
	}
}

// begin begins a comparison with this member's own digest at an index, and returns what to propose.
func (d *digests) begin(member, index, own uint64) proposal {
	*d = digests{index: index, own: own, known: true, received: map[uint64]uint64{}}
	return proposal{kind: EntryDigest, data: appendDigest(nil, member, index, own)}
}

// compare takes a member's digest from the log. It returns true when a majority of the voters has
// the same digest as this member, and an error when a majority has another one.
func (d *digests) compare(e *Entry, c config) (same bool, err error) {
	member, index, sum, err := decodeDigest(e.Data)
	if err != nil || index != d.index || !d.known {
		return false, nil
	}
	d.received[member] = sum
	count := 0
	for member, s := range d.received {
		if s == sum && c.votes(member) {
			count++
		}
	}
	if count < c.quorum() {
		return false, nil
	}
	d.known = false // decided
	if sum == d.own {
		return true, nil
	}
	return false, fmt.Errorf("%w: at entry %d it has the digest %016x, and %d of %d voters have %016x; remove the "+
		"member, empty its data directory and add it anew",
		ErrDiverged, index, d.own, count, len(c.voters), sum)
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
