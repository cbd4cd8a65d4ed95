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
	wait time.Duration // for which one that failed is left alone

	mu   sync.Mutex  // protects all below, and the failures in list
	list []*endpoint // in an order of this proxy's own: not all proxies are to begin with the same member
	next int         // the one at which the next rotation begins

	index  uint64    // the newest index of the store that a client has been shown,
	showed *endpoint // and by whom; nil: by nobody yet
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

// set replaces the list, in which those that stay keep their place and their failures. Texts that
// are no endpoints do not count, and an empty list changes nothing: whom to ask is never forgotten.
// It reports whether the list is another one now.
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

// order returns whom to try, one after the other: those that answer, beginning with the next one if
// the load is to be spread, and then, as a last resort, those that have failed, the one first that
// was left alone for longest. usable is how many of them are of the first kind. Endpoints for which
// fit is false are left out.
func (e *endpoints) order(spread bool, fit func(*endpoint) bool) (order []*endpoint, usable int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var resting []*endpoint
	for _, one := range e.list {
		if !fit(one) {
			continue
		}
		if e.usable(one) {
			order = append(order, one)
		} else {
			resting = append(resting, one)
		}
	}
	if n := len(order); spread && n > 0 {
		e.next++
		order = append(order[e.next%n:], order[:e.next%n]...)
	}
	slices.SortStableFunc(resting, func(a, b *endpoint) int { return a.failed.Compare(b.failed) })
	return append(order, resting...), len(order)
}

func anyone(*endpoint) bool { return true }

// usable tells whether one is thought to answer. e.mu must be held.
func (e *endpoints) usable(one *endpoint) bool { return time.Since(one.failed) >= e.wait }

// fail notes that one does not answer, and reports whether that is news.
func (e *endpoints) fail(one *endpoint) (news bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	news = !one.down
	one.failed, one.down = time.Now(), true
	return news
}

// answer notes that one answers, and reports whether that is news.
func (e *endpoints) answer(one *endpoint) (news bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	news = one.down
	one.failed, one.down = time.Time{}, false
	return news
}

// urls are those that are thought to answer.
func (e *endpoints) urls() []string {
	order, usable := e.order(false, anyone)
	texts := []string{}
	for _, one := range order[:usable] {
		texts = append(texts, one.url.String())
	}
	return texts
}

// count returns how many there are, and how many of them are thought to answer.
func (e *endpoints) count() (all, usable int) {
	order, usable := e.order(false, anyone)
	return len(order), usable
}

// newest returns the newest index that was shown, and who can show it again; nil when that one does
// not answer.
func (e *endpoints) newest() (index uint64, from *endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.showed != nil && e.usable(e.showed) && slices.Contains(e.list, e.showed) {
		from = e.showed
	}
	return e.index, from
}

// show notes that a client is shown an index. Whoever showed the newest one and has a smaller one
// now is in a new history.
func (e *endpoints) show(index uint64, from *endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if index >= e.index || e.showed == from {
		e.index, e.showed = index, from
	}
}
