package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"etcd2/raft"
)

var (
	errForeign = errors.New("a message from or to another than the two of the handshake") // K3
	errLane    = errors.New("a message that may not come this way")
)

// receiver is the accepted end of a stream. Messages come in; the counts of what was read go back.
type receiver struct {
	stream
	p        *peer
	other    identity
	assembly assembly
	lends    bool                   // connections may be borrowed from the other end
	wake     chan struct{}          // a count or a status is due, or a connection is wanted
	wantLoan atomic.Bool            // ask the other end for a connection
	asked    atomic.Bool            // a status is being made
	status   atomic.Pointer[[]byte] // to be sent; nil: none
	busy     atomic.Bool            // the node is working on a message
	quiet    time.Duration          // how long nothing has come
}

// run passes messages to the node until the stream ends, and returns why it did.
func (r *receiver) run() error {
	r.onBytes, r.onTick = r.arrived, r.checkSilence
	writer := make(chan bool)
	go func() { writer <- r.writeCounts() }()
	r.end(r.receive())
	r.close(<-writer)
	return r.cause
}

// receive reads frames, until something is wrong.
func (r *receiver) receive() error {
	for {
		f, err := readFrame(r.in)
		if err == nil {
			err = r.handle(f)
		}
		if err != nil {
			return err
		}
	}
}

func (r *receiver) handle(f frame) error {
	switch f.kind {
	case frameUrgent:
		return r.step(f.body, false)
	case frameBulk:
		b, err := r.assembly.add(f)
		if b == nil {
			return err
		}
		return r.step(b, true)
	case framePing:
		nudge(r.wake)
		return nil
	case frameAsk:
		if !r.asked.Swap(true) {
			go r.answer()
		}
		return nil
	case frameNews:
		return r.p.t.receiveNews(f.body)
	case frameBye:
		return saidBye(clip(string(f.body)))
	}
	return fmt.Errorf("a frame of the unknown kind %d", f.kind)
}

// step passes a message to the node. Its entries share memory with b; messages of the urgent lane,
// whose b is the read buffer, have none.
func (r *receiver) step(b []byte, bulky bool) error {
	m, err := raft.DecodeMessage(b)
	switch {
	case err != nil:
		return err
	case m.From != r.p.id || m.To != r.p.t.self.id:
		return errForeign
	case m.Kind == raft.InstallSnapshot || bulky != isBulky(&m):
		return errLane
	}
	r.busy.Store(true)
	r.p.t.in.Step(m)
	r.busy.Store(false)
	return nil
}

// answer makes a status, for writeCounts to send. It may have to wait for a disk that hangs, and
// the counts must not.
func (r *receiver) answer() {
	b := r.p.t.status()
	r.asked.Store(false)
	r.status.Store(&b)
	nudge(r.wake)
}

// arrived counts bytes as they come, not complete messages: that tells a slow link from a dead one
// (E10).
func (r *receiver) arrived(n int) {
	r.quiet = 0
	r.p.received.Add(uint64(n))
}

// listen is called for each tick in which nothing came. A sender pings long before patience is
// over: one that does not is gone without a trace, and has another connection by now if it lives.
func (r *receiver) checkSilence() error {
	if r.quiet += r.tick; r.quiet >= r.p.t.times.orphan {
		return errSilent
	}
	return nil
}

// tell sends counts until the stream ends; false when that happened in the middle of a write. While
// the node takes its time over a message, the same count goes out again and again: the sender is
// held up, and not given up.
func (r *receiver) writeCounts() (whole bool) {
	tick := time.NewTicker(2 * r.tick) // well before the sender asks for a sign of life a second time
	defer tick.Stop()
	var out, body []byte
	last := uint64(0) // the last count that was sent
	for {
		due := true
		select {
		case <-r.wake:
		case <-tick.C:
			due = r.busy.Load() || r.read.Load() != last
		case <-r.ended:
		}
		if r.hasEnded() {
			return true
		}
		if !due {
			continue
		}
		last = r.read.Load()
		body = binary.LittleEndian.AppendUint64(body[:0], last)
		out = appendFrame(out[:0], frameRead, 0, body)
		if r.wantLoan.Swap(false) {
			out = appendFrame(out, frameCall, 0, nil)
		}
		if b := r.status.Swap(nil); b != nil {
			out = appendFrame(out, frameStatus, 0, *b)
		}
		if _, err := r.conn.Write(out); err != nil {
			r.end(err)
			return false
		}
	}
}
