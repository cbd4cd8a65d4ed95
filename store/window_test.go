package store

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A repeated command with the same id gets its first answer, whatever happened in between, and
// changes nothing. pitfall G3
func TestARetryGetsTheFirstAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		do   Command
		want string
	}{
		{"set", set("/f", "mine").ttl(time.Hour), "set /f=mine 10/10 until 1h0m0s was /f=1 1/1"},
		{"a refresh", set("/f", "").refresh().ttl(time.Hour), "set /f=1 10/10 until 1h0m0s was /f=1 1/1"},
		{"a name in order", post("/q", "job"), "create /q/00000000000000000010=job 10/10"},
		{"a swap does not refuse its own success", swap("/f", "2").prev("1", 0),
			"compareAndSwap /f=2 1/10 was /f=1 1/1"},
		{"a create does not refuse its own success", create("/new", "v"), "create /new=v 10/10"},
		{"a delete does not miss what it deleted", del("/d").recursive(), "delete /d/ 2/10 was /d/ 2/2"},
		{"an error", create("/f", "v"), "105 /f at 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(Limits{Events: 2})
			for _, p := range []Command{set("/f", "1"), set("/d/x", "1"), advance(7)} {
				s.do(p)
			}
			first := s.do(c.do.named("id"))
			expect(t, "first", sketch(first), c.want)
			for _, p := range []Command{set("/f", "theirs"), del("/q").recursive(), del("/new"), set("/d/y", "")} {
				s.do(p)
			}
			index, tree, stats := s.Index(), s.listing(), s.Stats()

			again := s.do(c.do.named("id"))

			expect(t, "again", again, first)
			expect(t, "index", s.Index(), index)
			expect(t, "tree", s.listing(), tree)
			expect(t, "statistics", s.Stats(), stats)
			s.check(t)
		})
	}
}

// A retry is an entry of the log like any other: it moves the clock, and what is due expires.
func TestARetryMovesTheClock(t *testing.T) {
	s := New(Limits{})
	s.at(0, set("/k", "v").ttl(time.Second).named("id"))

	again := s.at(5e9, set("/k", "v").ttl(time.Second).named("id"))

	expect(t, "answer", sketch(again), "set /k=v 1/1 until 1s")
	expect(t, "tree", s.listing(), "")
	expect(t, "index", s.Index(), uint64(2))
}

// An id belongs to one command: another command with it gets an error, and the first answer is
// kept.
//
// pitfall L13
func TestAnIDOfAnotherCommandIsRefused(t *testing.T) {
	first := swap("/k", "2").prev("1", 1).ttl(time.Hour).named("id\xff")
	for _, other := range []Command{
		swap("/j", "2").prev("1", 1).ttl(time.Hour), swap("/k", "3").prev("1", 1).ttl(time.Hour),
		swap("/k", "2").prev("2", 1).ttl(time.Hour), swap("/k", "2").prev("1", 2).ttl(time.Hour),
		swap("/k", "2").prev("1", 1).ttl(time.Minute), swap("/k", "2").prev("1", 1).ttl(time.Hour).dir(),
		set("/k", "2"),
	} {
		s := New(Limits{})
		s.do(set("/k", "1"))
		answer := s.do(first)
		tree := s.listing()

		expect(t, "other command", sketch(s.do(other.named("id\xff"))),
			`209 request id "id\xff" was used for another command at 2`)

		expect(t, "tree", s.listing(), tree)
		expect(t, "first command", s.do(first), answer)
	}
}

// An id belongs to one user: another user's command with it is executed, and gets its own answer.
//
// pitfall L13
func TestAnIDBelongsToItsUser(t *testing.T) {
	s := New(Limits{})
	s.do(set("/secret", "1").named("id").from("alice"))

	expect(t, "another user", sketch(s.do(set("/k", "2").named("id").from("bob"))), "set /k=2 2/2")
	expect(t, "nobody", sketch(s.do(set("/k", "3").named("id"))), "set /k=3 3/3 was /k=2 2/2")
	expect(t, "where the user ends", sketch(s.do(set("/k", "4").named("eid").from("alic"))),
		"set /k=4 4/4 was /k=3 3/3")
	expect(t, "alice again", sketch(s.do(set("/secret", "1").named("id").from("alice"))), "set /secret=1 1/1")
	s.check(t)
}

