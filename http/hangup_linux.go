package http

import (
	"os"
	"sync"
	"syscall"
)

// hangups tells connections when their clients hang up. It has an epoll of its own, besides the one
// of package net, that waits for hangups alone. All methods may be called from any goroutine.
type hangups struct {
	fd     int
	socket syscall.RawConn // of fd; package os waits for it

	mu    sync.Mutex // protects what follows
	last  uint64
	conns map[uint64]*conn // by a number; descriptors won't do, as they are used again
}

// theHangups belongs to the process, and is never closed; nil when the system refuses another
// epoll.
var theHangups = sync.OnceValue(func() *hangups {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	syscall.SetNonblock(fd, true) // tells os.NewFile to use its poller
	socket, err := os.NewFile(uintptr(fd), "epoll").SyscallConn()
	if err != nil {
		return nil
	}
	h := &hangups{fd: fd, socket: socket, conns: map[uint64]*conn{}}
	go h.run()
	return h
})

// run tells the connections. It ends with the process.
func (h *hangups) run() {
	var events [64]syscall.EpollEvent
	h.socket.Read(func(uintptr) bool {
		for {
			n, err := syscall.EpollWait(h.fd, events[:], 0)
			for i := range max(n, 0) {
				h.conn(&events[i]).clientLeft()
			}
			if n <= 0 && err != syscall.EINTR {
				return false
			}
		}
	})
}

// conn returns the connection that an event is about; nil when it is closed.
func (h *hangups) conn(e *syscall.EpollEvent) *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.conns[uint64(uint32(e.Fd))<<32|uint64(uint32(e.Pad))]
}

// add has c told of its client's hangup, also of one that has already happened. It returns the
// number of c for remove; 0 when c is no socket or is closed, or the system watches too many.
func (h *hangups) add(c *conn) (number uint64) {
	raw := rawConn(c)
	if h == nil || raw == nil {
		return 0
	}
	h.mu.Lock()
	h.last++
	number = h.last
	h.conns[number] = c
	h.mu.Unlock()
	const edge = 1 << 31 // EPOLLET: each event is reported once. In package syscall it is negative.
	e := syscall.EpollEvent{Events: syscall.EPOLLRDHUP | edge, Fd: int32(number >> 32), Pad: int32(number)}
	var err error
	closed := raw.Control(func(fd uintptr) { err = syscall.EpollCtl(h.fd, syscall.EPOLL_CTL_ADD, int(fd), &e) })
	if closed != nil || err != nil {
		h.remove(number)
		return 0
	}
	return number
}

// remove forgets a connection. The system forgets it by itself when it is closed.
func (h *hangups) remove(number uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, number)
}
