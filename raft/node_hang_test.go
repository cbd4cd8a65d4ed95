package raft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"etcd2/wal/disk"
)

// hangingFS is the operating system's disk, except that a sync of the log may hang and calls may
// fail.
type hangingFS struct {
	disk.OS
	gate  atomic.Pointer[chan struct{}]                 // syncs of the log wait until it is closed
	fault atomic.Pointer[func(call, name string) error] // called before every change; its error is the result
}

type hangingFile struct {
	disk.File
	fs   *hangingFS
	name string
}

// hang makes every sync of the log wait, from now on, until release is called, at the latest at the
// end of the test.
func (fs *hangingFS) hang(t *testing.T) (release func()) {
	gate := make(chan struct{})
	fs.gate.Store(&gate)
	release = func() {
		if fs.gate.CompareAndSwap(&gate, nil) {
			close(gate)
		}
	}
	t.Cleanup(release)
	return release
}

// fail makes every call of a kind fail, from now on, on names that contain part.
func (fs *hangingFS) fail(kind, part string) {
	fault := func(call, name string) error {
		if call == kind && strings.Contains(name, part) {
			return fmt.Errorf("%s %s: %w", call, name, errFault)
		}
		return nil
	}
	fs.fault.Store(&fault)
}

var errFault = errors.New("the disk is broken")

func (fs *hangingFS) ask(call, name string) error {
	if fault := fs.fault.Load(); fault != nil {
		return (*fault)(call, name)
	}
	return nil
}

func (fs *hangingFS) Create(name string) (disk.File, error) {
	if err := fs.ask("create", name); err != nil {
		return nil, err
	}
	f, err := fs.OS.Create(name)
	return &hangingFile{f, fs, name}, err
}

func (fs *hangingFS) OpenRW(name string) (disk.File, error) {
	f, err := fs.OS.OpenRW(name)
	return &hangingFile{f, fs, name}, err
}

func (fs *hangingFS) Rename(from, to string) error {
	return cmp.Or(fs.ask("rename", to), fs.OS.Rename(from, to))
}

func (fs *hangingFS) Remove(name string) error {
	return cmp.Or(fs.ask("remove", name), fs.OS.Remove(name))
}

func (fs *hangingFS) SyncDir(name string) error {
	return cmp.Or(fs.ask("syncdir", name), fs.OS.SyncDir(name))
}

func (f *hangingFile) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.fs.ask("write", f.name); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, offset)
}

func (f *hangingFile) Sync() error {
	if gate := f.fs.gate.Load(); gate != nil && strings.Contains(f.name, "/wal") {
		<-*gate
	}
	return cmp.Or(f.fs.ask("sync", f.name), f.File.Sync())
}

// pitfall F3: the disk of the leader hangs. The others still hear it, and entries are still
// committed. It hands over before any member misses its heartbeats.
func TestALeaderWhoseDiskHangsHandsOverAndTheClusterGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(c *Config) { c.Heartbeat, c.Election = 50*time.Millisecond, time.Second })
		c.nodes[1].do(func(core *core) { core.campaign(Vote) }) // to save a second
		leader, follower := c.leader(), c.follower()
		c.propose(follower, "before")
		port := c.nodes[leader].Transport.(*lanPort)
		beats, campaigns := port.count(Heartbeat), c.campaigns()
		release := c.disks[leader].hang(t)
		begun := time.Now()

		agreed := 0
		for ; c.nodes[follower].Leader() == leader; agreed++ {
			c.propose(follower, fmt.Sprintf("%d, without the leader's disk", agreed))
		}
		c.propose(follower, "with another leader")

		if took := time.Since(begun); took < c.base.Election*9/10 || agreed < 10 {
			t.Errorf("another leads after %v, and %d proposals", took, agreed)
		}
		if n := port.count(Heartbeat) - beats; n < 20 { // 2 · 20 are due in an election timeout
			t.Errorf("%d heartbeats while the disk hung: they waited for it", n)
		}
		if n := c.campaigns() - campaigns; n != 0 {
			t.Errorf("the others missed their leader: %d campaigns", n)
		}
		release()
		c.equal()
	})
}

