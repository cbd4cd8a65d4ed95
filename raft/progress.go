package raft

// leadership is what a leader knows and no one else needs. It begins and ends with a term.
type leadership struct {
	members     []progress // of every other member of the configuration in force, by id
	start       uint64     // index of the empty entry that opened the term
	ticks       int        // since the leadership began; what is overdue is measured in them
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
// Invariants: match < next, inflight only while replicating.
type progress struct {
	id       uint64
	match    uint64 // highest index known to be on its disk; never falls within a term (pitfall B8)
	next     uint64 // next index to send
	sending  sending
	snapshot uint64 // snapshotting: index of the snapshot on its way
	told     uint64 // highest commit index sent to it
	round    uint64 // highest round of heartbeats that it answered

	// Probing: nothing is sent before (1) a round of heartbeats after asked is answered, and
	// (2) the leadership is retry ticks old.
	waiting bool
	asked   uint64
	retry   int

	quiet int  // ticks since its last answer, or since there was reason to wait for one
	heard bool // it has answered in this term
	gone  bool // its connection has been seen to break since

	inflight      []inflight // sent and not answered, in order
	inflightBytes int
	lost          int // how often what was in flight was taken for lost since match moved

	trip    roundTrip
	feed    readAhead
	catchUp catchUp
	streams []proposalStream // of the proposals that it passes on
}

// inflight is one Append on its way.
type inflight struct {
	last  uint64 // highest index in it
	bytes int
	sent  int // when: ticks of the leadership
}

// probe begins to look for the place from which on the logs differ.
func (p *progress) probe(next uint64) {
	p.sending, p.waiting = probing, false
	p.next = max(next, p.match+1)
	p.inflight, p.inflightBytes = nil, 0
}

// rest is probe, but nothing is sent before the member answers a round of heartbeats after round:
// nobody is there to hear it, or there is nothing to say. A new leader, which knows no match yet,
// goes on to look where it was about to: to begin at the first entry would cost a snapshot.
func (p *progress) rest(round uint64) {
	next := p.match + 1
	if p.sending == probing {
		next = p.next
	}
	p.probe(next)
	p.waiting, p.asked, p.retry = true, round, 0
	p.feed.drop()
}

// endWait ends the wait of a probe, because the member is there and has not answered it.
func (p *progress) endWait(round uint64, now int) {
	if !p.waiting || round <= p.asked || now < p.retry {
		return
	}
	p.waiting = false
	if p.retry > 0 {
		p.lost++
	}
}

// advance notes that the member has everything up to index on disk, and reports whether that is new.
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
	p.match, p.lost = index, 0
	return true
}

// noteSent notes an Append on its way.
func (c *core) noteSent(p *progress, es []Entry) {
	l, bytes := &c.lead, entriesSize(es)
	if p.sending == probing {
		p.waiting, p.asked, p.retry = true, l.round, l.ticks+c.lossTimeout(p, bytes)
		return
	}
	if len(es) == 0 {
		return
	}
	last := es[len(es)-1].Index
	p.next = last + 1
	p.inflight = append(p.inflight, inflight{last: last, bytes: bytes, sent: l.ticks})
	p.inflightBytes += bytes
}

// paused reports whether nothing may be sent for now.
func (p *progress) paused(maxInflight int) bool {
	switch p.sending {
	case probing:
		return p.waiting
	case replicating:
		return p.inflightBytes >= maxInflight
	default:
		return true
	}
}

// overdue reports whether the oldest Append in flight should have arrived by now. It is measured in
// ticks, never in rounds of heartbeats: reads begin thousands of those a second (pitfall L5).
func (c *core) overdue(p *progress) bool {
	return p.sending == replicating && len(p.inflight) > 0 &&
		c.lead.ticks-p.inflight[0].sent > c.lossTimeout(p, p.inflightBytes)
}

// slowest is the least rate, in bytes for each interval of heartbeats, that a link is expected to
// have. To send megabytes again because they are late would make them later still, for ever.
const slowest = 64 << 10

// mostLost bounds the doubling: what was taken for lost three times and more is sent again after
// eight times as long.
const mostLost = 3

// lossTimeout is how many ticks so many bytes may take to be answered before they count as lost: an
// interval of heartbeats, two round trips, and the time that the bytes need on a slow link; twice
// that after each time that it turned out to be too short.
func (c *core) lossTimeout(p *progress, bytes int) int {
	ticks := c.HeartbeatTicks + 2*p.trip.ticks + bytes/slowest*c.HeartbeatTicks
	return ticks << min(p.lost, mostLost)
}

// roundTrip is how long a member takes to answer a heartbeat, in ticks: the longest of late.
type roundTrip struct {
	ticks int
	round uint64 // the round that is measured; 0: none is
	begun int    // when
}

// begin measures a round, unless one is being measured.
func (t *roundTrip) begin(round uint64, now int) {
	if t.round == 0 {
		t.round, t.begun = round, now
	}
}

// end takes in the answer to a round. The estimate rises at once and falls slowly. The answer to a
// later round tells nothing, but that the one to the measured round may be lost.
func (t *roundTrip) end(round uint64, now int) {
	if t.round == 0 || round < t.round {
		return
	}
	if round == t.round {
		t.ticks = max(now-t.begun, t.ticks-(t.ticks+7)/8)
	}
	t.round = 0
}

// readAhead is what was read from the log on disk for a member that lags, and not yet sent: so the
// next read is under way while the entries of the last one are in flight.
type readAhead struct {
	fetching bool    // a read is under way, of whatever
	entries  []Entry // without gaps, up to last
	before   uint64  // term of the entry before entries, or of last when there are none
	last     uint64  // index of the last entry that was read; 0: nothing was
	bytes    int     // of entries
}

// from drops what comes before index, and everything when the entry at index does not come next.
func (f *readAhead) from(index uint64) {
	for len(f.entries) > 0 && f.entries[0].Index < index {
		f.bytes -= entrySize(&f.entries[0])
		f.before, f.entries = f.entries[0].Term, f.entries[1:]
	}
	if f.last+1-uint64(len(f.entries)) != index {
		f.drop()
	}
}

func (f *readAhead) drop() { f.entries, f.bytes, f.last = nil, 0, 0 }

// add takes in entries that follow the last one.
func (f *readAhead) add(es []Entry) {
	n := len(f.entries)
	f.entries = append(f.entries[:n:n], es...)
	f.bytes += entriesSize(es)
	f.last = es[len(es)-1].Index
}

// farthest is the longest round trip to another member, in ticks.
func (l *leadership) farthest() (ticks uint64) {
	for i := range l.members {
		ticks = max(ticks, uint64(l.members[i].trip.ticks))
	}
	return ticks
}

// catchUp is how a learner comes to its vote, in rounds (diss. 4.2.1): a round ends when the learner
// has what the leader had when the round began. The mark does not move meanwhile, whatever is
// written (pitfall L4). A round that took less than an election timeout was short enough.
type catchUp struct {
	goal  uint64 // last index of the leader's log when the round began; 0: none has begun
	begun int    // when: ticks of the leadership
}
