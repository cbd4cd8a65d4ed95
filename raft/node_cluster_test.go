package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// lan connects the nodes of one test. Messages between two members keep their order.
type lan struct {
	blind bool // members that connect do not compare incarnations

	mu    sync.Mutex // protects the rest
	ports map[uint64]*lanPort
	cut   map[[2]uint64]bool // from, to
}

// lanPort is one member's Transport.
type lanPort struct {
	lan     *lan
	id      uint64
	in      Inbound
	mu      sync.Mutex // protects the rest
	members []uint64
	lines   map[uint64]chan Message
	closed  chan struct{}
	work    sync.WaitGroup
	sent    map[MessageKind]int
}

func newLAN() *lan { return &lan{ports: map[uint64]*lanPort{}, cut: map[[2]uint64]bool{}} }

func (l *lan) port() *lanPort {
	return &lanPort{lan: l, lines: map[uint64]chan Message{}, closed: make(chan struct{}), sent: map[MessageKind]int{}}
}

// open reports whether messages go from one member to the other.
func (l *lan) open(from, to uint64) (*lanPort, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.ports[to]
	return p, p != nil && !l.cut[[2]uint64{from, to}]
}

// isolate cuts a member off in both directions, or connects it again.
func (l *lan) isolate(id uint64, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other := range l.ports {
		l.cut[[2]uint64{id, other}], l.cut[[2]uint64{other, id}] = cut, cut
	}
}

func (p *lanPort) Start(in Inbound) {
	p.id, p.in = in.ID(), in
	p.lan.mu.Lock()
	defer p.lan.mu.Unlock()
	p.lan.ports[p.id] = p
}

func (p *lanPort) Follow(m Membership) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members = nil
	for _, q := range m.Members {
		p.members = append(p.members, q.ID)
	}
}

func (p *lanPort) Send(ms []Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range ms {
		p.sent[m.Kind]++
		line := p.lines[m.To]
		if line == nil {
			line = make(chan Message, 10_000)
			p.lines[m.To] = line
			p.work.Go(func() { p.carry(line) })
		}
		select {
		case line <- m:
		default:
		}
	}
}

// count is how many messages of a kind were sent.
func (p *lanPort) count(kind MessageKind) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent[kind]
}

// carry brings messages to one member, by way of the codec.
func (p *lanPort) carry(line chan Message) {
	for {
		select {
		case m := <-line:
			to, open := p.lan.open(m.From, m.To)
			if !open {
				continue
			}
			if known := to.in.Incarnation(p.id); !p.lan.blind && known != 0 && known != p.in.Incarnation(p.id) {
				p.in.Emptied(m.To)
				continue
			}
			got, err := DecodeMessage(AppendMessage(nil, &m))
			if err != nil {
				panic(err)
			}
			to.in.Step(got)
		case <-p.closed:
			return
		}
	}
}

func (p *lanPort) SendSnapshot(m Message, body io.ReadCloser, size int64, done func(error)) {
	p.work.Go(func() {
		defer body.Close()
		to, open := p.lan.open(m.From, m.To)
		if !open {
			done(errors.New("no connection"))
			return
		}
		done(to.in.ReceiveSnapshot(m, SnapshotFile{Size: size}, body))
	})
}

func (p *lanPort) Peers() map[uint64]PeerStats { return nil }

// Close is what the others see when this member's process ends: their connections to it break.
func (p *lanPort) Close() {
	p.lan.mu.Lock()
	delete(p.lan.ports, p.id)
	others := make([]*lanPort, 0, len(p.lan.ports))
	for _, o := range p.lan.ports {
		others = append(others, o)
	}
	p.lan.mu.Unlock()
	for _, o := range others {
		o.in.Lost(p.id)
	}
	close(p.closed)
	p.work.Wait()
}

// inBubble runs a test beside others, in a bubble whose clock moves only when every goroutine waits
// for another or for time. A machine may be slow, or a disk: that takes no time in there.
func inBubble(t *testing.T, test func(*testing.T)) {
	t.Parallel()
	synctest.Test(t, test)
}

