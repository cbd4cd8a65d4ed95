package http

import (
	"context"
	"errors"
	nethttp "net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"etcd2/raft"
	"etcd2/store"
)

const internalError = "Internal Server Error"

// keysError sends the error shape of the keys API. X-Etcd-Index is the index in the body.
func (s *Server) keysError(w *response, e *store.Error) {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["X-Etcd-Cluster-Id"] = s.clusterID
	h["X-Etcd-Index"] = []string{strconv.FormatUint(e.Index, 10)}
	status := e.Status()
	if e.Code == store.CodeRaft && slices.Contains(transientCauses, e.Cause) {
		h["Retry-After"] = retryAfter
		status = nethttp.StatusServiceUnavailable
	}
	w.WriteHeader(status)
	buf := getBuffer()
	defer putBuffer(buf)
	out := encoder{b: *buf, out: w}
	out.fault(e)
	out.send()
	*buf = out.b
}

// transientCauses are causes that soon pass, of requests that changed nothing.
var transientCauses = []string{tooMuchProposed, errOverBudget.Error()}

const tooMuchProposed = "etcdserver: too many requests"

var retryAfter = []string{"1"} // seconds

// timedOut begins the cause of every error that says that no answer came in time.
const timedOut = "etcdserver: request timed out"

// nodeCauses tell the client why consensus gave no result. None of them becomes a 4xx: the write
// may still happen (G2).
var nodeCauses = []struct {
	err   error
	cause string
}{
	{raft.ErrUnknown, timedOut},
	{context.DeadlineExceeded, timedOut},
	{context.Canceled, timedOut},
	{raft.ErrNoLeader, timedOut + ", no leader"},
	{raft.ErrOverloaded, tooMuchProposed},
	{raft.ErrStopped, "etcdserver: server stopped"},
}

// nodeError turns an error of the node into code 300. begun is when the request began.
func (s *Server) nodeError(err error, begun time.Time) *store.Error {
	cause := err.Error()
	for _, c := range nodeCauses {
		if errors.Is(err, c.err) {
			cause = c.cause
			break
		}
	}
	if cause == timedOut {
		cause += s.probableCause(begun)
	}
	return &store.Error{Code: store.CodeRaft, Cause: cause}
}

// probableCause guesses why a request that began at begun got no answer, as etcd 2 does (section
// 16): the leader has changed since, or the connection to it was cut. It is "" when neither is so.
func (s *Server) probableCause(begun time.Time) string {
	st := s.node.Status()
	if st.Leader == raft.None || st.LeaderSince.After(begun) {
		return ", possibly due to previous leader failure"
	}
	peer := s.node.Peers()[st.Leader]
	if st.Leader != st.ID && (!peer.Connected || peer.Since.After(begun)) {
		return ", possibly due to connection lost"
	}
	return ""
}

// messageError sends the error shape of everything but keys: {"message":"..."}, without a newline.
func messageError(w *response, status int, message string) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	w.Write(append(appendString([]byte(`{"message":`), message), '}'))
}

// tooBusy refuses a request that a limit has no room for; another member may have room.
func tooBusy(w *response, message string) {
	w.Header()["Retry-After"] = retryAfter
	messageError(w, nethttp.StatusServiceUnavailable, message)
}

func methodNotAllowed(w *response, methods []string) {
	w.Header().Set("Allow", strings.Join(methods, ","))
	nethttp.Error(w, "Method Not Allowed", nethttp.StatusMethodNotAllowed)
}
