package raft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// unconnected is a transport that reaches no member.
type unconnected struct{ Transport }

func (unconnected) Start(Inbound)               {}
func (unconnected) Follow(Membership)           {}
func (unconnected) Send([]Message)              {}
func (unconnected) Peers() map[uint64]PeerStats { return nil }
func (unconnected) Close()                      {}
func (unconnected) SendSnapshot(_ Message, body io.ReadCloser, _ int64, done func(error)) {
	done(errors.Join(errors.New("no connection"), body.Close()))
}

// strain is a member whose input never pauses: clients propose and read, and perhaps a leader sends
// entries.
type strain struct {
	t     *testing.T
	n     *Node
	disk  *hangingFS
	stop  chan struct{}
	input sync.WaitGroup
	calls atomic.Int64
	flows chan struct{} // is closed at the twentieth call
}

func newStrain(t *testing.T, members int, tweak func(*Config)) *strain {
	s := &strain{t: t, disk: &hangingFS{}, stop: make(chan struct{}), flows: make(chan struct{})}
	c := nodeConfig(t.TempDir())
	c.Bootstrap, c.fs, c.SnapshotCount, c.MaxSnapshots = voters(members), s.disk, 20, 2
	if members > 1 {
		c.Transport = unconnected{}
	}
	if tweak != nil {
		tweak(&c)
	}
	n, err := Open(c, &dropper{})
	if err != nil {
		t.Fatal(err)
	}
	s.n = n
	t.Cleanup(func() {
		close(s.stop)
		_ = n.Stop(cancelled)
	})
	return s
}

// dropper is a state machine that keeps nothing.
type dropper struct{ register }

func (d *dropper) Apply(index uint64, now time.Time, cmd []byte) any { return index }

// clients makes clients ask without a pause until stop is closed.
func (s *strain) clients(proposers, readers int) {
	for range proposers {
		s.ask(func() { _, _ = s.n.Propose(context.Background(), make([]byte, 4<<10)) })
	}
	for range readers {
		s.ask(func() { _ = s.n.Read(context.Background()) })
	}
}

func (s *strain) ask(call func()) {
	s.input.Go(func() {
		for !isClosed(s.stop) && !isClosed(s.n.Failed()) {
			call()
			s.called()
		}
	})
}

// leader makes a leader, n2, send entries without a pause, and now and then a snapshot.
func (s *strain) leader() {
	founded := uint64(len(s.n.core.configs.now().membership.Members))
	last, term := founded, uint64(1)
	s.input.Go(func() {
		for round := 1; !isClosed(s.stop) && !isClosed(s.n.Failed()); round++ {
			s.n.Step(Message{Kind: Append, From: 2, To: 1, Term: 2, Index: last, LogTerm: term, Commit: last,
				Entries: []Entry{{Index: last + 1, Term: 2, Data: make([]byte, 4<<10)}}})
			last, term = last+1, 2
			if round%50 == 0 {
				last += 100
				s.snapshot(last)
			}
			s.called()
		}
	})
}

func (s *strain) called() {
	if s.calls.Add(1) == 20 {
		close(s.flows)
	}
}

// snapshot brings a snapshot from the leader. Its error is ignored: the member's end tells what
// failed.
func (s *strain) snapshot(index uint64) {
	frozen := NewFrozen(Snapshot{Index: index, Term: 2, Membership: voters(3)}, func(w io.Writer) error { return nil })
	var file bytes.Buffer
	if _, err := frozen.WriteTo(&file); err != nil {
		s.t.Error(err)
	}
	m := Message{Kind: InstallSnapshot, From: 2, To: 1, Term: 2, Snapshot: &frozen.Snapshot}
	if s.n.ReceiveSnapshot(m, SnapshotFile{Size: int64(file.Len())}, &file) != nil {
		return
	}
	taken := func() bool { at, _ := s.n.Applied(); return at >= index || isClosed(s.stop) || isClosed(s.n.Failed()) }
	for !taken() { // no leader sends a second snapshot while the first is not taken over
		s.n.do(func(*core) {})
	}
}

// await waits until a condition holds, and fails the test when it takes too long.
func (s *strain) await(what string, so func() bool) {
	s.t.Helper()
	(&cluster{t: s.t}).await(what, so)
}

