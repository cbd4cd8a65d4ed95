package peer

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"etcd2/raft"
)

// Sizes of what is written at a time, in bytes.
const (
	writeSize   = 64 << 10 // a write stops to gather when it has as many; a frame may go beyond
	keptScratch = 2 << 20  // a larger buffer is not kept
	urgentRoom  = 64 << 10 // urgent messages may exceed the largest window by this
	pingStep    = 64 << 10 // at most so many bytes go between two pings
)

// measurePause is the least time between two writes whose round trip is measured for its own sake:
// each count that comes back wakes goroutines at both ends, and a busy leader writes thousands of
// times a second.
const measurePause = 50 * time.Millisecond

var errCount = errors.New("more bytes were read there than written here")

// sender is the dialled end of a stream. Messages go out; the counts of what was read come back.
type sender struct {
	stream
	p     *peer
	url   string
	other identity

	out     []byte // the write that is being put together
	count   uint64 // messages whose last frame is in out
	small   []byte // an urgent message
	scratch []byte // the bulky message that is being cut into frames
	left    []byte // the part of scratch that is in no frame yet
	marked  int    // 1 if that message has entries

	flight     flight
	wantPing   atomic.Bool
	wantStatus atomic.Bool
	idle       int // ticks in which nothing came, and nothing was due
	waiting    int // ticks in which nothing came although a count was due
}

// flight is the bytes that were written and, as far as is known, not yet read at the other end. The
// other end says how many it has read when a ping at the end of a write asks for it. Invariant:
// read ≤ written, pinged ≤ written, bulk ≤ written.
type flight struct {
	mu            sync.Mutex // protects all below
	window        window
	written, read uint64    // bytes since the handshake
	pinged        uint64    // end of the last write with a ping; while it is not read, the answer is to come
	bulk          uint64    // end of the last write with a part of a bulky message
	probed        uint64    // end of the last write with a ping on an empty link
	unmeasured    int       // messages with entries since the last mark
	measured      time.Time // when one of them was last measured
	marks         []mark
}

// mark remembers when a write with a ping was begun. Its round trip stands for those of all
// messages with entries since the mark before.
type mark struct {
	end      uint64 // of the write, as a count of bytes
	at       time.Time
	messages int
	ahead    int       // bytes in flight when it was written, its own included
	first    time.Time // about when the first of them was written
	empty    bool      // none of them belonged to a bulky message
}

// run sends messages until the stream ends, and returns why it did.
func (s *sender) run() error {
	s.onBytes, s.onTick = func(int) { s.idle, s.waiting = 0, 0 }, s.checkSilence
	reader := make(chan struct{})
	go func() {
		s.end(s.readCounts())
		close(reader)
	}()
	whole := s.write()
	<-reader
	s.close(whole)
	return s.cause
}

// write writes the queued messages until the stream ends. whole is false when that happened in the
// middle of a write.
func (s *sender) write() (whole bool) {
	for !s.hasEnded() {
		now := time.Now()
		bulky, withBulk := s.gather(now)
		ping := s.wantPing.Swap(false) || s.flight.wantsPing(now, len(s.out), bulky)
		if ping {
			s.out = appendFrame(s.out, framePing, 0, nil) // last: the count covers everything before it
		}
		if len(s.out) == 0 {
			if s.p.leaves() {
				s.leaveWhenRead()
			}
			select {
			case <-s.p.wake:
			case <-s.ended:
			}
			continue
		}
		s.flight.recordWrite(now, len(s.out), bulky, withBulk, ping)
		if _, err := s.conn.Write(s.out); err != nil {
			s.end(err)
			return false
		}
		s.p.sent(s.count, len(s.out))
	}
	return true
}

// depart ends the stream once all that was written is known to be read.
func (s *sender) leaveWhenRead() {
	switch {
	case s.flight.empty():
		s.end(errLeft)
	case !s.flight.awaitsCount():
		s.requestPing()
	}
}

// gather puts one write together: first the urgent messages, then as much of the bulky ones as the
// window allows. It returns how many messages with entries end in the write, and whether the write
// has a part of a bulky message.
func (s *sender) gather(now time.Time) (ended int, bulky bool) {
	s.out, s.count = s.out[:0], 0
	urgent, room := s.flight.room(now)
	s.out = s.p.appendNews(s.out)
	if s.wantStatus.Swap(false) {
		s.out = appendFrame(s.out, frameAsk, 0, nil)
	}
	for len(s.out) < min(writeSize, urgent) && s.nextUrgent() {
	}
	for len(s.out) < min(writeSize, room) && (len(s.left) > 0 || s.nextBulky()) {
		n := min(len(s.left), maxBody)
		s.out = appendFrame(s.out, frameBulk, len(s.left)-n, s.left[:n])
		bulky = true
		if s.left = s.left[n:]; len(s.left) == 0 {
			s.count++
			ended += s.marked
		}
	}
	return ended, bulky
}

// nextUrgent puts an urgent message into the write, if there is one.
func (s *sender) nextUrgent() bool {
	m, found := s.p.dequeue(&s.p.urgent)
	if found {
		s.small = raft.AppendMessage(s.small[:0], &m)
		s.out = appendFrame(s.out, frameUrgent, 0, s.small)
		s.count++
	}
	return found
}

