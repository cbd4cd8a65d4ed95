package raft

import (
	"errors"
	"testing"
)

// pitfall L18
func TestToForceANewClusterAgainChangesNothing(t *testing.T) {
	c := nodeConfig(t.TempDir())
	starts := func(force bool) (cluster uint64, members int) {
		t.Helper()
		c.ForceAlone = force
		n := openNode(t, c, &register{})
		defer stopNode(t, n)
		m := n.Membership()
		return m.ClusterID, len(m.Members)
	}
	first, _ := starts(false)
	forced, _ := starts(true)
	again, _ := starts(true)
	c.ForceAlone = true
	n := openNode(t, c, &register{})
	if _, err := n.Change(t.Context(), Change{Kind: ChangeAdd, Member: Member{ID: 9, Learner: true}}); err != nil {
		t.Fatal(err)
	}
	stopNode(t, n)
	grown, members := starts(true) // the others may not be up yet
	if first == forced || again != forced || grown != forced || members != 2 {
		t.Errorf("the cluster %x became %x, then %x, and %x with %d members", first, forced, again, grown, members)
	}

	starts(false)
	if anew, members := starts(true); anew == forced || members != 1 { // another disaster
		t.Errorf("it is in %x with %d members", anew, members)
	}
}

func TestAForceThatIsRefusedChangesNothing(t *testing.T) {
	c := nodeConfig(t.TempDir())
	n := openNode(t, c, &register{})
	self, cluster := n.ID(), n.Membership().ClusterID
	stopNode(t, n)
	refusal := errors.New("they answer")

	c.ForceAlone = true
	c.MayForce = func(m Membership, id uint64) error {
		if id != self || !m.has(self) || m.ClusterID != cluster {
			t.Errorf("asked for %x in %+v", id, m)
		}
		return refusal
	}
	if _, err := Open(c, &register{}); !errors.Is(err, refusal) {
		t.Fatal(err)
	}

	c.ForceAlone = false
	if n := openNode(t, c, &register{}); n.Membership().ClusterID != cluster {
		t.Errorf("it is in %x", n.Membership().ClusterID)
	}
}
