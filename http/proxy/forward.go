package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"etcd2/http/client"
)

// A failure is an answer that the proxy itself gives.
type failure struct {
	status int
	text   string
}

// Error is the message of the answer.
func (f *failure) Error() string { return "proxy: " + f.text }

var (
	errNobody = &failure{http.StatusServiceUnavailable, "zero endpoints currently available"}
	errPlain  = &failure{http.StatusServiceUnavailable,
		"a password goes to https only, since this proxy was given https URLs of members: have them advertise https " +
			"client URLs"}
	errLoop = &failure{http.StatusLoopDetected,
		"this request has come from this proxy already: a client URL that a member advertises leads to a proxy"}
)

// slowAfter is how long an endpoint may take to answer before other endpoints are preferred to it.
// The request itself goes on waiting. A healthy member answers sooner, even if by an error.
const slowAfter = 10 * time.Second

// forwarder sends a request to one of the members: it is the part of a Proxy that is an
// http.RoundTripper.
type forwarder struct{ *Proxy }

// RoundTrip tries one endpoint after the other until one answers. A write is sent to another
// endpoint only if it was certainly not executed, or if it has a name. An answer of 503 is a
// refusal before the execution begins: another endpoint may accept the request.
func (f forwarder) RoundTrip(r *http.Request) (*http.Response, error) {
	order, usable := f.endpoints.order(isKeys(r), f.fit(r))
	if len(order) == 0 && f.Ill() == "" {
		return nil, errPlain
	}
	newest, from := f.endpoints.newest()
	var refusal *http.Response
	r, indexed := f.addIndex(r)
	maybe := false // a member may have got the request
	tried := 0
	for _, e := range order {
		tried++
		resp, sent, err := f.try(r, e)
		if err == nil && indexed && !maybe {
			resp, sent, err = f.retryRefused(r, e, resp)
		}
		switch {
		case r.Context().Err() != nil:
			discard(refusal)
			if err == nil {
				discard(resp)
			}
			return nil, r.Context().Err()
		case err == nil && !refuses(resp):
			discard(refusal)
			return f.notOlder(r, e, resp, newest, from), nil
		case err == nil:
			discard(refusal)
			refusal = resp
			continue
		}
		maybe = maybe || sent
		if sent && !mayRepeat(r) {
			break
		}
	}
	switch {
	case refusal != nil && !maybe:
		return refusal, nil
	case usable == 0 && !maybe:
		return nil, errNobody
	}
	discard(refusal)
	return nil, &failure{http.StatusBadGateway, fmt.Sprintf("unable to get response from %d endpoint(s)", tried)}
}

// fit returns whether an endpoint may be sent the request: one that carries a password goes only
// where client.MaySendPassword lets it.
func (f forwarder) fit(r *http.Request) func(*endpoint) bool {
	if !isSecret(r) {
		return anyone
	}
	return func(e *endpoint) bool { return client.MaySendPassword(f.given, e.url.String()) }
}

// isSecret reports whether there is a password in the header or, for a user, in the body.
func isSecret(r *http.Request) bool {
	return len(r.Header["Authorization"]) > 0 || strings.HasPrefix(r.URL.Path, "/v2/auth/users/")
}

// mayRepeat reports whether a request may be sent twice: it reads, or has a name that members
// remember.
func mayRepeat(r *http.Request) bool { return reads(r) || isNamed(r) }

func reads(r *http.Request) bool { return r.Method == "GET" || r.Method == "HEAD" }

func isKeys(r *http.Request) bool {
	rest, found := strings.CutPrefix(r.URL.Path, "/v2/keys")
	return found && (rest == "" || rest[0] == '/')
}

// refuses reports whether an answer says that the request was not executed.
func refuses(resp *http.Response) bool {
	return resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusLoopDetected
}

func discard(resp *http.Response) {
	if resp != nil {
		resp.Body.Close()
	}
}

