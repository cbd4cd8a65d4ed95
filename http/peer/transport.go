package peer

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"etcd2/raft"
)

// Config identifies this member to the others, and sets limits. A zero limit means its default.
type Config struct {
	Name    string              // of this member, for the log lines of the others
	URLs    []string            // peer URLs of this member; one that does not know them yet calls back there
	Version string              // of the program
	Seeds   map[uint64][]string // URLs of members, by id, for a member whose log does not name any yet
	Logger  *slog.Logger        // nil: slog.Default()

	// Status returns the status of this member, for members that ask: at most MaxStatus bytes.
	// It may be called from any goroutine, and may wait for a disk; nil: an empty status.
	Status func() []byte

	// Look returns where members may be, by name. It is called when no member answers at the known
	// URLs, and may take long; nil: it finds none.
	Look func(ctx context.Context) []raft.Member

	// DialTLS makes a connection with TLS, for https URLs, and verifies the other end; nil: by the
	// system's authorities. When it ends a connection itself, because the certificate is no longer
	// accepted, a Read returns net.ErrClosed.
	DialTLS func(ctx context.Context, network, address string) (net.Conn, error)

	// AnyPeer says that DialTLS does not verify the other end, as with self-made certificates.
	AnyPeer bool

	Heartbeat time.Duration // between two heartbeats of a leader; 100 ms
	// Silence is how long a connection may bring nothing although something is due, before it is
	// closed; 5 heartbeats, but at least a second.
	Silence time.Duration

	Window          int   // least bytes that may be in flight to a member, in all buffers between; 256 KiB
	MaxWindow       int   // most bytes that may be in flight, on a fast and far link; 32 MiB
	MaxMessageBytes int   // of a message; larger than any entry can be; 64 MiB
	QueueUrgent     int   // messages in the urgent lane; 4,096
	QueueBulky      int   // messages in the bulky lane; 65,536
	QueueBytes      int   // in each lane; 64 MiB, far more than a leader has in flight
	SnapshotRate    int64 // bytes a second, of all snapshots sent together; 96 MiB
}

// Defaults of Config's zero fields. A link of 5 MB/s carries the least window in half a heartbeat;
// the largest window fills a link of 100 MB/s with a round trip of 300 ms. The rate of snapshots
// leaves a seventh of a gigabit link to the messages, and sends a gigabyte in 11 s.
const (
	DefaultHeartbeat       = 100 * time.Millisecond
	DefaultWindow          = 256 << 10
	DefaultMaxWindow       = 32 << 20
	DefaultMaxMessageBytes = 64 << 20
	DefaultQueueUrgent     = 4096
	DefaultQueueBulky      = 65_536
	DefaultQueueBytes      = 64 << 20
	DefaultSnapshotRate    = 96 << 20
)

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Status == nil {
		c.Status = func() []byte { return nil }
	}
	if c.DialTLS == nil {
		c.DialTLS = new(tls.Dialer).DialContext
	}
	orElse(&c.Heartbeat, DefaultHeartbeat)
	orElse(&c.Silence, max(5*c.Heartbeat, time.Second))
	orElse(&c.Window, DefaultWindow)
	orElse(&c.MaxWindow, DefaultMaxWindow)
	orElse(&c.MaxMessageBytes, DefaultMaxMessageBytes)
	orElse(&c.QueueUrgent, DefaultQueueUrgent)
	orElse(&c.QueueBulky, DefaultQueueBulky)
	orElse(&c.QueueBytes, DefaultQueueBytes)
	orElse(&c.SnapshotRate, DefaultSnapshotRate)
	return c
}

func orElse[T int | int64 | time.Duration](v *T, preset T) {
	if *v <= 0 {
		*v = preset
	}
}

// timeouts are those that no flag sets.
type timeouts struct {
	dial      time.Duration // TCP and TLS
	handshake time.Duration // for the answer, and for each write of the handshake (J1)
	piece     time.Duration // for each piece of a snapshot, in both directions (E10)
	orphan    time.Duration // without a ping, before the accepted end gives a connection up
	leave     time.Duration // for what is queued to a member that was removed
	lonely    time.Duration // between two checks for a connection; after two without any, Config.Look is called
}

// maxGuests bounds the callers that the membership does not name yet.
const maxGuests = 16

// Transport is a raft.Transport over HTTP. It is also the http.Handler of all paths below /raft of
// the peer listener, which must have neither a ReadTimeout nor a WriteTimeout. All methods may be
// called from any goroutine.
type Transport struct {
	cfg     Config
	log     *slog.Logger
	times   timeouts
	notices notices
	pace    pace
	expel   sync.Once
	lender  *http.Server // of connections that this member has dialled
	dialTCP func(ctx context.Context, network, address string) (net.Conn, error)

	ctx     context.Context // done when Close begins
	cancel  context.CancelFunc
	running sync.WaitGroup // all goroutines, and the handlers in progress

	in   raft.Inbound // set by Start, before the peers and handlers that use them
	self identity

	mu    sync.RWMutex // protects all below
	open  bool         // between Start and Close, and not expelled
	peers map[uint64]*peer
}

