package peer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"etcd2/raft"
)

// The wiring of main.
var _ raft.Inbound = (*raft.Node)(nil)

const testCluster = 0xc1

// patience bounds the wait for something that must come.
const patience = time.Minute

// journal is everything that happened at a member, in order: log lines, and calls of Inbound.
type journal struct {
	mu    sync.Mutex
	lines []string
	grown chan struct{} // closed and replaced with each line
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	if j.grown != nil {
		close(j.grown)
		j.grown = nil
	}
}

// Write records a log line.
func (j *journal) Write(b []byte) (int, error) {
	j.add(strings.TrimSpace(string(b)))
	return len(b), nil
}

// count is how many lines have all the words; the channel is closed when there are more lines.
func (j *journal) count(words ...string) (int, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.grown == nil {
		j.grown = make(chan struct{})
	}
	n := 0
	for _, line := range j.lines {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			n++
		}
	}
	return n, j.grown
}

// await waits until n lines have all the words.
func (j *journal) await(t testing.TB, n int, words ...string) {
	t.Helper()
	late := time.After(patience)
	for {
		found, grown := j.count(words...)
		if found >= n {
			return
		}
		select {
		case <-grown:
		case <-late:
			t.Fatalf("%d lines with %q instead of %d in\n%s", found, words, n, strings.Join(j.lines, "\n"))
		}
	}
}

// want checks that exactly n lines have all the words by now.
func (j *journal) want(t testing.TB, n int, words ...string) {
	t.Helper()
	if found, _ := j.count(words...); found != n {
		t.Errorf("%d lines with %q instead of %d in\n%s", found, words, n, strings.Join(j.lines, "\n"))
	}
}

// fake is the node of a member.
type fake struct {
	*journal
	id      uint64
	members atomic.Pointer[raft.Membership]
	disks   sync.Map // id → incarnation: its own, and the others' that it knows
	steps   chan raft.Message
	// receive takes a snapshot; body is the whole file, including a part that was kept.
	receive func(m raft.Message, body io.Reader, size int64) error
	kept    keeper
}

func (f *fake) ID() uint64                  { return f.id }
func (f *fake) Membership() raft.Membership { return *f.members.Load() }
func (f *fake) Step(m raft.Message)         { f.steps <- m }
func (f *fake) Lost(id uint64)              { f.add(fmt.Sprintf("Lost(%x)", id)) }
func (f *fake) Dropped(id uint64)           { f.add(fmt.Sprintf("Dropped(%x)", id)) }
func (f *fake) Emptied(by uint64)           { f.add(fmt.Sprintf("Emptied(%x)", by)) }
func (f *fake) Incarnation(id uint64) uint64 {
	v, _ := f.disks.LoadOrStore(id, uint64(0))
	return v.(uint64)
}
func (f *fake) Expelled(by uint64)     { f.add(fmt.Sprintf("Expelled(%x)", by)) }
func (f *fake) Kept(name string) int64 { return f.kept.size(name) }
func (f *fake) ReceiveSnapshot(m raft.Message, file raft.SnapshotFile, body io.Reader) error {
	return f.receive(m, f.kept.resume(file, body), file.Size)
}

// keeper keeps the bytes that have come of the last file with a name.
type keeper struct {
	mu   sync.Mutex
	name string
	b    bytes.Buffer
}

func (k *keeper) size(name string) int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if name != k.name {
		return 0
	}
	return int64(k.b.Len())
}

// resume returns a reader of the whole file: the kept part, then body.
func (k *keeper) resume(f raft.SnapshotFile, body io.Reader) io.Reader {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f.Name == "" {
		return body
	}
	if k.name != f.Name || f.From == 0 {
		k.name = f.Name
		k.b.Reset()
	}
	before := bytes.NewReader(bytes.Clone(k.b.Bytes()[:f.From]))
	k.b.Truncate(int(f.From))
	return io.MultiReader(before, io.TeeReader(body, k))
}

// Write keeps the bytes that have come.
func (k *keeper) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.b.Write(b)
}

// member is a transport with its listener and a fake node.
type member struct {
	*Transport
	*fake
	server *httptest.Server
}

