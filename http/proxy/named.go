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

// isNamed reports whether the request has a name, by which members execute it only once.
func isNamed(r *http.Request) bool { return r.Header.Get(nameHeader) != "" }

// date gives a named request whose client has told no index of the log the newest that this proxy knows, before the first try: members that
// have forgotten what was executed since then refuse the request. It reports whether it did. r is not changed.
func (f forwarder) date(r *http.Request) (dated *http.Request, own bool) {
	if !isNamed(r) || r.Header.Get(indexHeader) != "" {
		return r, false
	}
	dated = r.Clone(r.Context())
	dated.Header.Set(indexHeader, strconv.FormatUint(f.logIndex.Load(), 10))
	return dated, true
}

// renew sends a dated request again, with the index of its refusal, when it was refused for its age.
func (f forwarder) renew(r *http.Request, e *endpoint, refusal *http.Response) (resp *http.Response, sent bool, err error) {
	index := refusal.Header.Get(raftHeader)
	if refusal.StatusCode != http.StatusGone || index == "" {
		return refusal, true, nil
	}
	discard(refusal)
	r.Header.Set(indexHeader, index)
	f.logIndex.Store(raftIndex(refusal))
	return f.try(r, e)
}

// raftIndex is the index of the log that an answer tells; 0: none.
func raftIndex(resp *http.Response) uint64 {
	index, _ := strconv.ParseUint(resp.Header.Get(raftHeader), 10, 64)
	return index
}

// seeLog notes an index of the log that a member has told.
func (p *Proxy) seeLog(index uint64) {
	for {
		seen := p.logIndex.Load()
		if index <= seen || p.logIndex.CompareAndSwap(seen, index) {
			return
		}
	}
}
