package store

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// The rules of sections 6 to 11 and 13, one command for each. Every case begins with the same tree
// at index 9.
func TestCommandsAnswerAsSpecified(t *testing.T) {
	prepare := []Command{set("/f", "1"), set("/d/x", "1"), set("/e", "").dir(), set("/h/_x", "1"),
		set("/t", "1").ttl(time.Hour), advance(4)}
	const hour = "until 1h0m0s"
	for _, c := range []struct {
		section string
		do      Command
		want    string
	}{
		{"8 root", set("/", "v"), "107 / at 9"},
		{"8 root", set("/", "").dir(), "107 / at 9"},
		{"8 root", create("/", "v"), "107 / at 9"},
		{"8 root", update("/", "v"), "107 / at 9"},
		{"8 root", swap("/", "v").prev("x", 0), "107 / at 9"},

		{"8.1 missing", set("/new/k", "v"), "set /new/k=v 10/10"},
		{"8.1 missing", set("/new/k", "dropped").dir(), "set /new/k/ 10/10"},
		{"8.1 file", set("/f", "v"), "set /f=v 10/10 was /f=1 1/1"},
		{"8.1 file", set("/f", "v").dir(), "set /f/ 10/10 was /f=1 1/1"},
		{"8.1 directory", set("/d", "v"), "102 /d at 9"},
		{"8.1 directory", set("/d", "").dir(), "102 /d at 9"},
		{"8.1 ttl dropped", set("/t", "v"), "set /t=v 10/10 was /t=1 5/5 " + hour},
		{"8 parent is a file", set("/f/x/y", "v"), "104 /f at 9"},

		{"8.2 missing", create("/new/k", "v"), "create /new/k=v 10/10"},
		{"8.2 exists", create("/f", "v"), "105 /f at 9"},
		{"8.2 exists", create("/d", "v"), "105 /d at 9"},
		{"8.2 compares nothing", create("/n", "v").prev("x", 7), "create /n=v 10/10"},

		{"8.3 missing", update("/new/k", "v"), "100 /new at 9"},
		{"8.3 missing", update("/d/k", "v"), "100 /d/k at 9"},
		{"8.3 through a file", update("/f/x", "v"), "104 /f at 9"},
		{"8.3 file", update("/f", "v"), "update /f=v 1/10 was /f=1 1/1"},
		{"8.3 ttl removed", update("/t", ""), "update /t= 5/10 was /t=1 5/5 " + hour},
		{"8.3 dir is nothing", update("/f", "v").dir(), "update /f=v 1/10 was /f=1 1/1"},
		{"8.3 directory", update("/d", "v"), "102 /d at 9"},
		{"8.3 directory", update("/d", "").ttl(time.Hour), "update /d/ 2/10 " + hour + " was /d/ 2/2"},

		{"8.4 missing", swap("/k", "v").prev("1", 0), "100 /k at 9"},
		{"8.4 directory", swap("/d", "v").prev("1", 0), "102 /d at 9"},
		{"8.4 value", swap("/f", "v").prev("1", 0), "compareAndSwap /f=v 1/10 was /f=1 1/1"},
		{"8.4 index", swap("/f", "v").prev("", 1).dir(), "compareAndSwap /f=v 1/10 was /f=1 1/1"},
		{"8.4 both", swap("/f", "v").prev("1", 1), "compareAndSwap /f=v 1/10 was /f=1 1/1"},
		{"8.4 value fails", swap("/f", "v").prev("2", 0), "101 [2 != 1] at 9"},
		{"8.4 value fails", swap("/f", "v").prev("2", 1), "101 [2 != 1] at 9"},
		{"8.4 index fails", swap("/f", "v").prev("1", 8), "101 [8 != 1] at 9"},
		{"8.4 both fail", swap("/f", "v").prev("2", 8), "101 [2 != 1] [8 != 1] at 9"},

		{"9", post("/d", "v"), "create /d/00000000000000000010=v 10/10"},
		{"9 missing", post("/new/q", "v").ttl(time.Hour), "create /new/q/00000000000000000010=v 10/10 " + hour},
		{"9 root", post("/", "").dir(), "create /00000000000000000010/ 10/10"},
		{"9 file", post("/f", "v"), "104 /f at 9"},
		{"9 refresh is nothing", post("/d", "").refresh().ttl(time.Hour), "create /d/00000000000000000010= 10/10 " +
			hour},

		{"10 root", del("/").recursive(), "107 / at 9"},
		{"10 missing", del("/d/k/j"), "100 /d/k at 9"},
		{"10 through a file", del("/f/x"), "104 /f at 9"},
		{"10 file", del("/f"), "delete /f= 1/10 was /f=1 1/1"},
		{"10 file", del("/f").dir().recursive(), "delete /f= 1/10 was /f=1 1/1"},
		{"10 ttl", del("/t"), "delete /t= 5/10 was /t=1 5/5 " + hour},
		{"10 directory", del("/e"), "102 /e at 9"},
		{"10 empty", del("/e").dir(), "delete /e/ 3/10 was /e/ 3/3"},
		{"10 not empty", del("/d").dir(), "108 /d at 9"},
		{"10 hidden children count", del("/h").dir(), "108 /h at 9"},
		{"10 recursive", del("/d").recursive(), "delete /d/ 2/10 was /d/ 2/2"},
		{"10 compare", compareDelete("/f").prev("1", 1), "compareAndDelete /f= 1/10 was /f=1 1/1"},
		{"10 compare fails", compareDelete("/f").prev("2", 0), "101 [2 != 1] at 9"},
		{"10 compare missing", compareDelete("/k").prev("2", 0), "100 /k at 9"},
		{"10 compare directory", compareDelete("/d").prev("2", 0).recursive(), "102 /d at 9"},
		{"10 compare root", compareDelete("/").prev("2", 0), "102  at 9"},

		{"13 update", update("/t", "").refresh().ttl(2 * time.Hour), "update /t=1 5/10 until 2h0m0s was /t=1 5/5 " +
			hour},
		{"13 plain", set("/f", "").refresh().ttl(time.Hour), "set /f=1 10/10 " + hour + " was /f=1 1/1"},
		{"13 missing", set("/new/k", "").refresh().ttl(time.Hour), "100 /new at 9"},
		{"13 directory", set("/d", "").refresh().ttl(time.Hour), "102 /d at 9"},
		{"13 swap", swap("/f", "").refresh().prev("1", 0).ttl(time.Hour), "compareAndSwap /f=1 1/10 " + hour +
			" was /f=1 1/1"},
		{"13 swap fails", swap("/f", "").refresh().prev("2", 0).ttl(time.Hour), "101 [2 != 1] at 9"},
		{"13 create", create("/n", "").refresh().ttl(time.Hour), "create /n= 10/10 " + hour},
		{"13 update of a directory", update("/d", "").refresh().ttl(time.Hour), "update /d/ 2/10 " + hour +
			" was /d/ 2/2"},
		{"13 plain dir on a file", set("/f", "").refresh().ttl(time.Hour).dir(), "set /f/ 10/10 " + hour +
			" was /f=1 1/1"},

		{"12 no wrap", set("/f", "v").ttl(math.MaxInt64), "set /f=v 10/10 was /f=1 1/1"},
		{"12 no wrap", update("/t", "v").ttl(math.MaxInt64), "update /t=v 5/10 was /t=1 5/5 " + hour},
		{"12 at once", set("/f", "v").ttl(0), "set /f=v 10/10 until 1ns was /f=1 1/1"},
	} {
		t.Run(c.section, func(t *testing.T) {
			s := New(Limits{})
			for _, p := range prepare {
				s.do(p)
			}
			before := s.listing()

			answer := s.do(c.do)

			expect(t, fmt.Sprintf("%+v", c.do), sketch(answer), c.want)
			s.check(t)
			if _, failed := answer.(*Error); failed && s.listing() != before {
				t.Errorf("a failed command changed the tree to\n%s", s.listing())
			}
		})
	}
}

