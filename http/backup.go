package http

import (
	"context"
	"errors"
	nethttp "net/http"
	"strconv"

	"etcd2/raft"
)

// serveBackup streams the state of this member as a backup, the file that `etcdctl restore` takes.
// It holds everything that was acknowledged at any member before the request. With quorum=false it
// holds what this member has applied, which needs no leader. Writes go on meanwhile; until the
// backup is sent, the old and the new version of what they change are in memory, so only one backup
// is sent at a time. It contains users and roles: with auth on, it is for root only.
//
// X-Etcd-Index and X-Raft-Index are those of the state that is sent. A file that is cut off has no
// trailer, so that no reader takes it for a backup. The connection is broken as well, so that the
// client knows at once.
func (s *Server) serveBackup(w *response, r *nethttp.Request) {
	query := r.URL.Query() // not r.FormValue, which reads a multipart body into memory and files (J4)
	quorum, err := strconv.ParseBool(query.Get("quorum"))
	if err != nil && query.Has("quorum") {
		messageError(w, nethttp.StatusBadRequest, "quorum is true or false")
		return
	}
	if !s.backingUp.CompareAndSwap(false, true) {
		tooBusy(w, "another backup is being sent")
		return
	}
	defer s.backingUp.Store(false)
	frozen, index, err := s.freeze(r.Context(), quorum || !query.Has("quorum"))
	if err != nil {
		tooBusy(w, s.nodeError(err, w.begun).Cause)
		return
	}
	w.endHolding() // one backup at a time: it needs no other bound
	s.keysHeader(w, index, frozen.Index, frozen.Term)
	w.Header()["Content-Type"] = []string{"application/octet-stream"}
	if _, err := frozen.WriteTo(&untilShutdown{w, s.ending}); err != nil {
		s.log.Warn("a backup was not sent to its end", "client", r.RemoteAddr, "index", frozen.Index, "err", err)
		panic(nethttp.ErrAbortHandler)
	}
	s.log.Info("sent a backup", "client", r.RemoteAddr, "index", frozen.Index)
}

// freeze returns the state and the store's index at the same moment. With quorum, the state has all
// that was acknowledged before the call.
func (s *Server) freeze(ctx context.Context, quorum bool) (f *raft.Frozen, index uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	if quorum {
		if err := s.node.Read(ctx); err != nil {
			return nil, 0, err
		}
	}
	f, err = s.node.Freeze(ctx, func() { index = s.store.Index() })
	if err != nil {
		return nil, 0, err
	}
	return f, index, nil
}

var errShutdown = errors.New("this member is stopping")

// untilShutdown writes to w, and fails as soon as the member stops: a shutdown does not wait for an
// answer of any length.
type untilShutdown struct {
	w      nethttp.ResponseWriter
	ending context.Context
}

// Write sends b, or returns errShutdown.
func (u *untilShutdown) Write(b []byte) (int, error) {
	if u.ending.Err() != nil {
		return 0, errShutdown
	}
	return u.w.Write(b)
}