// cluster is a few nodes on one lan.
type cluster struct {
	t     *testing.T
	lan   *lan
	nodes map[uint64]*Node
	sms   map[uint64]*register
	dirs  map[uint64]string
	disks map[uint64]*hangingFS
	base  Config
}

func newCluster(t *testing.T, n int, tweak func(*Config)) *cluster {
	c := &cluster{t: t, lan: newLAN(), nodes: map[uint64]*Node{}, sms: map[uint64]*register{},
		dirs: map[uint64]string{}, disks: map[uint64]*hangingFS{}}
	c.base = nodeConfig("")
	c.base.Heartbeat, c.base.Election = 20*time.Millisecond, 200*time.Millisecond
	c.base.Bootstrap = Membership{ClusterID: 77}
	for id := uint64(1); id <= uint64(n); id++ {
		c.base.Bootstrap.Members = append(c.base.Bootstrap.Members,
			Member{ID: id, PeerURLs: []string{fmt.Sprintf("http://n%d", id)}})
	}
	if tweak != nil {
		tweak(&c.base)
	}
	for id := uint64(1); id <= uint64(n); id++ {
		c.start(id, false)
	}
	return c
}

// start starts a member on the data that it had.
func (c *cluster) start(id uint64, join bool) *Node {
	c.t.Helper()
	if c.dirs[id] == "" {
		c.dirs[id] = c.t.TempDir()
	}
	c.disks[id] = &hangingFS{}
	config := c.base
	config.fs = c.disks[id]
	config.Dir, config.ID, config.Join, config.Transport = c.dirs[id], id, join, c.lan.port()
	config.Self = Member{Name: fmt.Sprintf("n%d", id), Version: "2.4.0", PeerURLs: c.base.Self.PeerURLs,
		ClientURLs: []string{fmt.Sprintf("http://c%d", id)}}
	sm := &register{}
	n, err := Open(config, sm)
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[id], c.sms[id] = n, sm
	c.t.Cleanup(func() { n.Stop(cancelled) })
	return n
}

// cancelled ends a Stop without handing over.
var cancelled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// kill stops a member as a kill would, but for what the disk does.
func (c *cluster) kill(id uint64) {
	c.t.Helper()
	if err := c.nodes[id].Stop(cancelled); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) propose(id uint64, cmd string) {
	c.t.Helper()
	if _, err := c.nodes[id].Propose(context.Background(), []byte(cmd)); err != nil {
		c.t.Fatalf("propose %q at %d: %v", cmd, id, err)
	}
}

// await waits until a condition holds.
func (c *cluster) await(what string, so func() bool) {
	c.t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(time.Minute); !so(); <-look.C {
		if time.Now().After(end) {
			c.t.Fatalf("in a minute not so: %s", what)
		}
	}
}

func (c *cluster) leader() uint64 {
	c.t.Helper()
	var id uint64
	c.await("a leader that leads", func() bool {
		for self, n := range c.nodes {
			if n.Leader() == self && !isClosed(n.done) {
				id = self
			}
		}
		return id != None
	})
	return id
}

func (c *cluster) follower() uint64 {
	leader := c.leader()
	for id, n := range c.nodes {
		if id != leader && !isClosed(n.done) {
			return id
		}
	}
	return None
}

// equal waits until all that run have the same commands.
func (c *cluster) equal() {
	c.t.Helper()
	c.await("all have applied the same", func() bool {
		want := c.sms[c.leader()].list()
		for id, sm := range c.sms {
			if !isClosed(c.nodes[id].done) && !slices.Equal(sm.list(), want) {
				return false
			}
		}
		return true
	})
}

func TestAnyMemberTakesProposalsAndReads(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.leader()
		for id := range c.nodes {
			cmd := fmt.Sprintf("at %d", id)
			c.propose(id, cmd)
			for other, n := range c.nodes {
				if err := n.Read(context.Background()); err != nil {
					t.Fatal(err)
				}
				if !slices.Contains(c.sms[other].list(), cmd) {
					t.Errorf("a read at %d does not see %q", other, cmd)
				}
			}
		}
		c.equal()
	})
}

