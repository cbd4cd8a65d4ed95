package http

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"etcd2/e2e/pace"
	"etcd2/e2e/pipes"
	"etcd2/raft"
	"etcd2/store"
)

// main passes a raft.Node as the Node of a server.
var _ Node = (*raft.Node)(nil)

// fakeNode is a cluster of one without log: it applies at once, to a real tree. Its clock
// stands until tick moves it.
type fakeNode struct {
	mu      sync.Mutex // protects all below
	store   *store.Store
	index   uint64
	now     time.Time
	leader  uint64
	members raft.Membership
	err     error         // if set, Propose, Read and Change return it
	changes []raft.Change // those accepted
	reads   int

	progress      map[uint64]raft.Progress // of Status
	last, lastWas []byte                   // the last command proposed, whose bytes are the node's, and a copy of them

	failed chan struct{}
	stats  raft.Stats
	peers  map[uint64]raft.PeerStats

	leaderSince time.Time
	changeErr   error  // if set, Change returns it
	onRead      func() // if set, Read calls it
	onPropose   func() // if set, the next Propose calls it first
}

const (
	testMember  = 0x7fa0243da41856f2
	testCluster = 0x2f825f7ee614161e
)

func newFakeNode(limits store.Limits) *fakeNode {
	return &fakeNode{
		store:  store.New(limits),
		now:    time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		leader: testMember,
		failed: make(chan struct{}),

		leaderSince: time.Now().Add(-time.Minute),
		members: raft.Membership{ClusterID: testCluster, Version: "2.4.0", Members: []raft.Member{{
			ID: testMember, Name: "default", PeerURLs: []string{"http://127.0.0.1:2380"},
			ClientURLs: []string{"http://127.0.0.1:2379"},
		}}},
	}
}

func (n *fakeNode) ID() uint64 { return testMember }

func (n *fakeNode) Propose(ctx context.Context, cmd []byte) (raft.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if first := n.onPropose; first != nil {
		n.onPropose = nil
		n.mu.Unlock()
		first()
		n.mu.Lock()
	}
	if n.err != nil {
		return raft.Result{}, n.err
	}
	n.stats.Proposals.Add(1)
	n.index++
	if !bytes.Equal(n.last, n.lastWas) {
		panic("a command was changed after it had been proposed")
	}
	n.last, n.lastWas = cmd, bytes.Clone(cmd)
	cmd = n.store.Mark(cmd)
	return raft.Result{Index: n.index, Term: 2, Value: n.store.Apply(n.index, n.now, cmd)}, nil
}

// forget applies named commands without a user until all earlier ones without a user are forgotten.
func (n *fakeNode) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for range 311_000 {
		n.index++
		c := store.Command{Op: store.OpDelete, Path: "/none", RequestID: "." + strconv.FormatUint(n.index, 36),
			RequestIndex: n.index - 1}
		n.store.Apply(n.index, n.now, c.Append(nil))
	}
}

// tick moves the clock and lets what is due expire.
func (n *fakeNode) tick(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = n.now.Add(d)
	n.index++
	n.store.Apply(n.index, n.now, nil)
}

func (n *fakeNode) Read(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reads++
	if n.onRead != nil {
		n.onRead()
	}
	return n.err
}

// advance is the command that goes with a change of the membership (section 6).
func advance(k raft.ChangeKind) []byte {
	c := store.Command{Op: store.OpAdvance, Count: 1}
	if k == raft.ChangeRemove {
		c.Count = 2
	}
	return c.Append(nil)
}

func (n *fakeNode) Change(ctx context.Context, c raft.Change) (raft.Membership, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return raft.Membership{}, n.err
	}
	if n.changeErr != nil {
		return raft.Membership{}, n.changeErr
	}
	n.index++
	n.store.Apply(n.index, n.now, advance(c.Kind))
	n.changes = append(n.changes, c)
	members := slices.Clone(n.members.Members)
	at := slices.IndexFunc(members, func(m raft.Member) bool { return m.ID == c.Member.ID })
	switch c.Kind {
	case raft.ChangeAdd:
		members = append(members, c.Member)
	case raft.ChangeUpdate:
		members[at].PeerURLs = c.Member.PeerURLs
	case raft.ChangeRemove:
		members = slices.Delete(members, at, at+1)
		n.members.Removed = append(n.members.Removed, c.Member.ID)
	}
	n.members.Members = members
	return n.members, nil
}

