package raft

import (
	"errors"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
)

// simNetwork joins the processes: one link for each direction of each pair.
type simNetwork struct {
	links    [simMaxMembers + 1][simMaxMembers + 1]simLink
	distance [simMaxMembers + 1]float64 // in ticks, between two members with the same value; 0 in worlds without distances
	excuses  [simMaxMembers + 1]int     // times that something went wrong with a member, or a link of it
}

// spread decides which members are far away.
func (n *simNetwork) spread(p *simProfile, r *rand.Rand) {
	if p.distance == 0 {
		return
	}
	for i := range n.distance {
		n.distance[i] = []float64{p.near, p.distance}[r.IntN(2)]
	}
}

// simLink is one direction between two members. Messages that carry entries have a lane of their
// own, so that they delay no others.
type simLink struct {
	cut     bool
	clogged int64    // nothing arrives before this time
	last    [2]int64 // when the last message of each lane arrives: a stream keeps its order
	free    [2]int64 // when each lane has sent what is queued in it
	resets  int      // of the connection; messages that were on their way at a reset are lost
}

// heal mends all links.
func (n *simNetwork) heal() {
	for i := range n.links {
		for j := range n.links[i] {
			l := &n.links[i][j]
			if l.cut {
				l.free = [2]int64{}
			}
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
	if l.cut || w.silent || w.on(faultLoss) && w.chance(w.profile.loss) {
		w.lostMessage(m)
		return
	}
	if w.isFull(l, m) {
		w.dropMessage(m)
		return
	}
	w.arrange(l, m, 0)
	if w.on(faultDoubles) && w.chance(w.profile.doubles) {
		w.count(countDoubled)
		w.excuse(p.id, m.To)
		w.arrange(l, m, w.between(0, 20))
	}
}

// lostMessage excuses two members for a message between them that gets lost.
func (w *simWorld) lostMessage(m *Message) {
	w.excuse(m.From, m.To)
	w.dropMessage(m)
}

// dropMessage counts a message between two members that gets lost. Where entries are large the
// sender learns of it, as a real transport would tell it: to find out by timeouts would take too
// long.
func (w *simWorld) dropMessage(m *Message) {
	w.count(countLost)
	w.film.loses(m, true)
	if p := w.processes[m.From-1]; w.profile.bulky > 0 && m.Kind == Append && p.core != nil {
		p.after(w.around(1), func() { p.input(func(c *core) { c.dropped(m.To) }) })
	}
}

// excuse records that something has gone wrong between two members: messages may have to be sent
// again, and their work may take longer.
func (w *simWorld) excuse(a, b uint64) {
	w.network.excuses[a]++
	w.network.excuses[b]++
	w.trouble(0)
}

// trouble records that something goes wrong for a duration from now on.
func (w *simWorld) trouble(d int64) {
	w.struck = max(w.struck, w.now+d)
	w.troubled = max(w.troubled, w.struck)
}

// simJitter is the largest factor by which a message takes longer than its mean, in a world with
// distances.
const simJitter = 1.2

// transit returns how long a message is on its way, and its lane. A link with a bandwidth sends a
// lane's messages one after the other.
func (w *simWorld) transit(l *simLink, m *Message) (t int64, lane int) {
	if w.profile.distance == 0 {
		return w.around(w.profile.delay), 0
	}
	lane = laneOf(m)
	way := (w.network.distance[m.From] + w.network.distance[m.To]) / 2
	t = int64(way * (1 + (simJitter-1)*w.rand.Float64()) * float64(simTick))
	if w.profile.rate > 0 {
		l.free[lane] = max(l.free[lane], w.now) + int64(float64(sizeOfMessage(m))/w.profile.rate*float64(simTick))
		t += l.free[lane] - w.now
	}
	return t, lane
}

// laneOf returns 1 for messages that bring entries, and 0 for all others.
func laneOf(m *Message) int {
	if m.Kind == Append || m.Kind == Propose {
		return 1
	}
	return 0
}

// isFull reports whether a message finds no room in its lane. A lane queues two windows, because a
// transport has a bound: messages of a deposed leader must not occupy its followers for longer than
// an election takes (seed 1795933725056324518, wan). A message dropped for lack of room excuses
// nothing: a leader that respects its window needs no more room.
func (w *simWorld) isFull(l *simLink, m *Message) bool {
	queued := w.profile.rate * float64(l.free[laneOf(m)]-w.now) / float64(simTick)
	return queued > float64(2*w.profile.inflightBytes)
}

func sizeOfMessage(m *Message) int {
	n := entryOverhead
	for i := range m.Entries {
		n += entrySize(&m.Entries[i])
	}
	return n
}

// arrange decides when, and at which address, a message arrives.
func (w *simWorld) arrange(l *simLink, m *Message, later int64) {
	transit, lane := w.transit(l, m)
	arrival := max(w.now+transit+later, l.clogged)
	switch {
	case w.on(faultReorder) && w.chance(0.05):
		w.excuse(m.From, m.To)
		arrival += w.between(0, 20)
	case w.on(faultReorder):
		w.excuse(m.From, m.To)
	case later > 0:
	default:
		arrival = max(arrival, l.last[lane])
		l.last[lane] = arrival
	}
	to := m.To
	if w.on(faultMisaddress) && w.chance(1e-3) {
		w.count(countMisaddressed)
		w.excuse(m.From, m.To)
		to = uint64(1 + w.rand.IntN(len(w.processes)))
	}
	copied, resets := w.film.sends(w.encoded(m)), l.resets
	w.at(arrival, func() { w.arrive(l, resets, to, copied) })
}

// encoded returns a message as it arrives at the other end.
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

// arrive hands a message to the process at its address, unless the link has failed meanwhile or the
// process is down.
func (w *simWorld) arrive(l *simLink, resets int, to uint64, m *Message) {
	p := w.processes[to-1]
	switch {
	case p.core == nil || l.cut || w.silent || l.resets != resets:
		w.lostMessage(m)
	case p.paused:
		p.whenAwake(func() { w.arrive(l, resets, to, m) })
	default:
		p.deliver(m)
	}
}

// sendSnapshot sends a snapshot's bytes and then the message. The sender is told how it ended,
// unless it has died meanwhile.
func (w *simWorld) sendSnapshot(p *simProcess, m Message) {
	l := &w.network.links[p.id][m.To]
	state := p.disk.file(m.Snapshot.Index)
	resets := l.resets
	w.film.sends(&m)
	p.after(w.around(w.profile.transferDelay), func() {
		to := w.processes[m.To-1]
		arrived := to.core != nil && !to.paused && !l.cut && !w.silent && l.resets == resets && state != nil &&
			!(w.on(faultLoss) && w.chance(w.profile.loss))
		arrived = arrived && to.receiveSnapshot(&m, state)
		if !arrived {
			w.film.loses(&m, true)
			w.excuse(p.id, m.To)
		}
		p.input(func(c *core) { c.sent(m.To, arrived) })
		if arrived && w.on(faultDoubles) && w.chance(w.profile.doubles) {
			to.after(w.between(0, 100), func() { to.receiveSnapshot(&m, state) }) // pitfall E2
		}
	})
}

// receiveSnapshot stores a snapshot, unless the disk has no room for it. Any other error of the
// disk ends the process.
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

// simTopology tells which members can send to which, by their places in a random order of n
// members.
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

// partition cuts links by one of the topologies, for a while; p is the first in the order.
func (w *simWorld) partition(p *simProcess) {
	w.cut(p, &simTopologies[w.rand.IntN(len(simTopologies))])
}

// isolate keeps the others from hearing a process.
func (w *simWorld) isolate(p *simProcess) { w.cut(p, &simTopologies[w.rand.IntN(2)]) }

// silence keeps everybody from hearing anybody, for hundreds of election timeouts.
func (w *simWorld) silence(*simProcess) {
	if w.silent {
		return
	}
	w.count(countSilences)
	w.tracef("%s silence", w.clock())
	w.silent = true
	w.troubleAll()
	w.after(w.between(1000, 3000), func() {
		w.silent = false
		w.troubleAll()
	})
}

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
	w.troubleAll()
	w.network.heal()
	noticed := w.on(faultReset) && w.chance(0.5)
	for i, p := range up {
		for j, q := range up {
			l := &w.network.links[p.id][q.id]
			l.cut = i != j && !topology.links(len(up), i, j)
			if l.cut && noticed { // by the process that hears nothing now; the other may notice it later (pitfall A10)
				q.lost(p.id)
			}
		}
	}
	w.after(w.between(5, 80), func() {
		w.troubleAll()
		w.network.heal()
	})
}

// clog holds up everything that all other processes, or some of them, send to a process.
func (w *simWorld) clog(p *simProcess) {
	until, all := w.now+w.between(1, 10+40*w.rand.IntN(2)), w.chance(0.5)
	for _, q := range w.running() {
		if all || w.chance(0.3) {
			w.network.links[q.id][p.id].clogged = until
		}
	}
	w.tracef("%s what is sent to n%x is held up", w.clock(), p.id)
	w.trouble(until - w.now)
	w.troubleAll()
}

// reset breaks the connection of two members, and both see it.
func (w *simWorld) reset(p *simProcess) {
	q := w.anyone()
	w.count(countResets)
	for _, l := range []*simLink{&w.network.links[p.id][q.id], &w.network.links[q.id][p.id]} {
		l.resets++
		l.free = [2]int64{} // messages that waited to be sent are lost, too
	}
	w.excuse(p.id, q.id)
	p.lost(q.id)
	q.lost(p.id)
}

// troubleAll records that something goes wrong for every member.
func (w *simWorld) troubleAll() {
	w.trouble(0)
	for i := range w.network.excuses {
		w.network.excuses[i]++
	}
}

// A link that sends more slowly than messages come queues two windows, and urgent messages overtake
// them.
func TestALinkOfTheSimulationQueuesTwoWindows(t *testing.T) {
	w := newSimWorld(simSetup{seed: 1, world: "wan", without: faultsEnd - 1})
	p, l, size := w.processes[0], &w.network.links[1][2], w.profile.inflightBytes/4
	bulky := Message{Kind: Append, From: 1, To: 2, Entries: []Entry{{Data: make([]byte, size)}}}

	for range 100 {
		w.send(p, &bulky)
	}
	lost := w.done.events[countLost]
	w.send(p, &Message{Kind: Heartbeat, From: 1, To: 2})

	queued := int(w.profile.rate * float64(l.free[1]-w.now) / float64(simTick))
	if least := 2 * w.profile.inflightBytes; queued < least || queued > least+2*size || lost < 90 ||
		w.done.events[countLost] != lost {
		t.Errorf("%d bytes are queued, with windows of %d; %d of 100 messages are lost, and then %d", queued,
			w.profile.inflightBytes, lost, w.done.events[countLost])
	}
}
