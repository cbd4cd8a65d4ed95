package raft

import (
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
	Elections       atomic.Uint64 // campaigns begun by this member
	LeaderChanges   atomic.Uint64
	Snapshots       atomic.Uint64 // written
	Received        atomic.Uint64 // snapshots received from a leader
	Digests         atomic.Uint64 // compared with a majority's, and equal
	Unreadable      atomic.Uint64 // reads of old entries that failed: the disk has changed what was written
	LastFsync       atomic.Int64  // wall clock of the end of the last fsync of the log, in Unix nanoseconds

	Fsync    Histogram // write and fsync of one batch of the log
	Commit   Histogram // from proposing to commit, at the leader
	Apply    Histogram // applying one batch
	Snapshot Histogram // writing one snapshot
	Propose  Histogram // from Propose to its result
}

// HistogramBounds are the upper bounds of a Histogram's buckets, in seconds: 100 µs doubling to 13 s.
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