// nextBulky begins to cut the next bulky message into frames, if there is one.
func (s *sender) nextBulky() bool {
	m, found := s.p.dequeue(&s.p.bulky)
	if found {
		if cap(s.scratch) > keptScratch {
			s.scratch = nil
		}
		s.scratch = raft.AppendMessage(s.scratch[:0], &m)
		s.left, s.marked = s.scratch, min(len(m.Entries), 1)
	}
	return found
}

// readCounts reads the frames that come back, until the stream ends.
func (s *sender) readCounts() error {
	for {
		f, err := readFrame(s.in)
		switch {
		case err != nil:
			return err
		case f.kind == frameBye:
			return saidBye(clip(string(f.body)))
		case f.kind == frameCall:
			s.p.lend(s.url)
			continue
		case f.kind == frameStatus:
			s.p.recordStatus(f.body)
			continue
		case f.kind != frameRead || len(f.body) != 8:
			return errPieces
		}
		now := time.Now()
		marks, err := s.flight.recordRead(now, binary.LittleEndian.Uint64(f.body))
		if err != nil {
			return err
		}
		s.p.observe(now, marks)
		nudge(s.p.wake)
	}
}

// listen is called for each tick in which nothing came back. It has what is left over measured,
// asks for a sign of life where one is due, and gives up when none comes. A connection that is in
// use gets its counts, and needs no such pings.
func (s *sender) checkSilence() error {
	if s.flight.hasLeftOver() {
		s.requestPing()
	}
	if s.flight.empty() {
		s.waiting = 0
		if s.idle++; s.idle == ticksOfSilence {
			s.idle = 0
			s.requestPing()
		}
		return nil
	}
	s.waiting++
	switch s.waiting {
	case ticksOfSilence / 2:
		s.requestPing()
	case ticksOfSilence:
		return errSilent
	}
	return nil
}

// ask has a ping go with the next write, at once.
func (s *sender) requestPing() {
	s.wantPing.Store(true)
	nudge(s.p.wake)
}

// room returns how many bytes of urgent messages may go now, and how many of bulky ones.
func (f *flight) room(now time.Time) (urgent, bulky int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := int(f.written - f.read)
	if f.drains(now) {
		return f.window.most + urgentRoom - out, 0
	}
	return f.window.most + urgentRoom - out, f.window.size - out
}

// drains reports whether bulky messages are held back until the link is empty, so that its delay
// can be measured. f.mu must be held.
func (f *flight) drains(now time.Time) bool { return f.window.isOld(now) && f.probed <= f.read }

// asks reports whether a write of size bytes, in which messages with entries end, gets a ping. It
// does (1) when the link is to be measured empty, or (2) when pingStep bytes went since the last
// ping. If no ping is on its way, it also does (3) when no round trip was measured for
// measurePause, or (4) when more than half of the window is out, since only counts of bytes read
// free it.
func (f *flight) wantsPing(now time.Time, size, messages int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	end := f.written + uint64(size)
	switch {
	case f.drains(now):
		return f.bulk <= f.read || f.pinged < f.bulk
	case size == 0:
		return false
	case end-f.pinged >= pingStep:
		return true
	case f.pinged > f.read:
		return false
	}
	return messages > 0 && now.Sub(f.measured) >= measurePause || int(end-f.read) > f.window.size/2
}

// recordWrite records a write before it is begun: its size in bytes, how many messages with entries
// end in it, whether it has a part of a bulky one, and whether it ends with a ping.
func (f *flight) recordWrite(now time.Time, size, messages int, bulky, ping bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.written += uint64(size)
	f.unmeasured += messages
	if bulky {
		f.bulk = f.written
	}
	if !ping {
		return
	}
	m := mark{f.written, now, f.unmeasured, int(f.written - f.read), now, f.bulk <= f.read}
	if len(f.marks) > 0 {
		m.first = f.marks[0].at
	}
	f.marks = append(f.marks, m)
	f.pinged = f.written
	if m.empty {
		f.probed = f.written
	}
	if m.messages > 0 {
		f.unmeasured, f.measured = 0, now
	}
}

// land notes how many bytes were read at the other end, and returns the marks of the writes that
// are now read whole.
func (f *flight) recordRead(now time.Time, read uint64) (marks []mark, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if read > f.written || read < f.read {
		return nil, errCount
	}
	f.read = read
	n := 0
	for ; n < len(f.marks) && f.marks[n].end <= read; n++ {
		f.window.update(now, &f.marks[n])
	}
	marks, f.marks = f.marks[:n:n], f.marks[n:]
	return marks, nil
}

// size is how many bytes are on their way.
func (f *flight) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int(f.written - f.read)
}

// put copies the figures of the flight into s.
func (f *flight) writeTo(s *raft.PeerStats) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.InFlight, s.Window, s.Shortest = int(f.written-f.read), f.window.size, f.window.trip
}

func (f *flight) empty() bool { return f.size() == 0 }

// awaitsCount tells whether a ping is on its way.
func (f *flight) awaitsCount() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pinged > f.read
}

// hasLeftOver tells whether messages were written that no ping will measure unless one is sent for
// their sake.
func (f *flight) hasLeftOver() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unmeasured > 0 && f.pinged <= f.read
}