// New returns a transport that answers 503 until Start.
func New(c Config) *Transport {
	c = c.withDefaults()
	t := &Transport{
		cfg: c, log: c.Logger, pace: pace{rate: c.SnapshotRate}, peers: map[uint64]*peer{},
		times: timeouts{dial: 5 * time.Second, handshake: 5 * time.Second, piece: 10 * time.Second, orphan: time.Minute,
			leave: time.Second, lonely: time.Second},
	}
	t.lender, t.dialTCP = t.newLender(), new(net.Dialer).DialContext
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// Start begins to receive from the other members, for in. The cluster's id is that of in's
// membership.
func (t *Transport) Start(in raft.Inbound) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.in = in
	t.self = identity{id: in.ID(), cluster: in.Membership().ClusterID, incarnation: in.Incarnation(in.ID()),
		protocol: protocolVersion, name: t.cfg.Name, version: t.cfg.Version, urls: t.cfg.URLs}
	t.open = t.ctx.Err() == nil
	if t.open && t.cfg.Look != nil {
		t.running.Go(t.seek)
	}
}

// Follow begins to call the members that are new in m, and leaves those that are no longer in it.
// While m has no members, the seeds take their place. A guest stays, unless m has it as removed.
func (t *Transport) Follow(m raft.Membership) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.open {
		return
	}
	wanted := t.wanted(m)
	for id, p := range t.peers {
		_, isGone := slices.BinarySearch(m.Removed, id)
		if _, stays := wanted[id]; !stays && (isGone || !p.isGuest()) {
			t.leave(p)
		}
	}
	for id, member := range wanted {
		if t.peers[id] == nil {
			t.newPeer(id)
		}
		t.peers[id].follow(member)
	}
}

// wanted returns the members to follow.
func (t *Transport) wanted(m raft.Membership) map[uint64]raft.Member {
	wanted := map[uint64]raft.Member{}
	for _, member := range m.Members {
		wanted[member.ID] = member
	}
	if len(m.Members) == 0 {
		for id, urls := range t.cfg.Seeds {
			if _, isGone := slices.BinarySearch(m.Removed, id); !isGone {
				wanted[id] = raft.Member{ID: id, PeerURLs: urls}
			}
		}
	}
	delete(wanted, t.self.id)
	return wanted
}

// leave ends a peer. t.mu must be held.
func (t *Transport) leave(p *peer) {
	delete(t.peers, p.id)
	p.leave()
}

// Send queues the messages, without waiting. It drops those that find no connection or no room.
func (t *Transport) Send(ms []raft.Message) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var last *peer
	for i := range ms {
		if ms[i].Kind == raft.InstallSnapshot {
			panic("peer: Send: a snapshot goes by SendSnapshot")
		}
		p := t.peers[ms[i].To]
		if last != nil && p != last {
			nudge(last.wake)
		}
		if p != nil && p.enqueue(ms[i]) {
			t.in.Dropped(p.id)
		}
		last = p
	}
	if last != nil {
		nudge(last.wake)
	}
}

// Close ends all connections without a bye, as the end of the process would, so that the others
// notice at once that this member is gone. It waits for calls of Inbound to return; so Step must
// not block by then, and none of them may call Close. Transfers of snapshots fail; Close waits for
// one whose file is slow to read.
func (t *Transport) Close() {
	t.mu.Lock()
	t.open = false
	t.mu.Unlock()
	t.cancel()
	t.lender.Close()
	t.running.Wait()
}

// enter reports whether a handler or a transfer may begin. It then has to call running.Done at its
// end.
func (t *Transport) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open {
		t.running.Add(1)
	}
	return t.open
}

// tick returns the unit in which silence is counted.
func (t *Transport) tick() time.Duration { return t.cfg.Silence / ticksOfSilence }

// handleRefusal logs a refusal once, and ends all calls when this member is the one that is removed
// (A12) or emptied (D10). It returns false for other errors.
func (t *Transport) handleRefusal(p *peer, address string, err error) bool {
	r, isRefusal := err.(*refused)
	if !isRefusal {
		return false
	}
	if r.other.id == raft.None {
		r.other.id = p.id
	}
	t.logRefusal("the call of another member was refused", r, address)
	if r.final() && r.by == theOther {
		t.expel.Do(func() {
			if r.refusal == removed {
				t.in.Expelled(p.id)
			} else {
				t.in.Emptied(p.id)
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			t.open = false
			for _, p := range t.peers {
				t.leave(p)
			}
		})
	}
	return true
}

// logRefusal logs once which member refuses which, why, and what to do.
func (t *Transport) logRefusal(message string, r *refused, address string) {
	line := fmt.Sprintf("%s %s %x", message, r.reason, r.other.id)
	if kept, due := t.notices.due(line); due {
		t.log.Warn(message, "refused", r.by, "reason", r.reason, "self", t.self, "other", r.other, "address", address,
			"cause", r.cause, "remedy", r.remedy, "timesBefore", kept)
	}
}

func hex(id uint64) string { return fmt.Sprintf("%x", id) }
