package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func TestGetFindsOrSaysWhereTheWayEnds(t *testing.T) {
	s := New(Limits{})
	s.do(set("/a/b", "1"))
	for _, c := range []struct{ path, want string }{
		{"/", "/ 0/0"},
		{"/a", "/a/ 1/1"},
		{"/a/b", "/a/b=1 1/1"},
		{"/a/c/d", "100 /a/c at 1"},
		{"/x/y/z", "100 /x at 1"},
		{"/a/b/c/d", "104 /a/b at 1"},
		{"/aa", "100 /aa at 1"},
	} {
		v, err := s.Get(c.path)
		got := ""
		if err != nil {
			got = sketch(err)
		} else {
			got = sketch(v.Node)
		}
		expect(t, c.path, got, c.want)
		expect(t, c.path, v.Index, uint64(1))
	}
}

// Listings are sorted and leave out hidden names; a hidden directory lists its own children (API
// section 14).
func TestChildrenAreSortedAndNotHidden(t *testing.T) {
	s := New(Limits{})
	for _, k := range []string{"/d/b", "/d/_h/x", "/d/_h/_y", "/d/a_b", "/d/B", "/d/_", "/d/a/z"} {
		s.do(set(k, "1"))
	}
	for path, want := range map[string]string{"/d": "/d/B /d/a /d/a_b /d/b", "/d/_h": "/d/_h/x", "/d/b": ""} {
		v, err := s.Get(path)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for n := range v.Children(v.Node) {
			names = append(names, n.Path)
		}
		expect(t, path, strings.Join(names, " "), want)
	}
}

// A loop over children may stop early.
func TestChildrenStopWhenTold(t *testing.T) {
	s := New(Limits{})
	for i := range 3 * pageMax {
		s.do(set(fmt.Sprintf("/%03d", i), "1"))
	}
	v, _ := s.Get("/")
	seen := 0

	for range v.Children(v.Node) {
		if seen++; seen == pageMax+1 {
			break
		}
	}

	expect(t, "seen", seen, pageMax+1)
}

// pitfall J7
func TestCanonicalIsTheOneForm(t *testing.T) {
	for in, want := range map[string]string{
		"": "/", "/": "/", "a": "/a", "/a/": "/a", "//a///b": "/a/b", "/a/./b": "/a/b", "/a/../b": "/b",
		"/../..": "/", "/...": "/...", "/.x": "/.x", "/a\x00b": "/a\x00b", "/\xff": "/\xff", "../a": "/a",
	} {
		expect(t, fmt.Sprintf("Canonical(%q)", in), Canonical(in), want)
	}
}

// The deepest tree there may be can be made, listed, frozen, restored and removed.
// pitfall J5
func TestDeepTreeIsNoTrouble(t *testing.T) {
	s := New(Limits{})
	s.do(post(strings.Repeat("/x", depthLimit-1), "v").ttl(time.Hour))
	v, err := s.Get("/")
	if err != nil {
		t.Fatal(err)
	}
	levels := 0
	for n := v.Node; n != nil; levels++ {
		next := slices.Collect(v.Children(n))
		n = nil
		if len(next) > 0 {
			n = next[0]
		}
	}
	again := restored(t, Limits{}, s.frozenBytes(t))

	again.do(del("/x").recursive())

	expect(t, "levels", levels, depthLimit+1)
	expect(t, "what stays", again.listing(), "")
	again.check(t)
}

// The memory of a million keys depends on these sizes.
func TestNodesAreSmall(t *testing.T) {
	if size := unsafe.Sizeof(Node{}); size > 80 {
		t.Errorf("a node takes %d bytes", size)
	}
	if size := unsafe.Sizeof(directory{}); size > 56 {
		t.Errorf("a directory takes %d bytes", size)
	}
}

// An overwrite takes three allocations: text, node, event.
func TestSetAllocatesThreeTimes(t *testing.T) {
	s := New(Limits{Events: 100})
	for i := range 1000 {
		s.do(set(fmt.Sprintf("/d/%d", i), "v"))
	}
	cmd := set("/d/77", strings.Repeat("v", 256)).bytes()

	allocs := testing.AllocsPerRun(1000, func() { s.Apply(s.applied+1, time.Unix(0, 0), cmd) })

	if allocs > 3.5 { // now and then a chunk of the history
		t.Errorf("%v allocations", allocs)
	}
}

