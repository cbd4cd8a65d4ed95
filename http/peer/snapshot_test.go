package peer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"etcd2/raft"
)

func installSnapshot(from, to *member) raft.Message {
	return raft.Message{Kind: raft.InstallSnapshot, From: from.id, To: to.id, Term: 2,
		Snapshot: &raft.Snapshot{Index: 9, Term: 2}}
}

// install sends body as a snapshot and returns what done was told.
func install(t testing.TB, from, to *member, body io.Reader, size int64) error {
	t.Helper()
	told := make(chan error, 2)
	from.SendSnapshot(installSnapshot(from, to), io.NopCloser(body), size, func(err error) { told <- err })
	select {
	case err := <-told:
		return err
	case <-time.After(patience):
		t.Fatal("done is not called")
		return nil
	}
}

// taken is what a member made of a snapshot.
type taken struct {
	m   raft.Message
	sum [32]byte
	err error
}

// takeAll lets the member take snapshots, whole ones only.
func (m *member) takeAll() <-chan taken {
	c := make(chan taken, 100)
	m.receive = func(msg raft.Message, body io.Reader, size int64) error {
		h := sha256.New()
		n, err := io.Copy(h, body)
		if err == nil && n != size {
			err = io.ErrShortBuffer
		}
		c <- taken{msg, [32]byte(h.Sum(nil)), err}
		return err
	}
	return c
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func TestASnapshotArrivesWhole(t *testing.T) {
	a, b := pair(t)
	arrived := b.takeAll()
	for _, size := range []int{0, 1, snapshotPiece, 3<<20 + 7} {
		content := noise(size)
		path := filepath.Join(t.TempDir(), "snapshot")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}

		told := make(chan error)
		a.SendSnapshot(installSnapshot(a, b), file, int64(size), func(err error) { told <- err })

		if err := <-told; err != nil {
			t.Fatal(err)
		}
		got := <-arrived
		if got.err != nil || got.sum != sha256.Sum256(content) || got.m.Snapshot.Index != 9 {
			t.Errorf("%d bytes: %v, %v", size, got.m, got.err)
		}
		if _, err := file.Read(nil); !errors.Is(err, os.ErrClosed) {
			t.Error("the file is still open")
		}
	}
	if s := a.Peers()[b.id]; s.Snapshots != 4 || s.SnapshotsFailed != 0 {
		t.Errorf("stats are %+v", s)
	}
}

// breaking is a reader that calls cut when n bytes of r were read.
func breaking(r io.Reader, n int, cut func()) io.Reader {
	return io.MultiReader(io.LimitReader(r, int64(n)), calling(cut), r)
}

// calling is a reader of nothing that calls a function.
type calling func()

func (f calling) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

func TestASnapshotThatBreaksOffIsNeverWhole(t *testing.T) { // pitfall E9
	synctest.Test(t, func(t *testing.T) {
		a, b := newMember(t, 0xa), newMember(t, 0xb)
		k := newLink(t, b, 0)
		b.Transport.cfg.URLs = []string{k.url()}
		arrived := b.takeAll()
		b.start()
		a.start(at(b.id, k.url()))
		connected(t, a)
		content := noise(1 << 20)
		r := rand.New(rand.NewPCG(3, 4))
		for range 20 {
			at := r.IntN(len(content))
			err := install(t, a, b, breaking(bytes.NewReader(content), at, k.cut), int64(len(content)))

			if err == nil {
				t.Fatalf("cut at %d, and sent whole", at)
			}
		}
		for len(arrived) > 0 {
			if got := <-arrived; got.err == nil {
				t.Fatal("a snapshot that was cut off is taken for whole")
			}
		}
		if s := a.Peers()[b.id]; s.SnapshotsFailed != 20 || s.Snapshots != 0 {
			t.Errorf("stats are %+v", s)
		}
	})
}

// snapshotFile is a snapshot whose transfer can be resumed.
type snapshotFile struct {
	*bytes.Reader
	sum uint32
}

func (f *snapshotFile) Sum() uint32  { return f.sum }
func (f *snapshotFile) Close() error { return nil }

// installFile sends a file as a snapshot.
func installFile(from, to *member, content []byte) error {
	told := make(chan error)
	f := &snapshotFile{bytes.NewReader(content), crc32.ChecksumIEEE(content)}
	from.SendSnapshot(installSnapshot(from, to), f, int64(len(content)), func(err error) { told <- err })
	return <-told
}

