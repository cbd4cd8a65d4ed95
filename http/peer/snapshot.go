package peer

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"etcd2/raft"
)

// The body of a snapshot's request:
//
//	 0      4      8              16
//	┌──────┬──────┬──────────────┬─────────┬───────────────────┐
//	│ CRC  │length│ size         │ message │ the snapshot's    │
//	│      │      │              │         │ file, size bytes  │
//	└──────┴──────┴──────────────┴─────────┴───────────────────┘
//
//	CRC     CRC-32C of everything behind it up to the file, which has a checksum of its own
//	length  of the encoded InstallSnapshot
//	size    of the whole file
//
// Headers of the request may give the file's name, and the offset at which the sent part begins. If
// the receiver has kept another number of bytes of the file with that name, from a transfer that
// broke, it answers 416 with that number, and the sender goes on there.
//
// The sender waits for 100 Continue before it sends the body, so that a refusal costs nothing. The
// receiver answers 200 when the file is durable. Until then it sends 102 Processing at intervals,
// as long as bytes arrive. These show the sender that the transfer makes progress: the kernel makes
// its buffers as large as a fast and far link needs, so that a piece may stay in them for longer
// than timeouts.piece, and writing the whole file to the disk takes time.
const (
	preambleSize    = 16
	maxSnapshotHead = 4 << 20  // of a message; most of it is the membership with all ids ever removed
	snapshotPiece   = 64 << 10 // of a file; within timeouts.piece one must arrive
)

var (
	errNoURL  = errors.New("no URL of the member is known")
	errLength = errors.New("the body is not as long as announced")
)

// SendSnapshot sends a snapshot on a connection of its own, one at a time to each member. When it
// is called while another one is under way, done gets the result of that one; the caller may try
// again.
func (t *Transport) SendSnapshot(m raft.Message, body io.ReadCloser, size int64, done func(error)) {
	fail := func(err error) {
		body.Close()
		go done(err)
	}
	if !t.enter() {
		fail(errClosed)
		return
	}
	t.mu.RLock()
	p := t.peers[m.To]
	t.mu.RUnlock()
	switch {
	case p == nil:
		t.running.Done()
		fail(errLeft)
	case !p.beginSending(done):
		t.running.Done()
		body.Close()
	default:
		go func() {
			defer t.running.Done()
			err := p.sendSnapshot(&m, body, size)
			body.Close()
			p.endSending(err)
		}()
	}
}

// beginSending reports whether a transfer may begin. If not, one is under way. In both cases done
// is called with the result of the transfer.
func (p *peer) beginSending(done func(error)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sending = append(p.sending, done)
	return len(p.sending) == 1
}

func (p *peer) endSending(err error) {
	var waiting []func(error)
	p.set(func() { waiting, p.sending = p.sending, nil })
	for _, done := range waiting {
		done(err)
	}
}

// sendSnapshot sends a snapshot to the first URL that takes it.
func (p *peer) sendSnapshot(m *raft.Message, body io.Reader, size int64) (err error) {
	begun := time.Now()
	f := raft.SnapshotFile{Size: size, Name: nameOf(m.Snapshot, body, size)}
	head := appendPreamble(m, size)
	err = errNoURL
	for _, u := range p.candidates() {
		var c *call
		if c, err = p.dialSnapshot(u, len(head), &f); err == nil {
			p.logSending(m.Snapshot, f)
			if err = skip(body, f.From); err == nil {
				err = p.sendBody(c, head, body, size-f.From)
			}
			c.Close()
			break // body was read, and can't be sent again
		}
		p.t.handleRefusal(p, u, err)
	}
	p.snapshotDone(err)
	if err != nil {
		if kept, due := p.t.notices.due("snapshot to " + hex(p.id)); due {
			p.t.log.Warn("a snapshot did not arrive",
				"member", hex(p.id), "index", m.Snapshot.Index, "err", err, "timesBefore", kept)
		}
		return fmt.Errorf("peer: snapshot %d to %x: %w", m.Snapshot.Index, p.id, err)
	}
	p.t.notices.forget("snapshot to " + hex(p.id))
	p.t.notices.forget("sending to " + hex(p.id))
	p.t.log.Info("sent a snapshot", "member", hex(p.id), "index", m.Snapshot.Index,
		"bytes", size-f.From, "seconds", time.Since(begun).Seconds())
	return nil
}