// ends checks that a member that has failed ends within a second, and that no caller waits for it
// then.
func (s *strain) ends() {
	s.t.Helper()
	select {
	case <-s.n.Failed():
	case <-time.After(20 * time.Second):
		s.t.Fatal("it does not fail")
	}
	failed := time.Now()
	ended := make(chan struct{})
	go func() {
		s.input.Wait()
		_ = s.n.Stop(context.Background())
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		doing, since := s.n.Stuck()
		s.t.Fatalf("failed (%v), and does not end: %s for %v", s.n.Err(), doing, since)
	}
	if took := time.Since(failed); took > time.Second {
		s.t.Errorf("failed (%v), and ended %v later", s.n.Err(), took)
	}
}

// Whichever call fails, and wherever the goroutines are at that moment, the member ends within a
// second.
//
// pitfall H8, pitfall L2
func TestEveryFailureOfTheDiskEndsTheMember(t *testing.T) {
	scenes := map[string]func(*testing.T) *strain{
		"leader": func(t *testing.T) *strain {
			s := newStrain(t, 1, nil)
			s.clients(4, 2)
			return s
		},
		"follower": func(t *testing.T) *strain {
			s := newStrain(t, 3, nil)
			s.leader()
			s.clients(2, 2)
			return s
		},
	}
	receiver := func(t *testing.T) *strain { // it writes no snapshots of its own
		s := newStrain(t, 3, func(c *Config) { c.SnapshotCount = 1 << 40 })
		s.leader()
		return s
	}
	try := func(scene string, begin func(*testing.T) *strain, part, call string) {
		t.Run(fmt.Sprintf("%s%s %s", scene, strings.ReplaceAll(part, "/", " "), call), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := begin(t)
				<-s.flows

				s.disk.fail(call, part)

				s.ends()
				if !errors.Is(s.n.Err(), errFault) || !isClosed(s.n.done) {
					t.Errorf("it failed with %v", s.n.Err())
				}
			})
		})
	}
	if testing.Short() {
		delete(scenes, "leader") // the disk of a follower is used in the same ways
	}
	for _, part := range []string{"/wal", "/snap"} {
		for _, call := range []string{"create", "write", "sync", "rename", "remove", "syncdir"} {
			for scene, begin := range scenes {
				try(scene, begin, part, call)
			}
		}
	}
	for _, call := range []string{"create", "write", "sync", "rename", "syncdir"} {
		try("receiver", receiver, "/snap", call)
	}
}

// A write fails while the loop is busy, so that what the disk writer says of it still waits for the
// loop: nothing may wait there, and the channel is open, since a closed one would say that write 0
// is done.
//
// pitfall L2
func TestAFailedWriteIsNotTakenForOneThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrain(t, 1, nil)
		<-s.n.Ready()
		release := s.disk.hang(t)
		s.disk.fail("sync", "/wal")
		s.n.inbox.call(func(c *core) { _, _ = c.propose(proposal{kind: EntryCommand}) })
		synctest.Wait()
		busy := make(chan struct{})
		s.n.inbox.call(func(*core) { <-busy })
		synctest.Wait()

		release()
		synctest.Wait()

		select {
		case seq := <-s.n.fromDisk:
			t.Errorf("the loop hears that write %d is done", seq)
		default:
		}
		if !isClosed(s.n.Failed()) || !isClosed(s.n.written) {
			t.Error("the disk writer goes on")
		}
		close(busy)
		s.ends()
	})
}

// One call of the disk hangs, and another one fails: the member ends without the one that hangs.
//
// pitfall L2
func TestAMemberWhoseDiskHangsEndsWhenItFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStrain(t, 3, nil)
		s.leader()
		s.clients(2, 2)
		<-s.flows
		s.disk.hang(t)
		for s.n.writing.since.Load() == 0 { // the leader never waits, so the clock stands still
			runtime.Gosched()
		}

		s.n.Expelled(2)

		s.ends()
		if err := s.n.Err(); !errors.Is(err, ErrRemoved) {
			t.Error(err)
		}
	})
}

// Nothing fails, but the disk hangs: the context of Stop bounds how long Stop waits.
func TestStopDoesNotWaitForADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrain(t, 1, nil)
		<-s.n.Ready()
		release := s.disk.hang(t)
		s.n.inbox.call(func(c *core) { _, _ = c.propose(proposal{kind: EntryCommand}) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		begun := time.Now()

		err := s.n.Stop(ctx)

		if took := time.Since(begun); err == nil || !strings.Contains(err.Error(), "a write to the log") ||
			took > time.Second+stopPatience {
			t.Errorf("after %v: %v", took, err)
		}
		release()
		<-s.n.done
	})
}
