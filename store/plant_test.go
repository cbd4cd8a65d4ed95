package store

import (
	"testing"
	"time"
)

// planted returns a store that goes on from index 9 with some nodes.
func planted(t *testing.T) *Store {
	t.Helper()
	s := Continue(Limits{}, 9)
	for _, n := range []Node{
		{Path: "/d", Dir: true, Created: 9, Modified: 9}, // of the index at which the other server stopped
		{Path: "/d/a", Value: "1", Created: 3, Modified: 7, Ends: &Ends{Due: 50, Shown: 50}},
		{Path: "/b", Value: "2", Created: 2, Modified: 2},
	} {
		if err := s.Plant(Keys, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Plant(Auth, Node{Path: "/enabled", Value: "true", Created: 1, Modified: 5}); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAPlantedTreeGoesOn(t *testing.T) {
	s := planted(t)
	expect(t, "tree", s.listing(), "/b=2 2/2\n/d/ 9/9\n/d/a=1 3/7 until 50ns\n")
	expect(t, "users and roles", s.secrets(), "/enabled=true 1/5\n")

	again := restored(t, Limits{}, s.frozenBytes(t))
	for _, s := range []*Store{s, again} {
		s.check(t)
		revision := s.AuthRevision()
		first := s.Apply(100, time.Unix(0, 10), swap("/d/a", "3").prev("1", 7).ttl(40).judged(revision).bytes())
		expect(t, "first write", sketch(first), "compareAndSwap /d/a=3 3/10 until 50ns was /d/a=1 3/7 until 50ns")
		s.tick(50)
		expect(t, "later", s.listing(), "/b=2 2/2\n/d/ 9/9\n")
		expect(t, "index", s.Index(), uint64(11))
		s.check(t)
	}
	expect(t, "digest", again.Digest(), s.Digest())
}

func TestWhatIsNoNodeIsNotPlanted(t *testing.T) {
	for what, n := range map[string]Node{
		"the root":                  {Path: "/", Dir: true},
		"a path with two slashes":   {Path: "/d//x"},
		"what is there":             {Path: "/b"},
		"a node without directory":  {Path: "/e/x"},
		"a node below a file":       {Path: "/b/x"},
		"a node of the future":      {Path: "/x", Created: 10, Modified: 10},
		"one changed before made":   {Path: "/x", Created: 5, Modified: 4},
		"a directory with a value":  {Path: "/x", Value: "v", Dir: true},
		"a user with an expiration": {Path: "/users", Ends: &Ends{Due: 1}},
	} {
		s, space := planted(t), Keys
		if n.Path == "/users" {
			space = Auth
		}
		before := s.listing() + s.secrets()

		if err := s.Plant(space, n); err == nil || s.listing()+s.secrets() != before {
			t.Errorf("%s is planted: %v", what, err)
		}
		s.check(t)
	}
}
