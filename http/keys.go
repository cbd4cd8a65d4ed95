package http

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	nethttp "net/http"
	"strconv"
	"strings"
	"time"

	"etcd2/http/auth"
	"etcd2/raft"
	"etcd2/store"
)

const keysPrefix = "/v2/keys"

// maxKeyBytes bounds a key; its depth is bounded by store.MaxDepth (J5).
const maxKeyBytes = 32 << 10

// Header values that all answers share.
var (
	jsonType = []string{"application/json"}
	textType = []string{"text/plain; charset=utf-8"}
)

// serveKeys answers every request for /v2/keys.
func (s *Server) serveKeys(w *response, r *nethttp.Request) {
	method := methodIndex(r.Method)
	s.metrics.received[method].Add(1)
	p, err := s.parse(w, r)
	if err == nil {
		err = s.serveKey(w, r, p)
	}
	if err != nil {
		s.keysError(w, err)
	}
	if w.status >= nethttp.StatusBadRequest {
		s.metrics.failed(method, w.status)
	} else if !p.wait {
		s.metrics.successful[method].Observe(time.Since(w.begun))
	}
}

// serveKey executes a request whose parameters are good. The error that it returns is not sent yet.
func (s *Server) serveKey(w *response, r *nethttp.Request, p *params) *store.Error {
	key, asked, err := keyOf(r.Method, r.URL.Path)
	if err != nil {
		return err
	}
	permit := s.permit(r, auth.Right{Access: auth.Write, Path: asked, Recursive: p.recursive})
	if isRead(r.Method) {
		permit.need.Access = auth.Read
		return s.read(w, r, key, p, permit)
	}
	return s.write(w, r, key, p, permit)
}

func isRead(method string) bool { return method == "GET" || method == "HEAD" }

// keyOf returns the key of a request's path, and the path that rights are judged by: the key with a
// trailing slash if the path has one, and "" for the root without one (section 18.3). No other
// function looks at the path (J7).
func keyOf(method, path string) (key, asked string, err *store.Error) {
	path = path[len(keysPrefix):]
	if len(path) > maxKeyBytes {
		return "", "", &store.Error{Code: store.CodeField, Cause: fmt.Sprintf("the key is longer than %d bytes",
			maxKeyBytes)}
	}
	levels := strings.Count(path, "/")
	if method == "POST" {
		levels++ // of the key that it makes
	}
	if levels > store.MaxDepth {
		return "", "", &store.Error{Code: store.CodeField, Cause: fmt.Sprintf("the key has more than %d levels",
			store.MaxDepth)}
	}
	key = store.Canonical(path)
	switch asked = key; {
	case path == "":
		asked = ""
	case key != "/" && strings.HasSuffix(path, "/"):
		asked += "/"
	}
	return key, asked, nil
}

// write proposes a command and answers with the result. A client that hangs up does not end the
// proposal; the node bounds the wait. When users or roles change before the command is applied, the
// tree refuses it, and it is judged and proposed again (K9).
func (s *Server) write(w *response, r *nethttp.Request, key string, p *params, permit *permit) *store.Error {
	cmd := p.command(r.Method, key)
	fault := nameRequest(&cmd, r.Header)
	if fault != nil {
		return fault
	}
	result, err := s.propose(w, cmd, permit, r.Header[indexHeader] != nil)
	if err != nil {
		return s.noResult(w, err)
	}
	switch v := result.Value.(type) {
	case *store.Event:
		s.keysHeader(w, v.Index, result.Index, result.Term)
		s.writeEvent(w, v, p.noValue, permit.secrets(cmd, v))
		return nil
	case *store.Error:
		if v.Code == store.CodeUnauthorized {
			permit.refused()
		}
		if v.Code == store.CodeForgotten {
			// A client that made its first try may make it again with this index.
			w.Header()["X-Raft-Index"] = []string{strconv.FormatUint(result.Index, 10)}
		}
		return permit.conceal(cmd, v)
	default:
		return &store.Error{Code: store.CodeRaft, Cause: fmt.Sprint(v)}
	}
}

