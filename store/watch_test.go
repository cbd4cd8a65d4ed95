package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// hears reports whether a watch gets an event: the rule of sections 14, 15.2 and 20 in its plainest
// form, on path elements.
func hears(path string, recursive bool, e *Event) bool {
	w, k := elements(path), elements(e.Node.Path)
	n := min(len(w), len(k))
	switch {
	case !slices.Equal(w[:n], k[:n]):
		return false
	case len(w) == len(k):
		return true
	case len(w) < len(k):
		return recursive && !slices.ContainsFunc(k[n:], func(s string) bool { return s[0] == '_' })
	default:
		gone := e.Action == ActionDelete || e.Action == ActionExpire
		return gone && e.Prev.Dir
	}
}

func elements(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

func TestWatchHearsWhatSection15Says(t *testing.T) {
	prepare := []Command{set("/d/x", "1"), set("/dd", "1"), set("/d/_h/y", "1"), set("/f", "1")}
	for _, c := range []struct {
		name      string
		path      string
		recursive bool
		do        Command
		told      bool
	}{
		{"its own key", "/f", false, set("/f", "2"), true},
		{"its own key, missing so far", "/new/key", false, set("/new/key", "2"), true},
		{"a child", "/d", false, set("/d/x", "2"), false},
		{"a child, recursively", "/d", true, set("/d/x", "2"), true},
		{"a grandchild, recursively", "/", true, set("/d/x", "2"), true},
		{"the root without recursive", "/", false, set("/f", "2"), false},
		{"a name that begins alike", "/d", true, set("/dd", "2"), false},
		{"a directory made on the way", "/p", false, set("/p/q", "2"), false},
		{"a hidden key below", "/d", true, set("/d/_h/y", "2"), false},
		{"a hidden key itself", "/d/_h/y", false, set("/d/_h/y", "2"), true},
		{"below a hidden directory", "/d/_h", true, set("/d/_h/y", "2"), true},
		{"an underscore within a name", "/", true, set("/a_b", "2"), true},
		{"a failed write", "/f", false, create("/f", "2"), false},
		{"a refresh", "/f", false, set("/f", "").refresh().ttl(time.Hour), false},
		{"a refresh that creates", "/g", false, create("/g", "").refresh().ttl(time.Hour), true},
		{"ttl of the directory", "/d", false, update("/d", "").ttl(time.Hour), true},
		{"the directory above is deleted", "/d/x", false, del("/d").recursive(), true},
		{"the directory above is deleted, missing key", "/d/none", true, del("/d").recursive(), true},
		{"a directory that begins alike is deleted", "/dd", false, del("/d").recursive(), false},
		{"a file above is deleted", "/f/x", false, del("/f"), false},
		{"a file above is swapped away", "/f/x", false, compareDelete("/f").prev("1", 0), false},
		{"a file becomes a directory", "/f/x", false, set("/f", "").dir(), false},
		{"a watch below a file that becomes one", "/f", true, set("/f", "").dir(), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(Limits{})
			for _, p := range prepare {
				s.do(p)
			}
			live, err := s.Watch(c.path, c.recursive, 0)
			if err != nil {
				t.Fatal(err)
			}
			before := s.index + 1

			s.do(c.do)
			past, err := s.Watch(c.path, c.recursive, before)
			if err != nil && before <= s.index {
				t.Fatal(err)
			}

			want := 0
			if c.told {
				want = 1
			}
			for name, w := range map[string]*Watcher{"live": live, "past": past} {
				if told, err := w.drain(); len(told) != want || err != nil {
					t.Errorf("%s: told %q, %v", name, told, err)
				}
			}
		})
	}
}

// A watch that begins behind the last event of another one goes on where that one stopped: together
// they miss no event and get none twice.
func TestAWatchGoesOnBehindWhatWasSeen(t *testing.T) {
	s := New(Limits{})
	s.do(set("/a", "1"))
	future, _ := s.Watch("/a", false, 4)
	expect(t, "seen of the future", future.Seen(), uint64(3))
	w, _ := s.Watch("/a", false, 0)
	var told []string
	for i := range 20 {
		s.do(set([]string{"/a", "/b"}[i%2], "x"))
		if i%3 == 0 {
			if e, _, _ := w.look(); e != nil {
				told = append(told, sketch(e))
			}
		}
		next, err := s.Watch("/a", false, w.Seen()+1)
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		w = next
	}
	rest, _ := w.drain()
	past, _ := s.Watch("/a", false, 2)
	all, _ := past.drain()

	expect(t, "told", fmt.Sprint(append(told, rest...)), fmt.Sprint(all))
	expect(t, "seen in the end", w.Seen(), s.Index())
}