// logSending logs that a transfer begins, unless an earlier one that has not arrived was logged.
func (p *peer) logSending(s *raft.Snapshot, f raft.SnapshotFile) {
	if _, due := p.t.notices.due("sending to " + hex(p.id)); due {
		p.t.log.Info("sending a snapshot", "member", hex(p.id), "index", s.Index, "bytes", f.Size, "from", f.From)
	}
}

// nameOf returns a name for the file in body, by which the transfer can be resumed; "" when it
// can't be.
func nameOf(s *raft.Snapshot, body io.Reader, size int64) string {
	f, resumable := body.(interface {
		io.Seeker
		Sum() uint32
	})
	if !resumable {
		return ""
	}
	return fmt.Sprintf("%d@%d-%d-%08x", s.Index, s.Term, size, f.Sum())
}

// skip moves body to the offset at which the transfer begins.
func skip(body io.Reader, from int64) error {
	if from == 0 {
		return nil
	}
	_, err := body.(io.Seeker).Seek(from, io.SeekStart) // from > 0 only if nameOf found a Seeker
	return err
}

// keptThere is the error of a transfer that must begin at another offset: the receiver has kept
// that many bytes of the file.
type keptThere int64

// Error gives the number of bytes.
func (k keptThere) Error() string { return fmt.Sprintf("%d bytes of the snapshot are there", int64(k)) }

// dialSnapshot calls the member. If the member has kept another number of bytes than f.From, it
// corrects f.From and calls once more.
func (p *peer) dialSnapshot(u string, head int, f *raft.SnapshotFile) (*call, error) {
	c, _, err := p.dial(u, http.MethodPost, snapshotPath, snapshotHeader(head, *f), http.StatusContinue)
	if kept, ok := err.(keptThere); ok && f.Name != "" && int64(kept) <= f.Size {
		f.From = int64(kept)
		c, _, err = p.dial(u, http.MethodPost, snapshotPath, snapshotHeader(head, *f), http.StatusContinue)
	}
	return c, err
}

func snapshotHeader(head int, f raft.SnapshotFile) http.Header {
	h := http.Header{"Expect": {"100-continue"}, "Content-Type": {"application/octet-stream"},
		"Content-Length": {strconv.FormatInt(int64(head)+f.Size-f.From, 10)}}
	if f.Name != "" {
		h.Set("Etcd2-Snapshot", f.Name)
		h.Set("Etcd2-Offset", strconv.FormatInt(f.From, 10))
	}
	return h
}

func appendPreamble(m *raft.Message, size int64) []byte {
	b := raft.AppendMessage(make([]byte, preambleSize), m)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-preambleSize))
	binary.LittleEndian.PutUint64(b[8:], uint64(size))
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// pour sends the body, piece by piece, and returns the receiver's answer. That may come before the
// end: the receiver may refuse the snapshot, or accept it without the bytes when it does not need
// them.
func (p *peer) sendBody(c *call, head []byte, body io.Reader, size int64) error {
	answered := make(chan error, 1)
	go func() { answered <- p.awaitAnswer(c) }()
	err := p.sendPieces(c, head, body, size, answered)
	if err == nil || broke(err) {
		if said := <-answered; err == nil || !broke(said) {
			return said
		}
		return err
	}
	c.Close()
	<-answered
	return err
}

// sendPieces ends early, without an error, when the receiver has answered.
func (p *peer) sendPieces(c *call, head []byte, body io.Reader, size int64, answered <-chan error) error {
	err := p.writePiece(c, func() error { _, err := c.Conn.Write(head); return err })
	for left := size; left > 0 && err == nil && len(answered) == 0; {
		n := min(left, snapshotPiece)
		if err := p.t.pace.wait(p.ctx, n); err != nil {
			return errClosed
		}
		err = p.writePiece(c, func() error { _, err := io.CopyN(c.Conn, body, n); return err })
		left -= n
	}
	if err == io.EOF {
		return errLength
	}
	return err
}

