package raft

import "errors"

// A member that follows passes what it is asked to propose on to its leader. The message carries the term in which the leader led, and a
// leader of another term does not take it. So a proposal is in the log with that term or never will be: once
// an entry of a later term is applied and it was not among those before, it is dead, and may be proposed anew without the
// danger of being applied twice (pitfall G3).

// forward passes proposals on to the leader, as many in a message as go into an Append; errNotLeader when none is known.
func (c *core) forward(ps []proposal) error {
	if c.role == Leader || c.leader == None {
		return errNotLeader
	}
	var es []Entry
	size := 0
	for i, p := range ps {
		es = append(es, Entry{Kind: p.kind, ID: p.id, Data: p.data})
		if size += entrySize(&es[len(es)-1]); size >= c.MaxAppendBytes || i == len(ps)-1 {
			c.send(Message{Kind: Propose, To: c.leader, Entries: es})
			es, size = nil, 0
		}
	}
	return nil
}

// handlePropose takes another member's proposals into the log, and names those that it does not take.
func (c *core) handlePropose(m *Message) {
	var refused []Refusal
	for i := range m.Entries {
		e := &m.Entries[i]
		if err := c.takeOver(proposal{kind: e.Kind, id: e.ID, data: e.Data}); err != nil {
			refused = append(refused, refusal(e.ID, err))
		}
	}
	if refused != nil {
		c.send(Message{Kind: ProposeAnswer, To: m.From, Refused: refused})
	}
}

// takeOver puts a proposal of whatever kind into the leader's log.
func (c *core) takeOver(p proposal) error {
	if p.kind != EntryChange {
		_, err := c.propose(p)
		return err
	}
	change, err := decodeChange(p.data)
	if err == nil {
		_, err = c.proposeChange(change, p.id)
	}
	return err
}

// Refusal says that a proposal is not in the log and will never be, unless it is made again.
type Refusal struct {
	ID     uint64 // of the proposal
	reason byte   // index into refusalReasons
	text   string // the error's, where there is more to it than the reason
}

// refusalReasons are the errors that go over the wire; a new one goes to the end, and its number never changes.
var refusalReasons = [...]error{
	errNotLeader, errHandingOver, errChanging, ErrOverloaded,
	ErrMemberExists, ErrMemberUnknown, ErrMemberRemoved, ErrMemberEmptied,
	errUnheard,
}

var errRefused = errors.New("raft: the leader refuses the proposal") // for a reason of a later version

// quorumReason is the reason of a QuorumError, whose text says the rest; otherReason that of an error that is not listed.
const (
	quorumReason byte = 255
	otherReason  byte = 254
)

func refusal(id uint64, err error) Refusal {
	var quorum *QuorumError
	if errors.As(err, &quorum) {
		return Refusal{ID: id, reason: quorumReason, text: quorum.Arithmetic}
	}
	for i, reason := range refusalReasons {
		if reason == err {
			return Refusal{ID: id, reason: byte(i)}
		}
	}
	return Refusal{ID: id, reason: otherReason}
}

// err is the error that the leader had.
func (r *Refusal) err() error {
	switch {
	case r.reason == quorumReason:
		return &QuorumError{Arithmetic: r.text}
	case int(r.reason) < len(refusalReasons):
		return refusalReasons[r.reason]
	}
	return errRefused
}
