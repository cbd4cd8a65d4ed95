package raft

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// config is a configuration in the log: the membership after the entry index@term.
type config struct {
	index      uint64
	term       uint64
	membership Membership
	voters     []uint64 // ascending
}

func newConfig(index, term uint64, m Membership) config {
	c := config{index: index, term: term, membership: m}
	for _, p := range m.Members {
		if !p.Learner {
			c.voters = append(c.voters, p.ID)
		}
	}
	return c
}

// configMark names a configuration: the index after its entry's, and its entry's term. No
// configuration has the zero mark.
type configMark struct{ after, term uint64 }

func (c *config) mark() configMark { return configMark{c.index + 1, c.term} }

// votes reports whether a member has a vote.
func (c *config) votes(id uint64) bool { return slices.Contains(c.voters, id) }

// quorum returns the least number of voters that is a majority.
func (c *config) quorum() int { return len(c.voters)/2 + 1 }

// majorityReached returns the highest value that a majority has reached; it sorts values.
func majorityReached(values []uint64) uint64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// configStack holds the configurations that the log may still go back to, oldest first. The last
// one is in force, from the moment it is in the log, committed or not (diss. 4.1; pitfalls D3, D4,
// D5).
type configStack []config

func (s *configStack) reset(by *Snapshot) {
	*s = configStack{newConfig(by.Index, by.Term, by.Membership)}
}

func (s configStack) now() *config { return &s[len(s)-1] }

// at returns the configuration as of an index, which must not be below the oldest one's.
func (s configStack) at(index uint64) *config {
	i := len(s) - 1
	for s[i].index > index {
		i--
	}
	return &s[i]
}

// append is called with each entry appended to the log. If the entry changes the membership, it
// adds the configuration after that.
func (s *configStack) append(e *Entry) {
	if e.Kind != EntryChange {
		return
	}
	change, err := decodeChange(e.Data)
	if err != nil {
		panic("raft: an entry of the log holds no change of the membership: " + err.Error())
	}
	*s = append(*s, newConfig(e.Index, e.Term, s.now().membership.Apply(change)))
}

// truncate forgets the configurations at index and after.
func (s *configStack) truncate(index uint64) {
	for s.now().index >= index {
		*s = (*s)[:len(*s)-1]
	}
}

// compact forgets configurations that are older than the one in force at index.
func (s *configStack) compact(index uint64) {
	for len(*s) > 1 && (*s)[1].index <= index {
		*s = (*s)[1:]
	}
}

// Apply returns the membership after a change. It is total: a change that makes no sense changes
// nothing.
func (m Membership) Apply(c Change) Membership {
	m.Members = slices.Clone(m.Members)
	i, there := slices.BinarySearchFunc(m.Members, c.Member.ID,
		func(p Member, id uint64) int { return cmp.Compare(p.ID, id) })
	switch {
	case c.Kind == ChangeAdd && !there && !slices.Contains(m.Removed, c.Member.ID): // pitfall D9
		m.Members = slices.Insert(m.Members, i, c.Member)
	case c.Kind == ChangePromote && there:
		m.Members[i].Learner = false
	case c.Kind == ChangeRemove && there:
		m.Members = slices.Delete(m.Members, i, i+1)
		m.Removed = insertSorted(m.Removed, c.Member.ID)
	case c.Kind == ChangeUpdate && there && !m.Members[i].otherDisk(c.Member.Incarnation):
		m.Members[i] = m.Members[i].update(c.Member)
	case c.Kind == ChangeVersion:
		m.Version = c.Member.Version
	case c.Kind == ChangeForce && there:
		return m.alone(m.Members[i], c.ClusterID)
	case c.Kind == ChangeForce:
		return m.alone(c.Member, c.ClusterID)
	}
	return m
}

// alone returns the membership of a new cluster of one member, which gets a vote if it had none. In
// the old cluster it may have been removed, or not yet been added.
func (m Membership) alone(self Member, cluster uint64) Membership {
	self.Learner = false
	m.Removed = slices.DeleteFunc(slices.Clone(m.Removed), func(id uint64) bool { return id == self.ID })
	for _, p := range m.Members {
		if p.ID != self.ID {
			m.Removed = insertSorted(m.Removed, p.ID)
		}
	}
	m.ClusterID, m.Members = cluster, []Member{self}
	return m
}

// update returns the member with those attributes of by that are not empty. Nothing else changes
// (pitfall D12).
func (m Member) update(by Member) Member {
	m.Name = cmp.Or(by.Name, m.Name)
	m.Version = cmp.Or(by.Version, m.Version)
	m.Incarnation = cmp.Or(by.Incarnation, m.Incarnation)
	if len(by.PeerURLs) > 0 {
		m.PeerURLs = by.PeerURLs
	}
	if len(by.ClientURLs) > 0 {
		m.ClientURLs = by.ClientURLs
	}
	return m
}

