package raft

import "slices"

// Effects are all that the driver must do after some inputs. The order of the fields is no order of
// execution: what must wait for the disk is not in here before the disk has answered.
type Effects struct {
	Persist   *Persist   // write and sync this, then call persisted
	Messages  []Message  // send these now
	Committed []Entry    // apply these, after everything handed out before
	Restore   *Snapshot  // before that: replace the state machine's state by this snapshot's
	Reads     []SafeRead // reads that became safe, or never will
	Fetch     []Fetch    // read these from the log on disk, then call fetched
	Refused   []Refusal  // proposals that the leader has not taken
	Broken    error      // this member can't go on: its disk has lost what it acknowledged; the rest is empty then
}

// Persist is one write of the disk writer, all or nothing.
type Persist struct {
	Seq      uint64
	State    State
	Entries  []Entry   // may overwrite what the log on disk has from the first one's index on
	Snapshot *Snapshot // the log on disk is replaced by this snapshot, which has been received whole
}

// SafeRead answers a read: the state machine may be read for it once Index is applied.
type SafeRead struct {
	ID    uint64
	Index uint64
	Never bool // the member that was asked refuses, as it does when it does not lead: ask again, under another id
}

// Fetch asks for entries that are no longer in memory: any number of them, but at least two when
// there are two.
type Fetch struct {
	To   uint64 // the member that lacks them
	From uint64 // first index
	Last uint64 // highest index wanted
}

// effects returns what has gathered since the last call. diskFree says that the disk writer has
// nothing to do: while it is busy, entries gather, and go as one write.
func (c *core) effects(diskFree bool) Effects {
	if c.broken != nil {
		return Effects{Broken: c.broken}
	}
	if c.role == Leader {
		c.broadcastAppend()
	}
	if diskFree {
		c.handToDisk()
	}
	c.handToStateMachine()
	out := c.out
	c.out = Effects{}
	return out
}

// handToDisk makes one write of what the disk writer does not have yet, about MaxWriteBytes at
// most. The commit index in it is not beyond the last entry that the disk has after it.
func (c *core) handToDisk() {
	l := &c.log
	if !c.dirty && l.handed == l.last() && c.installing == nil {
		return
	}
	c.seq++
	p := &Persist{Seq: c.seq, Snapshot: c.installing}
	c.installing = nil
	if l.handed < l.last() {
		p.Entries = l.slice(l.handed+1, l.last(), c.MaxWriteBytes)
		l.handed += uint64(len(p.Entries))
	}
	p.State = State{Term: c.term, Vote: c.vote, Commit: min(c.commit, l.handed)}
	if c.dirty {
		c.dirty = false
		c.stateSeq = c.seq
	}
	c.writes = append(c.writes, write{seq: c.seq, last: l.handed})
	c.out.Persist = p
}

const maxInt = int(^uint(0) >> 1)

// persisted says that the write numbered seq, and all before it, is on disk.
func (c *core) persisted(seq uint64) {
	done := 0
	for done < len(c.writes) && c.writes[done].seq <= seq {
		c.written = c.writes[done].seq
		c.log.durable = max(c.log.durable, c.writes[done].last)
		done++
	}
	c.writes = slices.Delete(c.writes, 0, done)
	c.stalled = 0
	c.releaseHeld()
	switch c.role {
	case Candidate:
		c.countVotes() // its own vote counts from now on (pitfall A4)
	case Leader:
		c.advanceCommit() // its own copy counts from now on (pitfall B9)
	}
}

// truncateLog drops the entry at index and all after it. The end of a write under way no longer
// makes them durable.
func (c *core) truncateLog(index uint64) {
	if index <= c.commit {
		panic("raft: a committed entry would be truncated") // pitfall B3
	}
	c.log.truncate(index)
	c.configs.truncate(index)
	for i := range c.writes {
		c.writes[i].last = min(c.writes[i].last, index-1)
	}
}

// releaseHeld sends the messages for which the disk has caught up.
func (c *core) releaseHeld() {
	rest := c.held[:0]
	for _, h := range c.held {
		if c.mayBeSent(&h) {
			c.out.Messages = append(c.out.Messages, h.m)
		} else {
			rest = append(rest, h)
		}
	}
	clear(c.held[len(rest):])
	c.held = rest
}

// handToStateMachine hands over the entries that are committed and on this member's own disk.
func (c *core) handToStateMachine() {
	to := min(c.commit, c.log.durable)
	if c.applying >= to {
		return
	}
	c.out.Committed = c.log.slice(c.applying+1, to, maxInt)
	c.applying = to
}
