package raft

import (
	"cmp"
	"slices"
)

// leadership is what a leader knows and no one else needs. It begins and ends with a term.
type leadership struct {
	members     []progress // of every other member of the configuration in force, by id
	start       uint64     // index of the empty entry that opened the term
	ticks       int        // since the leadership began; Appends are overdue by them
	round       uint64     // number of the last round of heartbeats
	sinceBeat   int        // ticks since then
	uncommitted int        // bytes proposed and not committed
	target      uint64     // the member that is to lead next, or None
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
	pausing                     // not at all: what was sent got lost, or there is no snapshot for it yet
)

var sendingNames = [...]string{
	probing: "probe", replicating: "replicate", snapshotting: "snapshot", pausing: "pause",
}

// progress is the leader's knowledge of one other member. What moves it from one way of sending to
// another:
//
//	probing       an answer to the probe: the logs agree             → replicating
//	replicating   the oldest Append is overdue, or was refused       → probing
//	any           what it lacks is no longer in the log              → snapshotting
//	snapshotting  the snapshot has arrived, or is answered           → probing, replicating
//	any           its connection broke, or its queue was full        → pausing
//	pausing       it answers a round of heartbeats that began later  → probing
//
// Invariants: match < next; the window is empty unless replicating; no probe is out unless
// probing.
type progress struct {
	id         uint64
	match      uint64 // highest index known to be on its disk; never falls within a term (pitfall B8)
	next       uint64 // next index to send
	commitSent uint64 // highest commit index sent to it
	round      uint64 // highest round of heartbeats that it answered
	losses     int    // how often Appends were taken for lost since match moved

	sending     sending
	probe       probe  // probing
	window      window // replicating
	snapshot    uint64 // snapshotting: index of the snapshot on its way
	pausedRound uint64 // pausing: the answer to a later round of heartbeats ends the pause

	quiet        int  // ticks since its last answer, or since it became a member
	heard        bool // it has answered in this term
	disconnected bool // its connection has broken since its last answer

	roundTrip roundTrip
	feed      readAhead
	catchUp   catchUp
	streams   []proposalStream // of the proposals that it passes on
}

// probe is an Append that asks whether the logs agree. While it is out, no other one is sent. When
// it is given up, another one is sent, and the answer to either counts. The answer to what was sent
// before does not count: it does not show that the queue to the member has room (pitfall L5).
type probe struct {
	out   bool
	last  uint64 // an answer to the first one has at least this index; 0: none was sent
	round uint64 // it is given up when (1) a later round of heartbeats is answered
	retry int    // and (2) the leadership has this many ticks
}

// window holds the Appends that are in flight.
type window struct {
	inflight []inflight // in order
	bytes    int        // of their entries
}

// inflight is one Append on its way.
type inflight struct {
	last  uint64 // highest index in it
	term  uint64 // of the entry at last
	bytes int
	sent  int // at which tick of the leadership
}

// add puts an Append that ends with an entry into the window.
func (w *window) add(last *Entry, bytes, now int) {
	w.inflight = append(w.inflight, inflight{last.Index, last.Term, bytes, now})
	w.bytes += bytes
}

// acknowledge drops the Appends whose entries all have an index of at most index.
func (w *window) acknowledge(index uint64) {
	for len(w.inflight) > 0 && w.inflight[0].last <= index {
		w.bytes -= w.inflight[0].bytes
		w.inflight = w.inflight[1:]
	}
}

// endsWith reports whether an entry is the last one of an Append in the window.
func (w *window) endsWith(index, term uint64) bool {
	return slices.ContainsFunc(w.inflight, func(f inflight) bool { return f.last == index && f.term == term })
}

// becomeProbing begins to look for the place from which on the logs differ.
func (p *progress) becomeProbing(next uint64) {
	p.sending, p.probe, p.window = probing, probe{}, window{}
	p.next = max(next, p.match+1)
}

// becomePausing sends nothing before the member answers a round of heartbeats after round. What it
// answers meanwhile was sent before, and does not show that more would arrive (pitfall L5). While
// probing, next stays: a new leader knows no match yet, and to probe from the first entry on would
// cost a snapshot.
func (p *progress) becomePausing(round uint64) {
	next := p.match + 1
	if p.sending == probing || p.sending == pausing {
		next = p.next
	}
	p.becomeProbing(next)
	p.sending, p.pausedRound = pausing, round
	p.feed.drop()
}

// endPause ends a pause if the member has answered a later round of heartbeats.
func (p *progress) endPause(round uint64) {
	if p.sending == pausing && round > p.pausedRound {
		p.becomeProbing(p.next)
	}
}

// giveUpProbe counts a probe as lost if the member has answered a later round of heartbeats, and
// the time for an answer to the probe is over.
func (p *progress) giveUpProbe(round uint64, now int) {
	if p.probe.out && round > p.probe.round && now >= p.probe.retry {
		p.probe.out = false
		p.losses++
	}
}