// pitfall G1, G2, G3: nothing is lost, doubled or reported as unknown when leaders come and go,
// though no client asks twice.
func TestProposalsOutliveTheirLeader(t *testing.T) {
	for _, how := range []string{"handing over", "killed"} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c := newCluster(t, 3, nil)
				leader := c.leader()
				var work sync.WaitGroup
				var count, failed atomic.Int64
				stop := make(chan struct{})
				for id, n := range c.nodes {
					if id == leader {
						continue
					}
					for w := range 8 {
						work.Go(func() {
							for i := 0; !isClosed(stop); i++ {
								if _, err := n.Propose(context.Background(), fmt.Appendf(nil, "%d/%d/%d", id, w,
									i)); err != nil {
									t.Error(err)
									failed.Add(1)
									return
								}
								count.Add(1)
								<-time.After(time.Millisecond) // or the clock would stand still
							}
						})
					}
				}
				c.await("proposals flow", func() bool { return count.Load() > 100 })

				if how == "killed" {
					c.kill(leader)
				} else if err := c.nodes[leader].Stop(context.Background()); err != nil {
					t.Fatal(err)
				}
				before := count.Load()
				c.await("proposals flow again", func() bool { return count.Load() > before+100 || failed.Load() > 0 })
				close(stop)
				work.Wait()

				c.equal()
				seen := map[string]bool{}
				for _, cmd := range c.sms[c.leader()].list() {
					if seen[cmd] {
						t.Errorf("%s is applied twice", cmd)
					}
					seen[cmd] = true
				}
				if int64(len(seen)) < count.Load() {
					t.Errorf("%d commands, and %d were acknowledged", len(seen), count.Load())
				}
			})
		})
	}
}

// A leader that hands over takes no proposal for as long as an election timeout. What a follower
// holds meanwhile must not be sent again in every turn of its loop: there are as many of them as it
// has messages and clients, and each answer to one proposal is a turn for the others.
func TestWhatALeaderRefusesForNowIsTriedAgainOnceATick(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader, follower := c.leader(), c.follower()
		c.propose(follower, "before")
		port := c.nodes[follower].Transport.(*lanPort)
		before := port.count(Propose)
		c.nodes[leader].do(func(core *core) { core.lead.target = 99 }) // which never takes over
		taken := make(chan error)
		go func() {
			_, err := c.nodes[follower].Propose(context.Background(), []byte("taken when the handing over is given up"))
			taken <- err
		}()

		ticks := 0
		tick := time.NewTicker(c.base.Heartbeat / ticksPerHeartbeat)
		for waiting := true; waiting; {
			select {
			case err := <-taken:
				if err != nil {
					t.Error(err)
				}
				waiting = false
			case <-tick.C:
				ticks++
				for range 10 { // turns of the loop
					if err := c.nodes[follower].Read(context.Background()); err != nil {
						t.Error(err)
					}
				}
			}
		}

		if sent := port.count(Propose) - before; sent < 2 || sent > ticks+2 {
			t.Errorf("in %d ticks it was sent %d times", ticks, sent)
		}
		c.equal()
	})
}

func TestAnIsolatedLeaderAcknowledgesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(c *Config) { c.RequestTimeout = time.Second })
		leader := c.leader()
		c.propose(leader, "before")
		c.lan.isolate(leader, true)

		_, err := c.nodes[leader].Propose(context.Background(), []byte("lost"))
		read := c.nodes[leader].Read(context.Background())

		if !errors.Is(err, ErrUnknown) || read == nil {
			t.Errorf("cut off, a proposal ends with %v and a read with %v", err, read)
		}
		c.await("another leads", func() bool { return c.nodes[leader].Leader() != leader })
		c.lan.isolate(leader, false)
		c.propose(leader, "after")
		c.equal()
		if slices.Contains(c.sms[leader].list(), "lost") {
			t.Error("a proposal that nobody else had was applied")
		}
	})
}

