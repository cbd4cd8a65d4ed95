package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// What members promise under load without a pause.

// TestWhatIsLateIsNotTakenForLost shows the same with a single leader. pitfall L5
func TestUnderStrainReadsMakeNoAppendBeSentAgain(t *testing.T) {
	pace.NeedsLong(t)
	c := startCluster(t, 3, "--heartbeat-interval=100", "--election-timeout=1000")
	leader, slow := c.leader(), c.followers()[0]
	id, link := slow.id(), c.network.link(leader, slow)
	link.slow(10 << 20)
	defer leader.readers(16)()
	calmly(t, func() (wrong string) {
		const size = 512 << 10
		bursts := figure(10, 50)
		idle := leader.carried(id, link)
		<-time.After(figure(500*time.Millisecond, 2*time.Second))
		perMessage := leader.carried(id, link).since(idle).perMessage() // of heartbeats, which the reads cause

		form := body(size)
		before := leader.carried(id, link)
		for tick, i := time.Tick(150*time.Millisecond), 0; i < bursts; i++ {
			if err := write(leader, "/burst", form); err != nil {
				t.Fatal(err)
			}
			<-tick
		}
		want := leader.applied()
		eventually(t, "the slow member has it all", patience, func() bool { return slow.applied() >= want })
		sent := leader.carried(id, link).since(before)
		ratio := (float64(sent.bytes) - perMessage*float64(sent.messages)) / float64(bursts*size)
		t.Logf("%d bursts of 512 KiB beside %d other messages of %.0f bytes: %.2f bytes sent for each byte", bursts,
			sent.messages, perMessage, ratio)
		if ratio > 1.1 {
			wrong = fmt.Sprintf("%.2f bytes sent for each byte", ratio)
		}
		return wrong
	})
}

// A carried is what a leader has sent to a member.
type carried struct{ bytes, messages int64 }

func (m *member) carried(id string, l *link) carried {
	m.t.Helper()
	return carried{l.bytes(), int64(m.metric(`etcd2_peer_sent_total{peer="` + id + `"}`))}
}

func (c carried) since(before carried) carried {
	return carried{c.bytes - before.bytes, c.messages - before.messages}
}

func (c carried) perMessage() float64 { return float64(c.bytes) / float64(max(1, c.messages)) }

// readers starts clients that read with a quorum without a pause.
func (m *member) readers(clients int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				_, _ = ask(ctx, "GET", m.url+"/v2/keys/none?quorum=true", nil) // only the load matters
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// Writes that can't be committed are forgotten when they are answered, even when there is no
// leader. pitfall L3
func TestUnderStrainASurvivorKeepsItsMemory(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	c := startCluster(t, 3, append(quick, "--enable-pprof")...)
	m := c.members[0]
	for _, other := range c.members[1:] {
		other.kill()
	}
	before := m.heap()
	asked := m.hammer(8, 100<<10, figure(5*time.Second, time.Minute))
	// the request for the metric is itself in flight
	eventually(t, "all writes are answered", patience,
		func() bool { return m.metric("etcd_http_requests_in_flight") <= 1 })
	grown := m.heap() - before
	t.Logf("%d writes of 100 KiB, whose clients hung up: there were %.1f MiB, and are %.1f more", asked, before/(1<<20),
		grown/(1<<20))
	if grown > 20<<20 {
		t.Errorf("memory grew by %.1f MiB", grown/(1<<20))
	}
}

// hammer lets clients send writes and hang up before they are answered. It returns the number of
// writes sent.
func (m *member) hammer(clients, size int, d time.Duration) int64 {
	const patient = 50 * time.Millisecond
	form := body(size)
	var asked atomic.Int64
	var all sync.WaitGroup
	once := func() {
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		asked.Add(1)
		_ = writeFor(ctx, m, "/hammered", form) // the error is that it hung up, as it should
	}
	for began, i := time.Now(), 0; i < clients; i++ {
		all.Go(func() {
			for time.Since(began) < d {
				once()
			}
		})
	}
	all.Wait()
	return asked.Load()
}

// heap returns how many bytes the member holds after two collections: the second one also frees
// pooled memory.
func (m *member) heap() float64 {
	m.t.Helper()
	m.get("/debug/pprof/heap?gc=1")
	m.get("/debug/pprof/heap?gc=1")
	return m.metric("go_memstats_alloc_bytes")
}

// tracer is a command that runs strace, which slows the system calls of a member or makes them
// fail. It runs beside the member, which keeps its process id.
func tracer(t *testing.T, inject string, more ...string) (wrap []string) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed")
	}
	if out, err := exec.Command("strace", "-D", "-f", "--seccomp-bpf", "-o", os.DevNull, "-e", "trace=fdatasync",
		"true").CombinedOutput(); err != nil {
		t.Skipf("tracing is not permitted here: %s", out)
	}
	return append([]string{"strace", "-D", "-f", "-qq", "--seccomp-bpf", "-e", "trace=fdatasync", "-e",
		"inject=fdatasync:" + inject}, more...)
}

