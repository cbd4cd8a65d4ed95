package raft

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	testpace "etcd2/e2e/pace"
)

var (
	simSeed   = flag.Uint64("sim.seed", 0, "simulate this seed only, and print its trace")
	simTime   = flag.Duration("sim.time", 0, "simulate one seed after the other for this time")
	simFrom   = flag.Uint64("sim.from", 0, "the first seed of -sim.time; 0: a random one")
	simSteps  = flag.Int("sim.steps", 30_000, "steps of a run before its faults end")
	simWhole  = flag.Bool("sim.whole", false, "with the real log, snapshots and store, for -sim.seed and -sim.time")
	simWhat   = flag.String("sim.world", "", "simulate worlds of this kind only: "+simKindNames())
	simWindow = flag.String("sim.window", "",
		"what -html shows of a run, FROM-TO in ticks as the trace has them; empty: its last 1000 steps")
	simOnly    = flag.String("sim.mutant", "", "the only mutant to be caught")
	simWithout = flag.String("sim.without", "", "faults to be left out, separated by commas")
)

// simBrief reports whether few seeds must do: all of them take -long, and -race costs a factor of
// ten. Then nothing is said of how often a thing has happened.
func simBrief() bool { return raceEnabled || !testpace.Long() }

// simSeeds is how many seeds an ordinary test runs.
func simSeeds() uint64 {
	if raceEnabled {
		return 6
	}
	return testpace.Pick[uint64](8, 20, 240)
}

// pitfall A1, pitfall A4, pitfall A5, pitfall A8, pitfall B2, pitfall B3, pitfall B5, pitfall B7,
// pitfall B8, pitfall B9, pitfall B10, pitfall B11, pitfall B12, pitfall B13, pitfall C1, pitfall
// C2, pitfall C3, pitfall C4, pitfall C5, pitfall C6, pitfall C9, pitfall D9, pitfall D10, pitfall
// E11, pitfall F8, pitfall G1, pitfall G2, pitfall G3, pitfall G6: see the rules of simChecker,
// each with its rows.
func TestSimulation(t *testing.T) {
	skipIfOthersAreAsked(t)
	t.Parallel()
	done := simCounts{}

	for seed := uint64(1); seed <= simSeeds(); seed++ {
		runSeed(t, simSetup{seed: seed, steps: *simSteps, world: *simWhat}, &done)
	}

	checkCounts(t, &done, false)
}

// The same with the real log, snapshots, messages and store, above a simulated disk that tears what
// was not synced, and fails, fills up and rots.
//
// pitfall A2, pitfall E4, pitfall E7, pitfall E8, pitfall E12, pitfall H2, pitfall H7, pitfall H8,
// pitfall H9, pitfall H14, pitfall G5, pitfall H15, pitfall I1, pitfall I2, pitfall I3, pitfall I6,
// pitfall I10, pitfall I13
func TestWholeSimulation(t *testing.T) {
	skipIfOthersAreAsked(t)
	t.Parallel()
	done := simCounts{}

	for seed := uint64(1); seed <= simSeeds()/2; seed++ {
		runSeed(t, simSetup{seed: seed, steps: *simSteps, world: *simWhat, whole: true}, &done)
	}

	checkCounts(t, &done, true)
}

// skipIfOthersAreAsked: -sim.seed and -sim.time have tests of their own.
func skipIfOthersAreAsked(t *testing.T) {
	t.Helper()
	if *simSeed != 0 || *simTime != 0 {
		t.Skip("-sim.seed and -sim.time have tests of their own")
	}
}

// runSeed runs one seed and adds up what happened. A failure is shrunk and shown.
func runSeed(t *testing.T, setup simSetup, done *simCounts) {
	t.Helper()
	r := simulate(setup)
	done.add(&r.done)
	if r.failure == "" {
		return
	}
	t.Errorf("seed %d (%v): %s", setup.seed, r.profile, r.failure)
	setup = shrink(setup, &r)
	trace := &simTail{}
	setup.trace = trace
	r = filmed(t, setup)
	t.Fatalf("shrunk (%v): %s\n%s\nthe whole trace, and a page of it: go test ./raft -run Simulation -html run.html "+
		"-v -sim.seed=%d -sim.steps=%d -sim.whole=%v -sim.world=%s -sim.without=%s",
		r.profile, r.failure, trace, setup.seed, setup.steps, setup.whole, r.profile.kind.name, strings.ReplaceAll(setup.without.String(), " ", ","))
}