// otherDisk reports whether an incarnation is known to be of another disk than the member's; 0 is
// an incarnation that is not known (pitfall D10).
func (m *Member) otherDisk(incarnation uint64) bool {
	return incarnation != 0 && m.Incarnation != 0 && incarnation != m.Incarnation
}

func insertSorted(ids []uint64, id uint64) []uint64 {
	i, there := slices.BinarySearch(ids, id)
	if there {
		return ids
	}
	return slices.Insert(slices.Clone(ids), i, id)
}

// lowestVersion returns the lowest version of all members, or "" when some member has not yet
// announced its version.
func (m Membership) lowestVersion() (lowest string) {
	for i, p := range m.Members {
		if i == 0 || compareVersions(p.Version, lowest) < 0 {
			lowest = p.Version
		}
	}
	return lowest
}

// compareVersions compares texts like 2.10.0 number by number. A part that is no number counts as
// 0; the empty text is less than all others.
func compareVersions(a, b string) int {
	return slices.Compare(versionNumbers(a), versionNumbers(b))
}

func versionNumbers(v string) (numbers []int) {
	if v == "" {
		return nil
	}
	for _, part := range strings.Split(v, ".") {
		number, _ := strconv.Atoi(part) // 0 when it is no number
		numbers = append(numbers, number)
	}
	return numbers
}

// Find returns the member with an id.
func (m Membership) Find(id uint64) (Member, bool) {
	for _, p := range m.Members {
		if p.ID == id {
			return p, true
		}
	}
	return Member{}, false
}

// proposeChange appends a change of the membership to the leader's log: one at a time (pitfall D2),
// and not before an entry of its own term is committed (pitfall D1; raft-dev 2015, "bug in
// single-server membership changes").
func (c *core) proposeChange(change Change, id uint64) (uint64, error) {
	now := c.configs.now()
	switch {
	case c.role != Leader:
		return 0, errNotLeader
	case c.lead.target != None:
		return 0, errHandingOver
	case now.index > c.commit || c.commit < c.lead.start:
		return 0, errChanging
	}
	if err := c.checkChange(&change); err != nil {
		return 0, err
	}
	index, err := c.propose(proposal{kind: EntryChange, id: id, data: appendChange(nil, &change)})
	if err == nil {
		c.followConfig()
	}
	return index, err
}

// Errors of Change. Nothing has been changed, and nothing will be.
var (
	ErrMemberExists  = errors.New("raft: there is a member with that id or URL")
	ErrNameTaken     = errors.New("raft: another member has that name")
	ErrMemberUnknown = errors.New("raft: there is no such member")
	ErrMemberRemoved = errors.New("raft: that member has been removed for ever")
	// pitfall D10
	ErrMemberEmptied = errors.New("raft: the member's disk is a new one: what it voted and acknowledged is forgotten")
)

// emptied returns the error that ends a member whose disk was emptied; by says who knows the
// incarnation of its former disk.
func emptied(id uint64, by string) error {
	return fmt.Errorf("%w: %s knows another incarnation of member %x; remove the member, empty its data directory "+
		"and add it anew", ErrMemberEmptied, by, id)
}

// ErrMembershipFull refuses an addition, or an update that makes the membership larger, because a
// snapshot could not hold the result. The ids of removed members are kept for ever, and about
// 98,000 of them fit. A removal is never refused for this. A new cluster that is restored from a
// backup begins without these ids.
var ErrMembershipFull = errors.New("raft: the membership, with the ids of all members ever removed, " +
	"no longer fits into a snapshot")

// Limits of an encoded membership, in bytes. A snapshot's meta takes 1 MiB (see snap.Dir.Create).
const (
	maxMembership  = 1<<20 - 1<<10 // the rest is for index, term, stamp and cluster version
	membersReserve = 64 << 10      // of these: additions leave it free for updates
)

// size returns the length of the encoded membership, in bytes.
func (m Membership) size() int { return len(appendMembership(nil, &m)) }

// overfills reports whether a change makes the membership larger than it may be.
func (m Membership) overfills(change *Change) bool {
	limit := maxMembership
	if change.Kind == ChangeAdd {
		limit -= membersReserve
	}
	after := m.Apply(*change).size()
	return after > limit && after > m.size()
}

// QuorumError refuses a removal after which too few voters would answer to agree on anything.
type QuorumError struct{ Arithmetic string }

// Error gives the arithmetic.
func (e *QuorumError) Error() string { return "raft: " + e.Arithmetic }

