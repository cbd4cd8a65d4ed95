package raft

// What holds under strain: no queue grows without end, little is sent twice, and nothing waits
// longer than its round trips and bytes need. A fault that has struck excuses what takes longer, or
// is sent twice, because of it: simWorld.trouble and simWorld.excuse record it.

// checkBounds: no queue grows without end (pitfalls B13, L3).
func (k *simChecker) checkBounds(p *simProcess, e *Effects) {
	c, entry := p.core, k.w.profile.largest()
	if c.lead.uncommitted > 2*c.MaxUncommittedBytes+100*1500+entry {
		k.w.violated("n%x has %d bytes under way", p.id, c.lead.uncommitted)
	}
	reads := len(c.reads.waiting) + len(c.reads.confirming)
	if len(c.held) > maxHeld || reads > maxReads || len(e.Messages) > maxHeld+maxReads+1000 {
		k.w.violated("n%x holds %d messages and %d reads, and sends %d", p.id, len(c.held), reads, len(e.Messages))
	}
	if f := &c.forwarding; f.bytes > c.MaxInflightBytes+c.MaxAppendBytes+entry {
		k.w.violated("n%x has passed on %d bytes, and was not answered", p.id, f.bytes)
	}
	for i := range c.lead.members {
		m := &c.lead.members[i]
		if m.window.bytes > c.MaxInflightBytes+c.MaxAppendBytes+2*entry {
			k.w.violated("n%x has %d bytes on their way to n%x", p.id, m.window.bytes, m.id)
		}
		if m.feed.bytes > c.MaxAppendBytes+k.w.profile.inflightBytes+2*entry {
			k.w.violated("n%x has read %d bytes ahead for n%x", p.id, m.feed.bytes, m.id)
		}
		n := len(m.streams)
		for j := range m.streams {
			n += len(m.streams[j].refused)
		}
		if n > 1000 {
			k.w.violated("n%x remembers %d streams and refusals for n%x", p.id, n, m.id)
		}
	}
}

// largest is the size of the largest entry.
func (p *simProfile) largest() int { return max(2700, p.bulky+2*entryOverhead) }

// window returns how many bytes may be on their way to one member: those of the window, and those
// of one read of the log from disk.
func (p *simProfile) window() int { return 2*p.inflightBytes + p.appendBytes + 2*p.largest() }

// simSent is what a leader has sent to one member in one term.
type simSent struct {
	term    uint64
	indexes []uint64 // a bit for each index that was sent
	first   int64    // bytes sent for the first time
	again   int64    // bytes sent again
	excuses int      // of the leader and the member together, when the term began
}

// sends: each entry goes to a member once. Each fault may cost a window (pitfall L5).
func (k *simChecker) sends(p *simProcess, m *Message) {
	if m.Kind != Append || len(m.Entries) == 0 {
		return
	}
	s, excuses := p.sentTo[m.To], k.w.network.excuses[p.id]+k.w.network.excuses[m.To]
	if s == nil || s.term != m.Term {
		s = &simSent{term: m.Term, excuses: excuses}
		p.sentTo[m.To] = s
	}
	for i := range m.Entries {
		e := &m.Entries[i]
		if s.note(e.Index) {
			s.first += int64(entrySize(e))
		} else {
			s.again += int64(entrySize(e))
		}
	}
	allowed := s.first / 5
	if k.w.profile.faults&faultSlowApply != 0 {
		// A member drops a window when two windows are not applied. The leader sends it again when
		// half of that is applied.
		allowed += s.first
	}
	if allowed += int64(k.w.profile.window()) * int64(1+excuses-s.excuses); s.again > allowed {
		k.w.violated("n%x has sent n%x %d bytes, and %d bytes again, with %d faults between them", p.id, m.To, s.first,
			s.again, excuses-s.excuses)
	}
}

// note records that an entry is sent, and reports whether it is the first time.
func (s *simSent) note(index uint64) bool {
	word, bit := index/64, uint64(1)<<(index%64)
	for uint64(len(s.indexes)) <= word {
		s.indexes = append(s.indexes, 0)
	}
	first := s.indexes[word]&bit == 0
	s.indexes[word] |= bit
	return first
}

// simLearning records since when a leader has known a learner, to measure how long it has no vote.
type simLearning struct {
	since int64
	match uint64 // what the learner had then
}

