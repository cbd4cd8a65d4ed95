package http

import (
	"net"
	"sync"
	"time"
)

// head is what a connection has sent of the head of a request, before net/http shows it to a
// handler; the request may then keep it until its end. Many unfinished heads at a time would fill
// the memory (J1): what exceeds freeHead is taken from the room for requests.
type head struct {
	room *room
	mute bool // no answer can be sent: it is in TLS

	mu      sync.Mutex // protects all below
	reading bool       // a head, or nothing
	size    int64
	taken   int64
	closed  bool
}

// came counts n bytes and reports whether there was room for them. Nobody's head is larger than
// maxHeaderBytes, so that what else HTTP/2 sends between two requests is not counted for ever.
func (h *head) came(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.reading || h.closed {
		return true
	}
	h.size += int64(n)
	more := min(max(h.size-freeHead, 0), maxHeaderBytes) - h.taken
	if more > 0 && !h.room.take(more) {
		return false
	}
	h.taken += more
	return true
}

// isNew reports whether nothing of a head has come yet.
func (h *head) isNew() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reading && h.size == 0
}

// next begins another head, or the handling of the one that came.
func (h *head) next(reading bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reading = reading
	if reading {
		h.giveBack()
	}
}

// end is when the connection is closed.
func (h *head) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.giveBack()
}

// giveBack empties the head. h.mu must be held.
func (h *head) giveBack() {
	if h.taken > 0 {
		h.room.give(h.taken)
	}
	h.size, h.taken = 0, 0
}

// overflow answers a head that there is no room for, as far as that goes, and is the end of the
// connection.
func (c *conn) overflow() error {
	if !c.head.mute {
		c.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		c.Conn.Write(refusal(errNoRoom.Error()))
	}
	return &net.OpError{Op: "read", Net: "tcp", Err: errNoRoom} // net/http has nothing to add to this
}
