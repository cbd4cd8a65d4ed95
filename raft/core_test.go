package raft

import (
	"math/rand/v2"
	"testing"
)

// testConfig is a core's configuration with short timeouts.
func testConfig(id uint64) coreConfig {
	return coreConfig{
		ID: id, ElectionTicks: 10, HeartbeatTicks: 1, Rand: rand.New(rand.NewPCG(id, 1)), Wall: 1e18,
		MaxAppendBytes: 1 << 16, MaxInflightBytes: 1 << 20, MaxUncommittedBytes: 1 << 24, MaxTailBytes: 1 << 20,
	}
}

// voters is a membership of n voters with the ids 1…n.
func voters(n int) Membership {
	m := Membership{ClusterID: 1}
	for id := range n {
		m.Members = append(m.Members, Member{ID: uint64(id + 1)})
	}
	return m
}

// A cluster of one goes through the same core as any other.
func TestOneMemberElectsItselfAndCommits(t *testing.T) {
	c := newCore(testConfig(1), boot{Snapshot: Snapshot{Membership: voters(1)}})

	for range 21 {
		c.tick()
		settle(c)
	}
	index, err := c.propose(proposal{kind: EntryCommand, data: []byte("x")})
	committed := settle(c)

	if c.role != Leader || err != nil || index != 2 || len(committed) != 1 || committed[0].Index != 2 {
		t.Fatalf("role %d, index %d, error %v, committed %v", c.role, index, err, committed)
	}
}

// settle plays a disk without delay until nothing is left to do, and returns what was committed.
func settle(c *core) (committed []Entry) {
	for {
		e := c.effects(true)
		committed = append(committed, e.Committed...)
		if e.Persist == nil {
			return committed
		}
		c.persisted(e.Persist.Seq)
	}
}