// newMember makes a member that is not started.
func newMember(t testing.TB, id uint64, change ...func(*Config)) *member {
	server := &httptest.Server{Listener: listen(t), Config: &http.Server{}}
	m := &member{server: server, fake: &fake{journal: &journal{}, id: id, steps: make(chan raft.Message, 1<<16)}}
	m.members.Store(&raft.Membership{ClusterID: testCluster})
	c := Config{
		Name: fmt.Sprintf("n%x", id), Version: "2.4.0", URLs: []string{"http://" + server.Listener.Addr().String()},
		Logger: slog.New(slog.NewTextHandler(m.journal, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&c)
	}
	m.Transport = New(c)
	if isVirtual() {
		m.Transport.dialTCP = dialMemory
	}
	server.Config.Handler = m.Transport
	server.Start()
	t.Cleanup(func() {
		m.Transport.Close()
		m.server.Close()
	})
	return m
}

func (m *member) url() string { return m.server.URL }

// dial makes a connection to the member.
func (m *member) dial() (net.Conn, error) {
	return m.Transport.dialTCP(context.Background(), "tcp", m.server.Listener.Addr().String())
}

// start starts the transport of a member that knows the others.
func (m *member) start(others ...raft.Member) {
	m.Transport.Start(m.fake)
	m.become(others, nil)
}

// become gives the member a membership.
func (m *member) become(others []raft.Member, gone []uint64) {
	c := raft.Membership{ClusterID: m.members.Load().ClusterID, Removed: gone}
	if len(others) > 0 {
		c.Members = append([]raft.Member{{ID: m.id, PeerURLs: []string{m.url()}}}, others...)
	}
	m.members.Store(&c)
	m.Follow(c)
}

func at(id uint64, urls ...string) raft.Member { return raft.Member{ID: id, PeerURLs: urls} }

// pair makes two members that are connected in both directions.
func pair(t testing.TB, change ...func(*Config)) (a, b *member) {
	a, b = newMember(t, 0xa, change...), newMember(t, 0xb, change...)
	a.start(at(b.id, b.url()))
	b.start(at(a.id, a.url()))
	connected(t, a, b)
	return a, b
}

func connected(t testing.TB, ms ...*member) {
	t.Helper()
	for _, m := range ms {
		m.await(t, 1, "connected to a member")
	}
}

// get returns the next message that was received.
func (m *member) get(t testing.TB) raft.Message {
	t.Helper()
	select {
	case got := <-m.steps:
		return got
	case <-time.After(patience):
		t.Fatal("no message came")
		return raft.Message{}
	}
}

func heartbeat(from, to *member, round uint64) raft.Message {
	return raft.Message{Kind: raft.Heartbeat, From: from.id, To: to.id, Term: 1, Round: round}
}

func appendOf(from, to *member, index uint64, size int) raft.Message {
	e := raft.Entry{Index: index + 1, Term: 1, Kind: raft.EntryCommand, Data: make([]byte, size)}
	return raft.Message{Kind: raft.Append, From: from.id, To: to.id, Term: 1, Index: index, LogTerm: 1,
		Entries: []raft.Entry{e}}
}

// Connections.

func TestMessagesArriveAtTheMemberTheyAreFor(t *testing.T) {
	a, b := pair(t)

	a.Send([]raft.Message{heartbeat(a, b, 7), appendOf(a, b, 4, 10)})
	b.Send([]raft.Message{heartbeat(b, a, 8)})

	first, second := b.get(t), b.get(t)
	if first.Round != 7 || second.Index != 4 || len(second.Entries) != 1 || len(second.Entries[0].Data) != 10 {
		t.Errorf("got %v, %v", first, second)
	}
	if got := a.get(t); got.Round != 8 || got.From != b.id {
		t.Errorf("got %v", got)
	}
}

func TestLanesKeepTheirOrder(t *testing.T) {
	a, b := pair(t)
	const n = 1000
	for i := range uint64(n) {
		a.Send([]raft.Message{appendOf(a, b, i, int(i*37%200_000)), heartbeat(a, b, i)})
		if i%100 == 99 { // no more than the queue takes
			a.awaitSent(t, 2*(i+1))
		}
	}

	var bulky, urgent uint64
	for range 2 * n {
		switch m := b.get(t); {
		case m.Kind == raft.Append && m.Index == bulky && len(m.Entries[0].Data) == int(bulky*37%200_000):
			bulky++
		case m.Kind == raft.Heartbeat && m.Round == urgent:
			urgent++
		default:
			t.Fatalf("%v after %d Appends and %d heartbeats", m, bulky, urgent)
		}
	}
}

// awaitSent waits until n messages were written to the only other member.
func (m *member) awaitSent(t testing.TB, n uint64) {
	t.Helper()
	m.awaitPeer(t, func(s raft.PeerStats) bool { return s.Sent >= n })
}

func (m *member) awaitPeer(t testing.TB, done func(raft.PeerStats) bool) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(time.Millisecond) { // figures can't be awaited otherwise
		for _, s := range m.Peers() {
			if done(s) {
				return
			}
			if time.Since(begun) > patience {
				t.Fatalf("it does not come to it: %+v", s)
			}
		}
	}
}

