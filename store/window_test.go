package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A command that comes again, with its id, gets its first answer whatever happened in between, and does nothing.
// pitfall G3
func TestARetryGetsTheFirstAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		do   Command
		want string
	}{
		{"set", set("/f", "mine").ttl(time.Hour), "set /f=mine 10/10 until 1h0m0s was /f=1 1/1"},
		{"a refresh", set("/f", "").refresh().ttl(time.Hour), "set /f=1 10/10 until 1h0m0s was /f=1 1/1"},
		{"a name in order", post("/q", "job"), "create /q/00000000000000000010=job 10/10"},
		{"a swap does not refuse its own success", swap("/f", "2").prev("1", 0), "compareAndSwap /f=2 1/10 was /f=1 1/1"},
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

// An id is one command's: with another one, it is an error, and the first answer stays.
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

		expect(t, "other command", sketch(s.do(other.named("id\xff"))), `209 request id "id\xff" was used for another command at 2`)

		expect(t, "tree", s.listing(), tree)
		expect(t, "first command", s.do(first), answer)
	}
}

// What the window forgets first is the oldest, as soon as a bound is passed.
func TestTheWindowKeepsItsBounds(t *testing.T) {
	big := strings.Repeat("v", windowBytes/10)
	for _, c := range []struct {
		name  string
		value string
		step  time.Duration
		held  int
	}{
		{"by count", "v", 0, windowRequests},
		{"by bytes", big, time.Microsecond, 9},
		{"by the clock", "v", time.Second, int(windowTime / time.Second)},
		{"one answer too big", strings.Repeat("v", windowBytes), 0, 1},
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

			s.do(command(count - held))
			oldest := s.Index()
			s.do(command(count - held - 1))

			expect(t, "held", held, c.held)
			expect(t, "index after the oldest that is remembered", oldest, index)
			expect(t, "index after the one before", s.Index(), index+1)
			s.check(t)
		})
	}
}

// Time alone empties the window, whatever entry brings it.
func TestTheWindowIsEmptiedByTheClock(t *testing.T) {
	s := New(Limits{})
	s.at(1, set("/k", "v").named("id"))

	s.tick(int64(windowTime))
	expect(t, "held just before", len(s.window.order), 1)
	s.tick(int64(windowTime) + 1)

	expect(t, "held", len(s.window.order)+s.window.bytes, 0)
	s.check(t)
}

// A member that begins with a snapshot knows what was asked before, also what the history no longer has.
// pitfall G5, pitfall E7
func TestTheWindowIsInTheSnapshot(t *testing.T) {
	commands := []Command{
		post("/q", "a").named("1"), create("/q", "").named("2"), set("/t", "v").ttl(time.Hour).named("3"),
		update("/t", "").refresh().ttl(time.Hour).named("4"), update("/q", "").ttl(time.Hour).named("5"), del("/t").named("6"),
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

// A command in a line, as etcd2 dump prints it.
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
		{[]byte{versionsEnd, 'x'}, `no command: "\x04x"`},
		{[]byte{versionID}, `no command: "\x02"`},
		{nil, `no command: ""`},
	} {
		expect(t, "description", Describe(c.cmd), c.want)
	}
}

// A command with an id that a member of the first version meets stops that member: its version says so.
// pitfall I7
func TestACommandWithAnIDIsOfALaterVersion(t *testing.T) {
	expect(t, "without", set("/k", "v").bytes()[0], byte(1))
	expect(t, "with", set("/k", "v").named("id").bytes()[0], byte(2))
	if err, _ := New(Limits{}).Apply(1, time.Unix(0, 0), []byte{0, 1, 0}).(error); !errors.Is(err, ErrVersion) {
		t.Errorf("version 0: %v", err)
	}
}
