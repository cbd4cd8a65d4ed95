//go:build !windows

package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Names of sockets that say what is served there; see systemd.socket(5), FileDescriptorName=.
const (
	Client = "client"
	Peer   = "peer"
)

// firstDescriptor is that of the first socket that systemd hands over.
const firstDescriptor = 3

// A Handover is the listening sockets that systemd has opened for this process. The zero value is
// none of them. It is for one goroutine.
type Handover struct {
	sockets []handed
}

type handed struct {
	net.Listener
	name  string // FileDescriptorName= of its socket unit; by default the unit's own name
	taken bool
}

// Sockets takes over what systemd has opened, if it has opened anything for this process. It may be
// called once.
func Sockets(getenv func(string) string, pid int) (*Handover, error) {
	return sockets(getenv, pid, firstDescriptor)
}

func sockets(getenv func(string) string, pid, first int) (*Handover, error) {
	h := &Handover{}
	text := getenv("LISTEN_FDS")
	if text == "" || getenv("LISTEN_PID") != strconv.Itoa(pid) {
		return h, nil
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 0 {
		return nil, fmt.Errorf("LISTEN_FDS=%s: not a number of sockets", text)
	}
	names := make([]string, count)
	if list := getenv("LISTEN_FDNAMES"); list != "" {
		if names = strings.Split(list, ":"); len(names) != count {
			return nil, fmt.Errorf("LISTEN_FDNAMES=%s: not as many names as LISTEN_FDS=%d has sockets", list, count)
		}
	}
	for i, name := range names {
		l, err := listener(first + i)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("LISTEN_FDS=%d: the socket %q (descriptor %d): %w", count, name, first+i,
				err), h.close())
		}
		h.sockets = append(h.sockets, handed{Listener: l, name: name})
	}
	return h, nil
}

var errNotListening = errors.New("not a listening TCP socket: give ListenStream=HOST:PORT, without Accept=yes")

// listener makes a listener of a descriptor, which it closes.
func listener(descriptor int) (net.Listener, error) {
	syscall.CloseOnExec(descriptor)
	file := os.NewFile(uintptr(descriptor), "socket")
	defer file.Close()
	listening, err := syscall.GetsockoptInt(descriptor, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if err != nil || listening == 0 {
		return nil, errNotListening
	}
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	if _, isTCP := l.(*net.TCPListener); !isTCP {
		return nil, errors.Join(errNotListening, l.Close())
	}
	return l, nil
}

// At tells whether a socket is there for an address where port, which is Client or Peer, is to be
// served: a socket with that name, or with none of the two. The first time it returns its listener,
// later nil, since one socket may cover several addresses.
func (h *Handover) At(port, address string) (l net.Listener, covered bool) {
	for i := range h.sockets {
		s := &h.sockets[i]
		if s.name != port && (s.name == Client || s.name == Peer) || !covers(s.Addr(), address) {
			continue
		}
		if !s.taken {
			s.taken, l = true, s.Listener
		}
		return l, true
	}
	return nil, false
}

// Named tells whether a socket has that name.
func (h *Handover) Named(port string) bool {
	return slices.ContainsFunc(h.sockets, func(s handed) bool { return s.name == port })
}

// Rest returns the sockets with that name that no address has taken.
func (h *Handover) Rest(port string) (list []net.Listener) {
	for i := range h.sockets {
		if s := &h.sockets[i]; s.name == port && !s.taken {
			s.taken = true
			list = append(list, s.Listener)
		}
	}
	return list
}

// Check returns an error that names the sockets that nobody has taken, and closes them.
func (h *Handover) Check() error {
	var left []string
	for _, s := range h.sockets {
		if !s.taken {
			left = append(left, fmt.Sprintf("%q at %s", s.name, s.Addr()))
		}
	}
	if left == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("LISTEN_FDS=%d: nobody knows what is to be served at %s", len(h.sockets),
		strings.Join(left, ", ")), h.close())
}

// close closes the sockets that nobody has taken.
func (h *Handover) close() (err error) {
	for _, s := range h.sockets {
		if !s.taken {
			err = errors.Join(err, s.Close())
		}
	}
	return err
}

// covers tells whether who connects to an address arrives at a socket: it has the port, and the
// address or all of them.
func covers(socket net.Addr, address string) bool {
	host, port, err := net.SplitHostPort(address)
	at, isTCP := socket.(*net.TCPAddr)
	if err != nil || !isTCP || port != strconv.Itoa(at.Port) {
		return false
	}
	own := at.AddrPort().Addr().Unmap()
	if own == netip.IPv6Unspecified() {
		return true
	}
	// a name without an address is not covered
	ips, _ := net.DefaultResolver.LookupNetIP(context.Background(), "ip", host)
	return slices.ContainsFunc(ips, func(ip netip.Addr) bool {
		ip = ip.Unmap().WithZone("")
		return ip == own || own == netip.IPv4Unspecified() && ip.Is4()
	})
}
