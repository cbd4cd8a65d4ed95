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

// date returns a copy of a named request with the newest index of the log that this proxy knows,
// and reports whether it added one. It returns r itself when r has no name, or its client has sent
// an index. It is called before the first try: members that have forgotten a part of what was
// executed since that index refuse the request.
func (f forwarder) date(r *http.Request) (dated *http.Request, own bool) {
	if !isNamed(r) || r.Header.Get(indexHeader) != "" {
		return r, false
	}
	dated = r.Clone(r.Context())
	dated.Header.Set(indexHeader, strconv.FormatUint(f.logIndex.Load(), 10))
	return dated, true
}

// renew sends a dated request again if it was refused for its age, with the index of the refusal.
func (f forwarder) renew(
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

// raftIndex returns the index of the log that an answer tells; 0 when it tells none.
func raftIndex(resp *http.Response) uint64 {
	index, _ := strconv.ParseUint(resp.Header.Get(raftHeader), 10, 64)
	return index
}

// seeLog notes an index of the log that a member has told, if it is the newest.
func (p *Proxy) seeLog(index uint64) {
	for {
		seen := p.logIndex.Load()
		if index <= seen || p.logIndex.CompareAndSwap(seen, index) {
			return
		}
	}
}