// propose proposes a command, and again whenever users or roles change before it is applied, within
// the time limit of a request. hasIndex says that the client has sent an index with the name of its
// request. A command with a name and without that index counts as first tried now: its index is
// that of the last entry applied here. If that is too old when the command is applied, the command
// is proposed again. The node keeps the bytes of each proposal, so each one gets its own.
func (s *Server) propose(w *response, cmd store.Command, permit *permit, hasIndex bool) (raft.Result, error) {
	const numbers = 96 // bytes for the parts of the command that are no text
	for {
		if err := permit.check(); err != nil {
			return raft.Result{}, err
		}
		cmd.Revision = permit.verdict.State.Revision
		cmd.Shallow = cmd.HasTTL && !permit.verdict.May(auth.Right{Access: auth.Write, Path: permit.need.Path,
			Recursive: true})
		if cmd.RequestID != "" {
			cmd.User = ownerOf(permit.verdict.Owner)
		}
		if cmd.RequestID != "" && !hasIndex {
			cmd.RequestIndex, _ = s.node.Applied()
		}
		room := make([]byte, 0, numbers+
			len(cmd.Path)+len(cmd.Value)+len(cmd.PrevValue)+len(cmd.RequestID)+len(cmd.User))
		result, err := s.node.Propose(context.Background(), cmd.Append(room))
		switch {
		case err != nil || result.Value != store.ErrRevision && (hasIndex || !tooOld(result.Value)):
			return result, err
		case time.Since(w.begun) > s.cfg.RequestTimeout:
			return raft.Result{}, context.DeadlineExceeded
		}
	}
}

// noResult returns the error for a request for a key that has no result; nil when it has answered
// itself.
func (s *Server) noResult(w *response, err error) *store.Error {
	later, isLater := errors.AsType[*auth.Later](err)
	switch {
	case errors.Is(err, auth.ErrDenied):
		return &store.Error{Code: store.CodeUnauthorized, Cause: err.Error()}
	case isLater:
		tooMany(w, later)
		return nil
	}
	return s.nodeError(err, w.begun)
}

// requestHeader names a write, so that it is executed once however often it is sent: the store
// remembers the names (G3). indexHeader has an X-Raft-Index that the client got before it sent the
// write for the first time; each try carries the same. The store refuses a request so old that it
// may have forgotten whether it was executed. 0 is older than everything.
const (
	requestHeader = "X-Etcd-Request-Id"
	indexHeader   = "X-Etcd-Request-Index"
)

// nameRequest gives the command the name and the index from the headers of its request, if there is
// a name.
func nameRequest(cmd *store.Command, h nethttp.Header) *store.Error {
	ids, indices := h[requestHeader], h[indexHeader]
	if ids == nil {
		return nil
	}
	if len(ids) > 1 || !isRequestID(ids[0]) {
		return &store.Error{Code: store.CodeField, Cause: `invalid value for "` + requestHeader + `"`}
	}
	cmd.RequestID = ids[0]
	if indices != nil && (len(indices) > 1 || !number(indices[0], &cmd.RequestIndex)) {
		return &store.Error{Code: store.CodeIndex, Cause: `invalid value for "` + indexHeader + `"`}
	}
	return nil
}

// isRequestID reports whether id consists of 1 to MaxRequestID printable ASCII characters without
// blanks.
func isRequestID(id string) bool {
	odd := func(c rune) bool { return c <= ' ' || c > '~' }
	return id != "" && len(id) <= store.MaxRequestID && !strings.ContainsFunc(id, odd)
}

// ownerOf returns a user as a command names it: by name, or by its hash when it is longer than
// MaxUser.
func ownerOf(user string) string {
	if len(user) <= store.MaxUser {
		return user
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(user)))
}

// tooOld reports whether result refuses a command because its request index is too old.
func tooOld(result any) bool {
	e, failed := result.(*store.Error)
	return failed && e.Code == store.CodeForgotten
}

// writeEvent answers a write. It leaves out the values of the nodes in secrets.
func (s *Server) writeEvent(w *response, ev *store.Event, brief bool, secrets []*store.Node) {
	buf := getBuffer()
	defer putBuffer(buf)
	e := encoder{b: *buf, out: w, without: secrets}
	w.WriteHeader(statusOf(ev))
	if brief && hasValue(ev.Action) {
		e.action(ev.Action)
	} else {
		e.event(ev)
	}
	e.send()
	*buf = e.b
}

