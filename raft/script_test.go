package raft

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata")

// TestScripts plays the scripts of testdata. A line of a script is prose (#), a command (>), or,
// indented, a result of the command before it. With -update the results are rewritten. With -html
// raft.html all scripts, or those that -run names, become scenes of a page for a browser.
//
// A command begins with the name of a member, or with a verb that concerns the whole cluster:
//
//	cluster 3                   members n1, n2, n3 with empty logs; "tail=0": applied entries leave the memory;
//	                            "batch=1": one entry a message
//	deliver, lose, hold, copy   the messages on the wire, or those chosen by kind, "n1→n2", "n1→", "→n2"; deliver without a choice
//	                            goes on until all is quiet; a copy stays on the wire, its double is held back
//	release                     puts what was held back on the wire again
//	cut n1,n2 / cut n1→n2       every link between these members and the others, or one direction of one link
//	heal                        all links
//	tick 3 / run 3              time passes for all; run delivers everything at every tick
//	show                        what each member has: its log, with what is not on its disk in brackets
//	quietly …                   the same without the messages
//
//	n1 has 1@1 2@2 term=3       a disk to start from: a log, and vote=n2, commit=1
//	n1 times out / ticks 3      time passes for one member: until it campaigns, or a number of ticks
//	n1 leads                    it wins the next election; nothing of that is printed
//	n1 proposes 2               that many entries, one unless it says otherwise
//	n1 reads 7                  the read number 7
//	n1 adds n4 / removes n4     a change of the membership; the new member is a learner
//	n1 transfers n2             the leadership
//	n1 misses n2                the connection to n2 breaks
//	n1 snapshots                the state as it is; the log on its disk goes up to there
//	n1 disk slow / done / fast  a slow disk finishes a write when the script says done; rotten: it gives nothing back
//	n1 crashes / starts         what was not written is lost
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) != len(scripts) {
		t.Fatalf("%d scripts are listed, testdata has %d (%v)", len(scripts), len(files), err)
	}
	var played []scene
	for _, chapter := range chapters {
		for _, name := range chapter.lessons {
			t.Run(name, func(t *testing.T) {
				f := play(t, script(t, name))
				golden(t, filepath.Join("testdata", name+".txt"), f.text())
				played = append(played, scene{chapter.title, name, f})
			})
		}
	}
	writePage(t, "Raft, scene by scene", played)
}

// golden fails when a result differs from the content of a file; with -update it rewrites the file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%s: it went otherwise (%v)\n%s", path, err, firstDifference(got, string(want)))
	}
}

// play returns a film of the script. Its text is the script with the actual results of its
// commands.
func play(t *testing.T, script string) *film {
	w := newWorld(t)
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "    ") {
			continue
		}
		fmt.Fprint(w.film, line)
		if command, ok := strings.CutPrefix(line, "> "); ok {
			w.run(command)
			w.cutFilm()
		}
	}
	w.cutFilm()
	return w.film
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	near := func(lines []string) string { return strings.Join(lines[max(0, i-3):min(len(lines), i+4)], "\n") }
	return fmt.Sprintf("line %d, got:\n%s\nwant:\n%s", i+1, near(a), near(b))
}

// worldCommands and memberCommands are the verbs of the language.
var worldCommands = map[string]func(*world, []string){
	"cluster": (*world).cluster,
	"deliver": func(w *world, args []string) {
		if len(args) == 0 {
			w.deliverAll()
			return
		}
		for _, m := range w.take(w.selector(args)) {
			w.deliver(m)
		}
	},
	"lose": func(w *world, args []string) {
		for _, m := range w.take(w.selector(args)) {
			w.lose(m)
		}
	},
	"hold":    func(w *world, args []string) { w.aside = append(w.aside, w.take(w.selector(args))...) },
	"copy":    (*world).double,
	"release": func(w *world, _ []string) { w.wire, w.aside = append(w.wire, w.aside...), nil },
	"cut":     (*world).cutLinks,
	"heal":    func(w *world, _ []string) { w.cut = nil },
	"tick":    func(w *world, args []string) { w.tick(number(args, 1), func() {}) },
	"run":     func(w *world, args []string) { w.tick(number(args, 1), w.deliverAll) },
	"show":    (*world).showAll,
}