// The window forgets the oldest answer first, as soon as a bound is passed. It still knows that the
// request was executed.
func TestTheWindowKeepsItsBounds(t *testing.T) {
	big := strings.Repeat("v", windowBounds.bytes/10)
	for _, c := range []struct {
		name  string
		value string
		step  time.Duration
		held  int
	}{
		{"by count", "v", 0, windowBounds.answers},
		{"by bytes", big, time.Microsecond, 9},
		{"by the clock", "v", time.Second, int(windowTime / time.Second)},
		{"one answer too big", strings.Repeat("v", windowBounds.bytes), 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(Limits{Events: 1})
			command := func(i int) Command { return set(fmt.Sprintf("/%d", i%5), c.value).named(fmt.Sprint(i)) }
			count := c.held + 3
			for i := range count {
				s.do(del(fmt.Sprintf("/%d", i%5))) // so that an answer has one value
				s.at(int64(i)*int64(c.step), command(i))
			}
			held, index := len(s.window.order), s.Index()

			oldest := s.do(command(count - held))
			before := s.do(command(count - held - 1))

			expect(t, "held", held, c.held)
			expect(t, "oldest answer", oldest, s.window.order[0].answer)
			expect(t, "code of the one before", before.(*Error).Code, CodeExecuted)
			expect(t, "index", s.Index(), index)
			s.check(t)
		})
	}
}

// Answers are forgotten with time alone, whatever entry moves the clock.
func TestTheWindowIsEmptiedByTheClock(t *testing.T) {
	s := New(Limits{})
	s.at(1, set("/k", "v").named("id"))

	s.tick(int64(windowTime))
	expect(t, "held just before", len(s.window.order), 1)
	s.tick(int64(windowTime) + 1)

	expect(t, "held", len(s.window.order)+s.window.bytes, 0)
	expect(t, "again", sketch(s.do(set("/k", "v").named("id"))),
		`213 request id "id" was executed at index 1: the answer is no longer kept, read the key at 1`)
	s.check(t)
}

// At full speed an answer is forgotten after a second, and still a retry is not executed again.
// pitfall G3, pitfall L8
func TestWhatFellOutOfTheWindowIsNotExecutedAgain(t *testing.T) {
	const requests = 12_000
	s := New(Limits{})
	command := func(i int) Command { return post("/q", fmt.Sprint(i)).named(fmt.Sprint(i)) }
	for i := range requests {
		s.do(command(i))
	}
	index := s.Index()

	forgotten := 0
	for i := range requests {
		switch a := s.do(command(i)).(type) {
		case *Event:
			expect(t, "value", a.Node.Value, fmt.Sprint(i))
		case *Error:
			expect(t, "error", sketch(a),
				fmt.Sprintf(`213 request id "%d" was executed at index %d: the answer is no longer kept, read the key at %d`, i, i+1, index))
			forgotten++
		}
	}

	expect(t, "without their answers", forgotten, requests-windowBounds.answers)
	expect(t, "index", s.Index(), index)
	s.check(t)
}

// small gives the window of a store small bounds.
func (s *Store) small() *Store {
	s.window.bounds = bounds{answers: 3, bytes: 1 << 20, facts: 4}
	return s
}

// A request is refused if its index shows that it may be older than all that the window remembers.
// A new one is executed. pitfall G3, pitfall L8
func TestWhatIsForgottenIsRefused(t *testing.T) {
	request := func(i int) Command {
		if i == 4 {
			return create("/1", "").named("4").after(3)
		}
		return set(fmt.Sprintf("/%d", i), "").named(fmt.Sprint(i)).after(uint64(i - 1))
	}
	forgotten := func(id string, index int) string {
		return fmt.Sprintf("214 request id %q may have been executed: its index is %d, and what was executed up to 3 "+
			"is forgotten at 9", id, index)
	}
	for _, c := range []struct {
		name  string
		again Command
		want  string
	}{
		{"the answer is there", request(8), "set /8= 7/7"},
		{"it was executed", request(5),
			`213 request id "5" was executed at index 4: the answer is no longer kept, read the key at 9`},
		{"it was refused", request(4), `213 request id "4" was refused before: the answer is no longer kept at 9`},
		{"it is forgotten", request(3), forgotten("3", 2)},
		{"it is forgotten, and has no index", request(3).after(0), forgotten("3", 0)},
		{"it has an index of another cluster", request(3).after(11), forgotten("3", 0)},
		{"it is another one, as old", set("/new", "").named("new").after(2), forgotten("new", 2)},
		{"it is new", set("/new", "").named("new").after(3), "set /new= 10/10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(Limits{}).small()
			for i := range 10 {
				s.do(request(i + 1))
			}

			for _, s := range []*Store{restored(t, Limits{}, s.frozenBytes(t)).small(), s} {
				expect(t, "again", sketch(s.do(c.again)), c.want)
				s.check(t)
			}
		})
	}
}

