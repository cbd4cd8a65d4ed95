package peer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"etcd2/raft"
)

// Both can call the third member, and it both, once they have called it: but the two know each
// other by old URLs only.
func TestTwoOfThreeThatMovedAtOnceFindEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := newMember(t, 0xa), newMember(t, 0xb), newMember(t, 0xc)
		a.start(at(b.id, nowhere), at(c.id, nowhere))
		b.start(at(a.id, a.url()), at(c.id, nowhere))
		c.start(at(a.id, a.url()), at(b.id, nowhere))

		b.await(t, 1, "connected to a member", "member=c")
		c.await(t, 1, "connected to a member", "member=b")

		b.become([]raft.Member{at(a.id, a.url()), at(c.id, c.url())}, nil) // it is in the membership now
		if p := b.Transport.peers[c.id]; p.rumours != nil || p.hasMoved() {
			t.Errorf("it remembers %v and %v", p.rumours, p.hints)
		}
	})
}

func TestMembersThatAllMovedAreLookedUpByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a, b *member
		list := func(context.Context) []raft.Member {
			return []raft.Member{{Name: "a", PeerURLs: []string{a.url()}}, {Name: "b", PeerURLs: []string{b.url()}},
				{Name: "x", PeerURLs: []string{nowhere}}}
		}
		look := func(c *Config) { c.Look = list }
		a, b = newMember(t, 0xa, look), newMember(t, 0xb, look)
		a.Transport.times.lonely, b.Transport.times.lonely = 20*time.Millisecond, 20*time.Millisecond
		a.start(raft.Member{ID: b.id, Name: "b", PeerURLs: []string{nowhere}})
		b.start(raft.Member{ID: a.id, Name: "a", PeerURLs: []string{nowhere}})

		connected(t, a, b)
	})
}

func TestNobodyIsLookedUpWhileAMemberAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMember(t, 0xb)
		b.start()
		a := newMember(t, 0xa, func(c *Config) {
			c.Look = func(context.Context) []raft.Member { t.Error("it is looked up"); return nil }
		})
		a.Transport.times.lonely = 300 * time.Millisecond
		a.start(at(b.id, b.url()), at(0xc, nowhere))
		connected(t, a)

		a.await(t, 7, "cannot connect", "member=c") // that takes more than a second
	})
}