func TestStatsCountWhatHappened(t *testing.T) {
	s := New(Limits{})
	for _, c := range []Command{
		set("/f", "1"), set("/f/x", "1"), set("/d/x", "1"), set("/d", "1"), // 2 and 2
		// 2 and 3; two of these count as sets too
		create("/c", "1"), post("/d", "1"), create("/c", "1"), post("/f", "1"), create("/f/x", "1"),
		update("/f", "2"), update("/d", "x"), update("/", "x"), // 1 and 2
		swap("/f", "3").prev("2", 0), swap("/f", "3").prev("2", 0), swap("/", "3").prev("2", 0), // 1 and 2
		compareDelete("/f").prev("2", 0), compareDelete("/d").prev("2", 0), compareDelete("/f").prev("3", 0), // 1 and 2
		del("/c"), del("/"), del("/c"), // 1 and 2
		set("/t", "").ttl(0),
	} {
		s.do(c)
	}
	s.tick(1)
	s.Get("/d")
	s.Get("/none")
	s.Get("/also/none")
	w, _ := s.Watch("/d", true, 0)
	gone, _ := s.Watch("/d/x", true, 0)
	gone.Close()
	defer w.Close()

	expect(t, "stats", s.Stats(), Stats{
		GetsSuccess: 1, GetsFail: 2, SetsSuccess: 3, SetsFail: 4, DeleteSuccess: 1, DeleteFail: 2,
		UpdateSuccess: 1, UpdateFail: 2, CreateSuccess: 2, CreateFail: 3,
		CompareAndSwapSuccess: 1, CompareAndSwapFail: 2, CompareAndDeleteSuccess: 1, CompareAndDeleteFail: 2,
		ExpireCount: 1, Watchers: 1, WatchRequests: 2,
	})
}

func TestErrorsHaveTextAndStatus(t *testing.T) {
	for _, c := range []struct {
		code, status int
		message      string
	}{
		{CodeKeyNotFound, 404, "Key not found"},
		{CodeCompareFailed, 412, "Compare failed"},
		{CodeNotFile, 403, "Not a file"},
		{CodeKeyExists, 412, "Key already exists"},
		{CodeUnauthorized, 401, "The request requires user authentication"},
		{CodeRaft, 500, "Raft Internal Error"},
		{CodeHistoryCleared, 400, "The event in requested index is outdated and cleared"},
		{999, 400, ""},
	} {
		e := &Error{Code: c.code, Cause: "/k", Index: 7}
		expect(t, "status", e.Status(), c.status)
		expect(t, "message", e.Message(), c.message)
		expect(t, "text", e.Error(), fmt.Sprintf("store: %d %s: /k (at index 7)", c.code, c.message))
	}
}

// A Range selects the same names as a comparison with every name, and Count counts them.
func TestARangeIsWhatALookAtEveryNameFinds(t *testing.T) {
	s := New(Limits{})
	names := []string{"B", "_", "_a", "_a\xff", "_b", "`", "a", "a\xff", "a\xff\xfe", "a\xff\xffz", "aa", "ab", "b",
		"\xff", "\xff\xff"}
	for i := range 100 {
		names = append(names, fmt.Sprint("a", i), fmt.Sprint("_", i))
	}
	for _, name := range names {
		s.do(set("/d/"+name, "1"))
	}
	slices.Sort(names)
	v, _ := s.Get("/d")
	for _, prefix := range append([]string{"", "none"}, names...) {
		for _, after := range append([]string{"", "A", "a1\x00", "\xff\xff\xff"}, names...) {
			var want, got []string
			for _, name := range names {
				hidden := name[0] == '_' && !strings.HasPrefix(prefix, "_")
				if strings.HasPrefix(name, prefix) && name > after && !hidden {
					want = append(want, "/d/"+name)
				}
			}

			for n := range v.Part(v.Node, Range{prefix, after}) {
				got = append(got, n.Path)
			}

			if !slices.Equal(got, want) || v.Count(v.Node, Range{prefix, after}) != len(want) {
				t.Fatalf("prefix %q after %q: %q, want %q", prefix, after, got, want)
			}
		}
	}
}

// A page of a directory reads only the leaves with the names that it shows, and their neighbours.
// All other leaves are broken here, so that reading them would panic.
func TestAPageLooksOnlyAtWhatItShows(t *testing.T) {
	const names = 100 * pageMax // of each kind
	for after, want := range map[string]string{"": "Z0000 Z0001", "Z3198": "Z3199 z0000", "z1600": "z1601 z1602"} {
		var nodes []*Node
		for i := range 3 * names {
			nodes = append(nodes, &Node{Path: fmt.Sprintf("/d/%c%04d", "Z_z"[i/names], i%names)})
		}
		d := &directory{children: build(1, 3, nodes)}
		shown := func(n *Node) bool { return slices.Contains(strings.Fields(want), n.Path[3:]) }
		leaves := d.children.root.leaves()
		keep := make([]bool, len(leaves)+2)
		for i, leaf := range leaves {
			if slices.ContainsFunc(leaf.nodes, shown) {
				keep[i], keep[i+1], keep[i+2] = true, true, true
			}
		}
		for i, leaf := range leaves {
			if !keep[i+1] {
				clear(leaf.nodes)
			}
		}
		v := View{Node: &Node{Path: "/d", Dir: true, inside: d}}

		var got []string
		for n := range v.Part(v.Node, Range{After: after}) {
			if got = append(got, n.Path[3:]); len(got) == 2 {
				break
			}
		}

		expect(t, "after "+after, strings.Join(got, " "), want)
	}
}
