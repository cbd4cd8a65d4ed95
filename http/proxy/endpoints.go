package proxy

import (
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"time"
)

// endpoints are the client URLs of the members, and which of them answer. All methods may be called
// from any goroutine.
type endpoints struct {
	wait time.Duration // before one that failed is tried again

	mu   sync.Mutex  // protects all below, and the failures in list
	list []*endpoint // in random order, so that not all proxies begin with the same member
	next int         // the one at which the next rotation begins

	index  uint64    // the newest index of the store that a client has seen
	showed *endpoint // the endpoint that showed it; nil: none yet
}

// An endpoint is one URL. It stays the same value as long as it is in the list.
type endpoint struct {
	url    *url.URL
	failed time.Time // the last time; zero: never
	down   bool      // it has not answered since
}

// parse returns a URL that can be an endpoint, or nil. (pitfalls J14, K6)
func parse(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.RawQuery != "" || u.Path != "" && u.Path != "/" {
		return nil
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}
}

// set replaces the list; endpoints that stay keep their place and their failures. Texts that can't
// be endpoints, and URLs in own, are left out. An empty list changes nothing. set reports whether
// the list has changed.
func (e *endpoints) set(texts []string, own []string) (changed bool) {
	var fresh []*url.URL
	seen := map[string]bool{}
	for _, text := range texts {
		if u := parse(text); u != nil && !seen[u.String()] && !slices.Contains(own, u.String()) {
			seen[u.String()] = true
			fresh = append(fresh, u)
		}
	}
	if len(fresh) == 0 {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	before := len(e.list)
	e.list = slices.DeleteFunc(e.list, func(old *endpoint) bool { return !seen[old.url.String()] })
	changed = len(e.list) < before
	for _, u := range fresh {
		if !slices.ContainsFunc(e.list, func(old *endpoint) bool { return *old.url == *u }) {
			e.list = slices.Insert(e.list, rand.IntN(len(e.list)+1), &endpoint{url: u})
			changed = true
		}
	}
	return changed
}

// order returns the endpoints in the order in which to try them: first the usable ones, with
// another one at the beginning each time if spread; then, as a last resort, those that have failed,
// the earliest failure first. usable is the number of the first kind. Endpoints for which fit is
// false are left out.
func (e *endpoints) order(spread bool, fit func(*endpoint) bool) (order []*endpoint, usable int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var failed []*endpoint
	for _, one := range e.list {
		if !fit(one) {
			continue
		}
		if e.usable(one) {
			order = append(order, one)
		} else {
			failed = append(failed, one)
		}
	}
	if n := len(order); spread && n > 0 {
		e.next++
		order = append(order[e.next%n:], order[:e.next%n]...)
	}
	slices.SortStableFunc(failed, func(a, b *endpoint) int { return a.failed.Compare(b.failed) })
	return append(order, failed...), len(order)
}

func anyone(*endpoint) bool { return true }

// usable reports whether an endpoint has not failed lately. e.mu must be held.
func (e *endpoints) usable(one *endpoint) bool { return time.Since(one.failed) >= e.wait }

// markFailed records that an endpoint does not answer, and reports whether it did before.
func (e *endpoints) markFailed(one *endpoint) (news bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	news = !one.down
	one.failed, one.down = time.Now(), true
	return news
}

// markAnswered records that an endpoint answers, and reports whether it did not before.
func (e *endpoints) markAnswered(one *endpoint) (news bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	news = one.down
	one.failed, one.down = time.Time{}, false
	return news
}

// urls returns the URLs of the usable endpoints.
func (e *endpoints) urls() []string {
	order, usable := e.order(false, anyone)
	texts := []string{}
	for _, one := range order[:usable] {
		texts = append(texts, one.url.String())
	}
	return texts
}

// count returns the number of endpoints, and of usable ones.
func (e *endpoints) count() (all, usable int) {
	order, usable := e.order(false, anyone)
	return len(order), usable
}

// newest returns the newest index that a client has seen, and the endpoint that showed it; nil when
// that one is not usable.
func (e *endpoints) newest() (index uint64, from *endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.showed != nil && e.usable(e.showed) && slices.Contains(e.list, e.showed) {
		from = e.showed
	}
	return e.index, from
}

// recordShown records an index that a client sees. A smaller index of the endpoint that showed the
// newest one replaces it: the history is another one, for example after a restore.
func (e *endpoints) recordShown(index uint64, from *endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if index >= e.index || e.showed == from {
		e.index, e.showed = index, from
	}
}