// shrink leaves out what the failure can do without: steps, and faults one by one.
func shrink(setup simSetup, r *simReport) simSetup {
	setup.steps = min(setup.steps, r.done.steps)
	for fault := simFaults(1); fault < faultsEnd; fault <<= 1 {
		less := setup
		less.without |= fault
		if r.profile.faults&fault != 0 && simulate(less).failure != "" {
			setup = less
		}
	}
	for less := setup; less.steps > 100; {
		if less.steps /= 2; simulate(less).failure == "" {
			break
		}
		setup = less
	}
	return setup
}

// simTail keeps the last lines of a trace.
type simTail struct{ lines []string }

func (t *simTail) Write(p []byte) (int, error) {
	t.lines = append(t.lines[max(0, len(t.lines)-80):], string(p))
	return len(p), nil
}

func (t *simTail) String() string { return strings.Join(t.lines, "") }

// checkCounts fails when too little has happened. The seeds are always the same, and so are the
// counts.
func checkCounts(t *testing.T, done *simCounts, whole bool) {
	t.Helper()
	t.Logf("%d steps\n%v", done.steps, done)
	if few := done.tooFew(whole); *simWhat == "" && len(few) > 0 && !simBrief() {
		t.Errorf("in a million steps there were too few: %s", strings.Join(few, ", "))
	}
}

// cpuTime is what this process has used of the processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestSeedReplaysExactly(t *testing.T) {
	t.Parallel()
	for i := range 2 * len(simKinds) {
		a, b, seed := &strings.Builder{}, &strings.Builder{}, uint64(i+1)
		setup := simSetup{seed: seed, steps: 3000, world: simKinds[i/2].name, whole: i%2 == 0, trace: a}
		again, other := setup, setup
		again.trace, other.trace, other.seed = b, io.Discard, seed+1000

		first, second, third := simulate(setup), simulate(again), simulate(other)

		if first.hash != second.hash || a.String() != b.String() || first.hash == third.hash {
			t.Fatalf("seed %d: hashes %x and %x, of another seed %x", seed, first.hash, second.hash, third.hash)
		}
	}
}

// TestSimulationOfASeed shows one seed: its trace, and with -html a page of it.
func TestSimulationOfASeed(t *testing.T) {
	if *simSeed == 0 {
		t.Skip("-sim.seed names the seed to be shown")
	}
	setup := simSetup{seed: *simSeed, steps: *simSteps, world: *simWhat, without: parseFaults(t, *simWithout),
		whole: *simWhole, trace: t.Output()}

	r := filmed(t, setup)

	t.Logf("%v\n%v", r.profile, &r.done)
	if r.failure != "" {
		t.Fatal(r.failure)
	}
}

func parseFaults(t *testing.T, list string) (f simFaults) {
	t.Helper()
	for _, name := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		bit := simFaults(0)
		for i := range simFaultNames {
			if simFaultNames[i] == name {
				bit = 1 << i
			}
		}
		if bit == 0 {
			t.Fatalf("there is no fault %q", name)
		}
		f |= bit
	}
	return f
}

// The campaign: seed after seed, from -sim.from or a random one on, longer runs.
func TestCampaign(t *testing.T) {
	if *simTime == 0 {
		t.Skip("-sim.time says how long")
	}
	done, began := simCounts{}, cpuTime()
	seed := cmp.Or(*simFrom, uint64(time.Now().UnixNano()))

	for end := time.Now().Add(*simTime); time.Now().Before(end); seed++ {
		runSeed(t, simSetup{seed: seed, steps: *simSteps, world: *simWhat, whole: *simWhole}, &done)
	}

	t.Logf("%d steps, %d in a second of the processor\n%v", done.steps,
		int(float64(done.steps)/(cpuTime()-began).Seconds()), &done)
}

func (p *simProfile) String() string {
	return fmt.Sprintf("%s, %d members, %d clients, faults: %v", p.kind.name, p.members, p.clients, p.faults)
}