// overLink makes two members, and a link over which everything goes that a sends to b.
func overLink(t *testing.T, rate int) (a, b *member, k *link) {
	a, b = newMember(t, 0xa), newMember(t, 0xb)
	k = newLink(t, b, rate)
	b.Transport.cfg.URLs = []string{k.url()}
	b.start()
	a.start(at(b.id, k.url()))
	connected(t, a)
	return a, b, k
}

// pitfall E10: each byte is sent once, however often the transfer breaks.
func TestASnapshotThatBrokeGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, k := overLink(t, 0)
		arrived := b.takeAll()
		content := noise(4 << 20)
		r := rand.New(rand.NewPCG(5, 6))
		before, cuts := k.passed.Load(), 0
		for cuts < 20 {
			k.cutAfter(int64(len(content)/8 + r.IntN(len(content)/8)))
			if installFile(a, b, content) == nil {
				break
			}
			cuts++
		}

		var last taken
		for len(arrived) > 0 {
			last = <-arrived
		}
		if last.err != nil || last.sum != sha256.Sum256(content) {
			t.Errorf("what has come is not what was sent: %v", last.err)
		}
		passed := k.passed.Load() - before
		t.Logf("%d bytes were sent of %d, over %d connections", passed, len(content), cuts+1)
		if float64(passed) > 1.01*float64(len(content)) || cuts < 3 {
			t.Error("it began anew")
		}
	})
}

// breakOff cuts a link while the first snapshot is received over it, when a MiB has come.
func (m *member) breakOff(k *link) {
	var cut atomic.Bool
	take := m.receive
	m.receive = func(msg raft.Message, body io.Reader, size int64) error {
		if !cut.Swap(true) {
			body = breaking(body, 1<<20, k.cut)
		}
		return take(msg, body, size)
	}
}

func TestAnotherSnapshotBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, change := range map[string]func(b *member, content []byte) []byte{
			"a newer one":                 func(b *member, content []byte) []byte { return noise(len(content) + 1) },
			"one that has the same size":  func(b *member, content []byte) []byte { return append([]byte{^content[0]}, content[1:]...) },
			"the receiver has restarted":  func(b *member, content []byte) []byte { b.kept.name = ""; return content },
			"nothing of it has come else": func(b *member, content []byte) []byte { b.kept.b.Reset(); return content },
		} {
			a, b, k := overLink(t, 0)
			arrived := b.takeAll()
			b.breakOff(k)
			content := noise(6 << 20) // more than the buffers on the way hold
			if installFile(a, b, content) == nil {
				t.Fatal("it is not cut")
			}
			<-arrived
			content = change(b, content)

			err := installFile(a, b, content)

			if got := <-arrived; err != nil || got.err != nil || got.sum != sha256.Sum256(content) {
				t.Errorf("%s: %v, %v", name, err, got.err)
			}
		}
	})
}

func TestASnapshotShorterThanAnnouncedIsNeverWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		arrived := b.takeAll()

		err := install(t, a, b, strings.NewReader("short"), 1000)

		if !errors.Is(err, errLength) {
			t.Errorf("done is told %v", err)
		}
		if got := <-arrived; got.err != io.ErrUnexpectedEOF {
			t.Errorf("the receiver sees %v", got.err)
		}
	})
}

func TestTheAnswerSaysWhyASnapshotWasNotTaken(t *testing.T) {
	a, b := pair(t)
	b.receive = func(m raft.Message, body io.Reader, size int64) error {
		io.CopyN(io.Discard, body, 100_000)
		return errors.New("the disk is full")
	}

	err := install(t, a, b, bytes.NewReader(noise(8<<20)), 8<<20)

	if err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("done is told %v", err)
	}
}

func TestASnapshotThatBringsNothingNewNeedNotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		b.receive = func(m raft.Message, body io.Reader, size int64) error { return nil }
		for _, size := range []int{4, 8 << 20} {
			if err := install(t, a, b, bytes.NewReader(noise(size)), int64(size)); err != nil {
				t.Errorf("%d bytes: done is told %v", size, err)
			}
		}
	})
}

func TestASlowSnapshotPassesAsLongAsItGetsOn(t *testing.T) { // pitfall E10
	synctest.Test(t, func(t *testing.T) {
		a, b := newMember(t, 0xa), newMember(t, 0xb)
		k := newLink(t, b, 2_000_000)
		b.Transport.cfg.URLs = []string{k.url()}
		for _, m := range []*member{a, b} {
			m.Transport.times.piece = time.Second
		}
		arrived := b.takeAll()
		b.start()
		a.start(at(b.id, k.url()))
		connected(t, a)

		if err := install(t, a, b, bytes.NewReader(noise(5_000_000)), 5_000_000); err != nil { // two and a half seconds
			t.Error(err)
		}

		if got := <-arrived; got.err != nil {
			t.Error(got.err)
		}
	})
}

