package raft

import "etcd2/raft/linear"

// simClient makes one call after the other, each to some member.
type simClient struct {
	w        *simWorld
	number   int
	call     *simCall // under way
	observed [simKeys]uint64
}

// simCall is one operation of a client, from its beginning to its answer.
type simCall struct {
	op     simOp
	result linear.Result
	from   int // when it began and ended, in events of this history
	to     int
	known  bool // its outcome is known

	client  *simClient
	at      *simProcess // the member that was asked
	request *simRequest
	id      uint64 // of the proposal, or the try to read
	term    uint64 // in which it was proposed
	safe    uint64 // read: index that must be applied; 0 as long as that is not known
	asked   bool   // write: it may be in some log
	waiting bool   // during the pause before the next try
	tries   int    // of a write with a request id, of unknown outcome
	done    bool
	floor   uint64 // calls that ended before this one began took effect at or below this index
	leader  uint64 // term of the leader when it began
}

func newSimClient(w *simWorld, number int) *simClient {
	c := &simClient{w: w, number: number}
	c.pause()
	return c
}

func (c *simClient) pause() { c.w.after(c.w.around(c.w.profile.think), c.next) }

// next begins the next call.
func (c *simClient) next() {
	if c.w.calm {
		return
	}
	w := c.w
	call := &simCall{client: c, op: c.choose(), floor: w.check.settledIndex, leader: w.check.latestTerm,
		from: w.check.moment()}
	c.call = call
	w.history = append(w.history, call)
	deadline := w.between(20, 60)
	if w.on(faultGiveUp) && w.chance(0.3) {
		deadline = w.between(0, 8)
	}
	w.after(deadline, call.late)
	if call.op.Kind == linear.Get {
		call.read()
	} else {
		call.propose(w.anyone())
	}
}

func (c *simClient) choose() simOp {
	w := c.w
	o := simOp{key: uint8(w.rand.IntN(simKeys))}
	if w.chance(w.profile.reads) {
		return o
	}
	o.Value = w.check.newID()
	if w.whole && len(w.check.requests) < simRequests && w.chance(0.5) {
		o.request = o.Value
	}
	switch {
	case w.chance(0.2) && c.observed[o.key] != 0:
		o.Kind, o.Expect = linear.CAS, c.observed[o.key]
	case w.chance(0.1):
		o.Kind, o.Value = linear.Delete, 0
	default:
		o.Kind = linear.Put
	}
	return o
}

// read asks any member that is up and not paused.
func (c *simCall) read() {
	p := c.client.w.anyone()
	if p == nil || p.paused {
		c.later(c.read)
		return
	}
	c.at = p
	p.read(c)
}

// propose asks one member. When it knows no leader, or the leader refuses, the client tries another
// member.
func (c *simCall) propose(p *simProcess) {
	w := c.client.w
	if p == nil || p.core == nil || p.paused {
		c.later(func() { c.propose(w.anyone()) })
		return
	}
	c.at = p
	if p.propose(c) {
		c.impatient()
		return
	}
	c.again()
}

// again proposes anew a write that is in no log and never will be.
func (c *simCall) again() {
	if c.done {
		return
	}
	c.asked = c.tries > 0
	c.later(func() { c.propose(c.client.w.anyone()) })
}

func (c *simCall) later(do func()) {
	w := c.client.w
	c.waiting = true
	w.after(w.around(1), func() {
		c.waiting = false
		if !c.done {
			do()
		}
	})
}

// late ends a call whose deadline has passed.
func (c *simCall) late() {
	c.tries = simTries
	c.fail()
}

// simRequests bounds the proposals with a request id in a run, because every snapshot holds their
// results.
const simRequests = 600

// simTries is how often a client repeats a write that has a request id.
const simTries = 3

// fail ends a call without an answer: its deadline has passed, or the member it asked has died
// (pitfall G1). A write that has a request id may be proposed again, and is executed once all the
// same (pitfalls G3, G5).
func (c *simCall) fail() {
	if c.done {
		return
	}
	if c.at != nil {
		c.at.drop(c)
	}
	if c.op.request != 0 && c.tries < simTries && !c.client.w.calm {
		c.tries++
		c.client.w.count(countRepeated)
		c.again()
		return
	}
	c.end()
}

// impatient lets a client repeat its request though the first may still be answered.
func (c *simCall) impatient() {
	id, w := c.id, c.client.w
	if c.op.request != 0 && w.chance(0.2) {
		w.after(w.between(0, 15), func() {
			if c.id == id && !c.waiting {
				c.fail()
			}
		})
	}
}

// wrote ends a write that was applied at an index of the log.
func (c *simCall) wrote(index uint64, r linear.Result) {
	w := c.client.w
	if index <= c.floor {
		w.violated("linearizability: a write went to index %d, but what had ended before it began was at %d",
			index, c.floor)
	}
	w.count(countWrites)
	c.answered(index, r)
}

// saw ends a read of the state at an index.
func (c *simCall) saw(index uint64, r linear.Result) {
	w := c.client.w
	if index < c.floor && !w.mutant.trusted() {
		w.violated("linearizability: n%x read at index %d, but what had ended before the read began was at %d", c.at.id,
			index, c.floor)
	}
	if w.check.latestTerm > c.leader {
		w.count(countReadsOverChange)
	}
	w.count(countReads)
	c.answered(index, r)
}

func (c *simCall) answered(index uint64, r linear.Result) {
	w := c.client.w
	w.check.settledIndex = max(w.check.settledIndex, index)
	c.known, c.result = true, r
	if c.op.Kind == linear.Get || c.op.Kind == linear.CAS && !r.OK {
		c.client.observed[c.op.key] = r.Value
	}
	c.end()
}

func (c *simCall) end() {
	c.done = true
	c.to = c.client.w.check.moment()
	c.client.call = nil
	c.client.pause()
}
