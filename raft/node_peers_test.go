package raft

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
	"time"

	"etcd2/snap"
)

// toldWhom is a transport that reaches no member, and records which ones it is told to follow.
type toldWhom struct {
	firstWord
	members []Member
}

func (l *toldWhom) Follow(m Membership) { l.members = m.Members }

// pitfall D3, pitfall D4: a change that is truncated stands at the index of the one that takes its
// place, and both may happen in one turn.
func TestAConfigurationThatTakesAnothersPlaceIsFollowedAtOnce(t *testing.T) {
	line := &toldWhom{}
	n := &Node{Config: Config{Transport: line}, loopState: loopState{core: newMember(3, 1)}}
	n.applied.Store(&appliedState{membership: voters(3)})
	add := func(term, id uint64) {
		e := Entry{Index: 2, Term: term, Kind: EntryChange, Data: appendChange(nil, &Change{Kind: ChangeAdd,
			Member: Member{ID: id}})}
		say(t, n.core, Message{Kind: Append, From: 2, Term: term, Index: 1, LogTerm: 1, Entries: []Entry{e}})
		n.observeMembership()
	}

	add(2, 7)
	before := Membership{Members: line.members}
	add(3, 8)

	if now := (Membership{Members: line.members}); !before.has(7) || now.has(7) || !now.has(8) ||
		!n.newest.Load().has(8) {
		t.Errorf("it follows %v, and then %v", before.Members, now.Members)
	}
}

// brief is a state machine with a small state, however much is applied.
type brief struct{ register }

func (b *brief) Apply(index uint64, _ time.Time, _ []byte) any { return index }

func TestTheShorterOfLogAndSnapshotIsSent(t *testing.T) {
	c := nodeConfig(t.TempDir())
	c.SegmentBytes, c.SnapshotCount = 4<<20, 1<<20
	n := openNode(t, c, &brief{})
	shorter := func(from uint64) (is bool) {
		n.do(func(*core) { is = n.snapshotIsShorter(Fetch{From: from}) })
		return is
	}
	fillLog(t, n)

	before := shorter(1)
	snapshotNow(n)

	if before || !shorter(1) {
		t.Errorf("without a snapshot: %v; with one: %v", before, shorter(1))
	}
	if last, _ := n.Applied(); shorter(last - 8) {
		t.Error("for 8 MiB of log a snapshot is sent")
	}
}

// fillLog proposes so much that a snapshot may be shorter than the log.
func fillLog(t *testing.T, n *Node) {
	t.Helper()
	for range shortLog>>20 + 8 {
		if _, err := n.Propose(context.Background(), make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
}

// snapshotNow returns when a node has written its first snapshot. The log stays whole: it is cut at
// the last snapshot but one.
func snapshotNow(n *Node) {
	n.do(func(*core) { n.snapshots.wanted.Store(true); n.backlog = append(n.backlog, job{}) })
	for newest := uint64(0); newest == 0; {
		n.do(func(c *core) { newest = c.snapshot.Index })
	}
}

// The whole log is on the leader's disk, and the state is small: a new member gets the state.
func TestAMemberThatLacksMuchLogGetsAShorterSnapshot(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		lan := newLAN()
		c := nodeConfig(t.TempDir())
		c.SegmentBytes, c.SnapshotCount, c.Transport = 4<<20, 1<<20, lan.port()
		c.Heartbeat, c.Election = 20*time.Millisecond, 200*time.Millisecond
		leader := openNode(t, c, &brief{})
		fillLog(t, leader)
		snapshotNow(leader)
		leader.do(func(core *core) { core.log.trim(min(core.applying, core.log.durable) - 1) }) // as after a long time
		add := Change{Kind: ChangeAdd, Member: Member{ID: 2, PeerURLs: []string{"http://n2"}, Learner: true}}
		if _, err := leader.Change(context.Background(), add); err != nil {
			t.Fatal(err)
		}

		c.Dir, c.ID, c.Join, c.Transport = t.TempDir(), 2, true, lan.port()
		c.Self.Name = "n2"
		learner := openNode(t, c, &brief{})

		if first := leader.Status().First; first != 1 || learner.stats.Received.Load() == 0 {
			t.Errorf("%d snapshots came, and the leader's log begins at %d", learner.stats.Received.Load(), first)
		}
	})
}

// receiverOf returns a node that can only receive snapshots, and the file of a snapshot at index 9.
func receiverOf(t *testing.T) (n *Node, file []byte) {
	sender, err := snap.Open(filepath.Join(t.TempDir(), "snap"), nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := sender.Create(9, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(make([]byte, 1000))
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	r, err := sender.OpenIndex(9)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	raw, size := r.Raw()
	file, _ = io.ReadAll(io.NewSectionReader(raw, 0, size))

	dir := t.TempDir()
	snaps, err := snap.Open(filepath.Join(dir, "snap"), nil)
	if err != nil {
		t.Fatal(err)
	}
	n = &Node{storage: &storage{dir: dir, snaps: snaps}}
	n.applied.Store(&appliedState{})
	n.inbox.init()
	return n, file
}

// pitfalls E9, E10
func TestAnInterruptedSnapshotTransferIsResumed(t *testing.T) {
	n, file := receiverOf(t)
	m := Message{Kind: InstallSnapshot, Snapshot: &Snapshot{Index: 9}}
	f := SnapshotFile{Size: int64(len(file)), Name: "nine"}
	take := func(from int64, data []byte) error {
		f.From = from
		body := io.MultiReader(bytes.NewReader(data), iotest.ErrReader(io.ErrUnexpectedEOF))
		return n.ReceiveSnapshot(m, f, body)
	}
	keep := func(from, to int) {
		t.Helper()
		if err := take(int64(from), file[from:to]); err == nil || n.Kept("nine") != int64(to) {
			t.Fatalf("%v, %d bytes are kept of %d", err, n.Kept("nine"), to)
		}
	}

	keep(0, 100)
	keep(100, 500)
	if err := take(499, file[499:]); err == nil || n.Kept("nine") != 500 {
		t.Errorf("it goes on at another place: %v", err)
	}
	parts, _ := filepath.Glob(filepath.Join(n.storage.dir, "snap", "*.tmp"))
	if err := os.WriteFile(parts[0], make([]byte, 500), 0o600); err != nil { // the disk has damaged it
		t.Fatal(err)
	}
	if err := take(500, file[500:]); err == nil || n.Kept("nine") != 0 {
		t.Errorf("a damaged part: %v", err)
	}
	keep(0, 300)
	err := take(300, file[300:])

	if err != nil || len(n.inbox.dequeueMessages(&n.inbox.messages)) != 1 {
		t.Errorf("the whole: %v", err)
	}
	if r, _, err := n.storage.snaps.Newest(); err != nil || r == nil || r.Index() != 9 {
		t.Errorf("the newest snapshot is %v, %v", r, err)
	}
}