// The kernel has taken megabytes before the link has passed the first piece of them.
func TestAPieceMayWaitForTheKernelsBufferAsLongAsBytesArrive(t *testing.T) { // pitfalls E10, L7
	synctest.Test(t, func(t *testing.T) {
		a, b := newMember(t, 0xa), newMember(t, 0xb)
		k := newLink(t, b, 3_000_000)
		b.Transport.cfg.URLs = []string{k.url()}
		for _, m := range []*member{a, b} {
			m.Transport.times.piece = 500 * time.Millisecond
		}
		arrived := b.takeAll()
		b.start()
		a.start(at(b.id, k.url()))
		connected(t, a)

		if err := install(t, a, b, bytes.NewReader(noise(9_000_000)), 9_000_000); err != nil {
			t.Error(err)
		}

		if got := <-arrived; got.err != nil {
			t.Error(got.err)
		}
	})
}

// pitfall L7: a round trip for the head, one for the answer, and the pace sets the rest.
func TestASnapshotFillsAFarLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const trip, size = 100 * time.Millisecond, 64 << 20
		a, b := far(t, 0, trip)
		b.takeAll()
		begun := time.Now()

		if err := install(t, a, b, bytes.NewReader(make([]byte, size)), size); err != nil {
			t.Fatal(err)
		}

		if took, limit := time.Since(begun), 2*trip+time.Second*size/DefaultSnapshotRate; took > limit {
			t.Errorf("it took %v, more than %v", took, limit)
		}
	})
}

func TestAReceiverMayTakeItsTimeWithTheWholeFile(t *testing.T) { // pitfall E10
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		for _, m := range []*member{a, b} {
			m.Transport.times.piece = 300 * time.Millisecond
		}
		b.receive = func(m raft.Message, body io.Reader, size int64) error {
			_, err := io.Copy(io.Discard, body)
			time.Sleep(900 * time.Millisecond) // the disk
			return err
		}

		if err := install(t, a, b, strings.NewReader("file"), 4); err != nil {
			t.Error(err)
		}
	})
}

func TestASnapshotThatStandsStillIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newMember(t, 0xa), newMember(t, 0xb)
		k := newLink(t, b, 0)
		b.Transport.cfg.URLs = []string{k.url()}
		for _, m := range []*member{a, b} {
			m.Transport.times.piece = 200 * time.Millisecond
		}
		begun, seen := make(chan bool), make(chan error, 1)
		b.receive = func(m raft.Message, body io.Reader, size int64) error {
			close(begun)
			_, err := io.Copy(io.Discard, body)
			seen <- err
			return err
		}
		b.start()
		a.start(at(b.id, k.url()))
		connected(t, a)
		freeze := func() {
			<-begun
			k.frozen.Store(true)
		}

		err := install(t, a, b, breaking(bytes.NewReader(noise(4<<20)), 1<<20, freeze), 4<<20)

		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("done is told %v", err)
		}
		if err := <-seen; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the receiver sees %v", err)
		}
	})
}

// The core asks again when it has seen the messages' connection break: it gets the result of the
// transfer under way.
func TestOneSnapshotAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		begun, end := make(chan bool, 3), make(chan bool)
		b.receive = func(m raft.Message, body io.Reader, size int64) error {
			begun <- true
			<-end
			_, err := io.Copy(io.Discard, body)
			return err
		}
		told := make(chan error)
		for range 3 {
			a.SendSnapshot(installSnapshot(a, b), io.NopCloser(strings.NewReader("file")), 4,
				func(err error) { told <- err })
		}
		<-begun

		close(end)

		for range 3 {
			if err := <-told; err != nil {
				t.Error(err)
			}
		}
		if s := a.Peers()[b.id]; s.Snapshots != 1 || s.SnapshotsFailed != 0 || len(begun) > 0 {
			t.Errorf("stats are %+v", s)
		}
		a.want(t, 1, "sending a snapshot")
		a.want(t, 1, "sent a snapshot")
	})
}

