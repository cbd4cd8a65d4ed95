package raft

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// world is the cluster of a script: members, their disks and the network between them. Nothing in
// it happens by chance or on its own: a message stays on the wire until the script delivers it.
type world struct {
	t       *testing.T
	config  coreConfig // of every member, but for its ID
	genesis Membership // what all logs begin with
	actors  []*actor   // by id
	wire    []*Message // on their way, oldest first
	aside   []*Message // held back, or doubled
	cut     []func(from, to uint64) bool
	safety  safety
	film    *film
	quietly bool // messages are not printed
	mute    bool // nothing is printed
}

// actor is one member and its disk.
type actor struct {
	id   uint64
	core *core // nil while it is down
	disk scriptDisk
	seen view // what was last printed of it
}

// scriptDisk holds what survives a crash, and the pending write, which does not.
type scriptDisk struct {
	state    State
	snapshot Snapshot
	entries  []Entry // from the first one that it still has
	pending  *Persist
	slow     bool
	rotten   bool // old entries can't be read back
}

// view is what a reader of a script sees of a member.
type view struct {
	state, members string
	log            []Entry
}

// newest is a random source that always draws the highest number. So all members wait equally long,
// as long as possible, and the script decides which one times out.
type newest struct{}

func (newest) Uint64() uint64 { return math.MaxUint64 }

func newWorld(t *testing.T) *world {
	c := testConfig(0)
	c.HeartbeatTicks = 5
	return &world{t: t, config: c, safety: safety{map[uint64]uint64{}, map[uint64]uint64{}}, film: newFilm()}
}

func (w *world) printf(format string, args ...any) {
	if !w.mute {
		fmt.Fprintf(w.film, "    "+format+"\n", args...)
	}
}

// cutFilm ends a step of the film. A quiet command is one step with everything that follows from
// it.
func (w *world) cutFilm() {
	var views []memberView
	for _, a := range w.actors {
		views = append(views, viewForFilm(a.id, a.core))
	}
	w.film.cut(views)
}

// actor returns a member; a member that does not exist yet starts with an empty log.
func (w *world) actor(id uint64) *actor {
	for _, a := range w.actors {
		if a.id == id {
			return a
		}
	}
	a := &actor{id: id}
	w.actors = append(w.actors, a)
	a.disk.snapshot.Membership = w.genesis
	w.start(a)
	return a
}

func (w *world) start(a *actor) {
	config := w.config
	config.ID, config.Rand = a.id, rand.New(newest{})
	a.disk.pending, a.disk.slow = nil, false
	a.core = newCore(config, a.disk.boot())
	a.seen = viewOf(a.core)
}

// do gives a member an input and carries out what follows from it.
func (w *world) do(a *actor, input func(*core)) {
	if a.core == nil {
		w.t.Fatalf("n%x is down", a.id)
	}
	input(a.core)
	for busy := true; busy; {
		busy = w.carryOut(a, a.core.effects(a.disk.pending == nil))
	}
	w.show(a)
	checkInvariants(w.t, a.core)
	w.safety.check(w.t, a.core)
	if !w.quietly && !w.mute {
		w.cutFilm()
	}
}

// carryOut carries out a core's effects, and reports whether that gave the core an input.
func (w *world) carryOut(a *actor, e Effects) (again bool) {
	for i := range e.Messages {
		w.wire = append(w.wire, w.film.sends(&e.Messages[i]))
	}
	a.core.appliedTo(a.core.applying)
	if e.Restore != nil {
		w.printf("n%x restores %d@%d", a.id, e.Restore.Index, e.Restore.Term)
	}
	for _, r := range e.Reads {
		if r.Never {
			w.printf("n%x asks anew for read %d: the leader it asked leads no more", a.id, r.ID)
			continue
		}
		w.printf("n%x may read %d at index %d", a.id, r.ID, r.Index)
	}
	for _, f := range e.Fetch {
		a.core.fetched(f.To, a.disk.fetch(f))
		again = true
	}
	if e.Persist == nil {
		return again
	}
	a.disk.pending = e.Persist
	if a.disk.slow {
		s := e.Persist.State
		w.printf("n%x writes term=%d vote=%x [%s]", a.id, s.Term, s.Vote, entryNames(e.Persist.Entries))
		return again
	}
	a.core.persisted(a.disk.sync())
	return true
}

// sync makes the pending write durable, and returns its number.
func (d *scriptDisk) sync() uint64 {
	p := d.pending
	d.pending = nil
	d.state = p.State
	if p.Snapshot != nil {
		d.snapshot, d.entries = *p.Snapshot, nil
	}
	if len(p.Entries) > 0 {
		d.entries = append(slices.Clone(between(d.entries, 0, p.Entries[0].Index-1)), p.Entries...)
	}
	return p.Seq
}