// lagging makes a follower miss many entries while it is down, and returns it.
func lagging(t *testing.T, c *cluster, entries int) uint64 {
	c.leader()
	away := c.follower()
	c.propose(away, "here")
	c.kill(away)
	leader := c.leader()
	var work sync.WaitGroup
	for w := range 16 {
		work.Go(func() {
			for i := range entries / 16 {
				if _, err := c.nodes[leader].Propose(context.Background(), fmt.Appendf(nil, "%d/%d %s", w, i,
					strings.Repeat("x", 1000))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	return away
}

func TestAFollowerThatLagsIsFedFromTheDisk(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(c *Config) { c.SegmentBytes = 1 << 20 })
		away := lagging(t, c, 3000)
		var small uint64
		c.nodes[c.leader()].do(func(core *core) { // as after a long time: nothing is in memory
			core.log.trim(min(core.applying, core.log.durable) - 1)
			small = core.log.base
		})

		c.start(away, false)

		c.equal()
		if small < 2500 {
			t.Errorf("%d entries were on disk only", small)
		}
		if n := c.nodes[away].stats.Received.Load(); n != 0 {
			t.Errorf("%d snapshots came", n)
		}
	})
}

func TestAFollowerThatLagsFarGetsASnapshot(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(c *Config) { c.SegmentBytes, c.SnapshotCount = 1<<18, 100 })
		away := lagging(t, c, 3000)
		leader := c.nodes[c.leader()]
		c.await("the log is cut", func() bool { return leader.storage.log.First() > 1000 })
		c.nodes[c.leader()].do(func(core *core) { // as after a long time: nothing is in memory
			core.log.trim(min(core.applying, core.log.durable))
			core.compact(core.snapshot, leader.storage.log.First())
		})

		c.start(away, false)

		c.equal()
		if c.nodes[away].stats.Received.Load() == 0 {
			t.Error("it came without a snapshot")
		}
		c.kill(away) // and what it received is there after a restart
		c.propose(c.leader(), "more")
		c.start(away, false)
		c.equal()
	})
}

// pitfall B15
func TestADamagedLogIsNotSentASnapshotGoesInstead(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(c *Config) { c.SegmentBytes = 1 << 20 })
		away := lagging(t, c, 4000)
		leader := c.leader()
		segments, err := filepath.Glob(filepath.Join(c.dirs[leader], "member", "wal", "*.wal"))
		if err != nil || len(segments) < 3 {
			t.Fatalf("segments %v, %v", segments, err)
		}
		f, err := os.OpenFile(segments[1], os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte("!"), 1<<19); err != nil {
			t.Fatal(err)
		}
		c.nodes[leader].do(func(core *core) { core.log.trim(min(core.applying, core.log.durable)) })

		c.start(away, false)

		c.equal()
		if c.nodes[leader].stats.Unreadable.Load() == 0 || c.nodes[away].stats.Received.Load() == 0 {
			t.Error("nothing was unreadable, or no snapshot came")
		}
	})
}

// A snapshot that the disk has changed is refused by each member that gets it. The next one is
// taken.
func TestADamagedSnapshotIsNotSentForEver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(c *Config) { c.SegmentBytes, c.SnapshotCount = 1<<18, 100 })
		away := lagging(t, c, 3000)
		leader := c.nodes[c.leader()]
		c.await("the log is cut",
			func() bool { return leader.storage.log.First() > 1000 && !leader.snapshots.writing.Load() })
		var newest uint64
		leader.do(func(core *core) { // as after a long time: nothing is in memory
			core.log.trim(min(core.applying, core.log.durable))
			core.compact(core.snapshot, leader.storage.log.First())
			newest = core.snapshot.Index
		})
		r, err := leader.storage.snaps.OpenIndex(newest)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(r.Path(), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("!"), r.Size()/2); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Close(), r.Close()); err != nil {
			t.Fatal(err)
		}

		c.start(away, false)

		c.equal()
	})
}

