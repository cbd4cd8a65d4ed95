package peer

import (
	"math"
	"time"

	"etcd2/raft"
)

// trips are the round trips of messages with entries, by Welford's method: mean and variance in one
// pass, without a sum of squares that cancels itself out.
type trips struct {
	count                                             uint64
	current, least, most                              time.Duration
	mean, squares/* of differences from it */ float64 // nanoseconds
}

// add counts a round trip that n messages made together.
func (t *trips) add(d time.Duration, n int) {
	if t.count == 0 || d < t.least {
		t.least = d
	}
	t.current, t.most = d, max(t.most, d)
	t.count += uint64(n)
	off := float64(d) - t.mean
	t.mean += off * float64(n) / float64(t.count)
	t.squares += off * (float64(d) - t.mean) * float64(n)
}

// put writes the figures into the statistics.
func (t *trips) put(s *raft.PeerStats) {
	s.Trips, s.Current, s.Least, s.Greatest = t.count, t.current, t.least, t.most
	s.Average = time.Duration(t.mean)
	if t.count > 0 {
		s.Deviation = time.Duration(math.Sqrt(t.squares / float64(t.count)))
	}
}

// observe takes in the round trips of writes that are known, from now on, to have been read.
func (p *peer) observe(now time.Time, landed []mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range landed {
		if m.messages > 0 {
			p.trips.add(now.Sub(m.at), m.messages)
		}
	}
}

// snapshotDone counts a transfer.
func (p *peer) snapshotDone(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.stats.Snapshots++
	} else {
		p.stats.SnapshotsFailed++
	}
}

// Peers returns what was measured of each member that is followed, and of those that have called
// and are not known yet.
func (t *Transport) Peers() map[uint64]raft.PeerStats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make(map[uint64]raft.PeerStats, len(t.peers))
	for id, p := range t.peers {
		p.mu.Lock()
		s := p.stats
		p.trips.put(&s)
		s.Urgent, s.Bulky = p.urgent.figures(), p.bulky.figures()
		out := p.out
		p.mu.Unlock()
		if out != nil {
			out.flight.put(&s)
		}
		s.ReceivedBytes = p.received.Load()
		all[id] = s
	}
	return all
}
