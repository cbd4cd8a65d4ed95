package raft

import "testing"

// simDigestEvery is how many entries are applied between two digests.
const simDigestEvery = 20

// scheduleSpoiling flips, now and then, a bit in the state of one member, when the others are a
// majority.
func (w *simWorld) scheduleSpoiling() {
	w.after(w.around(100), func() {
		p := w.anyone()
		if w.calm {
			return
		}
		if p != nil && w.bearable(p) && w.undiscovered() == "" {
			w.tracef("%s n%x is spoiled at %d", w.clock(), p.id, p.applied)
			w.count(countSpoiled)
			p.machine.(*simStore).sum ^= 1 << w.rand.IntN(64)
			p.spoiled = max(p.applied, 1)
		}
		w.scheduleSpoiling()
	})
}

// undiscovered returns a complaint while a running member has a spoiled state, or "".
func (w *simWorld) undiscovered() string {
	for _, p := range w.running() {
		if p.spoiled != 0 {
			return "a member whose state differs goes on"
		}
	}
	return ""
}

// digest does what Node.digest does, and ends a process whose digest differs. Only its memory is
// spoiled here, so a restart repairs it.
func (p *simProcess) digest(e *Entry) {
	if !p.w.digests {
		return
	}
	if e.Index%simDigestEvery == 0 && e.Index > p.born {
		own := p.digests.begin(p.id, e.Index, p.machine.digest())
		p.after(0, func() {
			p.input(func(c *core) {
				if c.appendProposal(own) != nil {
					_ = c.forward([]proposal{own})
				}
			})
		})
	}
	if e.Kind != EntryDigest {
		return
	}
	same, err := p.digests.compare(e, newConfig(e.Index, e.Term, p.membership))
	switch at := p.digests.index; {
	case same && p.spoiled != 0 && p.spoiled < at, err != nil && p.spoiled == 0:
		p.w.violated("at %d n%x, spoiled at %d, has the state of the majority: %v (%v)", at, p.id, p.spoiled, same, err)
	case same:
		p.w.count(countCompared)
	case err != nil:
		p.w.count(countDiscovered)
		p.after(0, func() { p.w.kill(p, p.w.between(0, 60)) })
	}
}

// writeOn keeps writing after the clients have ended, for as long as a member is spoiled: digests
// are compared only while entries are appended.
func (p *simProcess) writeOn() {
	if p.w.digests && p.w.calm && p.core.role == Leader && p.w.undiscovered() != "" {
		p.input(func(c *core) { _ = c.proposeStamp() })
	}
}

// pitfall I8: whatever else goes wrong, a member whose state differs from the majority's finds out
// by the digests in the log, and stops. No other member stops for that reason.
func TestAMemberThatIsSpoiledIsFoundInTheSimulation(t *testing.T) {
	skipIfOthersAreAsked(t)
	t.Parallel()
	done := simCounts{}
	steady := func(p *simProfile) { // else the spoiled member might be alone, and so the majority
		p.members = max(p.members, 3)
		p.faults &^= faultChange | faultWipe | faultRot
	}

	for seed := uint64(1); seed <= 1+simSeeds()/20; seed++ {
		runSeed(t, simSetup{seed: seed, steps: *simSteps, world: "lan", whole: true, digests: true, bias: steady},
			&done)
	}

	spoiled, found, compared := done.events[countSpoiled], done.events[countDiscovered], done.events[countCompared]
	t.Logf("%d steps: %d spoiled, %d found before a restart mended it, %d times a member was like the others",
		done.steps, spoiled, found, compared)
	if !simBrief() && (found < 5 || compared < 100) {
		t.Error("that is too few")
	}
}
