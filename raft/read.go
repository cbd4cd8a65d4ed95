package raft

import "slices"

// readQueue holds the reads that a leader has not yet answered. A read is safe at
// the commit index of its arrival, once a round of heartbeats begun after that
// arrival shows that this member still led (diss. 6.4). All reads that wait share one round.
type readQueue struct {
	waiting    []read // arrived since the present round began
	confirming []read // wait for the answers to round
	round      uint64
	index      uint64 // the commit index when round began: no lower than at their arrival
}

// read is one read. The member that asks chooses its id, a new one for every try (pitfall C3).
type read struct {
	id   uint64
	from uint64
}

// maxReads bounds the reads that wait at a leader. One read may stand for many clients of its
// member.
const maxReads = 4096

// enqueueRead queues a read, or refuses it when too many wait.
func (c *core) enqueueRead(r read) {
	if q := &c.reads; len(q.waiting)+len(q.confirming) < maxReads {
		q.waiting = append(q.waiting, r)
	} else {
		c.refuseRead(r)
	}
}

// read asks for an index at which this member may be read. The answer comes in Effects.Reads,
// unless the question or the answer is lost.
func (c *core) read(id uint64) error {
	switch {
	case c.role == Leader:
		c.enqueueRead(read{id: id, from: c.ID})
	case c.leader != None:
		c.send(Message{Kind: ReadIndex, To: c.leader, Round: id})
	default:
		return errNotLeader
	}
	return nil
}

// beginReads begins a round for the reads that wait, unless one is under way: only a round begun
// after a read's arrival counts for it (pitfall C4). The first round waits until an entry of the
// leader's own term is committed, since the leader does not know before what is (pitfall C2).
func (c *core) beginReads() {
	q := &c.reads
	if c.role != Leader || len(q.waiting) == 0 || len(q.confirming) > 0 || c.commit < c.lead.start {
		return
	}
	q.confirming, q.waiting = q.waiting, q.confirming[:0]
	q.index = c.commit
	c.beat()
	q.round = c.lead.round
	c.releaseReads()
}

// releaseReads answers the reads of a round once a majority of the present configuration's voters
// has answered the round (pitfall C9).
func (c *core) releaseReads() {
	q := &c.reads
	if len(q.confirming) == 0 || c.quorumOf(c.lead.round, func(p *progress) uint64 { return p.round }) < q.round {
		return
	}
	for _, r := range q.confirming {
		if r.from == c.ID {
			c.out.Reads = append(c.out.Reads, SafeRead{ID: r.id, Index: q.index})
		} else {
			c.send(Message{Kind: ReadIndexAnswer, To: r.from, Round: r.id, Index: q.index})
		}
	}
	q.confirming = q.confirming[:0]
	c.beginReads()
}

// handleReadIndex queues another member's read, or refuses it when this member does not lead.
func (c *core) handleReadIndex(m *Message) {
	r := read{id: m.Round, from: m.From}
	if c.role == Leader {
		c.enqueueRead(r)
	} else {
		c.refuseRead(r)
	}
}

// handleReadIndexAnswer passes the leader's answer to the driver, which knows whether anybody still
// waits for that id.
func (c *core) handleReadIndexAnswer(m *Message) {
	c.out.Reads = append(c.out.Reads, SafeRead{ID: m.Round, Index: m.Index, Never: m.Reject})
}

// refuseReads refuses all reads when the leadership ends: they will never be safe (pitfall C5).
func (c *core) refuseReads() {
	for _, r := range slices.Concat(c.reads.confirming, c.reads.waiting) {
		c.refuseRead(r)
	}
	c.reads = readQueue{}
}

func (c *core) refuseRead(r read) {
	if r.from == c.ID {
		c.out.Reads = append(c.out.Reads, SafeRead{ID: r.id, Never: true})
	} else {
		c.send(Message{Kind: ReadIndexAnswer, To: r.from, Round: r.id, Reject: true})
	}
}