func (d *scriptDisk) fetch(f Fetch) []Entry {
	if d.rotten {
		return nil
	}
	return between(d.entries, f.From, f.Last)
}

func (d *scriptDisk) boot() boot {
	b := boot{State: d.state, Snapshot: d.snapshot, Entries: between(d.entries, d.snapshot.Index+1, math.MaxUint64)}
	if len(d.entries) > 0 {
		b.First = d.entries[0].Index
	}
	return b
}

// between returns the entries with an index in [from, to].
func between(es []Entry, from, to uint64) (some []Entry) {
	for _, e := range es {
		if from <= e.Index && e.Index <= to {
			some = append(some, e)
		}
	}
	return some
}

// show prints what has changed in a member.
func (w *world) show(a *actor) {
	was, is := a.seen, viewOf(a.core)
	a.seen = is
	if dropped := missing(was.log, &a.core.log); len(dropped) > 0 {
		w.printf("n%x drops %s", a.id, entryNames(dropped))
	}
	if was.state != is.state {
		w.printf("n%x %s", a.id, is.state)
	}
	if was.members != is.members {
		w.printf("n%x members %s", a.id, is.members)
	}
}

func viewOf(c *core) view {
	return view{
		state:   fmt.Sprintf("%s term=%d commit=%d", roleNames[c.role], c.term, c.commit),
		members: memberNames(c.configs.now().membership),
		log:     slices.Clone(c.log.entries),
	}
}

// memberNames prints a membership, the learners with a question mark.
func memberNames(m Membership) string {
	var names []string
	for _, p := range m.Members {
		name := fmt.Sprintf("n%x", p.ID)
		if p.Learner {
			name += "?"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// missing returns the entries that a log has lost, except those that a snapshot holds.
func missing(was []Entry, l *entryLog) (lost []Entry) {
	for _, e := range was {
		if e.Index > l.base && !l.matches(e.Index, e.Term) {
			lost = append(lost, e)
		}
	}
	return lost
}

// deliverAll delivers the messages on the wire, and those that follow from them, until there are
// none.
func (w *world) deliverAll() {
	for n := 0; len(w.wire) > 0; n++ {
		m := w.wire[0]
		w.wire = w.wire[1:]
		w.deliver(m)
		if n == 10000 {
			w.t.Fatal("the members don't stop talking")
		}
	}
}

// deliver hands one message to its member, unless the link is cut or the member is down.
func (w *world) deliver(m *Message) {
	to := w.actor(m.To)
	if to.core == nil || w.isCut(m) {
		w.lose(m)
		return
	}
	if !w.quietly {
		w.printf("%v", m)
	}
	w.film.arrives(m, m.To, w.quietly || w.mute)
	w.do(to, func(c *core) { c.step(*m) })
	w.snapshotSent(m, true)
}

func (w *world) isCut(m *Message) bool {
	return slices.ContainsFunc(w.cut, func(cuts func(from, to uint64) bool) bool { return cuts(m.From, m.To) })
}

func (w *world) lose(m *Message) {
	if !w.quietly {
		w.printf("%v ✗", m)
	}
	w.film.loses(m, w.quietly || w.mute)
	if !w.quietly && !w.mute {
		w.cutFilm()
	}
	w.snapshotSent(m, false)
}

// snapshotSent tells the sender of a snapshot whether it arrived.
func (w *world) snapshotSent(m *Message, arrived bool) {
	if from := w.actor(m.From); m.Kind == InstallSnapshot && from.core != nil {
		w.do(from, func(c *core) { c.sent(m.To, arrived) })
	}
}

// take removes the messages that a selector picks from the wire, and returns them.
func (w *world) take(picks func(*Message) bool) (taken []*Message) {
	w.wire = slices.DeleteFunc(w.wire, func(m *Message) bool {
		if picks(m) {
			taken = append(taken, m)
			return true
		}
		return false
	})
	return taken
}

// safety remembers leaders and committed entries of the whole cluster, over all lives of its
// members.
type safety struct {
	leaders   map[uint64]uint64 // by term
	committed map[uint64]uint64 // terms, by index
}

// check fails when two members lead in one term (election safety), when two committed entries
// differ at one index (state machine safety), or when a leader lacks a committed entry (leader
// completeness; fig. 3).
func (s *safety) check(t *testing.T, c *core) {
	t.Helper()
	for i := c.log.base + 1; i <= c.commit; i++ {
		e := c.log.at(i)
		if term, ok := s.committed[i]; ok && term != e.Term {
			t.Fatalf("n%x: %d@%d is committed, and so is %d@%d", c.ID, i, e.Term, i, term)
		}
		s.committed[i] = e.Term
	}
	if c.role != Leader {
		return
	}
	if other, ok := s.leaders[c.term]; ok && other != c.ID {
		t.Fatalf("n%x and n%x both lead in term %d", other, c.ID, c.term)
	}
	s.leaders[c.term] = c.ID
}