func TestAMemberThatIsNotKnownIsLetInAndCalledBack(t *testing.T) { // pitfall D8
	synctest.Test(t, func(t *testing.T) {
		a, b := newMember(t, 0xa), newMember(t, 0xb)
		b.start() // knows nobody
		a.start(at(b.id, b.url()))
		connected(t, a, b)

		a.Send([]raft.Message{heartbeat(a, b, 1)})
		b.get(t)
		b.Send([]raft.Message{heartbeat(b, a, 2)})

		if got := a.get(t); got.Round != 2 {
			t.Errorf("got %v", got)
		}
	})
}

func TestAGuestThatCallsNoMoreIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newMember(t, 0xa), newMember(t, 0xb)
		b.start()
		a.start(at(b.id, b.url()))
		connected(t, a, b)

		a.Close()

		b.await(t, 1, "the connection of a member has ended")
		b.awaitNoPeer(t)
	})
}

func TestSeedsCountUntilTheLogNamesMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMember(t, 0xb)
		a := newMember(t, 0xa, func(c *Config) { c.Seeds = map[uint64][]string{b.id: {b.url()}} })
		b.start()
		a.start()
		connected(t, a)

		a.become([]raft.Member{at(0xc, "http://127.0.0.1:1")}, []uint64{b.id})

		if peers := a.Peers(); len(peers) != 1 || peers[0xc].Since.IsZero() {
			t.Errorf("peers are %v", peers)
		}
	})
}

func TestAMemberIsCalledAgainWhenItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMember(t, 0xb)
		k := newLink(t, b, 0)
		a := newMember(t, 0xa)
		b.start()
		a.start(at(b.id, k.url()))
		connected(t, a)

		for i := range 5 {
			k.cut()
			a.await(t, i+2, "connected to a member")
		}
		a.Send([]raft.Message{heartbeat(a, b, 1)})

		b.get(t)
	})
}

func TestSeveralURLsAreTriedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMember(t, 0xb)
		k := newLink(t, b, 0)
		a := newMember(t, 0xa)
		b.start()
		a.start(at(b.id, "http://127.0.0.1:1", "ftp://127.0.0.1:1", k.url()))
		connected(t, a)
		failed, _ := a.count("cannot connect")
		k.cut()
		a.await(t, 2, "connected to a member")

		a.want(t, failed, "cannot connect") // the one that worked last is the first
		a.want(t, 2, "connected to a member", k.url())
		if s := a.Peers()[b.id]; !s.Connected {
			t.Errorf("stats are %+v", s)
		}
	})
}

func TestAMemberThatCannotBeReachedIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newMember(t, 0xa)
		a.start(at(0xb, "http://127.0.0.1:1"))

		a.await(t, 5, "cannot connect")

		a.want(t, 1, "level=WARN", "cannot reach a member", "127.0.0.1:1")
		a.want(t, 1, "level=WARN")
		if s := a.Peers()[0xb]; s.Connected {
			t.Errorf("stats are %+v", s)
		}
	})
}

func TestFollowingANewURLLeavesTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMember(t, 0xb)
		before, after := newLink(t, b, 0), newLink(t, b, 0)
		a := newMember(t, 0xa)
		b.start()
		a.start(at(b.id, before.url()))
		connected(t, a)

		a.become([]raft.Member{at(b.id, after.url())}, nil)

		a.await(t, 1, "connected to a member", after.url())
		a.await(t, 1, "Dropped(b)") // messages on their way over the old one may be lost
		b.want(t, 0, "Lost")
		a.want(t, 0, "Lost")
	})
}

