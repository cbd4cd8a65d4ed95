package raft

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"
)

// pitfall L3
func TestARequestThatIsAnsweredHoldsNoMemory(t *testing.T) {
	for name, abandon := range map[string]func() (context.Context, context.CancelFunc){
		"its client hangs up": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), time.Millisecond)
		},
		"its deadline is over": func() (context.Context, context.CancelFunc) { return context.Background(), func() {} },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newStrain(t, 3, func(c *Config) { c.Heartbeat, c.RequestTimeout = 8*time.Millisecond, 20*time.Millisecond })
				var held [50]weak.Pointer[byte]
				var asked sync.WaitGroup
				for i := range held {
					asked.Go(func() {
						ctx, cancel := abandon()
						defer cancel()
						cmd := make([]byte, 64<<10)
						held[i] = weak.Make(&cmd[0])
						if _, err := s.n.Propose(ctx, cmd); err == nil {
							t.Error("agreed without a leader")
						}
						_ = s.n.Read(ctx)
					})
				}
				asked.Wait()

				s.await("nothing is left", func() bool {
					runtime.GC()
					return !slices.ContainsFunc(held[:], func(p weak.Pointer[byte]) bool { return p.Value() != nil })
				})
				s.await("no queue holds any of them", func() bool {
					return !slices.ContainsFunc(s.n.Status().Queues,
						func(q Queue) bool { return q.Name != "waiters" && q.Length > 0 })
				})
			})
		})
	}
}

// A waiter stays in the pool when its request is answered.
//
// pitfall L3
func TestAWaiterThatIsAnsweredHoldsNoRequest(t *testing.T) {
	for name, end := range map[string]func(ws *waiters, id uint64){
		"answered":                func(ws *waiters, id uint64) { ws.answer(id, outcome{}) },
		"answered with its batch": func(ws *waiters, id uint64) { ws.answerAll([]answer{{id: id}}, 1) },
		"late":                    func(ws *waiters, id uint64) { ws.expire(1) },
		"given up by its client":  func(ws *waiters, id uint64) { ws.remove(id) },
		"overtaken by a snapshot": func(ws *waiters, id uint64) { ws.skip(1, 1) },
	} {
		var ws waiters
		ws.init()
		w := &waiter{result: make(chan outcome, 1)}
		id, err := ws.add(w, request{proposal: proposal{data: make([]byte, 8)}}, 1)
		if err != nil {
			t.Fatal(err)
		}
		ws.propose(nil, []uint64{id}, 1)

		end(&ws, id)

		if w.request.data != nil || ws.bytes != 0 || len(ws.waiting) != 0 {
			t.Errorf("%s: it holds %d bytes; %d waiters with %d bytes count", name, len(w.request.data),
				len(ws.waiting), ws.bytes)
		}
	}
}

// One request takes more than half of maxWaitersBytes, and a second one of the same size comes.
func TestMoreThanMayWaitIsRefusedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStrain(t, 3, nil)
		half := make([]byte, maxWaitersBytes/2+1)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		ended := make(chan struct{})
		go func() { defer close(ended); _, _ = s.n.Propose(ctx, half) }()
		waiting := s.waitingBytes
		s.await("one waits", func() bool { return waiting() >= len(half) })

		_, err := s.n.Propose(context.Background(), half)

		if !errors.Is(err, ErrOverloaded) {
			t.Errorf("the second one: %v", err)
		}
		cancel()
		<-ended
		if bytes := waiting(); bytes >= len(half) {
			t.Errorf("%d bytes count still", bytes)
		}
	})
}

// waitingBytes returns how many bytes of requests wait.
func (s *strain) waitingBytes() int {
	s.n.waiters.mu.Lock()
	defer s.n.waiters.mu.Unlock()
	return s.n.waiters.bytes
}

// A proposal that was answered as never made is never made, even if it was on its way to the core.
func TestAProposalAnsweredAsNeverMadeIsNeverMade(t *testing.T) {
	sm := &register{}
	n := openNode(t, nodeConfig(t.TempDir()), sm)
	w := &waiter{result: make(chan outcome, 1)}

	n.do(func(*core) {
		_, _ = n.enqueue(w, request{proposal: proposal{kind: EntryCommand, data: []byte("late")}})
		n.waiters.expire(maxInt64 - 1) // while the proposal is between the client and the core
	})
	o := <-w.result
	if _, err := n.Propose(context.Background(), []byte("after")); err != nil {
		t.Fatal(err)
	}

	if o.err != ErrNoLeader || slices.Contains(sm.list(), "late") {
		t.Errorf("it was answered %v, and this is applied: %v", o.err, sm.list())
	}
}

// The deadline of a proposal passes while its write hangs. The write is done later, so the answer
// must not be that the proposal was never made.
func TestAProposalThatMayYetBeMadeIsAnsweredAsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sm, c, disk := &register{}, nodeConfig(t.TempDir()), &hangingFS{}
		c.fs = disk
		n := openNode(t, c, sm)
		synctest.Wait()
		release := disk.hang(t)

		_, late := n.Propose(context.Background(), []byte("late"))
		release()
		_, err := n.Propose(context.Background(), []byte("after"))

		if late != ErrUnknown || err != nil || !slices.Equal(sm.list(), []string{"late", "after"}) {
			t.Errorf("answered %v and %v, and this is applied: %v", late, err, sm.list())
		}
	})
}

