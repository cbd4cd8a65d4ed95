package raft

import (
	"encoding/binary"
	"fmt"
)

// Digester is a StateMachine that can tell in 64 bits what its state is. Two members that applied
// the same entries have the same digest.
type Digester interface {
	// Digest is called by the applier, between two calls of Apply.
	Digest() uint64
}

// DigestEvery is how many entries are applied between two digests.
const DigestEvery = 10_000

// digests compares this member's state with the others'. Every member puts a digest of its state
// into the log at the same indexes; where a majority of the voters agrees, one that has another
// stops: it applied something differently, and what it serves was not agreed (pitfall I8).
type digests struct {
	index    uint64 // at which the digests below were taken
	own      uint64
	known    bool              // own is known
	received map[uint64]uint64 // member → its digest
}

// digest takes this member's digest when it is time, and compares it when the others' come. A
// member that differs ends.
func (n *Node) digest(e *Entry, m *Membership) {
	if d, ok := n.sm.(Digester); ok && e.Index%DigestEvery == 0 && e.Index > n.startCommit && len(m.Members) > 1 {
		own := n.digests.begin(n.id, e.Index, d.Digest())
		// Nobody waits for the outcome. Without room there is no digest this time.
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

// take notes a member's own digest at an index, and returns it as what is to be proposed.
func (d *digests) begin(member, index, own uint64) proposal {
	*d = digests{index: index, own: own, known: true, received: map[uint64]uint64{}}
	return proposal{kind: EntryDigest, data: appendDigest(nil, member, index, own)}
}

// hear takes in a member's digest from the log. It returns true as soon as a majority of the voters
// has the own state, and an error as soon as one has another.
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
