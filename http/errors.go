package http

import (
	"context"
	"errors"
	nethttp "net/http"
	"strconv"
	"strings"

	"etcd2/raft"
	"etcd2/store"
)

const internalError = "Internal Server Error"

// keysError sends the error shape of the keys API. X-Etcd-Index is always what the body says.
func (s *Server) keysError(w *response, e *store.Error) {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["X-Etcd-Cluster-Id"] = s.clusterID
	h["X-Etcd-Index"] = []string{strconv.FormatUint(e.Index, 10)}
	w.WriteHeader(e.Status())
	buf := getBuffer()
	defer putBuffer(buf)
	*buf = appendError(*buf, e)
	w.Write(*buf)
}

// nodeCauses tell the client why consensus gave no result. None of them becomes a 4xx: the
// write may yet happen (G2).
var nodeCauses = []struct {
	err   error
	cause string
}{
	{raft.ErrUnknown, "etcdserver: request timed out"},
	{context.DeadlineExceeded, "etcdserver: request timed out"},
	{context.Canceled, "etcdserver: request timed out"},
	{raft.ErrNoLeader, "etcdserver: no leader"},
	{raft.ErrOverloaded, "etcdserver: too many requests"},
	{raft.ErrStopped, "etcdserver: server stopped"},
}

// nodeError turns an error of the node into code 300.
func nodeError(err error) *store.Error {
	for _, c := range nodeCauses {
		if errors.Is(err, c.err) {
			return &store.Error{Code: store.CodeRaft, Cause: c.cause}
		}
	}
	return &store.Error{Code: store.CodeRaft, Cause: err.Error()}
}

// messageError sends the error shape of everything but keys: {"message":"..."}, no newline.
func messageError(w *response, status int, message string) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	w.Write(append(appendString([]byte(`{"message":`), message), '}'))
}

// tooBusy refuses a request that a limit leaves no room for; another member may have some.
func tooBusy(w *response, message string) {
	w.Header().Set("Retry-After", "1")
	messageError(w, nethttp.StatusServiceUnavailable, message)
}

func methodNotAllowed(w *response, methods []string) {
	w.Header().Set("Allow", strings.Join(methods, ","))
	nethttp.Error(w, "Method Not Allowed", nethttp.StatusMethodNotAllowed)
}