// A watch from a future index gets no event before that index, whatever matches (API section 15.3).
func TestWatchOfTheFutureSkipsWhatComesBefore(t *testing.T) {
	s := New(Limits{})
	s.do(set("/a", "1"))
	w, _ := s.Watch("/a", false, 4)

	for range 5 {
		s.do(set("/a", "x"))
	}

	told, err := w.drain()
	expect(t, "told", fmt.Sprint(told, err),
		"[set /a=x 4/4 was /a=x 3/3 set /a=x 5/5 was /a=x 4/4 set /a=x 6/6 was /a=x 5/5] <nil>")
	expect(t, "index", w.Index(), uint64(1))
}

// With 1000 events kept the oldest index is P-999, as in 2.3.8; a subtree that has not changed
// since waits all the same.
func TestClearedHistoryIsRefusedOnlyWhereSomethingChanged(t *testing.T) {
	s := New(Limits{Events: 1000})
	s.do(set("/quiet/key", "1"))
	s.do(set("/busy/other", "1"))
	s.do(set("/touched/key", "1"))
	s.do(update("/touched", "").ttl(time.Hour))
	for range 2996 {
		s.do(set("/busy/key", "1"))
	}
	for _, c := range []struct {
		path  string
		since uint64
		want  string
	}{
		{"/busy/key", 2001, ""},
		{"/busy/key", 2000, "401 the requested history has been cleared [2001/2000] at 3000"},
		{"/busy", 1, "401 the requested history has been cleared [2001/1] at 3000"},
		{"/busy/none", 1, "401 the requested history has been cleared [2001/1] at 3000"},
		{"/busy/key/below/a/file", 7, "401 the requested history has been cleared [2001/7] at 3000"},
		{"/busy/other", 2, "401 the requested history has been cleared [2001/2] at 3000"},
		{"/busy/other", 3, ""},
		{"/quiet", 2, ""},
		{"/quiet/none/such", 2, ""},
		{"/touched", 4, "401 the requested history has been cleared [2001/4] at 3000"},
		{"/touched", 5, ""},
		{"/quiet/key", 1, "401 the requested history has been cleared [2001/1] at 3000"},
		{"/", 3001, ""},
		{"/", 1 << 63, ""},
	} {
		got := ""
		if _, err := s.Watch(c.path, true, c.since); err != nil {
			got = sketch(err)
		}
		expect(t, fmt.Sprintf("watch of %s since %d", c.path, c.since), got, c.want)
	}
}

// A watcher whose subtree was quiet while the history moved on gets the next event; one that missed
// an event gets an error. pitfall I11
func TestWatcherFallsBehindOnlyWhenItMissesSomething(t *testing.T) {
	s := New(Limits{Events: 10})
	s.do(set("/quiet", "1"))
	quiet, _ := s.Watch("/quiet", false, 2)
	scanning, _ := s.Watch("/quiet", false, 1)
	slow, _ := s.Watch("/busy", true, 0)
	for i := range 30 {
		s.do(set("/busy/key", fmt.Sprint(i)))
	}
	s.do(set("/quiet", "2"))

	for _, w := range []*Watcher{slow, scanning} {
		if told, err := w.drain(); told != nil || !errors.Is(err, ErrFellBehind) {
			t.Errorf("the slow watcher of %s: %q, %v", w.path, told, err)
		}
	}
	told, err := quiet.drain()
	expect(t, "the quiet watcher", fmt.Sprint(told, err), "[set /quiet=2 32/32 was /quiet=1 1/1] <nil>")
}

