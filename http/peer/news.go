package peer

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"etcd2/raft"
)

// New URLs of members. The membership has the URLs, but only a leader that a majority can reach can
// change it. So a member that has moved sends its URLs in the head of each request (identity.urls),
// and the member that it has called passes them on to all others that it is connected to, in a
// frame:
//
//	 0            8
//	┌────────────┬───────────────────────────────┐
//	│ id         │ peer URLs, separated by commas│
//	└────────────┴───────────────────────────────┘
//
// URLs that came in such a frame are not passed on again. When no member answers at any known URL,
// Config.Look is called. All of these URLs are forgotten when the membership has new URLs of the
// member.

// recordCall records that a member has called, and the URLs at which it can be called back (D8).
// t.mu must be held.
func (t *Transport) recordCall(p *peer, urls []string) {
	isNew := false
	p.set(func() {
		isNew = !slices.Equal(urls, p.hints)
		p.hints = urls
	})
	nudge(p.dialNow)
	if !isNew || !p.hasMoved() {
		return
	}
	for _, q := range t.peers {
		if q != p {
			q.set(func() {
				if q.out != nil { // else the next connection begins with all news
					q.news[p.id] = urls
				}
			})
			nudge(q.wake)
		}
	}
}

// hasMoved reports whether the member has named URLs that the membership does not have.
func (p *peer) hasMoved() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.hints, func(u string) bool { return !slices.Contains(p.urls, u) })
}

// allNews returns the URLs of the members that have moved, for a new connection to p.
func (t *Transport) allNews(p *peer) map[uint64][]string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	news := map[uint64][]string{}
	for id, q := range t.peers {
		if q != p && q.hasMoved() {
			q.set(func() { news[id] = q.hints })
		}
	}
	return news
}

// appendNews appends the frames with URLs that the member has not been told yet.
func (p *peer) appendNews(b []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, urls := range p.news {
		body := binary.LittleEndian.AppendUint64(nil, id)
		b = appendFrame(b, frameNews, 0, append(body, strings.Join(urls, ",")...))
	}
	clear(p.news)
	return b
}

// receiveNews records where another member may be.
func (t *Transport) receiveNews(body []byte) error {
	if len(body) < 8 {
		return errPieces
	}
	t.mu.RLock()
	p := t.peers[binary.LittleEndian.Uint64(body)]
	t.mu.RUnlock()
	if p != nil {
		p.tryAt(parseURLs(string(body[8:])), "another member says so")
	}
	return nil
}

// tryAt records URLs at which the member may be, and has it called there.
func (p *peer) tryAt(urls []string, why string) {
	known := p.addresses()
	isKnown := func(u string) bool { return slices.Contains(known, u) }
	if len(urls) == 0 || !slices.ContainsFunc(urls, func(u string) bool { return !isKnown(u) }) {
		return
	}
	p.set(func() { p.rumours = urls })
	p.t.log.Info("a member may have moved", "member", hex(p.id), "known", known, "urls", urls, "why", why)
	nudge(p.dialNow)
}

// seek calls Config.Look while no member is connected, less and less often, and tries the URLs that
// it returns for members of the same name.
func (t *Transport) seek() {
	for wait, was := t.times.lonely, false; ; {
		select {
		case <-time.After(wait):
		case <-t.ctx.Done():
			return
		}
		alone := t.isAlone()
		if look := alone && was; !look {
			wait, was = t.times.lonely, alone
			continue
		}
		wait = min(2*wait, maxLonely)
		found := t.cfg.Look(t.ctx)
		t.mu.RLock()
		for _, p := range t.peers {
			p.tryAt(p.urlsAmong(found),
				"nobody answers at the known URLs; the list or the discovery that this member was started with says so")
		}
		t.mu.RUnlock()
	}
}

// maxLonely is the longest time between two calls of Config.Look.
const maxLonely = time.Minute

// isAlone reports whether there are other members, and none of them is connected in either
// direction.
func (t *Transport) isAlone() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	connected := false
	for _, p := range t.peers {
		p.set(func() { connected = connected || p.out != nil || p.in != nil })
	}
	return len(t.peers) > 0 && !connected
}

// urlsAmong returns the URLs of the members with the peer's name, or without a name: the handshake
// will tell whether it is the peer.
func (p *peer) urlsAmong(found []raft.Member) (urls []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range found {
		if (m.Name == "" || m.Name == p.name) && len(urls) < maxURLs {
			urls = append(urls, m.PeerURLs...)
		}
	}
	return urls
}