// Only the event of a directory's update shows the new index (API section 6).
func TestDirectoryKeepsItsModifiedIndex(t *testing.T) {
	s := New(Limits{})
	s.do(set("/d/x", "1"))

	s.do(update("/d", "").ttl(time.Hour))
	s.do(set("/d/y", "1"))

	v, err := s.Get("/d")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "directory", sketch(v.Node), "/d/ 1/1 until 1h0m0s")
	expect(t, "index", v.Index, uint64(3))
}

// A key that is due expires before the command of the same entry is executed.
func TestExpiryComesBeforeTheCommand(t *testing.T) {
	s := New(Limits{})
	s.at(100, set("/k", "1").ttl(50))

	got := sketch(s.at(150, create("/k", "2")))

	expect(t, "create", got, "create /k=2 3/3")
	expect(t, "expiry", sketch(s.history.at(2)), "expire /k= 1/2 was /k=1 1/1 until 150ns")
}

// A key lives exactly as long as the cluster clock says: through the last nanosecond before its
// end. pitfall I1
func TestKeyLivesToTheNanosecond(t *testing.T) {
	s := New(Limits{})
	s.at(1e9, set("/k", "1").ttl(time.Second))

	s.tick(2e9 - 1)
	_, alive := s.Get("/k")
	s.tick(2e9)
	_, gone := s.Get("/k")

	if alive != nil || gone == nil {
		t.Errorf("before the end: %v, at the end: %v", alive, gone)
	}
}

