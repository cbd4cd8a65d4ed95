package proxy

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"etcd2/http/client"
)

// The limits of a question to a member (pitfall K6).
const (
	askTimeout = 10 * time.Second
	maxMembers = 1 << 20 // bytes
)

// hurry is how often the members are asked as long as no endpoint is known to answer.
const hurry = time.Second

// follow keeps the endpoints those of the members, until ctx ends.
func (p *Proxy) follow(ctx context.Context) {
	for first, told := true, ""; ; first = false {
		err := p.refresh(ctx)
		if first {
			close(p.asked)
		}
		if text := words(err); text != told && ctx.Err() == nil {
			told = text
			if err != nil {
				p.log.Warn("the membership can't be followed; going on with the members that are known",
					"endpoints", p.endpoints.urls(), "err", err)
			}
		}
		wait := p.cfg.RefreshInterval
		if _, usable := p.endpoints.count(); usable == 0 {
			wait = min(wait, hurry)
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

// refresh asks the members one after the other, in a new order each time, until one tells who they
// are; and, when none of those does whom it remembers, those whom it was told to begin with.
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
