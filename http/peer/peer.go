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

// peer is one other member: its URLs, the messages that wait for it, and the goroutine that dials
// it and sends.
type peer struct {
	t       *Transport
	id      uint64
	ctx     context.Context // done when nothing may go on any more
	cancel  context.CancelFunc
	dialNow chan struct{} // dial now
	wake    chan struct{} // there may be something to send

	received atomic.Uint64 // bytes
	loans    atomic.Int32  // connections that are lent to the member
	wanted   atomic.Int32  // borrowers that wait for one of the member's
	offered  atomic.Int32  // connections of the member that wait for a borrower
	lent     chan net.Conn // connections that the member lends, to the one who asked
	calls    int           // open connections that the member has dialled; Transport.mu protects it

	mu        sync.Mutex          // protects all below
	sending   []func(error)       // called with the result of the snapshot that is being sent; nil: none is
	receiving *incoming           // the newest snapshot from the member
	guest     bool                // it called, and no membership names it yet
	urls      []string            // from the membership, or from Config.Seeds
	name      string              // likewise; empty until it is known
	hints     []string            // that the member named when it called
	rumours   []string            // where it is by what others say, or Config.Look
	news      map[uint64][]string // where other members say that they are, not yet told to this one
	good      string              // the URL that worked last
	leaving   bool                // it is no longer a member
	out       *sender             // nil: not connected
	in        *receiver           // the newest connection from it
	hung      bool                // a URL was given up for a loan, which is tried first the next time
	hurry     func()              // lets the dialling in hand end soon: there is another way
	urgent    queue
	bulky     queue
	refused   bool // bulky had no room, and has not been half empty since
	stats     raft.PeerStats
	trips     trips
	request   *statusRequest // nil: no answer is awaited
}

// Times between two attempts to connect.
const (
	firstWait = 10 * time.Millisecond
	lastWait  = time.Second
)

func (t *Transport) newPeer(id uint64) *peer {
	p := &peer{
		t: t, id: id, lent: make(chan net.Conn), dialNow: make(chan struct{}, 1), wake: make(chan struct{}, 1),
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
			p.finish(p.runSender(s))
		} else if p.drop() > 0 {
			p.t.in.Dropped(p.id)
		}
		wait = min(max(2*wait, firstWait), lastWait)
		if time.Since(begun) > lastWait {
			wait = firstWait
		}
	}
}

// pause waits for about that time, with jitter so that members do not call in step. It returns
// false when the peer is to end.
func (p *peer) pause(wait time.Duration) bool {
	if wait > 0 {
		timer := time.NewTimer(wait/2 + rand.N(wait))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.dialNow:
		case <-p.ctx.Done():
		}
	}
	return p.ctx.Err() == nil && !p.leaves()
}

// connect tries the member's URLs in turn; nil when none works.
func (p *peer) connect() *sender {
	var failures []string
	for _, u := range p.candidates() {
		s, err := p.dialStream(u)
		if err == nil {
			p.logWay(u, failures)
			return s
		}
		p.t.log.Debug("cannot connect", "member", hex(p.id), "url", u, "err", err)
		if !p.t.handleRefusal(p, u, err) {
			failures = append(failures, u+": "+err.Error())
		}
		if u != loan && slices.Index(p.candidates(), loan) == 0 {
			break // the other URLs may hang as well
		}
	}
	if p.ctx.Err() != nil || len(failures) == 0 {
		return nil
	}
	p.logUnreachable("cannot reach a member", failures)
	return nil
}

// logWay logs when the only way to the member is a connection that it lends.
func (p *peer) logWay(u string, failures []string) {
	p.t.notices.forget("cannot reach a member" + hex(p.id))
	if u != loan {
		p.t.notices.forget(oneWayOnly + hex(p.id))
	} else {
		p.logUnreachable(oneWayOnly, failures)
	}
}

// oneWayOnly is the log line for a member from which connections are borrowed.
const oneWayOnly = "cannot reach a member at its peer URLs; messages for it go over connections that it makes"

func (p *peer) logUnreachable(message string, failures []string) {
	if kept, due := p.t.notices.due(message + hex(p.id)); due {
		p.t.log.Warn(message, "member", hex(p.id), "err", cmp.Or(strings.Join(failures, "; "), "they do not answer"),
			"timesBefore", kept)
	}
}

