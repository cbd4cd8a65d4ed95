package http

import (
	"os"
	"sync"
	"syscall"
)

// hangups tells connections when their clients hang up. It is an epoll of the system, besides the
// one of package net, which hears of nothing but that. All methods may be called from any
// goroutine.
type hangups struct {
	fd     int
	socket syscall.RawConn // fd for package os, which waits for it

	mu    sync.Mutex // protects what follows
	last  uint64
	conns map[uint64]*conn // by a number, which is never used again as a descriptor is
}

// theHangups are those of the process, for as long as it runs; nil when the system has no epoll
// left.
var theHangups = sync.OnceValue(func() *hangups {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	syscall.SetNonblock(fd, true) // by which os.NewFile knows that it can wait
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

// add has c told, also if its client has hung up already. It returns the number by which remove
// knows c; 0 when c is no socket, or closed, or the system watches too many.
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
	const edge = 1 << 31 // EPOLLET: an event is told once. Package syscall has it as a negative number.
	e := syscall.EpollEvent{Events: syscall.EPOLLRDHUP | edge, Fd: int32(number >> 32), Pad: int32(number)}
	var err error
	closed := raw.Control(func(fd uintptr) { err = syscall.EpollCtl(h.fd, syscall.EPOLL_CTL_ADD, int(fd), &e) })
	if closed != nil || err != nil {
		h.remove(number)
		return 0
	}
	return number
}

// remove forgets a connection. The system has forgotten it when it was closed.
func (h *hangups) remove(number uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, number)
}