// Every watcher gets the matching events from its index on, each once and in order, whenever it
// registers and reads. pitfall I10, pitfall I11
func TestWatchSequenceIsThatOfTheLog(t *testing.T) {
	type reader struct {
		w     *Watcher
		since uint64
		told  []string
		gone  bool
	}
	for seed := range pace.Pick[uint64](1, 1, 4) {
		s, m, g := New(Limits{Events: 400}), newModel(), newGenerator(seed)
		var readers []*reader
		for i := range 5000 {
			now, c := g.next(s.index)
			s.at(now, c)
			m.apply(now, c)
			if i%10 == 0 {
				since := s.index + 5 - min(s.index+5, uint64(g.IntN(300)))
				if w, err := s.Watch(g.path(), g.IntN(2) == 0, since); err == nil {
					if since == 0 {
						since = s.index + 1
					}
					readers = append(readers, &reader{w: w, since: since})
				}
			}
			if i%100 == 0 {
				s.check(t)
			}
			if i%20 == 0 && len(readers) > 0 { // one ends, and another takes its place
				r := readers[g.IntN(len(readers))]
				r.w.Close()
				if w, err := s.Watch(g.path(), g.IntN(2) == 0, s.index+1); err == nil {
					*r = reader{w: w, since: s.index + 1}
				}
			}
			for range min(20, len(readers)) {
				r := readers[g.IntN(len(readers))]
				if told, err := r.w.drain(); err == nil {
					r.told = append(r.told, told...)
				} else {
					r.gone = true
				}
			}
		}

		late := 0
		for _, r := range readers {
			told, err := r.w.drain()
			r.told = append(r.told, told...)
			want := wanted(m, r.w, r.since)
			if err != nil || r.gone {
				late++
				want = want[:min(len(want), len(r.told))]
			}
			if !slices.Equal(r.told, want) {
				t.Fatalf("seed %d: watch of %s (recursive %v) since %d:\n got %q\nwant %q", seed, r.w.path,
					r.w.recursive, r.since, r.told, want)
			}
			r.w.Close()
		}
		if late == len(readers) {
			t.Errorf("seed %d: all of %d watchers fell behind", seed, late)
		}
		s.check(t)
		if s.watchers.count != 0 || len(s.watchers.root.kids) != 0 {
			t.Errorf("seed %d: the index still holds %d watchers, %v", seed, s.watchers.count, s.watchers.root)
		}
	}
}

// wanted returns the events of the model's log that the watcher should get.
func wanted(m *model, w *Watcher, since uint64) (lines []string) {
	for i, e := range m.told {
		if uint64(i)+1 >= since && e != nil && hears(w.path, w.recursive, e) {
			lines = append(lines, m.log[i])
		}
	}
	return lines
}

// After a snapshot is received, a watcher gets the events of the snapshot's history in order, or
// the error that it fell behind. pitfall E12
func TestWatcherGoesOnAfterRestore(t *testing.T) {
	ahead, s := New(Limits{Events: 50}), New(Limits{Events: 50})
	for _, c := range []Command{set("/near", "0"), set("/far", "0"), set("/quiet", "0")} {
		ahead.do(c)
		s.do(c)
	}
	near, _ := s.Watch("/near", false, 0)
	far, _ := s.Watch("/far", false, 0)
	quiet, _ := s.Watch("/quiet", false, 0)
	future, _ := s.Watch("/near", false, 110)
	ahead.do(set("/far", "1"))
	for range 90 {
		ahead.do(set("/near/by", "x")) // fails: takes no index
		ahead.do(set("/else", "x"))
	}
	ahead.do(set("/far", "2"))

	if err := s.Restore(strings.NewReader(string(ahead.frozenBytes(t)))); err != nil {
		t.Fatal(err)
	}
	_, behind := far.drain()
	for _, w := range []*Watcher{near, quiet, future} {
		if told, err := w.drain(); told != nil || err != nil {
			t.Errorf("the watcher of %s told %q, %v", w.path, told, err)
		}
	}
	for range 12 {
		s.do(set("/else", "x"))
	}
	s.do(set("/near", "1"))
	s.do(set("/quiet", "1"))
	for range 3 {
		s.do(set("/near", "2"))
	}

	if !errors.Is(behind, ErrFellBehind) {
		t.Errorf("the watcher of /far: %v", behind)
	}
	for w, want := range map[*Watcher]int{near: 4, quiet: 1, future: 3} {
		if told, err := w.drain(); len(told) != want || err != nil {
			t.Errorf("the watcher of %s told %q, %v", w.path, told, err)
		}
	}
}

