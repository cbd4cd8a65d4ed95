package discovery

import (
	"context"
	"fmt"
	"net/url"

	"etcd2/raft"
)

// A proxy looks for a cluster without being one of its members. Only Logger, Resolver and DialTLS
// of the Newcomer count.

// LookToken waits until a discovery URL has all members of a cluster, and registers nothing. (API
// section 21.2, steps 1, 4 and 5)
func (n Newcomer) LookToken(ctx context.Context, token string, via *url.URL) (raft.Membership, error) {
	s, err := n.search(token, via)
	if err != nil {
		return raft.Membership{}, err
	}
	defer s.service.Close()
	s.readOnly, s.id = true, "" // no member has this id
	members, err := s.gather(ctx)
	if err != nil {
		return raft.Membership{}, fmt.Errorf("failed to look at the discovery cluster (%w)", err)
	}
	return cluster(members, token)
}

// LookSRV returns the members that the DNS lists for a domain.
func (n Newcomer) LookSRV(ctx context.Context, domain string) (m raft.Membership, err error) {
	_, err = n.retry(ctx, func() (Plan, error) {
		ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
		defer cancel()
		urls, err := n.records(ctx, domain)
		if err == nil {
			m, err = nameless(urls, "")
		}
		return Plan{}, err
	})
	return m, err
}
