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

// Names that say which port a socket is for; see systemd.socket(5), FileDescriptorName=.
const (
	Client = "client"
	Peer   = "peer"
)

// firstDescriptor is the descriptor of the first socket that systemd hands over.
const firstDescriptor = 3

// A Handover is the listening sockets that systemd has opened for this process. The zero value has
// none. It is for one goroutine.
type Handover struct {
	sockets []handed
}

type handed struct {
	net.Listener
	name    string // FileDescriptorName= of its socket unit; by default the unit's own name
	claimed bool
}

// Sockets returns the sockets that systemd has opened for this process, if any. It may be called
// once.
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

// listener makes a listener of a copy of a descriptor, and closes the descriptor.
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

// Claim reports whether a socket covers an address of a port, which is Client or Peer. The socket's
// name must be that of the port, or neither of the two. Since one socket may cover several
// addresses, its listener is returned the first time only, and nil later.
func (h *Handover) Claim(port, address string) (l net.Listener, covered bool) {
	for i := range h.sockets {
		s := &h.sockets[i]
		if s.name != port && (s.name == Client || s.name == Peer) || !covers(s.Addr(), address) {
			continue
		}
		if !s.claimed {
			s.claimed, l = true, s.Listener
		}
		return l, true
	}
	return nil, false
}

// HasNamed reports whether a socket has the name of a port.
func (h *Handover) HasNamed(port string) bool {
	return slices.ContainsFunc(h.sockets, func(s handed) bool { return s.name == port })
}

// ClaimNamed returns the sockets with the name of a port that no address has claimed.
func (h *Handover) ClaimNamed(port string) (list []net.Listener) {
	for i := range h.sockets {
		if s := &h.sockets[i]; s.name == port && !s.claimed {
			s.claimed = true
			list = append(list, s.Listener)
		}
	}
	return list
}

// Check returns an error that names the sockets that were not claimed, and closes them.
func (h *Handover) Check() error {
	var left []string
	for _, s := range h.sockets {
		if !s.claimed {
			left = append(left, fmt.Sprintf("%q at %s", s.name, s.Addr()))
		}
	}
	if left == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("LISTEN_FDS=%d: no flag says what is to be served at %s", len(h.sockets),
		strings.Join(left, ", ")), h.close())
}

// close closes the sockets that were not claimed.
func (h *Handover) close() (err error) {
	for _, s := range h.sockets {
		if !s.claimed {
			err = errors.Join(err, s.Close())
		}
	}
	return err
}

// covers reports whether a connection to an address arrives at a socket: the socket has the port,
// and the address or all of them.
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
