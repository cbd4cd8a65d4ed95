package raft

import "sync/atomic"

// shownClock is the cluster clock as other goroutines may read it: for show, never for a stamp. On a member that follows it goes on between
// two heartbeats.
type shownClock struct {
	still  atomic.Int64 // where it stands; 0 while it runs
	offset atomic.Int64 // while it runs: the cluster's time less this member's monotonic clock
	heard  int64        // of the loop: the cluster's time when offset was set
}

// set takes the time over from the core.
func (k *shownClock) set(c *core) {
	now := c.clock.time(&c.log)
	if c.leader == None {
		k.still.Store(max(now, 1))
		return
	}
	if c.role == Leader || now != k.heard {
		k.heard = now
		k.offset.Store(now - c.clock.now)
	}
	k.still.Store(0)
}

// time is the cluster's time when this member's monotonic clock shows mono.
func (k *shownClock) time(mono int64) int64 {
	if t := k.still.Load(); t != 0 {
		return t
	}
	return mono + k.offset.Load()
}
