package store

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// model is the specification in its plainest form: a map of nodes, and a scan of it for every
// question.
type model struct {
	nodes    map[string]Node
	secrets  map[string]Node // users and roles
	revision uint64
	index    uint64
	now      int64
	offset   time.Duration
	entry    uint64
	window   bounds
	asked    []asked // whose answers are kept, in order
	facts    []asked // whose answers are forgotten; the first goes next
	horizons map[string]uint64
	log      []string // the event of each index; "" when watches get none
	told     []*Event // the same, as events
}

func newModel() *model {
	return &model{nodes: map[string]Node{}, secrets: map[string]Node{}, window: windowBounds,
		horizons: map[string]uint64{}}
}

// asked is a command with an id that was executed.
type asked struct {
	command Command
	entry   uint64
	at      int64
	answer  string
	index   uint64 // of the store; 0 when the answer was an error
}

// apply does what Store.Apply does. The answer is in the form of sketch.
func (m *model) apply(now int64, c Command) string {
	m.entry++
	m.now = max(m.now, now)
	for m.expireOne() {
	}
	if c.Op == OpAdvance {
		for range max(1, c.Count) {
			m.index++
			m.tell(nil)
		}
		return "<nil>"
	}
	if c.Op == OpClock {
		m.offset = c.TTL
		return "<nil>"
	}
	if c.Revision != m.revision {
		return ErrRevision.Error()
	}
	if c.Revision = 0; c.Space == Auth {
		return m.keep(c)
	}
	if c.RequestID == "" {
		return m.answer(c)
	}
	return m.once(c)
}

// once executes a command with an id, unless the id is known or may have been forgotten.
func (m *model) once(c Command) string {
	for len(m.asked) > 0 && m.now-m.asked[0].at >= 600e9 {
		m.lose(0)
	}
	same := func(a asked) bool { return a.command.RequestID == c.RequestID && a.command.User == c.User }
	if i := slices.IndexFunc(m.asked, same); i >= 0 && m.asked[i].command.after(0) == c.after(0) {
		return m.asked[i].answer
	} else if i >= 0 {
		return fmt.Sprintf("209 request id %q was used for another command at %d", c.RequestID, m.index)
	}
	if i := slices.IndexFunc(m.facts, same); i >= 0 && m.facts[i].index == 0 {
		return fmt.Sprintf("213 request id %q was refused before: the answer is no longer kept at %d",
			c.RequestID, m.index)
	} else if i >= 0 {
		return fmt.Sprintf("213 request id %q was executed at index %d: the answer is no longer kept, read the key "+
			"at %d", c.RequestID, m.facts[i].index, m.index)
	}
	horizon, there := m.horizons[c.User]
	if !there {
		horizon = m.horizons["(others)"]
	}
	if c.RequestIndex < horizon {
		return fmt.Sprintf("214 request id %q may have been executed: its index is %d, and what was executed up to "+
			"%d is forgotten at %d",
			c.RequestID, c.RequestIndex, horizon, m.index)
	}
	before := m.index
	done := asked{command: c, entry: m.entry, at: m.now, answer: m.answer(c)}
	if m.index > before {
		done.index = m.index
	}
	m.horizons[c.User] = horizon
	m.asked = append(m.asked, done)
	if len(m.asked) > m.window.answers {
		m.lose(slices.IndexFunc(m.asked, func(a asked) bool { return greedy(m.asked, a, m.window.answers) }))
	}
	return done.answer
}

// greedy reports whether the user of a has more of the commands in all than its part of the bound.
func greedy(all []asked, a asked, bound int) bool {
	users := map[string]int{}
	for _, other := range all {
		users[other.command.User]++
	}
	return users[a.command.User] > bound/len(users)
}

// lose forgets the i-th answer and keeps a fact; when there are too many facts, it forgets one.
func (m *model) lose(i int) {
	m.facts = append(m.facts, m.asked[i])
	m.asked = slices.Delete(m.asked, i, i+1)
	for len(m.facts) > m.window.facts {
		oldest, spared := m.facts[0], !greedy(m.facts, m.facts[0], m.window.facts)
		m.facts = m.facts[1:]
		if spared {
			m.facts = append(m.facts, oldest)
			continue
		}
		user := oldest.command.User
		m.horizons[user] = max(m.horizons[user], oldest.entry)
		if theirs := func(a asked) bool { return a.command.User == user }; !slices.ContainsFunc(m.facts, theirs) &&
			!slices.ContainsFunc(m.asked, theirs) {
			m.horizons["(others)"] = max(m.horizons["(others)"], m.horizons[user])
			delete(m.horizons, user)
		}
	}
}

