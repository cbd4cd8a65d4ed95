package ports

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"etcd2/http/certs"
	"etcd2/http/systemd"
)

// Config says where to listen.
type Config struct {
	Client, Peer []string // URLs

	// Whether a flag gives the URLs: then each must open. Of the default ones only the first must.
	ClientChosen, PeerChosen bool

	Logger *slog.Logger // nil means slog.Default()
}

// Open opens all sockets, except those that systemd has opened. After an error none is open; the
// error names the flag.
func Open(c Config, handed *systemd.Handover) (*Ports, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	p := &Ports{}
	err := c.open(p, handed)
	if err != nil {
		p.Close()
		return nil, err
	}
	p.ended = make(chan error, len(p.clients)+len(p.peers))
	return p, nil
}

func (c *Config) open(p *Ports, handed *systemd.Handover) (err error) {
	var opened []listed
	client := opener{"listen-client-urls", systemd.Client, c.ClientChosen, c.Logger, handed, &opened}
	peer := opener{"listen-peer-urls", systemd.Peer, c.PeerChosen, c.Logger, handed, &opened}
	if p.clients, p.ClientURLs, err = client.open(c.Client); err != nil {
		return err
	}
	if p.peers, p.PeerURLs, err = peer.open(c.Peer); err != nil {
		return err
	}
	if err := handed.Check(); err != nil {
		return fmt.Errorf("%w: name the socket client or peer (FileDescriptorName=), or list its address in "+
			"--listen-client-urls=%s or --listen-peer-urls=%s",
			err, strings.Join(c.Client, ","), strings.Join(c.Peer, ","))
	}
	return nil
}

// An opener opens the sockets of one flag.
type opener struct {
	flag   string
	port   string // systemd.Client or systemd.Peer
	chosen bool
	log    *slog.Logger
	handed *systemd.Handover
	opened *[]listed // the URLs that are open, of both flags
}

// A listed is a URL that a flag lists.
type listed struct{ flag, url string }

// open opens the sockets of a list of URLs, and returns them with the URLs that are open; with an
// error, those that are open by then. Of the default URLs only the first must open: the second is
// the port of etcd 0.4, which another program may use. Sockets that systemd has opened under the
// port's name, at addresses that no URL has, replace the default URLs.
func (o *opener) open(urls []string) (sockets []socket, open []string, err error) {
	secure, plain := certs.BySecurity(urls)
	mixed := secure != "" && plain != ""
	for i, u := range urls {
		s, wanted, err := o.openOne(u, mixed)
		switch {
		case !wanted:
		case err == nil && s.Listener == nil:
			open = append(open, u) // at the socket of another URL
		case err == nil:
			sockets, open = append(sockets, s), append(open, u)
		case !o.chosen && i > 0:
			o.log.Warn("a default port can't be opened, going on without it", "url", u, "err", err)
		default:
			return sockets, nil, fmt.Errorf("--%s=%s: %w: %s", o.flag, u, err, o.remedy(u, err))
		}
		if wanted && err == nil {
			*o.opened = append(*o.opened, listed{o.flag, u})
		}
	}
	for _, l := range o.handed.ClaimNamed(o.port) {
		u := urlOf(l.Addr(), plain == "")
		sockets, open = append(sockets, socket{l, certs.Secure(u), true}), append(open, u)
		if mixed {
			return sockets, nil, fmt.Errorf("--%s=%s: %w: list its address %s", o.flag, strings.Join(urls, ","),
				errMixed, l.Addr())
		}
	}
	return sockets, open, nil
}

// openOne opens the socket of a URL, unless systemd has opened it. The listener is nil when it
// stands for another URL already. wanted is false when a socket of systemd's replaces the URL.
func (o *opener) openOne(u string, mixed bool) (s socket, wanted bool, err error) {
	_, address, _ := strings.Cut(u, "://")
	l, covered := o.handed.Claim(o.port, address)
	switch {
	case !covered && o.handed.HasNamed(o.port) && !o.chosen:
		return s, false, nil
	case !covered:
		var config net.ListenConfig
		config.SetMultipathTCP(false) // with several paths the socket does not show the state of the connection
		l, err = config.Listen(context.Background(), "tcp", address)
	case l == nil && mixed:
		err = errMixed
	}
	return socket{l, certs.Secure(u), covered}, true, err
}

// remedies are the remedies for an address that can't be opened, by the reason.
var remedies = []struct {
	err  error
	todo string
}{
	{syscall.EADDRINUSE, "another process listens there: end it, or give another address"},
	{syscall.EADDRNOTAVAIL, "this machine has no such address: give one that it has, or 0.0.0.0 for all of them"},
	{syscall.EACCES, "this user may not listen there: give a port from 1024 on, or let systemd open it"},
	{syscall.EAFNOSUPPORT, "this machine has no addresses of that kind: give one of the other kind (IPv4, IPv6)"},
	{syscall.EMFILE, "raise the limit on open files (LimitNOFILE, ulimit -n)"},
	{errMixed, "give http and https URLs sockets of their own"},
}

// remedy returns what to do about err, which opening u has given.
func (o *opener) remedy(u string, err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return "the name has no address here: correct it, or the DNS, or give an address"
	}
	for _, other := range *o.opened {
		if errors.Is(err, syscall.EADDRINUSE) && port(other.url) == port(u) {
			return fmt.Sprintf("this process has opened that port for --%s=%s already: list it once", other.flag,
				other.url)
		}
	}
	for _, r := range remedies {
		if errors.Is(err, r.err) {
			return r.todo
		}
	}
	return "give another address"
}

func port(u string) string { return u[strings.LastIndexByte(u, ':')+1:] }

var errMixed = errors.New("systemd has opened one socket for http and https")

// urlOf returns the URL of a socket that no flag lists.
func urlOf(address net.Addr, secure bool) string {
	scheme := map[bool]string{true: "https://", false: "http://"}[secure]
	at := address.(*net.TCPAddr) // a Handover has no others
	if at.IP.IsUnspecified() {
		return scheme + net.JoinHostPort("localhost", strconv.Itoa(at.Port))
	}
	return scheme + at.String()
}

func closeAll(sockets ...[]socket) {
	for _, s := range slices.Concat(sockets...) {
		s.Close()
	}
}