// checkChange returns why a change can't be made to the configuration in force; nil if it can.
func (c *core) checkChange(change *Change) error {
	m, id := &c.configs.now().membership, change.Member.ID
	member, there := m.Find(id)
	switch {
	case change.Kind == ChangeVersion:
		return nil
	case slices.Contains(m.Removed, id):
		return ErrMemberRemoved
	case change.Kind == ChangeAdd && there, m.Taken(id, change.Member.PeerURLs):
		return ErrMemberExists // pitfall D13
	case change.Kind != ChangeAdd && !there:
		return ErrMemberUnknown
	case m.NameTaken(id, change.Member.Name):
		return ErrNameTaken
	case change.Kind == ChangeUpdate && member.otherDisk(change.Member.Incarnation):
		return ErrMemberEmptied
	case m.overfills(change):
		return ErrMembershipFull
	case change.Kind == ChangeRemove:
		return c.mayRemove(id)
	}
	return nil
}

func (m *Membership) has(id uint64) bool {
	_, ok := m.Find(id)
	return ok
}

// Taken reports whether a member other than id has one of the peer URLs (pitfall D13).
func (m Membership) Taken(id uint64, urls []string) bool {
	return slices.ContainsFunc(m.Members, func(p Member) bool {
		return p.ID != id && slices.ContainsFunc(urls, func(u string) bool { return slices.Contains(p.PeerURLs, u) })
	})
}

// NameTaken reports whether a member would take another one's name. It may keep the name that it
// has, even if another member has the same: earlier versions allowed that.
func (m Membership) NameTaken(id uint64, name string) bool {
	self, _ := m.Find(id)
	return name != "" && name != self.Name &&
		slices.ContainsFunc(m.Members, func(p Member) bool { return p.ID != id && p.Name == name })
}

// mayRemove refuses to remove a voter when the remaining voters that answer would be no quorum. The
// new configuration is in force as soon as it is in the log, and without a quorum nothing could
// undo it. So a member whose connection broke a moment ago does not count. A new leader refuses
// until it has heard from enough members: for an election timeout at most.
func (c *core) mayRemove(id uint64) error {
	now := c.configs.now()
	if !now.votes(id) {
		return nil
	}
	left, alive, unheard := len(now.voters)-1, 0, 0
	for _, v := range now.voters {
		p := c.lead.progress(v)
		switch {
		case v == id || p != nil && (p.disconnected || !c.answers(v)):
		case p == nil || p.heard:
			alive++
		default:
			unheard++
		}
	}
	need := left/2 + 1
	switch {
	case alive >= need:
		return nil
	case alive+unheard >= need:
		return errUnheard
	}
	return &QuorumError{fmt.Sprintf("removing %x would leave %d voters, of which %d answer; %d are needed to agree "+
		"on anything", id, left, alive+unheard, need)}
}

// checkIncarnation ends this member when its log says that it had another disk before. No message
// goes out any more, because the other members rely on what that disk held (pitfall D10).
func (c *core) checkIncarnation() {
	if self, _ := c.configs.now().membership.Find(c.ID); self.Incarnation != 0 && self.Incarnation != c.incarnation {
		c.broken = emptied(c.ID, "its own log")
	}
}

// followConfig makes the leader's members those of the configuration in force.
func (c *core) followConfig() {
	var members []progress
	for _, m := range c.configs.now().membership.Members {
		if m.ID == c.ID {
			continue
		}
		if p := c.lead.progress(m.ID); p != nil {
			members = append(members, *p)
		} else {
			members = append(members, progress{id: m.ID, next: c.log.last() + 1})
		}
	}
	c.lead.members = members
}

// configCommitted ends the leadership of a removed leader, once its removal is committed (diss.
// 4.2.2, pitfall D6).
func (c *core) configCommitted() {
	if !c.removed() || c.lead.target != None {
		return
	}
	c.broadcastAppend() // the last thing the others hear from it is that the removal is committed
	if !c.transferToBest() {
		c.becomeFollower(c.term, None)
	}
}

// removed reports whether this member has no vote by a configuration that is committed.
func (c *core) removed() bool {
	now := c.configs.now()
	return now.index <= c.commit && !now.votes(c.ID)
}

// promote gives a learner its vote when it has caught up: the last round of its catching up took
// less than an election timeout (diss. 4.2.1). This is judged with every answered heartbeat,
// because there is no other answer while nobody writes.
func (c *core) promote(p *progress) {
	m, ok := c.configs.now().membership.Find(p.id)
	if !ok || !m.Learner || p.sending != replicating {
		return
	}
	r := &p.catchUp
	if r.goal == 0 {
		*r = catchUp{goal: max(c.log.last(), c.lead.start), begun: c.lead.ticks}
	}
	if p.match < r.goal {
		return
	}
	if c.lead.ticks-r.begun < c.ElectionTicks {
		// Refused while another change is under way; the end of the next round tries again.
		_, _ = c.proposeChange(Change{Kind: ChangePromote, Member: Member{ID: p.id}}, 0)
	}
	*r = catchUp{}
}
