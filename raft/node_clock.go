package raft

import (
	"sync/atomic"
	"time"
)

// shownClock is the cluster clock as other goroutines may read it: for show, never for a stamp. On
// a member that follows it goes on between two heartbeats.
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

// pace wakes the loop when the core has something to do by the clock, not at every tick: an idle
// member mostly sleeps.
type pace struct {
	timer *time.Timer
	tick  time.Duration
	begun time.Time // the last tick that was counted
	ticks int       // the timer runs until so many have passed; 0: it doesn't
}

func (n *Node) newPace() *pace {
	return &pace{timer: time.NewTimer(never), tick: n.Heartbeat / ticksPerHeartbeat, begun: time.Now()}
}

// plan has the timer wake the loop after so many ticks, unless it does so before.
func (p *pace) plan(ticks int) {
	if p.ticks == 0 || ticks < p.ticks {
		p.ticks = ticks
		p.timer.Reset(time.Until(p.begun.Add(time.Duration(ticks) * p.tick)))
	}
}

// passed returns how many ticks have passed since it was last asked. After a pause of the process
// it is no more than were planned (pitfall A14).
func (p *pace) passed() int {
	passed := int(time.Since(p.begun) / p.tick)
	if passed > p.ticks {
		passed, p.begun = p.ticks, time.Now()
	} else {
		p.begun = p.begun.Add(time.Duration(passed) * p.tick)
	}
	p.ticks -= passed
	return passed
}
