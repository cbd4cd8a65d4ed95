package raft

import (
	"slices"
	"testing"
)

// checkInvariants fails when a promise in the comments of core, entryLog, configStack, leadership
// and progress does not hold. It is called after every step of every script and unit test.
func checkInvariants(t testing.TB, c *core) {
	t.Helper()
	must := func(holds bool, rule string) {
		t.Helper()
		if !holds {
			t.Fatalf("n%x: %s does not hold: role %d, term %d, vote %x, commit %d, applying %d, log %d…%d, durable "+
				"%d, handed %d",
				c.ID, rule, c.role, c.term, c.vote, c.commit, c.applying, c.log.base+1, c.log.last(), c.log.durable, c.log.handed)
		}
	}
	checkLog(&c.log, c.term, must)
	checkConfigs(c, must)
	checkDisk(c, must)
	checkRole(c, must)
	must(c.applying <= c.commit && c.commit <= c.log.last(), "applying ≤ commit ≤ last")
	must(c.snapshot.Index <= c.commit, "snapshot ≤ commit")
	for i := range c.lead.members {
		checkProgress(c, &c.lead.members[i], must)
	}
}

func checkLog(l *entryLog, term uint64, must func(bool, string)) {
	must(l.first <= l.base+1, "first-1 ≤ base")
	must(l.durable <= l.handed && l.handed <= l.last(), "durable ≤ handed ≤ last")
	bytes, before := 0, Entry{Index: l.base, Term: l.baseTerm, Stamp: l.baseTime}
	for i := range l.entries {
		e := &l.entries[i]
		must(e.Index == before.Index+1, "entries without gaps")
		must(e.Term >= before.Term && e.Term <= term, "terms that grow along the log up to the own")
		must(e.Stamp >= before.Stamp, "stamps that grow along the log")
		bytes += entrySize(e)
		before = *e
	}
	must(bytes == l.bytes, "bytes = size of entries")
}

// checkConfigs computes the configurations from the log (pitfall D3).
func checkConfigs(c *core, must func(bool, string)) {
	must(c.configs[0].index <= c.commit, "the oldest configuration is committed")
	want := configStack{c.configs[0]}
	for i := range c.log.entries {
		if e := &c.log.entries[i]; e.Index > c.configs[0].index {
			want.append(e)
		}
	}
	must(want.now().index == c.configs.now().index, "the configuration in force is the last one in the log")
	must(slices.Equal(want.now().voters, c.configs.now().voters), "voters = those of the last configuration")
}

func checkDisk(c *core, must func(bool, string)) {
	must(c.installing != nil || c.log.durable >= c.log.base || len(c.writes) > 0, "base ≤ durable")
	must(c.written <= c.seq && c.stateSeq <= c.seq, "written, stateSeq ≤ seq")
	seq := c.written
	for _, w := range c.writes {
		must(w.seq > seq && w.last <= c.log.last(), "writes in order, none of what was truncated")
		seq = w.seq
	}
	must(seq == c.seq, "the last write is the last one that was handed out")
	for i := range c.held {
		must(!c.mayBeSent(&c.held[i]) && c.held[i].m.Term >= c.term, "held: messages of this term that may not be sent yet")
	}
}

func checkRole(c *core, must func(bool, string)) {
	switch c.role {
	case Leader:
		must(c.leader == c.ID && c.vote == c.ID, "a leader knows and has voted for itself")
		must(c.log.matches(c.lead.start, c.term) || c.lead.start <= c.log.base,
			"a leader's term begins with its own entry")
		must(c.lead.uncommitted == sizeOf(c, c.commit), "uncommitted = size of what is not committed")
		must(slices.IsSortedFunc(c.lead.members, func(a, b progress) int { return int(a.id) - int(b.id) }),
			"members by id")
	case Candidate:
		must(c.leader == None && c.vote == c.ID, "a candidate knows no leader and has voted for itself")
	case PreCandidate:
		must(c.leader == None, "a pre-candidate knows no leader")
	}
	must(c.unapplied == unappliedOf(c), "unapplied = size of what is committed and not applied")
	must(c.clock.running == (c.role == Leader), "only a leader's clock runs")
	must(c.role == Leader || c.lead.members == nil && len(c.reads.waiting)+len(c.reads.confirming) == 0,
		"only a leader leads")
}

// unappliedOf returns the size of the entries that are committed and not applied.
func unappliedOf(c *core) int {
	if from := max(c.applied, c.log.base); from < c.commit {
		return sizeOf(c, from) - sizeOf(c, c.commit)
	}
	return 0
}

// sizeOf returns the size of the entries after an index.
func sizeOf(c *core, after uint64) (bytes int) {
	for i := after + 1; i <= c.log.last(); i++ {
		bytes += entrySize(c.log.at(i))
	}
	return bytes
}

func checkProgress(c *core, p *progress, must func(bool, string)) {
	_, isMember := c.configs.now().membership.Find(p.id)
	must(isMember && p.id != c.ID, "progress of the other members alone")
	must(p.match < p.next && p.next <= c.log.last()+1, "match < next ≤ last+1")
	must(p.commitSent <= c.commit && p.round <= c.lead.round, "commitSent ≤ commit, round ≤ the last round")
	bytes, last := 0, uint64(0)
	for _, f := range p.window.inflight {
		must(f.last > last && f.last < p.next, "in flight: in order, below next")
		bytes, last = bytes+f.bytes, f.last
	}
	must(bytes == p.window.bytes, "window.bytes = size of what is in flight")
	must(!p.probe.out || p.sending == probing, "a probe is out only while probing")
}