// advance records that the member has everything up to index on disk, and reports whether match has
// moved.
func (p *progress) advance(index uint64) bool {
	p.window.acknowledge(index)
	if p.probe.out && index >= p.probe.last || p.sending == snapshotting && index >= p.snapshot { // pitfall E11
		p.sending, p.probe = replicating, probe{}
	}
	p.next = max(p.next, index+1)
	if index <= p.match {
		return false
	}
	p.match, p.losses = index, 0
	return true
}

// recordSent records that an Append with es was sent.
func (c *core) recordSent(p *progress, es []Entry) {
	l, bytes := &c.lead, entriesSize(es)
	if p.sending == probing {
		last := cmp.Or(p.probe.last, p.next-1+uint64(len(es)))
		p.probe = probe{out: true, last: last, round: l.round, retry: l.ticks + c.lossTimeout(p, bytes)}
		return
	}
	if len(es) == 0 {
		return
	}
	last := &es[len(es)-1]
	p.next = last.Index + 1
	p.window.add(last, bytes, l.ticks)
}

// takesEntries reports whether entries may be sent, as far as the window allows.
func (p *progress) takesEntries() bool { return p.sending == probing || p.sending == replicating }

// paused reports whether no Append may be sent for now.
func (p *progress) paused(maxInflight int) bool {
	switch p.sending {
	case probing:
		return p.probe.out
	case replicating:
		return p.window.bytes >= maxInflight
	default:
		return true
	}
}

// overdue reports whether the oldest Append in flight should have been answered by now. That is
// measured in ticks, never in rounds of heartbeats: reads begin thousands of rounds a second
// (pitfall L5).
func (c *core) overdue(p *progress) bool {
	w := &p.window
	return p.sending == replicating && len(w.inflight) > 0 &&
		c.lead.ticks-w.inflight[0].sent > c.lossTimeout(p, w.bytes)
}

// slowest is the lowest expected rate of a link, in bytes per heartbeat interval. If megabytes were
// sent again while they are only late, they would be later still, for ever.
const slowest = 64 << 10

// mostLost bounds the doubling of a timeout: after three losses it is eight times as long, and
// stays so.
const mostLost = 3

// lossTimeout returns how many ticks after it was sent an Append counts as lost, with bytes on
// their way: a heartbeat interval, two round trips, and the time that the bytes take on a slow
// link. It doubles each time that something counted as lost.
func (c *core) lossTimeout(p *progress, bytes int) int {
	ticks := c.HeartbeatTicks + 2*p.roundTrip.ticks + bytes/slowest*c.HeartbeatTicks
	return ticks << min(p.losses, mostLost)
}

// roundTrip is how long a member takes to answer a heartbeat: an estimate near the longest recent
// time.
type roundTrip struct {
	ticks int
	round uint64 // the round that is being measured; 0: none
	begun int    // at which tick of the leadership
}

// begin measures a round, unless one is being measured.
func (t *roundTrip) begin(round uint64, now int) {
	if t.round == 0 {
		t.round, t.begun = round, now
	}
}

// end takes in the answer to a round. The estimate rises at once and falls slowly. The answer to a
// later round ends the measurement without a result: the answer that it waits for may be lost. What
// takes longer than most ticks was a pause of the member and not its distance.
func (t *roundTrip) end(round uint64, now, most int) {
	if t.round == 0 || round < t.round {
		return
	}
	if round == t.round {
		t.ticks = max(min(now-t.begun, most), t.ticks-(t.ticks+7)/8)
	}
	t.round = 0
}

// readAhead holds entries that were read from the log on disk for a member that lags, and are not
// yet sent. So the next read is under way while the entries of the last one are in flight.
type readAhead struct {
	fetching bool    // a read is under way, perhaps of entries no longer wanted
	entries  []Entry // without gaps, up to last
	before   uint64  // term of the entry before entries, or of last when there are none
	last     uint64  // index of the last entry that was read; 0: none
	bytes    int     // of entries
}

// from drops the entries before index. If the entry at index is neither the first one left nor the
// next one to read, it drops everything.
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

// add appends entries; es[0] follows last.
func (f *readAhead) add(es []Entry) {
	n := len(f.entries)
	f.entries = append(f.entries[:n:n], es...)
	f.bytes += entriesSize(es)
	f.last = es[len(es)-1].Index
}

// longestRTT returns the longest round trip to another member, in ticks.
func (l *leadership) longestRTT() (ticks uint64) {
	for i := range l.members {
		ticks = max(ticks, uint64(l.members[i].roundTrip.ticks))
	}
	return ticks
}

// catchUp is a round of a learner's catching up (diss. 4.2.1). It ends when the learner has what
// the leader had when the round began: the goal does not move meanwhile, whatever is written
// (pitfall L4). A round shorter than an election timeout earns the vote.
type catchUp struct {
	goal  uint64 // last index of the leader's log when the round began; 0: none has begun
	begun int    // at which tick of the leadership
}