// untilGathered may be called when the proposals that drainInbox left in the inbox have just become
// due: the loop must not sleep then.
func TestTheLoopDoesNotOversleepTheEndOfTheGathering(t *testing.T) {
	n := &Node{epoch: time.Now().Add(-time.Minute), loopState: loopState{core: &core{role: Leader}}}
	n.inbox.init()
	n.inbox.enqueue(&n.inbox.proposals, 1)
	n.gatherUntil.proposals = n.mono() - 1

	if d := n.untilGathered(); d != 0 {
		t.Errorf("it sleeps for %v", d)
	}
}

// While a ReadIndex has no answer, the reads that come wait for that, but only for a moment: the
// leader may be far away.
func TestReadsThatComeMeanwhileShareOneReadIndex(t *testing.T) {
	n := &Node{epoch: time.Now().Add(-time.Minute),
		loopState: loopState{core: newMember(3, 1), reads: map[uint64][]uint64{}}}
	n.core.leader = 2
	n.inbox.init()
	take := func(ids ...uint64) (questions int) {
		n.inbox.enqueue(&n.inbox.reads, ids...)
		n.dequeueReads()
		return len(n.core.out.Messages)
	}

	first, second, third := take(1), take(2), take(3)
	left := n.untilGathered()
	clear(n.reads) // the answer
	answered := take()
	fourth := take(4)
	n.readSentAt -= int64(gatherForOthers)
	late := take()

	if first != 1 || second != 1 || third != 1 || answered != 2 || fourth != 2 || late != 3 {
		t.Errorf("asked %d, %d, %d times, %d after the answer, %d, and %d when none comes", first, second, third,
			answered, fourth, late)
	}
	if left <= 0 || left > gatherForOthers {
		t.Errorf("the loop sleeps for %v", left)
	}
}

// Nothing takes time here but waiting for a timer.
func TestReadsGoOnWithTheAnswerThatTheyWaitFor(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader, follower := c.leader(), c.follower()
		begun := time.Now()
		var reading sync.WaitGroup
		for i := range 40 {
			reading.Go(func() {
				for range 20 {
					if err := c.nodes[[]uint64{leader, follower}[i%2]].Read(context.Background()); err != nil {
						t.Error(err)
					}
				}
			})
		}

		reading.Wait()

		if took := time.Since(begun); took != 0 {
			t.Errorf("800 reads take %v", took)
		}
	})
}

// pitfall L3: an election is waited for; hours without a majority are not, by megabytes.
func TestWithoutALeaderFewBytesWait(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStrain(t, 3, func(c *Config) {
			c.Heartbeat, c.Election, c.RequestTimeout = 8*time.Millisecond, 40*time.Millisecond, time.Hour
		})
		const size, count = 128 << 10, 24
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		turnedAway := make(chan error, count)
		for range count {
			go func() {
				_, err := s.n.Propose(ctx, make([]byte, size))
				turnedAway <- err
			}()
		}

		for range count - maxLeaderlessBytes/size {
			if err := <-turnedAway; !errors.Is(err, ErrNoLeader) {
				t.Fatal(err)
			}
		}

		// the member has a proposal of its own, in which it announces itself
		if left := s.waitingBytes(); left < maxLeaderlessBytes || left > maxLeaderlessBytes+1<<10 {
			t.Errorf("%d bytes wait", left)
		}
	})
}

// The applier hangs in the last entry of a batch. When it goes on, only the applier itself wakes
// the loop, since the clock stands still until the loop waits for a tick.
func TestProposalsWaitInTheInboxWhileTheApplierHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sm := &gated{gate: make(chan struct{})}
		n := openNode(t, nodeConfig(t.TempDir()), sm)
		synctest.Wait()
		last := uint64(0)
		n.do(func(c *core) {
			for range maxUnapplied {
				_, _ = c.propose(proposal{kind: EntryCommand})
			}
			_, _ = c.propose(proposal{kind: EntryCommand, data: []byte("hang")})
			last = c.log.last()
		})
		synctest.Wait()
		answered := make(chan error, 1)
		go func() {
			_, err := n.Propose(context.Background(), []byte("waits"))
			answered <- err
		}()
		synctest.Wait()

		if s := n.Status(); s.Last != last || s.Commit != last || len(answered) != 0 {
			t.Errorf("the log ends at %d, want %d, of which %d are committed; %d answers", s.Last, last, s.Commit,
				len(answered))
		}
		synctest.Wait()
		begun := time.Now()
		close(sm.gate)
		err := <-answered

		if took := time.Since(begun); err != nil || took != 0 {
			t.Errorf("answered %v later: %v", took, err)
		}
	})
}

// The applier wakes the loop only when applierWakes is set. Without another look, the loop would
// learn one heartbeat late of a batch that is applied just before it sets that.
func TestWhatIsAppliedJustBeforeTheLoopWaitsIsHeardOf(t *testing.T) {
	s := newStrain(t, 1, nil)
	<-s.n.Ready()
	s.n.do(func(c *core) {
		was := c.applied
		c.applied--
		c.unapplied += entrySize(c.log.at(was))

		s.n.waitsForApplier()

		if c.applied != was {
			t.Errorf("it knows of %d entries applied, of %d", c.applied, was)
		}
	})
}

// Reads whose index is known wait for the applier, which may hang.
func TestReadsThatNobodyWaitsForAreForgotten(t *testing.T) {
	var ws waiters
	ws.init()
	for index := range uint64(100) {
		ws.answerAt([]uint64{index + 1}, index+1) // ids without a waiter
	}

	ws.expire(0)

	if len(ws.reads) != 0 {
		t.Errorf("%d are left", len(ws.reads))
	}
}