// Each user has a part of the window that no other user can take, neither by many requests nor by
// big ones: its answers, its facts and its horizon. A restored member knows the same. pitfall G3,
// pitfall G5
func TestNobodyFlushesTheRequestsOfOthers(t *testing.T) {
	big := strings.Repeat("v", 1<<20)
	mine := func(i int) Command { return post("/q", "mine").named(fmt.Sprint(i)).from("alice").after(1) }
	for _, c := range []struct {
		name   string
		bounds bounds
		floods int
		value  string
		mine   int    // requests of alice, the oldest first
		want   string // the codes of her retries; 200 is the first answer
	}{
		{"by count", bounds{10, 1 << 20, 10}, 100, "", 5, "200 200 200 200 200"},
		{"by count, beyond her part", bounds{10, 1 << 20, 10}, 100, "", 12,
			"214 214 213 213 213 213 213 200 200 200 200 200"},
		{"by two big writes", bounds{10, 1 << 20, 10}, 2, big, 2, "200 200"},
		{"by many big writes", bounds{10, 1 << 20, 10}, 50, big, 5, "200 200 200 200 200"},
		{"by other people", bounds{40, 1 << 20, 40}, 400, "everybody", 10, "200 200 200 200 200 200 200 200 200 200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(Limits{Events: 1})
			s.window.bounds = c.bounds
			s.do(set("/k", ""))
			for i := range c.mine {
				s.do(mine(i))
			}
			for i := range c.floods {
				flood := set("/k", c.value).named(fmt.Sprint(i)).from("bob").after(s.applied)
				if c.value == "everybody" {
					flood = flood.from(fmt.Sprint("user", i%3))
				}
				s.do(flood)
				s.check(t)
			}
			index := s.Index()

			for _, s := range []*Store{restored(t, Limits{Events: 1}, s.frozenBytes(t)), s} {
				s.window.bounds = c.bounds
				var codes []string
				for i := range c.mine {
					code := 200
					if e, failed := s.do(mine(i)).(*Error); failed {
						code = e.Code
					}
					codes = append(codes, fmt.Sprint(code))
				}
				expect(t, "codes", strings.Join(codes, " "), c.want)
				expect(t, "index", s.Index(), index)
				s.check(t)
			}
			if bob := set("/k", c.value).named(fmt.Sprint(c.floods - 1)).from("bob"); c.value != "everybody" {
				_, again := s.do(bob.after(1)).(*Event)
				expect(t, "the last of the flood is remembered", again, true)
			}
		})
	}
}

// However many facts and answers of others are before those to be forgotten, one entry of the log
// moves only a few. The bounds hold again after enough entries. pitfall G5
func TestNoEntryMovesManyFacts(t *testing.T) {
	s, command := New(Limits{Events: 1}), 0
	s.window.bounds = bounds{answers: 100, bytes: 1 << 20, facts: 20_000}
	ask := func(user string) (moved uint64) {
		command++
		before := s.window.facts.next
		s.do(del("/none").named(fmt.Sprint(command)).from(user).after(s.applied))
		return s.window.facts.next - before
	}
	for _, user := range []string{"alice", "bob"} {
		for range s.window.bounds.facts/2 + s.window.bounds.answers/2 {
			ask(user)
		}
	}
	most, worst := uint64(0), 0
	for i := range 1000 {
		most = max(most, ask([]string{"bob", "alice"}[i/100%2]))
		_, _, facts := s.Remembered()
		worst = max(worst, facts)
	}
	for range 2 * s.window.bounds.facts / movesPerEntry {
		s.tick(s.now)
	}

	if most > movesPerEntry+2 {
		t.Errorf("an entry moved %d facts", most)
	}
	if slack := worst - s.window.bounds.facts; slack <= 0 || slack > 1000 {
		t.Errorf("%d facts beyond the bound", slack)
	}
	_, _, facts := s.Remembered()
	expect(t, "facts in the end", facts, s.window.bounds.facts)
	s.check(t)
}

// Forgetting many answers that are behind others looks at each answer once, and keeps the order.
// pitfall G5
func TestManyAnswersAreForgottenInOnePass(t *testing.T) {
	w := window{bounds: windowBounds}
	add := func(user string, id, size int) {
		c := Command{RequestID: fmt.Sprint(id), User: user}
		w.add(&request{name: c.name(), entry: uint64(id + 1), check: sha256.Sum256(nil),
			answer: &Error{Cause: strings.Repeat("x", size)}})
	}
	for id := range 10_000 {
		add([]string{"alice", "bob"}[id/5000], id, 1400)
	}

	add("bob", 10_000, 10<<20)

	expect(t, "answers", len(w.order), 5001)
	looks := 0
	w.shed(func() bool { return len(w.order) > 0 }, func(*share) bool { looks++; return looks > 2000 })
	expect(t, "looks", looks, 5000)
	expect(t, "answers after them", len(w.order), 2001)
	if err := w.wellFormed(0); err != nil {
		t.Error(err)
	}
}

