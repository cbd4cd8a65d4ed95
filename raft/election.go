package raft

// campaign begins a round of votes: PreVote asks whether a campaign could be won (diss. 9.6), Vote
// is the campaign itself (§5.2).
func (c *core) campaign(kind MessageKind) {
	c.solicit(kind, false)
}

// solicit asks the other voters for their votes, unless this member may not campaign. transfer says
// that the leader wants the campaign.
func (c *core) solicit(kind MessageKind, transfer bool) {
	if !c.mayCampaign() {
		return
	}
	ask := Message{Kind: kind, Index: c.log.last(), LogTerm: c.log.lastTerm(), Transfer: transfer}
	if kind == PreVote {
		c.becomePreCandidate()
		ask.Term = c.term + 1
	} else {
		c.becomeCandidate()
	}
	for _, v := range c.configs.now().voters {
		if v != c.ID {
			ask.To = v
			c.send(ask)
		}
	}
	c.countVotes()
}

// mayCampaign reports whether this member may try to lead. A learner, a removed member, and one
// whose disk stands still may not. A member whose removal is not yet committed may: perhaps nobody
// else has that entry, and the others can't win against a longer log (diss. 4.2.2, pitfall D6).
func (c *core) mayCampaign() bool {
	votes := c.configs.now().votes(c.ID) || c.configs.at(c.commit).votes(c.ID)
	return c.role != Leader && votes && c.stalled < c.ElectionTicks
}

func (c *core) becomePreCandidate() {
	c.role = PreCandidate
	c.leader = None
	c.votes = nil
	c.quiet = 0
	c.drawElectionTimeout()
}

func (c *core) becomeCandidate() {
	c.enterTerm(c.term + 1)
	c.castVote(c.ID)
	c.role = Candidate
	c.leader = None
	c.votes = nil
	c.quiet = 0
	c.drawElectionTimeout()
}

// handleVote answers a PreVote or a Vote. This member's configuration has no part in the answer,
// since it may be older than the candidate's (pitfall A11).
func (c *core) handleVote(m *Message) {
	if m.Kind == PreVote {
		c.handlePreVote(m)
		return
	}
	granted := c.upToDate(m) && (c.vote == m.From || c.vote == None && c.leader == None)
	if granted {
		c.castVote(m.From)
		c.quiet = 0
	}
	c.send(Message{Kind: VoteAnswer, To: m.From, Reject: !granted})
}

// handlePreVote changes nothing at this member, whatever it answers (pitfall A7).
func (c *core) handlePreVote(m *Message) {
	answer := Message{Kind: PreVoteAnswer, To: m.From, Reject: true}
	if c.upToDate(m) && m.Term > c.term && !c.hearsLeader() {
		answer.Reject, answer.Term = false, m.Term
	}
	c.send(answer)
}

// upToDate reports whether a candidate's log is at least as up to date as this member's (§5.4.1):
// its last entry has a later term, or the same term and its log is at least as long.
func (c *core) upToDate(m *Message) bool {
	last := c.log.lastTerm()
	return m.LogTerm > last || m.LogTerm == last && m.Index >= c.log.last()
}

func (c *core) handleVoteAnswer(m *Message) {
	wanted := c.role == PreCandidate && m.Kind == PreVoteAnswer && m.Term == c.term+1 ||
		c.role == Candidate && m.Kind == VoteAnswer
	if !wanted || m.Reject {
		return
	}
	for _, v := range c.votes {
		if v == m.From {
			return
		}
	}
	c.votes = append(c.votes, m.From)
	c.countVotes()
}

// countVotes begins the campaign, or the leadership, once a majority of the voters agrees. In a
// campaign this member's own vote counts only when it is on disk (pitfall A4).
func (c *core) countVotes() {
	config, granted := c.configs.now(), 0
	if config.votes(c.ID) && (c.role == PreCandidate || c.stateDurable()) {
		granted++
	}
	for _, v := range c.votes {
		if config.votes(v) {
			granted++
		}
	}
	if granted < config.quorum() {
		return
	}
	if c.role == PreCandidate {
		c.campaign(Vote)
	} else {
		c.becomeLeader()
	}
}

// becomeLeader opens the term with an empty entry: only an entry of its own term lets a leader know
// what is committed (§5.4.2, §8).
func (c *core) becomeLeader() {
	c.role = Leader
	c.leader = c.ID
	c.votes = nil
	c.clock.lead(&c.log, c.Wall)
	c.lead = leadership{start: c.log.last() + 1}
	c.followConfig()
	for i := c.commit + 1; i <= c.log.last(); i++ {
		c.lead.uncommitted += entrySize(c.log.at(i))
	}
	c.appendOwn(c.wallEntry())
	c.beat()
}

// handleTimeoutNow campaigns at once, without a PreVote, because the leader hands over to this
// member (pitfall F6).
func (c *core) handleTimeoutNow(m *Message) {
	if m.From == c.leader {
		c.solicit(Vote, true)
	}
}

// campaignSpread returns the longest wait, in ticks, before a campaign when the connection to the
// leader broke: a fifth of an election timeout. All members see the break at the same moment. When
// two of them campaign within one round trip, perhaps neither wins. So where round trips are long,
// members wait up to twice the longest one.
func (c *core) campaignSpread() int {
	return min(max(1, c.ElectionTicks/5, 2*c.longestRTT), c.ElectionTicks)
}

// lost says that the connection to a member broke: its process died, or the network failed. If that
// member was the leader, there is no need to wait for the whole election timeout. A small random
// delay keeps the members from campaigning at the same moment.
func (c *core) lost(peer uint64) {
	if p := c.lead.progress(peer); p != nil {
		p.becomePausing(c.lead.round)
		p.disconnected = true
		if c.lead.target == peer {
			c.lead.target = None // it will not answer; another one may lead next
		}
	}
	if c.leader == peer {
		c.forwarding.sendAgain()
	}
	if c.role == Follower && c.leader == peer {
		c.leaderLost = true
		c.electionTimeout = c.quiet + 1 + c.Rand.IntN(c.campaignSpread())
	}
}

// dropped says that messages to a member may be lost, though its connection is not known to be
// broken. A snapshot on its way is not affected, since it has a connection of its own.
func (c *core) dropped(peer uint64) {
	if c.leader == peer {
		c.forwarding.sendAgain()
	}
	if p := c.lead.progress(peer); p != nil && p.sending != snapshotting {
		p.becomePausing(c.lead.round)
	}
}

// transfer hands the leadership to another voter (diss. 3.10): no proposal is taken from now on,
// and when the target has the whole log it is told to campaign. The transfer is given up after an
// election timeout (pitfall F5).
func (c *core) transfer(to uint64) {
	p := c.lead.progress(to)
	if c.role != Leader || p == nil || !c.configs.now().votes(to) {
		return
	}
	c.lead.target, c.lead.targetTicks = to, 0
	c.sendTimeoutNow(p)
}

func (c *core) sendTimeoutNow(p *progress) {
	if c.lead.target == p.id && p.match == c.log.last() {
		c.send(Message{Kind: TimeoutNow, To: p.id})
	}
}

// transferToBest hands over to the voter with the longest log among those that answer, and reports
// whether there is one. A member whose connection broke is left out: everybody would wait for it.
// When members are stopped one after another, there is such a member each time.
func (c *core) transferToBest() bool {
	var best *progress
	for i := range c.lead.members {
		p := &c.lead.members[i]
		if c.configs.now().votes(p.id) && !p.disconnected && c.answers(p.id) && (best == nil || p.match > best.match) {
			best = p
		}
	}
	if best != nil {
		c.transfer(best.id)
	}
	return best != nil
}