// A watcher that waits is woken by a restore that brings an event for it.
// pitfall E12
func TestRestoreWakesWatchers(t *testing.T) {
	s, ahead := New(Limits{}), New(Limits{})
	ahead.do(set("/k", "1"))
	w, _ := s.Watch("/k", false, 0)
	got := make(chan string)
	go func() {
		e, err := w.Next(context.Background())
		got <- fmt.Sprint(sketch(e), err)
	}()

	if err := s.Restore(strings.NewReader(string(ahead.frozenBytes(t)))); err != nil {
		t.Fatal(err)
	}

	expect(t, "told", <-got, "set /k=1 1/1<nil>")
}

// However deep its path, a watch costs the store at most 4 KiB of the 16 that are counted for it.
// pitfall J9, pitfall L12
func TestAWatchCostsItsPathNotItsLevels(t *testing.T) {
	const count, promised = 300, 4 << 10
	s := New(Limits{})
	before := heapInUse()
	var all []*Watcher
	for i := range count {
		w, err := s.Watch(strings.Repeat(fmt.Sprintf("/%d", i%50), i%MaxDepth)+fmt.Sprintf("/x%d", i), i%2 == 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, w)
	}
	s.check(t)

	if each := (heapInUse() - before) / count; each > promised {
		t.Errorf("%d bytes each", each)
	}
	if nodes := s.watchers.root.count(); nodes > 2*count {
		t.Errorf("%d nodes for %d watches", nodes, count)
	}
	for _, w := range all {
		w.Close()
	}
	s.check(t)
	expect(t, "nodes that stay", s.watchers.root.count(), 1)
}

func TestNextEndsWithItsContext(t *testing.T) {
	s := New(Limits{})
	w, _ := s.Watch("/k", false, 0)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	e, err := w.Next(ctx)

	if e != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("Next: %v, %v", e, err)
	}
}

func TestCloseTwiceIsOnce(t *testing.T) {
	s := New(Limits{})
	w, _ := s.Watch("/k", false, 0)
	other, _ := s.Watch("/k", false, 0)

	w.Close()
	w.Close()

	s.do(set("/k", "1"))
	expect(t, "watchers", s.Stats().Watchers, uint64(1))
	if told, _ := other.drain(); len(told) != 1 {
		t.Errorf("the other watcher was told %q", told)
	}
}

// While writers, readers and watchers run, a view's index is at least that of every node it shows,
// and a watch from the next index on misses no event and gets none twice. pitfall I9, pitfall I12
func TestWatchFromTheIndexOfAViewMissesNothing(t *testing.T) {
	const writes = 4000
	s := New(Limits{})
	s.do(set("/d/0", "0"))
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() { follow(t, s, writes) })
	}
	for range 2 {
		group.Go(func() {
			for s.Index() < writes {
				w, err := s.Watch("/d", true, 0)
				if err != nil {
					t.Error(err)
					return
				}
				w.Close()
				s.Stats()
			}
		})
	}
	for i := range writes {
		s.do(set(fmt.Sprintf("/d/%d", i%100), fmt.Sprint(i)))
		if i%100 == 0 {
			s.Freeze()
			s.NextDue()
		}
	}
	group.Wait()
}

// follow takes views until the store is at index last, and watches a few events after each: the
// tree of the view with these events must be the tree at that time.
func follow(t *testing.T, s *Store, last uint64) {
	for at := uint64(0); at < last; {
		v, err := s.Get("/d")
		if err != nil {
			t.Error(err)
			return
		}
		seen := make(map[string]uint64)
		for n := range v.Children(v.Node) {
			seen[n.Path] = n.Modified
			if n.Modified > v.Index {
				t.Errorf("a view of index %d shows %d", v.Index, n.Modified)
			}
		}
		w, err := s.Watch("/d", true, v.Index+1)
		if err != nil {
			t.Error(err)
			return
		}
		at = v.Index
		for end := min(at+50, last); at < end; {
			e, err := w.Next(context.Background())
			if err != nil || e.Index != at+1 || e.Prev != nil && seen[e.Node.Path] != e.Prev.Modified {
				t.Errorf("after index %d: %v, %v", at, sketch(e), err)
				break
			}
			at, seen[e.Node.Path] = e.Index, e.Index
		}
		w.Close()
	}
}