var memberCommands = map[string]func(*world, *actor, []string){
	"has":   (*world).prepare,
	"times": func(w *world, a *actor, _ []string) { w.do(a, timeOut) },
	"ticks": func(w *world, a *actor, args []string) {
		for range number(args, 1) {
			w.do(a, (*core).tick)
		}
	},
	"leads":    (*world).crown,
	"proposes": (*world).propose,
	"reads":    func(w *world, a *actor, args []string) { w.read(a, uint64(number(args, 0))) },
	"adds":     (*world).add,
	"removes": func(w *world, a *actor, args []string) {
		w.change(a, Change{Kind: ChangeRemove, Member: Member{ID: name(args[0])}})
	},
	"transfers": func(w *world, a *actor, args []string) { w.do(a, func(c *core) { c.transfer(name(args[0])) }) },
	"misses":    func(w *world, a *actor, args []string) { w.do(a, func(c *core) { c.lost(name(args[0])) }) },
	"snapshots": func(w *world, a *actor, _ []string) { w.do(a, a.snapshot) },
	"disk":      (*world).setDisk,
	"crashes":   func(_ *world, a *actor, _ []string) { a.core = nil },
	"starts":    func(w *world, a *actor, _ []string) { w.start(a); w.do(a, func(*core) {}) },
}

func (w *world) run(command string) {
	words := strings.Fields(command)
	if w.quietly = words[0] == "quietly"; w.quietly {
		words = words[1:]
	}
	if do, ok := worldCommands[words[0]]; ok {
		do(w, words[1:])
		return
	}
	do, ok := memberCommands[words[1]]
	if !ok {
		w.t.Fatalf("what is %q?", command)
	}
	do(w, w.actor(name(words[0])), words[2:])
}

// name parses a member's name: n1.
func name(s string) uint64 { return decimal(strings.TrimPrefix(s, "n")) }

func decimal(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		panic(err)
	}
	return n
}

// number parses the first argument, if there is one.
func number(args []string, otherwise int) int {
	if len(args) == 0 {
		return otherwise
	}
	return int(decimal(args[0]))
}

// names parses a list of members: n1,n2.
func names(s string) (ids []uint64) {
	for part := range strings.SplitSeq(s, ",") {
		ids = append(ids, name(part))
	}
	return ids
}

func (w *world) cluster(args []string) {
	w.genesis = voters(number(args, 0))
	for _, option := range args[1:] {
		switch key, value, _ := strings.Cut(option, "="); key {
		case "tail":
			w.config.MaxTailBytes = number([]string{value}, 0)
		case "batch":
			w.config.MaxAppendBytes = number([]string{value}, 0)
		default:
			w.t.Fatalf("what is %q?", option)
		}
	}
	for _, m := range w.genesis.Members {
		w.actor(m.ID)
	}
}

// selector chooses messages by kind and link.
func (w *world) selector(args []string) func(*Message) bool {
	return func(m *Message) bool {
		for _, arg := range args {
			from, to, isLink := strings.Cut(arg, "→")
			switch {
			case !isLink && arg != m.Kind.String():
				return false
			case isLink && (from != "" && name(from) != m.From || to != "" && name(to) != m.To):
				return false
			}
		}
		return true
	}
}

func (w *world) double(args []string) {
	picks := w.selector(args)
	for _, m := range w.wire {
		if picks(m) {
			w.aside = append(w.aside, w.film.doubles(m))
		}
	}
}

func (w *world) cutLinks(args []string) {
	if from, to, ok := strings.Cut(args[0], "→"); ok {
		w.cut = append(w.cut, func(a, b uint64) bool { return a == name(from) && b == name(to) })
		return
	}
	group := names(args[0])
	w.cut = append(w.cut, func(a, b uint64) bool { return slices.Contains(group, a) != slices.Contains(group, b) })
}