// writePiece runs a write with a deadline of timeouts.piece. awaitAnswer renews the deadline with
// each sign of life of the receiver: the kernel may have to send megabytes before it has room for a
// piece.
func (p *peer) writePiece(c *call, write func() error) error {
	c.SetWriteDeadline(time.Now().Add(p.t.times.piece))
	if p.ctx.Err() != nil { // checked last: the new deadline may have replaced the one that dial sets at the end
		return errClosed
	}
	return write()
}

// awaitAnswer reads the answer, and the signs of life (102 Processing) before it.
func (p *peer) awaitAnswer(c *call) error {
	for {
		c.SetDeadline(time.Now().Add(p.t.times.piece))
		if p.ctx.Err() != nil {
			c.SetDeadline(longAgo)
			return errClosed
		}
		r, err := c.answer(http.MethodPost)
		switch {
		case err != nil:
			return err
		case r.StatusCode == http.StatusOK:
			return nil
		case r.StatusCode >= 200:
			me := p.t.self
			me.to = p.id
			return readAnswer(r, me)
		}
	}
}

// acceptSnapshot passes the body of a request to the node.
func (t *Transport) acceptSnapshot(p *peer, w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	in := &incoming{p: p, body: r.Body, c: c, ended: make(chan struct{})}
	in.ctx, in.cancel = context.WithCancelCause(p.ctx)
	defer context.AfterFunc(in.ctx, func() { c.SetReadDeadline(longAgo) })()
	defer p.endReceiving(in)
	if !p.beginReceiving(in) {
		sendAnswer(w, http.StatusConflict, answer{Message: "another snapshot from this member is being received"})
		return
	}
	in.file = raft.SnapshotFile{Name: clip(r.Header.Get("Etcd2-Snapshot")), From: offset(r.Header)}
	if kept := in.kept(); kept != in.file.From {
		w.Header().Set("Etcd2-Offset", strconv.FormatInt(kept, 10))
		sendAnswer(w, http.StatusRequestedRangeNotSatisfiable, answer{Message: keptThere(kept).Error()})
		return
	}
	m, err := in.preamble(r.ContentLength)
	if err != nil {
		sendAnswer(w, http.StatusBadRequest, answer{Message: err.Error()})
		return
	}
	stop := in.showLife(w)
	err = t.in.ReceiveSnapshot(m, in.file, in)
	stop()
	c.SetWriteDeadline(time.Now().Add(t.times.piece))
	if err != nil {
		if kept, due := t.notices.due("snapshot from " + hex(p.id)); due {
			t.log.Warn("receiving a snapshot has failed",
				"member", hex(p.id), "index", m.Snapshot.Index, "err", err, "timesBefore", kept)
		}
		sendAnswer(w, http.StatusInternalServerError, answer{Message: err.Error()})
		return
	}
	t.notices.forget("snapshot from " + hex(p.id))
	w.WriteHeader(http.StatusOK)
}