// checkLearners: a learner that can be reached gets its vote within ten round trips plus the time
// to send what it lacks and what is written meanwhile (pitfall L4).
func (k *simChecker) checkLearners(p *simProcess) {
	if p.core.role != Leader {
		clear(p.learning)
		return
	}
	for _, m := range p.core.configs.now().membership.Members {
		if !m.Learner {
			continue
		}
		l := p.learning[m.ID]
		if l == nil {
			l = &simLearning{}
			p.learning[m.ID] = l
		}
		settled := p.core.commit >= p.core.lead.start // else no change can be made yet
		if l.since <= k.w.troubled || !k.w.allReach(p) || !settled {
			l.since, l.match = k.w.now, p.core.lead.progress(m.ID).match
		}
		if k.w.now > l.since+k.w.profile.joining(k.bytesFrom(p, l.match)) {
			k.w.violated("n%x has no vote after %d ticks in which nothing went wrong", m.ID, (k.w.now-l.since)/simTick)
		}
	}
}

// joining returns how long a learner that lacks a number of bytes may be without a vote: it may
// need a snapshot first.
func (p *simProfile) joining(bytes int) int64 {
	ticks := 10*p.roundTrip() + 2*float64(bytes)/p.throughput() + 8*p.transferDelay + 20*p.diskDelay +
		float64(5*p.heartbeatTicks+p.electionTicks)
	return int64(1.1 * ticks * float64(simTick))
}

// bytesFrom returns the size of all entries of a leader after an index.
func (k *simChecker) bytesFrom(p *simProcess, index uint64) int {
	return k.bytesAfter(min(index, k.commit())) + sizeOf(p.core, max(k.commit(), p.core.log.base))
}

// allReach reports whether a leader and all members are up and can talk to each other.
func (w *simWorld) allReach(l *simProcess) bool {
	if w.silent {
		return false
	}
	members := l.core.configs.now().membership.Members
	for _, a := range members {
		if q := w.processes[a.ID-1]; q.core == nil || q.paused {
			return false
		}
		for _, b := range members {
			if w.network.links[a.ID][b.ID].cut {
				return false
			}
		}
	}
	return true
}

// tookLoad: an entry is agreed within a few round trips plus the time to send what was before it.
// So nothing waits behind a large entry for longer than a window takes (pitfall L7).
func (k *simChecker) tookLoad(e *Entry) {
	l, ok := k.loads[e.ID]
	delete(k.loads, e.ID)
	p := &k.w.profile
	if settled := k.w.troubled + 5*int64(p.electionTicks)*simTick; !ok || l.at < settled {
		return
	}
	k.w.count(countTimed)
	ticks := 4*p.roundTrip() + 2*float64(l.bytes)/p.throughput() + 20*p.diskDelay + float64(2*p.heartbeatTicks)
	if took := float64(k.w.now-l.at) / float64(simTick); took > ticks {
		k.w.violated("entry %d, with %d bytes up to it under way, took %.1f ticks, and %.1f are allowed", e.Index,
			l.bytes, took, ticks)
	}
}

// checkJobs: jobs beside the writes get their turn after a bounded time, however busy the disk is
// (pitfall L6).
func (k *simChecker) checkJobs(p *simProcess) {
	longest := 30 * int64(k.w.profile.electionTicks) * simTick // longer than any write takes
	switch {
	case p.cut != nil && k.w.now-p.cut.asked > longest:
		k.w.violated("the log of n%x has not been cut for %d ticks", p.id, (k.w.now-p.cut.asked)/simTick)
	case p.failing != nil && k.w.now-p.failedAt > longest:
		k.w.violated("the disk of n%x has failed %d ticks ago, and it goes on", p.id, (k.w.now-p.failedAt)/simTick)
	}
	for _, c := range p.parked {
		if c.done || c.at != p {
			k.w.violated("n%x keeps a request that nobody waits for", p.id) // pitfall L3
		}
	}
}

// checkChange: no leader is replaced without a fault, however high the load.
func (k *simChecker) checkChange(p *simProcess) {
	if still := k.w.now - k.w.struck; still > 20*int64(k.w.profile.electionTicks)*simTick {
		k.w.violated("n%x is elected, and nothing has gone wrong for %d ticks", p.id, still/simTick)
	}
}
