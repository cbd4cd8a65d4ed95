package raft

import (
	"errors"
	"math"
	"slices"
)

// A member that follows passes its proposals on to the leader. The message carries the term in
// which that leader leads, and a leader of another term does not take it. Terms never fall along
// the log. So a proposal that is not applied when the first entry of a later term is applied is
// dead: it may be proposed anew, and can't be applied twice (pitfall G3).
//
// Within a term nothing is lost and nothing is taken twice. The messages of one member to one
// leader are a stream, numbered from 1 on. The leader takes each number once, in order, and answers
// with the highest number taken. What is not answered is sent again.
//
//	follower                                   leader
//	  Propose stream=s number=1 ──────────────▶  taken=1
//	  Propose stream=s number=2 ────── lost
//	  Propose stream=s number=3 ──────────────▶  3 is ignored: 2 is due
//	          ◀────────────── ProposeAnswer number=1
//	  2 and 3 again, after a while ────────────▶  taken=3

// forwarding holds what a follower has passed on to the leader of its term, as long as it is not
// answered.
type forwarding struct {
	stream uint64    // its id, drawn at random when the member starts; never 0
	last   uint64    // number of the last message
	sent   []Message // the messages not answered, in order
	bytes  int       // of their entries
	quiet  int       // ticks since sent was last sent, or an answer came
	tries  int       // how often sent was sent again since the last answer
	gap    bool      // the leader lacks a message that was sent before one that it has seen
}

// reset begins a stream to another leader, whose numbers begin at 1 again.
func (f *forwarding) reset() { *f = forwarding{stream: f.stream} }

// answered drops the messages up to a number, which the leader has answered, and returns them.
func (f *forwarding) answered(number uint64) (answered []Message) {
	n := 0
	for ; n < len(f.sent) && f.sent[n].Round <= number; n++ {
		f.bytes -= entriesSize(f.sent[n].Entries)
	}
	if n > 0 {
		f.quiet, f.tries = 0, 0
	}
	answered = slices.Clone(f.sent[:n])
	clear(f.sent[:n])
	f.sent = f.sent[n:] // not moved to the front: with many in flight on a far link that takes quadratic time
	return answered
}

// sendAgain makes the next tick send everything again.
func (f *forwarding) sendAgain() { f.quiet = math.MaxInt / 2 }

// forward passes proposals on to the leader, as many in a message as fit into an Append. It returns
// how many it took: none when no leader is known, and no more once MaxInflightBytes wait for an
// answer. Of each one taken, one of these comes true: (1) it gets into the leader's log, (2)
// Effects.Refused names it, or (3) it is dead when an entry of a later term is applied.
func (c *core) forward(ps []proposal) (taken int) {
	if c.role == Leader || c.leader == None {
		return 0
	}
	var es []Entry
	size := 0
	for i, p := range ps {
		if len(es) == 0 && !c.mayForward() {
			break
		}
		es = append(es, Entry{Kind: p.kind, ID: p.id, Data: p.data})
		if size += entrySize(&es[len(es)-1]); size >= c.MaxAppendBytes || i == len(ps)-1 {
			c.forwardOne(es, size)
			es, size, taken = nil, 0, i+1
		}
	}
	return taken
}

// mayForward reports whether another message may be sent on to the leader.
func (c *core) mayForward() bool { return c.forwarding.bytes < c.MaxInflightBytes }

// forwardOne sends the next message of the stream.
func (c *core) forwardOne(es []Entry, size int) {
	f := &c.forwarding
	f.last++
	f.bytes += size
	f.sent = append(f.sent, Message{Kind: Propose, To: c.leader, Round: f.last, LogTerm: f.stream, Entries: es})
	c.sendForwarded(f.sent[len(f.sent)-1])
}

// sendForwarded sends a message of the stream. It names the first message that is not answered, so
// that the leader can forget the refusals in those before it.
func (c *core) sendForwarded(m Message) {
	m.Index = c.forwarding.sent[0].Round
	c.send(m)
}

// tickForwarding sends everything again that was not answered for half an election timeout and the
// time that its bytes take on a slow link. When the leader says that it lacks a message, there is
// no reason to wait for those bytes. The wait doubles each time, up to mostLost times.
func (c *core) tickForwarding() {
	f := &c.forwarding
	if len(f.sent) == 0 || c.leader == None {
		return
	}
	wait := c.ElectionTicks / 2
	if !f.gap {
		wait += f.bytes / slowest * c.HeartbeatTicks
	}
	if f.quiet++; f.quiet < wait<<min(f.tries, mostLost) {
		return
	}
	f.quiet, f.tries, f.gap = 0, f.tries+1, false
	for _, m := range f.sent {
		c.sendForwarded(m)
	}
}