func TestAMemberJoinsLearnsAndVotes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		c.leader()
		for id := uint64(2); id <= 3; id++ {
			c.propose(1, fmt.Sprintf("before %d", id))
			if _, err := c.nodes[1].Change(context.Background(), Change{Kind: ChangeAdd, Member: Member{ID: id,
				PeerURLs: []string{fmt.Sprintf("http://n%d", id)}, Learner: true}}); err != nil {
				t.Fatal(err)
			}
			c.propose(1, "while it is not there") // pitfall D7: nobody waits for it
			<-c.start(id, true).Ready()
			if m, _ := c.nodes[id].Membership().Find(id); m.Learner || m.Name == "" {
				t.Errorf("it is ready, and its vote and name are %v, %q", !m.Learner, m.Name)
			}
		}
		c.equal()
		c.kill(1)
		c.propose(c.follower(), "without the first")
		c.equal()
	})
}

func TestAMemberThatTakesAnothersURLEndsWithTheReason(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		thief := c.follower()
		c.propose(thief, "x")
		c.kill(thief)
		c.base.Self.PeerURLs = []string{fmt.Sprintf("http://n%d", c.leader())}

		n := c.start(thief, false)

		<-n.Failed()
		if err := n.Err(); err == nil || !strings.Contains(err.Error(),
			"another member has one of the peer URLs http://n") {
			t.Errorf("it ends with %v", err)
		}
	})
}

func TestARemovedMemberEndsWithTheReason(t *testing.T) {
	for _, who := range []string{"a follower", "the leader"} {
		t.Run(who, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c := newCluster(t, 3, nil)
				gone := c.leader()
				other := c.follower()
				if who == "a follower" {
					gone, other = other, gone
				}
				if _, err := c.nodes[other].Change(context.Background(), Change{Kind: ChangeRemove,
					Member: Member{ID: gone}}); err != nil {
					t.Fatal(err)
				}
				if who == "a follower" { // its transport would be told by the others'
					c.nodes[gone].Expelled(other)
				}
				<-c.nodes[gone].Failed()
				if err := c.nodes[gone].Err(); !errors.Is(err, ErrRemoved) {
					t.Errorf("it ends with %v", err)
				}
				c.propose(other, "without it")
				// pitfall D9
				if _, err := c.nodes[other].Change(context.Background(), Change{Kind: ChangeAdd,
					Member: Member{ID: gone}}); err != ErrMemberRemoved {
					t.Errorf("to add it again ends with %v", err)
				}
			})
		})
	}
}

// It sends no more messages, and without this Stop would wait for another leader until its context
// ends.
func TestALeaderThatHasFailedHandsNothingOver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader, follower := c.leader(), c.follower()
		c.propose(leader, "before")
		stopped := make(chan error, 1)

		c.nodes[leader].Expelled(follower)
		go func() { stopped <- c.nodes[leader].Stop(context.Background()) }()

		select {
		case err := <-stopped:
			if !errors.Is(err, ErrRemoved) {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("it waits for another leader")
		}
	})
}

// pitfall D10: the whole cluster is down, and one disk is emptied. A third member does not have
// everything that is committed: together with the emptied one it would be a majority that has
// forgotten some. When members that connect do not compare incarnations, the log still ends the
// emptied one when it gets there.
func TestAnEmptiedMemberEndsBeforeAnythingIsLost(t *testing.T) {
	for name, blind := range map[string]bool{"by what the others know": false, "by its own log": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c := newCluster(t, 3, nil)
				c.lan.blind = blind
				c.await("all have told of their disks", func() bool {
					for _, n := range c.nodes {
						for id := range c.nodes {
							if m, _ := n.Membership().Find(id); m.Incarnation == 0 {
								return false
							}
						}
					}
					return true
				})
				emptied := c.follower()
				var away uint64
				for id := range c.nodes {
					if id != emptied && id != c.leader() {
						away = id
					}
				}
				if !blind {
					c.kill(away)
				}
				c.propose(emptied, "acknowledged")
				c.equal()
				for id, n := range c.nodes {
					if !isClosed(n.done) {
						c.kill(id)
					}
				}
				c.dirs[emptied] = ""

				n := c.start(emptied, false)
				c.start(away, false)
				startRest := func() {
					for id, n := range c.nodes {
						if id != emptied && isClosed(n.done) {
							c.start(id, false)
						}
					}
				}
				if blind {
					startRest()
				}
				<-n.Failed()
				if err := n.Err(); !errors.Is(err, ErrMemberEmptied) {
					t.Fatalf("it ends with %v", err)
				}
				startRest()

				c.propose(away, "without it")
				c.equal()
				if got := c.sms[away].list(); !slices.Equal(got, []string{"acknowledged", "without it"}) {
					t.Errorf("the others have %q", got)
				}
			})
		})
	}
}