func TestARemovedMemberGetsWhatWasQueuedForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)

		const n = 100
		for i := range uint64(n) {
			a.Send([]raft.Message{appendOf(a, b, i, 1000)})
		}
		a.become([]raft.Member{at(0xc, "http://127.0.0.1:1")}, []uint64{b.id})

		for i := range uint64(n) {
			if m := b.get(t); m.Index != i {
				t.Fatalf("%v after %d", m, i)
			}
		}
		b.await(t, 1, "closed there: "+errLeft.Error())
		b.await(t, 1, "Expelled(a)") // it was cut off, has called again, and heard why
		b.want(t, 1, "Expelled")
		a.want(t, 0, "Lost")
	})
}

// Ends.

func TestADeadProcessIsSeenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newMember(t, 0xa), newMember(t, 0xb)
		k := newLink(t, b, 0)
		b.Transport.cfg.URLs = []string{k.url()} // no other way leads there
		b.start()
		a.start(at(b.id, k.url(), "https://127.0.0.1:1")) // so over plain http b lends it no connection
		connected(t, a)
		a.Send([]raft.Message{heartbeat(a, b, 1)})
		b.get(t)

		k.close()

		a.await(t, 1, "Lost(b)") // both ends see the break
		b.await(t, 1, "Lost(a)")
		a.await(t, 2, "cannot connect")
		a.want(t, 1, "Lost(b)")
		a.want(t, 1, "lost the connection", "level=WARN")
	})
}

// The member that has made a proposal waits for it, and sends it again only after a while.
func TestAProposalWaitsForTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newMember(t, 0xa), newMember(t, 0xb)
		b.start()
		a.start(at(b.id, b.url()), at(0xc, "http://127.0.0.1:1"))
		propose := raft.Message{Kind: raft.Propose, Term: 1, From: a.id, To: b.id,
			Entries: []raft.Entry{{ID: 5, Data: []byte("x")}}}
		toNobody := propose
		toNobody.To = 0xc

		a.Send([]raft.Message{propose, toNobody})

		if m := b.get(t); m.Kind != raft.Propose || m.Entries[0].ID != 5 {
			t.Errorf("%v came", m)
		}
		a.await(t, 1, "Dropped(c)")
		if a.Peers()[0xc].Dropped == 0 {
			t.Error("what is dropped is not counted")
		}
	})
}

func TestAMemberThatStopsIsSeenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)

		b.Close()

		a.await(t, 1, "Lost(b)")
		b.want(t, 0, "Lost")
	})
}

func TestASilentConnectionIsClosedAndNobodyIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMember(t, 0xb)
		k := newLink(t, b, 0)
		a := newMember(t, 0xa, func(c *Config) { c.Silence = 250 * time.Millisecond })
		b.start()
		a.start(at(b.id, k.url()))
		connected(t, a)

		k.frozen.Store(true)
		a.Send([]raft.Message{heartbeat(a, b, 1)})

		a.await(t, 1, "lost the connection", errSilent.Error())
		a.await(t, 1, "Dropped(b)")
		a.want(t, 0, "Lost")
		if s := a.Peers()[b.id]; s.Connected {
			t.Errorf("still connected: %+v", s)
		}
	})
}

func TestAnIdleConnectionIsPinged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick := func(c *Config) { c.Silence = 300 * time.Millisecond }
		b := newMember(t, 0xb, quick)
		k := newLink(t, b, 0)
		a := newMember(t, 0xa, quick)
		b.Transport.times.orphan = 900 * time.Millisecond
		b.start()
		a.start(at(b.id, k.url()))
		connected(t, a)

		a.awaitPeer(t, func(s raft.PeerStats) bool { return s.SentBytes >= 4*frameHeader }) // four pings
		a.want(t, 1, "connected to a member")

		k.frozen.Store(true) // nothing was due, and it is noticed all the same, at both ends
		a.await(t, 1, "lost the connection", errSilent.Error())
		b.await(t, 1, "connection of a member has ended", errSilent.Error())
		a.want(t, 0, "Lost")
		b.want(t, 0, "Lost(a)")
	})
}

func TestASlowNodeHoldsTheSenderUpAndIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick := func(c *Config) { c.Silence, c.MaxWindow = 400*time.Millisecond, DefaultWindow }
		a, b := newMember(t, 0xa, quick), newMember(t, 0xb, quick)
		b.steps = make(chan raft.Message)
		b.start()
		a.start(at(b.id, b.url()))
		connected(t, a)
		for i := range uint64(4) {
			a.Send([]raft.Message{appendOf(a, b, i, 1<<20)})
		}

		a.awaitPeer(t, func(s raft.PeerStats) bool { return s.SentBytes > 100_000 })
		time.Sleep(1200 * time.Millisecond) // three times Silence

		if s := a.Peers()[b.id]; s.SentBytes > 1<<20+DefaultWindow+2*maxFrame {
			t.Errorf("%d bytes were sent to a node that takes nothing", s.SentBytes)
		}
		for i := range uint64(4) {
			if m := b.get(t); m.Index != i {
				t.Errorf("%v came", m)
			}
		}
		a.want(t, 1, "connected to a member")
	})
}

