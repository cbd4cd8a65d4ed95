package raft

import "testing"

// BenchmarkPropose measures the way of one entry through a cluster of one: propose, effects, the
// disk's answer, commit.
func BenchmarkPropose(b *testing.B) {
	c := benchLeader(b, 1)
	data := make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.propose(proposal{kind: EntryCommand, data: data}); err != nil {
			b.Fatal(err)
		}
		c.persisted(c.effects(true).Persist.Seq)
		if e := c.effects(true); len(e.Committed) != 1 {
			b.Fatalf("%d entries were committed", len(e.Committed))
		}
	}
}

// BenchmarkReplicate is one round of three cores back to back: 64 entries proposed, sent, stored,
// answered and committed. Divide by 64 for the cost of an entry.
func BenchmarkReplicate(b *testing.B) {
	const batch = 64
	cores := []*core{benchLeader(b, 3), newBenchCore(2, 3), newBenchCore(3, 3)}
	data := make([]byte, 256)
	exchange(cores)
	b.ReportAllocs()
	for b.Loop() {
		for range batch {
			if _, err := cores[0].propose(proposal{kind: EntryCommand, data: data}); err != nil {
				b.Fatal(err)
			}
		}
		exchange(cores)
		if leader := cores[0]; leader.commit != leader.log.last() || cores[2].commit != leader.commit {
			b.Fatalf("commit %d of %d, at a follower %d", leader.commit, leader.log.last(), cores[2].commit)
		}
	}
}

// BenchmarkDecodeMessage decodes the message that brings a follower a batch of 64 small writes.
func BenchmarkDecodeMessage(b *testing.B) {
	m := Message{Kind: Append, From: 1, To: 2, Term: 1, Entries: make([]Entry, 64)}
	for i := range m.Entries {
		m.Entries[i] = Entry{Index: uint64(i + 1), Term: 1, Stamp: 1 << 60, ID: 1 << 60, Data: make([]byte, 300)}
	}
	in := AppendMessage(nil, &m)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeMessage(in); err != nil {
			b.Fatal(err)
		}
	}
}

func newBenchCore(id uint64, n int) *core {
	return newCore(testConfig(id), boot{Snapshot: Snapshot{Membership: voters(n)}})
}

func benchLeader(b *testing.B, n int) *core {
	c := newBenchCore(1, n)
	c.campaign(Vote)
	c.persisted(c.effects(true).Persist.Seq)
	for id := uint64(2); id <= uint64(n); id++ {
		c.step(Message{Kind: VoteAnswer, From: id, To: 1, Term: c.term})
	}
	if c.role != Leader {
		b.Fatalf("role %d", c.role)
	}
	if n == 1 {
		exchange([]*core{c})
	}
	return c
}

// exchange delivers the cores' messages until there are none; their disks answer at once.
func exchange(cores []*core) {
	for busy := true; busy; {
		busy = false
		for _, c := range cores {
			e := c.effects(true)
			if e.Persist != nil {
				c.persisted(e.Persist.Seq)
			}
			for _, m := range e.Messages {
				cores[m.To-1].step(m)
			}
			busy = busy || e.Persist != nil || len(e.Messages) > 0
		}
	}
}
