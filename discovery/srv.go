package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"etcd2/raft"
)

// Why the DNS gives no cluster.
var (
	ErrDNS        = errors.New("the DNS does not answer")
	ErrNoRecords  = errors.New("SRV discovery failed: too many errors querying DNS SRV records")
	ErrBadRecord  = errors.New("a DNS SRV record is not that of a member")
	ErrNotInDNS   = errors.New("cannot find local etcd member")
	ErrTwiceInDNS = errors.New("DNS SRV records list this member twice")
)

// dnsTimeout bounds the requests to the DNS of one try.
const dnsTimeout = 10 * time.Second

// services are the names of the SRV records, and the schemes of the URLs of their targets.
var services = []struct{ name, scheme string }{{"etcd-server-ssl", "https"}, {"etcd-server", "http"}}

// SRV begins a new cluster of the members that the DNS lists for a domain, as New does of a list:
//
//	_etcd-server-ssl._tcp.DOMAIN  SRV  priority weight port target     https://target:port
//	_etcd-server._tcp.DOMAIN      SRV  …                               http://target:port
//
// The records of both names count; priority and weight do not. This member is the one whose target
// and port resolve to the address of one of the peer URLs that it advertises. The DNS has no member
// names: the members tell each other theirs when they start.
//
// All members compute ids from the same records. So a target is not left out when this machine
// can't resolve it at the moment.
func (n Newcomer) SRV(ctx context.Context, domain, token string) (Plan, error) {
	return n.retry(ctx, func() (Plan, error) {
		ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
		defer cancel()
		urls, err := n.records(ctx, domain)
		if err != nil {
			return Plan{}, err
		}
		m, err := nameless(urls, token)
		if err != nil {
			return Plan{}, err
		}
		self, err := n.inDNS(ctx, m)
		if err != nil {
			return Plan{}, err
		}
		return n.begin(ctx, Plan{Self: self, Cluster: m})
	})
}

// records returns the URLs of all targets, in no particular order.
func (n Newcomer) records(ctx context.Context, domain string) (urls []string, err error) {
	var failures []error
	waiting := false
	for _, s := range services {
		_, targets, err := n.Resolver.LookupSRV(ctx, s.name, "tcp", domain)
		if err != nil {
			failures = append(failures, fmt.Errorf("error querying DNS SRV records for _%s: %w", s.name, err))
			var dns *net.DNSError
			waiting = waiting || !errors.As(err, &dns) || !dns.IsNotFound
		}
		for _, t := range targets {
			host := strings.ToLower(strings.TrimSuffix(t.Target, ".")) // some resolvers play with the case
			u, err := raft.ParseURL(s.scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(t.Port))))
			if err != nil || t.Port == 0 || len(urls) == MaxSize {
				return nil, fmt.Errorf("%w: target %s, port %d of %d members", ErrBadRecord, quoted(t.Target),
					t.Port, len(urls))
			}
			if !slices.Contains(urls, u) {
				urls = append(urls, u)
			}
		}
	}
	switch {
	case waiting: // an incomplete list would make another cluster
		return nil, fmt.Errorf("%w: %w", ErrDNS, errors.Join(failures...))
	case len(urls) == 0:
		return nil, fmt.Errorf("%w: %w", ErrNoRecords, errors.Join(failures...))
	}
	return urls, nil
}

// nameless makes a membership of members without names, with one URL each.
func nameless(urls []string, token string) (raft.Membership, error) {
	var pairs []string
	for i, u := range urls {
		pairs = append(pairs, fmt.Sprint(i, "=", u))
	}
	m, err := Static(strings.Join(pairs, ","), token)
	for i := range m.Members {
		m.Members[i].Name = ""
	}
	return m, err
}

// inDNS finds this member, by its addresses.
func (n Newcomer) inDNS(ctx context.Context, m raft.Membership) (self raft.Member, err error) {
	own := map[string]bool{}
	for _, u := range n.PeerURLs {
		for _, address := range n.addresses(ctx, u) {
			own[address] = true
		}
	}
	for _, member := range m.Members {
		if !slices.ContainsFunc(n.addresses(ctx, member.PeerURLs[0]), func(a string) bool { return own[a] }) {
			continue
		}
		if self.ID != raft.None {
			return self, fmt.Errorf("%w: %s and %s", ErrTwiceInDNS, self.PeerURLs[0], member.PeerURLs[0])
		}
		self = member
	}
	scheme, _, _ := strings.Cut(n.PeerURLs[0], ":")
	if self.ID == raft.None || len(n.PeerURLs) > 1 || !strings.HasPrefix(self.PeerURLs[0], scheme+":") {
		return self, fmt.Errorf("%w %q in SRV records: it advertises %s, and they have %s", ErrNotInDNS, n.Name,
			strings.Join(n.PeerURLs, ","), strings.Join(othersURLs(m, raft.None), ","))
	}
	self.Name = n.Name
	return self, nil
}

// addresses returns the addresses of a URL's host, with its port, and the host itself, for a name
// that has no address yet.
func (n Newcomer) addresses(ctx context.Context, text string) []string {
	u, err := url.Parse(text)
	if err != nil {
		return nil
	}
	list := []string{u.Host}
	ips, err := n.Resolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		n.Logger.Warn("a peer URL has no address yet", "url", text, "err", err)
	}
	for _, ip := range ips {
		list = append(list, netip.AddrPortFrom(ip.Unmap(), port(u)).String())
	}
	return list
}

func port(u *url.URL) uint16 {
	p, _ := strconv.ParseUint(u.Port(), 10, 16) // 0 without a valid port; no member has it
	return uint16(p)
}
