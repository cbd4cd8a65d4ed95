package store

import (
	"fmt"
	"slices"
	"testing"
)

// check fails the test when one of the invariants in the package's essay does not hold.
func (s *Store) check(t testing.TB) {
	t.Helper()
	if err := s.invariants(); err != nil {
		t.Fatalf("after entry %d: %v", s.applied, err)
	}
}

func (s *Store) invariants() error {
	armed := make(map[*timer]bool)
	if _, err := s.tree(s.roots[Keys], armed); err != nil {
		return err
	}
	if timers, err := s.tree(s.roots[Auth], armed); err != nil || timers > 0 {
		return fmt.Errorf("%d timers of users and roles, %w", timers, err)
	}
	if changed := s.roots[Auth].inside.changed; changed != s.revision || s.AuthRevision() != s.revision {
		return fmt.Errorf("users and roles changed at %d, their revision is %d, and %d as told", changed, s.revision,
			s.AuthRevision())
	}
	if err := s.clock.top.wellFormed(armed); err != nil {
		return err
	}
	if len(armed) > 0 {
		return fmt.Errorf("%d timers of nodes are not in the wheel", len(armed))
	}
	if err := s.window.wellFormed(s.now); err != nil {
		return err
	}
	if count, err := s.watchers.root.wellFormed(); err != nil || count != s.watchers.count {
		return fmt.Errorf("%d watchers, counted as %d: %w", count, s.watchers.count, err)
	}
	return s.history.wellFormed(s.index)
}

// wellFormed checks p and what is below, and returns how many watchers there are.
func (p *watchNode) wellFormed() (count int, err error) {
	for _, list := range [][]*Watcher{p.plain, p.recursive} {
		for i, w := range list {
			if w.at != p || w.position != i || w.path[:stem(w.path)] != p.path {
				return 0, fmt.Errorf("the watcher of %q at position %d of %q has the position %d", w.path, i, p.path, w.position)
			}
		}
		count += len(list)
	}
	if p.up != nil && count == 0 && len(p.kids) < 2 {
		return 0, fmt.Errorf("the node %q is not needed", p.path)
	}
	for name, k := range p.kids {
		if k.up != p || !below(k.path, p.path) || p.element(k.path) != name {
			return 0, fmt.Errorf("the node %q is called %q in %q", k.path, name, p.path)
		}
		n, err := k.wellFormed()
		if err != nil {
			return 0, err
		}
		count += n
	}
	return count, nil
}

// count returns how many nodes there are at and below p.
func (p *watchNode) count() int {
	n := 1
	for _, k := range p.kids {
		n += k.count()
	}
	return n
}

// wellFormed checks the window of a store at this time.
func (w *window) wellFormed(now int64) error {
	names, sum, held := 0, uint64(0), map[uint64]share{}
	for i := w.facts.first; i < w.facts.next; i++ {
		f := w.facts.at(i)
		if found, ok := w.facts.find(f.name); !ok || found != *f || f.entry == 0 {
			return fmt.Errorf("fact %+v", f)
		}
		h := held[f.name.user()]
		h.facts++
		held[f.name.user()] = h
		sum += f.hash()
	}
	bytes, last, entry := 0, now-int64(windowTime)+1, uint64(0)
	for _, r := range w.order {
		_, forgotten := w.facts.find(r.name)
		if w.byName[r.name] != r || forgotten || r.stamp < last || r.stamp > now || r.entry <= max(entry,
			w.horizonOf(r.name.user())) {
			return fmt.Errorf("request %+v at %d behind one of %d and entry %d", r, now, last, entry)
		}
		h := held[r.name.user()]
		h.answers, h.bytes = h.answers+1, h.bytes+r.size()
		held[r.name.user()] = h
		bytes, sum, last, entry = bytes+r.size(), sum+r.hash(), r.stamp, r.entry
		names++
	}
	answers, knowing := 0, 0
	for user, h := range held {
		h.horizon = w.horizonOf(user)
		if is := w.shares[user]; is == nil || *is != h {
			return fmt.Errorf("user %x holds %+v, counted as %+v", user, h, is)
		}
		sum += h.hash(user)
		answers, knowing = answers+min(1, h.answers), knowing+min(1, h.facts)
	}
	if len(w.shares) != len(held) || answers != w.withAnswers || knowing != w.withFacts {
		return fmt.Errorf("%d users, %d with answers, %d with facts, counted as %d, %d and %d", len(held), answers,
			knowing, len(w.shares), w.withAnswers, w.withFacts)
	}
	if len(w.byName) != names || bytes != w.bytes || sum != w.sum {
		return fmt.Errorf("%d requests, %d names, %d bytes counted as %d, sum %x instead of %x", names, len(w.byName),
			bytes, w.bytes, w.sum, sum)
	}
	newest := 0 // the last answer is kept, whatever its size
	if names > 0 {
		newest = w.order[names-1].size()
	}
	if names > w.bounds.answers || bytes > w.bounds.bytes+newest ||
		w.facts.count() > w.bounds.facts+w.bounds.answers+w.bounds.facts/movesPerEntry+1 {
		return fmt.Errorf("%d requests of %d bytes and %d facts are too many", names, bytes, w.facts.count())
	}
	return nil
}