// pitfall F3
func TestAFollowerWhoseDiskHangsChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader, hung := c.leader(), c.follower()
		c.propose(hung, "before")
		before, campaigns := c.nodes[leader].Status(), c.campaigns()
		release := c.disks[hung].hang(t)

		stalled := func() (ticks int) {
			c.nodes[hung].do(func(core *core) { ticks = core.stalled - 3*core.ElectionTicks })
			return ticks
		}
		for i := 0; stalled() < 0; i++ {
			c.propose(leader, fmt.Sprintf("%d, without the follower's disk", i))
			<-time.After(time.Millisecond) // or the clock would stand still
		}

		if now := c.nodes[leader].Status(); now.Role != Leader || now.Term != before.Term ||
			c.campaigns() != campaigns {
			t.Errorf("role %d in term %d, which was %d, after %d campaigns", now.Role, now.Term, before.Term,
				c.campaigns()-campaigns)
		}
		release()
		c.equal()
	})
}

// campaigns is how often any member has asked for votes because it missed a leader.
func (c *cluster) campaigns() (n uint64) {
	for _, node := range c.nodes {
		n += node.stats.Elections.Load()
	}
	return n
}

// A leader's proposals wait a little for its own disk, so that they go as one batch. After that
// they go to the other members, which may be a majority: the loop does not sleep until the next
// tick, which is two seconds away.
func TestProposalsWaitForTheLeadersDiskForAMoment(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(c *Config) { c.Heartbeat, c.Election = 8*time.Second, 16*time.Second })
		leader := c.nodes[1]
		leader.do(func(core *core) { core.campaign(Vote) })
		c.leader()
		c.await("nothing is left to be told", func() bool { return leader.Membership().Version != "" })
		c.disks[1].hang(t)
		propose := func(cmd string) {
			go func() { _, _ = leader.Propose(context.Background(), []byte(cmd)) }() // answered when the disk goes on
		}
		propose("is being written")
		var before uint64
		c.await("the disk hangs", func() (busy bool) {
			leader.do(func(core *core) { before, busy = core.log.last(), leader.diskBusy })
			return busy
		})
		begun := time.Now()

		propose("has to wait")

		c.await("it is agreed", func() bool { return leader.stats.Committed.Load() > before })
		if took := time.Since(begun); took > 2*gatherForDisk {
			t.Errorf("it took %v", took)
		}
	})
}

// The same for the other members: their disks hang, and the leader's does not.
func TestProposalsWaitForTheBatchBeforeForAMoment(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(c *Config) { c.Heartbeat, c.Election = 8*time.Second, 16*time.Second })
		leader := c.nodes[1]
		leader.do(func(core *core) { core.campaign(Vote) })
		c.leader()
		c.await("nothing is left to be told", func() bool { return leader.Membership().Version != "" })
		c.disks[2].hang(t)
		c.disks[3].hang(t)
		var before uint64
		leader.do(func(core *core) { before = core.log.last() })
		begun := time.Now()

		for i := range 2 {
			// answered when the disks go on
			go func() { _, _ = leader.Propose(context.Background(), []byte("waits")) }()
			c.await("it is in the log", func() (there bool) {
				leader.do(func(core *core) { there = core.log.last() > before+uint64(i) })
				return there
			})
		}

		if took := time.Since(begun); took > 2*gatherForDisk || leader.stats.Committed.Load() > before {
			t.Errorf("it took %v", took)
		}
	})
}

func TestWhatALeadersProposalsWaitFor(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const now, long = time.Nanosecond, 20 * time.Millisecond
		for name, c := range map[string]struct {
			role Role
			// since when the disk is busy, and since when a batch is proposed that is not
			// committed; 0: there is none
			disk, batch time.Duration
			wait        time.Duration
		}{
			"nothing":                   {Leader, 0, 0, 0},
			"the disk":                  {Leader, now, 0, gatherForDisk},
			"the disk, no longer":       {Leader, long, 0, 0},
			"the others":                {Leader, 0, now, gatherForOthers},
			"the others, no longer":     {Leader, 0, long, 0},
			"both":                      {Leader, now, now, gatherForDisk},
			"the others, but no leader": {Follower, now, now, 0},
		} {
			n := &Node{epoch: time.Now().Add(-time.Minute),
				loopState: loopState{core: &core{role: c.role}, diskBusy: c.disk != 0}}
			begun := n.mono()
			n.diskSince = begun - int64(c.disk)
			if c.batch != 0 {
				n.commits = []commitTime{{4, begun - int64(long)}, {5, begun - int64(c.batch)}}
			}

			left := max(n.proposalsWait(), 0)

			if left > c.wait || left < c.wait-now {
				t.Errorf("%s: %v, want %v", name, left, c.wait)
			}
		}
	})
}
