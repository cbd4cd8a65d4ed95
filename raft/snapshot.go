package raft

// appliedTo says that the state machine has applied the entries up to index. They may leave the
// memory now. A follower that dropped an Append because its state machine lagged asks the leader
// for the next entry, once enough is applied and a leader is known.
func (c *core) appliedTo(index uint64) {
	if index > c.applied {
		if from := max(c.applied, c.log.base) + 1; from <= index {
			c.unapplied -= entriesSize(c.log.slice(from, index, maxInt))
		}
		c.applied = index
		c.trimTail()
	}
	// The leader then sends most of a window again, which is too much for little room (pitfall L5).
	if !c.refusing || c.unapplied > c.MaxUnappliedBytes/2 || c.leader == None {
		return
	}
	c.refusing = false
	if c.role == Follower {
		last := c.log.last()
		c.send(Message{
			Kind: AppendAnswer, To: c.leader, Reject: true, Index: last + 1, Hint: last, LogTerm: c.log.lastTerm(),
		})
	}
}

// isFull reports whether the state machine lags so far that a follower takes no more entries.
func (c *core) isFull() bool { return c.unapplied > c.MaxUnappliedBytes }

// isBehind reports whether the state machine lags so far that a leader holds proposals back.
func (c *core) isBehind() bool {
	return c.role == Leader && (c.commit-c.applied >= maxUnapplied || c.isFull())
}

// trimTail drops applied entries from memory when the tail takes more than MaxTailBytes. Members
// that lag get them from the disk.
func (c *core) trimTail() {
	if c.log.bytes <= c.MaxTailBytes {
		return
	}
	index, bytes := c.log.base, c.log.bytes
	for bytes > c.MaxTailBytes/2 && index < min(c.applied, c.log.durable) {
		index++
		bytes -= entrySize(c.log.at(index))
	}
	c.log.trim(index)
}

// compact says that a snapshot is on disk, and which index is the first that the log on disk still
// has.
func (c *core) compact(s Snapshot, first uint64) {
	if s.Index > c.snapshot.Index {
		c.snapshot = s
	}
	c.log.first = max(c.log.first, min(first, c.log.base+1))
	c.configs.compact(s.Index)
}

// lacked returns the lowest index that a member within reach lacks. The log must be kept from there
// on: otherwise a member that has received a snapshot would need another one, for ever (pitfall
// E6).
func (c *core) lacked() uint64 {
	from := c.log.last() + 1
	for i := range c.lead.members {
		switch p := &c.lead.members[i]; {
		case p.sending == snapshotting:
			from = min(from, p.snapshot+1)
		case c.answers(p.id):
			from = min(from, p.match+1)
		}
	}
	return from
}

// sendSnapshot begins to send the newest snapshot; the driver sends the bytes and then calls sent.
// If the newest snapshot has nothing that the member lacks, it tries again after the next round of
// heartbeats.
func (c *core) sendSnapshot(p *progress) {
	if c.snapshot.Index < p.next {
		p.becomePausing(c.lead.round)
		return
	}
	p.sending, p.probe, p.snapshot = snapshotting, probe{}, c.snapshot.Index
	p.feed.drop()
	s := c.snapshot
	c.send(Message{Kind: InstallSnapshot, To: p.id, Snapshot: &s})
}

// sent says how the sending of a snapshot ended. If it did not arrive, the member may be down:
// nothing is sent until it answers.
func (c *core) sent(to uint64, arrived bool) {
	p := c.lead.progress(to)
	switch {
	case p == nil || p.sending != snapshotting:
	case arrived:
		p.losses = 0
		p.becomeProbing(p.snapshot + 1)
	default:
		p.becomePausing(c.lead.round)
	}
}

// handleSnapshot installs a snapshot whose bytes are whole on this member's disk (§7). One at or
// below the commit index says nothing new, and changes nothing (pitfall E2).
func (c *core) handleSnapshot(m *Message) {
	s := m.Snapshot
	switch {
	case s.Index <= c.commit:
		c.sendDurable(Message{Kind: AppendAnswer, To: m.From, Index: c.commit}, c.commit)
		return
	case c.log.matches(s.Index, s.Term):
		c.commitTo(s.Index) // the log has all of it already: the entries that follow are kept (pitfall E1)
	default:
		c.install(s)
	}
	c.sendDurable(Message{Kind: AppendAnswer, To: m.From, Index: s.Index}, s.Index)
}

// install replaces log, configuration and state by the snapshot's.
func (c *core) install(s *Snapshot) {
	for i := range c.writes {
		c.writes[i].last = 0 // what is being written belongs to the old log
	}
	c.log.reset(s)
	c.log.durable = 0 // until the disk has noted it
	c.configs.reset(s)
	c.checkIncarnation()
	c.snapshot = *s
	c.commit, c.applying, c.unapplied = s.Index, s.Index, 0
	c.out.Restore = s
	c.installing = s
}
