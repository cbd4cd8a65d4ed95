package http

import (
	"context"
	"errors"
	nethttp "net/http"
	"strconv"

	"etcd2/raft"
)

// serveBackup streams the state of this member as a backup, the file that `etcdctl restore` takes.
// It holds everything that was acknowledged anywhere before the request; with quorum=false, what is
// applied here, which needs no leader. Writes go on meanwhile, and what they change is kept twice
// as long as it takes: so there is one at a time. Users and roles are in it: where there are any,
// it is for root only.
//
// X-Etcd-Index and X-Raft-Index tell the very state that is sent. A file whose end did not come has
// no trailer, and nobody takes it for a backup; and the connection breaks, so that the client knows
// at once.
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
	w.endHolding() // there is one at a time
	s.keysHeader(w, index, frozen.Index, frozen.Term)
	w.Header()["Content-Type"] = []string{"application/octet-stream"}
	if _, err := frozen.WriteTo(&untilShutdown{w, s.ending}); err != nil {
		s.log.Warn("a backup was not sent to its end", "client", r.RemoteAddr, "index", frozen.Index, "err", err)
		panic(nethttp.ErrAbortHandler)
	}
	s.log.Info("sent a backup", "client", r.RemoteAddr, "index", frozen.Index)
}

// freeze takes the state, with all that was acknowledged before if quorum is set, and the store's
// index at that moment.
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

// untilShutdown is an answer of any length, which a shutdown does not wait for.
type untilShutdown struct {
	w      nethttp.ResponseWriter
	ending context.Context
}

// Write sends a piece.
func (u *untilShutdown) Write(b []byte) (int, error) {
	if u.ending.Err() != nil {
		return 0, errShutdown
	}
	return u.w.Write(b)
}
