package proxy

import (
	"net/http"
	"strconv"
)

const (
	nameHeader  = "X-Etcd-Request-Id"
	indexHeader = "X-Etcd-Request-Index"
	raftHeader  = "X-Raft-Index"
)

// isNamed reports whether the request has a name, so that members execute it only once.
func isNamed(r *http.Request) bool { return r.Header.Get(nameHeader) != "" }

// addIndex returns a copy of a named request with the newest index of the log that this proxy
// knows, and reports whether it added one. It returns r itself when r has no name, or has an index
// already. It is called before the first try: a member that no longer remembers all named requests
// since that index refuses the request.
func (f forwarder) addIndex(r *http.Request) (indexed *http.Request, own bool) {
	if !isNamed(r) || r.Header.Get(indexHeader) != "" {
		return r, false
	}
	indexed = r.Clone(r.Context())
	indexed.Header.Set(indexHeader, strconv.FormatUint(f.logIndex.Load(), 10))
	return indexed, true
}

// retryRefused sends a request with an added index again if it was refused for its age, now with
// the index of the refusal.
func (f forwarder) retryRefused(
	r *http.Request, e *endpoint, refusal *http.Response,
) (resp *http.Response, sent bool, err error) {
	index := refusal.Header.Get(raftHeader)
	if refusal.StatusCode != http.StatusGone || index == "" {
		return refusal, true, nil
	}
	discard(refusal)
	r.Header.Set(indexHeader, index)
	f.logIndex.Store(raftIndex(refusal))
	return f.try(r, e)
}

// raftIndex returns the index of the log in an answer; 0 when it has none.
func raftIndex(resp *http.Response) uint64 {
	index, _ := strconv.ParseUint(resp.Header.Get(raftHeader), 10, 64)
	return index
}

// recordLogIndex records an index of the log from an answer, if it is the newest.
func (p *Proxy) recordLogIndex(index uint64) {
	for {
		seen := p.logIndex.Load()
		if index <= seen || p.logIndex.CompareAndSwap(seen, index) {
			return
		}
	}
}
