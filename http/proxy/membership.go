package proxy

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"etcd2/http/client"
)

// The limits of a request for the list of members (pitfall K6).
const (
	askTimeout = 10 * time.Second
	maxMembers = 1 << 20 // bytes
)

// lonelyInterval is the time between two requests while no endpoint is usable.
const lonelyInterval = time.Second

// follow keeps the endpoints equal to the members' client URLs, until ctx ends.
func (p *Proxy) follow(ctx context.Context) {
	for first, logged := true, ""; ; first = false {
		err := p.refresh(ctx)
		if first {
			close(p.asked)
		}
		if text := words(err); text != logged && ctx.Err() == nil {
			logged = text
			if err != nil {
				p.log.Warn("no member tells the list of members; going on with those that are known",
					"endpoints", p.endpoints.urls(), "err", err)
			}
		}
		wait := p.cfg.RefreshInterval
		if _, usable := p.endpoints.count(); usable == 0 {
			wait = min(wait, lonelyInterval)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

func words(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// refresh asks the known members one after the other, in random order, and then the seeds, until
// one answers with the list of members.
func (p *Proxy) refresh(ctx context.Context) error {
	known := slices.Clone(p.peerURLs)
	rand.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	c, err := client.New(client.Config{
		Endpoints: append(known, p.cfg.Seeds...), InOrder: true,
		DialTLS: p.cfg.PeerDialTLS, Timeout: askTimeout, MaxAnswerBytes: maxMembers,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	members, err := c.Members.List(ctx)
	if err != nil {
		return err
	}
	var clientURLs, peerURLs []string
	for _, m := range members {
		clientURLs = append(clientURLs, m.ClientURLs...)
		for _, u := range m.PeerURLs {
			if parse(u) != nil {
				peerURLs = append(peerURLs, u)
			}
		}
	}
	if p.endpoints.set(clientURLs, p.cfg.Own) {
		p.log.Info("the members have changed", "endpoints", p.endpoints.urls())
	}
	if len(peerURLs) == 0 {
		return nil
	}
	slices.Sort(peerURLs)
	p.peerURLs = peerURLs
	return remember(p.cfg.Dir, peerURLs)
}
