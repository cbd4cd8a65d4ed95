package raft

import "time"

// None is the id of no member.
const None uint64 = 0

// EntryKind says what an entry's data is.
type EntryKind uint8

const (
	EntryEmpty   EntryKind = iota // a new leader's first entry (§5.4.2), or a stamp; Data: a WallCommand, or none
	EntryCommand                  // Data is a command of the state machine
	EntryChange                   // Data is an encoded Change of the membership
	EntryDigest                   // Data is an encoded digest: what a member's state was at an index (pitfall I8)
)

// Entry is one entry of the log.
type Entry struct {
	Index uint64
	Term  uint64
	Stamp int64 // cluster clock, in nanoseconds since 1970; it began at the first leader's wall clock
	Kind  EntryKind
	ID    uint64 // names the proposal, so that its member finds the caller that waits for it; 0: none does
	Data  []byte
}

// Member is one server of the cluster. It is immutable; changes make a new one.
type Member struct {
	ID         uint64
	Name       string   // empty until it has started once
	PeerURLs   []string // sorted
	ClientURLs []string // sorted; empty until it has started once
	Version    string   // of its program, "2.4.0"; empty until it has started once
	Learner    bool     // replicates without a vote

	// Incarnation is a random number that was made with the member's disk; 0 until it has started
	// once, and never changed after that. A disk that was emptied counts as a new one, since the
	// member's votes and acknowledgements are lost (pitfall D10).
	Incarnation uint64
}

// Membership is the configuration in force after some entry of the log. It is immutable.
type Membership struct {
	ClusterID uint64
	Members   []Member // by id
	Removed   []uint64 // ids that may never come back, ascending
	Version   string   // the cluster's version; empty until the first leader has decided it
}

// ChangeKind says what a Change does.
type ChangeKind uint8

const (
	ChangeAdd     ChangeKind = iota + 1 // add Member (as a learner when Member.Learner)
	ChangePromote                       // give the learner Member.ID a vote
	ChangeRemove                        // remove Member.ID for ever
	ChangeUpdate                        // replace the attributes of Member.ID by those that Member has
	ChangeVersion                       // set the cluster's version to Member.Version
	// Member.ID becomes the only member of a new cluster, ClusterID (--force-new-cluster)
	ChangeForce
)

// Change is one change of the membership, of one server at a time (diss. 4.1).
type Change struct {
	Kind      ChangeKind
	Member    Member
	ClusterID uint64 // ChangeForce
	Command   []byte // given to the state machine when the change is applied; may be empty
}

// Role is what a member is at the moment.
type Role uint8

// The roles (fig. 4), and the one that PreVote adds (diss. 9.6).
const (
	Follower     Role = iota // listens to a leader, or waits for one
	PreCandidate             // asks whether it could win
	Candidate                // campaigns
	Leader
)

// Result is what became of a proposal: its place in the log, and what the state machine returned.
type Result struct {
	Index uint64
	Term  uint64
	Value any
}

// Status is a member's view of the cluster at one moment.
type Status struct {
	ID          uint64
	ClusterID   uint64
	Role        Role
	Leader      uint64 // None when not known
	LeaderSince time.Time
	Term        uint64
	Vote        uint64
	Commit      uint64
	Applied     uint64
	AppliedTerm uint64
	Last        uint64
	First       uint64              // index of the first entry still in the log
	Progress    map[uint64]Progress // leader only: by member id, without its own
	Queues      []Queue             // inside this member
}

// Queue is a place inside a member where requests, reads, messages or bytes of them wait. Whatever
// adds to it checks Limit, so Length does not exceed it. Only a single item may be larger than a
// limit in bytes.
type Queue struct {
	Name, Unit    string
	Length, Limit int
}

// Progress is what a leader knows of another member.
type Progress struct {
	Match    uint64 // highest index known to be on its disk
	Next     uint64 // next index to send
	State    string // "probe", "replicate", "snapshot", "pause"
	Inflight int    // bytes on their way
}

// State is what a member must remember over a crash besides its log (fig. 2):
// written as one record, all or nothing.
type State struct {
	Term   uint64
	Vote   uint64 // whom this member voted for in Term, or None
	Commit uint64 // a lower bound; it goes along with other writes and is never written for its own sake
}

// Snapshot names a state of the state machine, with the membership of the cluster at that index.
type Snapshot struct {
	Index      uint64 // of the last entry in it
	Term       uint64 // of that entry
	Stamp      int64  // of that entry
	Membership Membership
}
