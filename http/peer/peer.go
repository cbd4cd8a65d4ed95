package peer

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"etcd2/raft"
)

// peer is one other member: where it is, what waits to be sent to it, and the goroutine that dials
// it and sends.
type peer struct {
	t      *Transport
	id     uint64
	ctx    context.Context // done when nothing may go on any more
	cancel context.CancelFunc
	kick   chan struct{} // dial now
	wake   chan struct{} // there may be something to send

	received atomic.Uint64 // bytes
	loans    atomic.Int32  // connections that are lent to the member
	wanted   atomic.Int32  // borrowers that wait for one of the member's
	offered  atomic.Int32  // connections of the member that wait for a borrower
	lent     chan net.Conn // connections that the member lends, to the one who asked
	calls    int           // open connections that the member has dialled; Transport.mu protects it

	mu         sync.Mutex          // protects all below
	installing []func(error)       // called with the result of the snapshot that is being sent; nil: none is
	receiving  *incoming           // the newest snapshot from the member
	guest      bool                // it called, and no membership names it yet
	urls       []string            // from the membership, or from Config.Seeds
	name       string              // likewise; empty until it is known
	hints      []string            // that the member named when it called
	rumours    []string            // where it is by what others say, or Config.Look
	news       map[uint64][]string // where other members say that they are, not yet told to this one
	good       string              // the URL that worked last
	leaving    bool                // it is no longer a member
	out        *sender             // nil: not connected
	in         *receiver           // the newest connection from it
	hung       bool                // a URL was given up for a loan, which is tried first the next time
	hurry      func()              // lets the dialling in hand end soon: there is another way
	urgent     queue
	bulky      queue
	refused    bool // bulky had no room, and has not been half empty since
	stats      raft.PeerStats
	trips      trips
	question   *question // nil: no answer is awaited
}

// Times between two attempts to connect.
const (
	firstWait = 10 * time.Millisecond
	lastWait  = time.Second
)

func (t *Transport) newPeer(id uint64) *peer {
	p := &peer{
		t: t, id: id, lent: make(chan net.Conn), kick: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		urgent: queue{maxCount: t.cfg.QueueUrgent, maxBytes: t.cfg.QueueBytes},
		bulky:  queue{maxCount: t.cfg.QueueBulky, maxBytes: t.cfg.QueueBytes},
	}
	p.ctx, p.cancel = context.WithCancel(t.ctx)
	p.stats.Since = time.Now()
	t.peers[id] = p
	t.running.Go(p.run)
	return p
}

// run keeps a connection to the member, until it leaves or the transport is closed.
func (p *peer) run() {
	for wait := time.Duration(0); p.pause(wait); {
		begun := time.Now()
		if s := p.connect(); s != nil {
			p.finish(p.talk(s))
		} else if p.drop() > 0 {
			p.t.in.Dropped(p.id)
		}
		wait = min(max(2*wait, firstWait), lastWait)
		if time.Since(begun) > lastWait {
			wait = firstWait
		}
	}
}

// pause waits about as long as it is told, so that members do not call in step. It returns false
// when there is nobody to call any more.
func (p *peer) pause(wait time.Duration) bool {
	if wait > 0 {
		timer := time.NewTimer(wait/2 + rand.N(wait))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.kick:
		case <-p.ctx.Done():
		}
	}
	return p.ctx.Err() == nil && !p.leaves()
}

// connect tries the member's URLs in turn; nil when none does.
func (p *peer) connect() *sender {
	var failures []string
	for _, u := range p.candidates() {
		s, err := p.dialStream(u)
		if err == nil {
			p.noteWay(u, failures)
			return s
		}
		p.t.log.Debug("cannot connect", "member", hex(p.id), "url", u, "err", err)
		if !p.t.noteRefusal(p, u, err) {
			failures = append(failures, u+": "+err.Error())
		}
		if u != loan && slices.Index(p.candidates(), loan) == 0 {
			break // the other URLs may hang as well
		}
	}
	if p.ctx.Err() != nil || len(failures) == 0 {
		return nil
	}
	p.noteUnreached("cannot reach a member", failures)
	return nil
}

// noteWay logs when the only way to the member is a connection that it lends.
func (p *peer) noteWay(u string, failures []string) {
	p.t.notices.forget("cannot reach a member" + hex(p.id))
	if u != loan {
		p.t.notices.forget(oneWayOnly + hex(p.id))
	} else {
		p.noteUnreached(oneWayOnly, failures)
	}
}

// oneWayOnly is the log line of a member from which connections are borrowed.
const oneWayOnly = "cannot reach a member at its peer URLs; what is for it goes over connections that it makes"

func (p *peer) noteUnreached(message string, failures []string) {
	if kept, due := p.t.notices.due(message + hex(p.id)); due {
		p.t.log.Warn(message, "member", hex(p.id), "err", cmp.Or(strings.Join(failures, "; "), "they do not answer"),
			"timesBefore", kept)
	}
}

// talk opens the lanes for a connection, and sends until it ends.
func (p *peer) talk(s *sender) error {
	news := p.t.allNews(p)
	stop := s.start(p.ctx, 4<<10)
	defer stop()
	p.set(func() {
		if p.out, p.hung = s, false; s.url != loan {
			p.good = s.url
		}
		p.news = news
		p.endForgetful()
		p.stats.Connected, p.stats.Borrowed, p.stats.Since = true, s.url == loan, time.Now()
	})
	p.t.log.Info("connected to a member", "member", hex(p.id), "name", s.other.name, "url", s.url,
		"version", s.other.version)
	return s.run()
}