func (w *world) tick(n int, after func()) {
	for range n {
		for _, a := range w.actors {
			if a.core != nil {
				w.do(a, (*core).tick)
				after()
			}
		}
	}
}

func (w *world) showAll([]string) {
	for _, a := range w.actors {
		if a.core == nil {
			w.printf("n%x is down", a.id)
			continue
		}
		l := &a.core.log
		w.printf("n%x %s vote=%x log=%s", a.id, viewOf(a.core).state, a.core.vote, logNames(l))
	}
}

// logNames prints a log: … for the entries that are no longer in memory, brackets around those that
// are not yet on the disk.
func logNames(l *entryLog) string {
	var b strings.Builder
	if l.base > 0 {
		fmt.Fprintf(&b, "…%d@%d ", l.base, l.baseTerm)
	}
	durable := between(l.entries, 0, l.durable)
	b.WriteString(entryNames(durable))
	if rest := l.entries[len(durable):]; len(rest) > 0 {
		fmt.Fprintf(&b, " [%s]", entryNames(rest))
	}
	return strings.TrimSpace(b.String())
}

// prepare starts a member from the disk that the script draws.
func (w *world) prepare(a *actor, args []string) {
	d := scriptDisk{snapshot: Snapshot{Membership: w.genesis}}
	for _, arg := range args {
		key, value, isField := strings.Cut(arg, "=")
		if !isField {
			index, term, _ := strings.Cut(arg, "@")
			e := Entry{Index: decimal(index), Term: decimal(term), Kind: EntryCommand}
			d.entries, d.state.Term = append(d.entries, e), max(d.state.Term, e.Term)
			continue
		}
		field, ok := map[string]*uint64{"term": &d.state.Term, "vote": &d.state.Vote, "commit": &d.state.Commit}[key]
		if !ok {
			w.t.Fatalf("what is %q?", arg)
		}
		*field = decimal(strings.TrimPrefix(value, "n"))
	}
	a.disk = d
	w.start(a)
	w.do(a, func(*core) {})
}

func timeOut(c *core) {
	for range c.electionTimeout - c.quiet {
		c.tick()
	}
}

// crown lets time pass until the others hear no leader and the member wins an election.
func (w *world) crown(a *actor, _ []string) {
	w.mute = true
	for _, b := range w.actors {
		if b.core != nil && b.core.role != Leader {
			b.core.quiet = max(b.core.quiet, b.core.ElectionTicks)
		}
	}
	w.do(a, timeOut)
	w.deliverAll()
	w.mute = false
	w.printf("n%x %s", a.id, a.seen.state)
}

func (w *world) propose(a *actor, args []string) {
	w.do(a, func(c *core) {
		for range number(args, 1) {
			if _, err := c.propose(proposal{kind: EntryCommand, data: []byte("x")}); err != nil {
				w.printf("n%x refuses: %v", a.id, err)
			}
		}
	})
}

func (w *world) read(a *actor, id uint64) {
	w.do(a, func(c *core) {
		if err := c.read(id); err != nil {
			w.printf("n%x refuses: %v", a.id, err)
		}
	})
}

func (w *world) add(a *actor, args []string) {
	id := name(args[0])
	w.actor(id)
	w.change(a, Change{Kind: ChangeAdd, Member: Member{ID: id, Learner: true}})
}

func (w *world) change(a *actor, change Change) {
	w.do(a, func(c *core) {
		if _, err := c.proposeChange(change, 0); err != nil {
			w.printf("n%x refuses: %v", a.id, err)
		}
	})
}

// snapshot writes a snapshot of everything that is applied, and cuts the log on disk there.
func (a *actor) snapshot(c *core) {
	s := Snapshot{Index: c.applying, Term: c.log.baseTerm, Stamp: c.log.baseTime}
	if s.Index > c.log.base {
		s.Term, s.Stamp = c.log.at(s.Index).Term, c.log.at(s.Index).Stamp
	}
	for _, config := range c.configs {
		if config.index <= s.Index {
			s.Membership = config.membership
		}
	}
	a.disk.snapshot = s
	a.disk.entries = between(a.disk.entries, s.Index+1, c.log.last())
	c.compact(s, s.Index+1)
}