// runSender opens the lanes for a connection, and sends until it ends.
func (p *peer) runSender(s *sender) error {
	news := p.t.allNews(p)
	stop := s.start(p.ctx, 4<<10)
	defer stop()
	p.set(func() {
		if p.out, p.hung = s, false; s.url != loan {
			p.good = s.url
		}
		p.news = news
		p.endEmptied()
		p.stats.Connected, p.stats.Borrowed, p.stats.Since = true, s.url == loan, time.Now()
	})
	p.t.log.Info("connected to a member", "member", hex(p.id), "name", s.other.name, "url", s.url,
		"version", s.other.version)
	return s.run()
}

// finish drops the messages that are still queued, unless the next connection is to send them, and
// reports to the node that those that were written may be lost.
func (p *peer) finish(cause error) {
	p.set(func() { p.stats.Connected, p.stats.Borrowed, p.stats.Since = false, false, time.Now() })
	// With net.ErrClosed DialTLS has ended it, for a certificate: then queued messages go with the
	// next connection, if there is one.
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

// addresses returns the URLs of the member: those of the membership, those that it has named
// itself, and those that others have named.
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

// candidates returns the URLs to try: the one that worked last, then the others, then loan if the
// member lends connections.
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

// follow takes the member's name and URLs from the membership. URLs that are new there replace
// those that the member has named itself.
func (p *peer) follow(m raft.Member) {
	urls := m.PeerURLs
	p.mu.Lock()
	defer p.mu.Unlock()
	p.guest, p.name = false, m.Name
	p.endEmptied()
	if slices.Equal(urls, p.urls) {
		return
	}
	p.urls, p.hints, p.rumours = slices.Clone(urls), nil, nil
	if p.out != nil && p.out.url != loan && !slices.Contains(urls, p.out.url) {
		p.out.end(errMoved)
	}
	nudge(p.dialNow)
}

// endEmptied ends the connections that were made before this member knew that the other one had
// another disk (D10). It is called when either is new: what is known, or a connection. p.mu must be
// held.
func (p *peer) endEmptied() {
	known := p.t.in.Incarnation(p.id)
	if p.out != nil && p.out.other.wasEmptied(known) {
		p.out.end(errEmptied)
	}
	if p.in != nil && p.in.other.wasEmptied(known) {
		p.in.end(errEmptied)
	}
}

// leave lets the queued messages go out, because the last one may tell the member of its removal,
// and then ends all connections with it.
func (p *peer) leave() {
	p.set(func() { p.leaving = true })
	nudge(p.wake)
	nudge(p.dialNow)
	time.AfterFunc(p.t.times.leave, p.cancel)
}

func (p *peer) leaves() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leaving
}

// enqueue queues a message if there is a connection and room. A proposal also waits for a
// connection that is being made: the first heartbeat of a new leader may arrive before this member
// has called back, and the proposal would be sent again only after a while. tell is true when the
// node must learn of a loss: a message with entries found no room, for the first time since the
// lane was half empty.
func (p *peer) enqueue(m raft.Message) (tell bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	lane, bulky := &p.urgent, isBulky(&m)
	if bulky {
		lane = &p.bulky
	}
	switch {
	case p.out == nil && m.Kind != raft.Propose, p.leaving:
		p.stats.Dropped++
	case !lane.enqueue(m):
		p.stats.Dropped++
		tell = bulky && !p.refused
		p.refused = p.refused || bulky
	}
	return tell
}

// dequeue removes the oldest message from one of the lanes.
func (p *peer) dequeue(lane *queue) (raft.Message, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused = p.refused && !p.bulky.isHalfEmpty()
	return lane.dequeue()
}

// sent counts the messages and bytes of a write.
func (p *peer) sent(messages uint64, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Sent += messages
	p.stats.SentBytes += uint64(bytes)
}

// runReceiver makes r the only connection from the member and reads from it until it ends. An older
// one belongs to a process that is gone, or has stopped.
func (p *peer) runReceiver(r *receiver) error {
	stop := r.start(p.ctx, maxFrame)
	defer stop()
	p.set(func() {
		if p.in != nil {
			p.in.end(errReplaced)
		}
		p.in = r
		p.endEmptied()
		if r.lends && p.hurry != nil {
			p.hurry()
		}
	})
	nudge(p.dialNow)
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