// proposalStream is what a leader knows of one stream of proposals. A member begins a new stream
// each time it starts. A message of a former stream may come late, even after messages of the
// present one.
type proposalStream struct {
	id      uint64
	taken   uint64           // highest number taken
	seen    uint64           // highest number that came
	refused []refusedMessage // refusals that the member may not have heard of
	due     bool             // an answer must go out with the next effects
}

// refusedMessage names the proposals of one message that the leader refused.
type refusedMessage struct {
	number  uint64
	refused []Refusal
}

// stream returns the stream with an id, which may be a new one.
func (p *progress) stream(id uint64) *proposalStream {
	i := slices.IndexFunc(p.streams, func(s proposalStream) bool { return s.id == id })
	if i < 0 {
		i, p.streams = len(p.streams), append(p.streams, proposalStream{id: id})
	}
	return &p.streams[i]
}

// handlePropose takes another member's proposals into the log, once, and notes those that it does
// not take.
func (c *core) handlePropose(m *Message) {
	p := c.lead.progress(m.From)
	if p == nil {
		return // this member does not lead; if it did before, it may have taken them, and a refusal could be wrong
	}
	s := p.stream(m.LogTerm)
	s.due, s.seen = true, max(s.seen, m.Round)
	s.refused = slices.DeleteFunc(s.refused, func(r refusedMessage) bool { return r.number < m.Index })
	if m.Round == s.taken+1 && !m.Reject {
		s.taken++
		if refused := c.appendProposals(m.Entries); refused != nil {
			s.refused = append(s.refused, refusedMessage{m.Round, refused})
		}
	}
}

// answerProposals answers all that came from a member since the last effects with one message for
// each stream: each answer names all refusals that the member may not have heard of.
func (c *core) answerProposals(p *progress) {
	for i := range p.streams {
		s := &p.streams[i]
		if !s.due {
			continue
		}
		s.due = false
		answer := Message{Kind: ProposeAnswer, To: p.id, Round: s.taken, LogTerm: s.id, Reject: s.seen > s.taken}
		for _, r := range s.refused {
			answer.Refused = append(answer.Refused, r.refused...)
		}
		c.send(answer)
	}
}

// handleProposeAnswer learns what became of proposals that were passed on. A refusal that comes
// twice counts once: by the second time, the proposal may have been made again and taken.
func (c *core) handleProposeAnswer(m *Message) {
	if m.LogTerm != c.forwarding.stream {
		return
	}
	c.forwarding.gap = m.Reject
	asked := map[uint64]bool{}
	for _, answered := range c.forwarding.answered(m.Round) {
		for i := range answered.Entries {
			asked[answered.Entries[i].ID] = true
		}
	}
	for _, r := range m.Refused {
		if asked[r.ID] {
			c.out.Refused = append(c.out.Refused, r)
		}
	}
}

func (c *core) appendProposals(es []Entry) (refused []Refusal) {
	for i := range es {
		e := &es[i]
		if err := c.appendProposal(proposal{kind: e.Kind, id: e.ID, data: e.Data}); err != nil {
			refused = append(refused, refusal(e.ID, err))
		}
	}
	return refused
}

// appendProposal puts a proposal of whatever kind into the leader's log.
func (c *core) appendProposal(p proposal) error {
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

// refusalReasons are the errors that go over the wire; a new one goes to the end, and its number
// never changes.
var refusalReasons = [...]error{
	errNotLeader, errHandingOver, errChanging, ErrOverloaded,
	ErrMemberExists, ErrMemberUnknown, ErrMemberRemoved, ErrMemberEmptied,
	errUnheard, ErrMembershipFull, ErrNameTaken,
}

var errRefused = errors.New("raft: the leader refuses the proposal") // for a reason of a later version

// quorumReason stands for a QuorumError, whose text goes along. otherReason stands for an error
// that is not listed.
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

// err returns the error for which the leader refused the proposal.
func (r *Refusal) err() error {
	switch {
	case r.reason == quorumReason:
		return &QuorumError{Arithmetic: r.text}
	case int(r.reason) < len(refusalReasons):
		return refusalReasons[r.reason]
	}
	return errRefused
}