func TestOfTwoConnectionsOfAMemberTheNewerStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMember(t, 0xb)
		b.start()
		first, second := newMember(t, 0xa), newMember(t, 0xa)
		first.start(at(b.id, b.url()))
		connected(t, first)
		second.start(at(b.id, b.url()))

		first.await(t, 1, "lost the connection", errReplaced.Error())
		first.await(t, 1, "Dropped(b)")
		b.want(t, 0, "Lost")
		first.want(t, 0, "Lost")
	})
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		for range 5 {
			a, b := newMember(t, 0xa), newMember(t, 0xb)
			a.start(at(b.id, b.url()), at(0xc, "http://127.0.0.1:1"))
			b.start(at(a.id, a.url()))
			connected(t, a, b)
			a.Send([]raft.Message{heartbeat(a, b, 1), appendOf(a, b, 1, 100)})
			b.become(nil, []uint64{a.id})
			a.Close()
			b.Close()
			a.Send([]raft.Message{heartbeat(a, b, 1)})
			a.Follow(raft.Membership{})
			a.server.Close()
			b.server.Close()
		}
		for begun := time.Now(); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Since(begun) > 10*time.Second {
				b := make([]byte, 1<<20)
				t.Fatalf("%d goroutines are left of %d\n%s", runtime.NumGoroutine(), before, b[:runtime.Stack(b, true)])
			}
		}
	})
}

// Lanes.

// A leader that hands over refuses as many proposals as wait: their names do not fit into a frame.
func TestManyRefusalsArrive(t *testing.T) {
	a, b := pair(t)
	m := raft.Message{Kind: raft.ProposeAnswer, From: a.id, To: b.id, Term: 1, Refused: make([]raft.Refusal, 100_000)}
	for i := range m.Refused {
		m.Refused[i].ID = uint64(i) << 32
	}

	a.Send([]raft.Message{m})

	if got := b.get(t); len(got.Refused) != len(m.Refused) {
		t.Errorf("%d of %d refusals arrive", len(got.Refused), len(m.Refused))
	}
	a.want(t, 0, "lost the connection")
}

func TestAFullQueueDropsAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := make(chan raft.Message)
		t.Cleanup(func() { close(steps) }) // when the members are closed
		a, b := newMember(t, 0xa,
			func(c *Config) { c.QueueBulky, c.QueueBytes, c.QueueUrgent = 100, 1<<20, 10 }), newMember(t, 0xb)
		b.steps = steps // takes nothing
		a.Transport.cfg.Window, a.Transport.cfg.MaxWindow = 1, 1
		a.Transport.cfg.Silence = time.Hour
		b.start()
		a.start(at(b.id, b.url()))
		connected(t, a)
		full := func(ms []raft.Message, limit int) {
			t.Helper()
			dropped := a.Peers()[b.id].Dropped
			a.Send(ms)
			if got := int(a.Peers()[b.id].Dropped - dropped); got < len(ms)-limit-20 || got > len(ms) {
				t.Errorf("%d of %d were dropped", got, len(ms))
			}
		}

		full(slices.Repeat([]raft.Message{appendOf(a, b, 1, 1)}, 1000), 100)
		a.want(t, 1, "Dropped(b)") // once, as long as nothing moves
		if s := a.Peers()[b.id]; s.Bulky.Messages < 80 || s.Bulky.Messages > 100 || s.Bulky.MaxMessages != 100 ||
			s.Bulky.Bytes == 0 || s.Urgent.MaxMessages != 10 || s.Window != 1 || s.Shortest == 0 {
			t.Errorf("figures are %+v", s)
		}
		full(slices.Repeat([]raft.Message{appendOf(a, b, 1, 100_000)}, 100), 10)

		a.Send([]raft.Message{{Kind: raft.Heartbeat, To: 0xd}}) // nobody
		go func() {
			for range steps {
			}
		}()
	})
}

