package store

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A frugal command is refused if it would make the tree grow. Otherwise it is executed, or fails,
// like any other.
// pitfall J9
func TestAFrugalCommandGrowsNothing(t *testing.T) {
	for _, c := range []struct {
		do   Command
		want string
	}{
		{set("/new", ""), "215 /new at 3"},
		{set("/no/new", ""), "215 /no/new at 3"},
		{set("/no", "").dir(), "215 /no at 3"},
		{create("/new", ""), "215 /new at 3"},
		{post("/d", ""), "215 /d/00000000000000000004 at 3"},
		{set("/k", "longer"), "215 /k at 3"},
		{update("/k", "longer"), "215 /k at 3"},
		{swap("/k", "longer").prev("value", 0), "215 /k at 3"},
		{set("/k", "").dir(), "215 /k at 3"},
		{set("/users/u", "").in(Auth), "215 /users/u at 3"},

		{create("/k", "longer"), "105 /k at 3"},
		{swap("/k", "longer").prev("other", 0), "101 [other != value] at 3"},
		{update("/new", ""), "100 /new at 3"},
		{set("/d", ""), "102 /d at 3"},

		{set("/k", "VALUE"), "set /k=VALUE 4/4 was /k=value 1/1"},
		{set("/k", "v").ttl(time.Second), "set /k=v 4/4 until 1s was /k=value 1/1"},
		{update("/k", "v"), "update /k=v 1/4 was /k=value 1/1"},
		{swap("/k", "v").prev("value", 0), "compareAndSwap /k=v 1/4 was /k=value 1/1"},
		{set("/k", "").refresh().ttl(time.Second), "set /k=value 4/4 until 1s was /k=value 1/1"},
		{update("/d", "").ttl(time.Second), "update /d/ 2/4 until 1s was /d/ 2/2"},
		{del("/k"), "delete /k= 1/4 was /k=value 1/1"},
		{compareDelete("/k").prev("value", 0), "compareAndDelete /k= 1/4 was /k=value 1/1"},
		{del("/d").recursive(), "delete /d/ 2/4 was /d/ 2/2"},
	} {
		s := New(Limits{})
		for _, p := range []Command{set("/k", "value"), set("/d/x", "1"), set("/t", "1")} {
			s.do(p)
		}
		expect(t, Describe(c.do.bytes()), sketch(s.do(c.do.frugal())), c.want)
		s.check(t)
	}
}

// Members with different limits that apply the commands which one of them has marked have the same
// tree.
// pitfall I8
func TestMembersWithDifferentQuotasHaveTheSameTree(t *testing.T) {
	leader, others := New(Limits{Tree: 20_000}), []*Store{New(Limits{Tree: 1}), New(Limits{Tree: 1 << 40}),
		New(Limits{})}
	g, refused := newGenerator(1), 0
	for range 5000 {
		now, c := g.next(leader.index)
		cmd := leader.Mark(c.bytes())
		answer := leader.Apply(leader.applied+1, time.Unix(0, now), cmd)
		if e, failed := answer.(*Error); failed && e.Code == CodeQuota {
			refused++
		}
		for _, s := range others {
			if got := s.Apply(s.applied+1, time.Unix(0, now), cmd); sketch(got) != sketch(answer) {
				t.Fatalf("%s: %s here, %s there", Describe(cmd), sketch(answer), sketch(got))
			}
			expect(t, "digest", s.Digest(), leader.Digest())
		}
	}
	if refused == 0 || refused > 4000 {
		t.Errorf("%d of 5000 refused", refused)
	}
}

// Commands are marked as long as the tree is full, whatever they were marked before.
// pitfall J9
func TestAFullTreeIsLeftByDeletes(t *testing.T) {
	s := New(Limits{Tree: 10_000})
	next := func(c Command) string {
		return sketch(s.Apply(s.applied+1, time.Unix(0, 0), s.Mark(c.bytes())))
	}
	last := ""
	for i := 0; !strings.HasPrefix(last, "215"); i++ {
		last = next(set(fmt.Sprintf("/d/%d", i), strings.Repeat("v", 1000)))
	}
	if cost, quota := s.Cost(); cost <= quota || cost > quota+2000 {
		t.Errorf("full at %d of %d bytes", cost, quota)
	}
	named := set("/n", "").named("id")
	expect(t, "a named one", next(named), "215 /n at 9")
	cmd := named.bytes()
	next(del("/d/0"))
	next(del("/d/1"))

	expect(t, "the same, again", next(named.frugal()), "set /n= 12/12")
	expect(t, "the same, once more", next(named), "set /n= 12/12")
	expect(t, "what was given to Mark", string(cmd), string(named.bytes()))
	r := restored(t, Limits{Tree: 1}, s.frozenBytes(t))
	if same := &s.Mark(cmd)[0] == &cmd[0]; !same || r.Mark(cmd)[1]&headFrugal == 0 {
		t.Error("a store that is restored does not know whether it is full")
	}
}

func TestAFullTreeKeepsNobodyFromChangingUsers(t *testing.T) {
	s := New(Limits{Tree: 1})
	s.Apply(1, time.Unix(0, 0), set("/k", "v").bytes())
	user := set("/users/u", "{}")
	user.Space = Auth

	if s.Mark(set("/l", "v").bytes())[1]&headFrugal == 0 {
		t.Error("the tree is not full")
	}
	expect(t, "a user", sketch(s.Apply(2, time.Unix(0, 0), s.Mark(user.bytes()))), "set /users/u={} 2/2")
}