// offset returns the offset in a request's header; 0 without one, -1 when it is not a number.
func offset(h http.Header) int64 {
	n, err := strconv.ParseInt(cmp.Or(h.Get("Etcd2-Offset"), "0"), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// kept returns how many bytes of the file are here from a transfer that broke.
func (in *incoming) kept() int64 {
	if in.file.Name == "" {
		return 0
	}
	return in.p.t.in.Kept(in.file.Name)
}

// beginReceiving makes in the only transfer from the member, and reports whether it could. The
// member has only one under way, so an older one here belongs to a connection that has broken
// unnoticed, and is ended. beginReceiving reports false when the older one does not end in time,
// for example because its file is complete and being checked.
func (p *peer) beginReceiving(in *incoming) bool {
	var older *incoming
	p.set(func() { older, p.receiving = p.receiving, in })
	if older == nil {
		return true
	}
	older.cancel(errReplaced)
	late := time.NewTimer(p.t.times.handshake / 2)
	defer late.Stop()
	select {
	case <-older.ended:
		return true
	case <-in.ctx.Done():
	case <-late.C:
	}
	return false
}

// endReceiving records the end of a transfer.
func (p *peer) endReceiving(in *incoming) {
	p.set(func() {
		if p.receiving == in {
			p.receiving = nil
		}
	})
	in.cancel(nil)
	close(in.ended)
}

// incoming is the body of a snapshot's request: first the preamble, then the file, whose reader it
// is.
type incoming struct {
	p      *peer
	body   io.Reader
	c      *http.ResponseController
	ctx    context.Context // done when the body may no longer be read
	cancel context.CancelCauseFunc
	ended  chan struct{} // closed when the request is answered
	file   raft.SnapshotFile
	left   int64 // bytes of it to come
}

// Read reads from the file. Each piece has its time, and the whole has none (E10). The file ends
// with io.EOF only when it is whole (E9).
func (in *incoming) Read(b []byte) (int, error) {
	if in.left == 0 {
		return 0, io.EOF
	}
	n, err := in.piece(b[:min(int64(len(b)), in.left)])
	in.left -= int64(n)
	switch {
	case in.left == 0:
		err = nil
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// piece reads from the body.
func (in *incoming) piece(b []byte) (int, error) {
	in.c.SetReadDeadline(time.Now().Add(in.p.t.times.piece))
	if in.ctx.Err() != nil {
		return 0, errClosed
	}
	n, err := in.body.Read(b)
	in.p.received.Add(uint64(n))
	return n, err
}

// preamble reads the part of the body before the file. It refuses lengths beyond their limit, or
// that contradict the request's (K5).
func (in *incoming) preamble(length int64) (m raft.Message, err error) {
	head := make([]byte, preambleSize)
	if _, err := io.ReadFull(pieces{in}, head); err != nil {
		return m, err
	}
	n := int64(binary.LittleEndian.Uint32(head[4:]))
	size, from := int64(binary.LittleEndian.Uint64(head[8:])), in.file.From
	if n > maxSnapshotHead || from < 0 || size < from || length-preambleSize-n != size-from {
		return m, errLength
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(pieces{in}, b); err != nil {
		return m, err
	}
	if crc32.Update(crc32.Checksum(head[4:], castagnoli), castagnoli, b) != binary.LittleEndian.Uint32(head) {
		return m, errChecksum
	}
	if m, err = raft.DecodeMessage(b); err != nil {
		return m, err
	}
	switch {
	case m.Kind != raft.InstallSnapshot:
		return m, errLane
	case m.From != in.p.id || m.To != in.p.t.self.id:
		return m, errForeign
	}
	in.file.Size, in.left = size, size-from
	return m, nil
}

// pieces is the reader of the body before the file.
type pieces struct{ in *incoming }

// Read reads from the body.
func (p pieces) Read(b []byte) (int, error) { return p.in.piece(b) }

// showLife sends 102 Processing at intervals until stop returns. Nothing else may write to w in
// that time. Each one shows progress: if bytes no longer came, Read would have ended the transfer.
func (in *incoming) showLife(w http.ResponseWriter) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(in.p.t.times.piece / 4)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				in.c.SetWriteDeadline(time.Now().Add(in.p.t.times.piece))
				w.WriteHeader(http.StatusProcessing)
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); <-ended }
}

// pace spreads bytes over time: all transfers that wait for it stay below its rate together.
type pace struct {
	rate int64 // bytes a second

	mu   sync.Mutex // protects next
	next time.Time  // when the next bytes may go
}

// paceSlack is how late bytes may be and still count as on time, so that a timer that fires late
// costs no rate.
const paceSlack = 20 * time.Millisecond

// wait waits for the turn of n bytes.
func (p *pace) wait(ctx context.Context, n int64) error {
	p.mu.Lock()
	now := time.Now()
	if early := now.Add(-paceSlack); p.next.Before(early) {
		p.next = early
	}
	d := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(n * int64(time.Second) / p.rate))
	p.mu.Unlock()
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
