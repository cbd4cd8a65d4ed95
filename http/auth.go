package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	nethttp "net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"etcd2/http/auth"
	"etcd2/store"
)

// The paths of section 18.4.
const (
	enablePath = "/v2/auth/enable"
	usersPath  = "/v2/auth/users"
	rolesPath  = "/v2/auth/roles"
)

// maxNameBytes bounds the name of a user or role.
const maxNameBytes = 1 << 10

// The refusals that do not depend on the users and roles; the others are in package auth.
const (
	noVersionYet = "Not capable of accessing auth feature during rolling upgrades."
	invalidPath  = "Invalid path"
	invalidJSON  = "Invalid JSON in request body."
)

// plan returns what a request changes in a state, and the answer when that is done.
type plan func(*auth.State) (auth.Change, error)

// serveEnable answers /v2/auth/enable: everybody may read the switch, root may turn it.
func (s *Server) serveEnable(w *response, r *nethttp.Request) {
	permit := s.permit(r, auth.Right{Access: auth.Admin})
	if !s.authReady(w) || r.Method != "GET" && !s.allowed(w, permit) {
		return
	}
	s.authHeader(w)
	switch r.Method {
	case "GET":
		sendJSON(w, nethttp.StatusOK, map[string]bool{"enabled": s.keeper.State().Enabled})
	case "PUT":
		s.changeBare(w, r, permit, (*auth.State).Enable)
	case "DELETE":
		s.changeBare(w, r, permit, (*auth.State).Disable)
	}
}

// items is one of the two collections below /v2/auth.
type items struct {
	path   string
	plural string
	list   func(*auth.State) iter.Seq[any]
	get    func(st *auth.State, name string) (any, error)
	put    func(s *Server, w *response, r *nethttp.Request, name string) (plan, bool)
	delete func(st *auth.State, name string) (auth.Change, error)
}

var (
	users = items{usersPath, "users", (*auth.State).Users, (*auth.State).User, (*Server).planUser,
		(*auth.State).DeleteUser}
	roles = items{rolesPath, "roles", (*auth.State).Roles, (*auth.State).Role, (*Server).planRole,
		(*auth.State).DeleteRole}
)

func (s *Server) serveUsers(w *response, r *nethttp.Request) { s.serveItems(w, r, &users) }
func (s *Server) serveRoles(w *response, r *nethttp.Request) { s.serveItems(w, r, &roles) }

// serveItems checks in the order of section 18.4: path, method, rights, then the body, and last the
// users and roles that there are.
func (s *Server) serveItems(w *response, r *nethttp.Request, kind *items) {
	if !s.authReady(w) {
		return
	}
	name := strings.Trim(strings.TrimPrefix(r.URL.Path, kind.path), "/")
	methods := authMethods
	if name == "" {
		methods = onlyGet
	}
	switch {
	case strings.Contains(name, "/") || len(name) > maxNameBytes:
		messageError(w, nethttp.StatusBadRequest, invalidPath)
		return
	case !slices.Contains(methods, r.Method):
		methodNotAllowed(w, methods)
		return
	}
	need := auth.Right{Access: auth.Admin}
	if kind == &users && name != "" && r.Method == "GET" {
		need = auth.Right{Access: auth.Self, Path: name}
	}
	permit := s.permit(r, need)
	if s.allowed(w, permit) {
		s.authHeader(w)
		s.serveItem(w, r, kind, name, permit)
	}
}

// sendList answers with an object of one list, which it sends in pieces: there may be any number of
// users.
func sendList(w *response, plural string, list iter.Seq[any]) {
	w.Header()["Content-Type"] = jsonType
	buf := getBuffer()
	defer putBuffer(buf)
	e := encoder{b: fmt.Appendf(*buf, `{"%s":`, plural), out: w}
	before, end := "[", "null}\n"
	for v := range list {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // all values are of types that JSON has
		}
		e.b = append(append(e.b, before...), text...)
		before, end = ",", "]}\n"
		if e.spill(); e.err != nil {
			return
		}
	}
	e.b = append(e.b, end...)
	e.send()
	*buf = e.b
}

func (s *Server) serveItem(w *response, r *nethttp.Request, kind *items, name string, permit *permit) {
	switch {
	case name == "":
		sendList(w, kind.plural, kind.list(permit.verdict.State))
	case r.Method == "GET":
		v, err := kind.get(permit.verdict.State, name)
		if err != nil {
			s.authError(w, err)
			return
		}
		sendJSON(w, nethttp.StatusOK, v)
	case r.Method == "DELETE":
		s.changeBare(w, r, permit, func(st *auth.State) (auth.Change, error) { return kind.delete(st, name) })
	default:
		if p, ok := kind.put(s, w, r, name); ok {
			s.changeAuth(w, permit, p)
		}
	}
}

// authReady reports whether the version of the cluster is decided, and with it that all members
// know users. If it is not, authReady answers the request.
func (s *Server) authReady(w *response) bool {
	if s.node.Membership().Version != "" {
		return true
	}
	s.authHeader(w)
	messageError(w, nethttp.StatusInternalServerError, noVersionYet)
	return false
}

func (s *Server) authHeader(w *response) {
	h := w.Header()
	h["X-Etcd-Cluster-Id"] = s.clusterID
	h["Content-Type"] = jsonType
}