func (n *fakeNode) Membership() raft.Membership {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.members
}

func (n *fakeNode) Status() raft.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	st := raft.Status{ID: testMember, ClusterID: testCluster, Leader: n.leader, Term: 2, Commit: n.index,
		Applied: n.index, Last: n.index, LeaderSince: n.leaderSince, Progress: n.progress}
	if n.leader == testMember {
		st.Role = raft.Leader
	}
	return st
}

func (n *fakeNode) Applied() (uint64, uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.index, 2
}

func (n *fakeNode) Leader() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leader
}

func (n *fakeNode) Now() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now
}

// set changes a field under the lock.
func (n *fakeNode) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

func (n *fakeNode) Peers() map[uint64]raft.PeerStats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.peers
}

// Freeze does what a real node with this log would do.
func (n *fakeNode) Freeze(ctx context.Context, look func()) (*raft.Frozen, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return nil, n.err
	}
	look()
	return raft.NewFrozen(raft.Snapshot{Index: n.index, Term: 2, Stamp: n.now.UnixNano(), Membership: n.members},
		n.store.Freeze()), nil
}

func (n *fakeNode) Failed() <-chan struct{} { return n.failed }
func (n *fakeNode) Err() error              { return io.ErrShortWrite }
func (n *fakeNode) Stats() *raft.Stats      { return &n.stats }

// bench is a server on a fakeNode.
type bench struct {
	*Server
	t    testing.TB
	node *fakeNode
}

// newBench makes a bench; change may adapt the configuration. Passwords are hashed with few rounds,
// and a handler that panics fails the test.
func newBench(t testing.TB, change ...func(*Config)) *bench {
	t.Helper()
	node := newFakeNode(store.Limits{})
	c := Config{iterations: 10, Node: node, Store: node.store, Name: "default", Version: "2.4.0",
		Hosts: []string{"example.com"}, Args: []string{"etcd2", "--name=m"}, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := s.metrics.panics.Load(); n > 0 && !t.Failed() && !strings.Contains(t.Name(), "Panic") &&
			t.Name() != "TestLogsQuoteKeys" {
			t.Errorf("%d handlers panicked", n)
		}
	})
	return &bench{Server: s, t: t, node: node}
}

// do sends one request without a network. A body is a form unless its header says something else;
// headers without a value are not sent.
func (b *bench) do(method, target, form string, header ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(form))
	if form != "" {
		r.Header.Set("Content-Type", formType)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

// want fails the test unless the answer has this status and this body.
func (b *bench) want(w *httptest.ResponseRecorder, status int, body string) {
	b.t.Helper()
	if w.Code != status || w.Body.String() != body {
		b.t.Errorf("got  %d %s\nwant %d %s", w.Code, w.Body, status, body)
	}
}

// serve runs the server on a port of its own and returns its URL.
func (b *bench) serve() string {
	b.t.Helper()
	ln := listen(b.t)
	done := make(chan error, 1)
	go func() { done <- b.Serve(ln) }()
	b.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		b.Shutdown(ctx)
		b.server.Close()
		if err := <-done; err != nethttp.ErrServerClosed {
			b.t.Errorf("Serve: %v", err)
		}
	})
	return "http://" + ln.Addr().String()
}

// often returns how many random cases are tried: n, and ten times as many with -long.
func often(n int) int {
	if pace.Long() {
		return 10 * n
	}
	return n
}

// costOf returns how many bytes a call allocates.
func costOf(call func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	call()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// patience is how long tests wait for something that must come.
const patience = time.Minute

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for begun := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func decode(t testing.TB, text string) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}

// serveInMemory runs the server in a bubble until the test ends. dial makes a connection, which is
// closed then, too.
func (b *bench) serveInMemory(t *testing.T) (dial func() net.Conn) {
	l := pipes.Listen()
	go b.Serve(l)
	t.Cleanup(func() { b.server.Close() })
	return func() net.Conn {
		c, err := pipes.Dial(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
}

// clientOver is a client of HTTP whose connections are those of dial.
func clientOver(t *testing.T, dial func() net.Conn, protocols *nethttp.Protocols) *nethttp.Client {
	client := &nethttp.Client{Transport: &nethttp.Transport{Protocols: protocols,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return dial(), nil }}}
	t.Cleanup(client.CloseIdleConnections)
	return client
}
