package raft

import "time"

// clusterClock is the time that the log carries, in nanoseconds. A leader
// takes it over from the last stamp in its log or the last one that it heard,
// whichever is later, and advances it by its own monotonic clock; without a
// leader it stands still. So it never goes back, and neither skewed nor jumping wall
// clocks stretch or cut a time to live (pitfalls I1, I2, I3).
//
// A time heard in a term is forgotten when the leader of a later term is heard. A leader that was
// cut off goes on counting for a while: if its count were taken up after a successor has stamped
// entries, keys would expire early.
type clusterClock struct {
	now       int64  // this member's monotonic clock at the last input
	heard     int64  // the latest stamp heard in heardTerm, or reached as its leader
	heardTerm uint64 // the latest term of a leader that was heard, or in which this member led
	running   bool   // this member leads; the next two say since when
	start     int64  // the cluster's time then
	startedAt int64  // this member's monotonic clock then

	wall   int64 // this member's wall clock minus its monotonic one, when it was last read
	logged int64 // leader: the offset in its last EntryEmpty with Data
}

// maxOffset is how far, in nanoseconds, the leader's wall clock may move against the cluster clock.
// Once it has moved further, the leader logs the new offset before the next proposal.
const maxOffset = int64(100 * time.Millisecond)

// readWall notes what this member's wall clock shows at the moment of the last advance, in Unix
// nanoseconds.
func (c *core) readWall(wall int64) { c.clock.wall = wall - c.clock.now }

// wallOffset returns the wall clock minus the cluster clock, in nanoseconds.
func (c *core) wallOffset() int64 { return c.clock.wall + c.clock.now - c.clock.time(&c.log) }

// wallEntry returns an empty entry that tells the state machine the offset of the leader's wall
// clock. So the expiration that a node of the tree shows is a function of the log (pitfall L9).
// Without a WallCommand the entry holds nothing.
func (c *core) wallEntry() Entry {
	if c.WallCommand == nil {
		return Entry{Kind: EntryEmpty}
	}
	c.clock.logged = c.wallOffset()
	return Entry{Kind: EntryEmpty, Data: c.WallCommand(time.Duration(c.clock.logged))}
}

// logWall appends a wallEntry if the wall clock has moved by more than maxOffset since the last
// one. It is called before a proposal, so that an idle leader writes nothing.
func (c *core) logWall() {
	moved := c.wallOffset() - c.clock.logged
	if c.WallCommand != nil && (moved > maxOffset || moved < -maxOffset) {
		c.appendOwn(c.wallEntry())
	}
}

// lead begins to advance the clock; wall is the first stamp of a new cluster.
func (k *clusterClock) lead(l *entryLog, wall int64) {
	k.start = k.last(l)
	if k.start == 0 {
		k.start = wall
	}
	k.startedAt, k.running = k.now, true
}

// halt stops the clock when this member's leadership in term ends.
func (k *clusterClock) halt(term uint64) {
	if k.running {
		k.running = false
		k.heard, k.heardTerm = k.start+k.now-k.startedAt, term
	}
}

// observe records a stamp that was heard from the leader of a term.
func (k *clusterClock) observe(term uint64, stamp int64) {
	if term > k.heardTerm {
		k.heard, k.heardTerm = stamp, term
	}
	k.heard = max(k.heard, stamp)
}

// last returns the latest time that was heard or is in the log.
func (k *clusterClock) last(l *entryLog) int64 { return max(k.heard, l.lastStamp()) }

// time returns the cluster's time now, never before the log's last stamp.
func (k *clusterClock) time(l *entryLog) int64 {
	if !k.running {
		return k.last(l)
	}
	return max(k.start+k.now-k.startedAt, l.lastStamp())
}