// keep executes a command on users and roles.
func (m *model) keep(c Command) string {
	m.nodes, m.secrets = m.secrets, m.nodes
	defer func() { m.nodes, m.secrets = m.secrets, m.nodes }()
	before := m.index
	answer := m.answer(c)
	if m.index > before {
		m.told[before], m.log[before] = nil, ""
		m.revision = m.index
	}
	return answer
}

// answer executes a command and returns its result.
func (m *model) answer(c Command) string {
	e, code, cause := m.execute(c)
	if code != 0 {
		return fmt.Sprintf("%d %s at %d", code, cause, m.index)
	}
	if c.Refresh && e.Action != ActionCreate && e.Action != ActionDelete && e.Action != ActionCompareAndDelete {
		m.tell(nil)
	} else {
		m.tell(e)
	}
	return sketch(e)
}

func (m *model) tell(e *Event) {
	m.told = append(m.told, e)
	if e == nil {
		m.log = append(m.log, "")
		return
	}
	e.Index = m.index
	m.log = append(m.log, sketch(e))
}

// expireOne removes the node that is due first, if there is one.
func (m *model) expireOne() bool {
	due := ""
	for path, n := range m.nodes {
		if n.Ends != nil && n.Ends.Due <= m.now {
			if d := m.nodes[due].Ends; due == "" || n.Ends.Due < d.Due || n.Ends.Due == d.Due && path < due {
				due = path
			}
		}
	}
	if due == "" {
		return false
	}
	m.tell(m.take(ActionExpire, due))
	return true
}

// take removes the node at path and what is below it.
func (m *model) take(a Action, path string) *Event {
	m.index++
	old := m.nodes[path]
	maps.DeleteFunc(m.nodes, func(p string, _ Node) bool { return p == path || strings.HasPrefix(p, path+"/") })
	n := Node{Path: path, Dir: old.Dir && a != ActionExpire, Created: old.Created, Modified: m.index}
	return &Event{Action: a, Node: &n, Prev: &old}
}

// way returns the first path from the root to path that is missing, or that is a file although it
// should be a directory.
func (m *model) way(path string) (missing, file string) {
	for i, b := range path + "/" {
		if i == 0 || b != '/' {
			continue
		}
		n, ok := m.nodes[path[:i]]
		switch {
		case !ok:
			return path[:i], ""
		case !n.Dir && i < len(path):
			return "", path[:i]
		}
	}
	return "", ""
}

func (m *model) execute(c Command) (e *Event, code int, cause string) {
	if c.Op == OpCreateInOrder {
		c.Path = strings.TrimSuffix(c.Path, "/") + fmt.Sprintf("/%020d", m.index+1)
	}
	if c.Path == "/" {
		if c.Op == OpCompareAndDelete {
			return nil, 102, ""
		}
		return nil, 107, "/"
	}
	missing, file := m.way(c.Path)
	if file != "" {
		return nil, 104, file
	}
	old, exists := m.nodes[c.Path], missing == ""
	makes := c.Op == OpCreate || c.Op == OpCreateInOrder || c.Op == OpSet && !c.Refresh
	switch {
	case !exists && !makes:
		return nil, 100, missing
	case c.Op == OpCreate || c.Op == OpCreateInOrder:
		if exists {
			return nil, 105, c.Path
		}
		return m.write(ActionCreate, c, nil), 0, ""
	case c.Op == OpSet && !exists:
		return m.write(ActionSet, c, nil), 0, ""
	case c.Op == OpDelete:
		return m.delete(c, old)
	case c.Op == OpUpdate && old.Dir && c.Value == "":
		return m.update(c, old), 0, ""
	case old.Dir:
		return nil, 102, c.Path
	case c.Op == OpSet:
		return m.write(ActionSet, c, &old), 0, ""
	case c.Op == OpUpdate:
		return m.update(c, old), 0, ""
	}
	if cause := m.compare(c, old); cause != "" {
		return nil, 101, cause
	}
	if c.Op == OpCompareAndDelete {
		return m.take(ActionCompareAndDelete, c.Path), 0, ""
	}
	e = m.update(c, old)
	e.Action = ActionCompareAndSwap
	return e, 0, ""
}

func (m *model) delete(c Command, old Node) (e *Event, code int, cause string) {
	full := false
	for path := range m.nodes {
		full = full || strings.HasPrefix(path, c.Path+"/")
	}
	switch {
	case old.Dir && !c.Dir && !c.Recursive:
		return nil, 102, c.Path
	case full && !c.Recursive:
		return nil, 108, c.Path
	}
	return m.take(ActionDelete, c.Path), 0, ""
}

func (m *model) compare(c Command, old Node) string {
	var parts []string
	if c.PrevValue != "" && c.PrevValue != old.Value {
		parts = append(parts, fmt.Sprintf("[%s != %s]", c.PrevValue, old.Value))
	}
	if c.PrevIndex != 0 && c.PrevIndex != old.Modified {
		parts = append(parts, fmt.Sprintf("[%d != %d]", c.PrevIndex, old.Modified))
	}
	return strings.Join(parts, " ")
}

