package store

import (
	"bytes"
	"math"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// Members that apply the same entries have the same digest after each, whatever history they keep,
// and also when they begin with a snapshot of another. pitfall I8, pitfall E7
func TestMembersHaveTheSameDigest(t *testing.T) {
	limits := []Limits{{}, {Events: 1}, {Events: 600, Bytes: 100_000}}
	for seed := range pace.Pick[uint64](2, 2, 5) {
		g := newGenerator(seed)
		var members []*Store
		for _, l := range limits {
			members = append(members, New(l))
		}
		for i := range 3000 {
			now, c := g.next(members[0].index)
			if seed > 0 {
				c = g.secure(c, members[0].revision)
			}
			seen := members[0].Digest()
			for _, s := range members {
				s.at(now, c)
				if got, want := s.Digest(), members[0].Digest(); got != want {
					t.Fatalf("seed %d, command %d, %+v: digests %x and %x", seed, i, c, got, want)
				}
			}
			if members[0].Digest() == seen {
				t.Fatalf("seed %d, command %d, %+v: the digest stays", seed, i, c)
			}
			if g.IntN(100) == 0 {
				into := g.IntN(len(members))
				members[into] = restored(t, limits[into], members[g.IntN(len(members))].frozenBytes(t))
			}
		}
	}
}

// When one member executes a command differently, its digest differs at once and for good, even if
// later writes make the trees equal. pitfall I8
func TestADifferenceShowsInTheDigest(t *testing.T) {
	same := func(c Command) func(*Store) { return func(s *Store) { s.do(c) } }
	failing := swap("/f", "x").prev("no", 0)
	for _, c := range []struct {
		name     string
		one, two func(*Store)
	}{
		{"a byte of the value", same(set("/k", "value")), same(set("/k", "valye"))},
		{"a byte of the key", same(set("/key", "v")), same(set("/kex", "v"))},
		{"where the key ends", same(set("/ka", "b")), same(set("/k", "ab"))},
		{"a file and a directory", same(set("/k", "")), same(set("/k", "").dir())},
		{"a time to live", same(set("/k", "v").ttl(time.Hour)), same(set("/k", "v").ttl(time.Hour + 1))},
		{"the end that is shown", same(offset(time.Second)), same(offset(time.Minute))},
		{"no time to live", same(set("/k", "v").ttl(time.Hour)), same(set("/k", "v"))},
		{"that of a directory", same(update("/d", "").ttl(time.Hour)), same(update("/d", "").ttl(time.Hour + 1))},
		{"a directory that is made", same(set("/a/b/c", "v")), same(set("/a/bb/c", "v"))},
		{"the created index", same(set("/f", "2")), same(update("/f", "2"))},
		{"the action", same(set("/k", "v")), same(create("/k", "v"))},
		{"what is deleted", same(del("/d/x")), same(del("/d/y"))},
		{"the action of a delete", same(del("/f")), same(compareDelete("/f"))},
		{"what is told", same(set("/f", "1")), same(set("/f", "").refresh())},
		{"an index more", same(advance(1)), same(advance(2))},
		{"an error", same(create("/k", "v")), same(create("/f", "v"))},
		{"the code of an error", same(update("/f/x", "")), same(create("/f", "v"))},
		{"the cause of an error", same(failing), same(swap("/f", "x").prev("on", 0))},
		{"the time", func(s *Store) { s.tick(100) }, func(s *Store) { s.tick(101) }},
		{"an expiry that is skipped", func(s *Store) { s.tick(int64(time.Minute)) }, func(s *Store) {
			s.clock.floor = math.MaxInt64
			s.tick(int64(time.Minute))
		}},
		{"an id", same(failing.named("1")), same(failing.named("2"))},
		{"an answer that is forgotten", same(set("/named", "v").named("id")), func(s *Store) {
			s.window.forgetAnswer(s.window.order[0])
			s.window.removeOldest(1)
			s.do(set("/named", "v").named("id"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			members := []*Store{New(Limits{}), New(Limits{})}
			for _, s := range members {
				for _, p := range []Command{set("/f", "1"), set("/d/x", "1"), set("/d/y", "1"),
					set("/t", "1").ttl(time.Second), set("/named", "v").named("id")} {
					s.do(p)
				}
			}
			expect(t, "digest before", members[0].Digest(), members[1].Digest())

			c.one(members[0])
			c.two(members[1])

			if members[0].Digest() == members[1].Digest() {
				t.Error("it does not show at once")
			}
			for _, s := range members {
				for _, path := range []string{"/f", "/d", "/t", "/named", "/k", "/ka", "/key", "/kex", "/a"} {
					s.do(del(path).recursive())
				}
				s.tick(int64(time.Hour))
				expect(t, "tree", s.listing(), "")
			}
			if members[0].Digest() == members[1].Digest() {
				t.Error("it does not stay")
			}
		})
	}
}

// A snapshot that is read wrongly gives another digest before anything is applied: the sums are
// computed from the restored state. pitfall I8, pitfall E7
func TestAWrongRestoreShowsInTheDigest(t *testing.T) {
	s := New(Limits{Events: 1})
	for _, c := range []Command{
		set("/d/e/k", "the value").ttl(time.Hour), set("/d/e/l", "2"), set("/x", "").dir(), create("/d",
			"").named("the id"), set("/last", ""),
	} {
		s.do(c)
	}
	state := s.frozenBytes(t)
	name := (&Command{RequestID: "the id"}).name()
	for _, c := range []struct{ name, old, new string }{
		{"a value", "the value", "the valve"},
		{"a name", "\x01l", "\x01m"},
		{"an id", string(name[8:]), string(name[9:]) + "x"},
		{"a cause", "\x02/d", "\x02/e"},
	} {
		if bytes.Count(state, []byte(c.old)) != 1 {
			t.Fatalf("%q is %d times in %q", c.old, bytes.Count(state, []byte(c.old)), state)
		}
		wrong := restored(t, Limits{}, bytes.Replace(state, []byte(c.old), []byte(c.new), 1))

		if wrong.Digest() == s.Digest() {
			t.Errorf("%s: it does not show", c.name)
		}
		wrong.check(t)
	}
}

// The digest is compared between members of different versions, so it never changes.
func TestTheDigestIsPartOfTheFormat(t *testing.T) {
	expect(t, "digest", varied().Digest(), uint64(7645985887993065083))
}
