package raft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// register is a state machine that keeps the commands it was given.
type register struct {
	mu       sync.Mutex
	commands []string
	stamps   []int64
	due      time.Time
}

func (r *register) Apply(index uint64, now time.Time, cmd []byte) any {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stamps = append(r.stamps, now.UnixNano())
	if !r.due.IsZero() && !now.Before(r.due) {
		r.due = time.Time{}
	}
	if len(cmd) == 0 {
		return nil
	}
	if d, ok := duration(string(cmd)); ok {
		r.due = now.Add(d)
	}
	r.commands = append(r.commands, string(cmd))
	return fmt.Sprintf("%d:%s", index, cmd)
}

// duration takes a command like "in 50ms" apart.
func duration(cmd string) (time.Duration, bool) {
	var text string
	if n, _ := fmt.Sscanf(cmd, "in %s", &text); n != 1 {
		return 0, false
	}
	d, err := time.ParseDuration(text)
	return d, err == nil
}

func (r *register) Freeze() func(io.Writer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	frozen := append([]string(nil), r.commands...)
	return func(w io.Writer) error {
		for _, c := range frozen {
			b := binary.AppendUvarint(nil, uint64(len(c)))
			if _, err := w.Write(append(b, c...)); err != nil {
				return err
			}
		}
		return nil
	}
}

func (r *register) Restore(in io.Reader) error {
	all, err := io.ReadAll(in)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands = nil
	d := decoder{in: all}
	for len(d.in) > 0 {
		r.commands = append(r.commands, d.string())
	}
	return err
}

func (r *register) NextDue() (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.due, !r.due.IsZero()
}

func (r *register) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.commands...)
}

func nodeConfig(dir string) Config {
	return Config{
		Dir: dir, ID: 1, Bootstrap: voters(1), Self: Member{Name: "n1", Version: "2.4.0"},
		SegmentBytes: 1 << 16, Logger: slog.New(slog.DiscardHandler),
	}
}

func openNode(t *testing.T, c Config, sm StateMachine) *Node {
	t.Helper()
	n, err := Open(c, sm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopNode(t, n) })
	select {
	case <-n.Ready():
	case <-n.Failed():
		t.Fatal(n.Err())
	}
	return n
}

func stopNode(t *testing.T, n *Node) {
	t.Helper()
	if err := n.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestAProposalIsAnsweredWithItsResultAndSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	n := openNode(t, nodeConfig(dir), &register{})

	r, err := n.Propose(context.Background(), []byte("x"))
	stopNode(t, n)
	again := &register{}
	n = openNode(t, nodeConfig(dir), again)

	if err != nil || r.Value != fmt.Sprintf("%d:x", r.Index) {
		t.Fatalf("result %+v, error %v", r, err)
	}
	if got := again.list(); len(got) != 1 || got[0] != "x" {
		t.Fatalf("after the restart: %v", got)
	}
	if m, _ := n.Membership().Find(1); m.Name != "n1" || n.Membership().Version != "2.4.0" {
		t.Fatalf("membership %+v", n.Membership())
	}
}

