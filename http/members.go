package http

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	nethttp "net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"etcd2/http/auth"
	"etcd2/raft"
	"etcd2/store"
)

const (
	membersPrefix  = "/v2/members"
	maxMemberBytes = 1 << 20 // of a body of the members API
)

// memberJSON is a member as the API shows it.
type memberJSON struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"`

	// Only in lists, and only of a member without a vote that is known to run. etcd 2 has neither
	// field, and its clients ignore both. A member that was never started has an empty name, as in
	// etcd 2.
	Learner bool    `json:"learner,omitempty"`
	Behind  *uint64 `json:"behind,omitempty"` // see entriesBehind
}

// showMember returns a member for the API. Both lists of URLs print as arrays, never as null.
func showMember(m raft.Member) memberJSON {
	return memberJSON{
		ID:         hexID(m.ID),
		Name:       m.Name,
		PeerURLs:   append([]string{}, m.PeerURLs...),
		ClientURLs: append([]string{}, m.ClientURLs...),
	}
}

// serveMembers answers /v2/members and everything below (section 17.1). Everybody may read the
// members; to change them takes the role root.
func (s *Server) serveMembers(w *response, r *nethttp.Request) {
	permit := s.permit(r, auth.Right{Access: auth.Admin})
	if r.Method == "GET" || s.allowed(w, permit) {
		s.members(w, r, permit)
	}
}

// servePeerMembers does so on the peer port, where no rights count: whoever reaches that port is a
// member, or may act as one.
func (s *Server) servePeerMembers(w *response, r *nethttp.Request) { s.members(w, r, nil) }

// servePeerList answers /members on the peer port with the list as etcd 2 has it there: ids in
// decimal digits, and empty fields left out (section 17.9). Starting members and proxies of etcd 2
// read it, and so does Patroni when it finds the cluster by DNS.
func (s *Server) servePeerList(w *response, r *nethttp.Request) {
	type peerJSON struct {
		ID         uint64   `json:"id"`
		PeerURLs   []string `json:"peerURLs"`
		Name       string   `json:"name,omitempty"`
		ClientURLs []string `json:"clientURLs,omitempty"`
	}
	list := []peerJSON{}
	for _, m := range s.node.Membership().Members {
		list = append(list, peerJSON{m.ID, append([]string{}, m.PeerURLs...), m.Name, m.ClientURLs})
	}
	w.Header()["X-Etcd-Cluster-Id"] = s.clusterID
	sendJSON(w, nethttp.StatusOK, list)
}

// members answers a request that this member's state of users and roles allows. A change is judged
// again by the agreed state, see agreedMembership. A nil permit allows everything.
func (s *Server) members(w *response, r *nethttp.Request, permit *permit) {
	w.Header()["X-Etcd-Cluster-Id"] = s.clusterID
	which := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, membersPrefix), "/")
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.RequestTimeout) // for all that a change waits for (G1)
	defer cancel()
	r = r.WithContext(ctx)
	switch r.Method {
	case "GET":
		s.listMembers(w, which)
	case "POST":
		s.addMember(w, r, permit)
	case "PUT":
		if id, ok := memberID(w, which); ok {
			s.updateMember(w, r, id, permit)
		}
	case "DELETE":
		if id, ok := memberID(w, which); ok && s.wholeBody(w, r) {
			s.removeMember(w, r, id, permit)
		}
	}
}

func (s *Server) listMembers(w *response, which string) {
	members := s.node.Membership()
	switch which {
	case "":
		sendJSON(w, nethttp.StatusOK, map[string]any{"members": s.showMembers(members)})
	case "leader":
		if m, ok := members.Find(s.node.Leader()); ok {
			sendJSON(w, nethttp.StatusOK, showMember(m))
			return
		}
		messageError(w, nethttp.StatusServiceUnavailable, "During election")
	default:
		messageError(w, nethttp.StatusNotFound, "Not found")
	}
}

// showMembers lists the members. For one without a vote it says how many entries it is behind, if
// this member knows.
func (s *Server) showMembers(members raft.Membership) []memberJSON {
	shown := []memberJSON{}
	for _, m := range members.Members {
		j := showMember(m)
		if m.Learner {
			j.Behind = s.entriesBehind(m.ID)
			j.Learner = j.Behind != nil || m.Name != ""
		}
		shown = append(shown, j)
	}
	return shown
}

// entriesBehind returns how many committed entries a member lacks. It is nil when this member does
// not lead, or has not heard from the other one since it became leader.
func (s *Server) entriesBehind(id uint64) *uint64 {
	st := s.node.Status()
	p := st.Progress[id]
	if p.Match == 0 && p.State != "snapshot" {
		return nil
	}
	behind := st.Commit - min(p.Match, st.Commit)
	return &behind
}