func TestAChangeThatWouldLoseTheQuorumIsRefusedAtAnyMember(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.propose(c.leader(), "x")
		down := c.follower()
		c.kill(down)
		c.await("the leader misses it", func() bool {
			alive := true
			c.nodes[c.leader()].do(func(core *core) { alive = core.answers(down) })
			return !alive
		})
		var quorum *QuorumError
		for id, n := range c.nodes {
			if id == down {
				continue
			}
			_, err := n.Change(context.Background(), Change{Kind: ChangeRemove, Member: Member{ID: c.leader()}})
			if !errors.As(err, &quorum) || !strings.Contains(quorum.Error(),
				"would leave 2 voters, of which 1 answer; 2 are needed") {
				t.Errorf("at %d: %v", id, err)
			}
			if _, err := n.Change(context.Background(), Change{Kind: ChangeUpdate,
				Member: Member{ID: 99}}); err != ErrMemberUnknown {
				t.Errorf("at %d: %v", id, err)
			}
		}
		if _, err := c.nodes[c.follower()].Change(context.Background(), Change{Kind: ChangeRemove,
			Member: Member{ID: down}}); err != nil {
			t.Errorf("to remove the one that is down: %v", err)
		}
	})
}

// odd is a register that takes one command for another.
type odd struct {
	*register
	wrong string
	sum   uint64
}

func (o *odd) Apply(index uint64, now time.Time, cmd []byte) any {
	for _, b := range append([]byte(strings.ReplaceAll(string(cmd), o.wrong, "another")), byte(index)) {
		o.sum = o.sum*31 + uint64(b)
	}
	return o.register.Apply(index, now, cmd)
}

func (o *odd) Digest() uint64 { return o.sum }

// pitfall I8
func TestAMemberWhoseStateDiffersStops(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 0, func(c *Config) {
			for id := uint64(1); id <= 3; id++ {
				c.Bootstrap.Members = append(c.Bootstrap.Members, Member{ID: id})
			}
		})
		for id := uint64(1); id <= 3; id++ {
			config := c.base
			config.Dir, config.ID, config.Transport = t.TempDir(), id, c.lan.port()
			config.Self.Name = fmt.Sprint("n", id)
			sm := &odd{register: &register{}, wrong: "never"}
			if id == 2 {
				sm.wrong = "one"
			}
			n, err := Open(config, sm)
			if err != nil {
				t.Fatal(err)
			}
			c.nodes[id] = n
			t.Cleanup(func() { n.Stop(cancelled) })
		}
		healthy := uint64(1)
		var work sync.WaitGroup
		for w := range 64 {
			work.Go(func() {
				for i := range DigestEvery / 64 {
					cmd := fmt.Sprintf("%d/%d", w, i)
					if w == 1 && i == 1 {
						cmd = "one"
					}
					if _, err := c.nodes[healthy].Propose(context.Background(), []byte(cmd)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		work.Wait()

		for i := 0; !isClosed(c.nodes[2].Failed()) && i < 200; i++ {
			c.propose(healthy, "more")
		}
		<-c.nodes[2].Failed()

		if err := c.nodes[2].Err(); !errors.Is(err, ErrDiverged) {
			t.Errorf("it ends with %v", err)
		}
		c.propose(healthy, "goes on")
		c.await("the others have compared", func() bool {
			return c.nodes[1].stats.Digests.Load() > 0 && c.nodes[3].stats.Digests.Load() > 0
		})
	})
}