// Nodes that are due together expire in the order of time, then path, each by its own event. A
// directory expires with all that is in it, and the node of its event has no dir flag (API section
// 12). pitfall I4
func TestExpiriesComeInOrder(t *testing.T) {
	s := New(Limits{})
	for _, c := range []Command{
		set("/b", "1").ttl(20), set("/a", "1").ttl(20), set("/c", "1").ttl(10),
		set("/d", "").dir().ttl(15), set("/d/late", "1").ttl(99), set("/d/early", "1").ttl(5), set("/z", "1").ttl(30),
	} {
		s.do(c)
	}

	s.tick(25)

	var got []string
	for i := uint64(8); i <= s.index; i++ {
		e := s.history.at(i)
		got = append(got, fmt.Sprintf("%d %s dir=%v", i, e.Node.Path, e.Node.Dir))
	}
	expect(t, "events", strings.Join(got, ", "),
		"8 /d/early dir=false, 9 /c dir=false, 10 /d dir=false, 11 /a dir=false, 12 /b dir=false")
	expect(t, "what stays", s.listing(), "/z=1 7/7 until 30ns\n")
	s.check(t)
}

// ttl=0: the node is there until the next entry.
func TestTTLZeroIsDueAtOnce(t *testing.T) {
	s := New(Limits{})
	s.at(77, set("/k", "1").ttl(0))
	v, err := s.Get("/k")
	due, ok := s.NextDue()
	s.tick(77)
	_, gone := s.Get("/k")

	if err != nil || v.Node.Ends.Due != 77 || !ok || due.UnixNano() != 77 || gone == nil {
		t.Errorf("node %+v, %v; due %v %v; then %v", v.Node, err, due, ok, gone)
	}
}

// A deleted, replaced or refreshed node does not expire at its old time.
// pitfall I13
func TestRefreshedKeyDoesNotExpireAtItsOldTime(t *testing.T) {
	s := New(Limits{})
	for _, k := range []string{"/kept", "/refreshed", "/replaced", "/deleted"} {
		s.do(set(k, "1").ttl(10))
	}
	s.do(update("/kept", "2"))
	s.do(set("/refreshed", "").refresh().ttl(30))
	s.do(set("/replaced", "2").ttl(40))
	s.do(del("/deleted"))

	s.tick(20)

	expect(t, "tree", s.listing(), "/kept=2 1/5\n/refreshed=1 6/6 until 30ns\n/replaced=2 7/7 until 40ns\n")
	s.check(t)
}

