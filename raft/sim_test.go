package raft

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	simSeed    = flag.Uint64("sim.seed", 0, "simulate this seed only, and print its trace")
	simTime    = flag.Duration("sim.time", 0, "simulate one seed after the other for so long")
	simSteps   = flag.Int("sim.steps", 30_000, "steps of a run before its faults end")
	simWithout = flag.String("sim.without", "", "faults to be left out, separated by commas")
)

// simSeeds is how many seeds an ordinary test runs; -race costs a factor of ten.
func simSeeds() uint64 {
	if raceEnabled {
		return 12
	}
	return 120
}

// pitfall A1, pitfall A4, pitfall A5, pitfall A8, pitfall B2, pitfall B3, pitfall B5, pitfall B7, pitfall B8, pitfall B9, pitfall B10,
// pitfall B11, pitfall B12, pitfall B13, pitfall C1, pitfall C2, pitfall C3, pitfall C4, pitfall C5, pitfall C6, pitfall C9,
// pitfall G1, pitfall G2, pitfall G3, pitfall G6: see the rules of simChecker, each with its rows.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 || *simTime != 0 {
		t.Skip("-sim.seed and -sim.time have tests of their own")
	}
	done, began := simCounts{}, cpuTime()

	for seed := uint64(1); seed <= simSeeds(); seed++ {
		runSeed(t, simSetup{seed: seed, steps: *simSteps}, &done)
	}

	checkCounts(t, &done, cpuTime()-began, 300_000)
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
	r = simulate(setup)
	t.Fatalf("shrunk (%v): %s\n%s\nthe whole trace: go test ./raft -run TestSeed -sim.seed=%d -sim.steps=%d -sim.without=%s",
		r.profile, r.failure, trace, setup.seed, setup.steps, strings.ReplaceAll(setup.without.String(), " ", ","))
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

// checkCounts fails when too little has happened, or too slowly.
func checkCounts(t *testing.T, done *simCounts, cpu time.Duration, wanted int) {
	t.Helper()
	perSecond := int(float64(done.steps) / cpu.Seconds())
	t.Logf("%d steps, %d in a second of the processor\n%v", done.steps, perSecond, done)
	if few := done.tooFew(); len(few) > 0 && !raceEnabled {
		t.Errorf("in a million steps there were too few: %s", strings.Join(few, ", "))
	}
	if perSecond < wanted/2 && !raceEnabled {
		t.Errorf("%d steps in a second of the processor are less than half of %d", perSecond, wanted)
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
	for seed := uint64(1); seed <= 5; seed++ {
		a, b := &strings.Builder{}, &strings.Builder{}

		first := simulate(simSetup{seed: seed, steps: 3000, trace: a})
		again := simulate(simSetup{seed: seed, steps: 3000, trace: b})
		other := simulate(simSetup{seed: seed + 1000, steps: 3000, trace: io.Discard})

		if first.hash != again.hash || a.String() != b.String() || first.hash == other.hash {
			t.Fatalf("seed %d: hashes %x and %x, of another seed %x", seed, first.hash, again.hash, other.hash)
		}
	}
}

func TestSeed(t *testing.T) {
	if *simSeed == 0 {
		t.Skip("-sim.seed names the seed to be shown")
	}
	setup := simSetup{seed: *simSeed, steps: *simSteps, without: parseFaults(t, *simWithout), trace: t.Output()}

	r := simulate(setup)

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

// The campaign: seed after seed, from a random one on, longer runs.
func TestCampaign(t *testing.T) {
	if *simTime == 0 {
		t.Skip("-sim.time says how long")
	}
	done, began := simCounts{}, cpuTime()
	seed := uint64(time.Now().UnixNano())

	for end := time.Now().Add(*simTime); time.Now().Before(end); seed++ {
		runSeed(t, simSetup{seed: seed, steps: *simSteps}, &done)
	}

	checkCounts(t, &done, cpuTime()-began, 300_000)
}

func (p *simProfile) String() string {
	return fmt.Sprintf("%d members, %d clients, faults: %v", p.members, p.clients, p.faults)
}