func (w *world) setDisk(a *actor, args []string) {
	switch args[0] {
	case "slow":
		a.disk.slow = true
	case "rotten":
		a.disk.rotten = true
	case "fast":
		a.disk.slow = false
		w.finishWrite(a)
	case "done":
		w.finishWrite(a)
	default:
		w.t.Fatalf("what is %q?", args[0])
	}
}

func (w *world) finishWrite(a *actor) {
	if a.disk.pending != nil {
		w.do(a, func(c *core) { c.persisted(a.disk.sync()) })
	}
}

// chapters are the lessons, in the order in which they are best read.
var chapters = []struct {
	title   string
	lessons []string
}{
	{"Elections", []string{
		"election",
		"split_vote",
		"vote_is_durable",                // pitfall A1, pitfall A4
		"vote_survives_stepping_down",    // pitfall A3
		"log_up_to_date",                 // pitfall A6
		"prevote_changes_nothing",        // pitfall A7
		"longer_log_at_older_term",       // pitfall A8
		"newer_term_at_shorter_log",      // pitfall A8
		"term_that_ran_ahead",            // pitfall A9
		"broken_connection",              // pitfall A10
		"promoted_and_not_heard",         // pitfall A11
		"removed_member_disturbs_nobody", // pitfall A12
	}},
	{"Log and commit", []string{
		"append",
		"figure_7",                     // pitfall B6
		"figure_8",                     // pitfall B1, pitfall B7
		"figure_8_e",                   // pitfall B1
		"first_entry_of_a_term",        // pitfall B2
		"doubled_append",               // pitfall B3
		"commit_only_what_was_sent",    // pitfall B4
		"durable_mark_is_taken_back",   // pitfall B5
		"late_answers",                 // pitfall B8
		"leader_counts_its_own_disk",   // pitfall B9
		"lost_append",                  // pitfall B10
		"heartbeat_carries_the_commit", // pitfall F7
	}},
	{"Reads", []string{
		"read_waits_for_own_term",        // pitfall C2
		"deposed_leader_answers_no_read", // pitfall C1
		"read_of_another_try",            // pitfall C3
		"read_needs_a_new_round",         // pitfall C4
	}},
	{"Membership", []string{
		"change_waits_for_own_term",     // pitfall D1
		"one_change_at_a_time",          // pitfall D2, pitfall D3
		"truncated_change_is_undone",    // pitfall D4
		"configuration_from_the_log",    // pitfall D5
		"leader_removes_itself",         // pitfall D6
		"leader_removes_itself_unheard", // pitfall D6
		"added_member_learns_first",     // pitfall D7
		"unknown_leader",                // pitfall D8
	}},
	{"Snapshots", []string{
		"install_snapshot",          // pitfall E1
		"snapshot_within_the_log",   // pitfall E1, pitfall E2
		"append_below_the_snapshot", // pitfall E3
		"snapshot_receiver_dies",    // pitfall E11
		"snapshot_answer_lost",      // pitfall E10
		"fed_from_the_disk",         // pitfall B15
	}},
	{"Liveness", []string{
		"one_link_of_three",              // pitfall F1
		"one_direction",                  // pitfall F4
		"bridge",                         // pitfall F2
		"stalled_disk",                   // pitfall F3
		"transfer",                       // pitfall F5, pitfall F6
		"transfer_timeout_now_lost",      // pitfall F5
		"transfer_to_a_member_that_lags", // pitfall F5
		"transfer_vote_lost",             // pitfall F5
		"transfer_answer_lost",           // pitfall F5
	}},
}

// scripts are the names of all lessons.
var scripts = func() (names []string) {
	for _, chapter := range chapters {
		names = append(names, chapter.lessons...)
	}
	return names
}()