// hasValue reports whether noValueOnSuccess shortens the answer to an action (section 19).
func hasValue(a store.Action) bool {
	switch a {
	case store.ActionSet, store.ActionCreate, store.ActionUpdate, store.ActionCompareAndSwap:
		return true
	}
	return false
}

// statusOf returns 201 for an event that made a node where none was, else 200.
func statusOf(ev *store.Event) int {
	if ev.Action == store.ActionCreate || ev.Action == store.ActionSet && ev.Prev == nil {
		return nethttp.StatusCreated
	}
	return nethttp.StatusOK
}

// keysHeader sets the headers of a success. The three numbers share two allocations.
func (s *Server) keysHeader(w *response, index, raftIndex, raftTerm uint64) {
	var digits [60]byte
	b := strconv.AppendUint(digits[:0], index, 10)
	n := len(b)
	b = strconv.AppendUint(b, raftIndex, 10)
	m := len(b)
	text := string(strconv.AppendUint(b, raftTerm, 10))
	values := []string{text[:n], text[n:m], text[m:]}
	h := w.Header()
	h["Content-Type"] = jsonType
	h["X-Etcd-Cluster-Id"] = s.clusterID
	h["X-Etcd-Index"] = values[0:1:1]
	h["X-Raft-Index"] = values[1:2:2]
	h["X-Raft-Term"] = values[2:3:3]
}

// read answers a GET or HEAD from the tree as it is, or from a later one when minIndex or quorum
// asks for it. quorum counts for GET only, and overrides wait (section 15.1).
//
// A client without the right does not have to wait to be refused. What it reads is judged again
// when it is read (K9).
func (s *Server) read(w *response, r *nethttp.Request, key string, p *params, permit *permit) *store.Error {
	quorum := p.quorum && r.Method == "GET"
	if err := permit.check(); err != nil {
		return s.noResult(w, err)
	}
	if p.minIndex > 0 || quorum {
		if err := s.catchUp(w, r, p.minIndex, quorum); err != nil {
			return err
		}
	}
	if p.wait && !quorum {
		return s.watch(w, r, key, p, permit)
	}
	return s.get(w, key, p, permit)
}

// catchUp waits until this member has applied the store index minIndex and, for quorum, everything
// that was acknowledged before the request. Both waits share one deadline (G1); the wait for
// minIndex also ends with the client and the server.
func (s *Server) catchUp(w *response, r *nethttp.Request, minIndex uint64, quorum bool) *store.Error {
	ctx := r.Context()
	if minIndex > s.store.Index() {
		client, stop := s.untilLeft(s.ending, r)
		defer stop()
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(client, s.cfg.RequestTimeout)
		defer cancel()
		switch err := s.store.WaitIndex(ctx, minIndex); {
		case s.ending.Err() != nil:
			return s.nodeError(raft.ErrStopped, w.begun)
		case err != nil:
			return &store.Error{Code: store.CodeRaft, Cause: fmt.Sprintf("%s, waiting for index %d",
				timedOut, minIndex)}
		}
	}
	if quorum {
		if err := s.node.Read(ctx); err != nil {
			return s.nodeError(err, w.begun)
		}
	}
	return nil
}

// get answers from the local tree. Head and body come from one view (I12).
func (s *Server) get(w *response, key string, p *params, permit *permit) *store.Error {
	raftIndex, raftTerm := s.node.Applied()
	v, fault := s.store.Get(key)
	for !permit.holds() {
		if err := permit.check(); err != nil {
			return s.noResult(w, err)
		}
		v, fault = s.store.Get(key)
	}
	if fault != nil {
		return fault
	}
	if p.count && !v.Node.Dir {
		return &store.Error{Code: store.CodeNotDirectory, Cause: key, Index: v.Index}
	}
	s.keysHeader(w, v.Index, raftIndex, raftTerm)
	buf := getBuffer()
	defer putBuffer(buf)
	l := listing{encoder: encoder{b: *buf, out: w, keysOnly: p.keysOnly}, view: v, params: p}
	if v.Node.Dir || v.Node.Ends != nil {
		l.now = s.node.Now().UnixNano()
	}
	l.answer()
	w.announce(len(l.b))
	l.send()
	*buf = l.b
	return nil
}