// addMember adds a member without a vote: it gets one when it has caught up.
func (s *Server) addMember(w *response, r *nethttp.Request, permit *permit) {
	urls, ok := s.readPeerURLs(w, r)
	if !ok {
		return
	}
	now, ok := s.agreedMembership(w, r, permit)
	if !ok {
		return
	}
	if now.Taken(raft.None, urls) {
		memberExists(w)
		return
	}
	m := raft.Member{ID: newMemberID(now), PeerURLs: urls, Learner: true}
	if s.change(w, r, permit, raft.Change{Kind: raft.ChangeAdd, Member: m}) {
		sendJSON(w, nethttp.StatusCreated, showMember(m))
	}
}

// updateMember replaces the peer URLs of a member.
func (s *Server) updateMember(w *response, r *nethttp.Request, id uint64, permit *permit) {
	urls, ok := s.readPeerURLs(w, r)
	if !ok {
		return
	}
	now, ok := s.agreedMembership(w, r, permit)
	if !ok {
		return
	}
	_, found := now.Find(id)
	switch {
	case slices.Contains(now.Removed, id):
		messageError(w, nethttp.StatusInternalServerError, internalError)
	case !found:
		noSuchMember(w, hexID(id))
	case now.Taken(id, urls):
		memberExists(w)
	case s.change(w, r, permit, raft.Change{Kind: raft.ChangeUpdate, Member: raft.Member{ID: id, PeerURLs: urls}}):
		w.WriteHeader(nethttp.StatusNoContent)
	}
}

// removeMember removes a member for ever.
func (s *Server) removeMember(w *response, r *nethttp.Request, id uint64, permit *permit) {
	now, ok := s.agreedMembership(w, r, permit)
	if !ok {
		return
	}
	_, found := now.Find(id)
	switch {
	case slices.Contains(now.Removed, id):
		memberRemoved(w, hexID(id))
	case !found:
		noSuchMember(w, hexID(id))
	case s.change(w, r, permit, raft.Change{Kind: raft.ChangeRemove, Member: raft.Member{ID: id}}):
		w.WriteHeader(nethttp.StatusNoContent)
	}
}

// agreedMembership returns the membership with every change that was acknowledged, at any member,
// before the request. By an older membership a 404 or 409 would be wrong, and by older users and
// roles a right that was taken away would count (K9). When the membership can't be known, or the
// request is not allowed, agreedMembership answers the request and returns false.
func (s *Server) agreedMembership(w *response, r *nethttp.Request, permit *permit) (raft.Membership, bool) {
	if err := s.node.Read(r.Context()); err != nil {
		s.changeFailed(w, raft.None, err)
		return raft.Membership{}, false
	}
	if permit != nil && !s.allowed(w, permit) {
		return raft.Membership{}, false
	}
	return s.node.Membership(), true
}

// changeFailed answers that the result of the change is unknown, and why.
func (s *Server) changeFailed(w *response, member uint64, err error) {
	s.log.Warn("http: membership not changed", "member", hexID(member), "error", err)
	message := s.nodeError(err, time.Now()).Cause
	if message == err.Error() {
		message = internalError // what is wrong inside is for the log
	}
	messageError(w, nethttp.StatusInternalServerError, message)
}

// change proposes c and reports success; otherwise it answers the request. A change that the leader
// refuses will never happen, and gets a 4xx. After any other error the result is unknown, and gets
// 500 (G2). While another change is under way, the node waits.
func (s *Server) change(w *response, r *nethttp.Request, permit *permit, c raft.Change) bool {
	_, err := s.node.Change(r.Context(), c)
	quorum, loses := errors.AsType[*raft.QuorumError](err)
	switch {
	case err == nil:
		s.changedMember(r, permit, c)
		return true
	case errors.Is(err, raft.ErrMemberExists):
		memberExists(w)
	case errors.Is(err, raft.ErrMemberUnknown):
		noSuchMember(w, hexID(c.Member.ID))
	case errors.Is(err, raft.ErrMemberRemoved):
		memberRemoved(w, hexID(c.Member.ID))
	case errors.Is(err, raft.ErrMembershipFull):
		messageError(w, nethttp.StatusConflict,
			"etcdserver: "+strings.TrimPrefix(raft.ErrMembershipFull.Error(), "raft: "))
	case loses:
		messageError(w, nethttp.StatusConflict, "etcdserver: "+quorum.Arithmetic)
	default:
		s.changeFailed(w, c.Member.ID, err)
	}
	return false
}

// changes are the words for kinds of changes in the log.
var changes = map[raft.ChangeKind]string{raft.ChangeAdd: "added", raft.ChangeUpdate: "updated",
	raft.ChangeRemove: "removed"}

