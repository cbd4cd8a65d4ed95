package raft

import (
	"strings"
	"sync"

	"etcd2/store"
)

// The load: a stream of small entries, large ones now and then, and reads, for which no client
// waits. Entries and reads keep coming at all times, and the checker measures how long the entries
// take.

// simLoad is one entry of the load.
type simLoad struct {
	at    int64 // when the leader appended it
	bytes int   // of entries that were not agreed then, this one included
}

func (w *simWorld) startLoad() {
	p := &w.profile
	w.repeat(p.streamEvery, func(l *simProcess) { w.load(l, 1+w.rand.IntN(100)) })
	w.repeat(p.bulkyEvery, func(l *simProcess) {
		if q := w.anyone(); q != l && !q.paused && w.chance(0.3) {
			w.passOn(q, p.bulky)
			return
		}
		w.load(l, 1+w.rand.IntN(p.bulky))
	})
	w.repeat(p.readEvery, func(l *simProcess) {
		if q := &l.core.reads; len(q.waiting) < 100 {
			l.input(func(c *core) { _ = c.read(w.check.newID()) })
		}
	})
}

// repeat has something done to the leader repeatedly, until the faults end; every is the mean
// interval in ticks, or 0 for never.
func (w *simWorld) repeat(every float64, do func(*simProcess)) {
	if every == 0 {
		return
	}
	w.after(w.around(every), func() {
		if w.calm {
			return
		}
		if l := w.leader(); l != nil && !l.paused {
			do(l)
		}
		w.repeat(every, do)
	})
}

// load lets a leader append one entry.
func (w *simWorld) load(l *simProcess, size int) {
	id, data := w.check.newID(), w.filler(size)
	l.input(func(c *core) {
		if _, err := c.propose(proposal{kind: EntryCommand, id: id, data: data}); err != nil {
			w.check.refused(id)
			return
		}
		w.check.loads[id] = simLoad{w.now, c.lead.uncommitted}
	})
}

// passOn lets a follower pass one entry on to the leader.
func (w *simWorld) passOn(p *simProcess, size int) {
	id, data := w.check.newID(), w.filler(size)
	p.input(func(c *core) {
		if c.forward([]proposal{{kind: EntryCommand, id: id, data: data}}) == 0 {
			w.check.refused(id)
		}
	})
}

// fillerKind stands for the kind of operation in an entry of the load, which changes no register.
const fillerKind = 0xff

// simFiller is the data of all entries of the load. They share its bytes: their sizes are counted,
// and nothing is copied.
var simFiller = sync.OnceValue(func() []byte {
	b := make([]byte, 10<<20)
	b[0] = fillerKind
	return b
})

// filler returns the command of an entry of the load.
func (w *simWorld) filler(size int) []byte {
	if !w.whole {
		return simFiller()[:size]
	}
	c := store.Command{Op: store.OpSet, Path: "/load", Value: strings.Repeat(".", size)}
	return c.Append(nil)
}