// A user whose requests are all forgotten keeps a horizon at or behind them.
func TestAForgottenUserIsNotTrustedAnew(t *testing.T) {
	s := New(Limits{})
	s.window.bounds = bounds{answers: 1, bytes: 1 << 20, facts: 1}
	for i := range 6 {
		s.do(set("/k", "").named("id").from(fmt.Sprint("user", i)).after(uint64(i)))
	}

	got := s.do(set("/k", "").named("id").from("user0").after(0))

	expect(t, "again", got.(*Error).Code, CodeForgotten)
	s.check(t)
}

// The window's memory is bounded, whatever is requested. A store that never saw a request id spends
// nothing on it.
func TestTheWindowsMemoryIsBounded(t *testing.T) {
	s := New(Limits{Events: 1})
	s.do(set("/k", "v"))
	before := heapInUse()

	for i := range windowBounds.facts + windowBounds.answers + 5000 {
		s.do(del("/none").named(fmt.Sprint(i)).after(s.applied))
	}

	const answers = 10_000 * (eventOverhead + 64) // errors are small
	grown := heapInUse() - before
	t.Logf("%d facts and %d answers take %d bytes", s.window.facts.count(), len(s.window.order), grown)
	if grown > 16<<20+answers {
		t.Errorf("they take %d bytes", grown)
	}
	kept, bytes, facts := s.Remembered()
	expect(t, "remembered", fmt.Sprint(kept, bytes, facts), fmt.Sprint(windowBounds.answers, s.window.bytes,
		windowBounds.facts))
	none := (&Command{}).name()
	expect(t, "horizon", s.window.horizonOf(none.user()), uint64(5001))
	s.check(t)
}

// A member that begins with a snapshot knows what was asked before, also what the history no longer
// has. pitfall G5, pitfall E7
func TestTheWindowIsInTheSnapshot(t *testing.T) {
	commands := []Command{
		post("/q", "a").named("1"), create("/q", "").named("2"), set("/t", "v").ttl(time.Hour).named("3"),
		update("/t", "").refresh().ttl(time.Hour).named("4"), update("/q",
			"").ttl(time.Hour).named("5"), del("/t").named("6"),
	}
	s := New(Limits{Events: 2})
	var first []string
	for _, c := range commands {
		first = append(first, sketch(s.do(c)))
	}

	for _, l := range []Limits{{Events: 1}, {}} {
		r := restored(t, l, s.frozenBytes(t))
		for i, c := range commands {
			expect(t, "again", sketch(r.do(c)), first[i])
		}
		expect(t, "index", r.Index(), s.Index())
		r.check(t)
	}
}

// A window that is frozen stays as it was, and one that is restored replaces what was there.
func TestRestoreReplacesTheWindow(t *testing.T) {
	s, other := New(Limits{}), New(Limits{})
	s.do(set("/k", "1").named("id"))
	state := s.frozenBytes(t)
	other.do(set("/k", "2").named("id"))

	if err := other.Restore(strings.NewReader(string(state))); err != nil {
		t.Fatal(err)
	}

	expect(t, "answer", sketch(other.do(set("/k", "1").named("id"))), "set /k=1 1/1")
	other.check(t)
}

// A command prints as one line, as in etcd2 dump.
func TestDescribePrintsACommand(t *testing.T) {
	for _, c := range []struct {
		cmd  []byte
		want string
	}{
		{set("/k", "v").bytes(), `set "/k" value="v"`},
		{swap("/k", "v").prev("p", 7).ttl(time.Second).named("my id").bytes(),
			`compare-and-swap "/k" value="v" prevValue="p" prevIndex=7 ttl=1s requestId="my id"`},
		{del("/d").dir().recursive().bytes(), `delete "/d" dir=true recursive=true`},
		{advance(2).bytes(), "advance 2"},
		{offset(-90 * time.Second).bytes(), "clock offset=-1m30s"},
		{set("/k", "").named("id").from("alice").after(9).judged(7).bytes(),
			`set "/k" requestId="id" user="alice" requestIndex=9 revision=7`},
		{[]byte{version + 1, 'x'}, `no command: "\xc2x"`},
		{[]byte{version}, `no command: "\xc1"`},
		{nil, `no command: ""`},
	} {
		expect(t, "description", Describe(c.cmd), c.want)
	}
}
