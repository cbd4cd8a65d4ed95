package raft

import (
	"sync"
	"sync/atomic"
	"time"
)

// Stats are a node's counters and histograms. All fields may be read at any
// time from any goroutine.
type Stats struct {
	Proposals       atomic.Uint64 // made at this member
	ProposalsFailed atomic.Uint64 // ended without a known result
	Pending         atomic.Int64  // proposals that wait now
	Forwarded       atomic.Uint64 // passed on to the leader
	Reads           atomic.Uint64 // linearizable reads that clients of this member asked for
	ReadsFailed     atomic.Uint64 // those of Reads that got no answer
	Elections       atomic.Uint64 // campaigns begun by this member
	LeaderChanges   atomic.Uint64
	Snapshots       atomic.Uint64 // written
	Received        atomic.Uint64 // snapshots received from a leader
	Digests         atomic.Uint64 // digests of this member's state that were equal to a majority's
	Unreadable      atomic.Uint64 // reads of old entries that failed: the disk has changed what was written
	Committed       atomic.Uint64 // index of the last entry known to be committed
	Term            atomic.Uint64 // the current one
	FsyncNanos      atomic.Int64  // how long the last write and fsync of the log took

	// Wall clock in Unix nanoseconds.
	LastFsync  atomic.Int64 // when the last fsync of the log ended
	FsyncSince atomic.Int64 // when the one in flight began; 0: there is none
	// when this member last led, or heard the leader and was heard by it; at first when it started
	InTouch atomic.Int64
	// the same committed entry waits to be applied since this moment, or longer; 0: none waits
	BehindSince atomic.Int64

	AppendsSent     Traffic // to all members
	AppendsReceived Traffic // from leaders

	Fsync    Histogram // write and fsync of one batch of the log
	Commit   Histogram // from proposing to commit, at the leader
	Apply    Histogram // applying one batch
	Snapshot Histogram // writing one snapshot
	Propose  Histogram // from Propose to its result
}

// HistogramBounds are the upper bounds of a Histogram's buckets, in seconds: 100 µs doubling to 13
// s.
var HistogramBounds = func() (b [18]float64) {
	for i := range b {
		b[i] = 0.0001 * float64(uint(1)<<i)
	}
	return b
}()

// Histogram counts durations in fixed buckets. The zero value is ready; all methods may be
// called from any goroutine.
type Histogram struct {
	buckets [len(HistogramBounds) + 1]atomic.Uint64 // the last one: beyond every bound
	nanos   atomic.Int64
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	i, s := 0, d.Seconds()
	for i < len(HistogramBounds) && s > HistogramBounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.nanos.Add(int64(d))
}

// Snapshot returns the cumulative counts per bound, the count of all, and the sum in seconds.
func (h *Histogram) Snapshot() (cumulative [len(HistogramBounds)]uint64, count uint64, sum float64) {
	for i := range h.buckets {
		count += h.buckets[i].Load()
		if i < len(cumulative) {
			cumulative[i] = count
		}
	}
	return cumulative, count, time.Duration(h.nanos.Load()).Seconds()
}

// trafficWindow is the number of whole seconds over which a Traffic averages its rates.
const trafficWindow = 10

// Traffic counts messages and their bytes. The zero value is ready; all methods may be called from
// any goroutine.
type Traffic struct {
	mu    sync.Mutex // protects the rest
	count uint64
	ring  [trafficWindow + 1]traffic // the traffic of second t is at t % len, until it is overwritten
}

// traffic is what a Traffic counts in one second.
type traffic struct {
	second       int64
	count, bytes uint64
}

// Note counts messages that were sent or received at a moment; bytes is the sum of their sizes.
func (t *Traffic) Note(at time.Time, count, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count += uint64(count)
	s := &t.ring[at.Unix()%int64(len(t.ring))]
	if s.second != at.Unix() {
		*s = traffic{second: at.Unix()}
	}
	s.count += uint64(count)
	s.bytes += uint64(bytes)
}

// Count returns how many messages there ever were.
func (t *Traffic) Count() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}

// Rates returns messages and bytes a second, over the ten whole seconds before that of now.
func (t *Traffic) Rates(now time.Time) (count, bytes float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.ring {
		if age := now.Unix() - s.second; age >= 1 && age <= trafficWindow {
			count += float64(s.count)
			bytes += float64(s.bytes)
		}
	}
	return count / trafficWindow, bytes / trafficWindow
}

// noteAppends counts the Appends among messages that are being sent or were received.
func (t *Traffic) noteAppends(ms []Message) {
	count, bytes := 0, 0
	for i := range ms {
		if ms[i].Kind != Append {
			continue
		}
		count++
		for j := range ms[i].Entries {
			bytes += entrySize(&ms[i].Entries[j])
		}
	}
	if count > 0 {
		t.Note(time.Now(), count, bytes)
	}
}

// queues returns the length and limit of each queue inside the member. Only the loop calls it.
func (n *Node) queues() []Queue {
	out := 0
	for _, ids := range n.reads {
		out += len(ids)
	}
	c := n.core
	n.inbox.mu.Lock()
	defer n.inbox.mu.Unlock()
	n.waiters.mu.Lock()
	defer n.waiters.mu.Unlock()
	return []Queue{
		{"waiters", "requests", len(n.waiters.waiting), maxWaiters},
		{"waiters", "bytes", n.waiters.bytes, maxWaitersBytes},
		{"inbox", "requests", max(len(n.inbox.proposals.filling), len(n.inbox.reads.filling)), maxWaiters},
		{"inbox", "bytes", n.inbox.bytes, maxInboxBytes},
		{"parked", "requests", max(len(n.parked.proposals), len(n.parked.reads)), maxWaiters},
		{"reading", "requests", out, maxWaiters},
		{"confirming", "reads", len(c.reads.waiting) + len(c.reads.confirming), maxReads},
		{"forwarded", "bytes", c.forwarding.bytes, c.MaxInflightBytes + maxOneRequest},
		{"uncommitted", "bytes", c.lead.uncommitted, c.MaxUncommittedBytes + maxOneRequest},
		{"unapplied", "bytes", c.unapplied, c.MaxUnappliedBytes + c.MaxUncommittedBytes + maxOneRequest},
		{"held", "messages", len(c.held), maxHeld},
	}
}

// maxOneRequest is about the size of the largest request, in bytes. A queue that is not full takes
// a whole request, and may exceed its bound by that.
const maxOneRequest = 64 << 20
