package peer

import (
	"math"
	"time"

	"etcd2/raft"
)

// trips are the round trips of messages with entries, by Welford's method: mean and variance in one
// pass, without the loss of precision of a sum of squares.
type trips struct {
	count                uint64
	current, least, most time.Duration
	mean                 float64 // nanoseconds
	squares              float64 // sum of the squares of the differences from mean
}

// add counts a round trip for n messages.
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
func (t *trips) writeTo(s *raft.PeerStats) {
	s.Trips, s.Current, s.Least, s.Greatest = t.count, t.current, t.least, t.most
	s.Average = time.Duration(t.mean)
	if t.count > 0 {
		s.Deviation = time.Duration(math.Sqrt(t.squares / float64(t.count)))
	}
}

// observe records the round trips of marks that are now known to have been read.
func (p *peer) observe(now time.Time, read []mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range read {
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

// Peers returns the statistics of each member that is followed, and of each guest.
func (t *Transport) Peers() map[uint64]raft.PeerStats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make(map[uint64]raft.PeerStats, len(t.peers))
	for id, p := range t.peers {
		p.mu.Lock()
		s := p.stats
		p.trips.writeTo(&s)
		s.Urgent, s.Bulky = p.urgent.figures(), p.bulky.figures()
		out := p.out
		p.mu.Unlock()
		if out != nil {
			out.flight.writeTo(&s)
		}
		s.ReceivedBytes = p.received.Load()
		all[id] = s
	}
	return all
}