func TestQueueKeepsOrderAndLimits(t *testing.T) {
	q := queue{maxCount: 3, maxBytes: 10 * messageOverhead}
	large := raft.Message{Index: 9, Entries: []raft.Entry{{Data: make([]byte, 100*messageOverhead)}}}
	next := uint64(0)
	for i := range uint64(1000) {
		q.enqueue(raft.Message{Index: 2 * i})
		q.enqueue(raft.Message{Index: 2*i + 1})
		if third, fourth := q.enqueue(raft.Message{}), q.enqueue(raft.Message{}); third && fourth {
			t.Fatal("a fourth message has room")
		}
		for q.head < len(q.ms)-1 {
			m, _ := q.dequeue()
			if m.Index != 0 && m.Index < next {
				t.Fatalf("%d after %d", m.Index, next)
			}
			next = max(next, m.Index)
		}
	}
	q.clear()
	if !q.enqueue(large) || q.enqueue(raft.Message{}) {
		t.Error("a message larger than the limit may come when it is alone")
	}
	if m, found := q.dequeue(); !found || m.Index != 9 || q.bytes != 0 {
		t.Errorf("%v, %d bytes are left", m, q.bytes)
	}
}

func TestRoundTripsAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		for i := range uint64(10) {
			a.Send([]raft.Message{appendOf(a, b, i, 100), heartbeat(a, b, i)})
			b.get(t)
			b.get(t)
		}

		a.awaitPeer(t, func(s raft.PeerStats) bool { return s.Trips == 10 })
		s := a.Peers()[b.id]
		if s.Least != nearTrip || s.Average != nearTrip || s.Greatest != nearTrip || s.Current != nearTrip ||
			s.Sent != 20 {
			t.Errorf("stats are %+v", s)
		}
		if r := b.Peers()[a.id]; r.ReceivedBytes < 10*100 || r.Trips != 0 {
			t.Errorf("the receiver's are %+v", r)
		}
	})
}

func TestTripsHaveMeanAndDeviation(t *testing.T) {
	var tr trips
	for _, d := range []time.Duration{2, 4, 4, 4, 5, 5, 7, 9} {
		tr.add(d*time.Second, 1)
	}
	tr.add(5*time.Second, 1000)
	var s raft.PeerStats
	tr.writeTo(&s)

	if s.Average != 5*time.Second || s.Deviation.Round(time.Millisecond) != 178*time.Millisecond || s.Trips != 1008 ||
		s.Least != 2*time.Second || s.Greatest != 9*time.Second {
		t.Errorf("got %+v", s)
	}
}

func TestTheSameNoticeComesOnce(t *testing.T) {
	var n notices
	for i := range 3 {
		if _, due := n.due("x"); due != (i == 0) {
			t.Errorf("time %d: %v", i, due)
		}
	}
	n.seen["x"] = notice{time.Now().Add(-noticePause), n.seen["x"].suppressed}
	if kept, due := n.due("x"); !due || kept != 2 {
		t.Errorf("after the pause: %v, %d kept", due, kept)
	}
	for i := range 2 * maxNotices {
		n.due(fmt.Sprint(i))
	}
	if len(n.seen) > maxNotices {
		t.Errorf("%d lines are remembered", len(n.seen))
	}
}

// pausedConn is a connection of a process that was stopped: the deadline is over when the process
// goes on, and behind it there are bytes.
type pausedConn struct {
	net.Conn
	reads int
	bytes []byte
}

func (c *pausedConn) SetDeadline(time.Time) error      { return nil }
func (c *pausedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *pausedConn) SetWriteDeadline(time.Time) error { return nil }
func (c *pausedConn) Read(b []byte) (int, error) {
	if c.reads++; c.reads == 1 {
		return 0, os.ErrDeadlineExceeded
	}
	return copy(b, c.bytes), nil
}

func TestAStreamThatWasPausedHearsBeforeItGivesUp(t *testing.T) { // pitfall A14
	s := &sender{stream: stream{conn: &pausedConn{bytes: []byte("x")}, tick: time.Hour},
		p: &peer{wake: make(chan struct{}, 1)}}
	s.onBytes, s.onTick = func(int) { s.waiting = 0 }, s.checkSilence
	s.start(t.Context(), 16)
	s.flight.recordWrite(time.Now(), 10, 0, false, false)

	if n, err := s.Read(make([]byte, 8)); n != 1 || err != nil || s.waiting != 0 {
		t.Errorf("read %d bytes, %v, waited %d ticks", n, err, s.waiting)
	}
}