// changedMember logs a change that was made. A request over the peer port (nil permit) has no user:
// it is logged with the certificate of its connection.
func (s *Server) changedMember(r *nethttp.Request, permit *permit, c raft.Change) {
	var who []any
	if permit != nil {
		who = permit.callerAttrs()
	} else {
		who = append([]any{"by", "(peer port)", "proof", certificate(r)}, s.addressAttrs(r)...)
	}
	s.security.Info("http: member "+changes[c.Kind], append([]any{"member", hexID(c.Member.ID),
		"urls", c.Member.PeerURLs}, who...)...)
}

// certificate returns, for the log, the subject of the request's verified client certificate.
func certificate(r *nethttp.Request) string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return "none"
	}
	return "certificate " + clip(r.TLS.VerifiedChains[0][0].Subject.String())
}

// newMemberID returns a random id, so that a member added again with the same URLs gets another one
// (D9).
func newMemberID(now raft.Membership) uint64 {
	for {
		var b [8]byte
		rand.Read(b[:])
		id := binary.BigEndian.Uint64(b[:])
		if _, present := now.Find(id); id != raft.None && !present && !slices.Contains(now.Removed, id) {
			return id
		}
	}
}

// memberID parses the id in a path, 1 to 16 hexadecimal digits. When text is no such id, memberID
// answers the request and returns false.
func memberID(w *response, text string) (uint64, bool) {
	if text == "" {
		nethttp.Error(w, "Method Not Allowed", nethttp.StatusMethodNotAllowed)
		return 0, false
	}
	id, err := strconv.ParseUint(text, 16, 64)
	if err != nil || len(text) > 16 {
		noSuchMember(w, text)
		return 0, false
	}
	return id, true
}

// memberExists refuses peer URLs of which one is another member's (D13).
func memberExists(w *response) {
	messageError(w, nethttp.StatusConflict, "etcdserver: peerURL exists")
}

func memberRemoved(w *response, id string) {
	messageError(w, nethttp.StatusGone, "Member permanently removed: "+id)
}

func noSuchMember(w *response, id string) {
	messageError(w, nethttp.StatusNotFound, "No such member: "+id)
}

// readPeerURLs reads the body of a POST or PUT. When there is something wrong with it, readPeerURLs
// answers the request and returns false.
func (s *Server) readPeerURLs(w *response, r *nethttp.Request) ([]string, bool) {
	if t := r.Header.Get("Content-Type"); t != jsonType[0] {
		messageError(w, nethttp.StatusUnsupportedMediaType, "Bad Content-Type "+t+", accept application/json")
		return nil, false
	}
	var body struct {
		PeerURLs []string `json:"peerURLs"`
	}
	switch status, err := s.readJSON(w, r, &body); {
	case errors.Is(err, errOverBudget):
		tooBusy(w, err.Error())
		return nil, false
	case err != nil:
		messageError(w, status, err.Error())
		return nil, false
	}
	urls, err := checkURLs(body.PeerURLs)
	if err != nil {
		messageError(w, nethttp.StatusBadRequest, err.Error())
		return nil, false
	}
	return urls, true
}

// checkURLs returns the URLs in their normal form, sorted. The error is about the first bad one.
func checkURLs(texts []string) ([]string, error) {
	if len(texts) == 0 {
		return nil, errors.New("no valid URLs given")
	}
	urls, err := raft.ParseURLs(texts)
	slices.Sort(urls)
	return urls, err
}

// serveMachines lists the client URLs of all members.
func (s *Server) serveMachines(w *response, r *nethttp.Request) {
	var urls []string
	for _, m := range s.node.Membership().Members {
		urls = append(urls, m.ClientURLs...)
	}
	slices.Sort(urls)
	w.Header()["Content-Type"] = textType
	w.Write([]byte(strings.Join(urls, ", ")))
}

// indices is how many indices of the store a change of the membership takes, as in etcd 2 (section
// 6). So the first write of a new cluster of N members gets the index 2N+2: before it there are N
// additions, N names and one version.
var indices = map[raft.ChangeKind]uint64{
	raft.ChangeAdd: 1, raft.ChangeUpdate: 1, raft.ChangeRemove: 2, raft.ChangeVersion: 1,
}

// ChangeCommand returns the command that advances the store's index for a change of the membership;
// nil when the change takes no index.
func ChangeCommand(k raft.ChangeKind) []byte {
	count, takes := indices[k]
	if !takes {
		return nil
	}
	command := store.Command{Op: store.OpAdvance, Count: count}
	return command.Append(nil)
}

// WallCommand returns the command that tells the tree the leader's wall clock minus the cluster
// clock.
func WallCommand(offset time.Duration) []byte {
	command := store.Command{Op: store.OpClock, TTL: offset}
	return command.Append(nil)
}