func (m *model) ends(c Command) *Ends {
	end := time.Unix(0, m.now).Add(c.TTL)
	if !c.HasTTL || end.Year() > 2261 {
		return nil
	}
	return &Ends{Due: end.UnixNano(), Shown: end.Add(m.offset).UnixNano()}
}

// write makes a new node in the place of a file or nothing.
func (m *model) write(a Action, c Command, old *Node) *Event {
	m.index++
	n := Node{Path: c.Path, Value: c.Value, Dir: c.Dir, Created: m.index, Modified: m.index, Ends: m.ends(c)}
	if c.Refresh && old != nil {
		n.Value = old.Value
	}
	if c.Dir {
		n.Value = ""
	}
	for i, b := range c.Path {
		if _, ok := m.nodes[c.Path[:i]]; i > 0 && b == '/' && !ok {
			m.nodes[c.Path[:i]] = Node{Path: c.Path[:i], Dir: true, Created: m.index, Modified: m.index}
		}
	}
	m.nodes[c.Path] = n
	return &Event{Action: a, Node: &n, Prev: old}
}

// update changes value and ttl of a node that exists. A directory keeps its old index, but for the
// event.
func (m *model) update(c Command, old Node) *Event {
	m.index++
	n := old
	n.Modified, n.Ends = m.index, m.ends(c)
	if !old.Dir && !c.Refresh {
		n.Value = c.Value
	}
	kept := n
	if old.Dir {
		kept.Modified = old.Modified
	}
	m.nodes[c.Path] = kept
	return &Event{Action: ActionUpdate, Node: &n, Prev: &old}
}

// listing prints all nodes, one a line, as Store.listing does: every directory is followed by what
// is in it.
func (m *model) listing() string { return listing(m.nodes) }

func listing(nodes map[string]Node) string {
	paths := slices.Collect(maps.Keys(nodes))
	slices.SortFunc(paths,
		func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) })
	var b strings.Builder
	for _, p := range paths {
		n := nodes[p]
		b.WriteString(sketch(&n) + "\n")
	}
	return b.String()
}

// generator makes random commands that often concern the same keys.
type generator struct {
	*rand.Rand
	now   int64
	entry uint64
	named []Command // those with an id
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 7)), now: int64(time.Hour)}
}

func (g *generator) pick(words ...string) string { return words[g.IntN(len(words))] }

func (g *generator) path() string {
	p := "/"
	for range g.IntN(5) {
		p = join(p, g.pick("a", "aa", "_h"))
	}
	if p == "/" && g.IntN(4) > 0 {
		return g.path()
	}
	return p
}

// next returns a command and the time of its entry, which sometimes goes back.
func (g *generator) next(index uint64) (int64, Command) {
	g.entry++
	g.now += int64(g.IntN(1000)) * int64(time.Millisecond)
	c := Command{Op: Op(1 + g.IntN(7)), Path: g.path(), Value: g.pick("", "x", "y", "zz")}
	if g.IntN(3) == 0 {
		c = c.ttl(time.Duration(g.IntN(20)) * 100 * time.Millisecond)
	}
	if g.IntN(20) == 0 {
		c = c.ttl(1<<63 - 1 - time.Duration(g.IntN(3)))
	}
	if g.IntN(3) == 0 {
		c.PrevValue = g.pick("", "x", "y")
	}
	if g.IntN(3) == 0 {
		c.PrevIndex = index - min(index, uint64(g.IntN(10)))
	}
	c.Dir, c.Recursive, c.Refresh = g.IntN(4) == 0, g.IntN(4) == 0, g.IntN(5) == 0 && c.Op != OpDelete
	switch g.IntN(80) {
	case 0, 1:
		c = advance(uint64(g.IntN(3)))
	case 2:
		c = offset(time.Duration(g.IntN(7200)-3600) * time.Second)
	}
	return g.now - int64(g.IntN(2))*int64(time.Minute), g.name(c)
}

// name sometimes gives the command an id, or repeats an earlier command that had one, perhaps so
// old that it is forgotten.
func (g *generator) name(c Command) Command {
	switch g.IntN(10) {
	case 0:
		if c.Op < OpAdvance {
			c = c.named(fmt.Sprint(g.IntN(1000))).from(g.pick("", "", "alice")).after(g.entry - min(g.entry,
				1+uint64(g.IntN(100))))
			g.named = append(g.named, c)
		}
	case 1:
		if last := len(g.named); last > 0 {
			return g.named[last-1-g.IntN(min(last, 200))]
		}
	}
	return c
}