// A stamp that goes back counts as the last one.
// pitfall I3
func TestClockNeverGoesBack(t *testing.T) {
	s := New(Limits{})
	s.at(100, set("/a", "1"))

	s.at(50, set("/k", "1").ttl(10))
	s.tick(-5)

	v, err := s.Get("/k")
	if err != nil || v.Node.Ends.Due != 110 {
		t.Errorf("node %+v, %v", v.Node, err)
	}
	e, _ := s.Apply(s.applied+1, time.Time{}, del("/k").bytes()).(*Event)
	expect(t, "stamp", e.Stamp, int64(100))
	s.Apply(s.applied+1, time.Unix(1<<40, 0), nil)
	expect(t, "a year without a number", s.now, int64(math.MaxInt64))
}

// An entry that does not follow the one before would be applied twice, or another one lost.
// pitfall I6
func TestApplyRefusesAnEntryOutOfTurn(t *testing.T) {
	for _, index := range []uint64{0, 6, 7, 9} {
		s := New(Limits{})
		s.Apply(7, time.Unix(0, 0), nil)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("entry %d was applied after entry 7", index)
				}
			}()
			s.Apply(index, time.Unix(0, 0), nil)
		}()
	}
}

// A command of another version is not read at all, neither one of a later version nor one that a
// development build wrote (1 to 4).
// pitfall I7
func TestACommandOfAnotherVersionStopsTheMember(t *testing.T) {
	for _, first := range []byte{0, 1, 2, 3, 4, version + 1} {
		s := New(Limits{})
		s.at(5, set("/k", "1").ttl(1))
		before := s.listing()

		err, _ := s.Apply(2, time.Unix(9, 0), append([]byte{first}, set("/k", "2").bytes()[1:]...)).(error)

		want := fmt.Sprintf("store: apply: entry 2: the command was written by another version of this program: "+
			"it begins with 0x%x, not with 0xc1", first)
		if !errors.Is(err, ErrVersion) || err.Error() != want {
			t.Errorf("answer %v", err)
		}
		if s.applied != 1 || s.now != 5 || s.listing() != before {
			t.Errorf("applied %d, now %d, tree\n%s", s.applied, s.now, s.listing())
		}
	}
}

// pitfall I5
func TestBytesThatAreNoCommandAreAnError(t *testing.T) {
	whole, named := set("/k", "value").bytes(), set("/k", "value").named("id").bytes()
	deep := set(strings.Repeat("/x", depthLimit+1), "v").bytes()
	for _, c := range []struct {
		name string
		cmd  []byte
	}{
		{"one byte", whole[:1]},
		{"cut short", whole[:len(whole)-1]},
		{"too long", append(whole[:len(whole):len(whole)], 0)},
		{"unknown head", append([]byte{version, headEnd}, whole[2:]...)},
		{"unknown operation", append([]byte{version, 0, 99}, whole[3:]...)},
		{"operation 0", append([]byte{version, 0, 0}, whole[3:]...)},
		{"unknown flag", append([]byte{version, 0, 1, flagsEnd}, whole[4:]...)},
		{"a revision of 0", append([]byte{version, headRevision, 0}, whole[2:]...)},
		{"no key", set("a", "v").bytes()},
		{"empty key", set("", "v").bytes()},
		{"key not canonical", set("/a//b", "v").bytes()},
		{"too deep", deep},
		{"makes a key that is too deep", post(strings.Repeat("/x", depthLimit), "v").bytes()},
		{"advances too far", advance(MaxAdvance + 1).bytes()},
		{"advances with an id", advance(1).named("id").bytes()},
		{"a clock with an id", offset(1).named("id").bytes()},
		{"a clock judged", offset(1).judged(1).bytes()},
		{"only a request", named[:7]},
		{"an id cut short", named[:4]},
		{"an id of no length", named[:2]},
		{"an empty id", append([]byte{version, headRequest, 0}, named[5:]...)},
		{"an id too long", set("/k", "v").named(strings.Repeat("i", MaxRequestID+1)).bytes()},
		{"a user too long", set("/k", "v").named("i").from(strings.Repeat("u", MaxUser+1)).bytes()},
		{"an id with a length that overflows", append([]byte{version, headRequest, 255, 255, 255, 255, 255, 255, 255,
			255, 255, 1}, named[2:]...)},
		{"lengths that overflow", append(append([]byte{version, 0, 1, 0, 0, 0, 0},
			255, 255, 255, 255, 255, 255, 255, 255, 255, 1), 2, 0, 'x')},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(Limits{})

			got := s.Apply(1, time.Unix(0, 0), c.cmd)

			expect(t, "answer", sketch(got), "300 unknown command at 0")
			expect(t, "applied", s.applied, uint64(1))
		})
	}
}

