package raft

import (
	"fmt"
	"strings"
)

// simCount names something that is counted, so that a test can tell whether the faults have an
// effect.
type simCount int

const (
	countElections simCount = iota
	countCrashes
	countPowers
	countPauses
	countPartitions
	countResets
	countLost
	countDoubled
	countMisaddressed
	countSnapshots
	countInstalls
	countFetches
	countFed
	countTransfers
	countChanges
	countPromotions
	countReads
	countReadsOverChange
	countWrites
	countForwarded
	countRefused
	countDead
	countRepeated
	countOnce
	countHistories
	countTorn
	countWatches
	countWatched
	countCleared
	countDiskErrors
	countWipes
	countReplaced
	countRots
	countRefusals
	countOlder
	countSpoiled
	countDiscovered
	countCompared
	countTimed
	countSilences
	simCountsEnd
)

// simCountTable says how often each thing must happen in a million steps. If it happens less often,
// the simulation proves less than it seems to.
var simCountTable = [simCountsEnd]struct {
	name       string
	perMillion int
	whole      bool // it happens only where the disk is a real one
}{
	countElections:       {"elections", 500, false},
	countCrashes:         {"crashes", 200, false},
	countPowers:          {"powers", 20, false},
	countPauses:          {"pauses", 200, false},
	countPartitions:      {"partitions", 100, false},
	countResets:          {"connections reset", 200, false},
	countLost:            {"messages lost", 10_000, false},
	countDoubled:         {"messages doubled", 10_000, false},
	countMisaddressed:    {"messages misaddressed", 100, false},
	countSnapshots:       {"snapshots", 100, false},
	countInstalls:        {"snapshots installed", 50, false},
	countFetches:         {"reads of old entries from disk", 500, false},
	countFed:             {"of them going on where the last one ended", 50, true},
	countTransfers:       {"transfers of the leadership", 200, false},
	countChanges:         {"changes of the membership", 50, false},
	countPromotions:      {"learners promoted", 20, false},
	countReads:           {"quorum reads", 5000, false},
	countReadsOverChange: {"quorum reads over a change of leader", 1000, false},
	countWrites:          {"writes", 5000, false},
	countForwarded:       {"writes passed on to the leader", 2000, false},
	countRefused:         {"of them refused", 20, false},
	countDead:            {"writes given up for dead, and made again", 50, false},
	countRepeated:        {"writes made again under their request id", 100, true},
	countOnce:            {"of them applied, and not executed again", 100, true},
	countHistories:       {"histories checked", 100, false},
	countTorn:            {"torn tails repaired", 20, true},
	countWatches:         {"watches begun or taken up again", 1000, true},
	countWatched:         {"events seen by watchers", 5000, true},
	countCleared:         {"watchers told that the history is gone", 50, true},
	countDiskErrors:      {"lives ended by an error of the disk", 100, false},
	countWipes:           {"disks wiped", 20, false},
	countReplaced:        {"lost members replaced by new ones", 20, false},
	countRots:            {"bits turned over", 20, true},
	countRefusals:        {"starts refused because of it", 5, true},
	countOlder:           {"starts from an older snapshot because of it", 5, true},
	countSpoiled:         {"members whose state was spoiled", 0, true},
	countDiscovered:      {"of them found by the digests in the log", 0, true},
	countCompared:        {"states compared, and found the same", 0, true},
	countSilences:        {"silences", 0, false},
	countTimed:           {"entries agreed while nothing went wrong, and timed", 0, false},
}

// simCounts are the counts of one run or of many.
type simCounts struct {
	events   [simCountsEnd]int
	messages [len(messageNames)]int // delivered, by kind
	steps    int
}

func (c *simCounts) add(d *simCounts) {
	for i := range c.events {
		c.events[i] += d.events[i]
	}
	for i := range c.messages {
		c.messages[i] += d.messages[i]
	}
	c.steps += d.steps
}

// perMillion is how often a thing has happened in a million steps.
func (c *simCounts) perMillion(i simCount) int {
	return int(int64(c.events[i]) * 1_000_000 / max(int64(c.steps), 1))
}

// tooFew names what has happened too rarely.
func (c *simCounts) tooFew(whole bool) (names []string) {
	for i, row := range simCountTable {
		if n := c.perMillion(simCount(i)); n < row.perMillion && (whole || !row.whole) {
			names = append(names, fmt.Sprintf("%s: %d", row.name, n))
		}
	}
	for kind, n := range c.messages {
		if kind > 0 && n == 0 {
			names = append(names, fmt.Sprintf("%v: none", MessageKind(kind)))
		}
	}
	return names
}

// String is the table of a campaign: what happened, and how often in a million steps.
func (c *simCounts) String() string {
	var b strings.Builder
	for i, row := range simCountTable {
		fmt.Fprintf(&b, "%10d %8d  %s\n", c.events[i], c.perMillion(simCount(i)), row.name)
	}
	return b.String()
}
