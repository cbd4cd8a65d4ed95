package raft

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

// filmedSteps is how many steps a page shows, the last ones of the run, unless -sim.window asks for
// others.
const filmedSteps = 1000

// filmed runs simulate, and also writes the page that -html asks for.
func filmed(t *testing.T, setup simSetup) simReport {
	t.Helper()
	if *htmlPath == "" {
		return simulate(setup)
	}
	setup.film = newFilm()
	setup.trace = io.MultiWriter(setup.trace, setup.film)
	r := simulate(setup)
	from, to := shownSteps(t, setup.film, *simWindow)
	title := fmt.Sprintf("Seed %d", setup.seed)
	prose := fmt.Sprintf("# %s\n#\n# %v\n#\n# %s\n", title, r.profile, cmp.Or(strings.ReplaceAll(r.failure, "\n", " "),
		"All is well."))
	writePage(t, title, []scene{{"Simulation", fmt.Sprintf("seed-%d", setup.seed), setup.film.part(prose, from, to)}})
	return r
}

// shownSteps returns the first step of a film within a window in ticks, and the first one after it.
func shownSteps(t *testing.T, f *film, ticks string) (from, to int) {
	t.Helper()
	if ticks == "" {
		return max(0, len(f.steps)-filmedSteps), len(f.steps)
	}
	low, high := 0.0, math.Inf(1)
	if _, err := fmt.Sscanf(ticks, "%f-%f", &low, &high); err != nil {
		t.Fatalf("-sim.window %q is not FROM-TO in ticks: %v", ticks, err)
	}
	for _, s := range f.steps {
		switch at := clockOf(f.lines[s.lines-1]); {
		case at < low:
			from++
			to++
		case at <= high:
			to++
		}
	}
	if from == to {
		t.Fatalf("nothing happens between %v and %v; the last step is at %v", low, high,
			clockOf(f.lines[len(f.lines)-1]))
	}
	return from, to
}

// clockOf returns the time at the head of a trace's line, in ticks.
func clockOf(line string) (at float64) {
	_, _ = fmt.Sscan(line, &at) // a line of a panic has no time: it counts as earlier than any window
	return at
}

// cutFilm ends a step of the film here, if anything has happened since the last one.
func (w *simWorld) cutFilm() {
	if w.film == nil || !w.film.untold() {
		return
	}
	var views []memberView
	for _, p := range w.processes {
		views = append(views, viewForFilm(p.id, p.core))
	}
	w.film.cut(views)
}

// A run that is filmed takes the same course. Its film ends with what went wrong.
func TestAFilmChangesNothingInARun(t *testing.T) {
	i := slices.IndexFunc(simMutants, func(x simMutant) bool { return x.name == "M9" })
	setup := simSetup{seed: 1, steps: 20_000, world: "lan", mutant: &simMutants[i]}
	plain := simulate(setup)

	setup.film = newFilm()
	setup.trace = setup.film
	seen := simulate(setup)

	end := setup.film.lines[len(setup.film.lines)-1]
	if plain.hash != seen.hash || plain.failure == "" || plain.failure != seen.failure || !strings.Contains(end,
		plain.failure) {
		t.Errorf("%x %q, filmed %x %q, which ends with %q", plain.hash, plain.failure, seen.hash, seen.failure, end)
	}
}

func TestAWindowShowsWhatHappensInIt(t *testing.T) {
	setup := simSetup{seed: 1, steps: 3000, world: "lan", film: newFilm()}
	setup.trace = setup.film
	simulate(setup)
	whole := setup.film

	lastFrom, lastTo := shownSteps(t, whole, "")
	from, to := shownSteps(t, whole, "100-200")
	f := whole.part("# Title\n", from, to)

	if lastTo != len(whole.steps) || lastTo-lastFrom != filmedSteps {
		t.Errorf("the last steps are those from %d up to %d of %d", lastFrom, lastTo, len(whole.steps))
	}
	first, last := clockOf(f.lines[1]), clockOf(f.lines[len(f.lines)-1])
	if f.lines[0] != "# Title\n" || first < 100 || last > 200 || last < 190 || len(f.steps) != to-from ||
		f.steps[to-from-1].lines != len(f.lines) {
		t.Errorf("%d steps from %v to %v, begun by %q", len(f.steps), first, last, f.lines[0])
	}
	members := viewsOf(whole.steps[:from+1])
	for id := range members {
		if began := slices.ContainsFunc(f.steps[0].views,
			func(v memberView) bool { return v.ID == id }); began != f.everUp(id) {
			t.Errorf("%s is there from the beginning: %v", id, began)
		}
	}
	for _, v := range f.steps[0].views {
		if v != members[v.ID] {
			t.Errorf("it begins with %v, and there was %v", v, members[v.ID])
		}
	}
	for _, a := range f.allArrows() {
		if a.sent < -1 || a.sent >= to-from || a.got != stays && a.got >= to-from {
			t.Errorf("%v was sent in step %d and came in step %d of %d", a.message, a.sent, a.got, to-from)
		}
	}
	draw(f)
}

// viewsOf is what members look like after some steps.
func viewsOf(steps []filmStep) map[string]memberView {
	views := map[string]memberView{}
	for _, s := range steps {
		for _, v := range s.views {
			views[v.ID] = v
		}
	}
	return views
}
