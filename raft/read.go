package raft

// readQueue holds the reads that a leader has not yet answered. A read is safe at
// the commit index of its arrival, once a round of heartbeats begun after that
// arrival shows that this member still led (diss. 6.4). All reads that wait share one round.
type readQueue struct {
	waiting    []read // arrived since the present round began
	confirming []read // wait for the answers to round
	round      uint64
	index      uint64 // the commit index when round began
}

// read is one read: an id of the member that asks, new for every try (pitfall C3).
type read struct {
	id   uint64
	from uint64
}

func (q *readQueue) ask(r read) { q.waiting = append(q.waiting, r) }

// read asks for an index at which this member may be read; the answer comes in Effects.Reads. It may never come.
func (c *core) read(id uint64) error {
	switch {
	case c.role == Leader:
		c.reads.ask(read{id: id, from: c.ID})
	case c.leader != None:
		c.send(Message{Kind: ReadIndex, To: c.leader, Round: id})
	default:
		return errNotLeader
	}
	return nil
}

// beginReads begins a round for the reads that wait; not before the leader knows what is committed, which is when
// an entry of its own term is (pitfall C2), and only rounds begun after a read's arrival count for it (pitfall C4).
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

// releaseReads answers the reads whose round a majority of the voters has answered, of the configuration as it is now
// (pitfall C9).
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

// handleReadIndexAnswer passes the leader's answer on; whether anybody still waits for that id is the driver's to know.
func (c *core) handleReadIndexAnswer(m *Message) {
	c.out.Reads = append(c.out.Reads, SafeRead{ID: m.Round, Index: m.Index})
}