// Apply keeps nothing of the bytes it was given.
func TestApplyCopiesTheCommand(t *testing.T) {
	s := New(Limits{})
	cmd := set("/dir/key", "value").ttl(time.Hour).bytes()
	s.Apply(1, time.Unix(0, 0), cmd)

	for i := range cmd {
		cmd[i] = '#'
	}

	expect(t, "tree", s.listing(), "/dir/ 1/1\n/dir/key=value 1/1 until 1h0m0s\n")
}

func TestCommandReadsBackWhatItWrote(t *testing.T) {
	for _, c := range []Command{
		set("/k", "v"),
		create("/k", "").ttl(0),
		post("/", "v").ttl(math.MaxInt64).dir(),
		swap("/\xff\x00/k", "\xfe").prev("x\xff", math.MaxUint64).refresh(),
		del("/k").recursive(),
		compareDelete("/k").prev("", 1),
		advance(3),
		offset(-1),
		post("/", "v").named("a name"),
		set("/k", "v").named(strings.Repeat("\xff", MaxRequestID)).from(strings.Repeat("\xfe",
			MaxUser)).after(math.MaxUint64),
		set("/k", "v").named("i").judged(math.MaxUint64),
		set("/k", "v").in(Auth),
	} {
		var got Command
		if err := got.decode(c.bytes()); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		expect(t, "check", got.check != [32]byte{}, c.RequestID != "")
		got.check = c.check
		expect(t, "command", got, c)
	}
}

// Empty entries and OpAdvance have no result. OpAdvance takes its indices, which have no events.
func TestAdvanceTakesIndicesOnly(t *testing.T) {
	s := New(Limits{})
	w, _ := s.Watch("/", true, 0)

	answers := fmt.Sprint(s.do(advance(0)), s.do(advance(5)), s.Apply(3, time.Unix(0, 0), nil))

	expect(t, "answers", answers, "<nil> <nil> <nil>")
	expect(t, "index", s.Index(), uint64(6))
	if told, err := w.drain(); told != nil || err != nil {
		t.Errorf("told %q, %v", told, err)
	}
	s.check(t)
}

// A directory expires with all that is in it by then. So giving it a time to live takes the right
// to all below it, whether the directory exists already or not. For a file it does not.
func TestATimeToLiveOfADirectoryNeedsTheRightToAllBelow(t *testing.T) {
	for _, c := range []struct {
		do   Command
		done bool
	}{
		{update("/d", "").dir().ttl(0), false}, {update("/d", "").ttl(time.Hour), false}, {update("/d",
			"").refresh().ttl(time.Hour), false},
		{update("/empty", "").dir().ttl(0), false}, {set("/new", "").dir().ttl(time.Hour), false}, {set("/f",
			"").dir().ttl(time.Hour), false},
		{create("/new", "").dir().ttl(time.Hour), false}, {post("/q", "").dir().ttl(time.Hour), false},
		{update("/d", "").dir(), true}, {set("/new", "").dir(), true}, {update("/f", "2").ttl(time.Hour),
			true}, {set("/f", "").refresh().ttl(0), true},
		{swap("/f", "2").prev("1", 0).dir().ttl(time.Hour), true}, {post("/d", "2").ttl(time.Hour),
			true}, {create("/d/y", "").ttl(time.Hour), true},
	} {
		for _, right := range []bool{false, true} {
			s := New(Limits{})
			for _, before := range []Command{set("/d/x", "1"), set("/f", "1"), set("/empty", "").dir()} {
				s.do(before)
			}
			tree, do := s.listing(), c.do
			do.Shallow = !right
			_, done := s.do(do.named("id")).(*Event)
			if done != (c.done || right) || !done && s.listing() != tree {
				t.Errorf("%s, with the right %v: done %v\n%s", Describe(do.bytes()), right, done, s.listing())
			}
			s.check(t)
		}
	}
}
