package store

import (
	"strings"
	"testing"
	"time"
)

// No path, watch or event of the keys leads to users and roles; their changes take an index each.
// pitfall K10
func TestUsersAndRolesAreNoKeys(t *testing.T) {
	s := New(Limits{})
	s.do(set("/k", "1"))
	watcher, err := s.Watch("/", true, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Close()

	s.do(set("/users/u", "secret").in(Auth))
	s.do(set("/users/u", "other").in(Auth).judged(2))
	s.do(del("/users/u").in(Auth).judged(3))
	s.do(set("/users/v", "third").in(Auth).judged(4))
	s.do(set("/l", "2").judged(5))

	told, end := watcher.drain()
	expect(t, "end of the watch", end, nil)
	expect(t, "told", strings.Join(told, "\n"), "set /k=1 1/1\nset /l=2 6/6")
	expect(t, "keys", s.listing(), "/k=1 1/1\n/l=2 6/6\n")
	expect(t, "users and roles", s.secrets(), "/users/ 2/2\n/users/v=third 5/5\n")
	_, missing := s.Get("/users")
	expect(t, "as a key", sketch(missing), "100 /users at 6")
	expect(t, "sets counted", s.Stats().SetsSuccess, uint64(2))
	view, revision := s.Auth()
	expect(t, "revision", revision, uint64(5))
	expect(t, "revision as told", s.AuthRevision(), revision)
	expect(t, "index of the view", view.Index, uint64(6))
	s.check(t)
}

// A command that was judged by users and roles that have changed since is refused; its entry moves
// the clock all the same. pitfall K9
func TestACommandJudgedByAnOldRevisionIsRefused(t *testing.T) {
	s := New(Limits{})
	s.do(set("/k", "1"))
	s.at(0, set("/t", "").ttl(time.Second))
	s.do(set("/users/u", "").in(Auth))
	for _, c := range []Command{
		set("/k", "2"), set("/k", "2").judged(2), set("/k", "2").judged(4), set("/k", "2").named("id").judged(1),
		set("/users/u", "2").in(Auth), set("/users/u", "2").in(Auth).judged(4), set("/no/key", "").prev("x", 9),
	} {
		if got := s.do(c); got != ErrRevision {
			t.Errorf("%+v: %v", c, sketch(got))
		}
	}
	expect(t, "keys", s.listing(), "/k=1 1/1\n/t= 2/2 until 1s\n")
	expect(t, "requests remembered", len(s.window.order), 0)

	expect(t, "the answer", s.at(5e9, set("/k", "2").judged(9)), any(ErrRevision))

	expect(t, "keys after a second", s.listing(), "/k=1 1/1\n")
	expect(t, "judged again", sketch(s.do(set("/k", "2").named("id").judged(3))), "set /k=2 5/5 was /k=1 1/1")
	s.do(set("/users/v", "").in(Auth).judged(3))
	expect(t, "the same, unjudged", s.do(set("/k", "2").named("id").judged(3)), any(ErrRevision))
	expect(t, "the same, judged again", sketch(s.do(set("/k", "2").named("id").judged(6))), "set /k=2 5/5 was /k=1 1/1")
	expect(t, "a change of the membership", s.do(advance(2)), nil)
	s.check(t)
}

// A snapshot contains users and roles.
func TestUsersAndRolesAreInTheSnapshot(t *testing.T) {
	s := varied()
	s.do(set("/users/_u", "secret").in(Auth))
	s.do(set("/roles/r", "").in(Auth).judged(s.revision))
	state := s.frozenBytes(t)

	r := restored(t, Limits{}, state)

	expect(t, "users and roles", r.secrets(), s.secrets())
	expect(t, "revision", r.AuthRevision(), s.AuthRevision())
	expect(t, "digest", r.Digest(), s.Digest())
	r.check(t)
	restoreFlipped(t, state)
}

// pitfall I8, pitfall K9
func TestADifferenceInUsersShowsInTheDigest(t *testing.T) {
	digests := map[uint64]string{}
	for name, c := range map[string]Command{
		"nothing": advance(1), "a key": set("/users/u", "1"), "a user": set("/users/u",
			"1").in(Auth), "another user": set("/users/v", "1").in(Auth),
		"another password": set("/users/u", "2").in(Auth), "a refusal": set("/users/u",
			"1").judged(1), "an error": del("/x"), "an error of users": del("/y").in(Auth),
	} {
		s := New(Limits{})
		s.do(c)
		if other, taken := digests[s.Digest()]; taken {
			t.Errorf("%s and %s have one digest", name, other)
		}
		digests[s.Digest()] = name
	}
}

// pitfall K11
func TestADescriptionOfUsersHasNoSecret(t *testing.T) {
	c := swap("/users/u", "hash").in(Auth).judged(7).prev("earlier", 3)
	expect(t, "user", Describe(c.bytes()), `auth compare-and-swap "/users/u" prevIndex=3 revision=7`)
	c = set("/k", "v").judged(7)
	expect(t, "key", Describe(c.bytes()), `set "/k" value="v" revision=7`)
	expect(t, "target", Target(c.bytes()), `set "/k"`)
	expect(t, "target of the clock", Target((&Command{Op: OpClock}).Append(nil)), "")
	expect(t, "target of no command", Target([]byte("x"))+Target(nil), "")
}

// A command on users and roles with fields that they can't have is refused as unknown.
// pitfall I5
func TestCommandsOnUsersHaveNeitherTTLNorID(t *testing.T) {
	whole := set("/u", "").in(Auth).bytes()
	for name, cmd := range map[string][]byte{
		"a ttl":             set("/u", "").in(Auth).ttl(1).bytes(),
		"a refresh":         set("/u", "").in(Auth).refresh().bytes(),
		"an id":             set("/u", "").in(Auth).named("id").bytes(),
		"an advance":        advance(1).in(Auth).bytes(),
		"an advance judged": advance(1).judged(1).bytes(),
		"no head":           whole[:1],
		"no revision":       {version, headAuth | headRevision},
		"no end":            {version, headAuth | headRevision, 255},
	} {
		s := New(Limits{})
		expect(t, name, sketch(s.Apply(1, time.Unix(9, 0), cmd)), "300 unknown command at 0")
	}
}