// secure gives the command the revision that it needs, or sometimes another one, and turns some
// commands into ones on users and roles.
func (g *generator) secure(c Command, revision uint64) Command {
	if c.Op >= OpAdvance {
		return c
	}
	if c.Revision = revision; g.IntN(20) == 0 {
		c.Revision = uint64(g.IntN(1000))
	}
	if g.IntN(10) == 0 && c.RequestID == "" {
		c.Space, c.HasTTL, c.TTL, c.Refresh = Auth, false, 0, false
	}
	return c
}

// The store does with every command, in any sequence, what the specification says. It executes a
// command with an id once, however long ago that was. pitfall G3, pitfall I1, pitfall I3, pitfall
// K9
func TestStoreDoesWhatTheModelDoes(t *testing.T) {
	commands := pace.Pick(10_000, 20_000, 200_000)
	s, m, g := New(Limits{Events: 1000}), newModel(), newGenerator(1)
	m.window = bounds{answers: 40, bytes: 1 << 20, facts: 50}
	s.window.bounds = m.window
	codes := map[string]int{}
	for i := range commands {
		now, c := g.next(s.index)
		c = g.secure(c, s.revision)
		first := s.index

		got, want := sketch(s.at(now, c)), m.apply(now, c)

		if got != want {
			t.Fatalf("command %d, %+v:\n got %s\nwant %s", i, c, got, want)
		}
		codes[got[:3]]++
		for index := first + 1; index <= s.index; index++ {
			told := ""
			if e := s.history.at(index); e != nil {
				told = sketch(e)
			}
			if told != m.log[index-1] {
				t.Fatalf("command %d, %+v, event %d:\n got %s\nwant %s", i, c, index, told, m.log[index-1])
			}
		}
		if i%200 == 0 {
			s.check(t)
			if got, want := s.listing(), m.listing(); got != want {
				t.Fatalf("command %d, %+v:\n got\n%s\nwant\n%s", i, c, got, want)
			}
			if got, want := s.secrets(), listing(m.secrets); got != want || s.revision != m.revision {
				t.Fatalf("command %d, %+v: users and roles of %d and %d:\n got\n%s\nwant\n%s", i, c, s.revision,
					m.revision, got, want)
			}
		}
	}
	for _, code := range []string{"209", "213", "214"} {
		if codes[code] < commands/1000 {
			t.Errorf("only %d answers of code %s", codes[code], code)
		}
	}
}

// Replicas that apply the same log hold the same bytes, also one that begins with another's
// snapshot. pitfall G5, pitfall I4, pitfall E7, pitfall E8
func TestReplicasHoldTheSameBytes(t *testing.T) {
	limits := Limits{Events: 700, Bytes: 200_000}
	for seed := range uint64(5) {
		replicas, g := []*Store{New(limits), New(limits)}, newGenerator(seed)
		for i := range 3000 {
			now, c := g.next(replicas[0].index)
			c = g.secure(c, replicas[0].revision)
			answer := sketch(replicas[0].at(now, c))
			for _, s := range replicas[1:] {
				if other := sketch(s.at(now, c)); other != answer {
					t.Fatalf("seed %d, command %d: %s and %s", seed, i, answer, other)
				}
			}
			if i%200 != 0 {
				continue
			}
			state := replicas[0].frozenBytes(t)
			for _, s := range replicas {
				if !bytes.Equal(s.frozenBytes(t), state) {
					t.Fatalf("seed %d, command %d: the states differ", seed, i)
				}
				s.check(t)
			}
			replicas = append(replicas[:2], restored(t, limits, state))
		}
	}
}

// A frozen state stays as it was, whatever is applied later.
// pitfall E8
func TestFrozenStateDoesNotChange(t *testing.T) {
	s, g := New(Limits{Events: 600}), newGenerator(3)
	var writes []func() []byte
	var then [][]byte
	for i := range 4000 {
		s.at(g.next(s.index))
		if i%50 == 0 {
			freeze := s.Freeze()
			write := func() []byte {
				var b bytes.Buffer
				if err := freeze(&b); err != nil {
					t.Fatal(err)
				}
				return b.Bytes()
			}
			writes, then = append(writes, write), append(then, write())
		}
	}

	for i, write := range writes {
		if !bytes.Equal(write(), then[i]) {
			t.Errorf("frozen state %d has changed", i)
		}
	}
}

// A view stays as it was, whatever is applied later.
// pitfall E8, pitfall I12
func TestViewDoesNotChange(t *testing.T) {
	s, g := New(Limits{}), newGenerator(4)
	var views []View
	var then []string
	for i := range 4000 {
		s.at(g.next(s.index))
		if v, err := s.Get(g.pick("/", "/a", "/aa/a")); i%10 == 0 && err == nil {
			views, then = append(views, v), append(then, v.Node.listing())
		}
	}

	for i, v := range views {
		if got := v.Node.listing(); got != then[i] {
			t.Errorf("view %d has changed:\n got\n%s\nwant\n%s", i, got, then[i])
		}
	}
}