// tree checks a directory and what is below, gathers its timers in armed, and returns how many
// there are.
func (s *Store) tree(dir *Node, armed map[*timer]bool) (timers int, err error) {
	d, below := dir.inside, weight{}
	if d.epoch > s.epoch.Load() || d.children.skip != stem(dir.Path)+1 {
		return 0, fmt.Errorf("directory %q: epoch %d, names from %d", dir.Path, d.epoch, d.children.skip)
	}
	if d.children.root != nil {
		if _, err := d.children.root.wellFormed(d.children.skip, "", ""); err != nil {
			return 0, fmt.Errorf("directory %q: %w", dir.Path, err)
		}
	}
	for n := range d.children.all {
		changed := n.Modified
		if parent(n.Path) != dir.Path || n.Dir != (n.inside != nil) || (n.Ends != nil) != (n.timer != nil) {
			return 0, fmt.Errorf("node %+v in %q", n, dir.Path)
		}
		if n.timer != nil {
			armed[n.timer] = true
			timers++
		}
		if n.Dir {
			below, err := s.tree(n, armed)
			if err != nil {
				return 0, err
			}
			timers += below
			changed = n.inside.changed
		}
		below = below.plus(n.total())
		if changed > d.changed || d.changed > s.index {
			return 0, fmt.Errorf("directory %q changed at %d, %q in it at %d, the store at %d", dir.Path, d.changed,
				n.Path, changed, s.index)
		}
	}
	if timers != d.below.timers {
		return 0, fmt.Errorf("directory %q counts %d timers, there are %d", dir.Path, d.below.timers, timers)
	}
	if below != d.below {
		return 0, fmt.Errorf("directory %q weighs %+v, its nodes %+v", dir.Path, d.below, below)
	}
	return timers, nil
}

// wellFormed checks a page whose names lie from low up to high ("" is no bound), and returns its
// height.
func (p *page) wellFormed(skip int, low, high string) (height int, err error) {
	if p.size() == 0 || p.size() > pageMax {
		return 0, fmt.Errorf("page of %d", p.size())
	}
	if p.kids == nil {
		return 1, p.wellFormedLeaf(skip, low, high)
	}
	if len(p.kids) != len(p.bounds) || p.nodes != nil {
		return 0, fmt.Errorf("page of %d kids, %d bounds, %d nodes", len(p.kids), len(p.bounds), len(p.nodes))
	}
	below := 0
	for i, k := range p.kids {
		from, to := low, high
		if i > 0 {
			from = p.bounds[i]
		}
		if i+1 < len(p.kids) {
			to = p.bounds[i+1]
		}
		h, err := k.wellFormed(skip, from, to)
		if err != nil {
			return 0, err
		}
		below += k.count()
		if i > 0 && h != height || k.epoch > p.epoch {
			return 0, fmt.Errorf("kids of height %d and %d, of epoch %d in %d", height, h, k.epoch, p.epoch)
		}
		height = h
	}
	if below != int(p.below) {
		return 0, fmt.Errorf("%d nodes below a page, counted as %d", below, p.below)
	}
	return height + 1, nil
}

func (p *page) wellFormedLeaf(skip int, low, high string) error {
	last := ""
	for i, n := range p.nodes {
		name := n.Path[skip:]
		if name <= last || name < low || high != "" && name >= high {
			return fmt.Errorf("name %q behind %q in [%q, %q)", name, last, low, high)
		}
		if len(name) < int(p.shared) || name[:p.shared] != p.nodes[0].Path[skip:][:p.shared] ||
			p.heads[i] != head(name[p.shared:]) {
			return fmt.Errorf("name %q: shared %d, head %x", name, p.shared, p.heads[i])
		}
		last = name
	}
	if len(p.heads) != len(p.nodes) || p.below != 0 {
		return fmt.Errorf("%d heads of %d nodes, %d below", len(p.heads), len(p.nodes), p.below)
	}
	return nil
}

// wellFormed checks w and the wheels below, and takes its timers out of armed, where all must be.
func (w *wheel) wellFormed(armed map[*timer]bool) error {
	for i := range w.slots {
		s := &w.slots[i]
		if used := s.first != nil || s.finer != nil; used != (w.used>>i&1 == 1) {
			return fmt.Errorf("slot %d of level %d: used is %v", i, w.level, !used)
		}
		count := 0
		for t := s.first; t != nil; t = t.next {
			if !armed[t] || t.wheel != w || t.digit(w.level) != i {
				return fmt.Errorf("timer %+v in slot %d of level %d", t, i, w.level)
			}
			delete(armed, t)
			count++
		}
		if count != s.count || s.finer != nil && (count > 0 || s.finer.used == 0 || s.finer.up != w) {
			return fmt.Errorf("slot %d of level %d: %+v with %d timers", i, w.level, s, count)
		}
		if s.finer != nil {
			if err := s.finer.wellFormed(armed); err != nil {
				return err
			}
		}
	}
	return nil
}

// wellFormed checks the history of a store at index.
func (h *history) wellFormed(index uint64) error {
	bytes := 0
	for i := h.first; i < h.next; i++ {
		e := h.at(i)
		if e != nil && (e.Index != i || e.Node.Modified != i || !slices.Contains(actions[:], e.Action)) {
			return fmt.Errorf("event %+v at index %d", e, i)
		}
		bytes += e.size()
	}
	held := h.next - h.first
	if h.next != index+1 || bytes != h.bytes || held > uint64(h.limits.Events) || bytes > h.limits.Bytes && held > 1 {
		return fmt.Errorf("history [%d, %d) at index %d, %d bytes counted as %d", h.first, h.next, index,
			bytes, h.bytes)
	}
	return nil
}
