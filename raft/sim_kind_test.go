package raft

import (
	"math/rand/v2"
	"strings"
)

// simKind is a kind of world: what its links, its clients and its disks are like. All kinds have
// the faults that a seed draws; a kind may add some, and leave out those that would hide what it is
// there to show.
type simKind struct {
	name  string
	share int                           // of the seeds, in twelfths
	shape func(*simProfile, *rand.Rand) // changes what was drawn for a world of the first kind
}

// simKinds are the kinds of worlds; -sim.world names one.
var simKinds = []simKind{
	{"lan", 6, func(*simProfile, *rand.Rand) {}},
	{"wan", 2, (*simProfile).shapeWAN},
	{"busy", 1, (*simProfile).shapeBusy},
	{"silence", 1, (*simProfile).shapeSilence},
	{"readers", 1, (*simProfile).shapeReaders},
	{"disks", 1, (*simProfile).shapeDisks},
}

// drawKind draws a kind by their shares, or returns the one that is named.
func drawKind(r *rand.Rand, name string) *simKind {
	n := r.IntN(12)
	for i := range simKinds {
		k := &simKinds[i]
		if n -= k.share; name == "" && n < 0 || k.name == name {
			return k
		}
	}
	panic("there is no world " + name)
}

func simKindNames() string {
	var names []string
	for i := range simKinds {
		names = append(names, simKinds[i].name)
	}
	return strings.Join(names, ", ")
}

// Faults that hide the cause when a member lags or when bytes are sent twice. Half of the runs of
// some kinds have none of them.
const (
	faultsOfLinks = faultLoss | faultDoubles | faultReorder | faultMisaddress | faultPartition | faultClog | faultReset
	faultsOfLives = faultCrash | faultPower | faultPause | faultBadDisk | faultFullDisk | faultRot | faultWipe
	faultsOfDisks = faultSlowDisk | faultStallDisk | faultBadFetch
)

// soften takes away, in half of the runs, the faults after which a member may lag.
func (p *simProfile) soften(r *rand.Rand) {
	if r.IntN(2) == 0 {
		p.faults &^= faultsOfLinks | faultsOfLives | faultsOfDisks | faultTransfer
		p.orderly = true
	}
}

// shapeWAN makes round trips that are much longer than the time between two writes: a tick is 25 ms
// here, and some members are 80 to 400 ms away. The links have a bandwidth, and some entries are
// large.
func (p *simProfile) shapeWAN(r *rand.Rand) {
	p.soften(r)
	p.distance = 1.6 + 6.4*r.Float64()
	p.near = 0.05 + 0.3*r.Float64()
	p.heartbeatTicks, p.electionTicks = 4, max(40, int(10*p.distance))
	p.diskDelay, p.transferDelay = 0.02+0.2*r.Float64(), p.distance*(1+r.Float64())
	p.enlarge(r)
	p.streamEvery = 0.3 + r.Float64()
	p.congest(r)
}

// enlarge makes entries of up to 10 MiB possible, because messages share their bytes. In a whole
// world bytes are copied, so entries are smaller there by a factor of 128.
func (p *simProfile) enlarge(r *rand.Rand) {
	p.appendBytes = (64 << 10) << r.IntN(5)
	p.inflightBytes = p.appendBytes * (4 + r.IntN(8))
	p.uncommittedBytes = p.inflightBytes * (4 + r.IntN(20))
	p.tailBytes = (1 << 20) << r.IntN(5)
	p.rate = float64(int(64<<10)<<r.IntN(6)) * (1 + r.Float64())
	p.bulky = min((64<<10)<<r.IntN(9), 10<<20)
	if p.whole {
		p.appendBytes, p.inflightBytes, p.tailBytes = p.appendBytes/128, p.inflightBytes/128, p.tailBytes/128
		p.uncommittedBytes, p.bulky = p.uncommittedBytes/128, p.bulky/128
	}
	p.loss /= 50 // a stream rarely loses what it carries, and then much of it: see reset
	p.bulkyEvery = float64(p.bulky) / (0.3 * p.throughput())
}

// congest makes links narrow and writers busy, in one run of six. The only fault is that messages
// get lost. So the queue to a member is full now and then while the answers to many Appends are
// still on their way, and few faults excuse an entry that is sent twice. A link carries at least
// twice what a leader counts on; on a slower one, what is only late would count as lost.
func (p *simProfile) congest(r *rand.Rand) {
	if p.whole || r.IntN(6) > 0 {
		return
	}
	p.faults, p.loss = faultLoss, []float64{0.001, 0.01}[r.IntN(2)]
	p.rate = float64(int(2*slowest)<<r.IntN(2)) / float64(p.heartbeatTicks) * (1 + r.Float64())
	p.appendBytes, p.inflightBytes = (8<<10)<<r.IntN(5), (256<<10)<<r.IntN(3)
	p.uncommittedBytes = 8 * p.inflightBytes
	p.bulky = 64 << 10
	p.streamEvery, p.bulkyEvery = 0.05, float64(p.bulky)/(0.8*p.throughput())
}

// throughput is how many bytes of entries reach the farthest member in a tick: the bandwidth of its
// link, or a window in each round trip.
func (p *simProfile) throughput() float64 {
	t := float64(p.inflightBytes) / p.roundTrip()
	if p.rate != 0 {
		t = min(t, p.rate)
	}
	return t
}

// roundTrip is the time from an Append to its answer in ticks, with the write and the sync between
// them.
func (p *simProfile) roundTrip() float64 { return 2*max(p.delay, p.distance*simJitter) + p.diskDelay }

// shapeBusy has clients that never pause and a disk that always works. Snapshots, cuts of the log,
// transfers, joins and expiries must still get their turn.
func (p *simProfile) shapeBusy(r *rand.Rand) {
	p.soften(r)
	p.think, p.delay, p.diskDelay = 0.02, 0.02+0.1*r.Float64(), 0.2+0.5*r.Float64()
	p.reads = 0.2 + 0.3*r.Float64()
	p.snapshotEvery, p.keepEntries = 10<<r.IntN(3), 1<<r.IntN(4)
	p.faults |= faultChange | faultTransfer | faultBurst
	p.appendBytes, p.inflightBytes, p.uncommittedBytes = 2000, 8000<<r.IntN(4), 64_000
	p.streamEvery = 0.5
}

// shapeSilence takes the majority away for thousands of ticks, while clients ask and hang up.
func (p *simProfile) shapeSilence(*rand.Rand) {
	p.members = max(p.members, 2)
	p.faults |= faultSilence | faultGiveUp
}

// shapeReaders has rounds of heartbeats that are driven by reads and not by time, and one member
// with a slow link and bulky entries.
func (p *simProfile) shapeReaders(r *rand.Rand) {
	p.soften(r)
	p.distance, p.near = 0.5+2*r.Float64(), 0.01+0.02*r.Float64()
	p.diskDelay = 0.02 + 0.1*r.Float64()
	p.enlarge(r)
	p.streamEvery, p.readEvery = 0.3+r.Float64(), 0.02+0.1*r.Float64()
	p.heartbeatTicks, p.electionTicks = 4, 40
	p.congest(r)
}

// shapeDisks has disks that fail at every kind of call and at every point of their work, while new
// input arrives.
func (p *simProfile) shapeDisks(r *rand.Rand) {
	p.faults |= faultBadDisk
	p.pace = 0.25 + 0.25*r.Float64()
	p.think, p.callByCall = 0.1, true
	p.snapshotEvery = 10 << r.IntN(3)
}
