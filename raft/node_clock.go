package raft

import (
	"sync/atomic"
	"time"
)

// shownClock is the cluster clock for other goroutines to read, but never for a stamp. On a member
// that follows, it goes on between two heartbeats. It stands still while no leader is known.
type shownClock struct {
	still  atomic.Int64 // where it stands; 0 while it runs
	offset atomic.Int64 // while it runs: the cluster's time less this member's monotonic clock
	heard  int64        // cluster time when offset was set; touched by the loop alone
}

// set sets the clock to that of the core.
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

// time returns the cluster time at mono on this member's monotonic clock.
func (k *shownClock) time(mono int64) int64 {
	if t := k.still.Load(); t != 0 {
		return t
	}
	return mono + k.offset.Load()
}

// pace wakes the loop when the core has something to do at some tick, and not at every tick: an
// idle member mostly sleeps.
type pace struct {
	timer *time.Timer
	tick  time.Duration
	begun time.Time // the last tick that was counted
	ticks int       // after how many of them the timer fires; 0: it is not set
}

func (n *Node) newPace() *pace {
	return &pace{timer: time.NewTimer(never), tick: n.Heartbeat / ticksPerHeartbeat, begun: time.Now()}
}

// plan has the timer wake the loop after this number of ticks, unless it does so earlier.
func (p *pace) plan(ticks int) {
	if p.ticks == 0 || ticks < p.ticks {
		p.ticks = ticks
		p.timer.Reset(time.Until(p.begun.Add(time.Duration(ticks) * p.tick)))
	}
}

// passed returns how many ticks have passed since its last call. After a pause of the process it
// returns at most the number that was planned (pitfall A14).
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