// authError answers why a change was refused, or that its result is unknown.
func (s *Server) authError(w *response, err error) {
	refusal, refused := errors.AsType[*auth.Refusal](err)
	later, isLater := errors.AsType[*auth.Later](err)
	switch {
	case refused:
		messageError(w, refusal.Status, refusal.Message)
	case isLater:
		tooMany(w, later)
	default:
		s.log.Warn("http: users and roles not changed", "error", err)
		messageError(w, nethttp.StatusInternalServerError, internalError)
	}
}

// planUser reads the body of a PUT of a user; when there is something wrong with it, planUser
// answers the request. The plan hashes a password once, however often it is called.
func (s *Server) planUser(w *response, r *nethttp.Request, name string) (plan, bool) {
	var up auth.UserUpdate
	if !s.readAuthJSON(w, r, &up) {
		return nil, false
	}
	if up.User != name {
		messageError(w, nethttp.StatusBadRequest, "User JSON name does not match the name in the URL")
		return nil, false
	}
	hash := sync.OnceValues(func() (auth.Secret, error) {
		ctx, cancel := context.WithTimeout(r.Context(), auth.HashPatience)
		defer cancel()
		return s.keeper.Hash(ctx, up.User, up.Password)
	})
	return func(st *auth.State) (auth.Change, error) { return st.PutUser(up, hash) }, true
}

// planRole does the same for a role.
func (s *Server) planRole(w *response, r *nethttp.Request, name string) (plan, bool) {
	var up auth.RoleUpdate
	if !s.readAuthJSON(w, r, &up) {
		return nil, false
	}
	if up.Role != name {
		messageError(w, nethttp.StatusBadRequest, "Role JSON name does not match the name in the URL")
		return nil, false
	}
	return func(st *auth.State) (auth.Change, error) { return st.PutRole(up) }, true
}

// readAuthJSON decodes the body and reports success; otherwise it answers the request, without a
// quote from the body, since there may be a password in it (K11).
func (s *Server) readAuthJSON(w *response, r *nethttp.Request, v any) bool {
	status, err := s.readJSON(w, r, v)
	switch {
	case errors.Is(err, errOverBudget):
		tooBusy(w, err.Error())
	case err != nil:
		messageError(w, status, invalidJSON)
	}
	return err == nil
}

// changeBare is changeAuth for a request whose body means nothing.
func (s *Server) changeBare(w *response, r *nethttp.Request, permit *permit, p plan) {
	if s.wholeBody(w, r) {
		s.changeAuth(w, permit, p)
	}
}

// changeAuth waits for all that was acknowledged before the request, does what the plan says, and
// answers. When another request changes users or roles at the same time, this one is judged and
// planned anew, so that no change is lost, and none is made by a right that was taken away (K9).
func (s *Server) changeAuth(w *response, permit *permit, p plan) {
	if err := s.readTree(); err != nil {
		s.authError(w, err)
		return
	}
	var end time.Time // of all proposals; set after the first plan, whose hashing has its own limit
	for {
		if !s.allowed(w, permit) {
			return
		}
		c, err := p(permit.verdict.State)
		if end.IsZero() {
			end = time.Now().Add(s.cfg.RequestTimeout)
		}
		if err == nil {
			err = s.proposeBy(end, c.Commands, permit.verdict.State.Revision)
		}
		switch {
		case err == nil:
			s.changedAuth(w, permit, c)
			return
		case err != store.ErrRevision || time.Now().After(end):
			s.authError(w, err)
			return
		}
	}
}

// readTree waits until this member has applied all that was acknowledged anywhere before the call.
func (s *Server) readTree() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.RequestTimeout)
	defer cancel()
	return s.node.Read(ctx)
}

// proposeBy is proposeAll with a deadline.
func (s *Server) proposeBy(end time.Time, commands []store.Command, revision uint64) error {
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	return s.proposeAll(ctx, commands, revision)
}

// proposeAll proposes commands in order. The first is judged by the revision, and each later one by
// the revision that the command before it made.
func (s *Server) proposeAll(ctx context.Context, commands []store.Command, revision uint64) error {
	for _, c := range commands {
		c.Revision = revision
		result, err := s.node.Propose(ctx, c.Append(nil))
		if err != nil {
			return err
		}
		switch v := result.Value.(type) {
		case *store.Event:
			revision = v.Index
		case error:
			return v
		default:
			return fmt.Errorf("http: users and roles: the result is %v", v)
		}
	}
	return nil
}

// changedAuth logs and answers a change that was made.
func (s *Server) changedAuth(w *response, permit *permit, c auth.Change) {
	s.security.Info("http: "+c.Did, append([]any{"name", c.Name}, permit.callerAttrs()...)...)
	if st := s.keeper.State(); permit.request.URL.Path == enablePath && st.Enabled && st.GuestMayWrite() {
		s.security.Warn("http: ANYBODY MAY STILL WRITE KEYS: auth is on, but requests without a password have the "+
			"role guest, which allows it; "+
			"revoke its permissions to end that", "by", permit.verdict.User)
	}
	if c.Body == nil {
		w.WriteHeader(c.Status)
		return
	}
	sendJSON(w, c.Status, c.Body)
}