// finish drops the messages that the connection did not take, unless the next connection is to take
// them, and tells the node that those it took may be lost.
func (p *peer) finish(cause error) {
	p.set(func() { p.stats.Connected, p.stats.Borrowed, p.stats.Since = false, false, time.Now() })
	// else DialTLS has ended it, for a certificate: what is queued goes with the next connection,
	// if there is one
	if !errors.Is(cause, net.ErrClosed) {
		p.drop()
	}
	if cause != errClosed && cause != errLeft {
		p.t.log.Warn("lost the connection to a member", "member", hex(p.id), "reason", cause)
	}
	switch {
	case broke(cause):
		p.t.in.Lost(p.id)
	case cause != errClosed && cause != errLeft:
		p.t.in.Dropped(p.id)
	}
}

// drop drops the queued messages and returns how many there were. Without a connection only
// proposals are queued from then on.
func (p *peer) drop() (n int) {
	p.set(func() {
		n = p.urgent.clear() + p.bulky.clear()
		p.out, p.refused = nil, false
		p.stats.Dropped += uint64(n)
	})
	return n
}

// set changes what p.mu protects.
func (p *peer) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// addresses are the URLs of the member, as the membership has them, as it says itself, and as
// others say.
func (p *peer) addresses() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.Clone(p.urls)
	for _, u := range slices.Concat(p.hints, p.rumours) {
		if !slices.Contains(list, u) {
			list = append(list, u)
		}
	}
	return list
}

// candidates are the ways to try: the URL that worked last, then the others, then a connection that
// the member lends.
func (p *peer) candidates() []string {
	list := p.addresses()
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(list, p.good); i > 0 {
		list = slices.Insert(slices.Delete(list, i, i+1), 0, p.good)
	}
	switch lends := p.in != nil && p.in.lends; {
	case lends && p.hung:
		return slices.Insert(list, 0, loan)
	case lends:
		return append(list, loan)
	}
	return list
}

// follow takes what the membership says of the member. Its URLs are newer than what it said of
// itself.
func (p *peer) follow(m raft.Member) {
	urls := m.PeerURLs
	p.mu.Lock()
	defer p.mu.Unlock()
	p.guest, p.name = false, m.Name
	p.endForgetful()
	if slices.Equal(urls, p.urls) {
		return
	}
	p.urls, p.hints, p.rumours = slices.Clone(urls), nil, nil
	if p.out != nil && p.out.url != loan && !slices.Contains(urls, p.out.url) {
		p.out.end(errMoved)
	}
	nudge(p.kick)
}

// endForgetful ends the connections that were made before this member knew that the other one had
// another disk (D10). It is called when either is new: what is known, or a connection. p.mu must be
// held.
func (p *peer) endForgetful() {
	known := p.t.in.Incarnation(p.id)
	if p.out != nil && p.out.other.forgot(known) {
		p.out.end(errEmptied)
	}
	if p.in != nil && p.in.other.forgot(known) {
		p.in.end(errEmptied)
	}
}

// leave lets what is queued go out, since the last message may be the one that tells the member of
// its removal, and then ends all that there is between the two.
func (p *peer) leave() {
	p.set(func() { p.leaving = true })
	nudge(p.wake)
	nudge(p.kick)
	time.AfterFunc(p.t.times.farewell, p.cancel)
}

func (p *peer) leaves() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leaving
}

// put queues a message if there is a connection and room. A proposal also waits for a connection
// that is being made: the first heartbeat of a new leader may arrive before this member has called
// back, and the proposal would be sent again only after a while. It returns true when the node has
// to be told: a message with entries found no room, for the first time since the lane was half
// empty.
func (p *peer) put(m raft.Message) (tell bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	lane, bulky := &p.urgent, isBulky(&m)
	if bulky {
		lane = &p.bulky
	}
	switch {
	case p.out == nil && m.Kind != raft.Propose, p.leaving:
		p.stats.Dropped++
	case !lane.put(m):
		p.stats.Dropped++
		tell = bulky && !p.refused
		p.refused = p.refused || bulky
	}
	return tell
}

// next takes a message from one of the lanes.
func (p *peer) next(lane *queue) (raft.Message, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused = p.refused && !p.bulky.isHalfEmpty()
	return lane.take()
}

// sent counts what a write has taken.
func (p *peer) sent(messages uint64, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Sent += messages
	p.stats.SentBytes += uint64(bytes)
}

// hear makes r the only connection from the member and reads from it until it ends. An older one is
// of a process that is gone, or stands still.
func (p *peer) hear(r *receiver) error {
	stop := r.start(p.ctx, maxFrame)
	defer stop()
	p.set(func() {
		if p.in != nil {
			p.in.end(errReplaced)
		}
		p.in = r
		p.endForgetful()
		if r.lends && p.hurry != nil {
			p.hurry()
		}
	})
	nudge(p.kick)
	cause := r.run()
	p.set(func() {
		if p.in == r {
			p.in = nil
		}
	})
	return cause
}

func (p *peer) isGuest() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.guest
}