// try sends the request to one endpoint. sent reports whether that may have got it.
func (f forwarder) try(r *http.Request, e *endpoint) (resp *http.Response, sent bool, err error) {
	var connected atomic.Bool
	out := r.Clone(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}))
	out.URL.Scheme, out.URL.Host, out.URL.User, out.Host = e.url.Scheme, e.url.Host, nil, e.url.Host
	if r.GetBody != nil {
		if out.Body, err = r.GetBody(); err != nil {
			return nil, false, err
		}
	}
	slow := time.AfterFunc(f.slowAfter+timeout(r), func() { f.failed(e, errors.New("no answer for long")) })
	resp, err = f.transport.RoundTrip(out)
	slow.Stop()
	if err == nil {
		f.recordLogIndex(raftIndex(resp))
	}
	switch {
	case err != nil && r.Context().Err() == nil:
		f.failed(e, err)
	case err == nil && resp.StatusCode == http.StatusLoopDetected:
		f.failed(e, errLoop)
	case err == nil && f.endpoints.markAnswered(e):
		f.log.Info("an endpoint answers again", "endpoint", e.url.String())
	}
	return resp, connected.Load(), err
}

// failed records that a try at an endpoint has failed.
func (f forwarder) failed(e *endpoint, err error) {
	f.failures.Add(1)
	if f.endpoints.markFailed(e) {
		f.log.Warn("an endpoint does not answer; after each failure it is not tried for a while",
			"endpoint", e.url.String(),
			"wait", f.cfg.FailureWait, "err", err)
	}
}

// notOlder returns an answer from a tree that is not older than any that a client had seen when the
// request came. Members answer reads from their own trees, and some are behind: then the endpoint
// that showed the newest index is asked instead. A member may also refuse a user or a password that
// it does not know yet: then the first endpoint is asked, where all changes of users are made. A
// watch of the past shows no tree. Nor does a poll with a timeout: its answer may be an event that
// no member will send again.
func (f forwarder) notOlder(r *http.Request, e *endpoint, resp *http.Response, newest uint64,
	from *endpoint) *http.Response {
	if !isKeys(r) || waitIndex(r) > 0 || r.URL.Query().Has("timeout") {
		return resp
	}
	index := indexOf(resp)
	if behind := reads(r) && index > 0 && index < newest; !behind {
		from = nil
	}
	if order, usable := f.endpoints.order(false, f.fit(r)); resp.StatusCode == http.StatusUnauthorized && usable > 0 {
		from = order[0]
	}
	if from != nil && from != e && f.fit(r)(from) {
		if better, _, err := f.try(r, from); err == nil && !refuses(better) {
			discard(resp)
			e, resp, index = from, better, indexOf(better)
		}
	}
	if index > 0 {
		f.endpoints.recordShown(index, e)
	}
	return resp
}

// indexOf returns the index of the tree that an answer was made from; 0 when it has none.
func indexOf(resp *http.Response) uint64 {
	if resp.StatusCode/100 != 2 && resp.StatusCode != http.StatusNotFound {
		return 0
	}
	index, _ := strconv.ParseUint(resp.Header.Get("X-Etcd-Index"), 10, 64)
	return index
}

// waitIndex returns the index at which a watch begins; 0 when that is now, or r is no watch.
func waitIndex(r *http.Request) uint64 {
	query := r.URL.Query()
	if query.Get("wait") != "true" {
		return 0
	}
	index, _ := strconv.ParseUint(query.Get("waitIndex"), 10, 64)
	return index
}

// timeout returns how long a member may wait before it sends the head of its answer to a long poll.
func timeout(r *http.Request) time.Duration {
	seconds, _ := strconv.ParseUint(r.URL.Query().Get("timeout"), 10, 32) // 0: there is none; or the most there can be
	return time.Duration(seconds) * time.Second
}

// fail answers a request that no member has answered.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	own, isOwn := errors.AsType[*failure](err)
	if !isOwn {
		own = &failure{http.StatusBadGateway, "the request was cancelled"}
	}
	p.dropped.Add(1)
	own.send(w)
}
