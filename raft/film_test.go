package raft

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// film records what the members of a script or of a simulation look like, step by step, and the
// messages between them. The core knows nothing of it. A nil film records nothing.
//
// A world writes its lines of text to the film. cut ends a step, which has the lines since the step
// before.
type film struct {
	lines  []string
	steps  []filmStep
	arrows []filmArrow
	onWire map[*Message]int      // the step in which each was sent
	seen   map[string]memberView // as of the last step
}

// filmStep is one step of a film. It shows the members as they are at its end.
type filmStep struct {
	lines int          // of the film, up to the end of the step
	views []memberView // of the members whose view has changed
}

// filmArrow is the way of a message. One that was sent in step 3 leaves at the end of that step.
type filmArrow struct {
	message  *Message
	to       uint64 // where it arrived
	sent     int    // step; -1 is before the first one
	got      int    // step; stays for a message that is still on its way
	lost     bool
	unspoken bool // no line tells of it
}

const stays = int(^uint(0) >> 1)

// memberView is what a reader sees of a member. Two of them are compared with ==.
type memberView struct {
	ID, Role string // the role is empty while the member is down
	Term     uint64
	Vote     string // empty: none
	Commit   uint64
	Durable  uint64
	First    uint64 // index of the first entry in Log; earlier ones are not shown
	Log      string // terms; a "+" marks a change of the membership
	Members  string
}

func newFilm() *film {
	return &film{onWire: map[*Message]int{}, seen: map[string]memberView{}}
}

// Write adds lines.
func (f *film) Write(p []byte) (int, error) {
	f.lines = slices.AppendSeq(f.lines, strings.Lines(string(p)))
	return len(p), nil
}

// text returns all lines.
func (f *film) text() string { return strings.Join(f.lines, "") }

// untold reports whether lines were written since the last step.
func (f *film) untold() bool {
	return len(f.lines) > 0 && (len(f.steps) == 0 || f.steps[len(f.steps)-1].lines < len(f.lines))
}

// cut ends a step, if anything was said since the last one.
func (f *film) cut(members []memberView) {
	if !f.untold() {
		return
	}
	step := filmStep{lines: len(f.lines)}
	for _, v := range members {
		was := f.seen[v.ID]
		if v.Role == "" { // it shows what it had
			id := v.ID
			v, v.ID, v.Role = was, id, ""
		}
		if v != was {
			step.views = append(step.views, v)
			f.seen[v.ID] = v
		}
	}
	f.steps = append(f.steps, step)
}

// now returns the last step, or the one that is about to end.
func (f *film) now() int {
	if f.untold() {
		return len(f.steps)
	}
	return len(f.steps) - 1
}

// sends records that a message is sent, and returns it.
func (f *film) sends(m *Message) *Message {
	if f != nil {
		f.onWire[m] = f.now()
	}
	return m
}

// doubles returns a copy of a message that is on its way.
func (f *film) doubles(m *Message) *Message {
	double := *m
	f.onWire[&double] = f.onWire[m]
	return &double
}

// arrives records that a message arrives at a member.
func (f *film) arrives(m *Message, to uint64, unspoken bool) {
	if f != nil {
		f.ends(filmArrow{message: m, to: to, got: len(f.steps), unspoken: unspoken})
	}
}

// loses records that a message gets lost. It may be lost as soon as it is sent.
func (f *film) loses(m *Message, unspoken bool) {
	if f != nil {
		f.ends(filmArrow{message: m, to: m.To, got: max(f.now(), 0), lost: true, unspoken: unspoken})
	}
}

// ends records an arrow. It leaves out a message that arrives in the step in which it was sent,
// when no line tells of it.
func (f *film) ends(a filmArrow) {
	sent, ok := f.onWire[a.message]
	delete(f.onWire, a.message)
	if a.sent = sent; !ok {
		a.sent = f.now()
	}
	if a.lost || !a.unspoken || a.sent < a.got {
		f.arrows = append(f.arrows, a)
	}
}

// allArrows returns the arrows in the order in which they arrived, and then those of messages that
// are still on their way.
func (f *film) allArrows() []filmArrow {
	var open []filmArrow
	for m, sent := range f.onWire {
		open = append(open, filmArrow{message: m, to: m.To, sent: sent, got: stays})
	}
	slices.SortFunc(open, func(a, b filmArrow) int {
		return cmp.Or(a.sent-b.sent, strings.Compare(a.message.String(), b.message.String()))
	})
	return append(slices.Clip(f.arrows), open...)
}

// part returns the steps in [from, to) as a film of its own that begins with some prose. Members
// that are down all the time are left out.
func (f *film) part(prose string, from, to int) *film {
	g := newFilm()
	fmt.Fprint(g, prose)
	shift := len(g.lines)
	if from > 0 {
		shift -= f.steps[from-1].lines
	}
	g.lines = append(g.lines, f.lines[len(g.lines)-shift:f.steps[to-1].lines]...)
	for i, s := range f.steps[:to] {
		for _, v := range s.views {
			g.seen[v.ID] = v
		}
		if i == from {
			s.views = slices.SortedFunc(maps.Values(g.seen), func(a, b memberView) int {
				return cmp.Or(len(a.ID)-len(b.ID), strings.Compare(a.ID, b.ID))
			})
		}
		if i >= from {
			g.steps = append(g.steps, filmStep{s.lines + shift, s.views})
		}
	}
	g.leaveOut(func(id string) bool { return !g.everUp(id) })
	for _, a := range f.allArrows() {
		if a.got < from || a.sent >= to {
			continue
		}
		a.sent = max(a.sent-from, -1)
		if a.got < to {
			a.got -= from
			g.arrows = append(g.arrows, a)
		} else {
			g.onWire[a.message] = a.sent
		}
	}
	return g
}

func (f *film) everUp(id string) bool {
	return slices.ContainsFunc(f.steps, func(s filmStep) bool {
		return slices.ContainsFunc(s.views, func(v memberView) bool { return v.ID == id && v.Role != "" })
	})
}

// leaveOut takes members out of all steps.
func (f *film) leaveOut(out func(id string) bool) {
	for i := range f.steps {
		f.steps[i].views = slices.DeleteFunc(slices.Clone(f.steps[i].views),
			func(v memberView) bool { return out(v.ID) })
	}
}

// filmedEntries is how many entries of a log are shown; they are its last ones.
const filmedEntries = 24

// viewForFilm returns the view of a member; its core is nil while it is down.
func viewForFilm(id uint64, c *core) memberView {
	v := memberView{ID: fmt.Sprintf("n%x", id)}
	if c == nil {
		return v
	}
	l := &c.log
	v.Role, v.Term, v.Commit, v.Durable = roleNames[c.role], c.term, c.commit, l.durable
	v.Members = memberNames(c.configs.now().membership)
	if c.vote != None {
		v.Vote = fmt.Sprintf("n%x", c.vote)
	}
	v.First = max(l.base, 1)
	if l.last() > v.First+filmedEntries {
		v.First = l.last() - filmedEntries
	}
	var terms []string
	for i := v.First; i <= l.last(); i++ {
		terms = append(terms, termForFilm(l, i))
	}
	v.Log = strings.Join(terms, " ")
	return v
}

func termForFilm(l *entryLog, index uint64) string {
	term, _ := l.term(index)
	s := strconv.FormatUint(term, 10)
	if index > l.base && l.at(index).Kind == EntryChange {
		s += "+"
	}
	return s
}
