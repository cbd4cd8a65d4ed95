package raft

import (
	"errors"
	"slices"
	"syscall"
)

// simNetwork joins the processes: one link for each direction of each pair.
type simNetwork struct {
	links [simMaxMembers + 1][simMaxMembers + 1]simLink
}

// simLink is one direction between two members.
type simLink struct {
	cut     bool
	clogged int64 // nothing arrives before
	last    int64 // when the last message arrives: a stream keeps its order
	resets  int   // of the connection; what was on its way then is lost
}

func (n *simNetwork) heal() {
	for i := range n.links {
		for j := range n.links[i] {
			l := &n.links[i][j]
			l.cut, l.clogged = false, 0
		}
	}
}

// send puts a message on its way.
func (w *simWorld) send(p *simProcess, m *Message) {
	l := &w.network.links[p.id][m.To]
	if m.Kind == InstallSnapshot {
		w.sendSnapshot(p, *m)
		return
	}
	if l.cut || w.on(faultLoss) && w.chance(w.profile.loss) {
		w.count(countLost)
		return
	}
	w.arrange(l, m, 0)
	if w.on(faultDoubles) && w.chance(w.profile.doubles) {
		w.count(countDoubled)
		w.arrange(l, m, w.between(0, 20))
	}
}

// arrange decides when and where a message arrives.
func (w *simWorld) arrange(l *simLink, m *Message, later int64) {
	arrival := max(w.now+w.around(w.profile.delay)+later, l.clogged)
	switch {
	case w.on(faultReorder) && w.chance(0.05):
		arrival += w.between(0, 20)
	case w.on(faultReorder) || later > 0:
	default:
		arrival = max(arrival, l.last)
		l.last = arrival
	}
	to := m.To
	if w.on(faultMisaddress) && w.chance(1e-3) {
		w.count(countMisaddressed)
		to = uint64(1 + w.rand.IntN(len(w.processes)))
	}
	copied, resets := w.encoded(m), l.resets
	w.at(arrival, func() { w.arrive(l, resets, to, copied) })
}

// encoded returns a message as it comes out at the other end.
func (w *simWorld) encoded(m *Message) *Message {
	copied := *m
	if w.whole {
		var err error
		if copied, err = DecodeMessage(AppendMessage(nil, m)); err != nil {
			w.violated("%v can't be decoded: %v", m, err)
		}
	}
	return &copied
}

// arrive hands a message to the process at the address, if it gets there and somebody is there.
func (w *simWorld) arrive(l *simLink, resets int, to uint64, m *Message) {
	p := w.processes[to-1]
	switch {
	case p.core == nil || l.cut || l.resets != resets:
		w.count(countLost)
	case p.paused:
		p.whenAwake(func() { w.arrive(l, resets, to, m) })
	default:
		p.deliver(m)
	}
}

// sendSnapshot sends a snapshot's bytes and then the message. The sender is told how it ended; a sender that died is not.
func (w *simWorld) sendSnapshot(p *simProcess, m Message) {
	l := &w.network.links[p.id][m.To]
	state := p.disk.file(m.Snapshot.Index)
	resets := l.resets
	p.after(w.around(w.profile.transferDelay), func() {
		to := w.processes[m.To-1]
		arrived := to.core != nil && !to.paused && !l.cut && l.resets == resets && state != nil &&
			!(w.on(faultLoss) && w.chance(w.profile.loss))
		arrived = arrived && to.receiveSnapshot(&m, state)
		p.input(func(c *core) { c.sent(m.To, arrived) })
		if arrived && w.on(faultDoubles) && w.chance(w.profile.doubles) {
			to.after(w.between(0, 100), func() { to.receiveSnapshot(&m, state) }) // pitfall E2
		}
	})
}

// receiveSnapshot takes a snapshot, unless the disk has no room for it; any other error of the disk ends this life.
func (p *simProcess) receiveSnapshot(m *Message, state any) bool {
	err := p.disk.receive(m.Snapshot, state)
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return false
	case err != nil:
		p.failed(err)
		return false
	}
	p.deliver(m)
	return true
}

// simTopology tells who can talk to whom, by their places in a random order of n members.
type simTopology struct {
	name  string
	links func(n, i, j int) bool
}

// simTopologies are the partitions; the first two silence the first member, the third is a split.
var simTopologies = []simTopology{
	{"mute", func(_, i, _ int) bool { return i != 0 }},
	{"one alone", func(_, i, j int) bool { return i != 0 && j != 0 }},
	{"split", func(n, i, j int) bool { return (i < n/2) == (j < n/2) }},
	{"one link", func(_, i, j int) bool { return i+j != 1 }},
	{"one direction", func(_, i, j int) bool { return i != 0 || j != 1 }},
	{"deaf", func(_, _, j int) bool { return j != 0 }},
	{"bridge", func(n, i, j int) bool { return i == 0 || j == 0 || (i <= n/2) == (j <= n/2) }},
	{"ring", func(n, i, j int) bool { return (i+1)%n == j || (j+1)%n == i }},
	{"star", func(_, i, j int) bool { return i == 0 || j == 0 }},
}

// partition cuts links after one of the topologies, for a while; p is the first in the order.
func (w *simWorld) partition(p *simProcess) {
	w.cut(p, &simTopologies[w.rand.IntN(len(simTopologies))])
}

// isolate keeps the others from hearing a process.
func (w *simWorld) isolate(p *simProcess) { w.cut(p, &simTopologies[w.rand.IntN(2)]) }

// split leaves a process with half of the others.
func (w *simWorld) split(p *simProcess) {
	if p.core != nil {
		w.cut(p, &simTopologies[2])
	}
}

func (w *simWorld) cut(p *simProcess, topology *simTopology) {
	up := w.running()
	w.rand.Shuffle(len(up), func(i, j int) { up[i], up[j] = up[j], up[i] })
	i := slices.Index(up, p)
	up[0], up[i] = up[i], up[0]
	w.count(countPartitions)
	w.tracef("%s partition: %s, n%x first", w.clock(), topology.name, p.id)
	w.network.heal()
	noticed := w.on(faultReset) && w.chance(0.5)
	for i, p := range up {
		for j, q := range up {
			l := &w.network.links[p.id][q.id]
			l.cut = i != j && !topology.links(len(up), i, j)
			if l.cut && noticed { // by who hears nothing any more; the other may be slower to see it (pitfall A10)
				q.lost(p.id)
			}
		}
	}
	w.after(w.between(5, 80), w.network.heal)
}

// clog holds up everything that one or all others send to a process.
func (w *simWorld) clog(p *simProcess) {
	until, all := w.now+w.between(1, 10+40*w.rand.IntN(2)), w.chance(0.5)
	for _, q := range w.running() {
		if all || w.chance(0.3) {
			w.network.links[q.id][p.id].clogged = until
		}
	}
	w.tracef("%s what is sent to n%x is held up", w.clock(), p.id)
}

// reset breaks the connection of two members, and both see it.
func (w *simWorld) reset(p *simProcess) {
	q := w.anyone()
	w.count(countResets)
	w.network.links[p.id][q.id].resets++
	w.network.links[q.id][p.id].resets++
	p.lost(q.id)
	q.lost(p.id)
}
