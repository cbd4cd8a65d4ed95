package raft

import (
	"fmt"
	"time"
)

// After every turn the loop shows what has changed to the log, the metrics and other goroutines.

// leadershipMark says which member led in which term at some moment, and this member's role.
type leadershipMark struct {
	role   Role
	leader uint64
	term   uint64
}

func (n *Node) leadership() leadershipMark {
	return leadershipMark{n.core.role, n.core.leader, n.core.term}
}

// observeLeadership logs and counts changes of the leader, and shows the leader to other
// goroutines.
func (n *Node) observeLeadership() {
	c, now := n.core, n.leadership()
	if now == n.loggedLeadership {
		return
	}
	was := n.loggedLeadership
	n.loggedLeadership = now
	n.leader.Store(c.leader)
	n.stats.Term.Store(c.term)
	if c.role == PreCandidate && was.role != PreCandidate {
		n.stats.Elections.Add(1)
	}
	if now.leader != was.leader || now.term != was.term && now.leader != None {
		n.leaderChanged(was)
	}
}

func (n *Node) leaderChanged(was leadershipMark) {
	n.retryReads()
	n.triedUnder = leadershipMark{} // the reads that retryReads has parked have not been tried
	n.followedConfig = configMark{} // see updatePeers
	if n.core.leader == None {
		n.Logger.Warn("lost the leader", "leader", hex(was.leader), "term", was.term)
		return
	}
	n.leaderSince.Store(time.Now().UnixNano())
	n.stats.LeaderChanges.Add(1)
	n.Logger.Info("a leader is elected", "leader", hex(n.core.leader), "term", n.core.term,
		"self", n.core.role == Leader)
}

func hex(id uint64) string { return fmt.Sprintf("%x", id) }

// commitTime is when an entry was proposed.
type commitTime struct {
	index uint64
	at    int64
}

// observeCommit measures how long the entries up to index took from proposing to commit.
func (n *Node) observeCommit(index uint64) {
	now := n.mono()
	for len(n.commits) > 0 && n.commits[0].index <= index {
		n.stats.Commit.Observe(time.Duration(now - n.commits[0].at))
		n.commits = n.commits[1:]
	}
}

// observeProgress shows in the metrics what is committed, and since when at least the applier lags.
func (n *Node) observeProgress() {
	commit, applied := n.core.commit, n.applied.Load().index
	n.stats.Committed.Store(commit)
	switch {
	case applied >= commit:
		n.lagTarget = 0
		n.stats.BehindSince.Store(0)
	case applied >= n.lagTarget:
		n.lagTarget = commit
		n.stats.BehindSince.Store(time.Now().UnixNano())
	}
}

// A member logs that it is out of touch after contactPatience election timeouts, since an election
// may take two. It logs that again every contactLogEvery while it lasts.
const (
	contactPatience = 3
	contactLogEvery = time.Minute
)

// observeContact shows in the metrics when this member was last in touch with a leader, and logs
// that it is not.
func (n *Node) observeContact(now time.Time) {
	mono := int64(now.Sub(n.epoch))
	if n.core.inTouch() {
		if n.contactLogged != 0 {
			n.Logger.Info("in touch with the leader again", "leader", hex(n.core.leader),
				"after", time.Duration(mono-n.lastContact).Round(time.Millisecond))
		}
		n.lastContact, n.contactLogged = mono, 0
		n.stats.InTouch.Store(now.UnixNano())
		return
	}
	alone := time.Duration(mono - n.lastContact)
	if alone < contactPatience*n.Election || n.contactLogged != 0 && mono-n.contactLogged < int64(contactLogEvery) {
		return
	}
	n.contactLogged = mono
	n.Logger.Warn("out of touch with the cluster: this member serves what it knew last, and its writes fail",
		"for", alone.Round(time.Millisecond), "leader", hex(n.core.leader), "unheardByLeader", n.core.unheard)
}