// pitfall L6
func TestUnderStrainTheLogIsCut(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	const spare, patient = 3, 2 // files, snapshots: they are removed beside the writes
	m := newMember(t, "--snapshot-count=200", "--max-wals=1")
	m.wrap = tracer(t, "delay_enter=10000", "-o", os.DevNull) // 10 ms
	m.start()
	w := m.writers(256, 64<<10)
	saved := func() int { return int(m.metric("etcd_snapshot_saves_total")) }
	// In snapshots. fine is the last one after which there were at most spare files.
	most, longest, fine := 0, 0, 0
	// A busy machine writes little: the load continues until there are enough snapshots for a
	// result.
	for began := time.Now(); time.Since(began) < figure(8*time.Second, time.Minute) ||
		saved() < 3*patient; <-time.After(20 * time.Millisecond) {
		files, now := m.unneeded(), saved()
		if files <= spare {
			fine = now
		}
		most, longest = max(most, files), max(longest, now-fine)
	}
	w.stop()
	t.Logf("%d MiB written, %d snapshots; %d files are there; %d at most were older than what two snapshots need, "+
		"and more than %d over %d snapshots",
		w.done.Load()>>20, int(m.metric("etcd_snapshot_saves_total")), len(m.walFiles()), most, spare, longest)
	if longest > patient {
		t.Errorf("more than %d files that no snapshot needs were there over %d snapshots", spare, longest)
	}
}

// unneeded returns how many files of the log hold only entries that the second newest snapshot has:
// the log is kept for two snapshots. The names of both hold an index: that of the snapshot, and
// that of the first entry after the earlier files.
func (m *member) unneeded() (n int) {
	snaps := m.snapFiles()
	if len(snaps) < 2 {
		return 0
	}
	kept, _, _ := strings.Cut(filepath.Base(snaps[len(snaps)-2]), ".")
	for _, f := range m.walFiles() {
		_, label, _ := strings.Cut(strings.TrimSuffix(filepath.Base(f), ".wal"), "-")
		if label <= kept { // both have 16 digits
			n++
		}
	}
	return max(0, n-1) // the last of them holds the entry after the snapshot
}

// pitfall L2
func TestUnderStrainAFailedSyncEndsTheMember(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	for range figure(2, 20) {
		m := newMember(t)
		trace := filepath.Join(m.dir, "trace")
		m.wrap = tracer(t, fmt.Sprintf("error=EIO:when=%d", 20+rand.IntN(100)), "-ttt", "-o", trace)
		m.start()
		ctx, cancel := context.WithCancel(t.Context())
		l := newLoad(m)
		done := make(chan struct{})
		go func() { l.run(ctx, 64); close(done) }()
		eventually(t, "a sync fails", patience, func() bool {
			b, _ := os.ReadFile(trace)
			return strings.Contains(string(b), "(INJECTED)")
		})
		failed := time.Now()
		m.exited()
		took := time.Since(failed)
		cancel()
		<-done
		t.Logf("it ended %v after a sync of its log had failed, with %d writes acknowledged", took, len(l.acked))
	}
}

// A restart needs no more memory than running does, however often one large key was written.
//
// pitfall L15
func TestUnderStrainARestartFitsWhereTheMemberRan(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	m := startMember(t)
	const size = 1 << 20
	form := body(size)
	for range figure(120, 1500) {
		if err := write(m, "/large", form); err != nil {
			t.Fatal(err)
		}
	}
	running := m.peakMemory()
	m.kill()
	m.start()

	restarted := m.peakMemory()
	t.Logf("running took %d MiB, and the restart %d", running>>20, restarted>>20)
	if restarted > running*3/2+64<<20 {
		t.Errorf("running took %d MiB, and the restart %d", running>>20, restarted>>20)
	}
	if got := m.get("/v2/keys/large"); len(got.body) < size {
		t.Errorf("%d bytes are left: %d", len(got.body), got.status)
	}
}