func TestManyProposersShareWritesAndEachGetsItsOwnResult(t *testing.T) {
	n := openNode(t, nodeConfig(t.TempDir()), &register{})

	var all sync.WaitGroup
	for w := range 16 {
		all.Go(func() {
			for i := range 50 {
				cmd := fmt.Sprintf("%d-%d", w, i)
				if r, err := n.Propose(context.Background(), []byte(cmd)); err != nil || r.Value != fmt.Sprintf("%d:%s",
					r.Index, cmd) {
					t.Errorf("%s: %+v, %v", cmd, r, err)
				}
				if err := n.Read(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()

	if _, writes, _ := n.Stats().Fsync.Snapshot(); writes >= 800 {
		t.Fatalf("%d writes for 800 proposals: they are not batched", writes)
	}
	n.waiters.mu.Lock()
	defer n.waiters.mu.Unlock()
	if len(n.waiters.waiting) != 0 { // pitfall G6
		t.Fatalf("%d waiters left", len(n.waiters.waiting))
	}
}

func TestSnapshotsCutTheLogAndCarryTheState(t *testing.T) {
	dir := t.TempDir()
	c := nodeConfig(dir)
	c.SnapshotCount = 20
	n := openNode(t, c, &register{})
	long := make([]byte, 500)

	for i := range 2000 {
		if _, err := n.Propose(context.Background(), fmt.Appendf(nil, "%d %x", i, long)); err != nil {
			t.Fatal(err)
		}
	}
	stopNode(t, n)
	again := &register{}
	n = openNode(t, c, again)

	if got := again.list(); len(got) != 2000 {
		t.Fatalf("%d commands after the restart", len(got))
	}
	if s := n.Status(); s.First < 2 {
		t.Fatalf("the log still begins at %d", s.First)
	}
}

func TestKeysExpireAlthoughNobodyWrites(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		sm := &register{}
		n := openNode(t, nodeConfig(t.TempDir()), sm)

		if _, err := n.Propose(context.Background(), []byte("in 50ms")); err != nil {
			t.Fatal(err)
		}
		started := time.Now()
		(&cluster{t: t}).await("it has expired", func() bool { _, waiting := sm.NextDue(); return !waiting })

		if late := time.Since(started) - 50*time.Millisecond; late < 0 || late > n.Heartbeat {
			t.Fatalf("%v after the due time", late)
		}
	})
}

func TestACancelledProposalIsUnknownAndLeavesNoWaiter(t *testing.T) {
	n := openNode(t, nodeConfig(t.TempDir()), &register{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	for range 100 {
		if _, err := n.Propose(ctx, []byte("x")); err != nil && err != ErrUnknown {
			t.Fatal(err)
		}
	}

	if n.Stats().Pending.Load() != 0 {
		t.Fatal("pending proposals are left")
	}
}

func TestADirectoryBelongsToOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	openNode(t, nodeConfig(dir), &register{})

	_, err := Open(nodeConfig(dir), &register{})

	if err == nil {
		t.Fatal("a second node opened the same directory")
	}
}

// strange is a state machine that does not know one of its commands.
type strange struct{ register }

type fatalError struct{ error }

func (fatalError) Fatal() bool { return true }

func (s *strange) Apply(index uint64, now time.Time, cmd []byte) any {
	if string(cmd) == "from the future" {
		return fatalError{errors.New("unknown")}
	}
	return s.register.Apply(index, now, cmd)
}

// pitfall I7
func TestACommandOfALaterVersionStopsTheMember(t *testing.T) {
	n, err := Open(nodeConfig(t.TempDir()), &strange{})
	if err != nil {
		t.Fatal(err)
	}

	_, err = n.Propose(context.Background(), []byte("from the future"))
	<-n.Failed()

	if err != ErrUnknown || n.Stop(context.Background()) == nil {
		t.Fatalf("error %v, the member failed with %v", err, n.Err())
	}
}

// A change of the membership may bring a command for the state machine. pitfall I7
func TestAChangeWithACommandOfALaterVersionStopsTheMember(t *testing.T) {
	c := nodeConfig(t.TempDir())
	var later atomic.Bool
	c.Command = func(k ChangeKind) []byte {
		if later.Load() && k == ChangeAdd {
			return []byte("from the future")
		}
		return nil
	}
	n, err := Open(c, &strange{})
	if err != nil {
		t.Fatal(err)
	}
	later.Store(true)

	_, err = n.Change(context.Background(), Change{Kind: ChangeAdd, Member: Member{ID: 9, Learner: true}})
	<-n.Failed()

	_, there := n.Membership().Find(9)
	if err == nil || there || n.Stop(context.Background()) == nil {
		t.Fatalf("error %v, members %+v, the member failed with %v", err, n.Membership(), n.Err())
	}
	for range 2 {
		if n, err = Open(c, &strange{}); err != nil {
			continue // the disk has the change, and that it is committed
		}
		<-n.Failed()
		if n.Stop(context.Background()) == nil {
			t.Error("the member works on a log with that command")
		}
	}
}

func TestForceNewClusterLeavesThisMemberAlone(t *testing.T) {
	dir := t.TempDir()
	c := nodeConfig(dir)
	n := openNode(t, c, &register{})
	if _, err := n.Propose(context.Background(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	stopNode(t, n)

	c.ForceAlone = true
	sm := &register{}
	n = openNode(t, c, sm)

	if m := n.Membership(); m.ClusterID == 1 || len(m.Members) != 1 || len(sm.list()) != 1 {
		t.Fatalf("membership %+v, commands %v", m, sm.list())
	}
}

// firstWord is a transport that reaches no member, and records the cluster that it starts in.
type firstWord struct {
	Transport
	cluster uint64
}

func (f *firstWord) Start(in Inbound)  { f.cluster = in.Membership().ClusterID }
func (f *firstWord) Follow(Membership) {}
func (f *firstWord) Send([]Message)    {}
func (f *firstWord) Close()            {}

// pitfall D14: a forced member that spoke for its old cluster would tell the others that they are
// removed, and these may be a majority that runs.
func TestAForcedMemberNeverSpeaksForItsOldCluster(t *testing.T) {
	c := nodeConfig(t.TempDir())
	stopNode(t, openNode(t, c, &register{}))
	for _, force := range []bool{true, false} {
		said := &firstWord{}
		c.ForceAlone, c.Transport = force, said

		n := openNode(t, c, &register{})

		if now := n.Membership().ClusterID; now == 1 || said.cluster != now {
			t.Errorf("forced %v: it starts in cluster %x, and is in %x", force, said.cluster, now)
		}
		stopNode(t, n)
	}
}
