package raft

import (
	"fmt"
	"strings"
)

// MessageKind says what a Message asks or answers.
type MessageKind uint8

// The messages of the protocol. Every request but TimeoutNow has an answer; it stands right after
// the request, except that AppendAnswer also answers InstallSnapshot.
const (
	PreVote         MessageKind = iota + 1 // would you vote for me in Term? (diss. 9.6); changes nothing
	PreVoteAnswer                          //
	Vote                                   // vote for me in Term (§5.2)
	VoteAnswer                             //
	Append                                 // store Entries after Index@LogTerm (§5.3)
	AppendAnswer                           // my log equals yours up to Index, on disk; or it does not (Reject)
	Heartbeat                              // I lead; Commit is agreed; Round wants an answer
	HeartbeatAnswer                        //
	InstallSnapshot                        // replace your state by Snapshot (§7); its bytes go beside the message
	ReadIndex                              // a follower asks for an index at which reading is linearizable (diss. 6.4)
	ReadIndexAnswer                        //
	TimeoutNow                             // campaign at once: the leader hands over to you (diss. 3.10)
	Propose                                // put Entries into your log, if you lead in Term (§8)
	ProposeAnswer                          // messages up to Round are taken, but for Refused
)

var messageNames = [...]string{
	PreVote: "PreVote", PreVoteAnswer: "PreVoteAnswer", Vote: "Vote", VoteAnswer: "VoteAnswer",
	Append: "Append", AppendAnswer: "AppendAnswer", Heartbeat: "Heartbeat", HeartbeatAnswer: "HeartbeatAnswer",
	InstallSnapshot: "InstallSnapshot", ReadIndex: "ReadIndex", ReadIndexAnswer: "ReadIndexAnswer",
	TimeoutNow: "TimeoutNow",
	Propose:    "Propose", ProposeAnswer: "ProposeAnswer",
}

// String returns the name of the kind.
func (k MessageKind) String() string {
	if k == 0 || int(k) >= len(messageNames) {
		return fmt.Sprintf("MessageKind(%d)", uint8(k))
	}
	return messageNames[k]
}

// Message is what members say to each other. What its numbers mean, by kind; a field without a word
// is zero in that kind (TestMessagesUseTheFieldsOfTheTable):
//
//	kind             Index          LogTerm   Hint          Round        Commit      Reject
//	PreVote          last entry     its term
//	PreVoteAnswer                                                                    no
//	Vote             last entry     its term
//	VoteAnswer                                                                       no
//	Append           entry before   its term                             leader's
//	                 Entries
//	AppendAnswer     highest index                                                   false
//	                 on its disk
//	  rejecting      Append's       term at   highest that               member's    true
//	                 Index          Hint      may match
//	Heartbeat                                 longest       its number,  of what     the member is
//	                                          round trip,   or 0: wants  the member  not heard
//	                                          in ticks      no answer    has
//	HeartbeatAnswer  last entry     its term  highest on    the same
//	                                          its disk
//	InstallSnapshot
//	ReadIndex                                               the read
//	ReadIndexAnswer  to read at                             the same                 does not lead
//	TimeoutNow
//	Propose          lowest number  stream                  number in                its Entries
//	                 without an                             the stream,              found no room
//	                 answer                                 from 1                   and are gone
//	ProposeAnswer                   the same                highest                  misses a
//	                                                        taken                    number
//
// A rejecting AppendAnswer to a message of an earlier term has no numbers: only its Term counts.
type Message struct {
	Kind MessageKind
	From uint64
	To   uint64
	Term uint64 // the sender's; in PreVote and a granting PreVoteAnswer the term that is asked for

	Index   uint64
	LogTerm uint64
	Hint    uint64
	Round   uint64
	Commit  uint64
	Reject  bool

	Stamp    int64     // of every kind that a leader sends: the cluster clock
	Transfer bool      // Vote: the leader wants it, so a voter that still hears the leader may agree
	Entries  []Entry   // Append; Propose, without Index, Term and Stamp
	Snapshot *Snapshot // InstallSnapshot
	Refused  []Refusal // ProposeAnswer
}

// String prints a message in the notation of the scripts, index@term throughout:
//
//	n1@2 → n2 Append base=4@1 [5@2 6@2] commit=4
func (m Message) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "n%x@%d → n%x %v", m.From, m.Term, m.To, m.Kind)
	switch m.Kind {
	case PreVote, Vote:
		fmt.Fprintf(&b, " last=%d@%d", m.Index, m.LogTerm)
	case Append:
		fmt.Fprintf(&b, " base=%d@%d [%s] commit=%d", m.Index, m.LogTerm, entryNames(m.Entries), m.Commit)
	case AppendAnswer:
		if m.Reject {
			fmt.Fprintf(&b, " reject=%d hint=%d@%d", m.Index, m.Hint, m.LogTerm)
		} else {
			fmt.Fprintf(&b, " match=%d", m.Index)
		}
	case Heartbeat:
		fmt.Fprintf(&b, " commit=%d round=%d", m.Commit, m.Round)
		if m.Reject {
			b.WriteString(" unheard")
		}
	case HeartbeatAnswer:
		fmt.Fprintf(&b, " round=%d", m.Round)
	case InstallSnapshot:
		fmt.Fprintf(&b, " snapshot=%d@%d", m.Snapshot.Index, m.Snapshot.Term)
	case ReadIndex:
		fmt.Fprintf(&b, " read=%x", m.Round)
	case ReadIndexAnswer:
		fmt.Fprintf(&b, " read=%x index=%d", m.Round, m.Index)
	case Propose:
		fmt.Fprintf(&b, " number=%d proposals=%d", m.Round, len(m.Entries))
	case ProposeAnswer:
		fmt.Fprintf(&b, " number=%d refused=%d", m.Round, len(m.Refused))
	}
	if m.Transfer {
		b.WriteString(" transfer")
	}
	if m.Reject && m.Kind != AppendAnswer && m.Kind != Heartbeat {
		b.WriteString(" reject")
	}
	return b.String()
}

func entryNames(es []Entry) string {
	names := make([]string, len(es))
	for i, e := range es {
		names[i] = fmt.Sprintf("%d@%d", e.Index, e.Term)
	}
	return strings.Join(names, " ")
}
