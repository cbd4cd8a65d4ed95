package raft

// leadership is what a leader knows and no one else needs. It begins and ends with a term.
type leadership struct {
	members     []progress // of every other member of the configuration in force, by id
	start       uint64     // index of the empty entry that opened the term
	round       uint64     // number of the last round of heartbeats
	sinceBeat   int        // ticks since then
	uncommitted int        // bytes proposed and not committed
	target      uint64     // who shall lead next, or None
	targetTicks int        // ticks since that was decided
}

// progress returns what is known of a member; nil when it is not one.
func (l *leadership) progress(id uint64) *progress {
	for i := range l.members {
		if l.members[i].id == id {
			return &l.members[i]
		}
	}
	return nil
}

// sending says how entries go to a member.
type sending uint8

const (
	probing      sending = iota // one message at a time: where its log agrees with ours is not known
	replicating                 // in a stream, without waiting for answers
	snapshotting                // not at all: a snapshot is on its way
)

var sendingNames = [...]string{probing: "probe", replicating: "replicate", snapshotting: "snapshot"}

// progress is the leader's knowledge of one other member.
// Invariant: match < next.
type progress struct {
	id       uint64
	match    uint64 // highest index known to be on its disk; never falls within a term (pitfall B8)
	next     uint64 // next index to send
	sending  sending
	waiting  bool   // probing: the probe is out, or there is none to send now
	asked    uint64 // waiting: until a round of heartbeats after this one is answered
	fetching bool   // entries are being read from disk for it
	snapshot uint64 // snapshotting: index of the snapshot on its way
	told     uint64 // highest commit index sent to it
	round    uint64 // highest round of heartbeats that it answered
	quiet    int    // ticks since its last answer, or since there was reason to wait for one
	heard    bool   // it has answered in this term
	gone     bool   // its connection has been seen to break since

	inflight      []inflight // sent and not answered, in order
	inflightBytes int
}

// inflight is one Append on its way.
type inflight struct {
	last  uint64 // highest index in it
	bytes int
	round uint64 // the last round of heartbeats begun before it
}

// probe begins to look for the place from which on the logs differ.
func (p *progress) probe(next uint64) {
	p.sending, p.waiting, p.fetching = probing, false, false
	p.next = max(next, p.match+1)
	p.inflight, p.inflightBytes = nil, 0
}

// rest is probe, but nothing is sent before the member answers a round of heartbeats after round: there is nobody
// to hear it, or nothing to say. A new leader, which knows no match yet, goes on to look where it was about to: to begin at
// the first entry would cost a snapshot.
func (p *progress) rest(round uint64) {
	next := p.match + 1
	if p.sending == probing {
		next = p.next
	}
	p.probe(next)
	p.waiting, p.asked = true, round
}

// advance notes that the member has everything up to index on disk; false when that is nothing new.
func (p *progress) advance(index uint64) bool {
	for len(p.inflight) > 0 && p.inflight[0].last <= index {
		p.inflightBytes -= p.inflight[0].bytes
		p.inflight = p.inflight[1:]
	}
	if p.sending == probing && index+1 >= p.next || p.sending == snapshotting && index >= p.snapshot { // pitfall E11
		p.sending, p.waiting = replicating, false
	}
	p.next = max(p.next, index+1)
	if index <= p.match {
		return false
	}
	p.match = index
	return true
}

// sent notes an Append on its way.
func (p *progress) sent(es []Entry, round uint64) {
	bytes := 0
	for i := range es {
		bytes += entrySize(&es[i])
	}
	if p.sending == probing {
		p.waiting, p.asked = true, round+rounds(bytes)
		return
	}
	if len(es) == 0 {
		return
	}
	last := es[len(es)-1].Index
	p.next = last + 1
	p.inflight = append(p.inflight, inflight{last: last, bytes: bytes, round: round})
	p.inflightBytes += bytes
}

// paused tells whether nothing may be sent for now.
func (p *progress) paused(maxInflight int) bool {
	switch p.sending {
	case probing:
		return p.waiting || p.fetching
	case replicating:
		return p.fetching || p.inflightBytes >= maxInflight
	default:
		return true
	}
}

// overdue tells whether an Append was sent well before a round of heartbeats that is answered, and is not
// answered itself: it may wait for the member's disk, or be lost.
func (p *progress) overdue(round uint64) bool {
	return p.sending == replicating && len(p.inflight) > 0 && p.inflight[0].round+1+rounds(p.inflightBytes) < round
}

// rounds is how many rounds of heartbeats may overtake so many bytes on a slow link. What is late must not be taken for lost: to send
// megabytes again because they are slow would make them slower still, for ever.
func rounds(bytes int) uint64 { return uint64(bytes / bytesPerRound) }

const bytesPerRound = 64 << 10