// A member has but one transfer under way, so the older one is of a connection that has broken
// unnoticed.
func TestANewerTransferOfTheSameMemberTakesTheOldersPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newMember(t, 0xb)
		begun, ended := make(chan bool, 2), make(chan error, 2)
		b.receive = func(m raft.Message, body io.Reader, size int64) error {
			begun <- true
			_, err := io.Copy(io.Discard, body)
			ended <- err
			return err
		}
		b.start()
		m := raft.Message{Kind: raft.InstallSnapshot, From: 0xa, To: b.id, Snapshot: &raft.Snapshot{}}
		post := func(file string) net.Conn {
			body := appendPreamble(&m, 4)
			h := head(b)
			h.Del("Upgrade")
			h.Set("Connection", "close")
			h.Set("Content-Length", strconv.Itoa(len(body)+4))
			conn, err := b.dial()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: b\r\n", snapshotPath)
			h.Write(conn)
			fmt.Fprintf(conn, "\r\n%s%s", body, file)
			return conn
		}

		post("fi")
		<-begun
		second := post("file")

		if err := <-ended; err == nil {
			t.Error("the older transfer is whole")
		}
		if err := <-ended; err != nil {
			t.Errorf("the newer one: %v", err)
		}
		if r, err := http.ReadResponse(bufio.NewReader(second), nil); err != nil || r.StatusCode != http.StatusOK {
			t.Errorf("it is answered %v, %v", r, err)
		}
	})
}

func TestSnapshotsGoToMembersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newMember(t, 0xa), newMember(t, 0xb)
		b.start()
		b.become(nil, []uint64{a.id})
		a.start()
		if err := install(t, a, b, strings.NewReader("file"), 4); !errors.Is(err, errLeft) {
			t.Errorf("to nobody: %v", err)
		}
		a.Close()
		if err := install(t, a, b, strings.NewReader("file"), 4); !errors.Is(err, errClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestARequestThatIsNoSnapshotIsRefused(t *testing.T) { // pitfall K5
	b := newMember(t, 0xb)
	b.start()
	b.takeAll()
	good := raft.Message{Kind: raft.InstallSnapshot, From: 0xa, To: b.id, Snapshot: &raft.Snapshot{}}
	other, vote := good, raft.Message{Kind: raft.Vote, From: 0xa, To: b.id}
	other.From = 0xc
	flipped := append(appendPreamble(&good, 4), "file"...)
	flipped[preambleSize+1] ^= 1
	for name, body := range map[string][]byte{
		"empty":      nil,
		"cut":        appendPreamble(&good, 4)[:10],
		"too long":   append(appendPreamble(&good, 4), "file and more"...),
		"negative":   appendPreamble(&good, -1),
		"huge":       appendPreamble(&good, 1<<62),
		"a stranger": append(appendPreamble(&other, 4), "file"...),
		"a vote":     append(appendPreamble(&vote, 4), "file"...),
		"flipped":    flipped,
	} {
		h := head(b)
		h.Del("Upgrade")
		h.Del("Connection")
		request, _ := http.NewRequest("POST", b.url()+snapshotPath, bytes.NewReader(body))
		request.Header = h
		r, err := http.DefaultClient.Do(request)
		if err != nil || r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %v, %v", name, r, err)
			continue
		}
		r.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestCloseEndsTransfers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		begun := make(chan bool)
		seen := make(chan error, 1)
		b.receive = func(m raft.Message, body io.Reader, size int64) error {
			begun <- true
			_, err := io.Copy(io.Discard, body)
			seen <- err
			return err
		}
		told := make(chan error, 1)
		r, w := io.Pipe()
		a.SendSnapshot(installSnapshot(a, b), r, 4, func(err error) { told <- err })
		<-begun

		b.Close()

		if err := <-seen; err == nil {
			t.Error("the receiver sees a whole file")
		}
		w.Write([]byte("f")) // the sender waits for its file; Close of it would, too
		w.Close()
		if err := <-told; err == nil {
			t.Error("sent to a member that is closed")
		}
	})
}

func TestThePaceIsSharedAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace{rate: 10 << 20}
		begun := time.Now()
		done := make(chan bool)
		for range 4 {
			go func() {
				for range 16 {
					p.wait(context.Background(), snapshotPiece) // 4 MiB in all
				}
				done <- true
			}()
		}
		for range 4 {
			<-done
		}

		const last = time.Second * snapshotPiece / (10 << 20) // it need not be waited for when it is sent
		if took := time.Since(begun); took != 400*time.Millisecond-last-paceSlack {
			t.Errorf("4 MiB at 10 MiB/s took %v", took)
		}
	})
}
