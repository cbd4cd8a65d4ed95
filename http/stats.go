package http

import (
	"cmp"
	"context"
	"encoding/json"
	nethttp "net/http"
	"slices"
	"sync"
	"time"

	"etcd2/raft"
	"etcd2/store"
)

// roleNames are the names of roles in etcd 2, which has no PreCandidate.
var roleNames = map[raft.Role]string{
	raft.Follower:     "StateFollower",
	raft.PreCandidate: "StateCandidate",
	raft.Candidate:    "StateCandidate",
	raft.Leader:       "StateLeader",
}

// selfStats is the document of /v2/stats/self. It counts the appends between members. A rate is
// that of the last ten seconds, and is left out when it is 0.
type selfStats struct {
	Name         string     `json:"name"`
	ID           string     `json:"id"`
	State        string     `json:"state"`
	StartTime    time.Time  `json:"startTime"`
	LeaderInfo   leaderInfo `json:"leaderInfo"`
	Received     uint64     `json:"recvAppendRequestCnt"`
	ReceivedRate float64    `json:"recvPkgRate,omitempty"`       // messages a second
	ReceivedBand float64    `json:"recvBandwidthRate,omitempty"` // bytes a second
	Sent         uint64     `json:"sendAppendRequestCnt"`
	SentRate     float64    `json:"sendPkgRate,omitempty"`
	SentBand     float64    `json:"sendBandwidthRate,omitempty"`
}

type leaderInfo struct {
	Leader    string    `json:"leader"`
	Uptime    string    `json:"uptime"`
	StartTime time.Time `json:"startTime"`
}

// lastLeader remembers the last known leader: the statistics show it while no leader is known, too.
type lastLeader struct {
	mu    sync.Mutex // protects all below
	id    uint64
	since time.Time
}

// update records the present leader, if one is known, and returns what to show.
func (l *lastLeader) update(st raft.Status) leaderInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	if st.Leader != raft.None {
		l.id, l.since = st.Leader, st.LeaderSince
	}
	if l.id == raft.None {
		return leaderInfo{Uptime: "0s"}
	}
	return leaderInfo{Leader: hexID(l.id), Uptime: time.Since(l.since).String(), StartTime: l.since}
}

func (s *Server) serveSelfStats(w *response, r *nethttp.Request) {
	st, stats := s.node.Status(), s.node.Stats()
	self := selfStats{
		Name:       s.cfg.Name,
		ID:         hexID(st.ID),
		State:      roleNames[st.Role],
		StartTime:  s.started,
		LeaderInfo: s.leader.update(st),
		Received:   stats.AppendsReceived.Count(),
		Sent:       stats.AppendsSent.Count(),
	}
	switch st.Role {
	case raft.Leader:
		self.SentRate, self.SentBand = stats.AppendsSent.Rates(time.Now())
	case raft.Follower:
		self.ReceivedRate, self.ReceivedBand = stats.AppendsReceived.Rates(time.Now())
	}
	sendBareJSON(w, self)
}

// followerStats is what the leader shows about another member; times are in milliseconds.
type followerStats struct {
	Latency struct {
		Current   float64 `json:"current"`
		Average   float64 `json:"average"`
		Deviation float64 `json:"standardDeviation"`
		Least     float64 `json:"minimum"`
		Greatest  float64 `json:"maximum"`
	} `json:"latency"`
	Counts struct {
		Fail    uint64 `json:"fail"`
		Success uint64 `json:"success"`
	} `json:"counts"`
}

// showFollower returns the statistics of one member. A message with entries that the member has
// read counts as a success; a dropped message and a failed snapshot count as failures.
func showFollower(p raft.PeerStats) (f followerStats) {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	f.Latency.Current, f.Latency.Average, f.Latency.Deviation = ms(p.Current), ms(p.Average), ms(p.Deviation)
	f.Latency.Least, f.Latency.Greatest = ms(p.Least), ms(p.Greatest)
	f.Counts.Fail, f.Counts.Success = p.Dropped+p.SnapshotsFailed, p.Trips
	return f
}

// serveLeaderStats answers at the leader only.
func (s *Server) serveLeaderStats(w *response, r *nethttp.Request) {
	st := s.node.Status()
	if st.Role != raft.Leader {
		messageError(w, nethttp.StatusForbidden, "not current leader")
		return
	}
	followers := map[string]followerStats{}
	for id, p := range s.node.Peers() {
		followers[hexID(id)] = showFollower(p)
	}
	sendBareJSON(w, struct {
		Leader    string                   `json:"leader"`
		Followers map[string]followerStats `json:"followers"`
	}{hexID(st.ID), followers})
}

// storeStats are the counters of /v2/stats/store in the order in which they are printed.
type storeStats struct {
	GetsSuccess             uint64 `json:"getsSuccess"`
	GetsFail                uint64 `json:"getsFail"`
	SetsSuccess             uint64 `json:"setsSuccess"`
	SetsFail                uint64 `json:"setsFail"`
	DeleteSuccess           uint64 `json:"deleteSuccess"`
	DeleteFail              uint64 `json:"deleteFail"`
	UpdateSuccess           uint64 `json:"updateSuccess"`
	UpdateFail              uint64 `json:"updateFail"`
	CreateSuccess           uint64 `json:"createSuccess"`
	CreateFail              uint64 `json:"createFail"`
	CompareAndSwapSuccess   uint64 `json:"compareAndSwapSuccess"`
	CompareAndSwapFail      uint64 `json:"compareAndSwapFail"`
	CompareAndDeleteSuccess uint64 `json:"compareAndDeleteSuccess"`
	CompareAndDeleteFail    uint64 `json:"compareAndDeleteFail"`
	ExpireCount             uint64 `json:"expireCount"`
	Watchers                uint64 `json:"watchers"`
	WatchRequests           uint64 `json:"-"`
}

func (s *Server) serveStoreStats(w *response, r *nethttp.Request) {
	sendBareJSON(w, storeStats(s.store.Stats()))
}

// This conversion fails to compile when store.Stats gets a counter that is not in storeStats.
var _ = store.Stats(storeStats{})

// surveyPatience bounds the wait for the other members. surveyAge is how old a survey may be when
// it is shown: however many clients look at a cluster, its members are not asked more often.
const (
	surveyPatience = 500 * time.Millisecond
	surveyAge      = 100 * time.Millisecond
)

// maxReason bounds the reason of a status, in bytes. A status goes between members in one frame.
const maxReason = 250

// memberStatus is what a member says about itself.
type memberStatus struct {
	Version string  `json:"version"`
	Leader  string  `json:"leader"` // its id; "": none is known
	Term    uint64  `json:"term"`
	Commit  uint64  `json:"commitIndex"`
	Applied uint64  `json:"appliedIndex"`
	Index   uint64  `json:"storeIndex"`
	Fsync   float64 `json:"lastFsync"` // seconds
	Free    *uint64 `json:"diskFree"`  // bytes, of the disk with the least; null: unknown
	Reason  string  `json:"reason"`    // why /health is false; "": it is true
}

// Status returns this member's memberStatus as JSON, for the surveys of other members. It waits for
// no goroutine of the node, but asking for the free space of a disk may take time, as in /health.
func (s *Server) Status() []byte {
	b, err := json.Marshal(s.status())
	if err != nil {
		panic(err) // it is a struct of strings and numbers
	}
	return b
}

func (s *Server) status() memberStatus {
	stats := s.node.Stats()
	applied, _ := s.node.Applied()
	m := memberStatus{
		Version: s.cfg.Version,
		Term:    stats.Term.Load(),
		Commit:  max(stats.Committed.Load(), applied),
		Applied: applied,
		Index:   s.store.Index(),
		Fsync:   time.Duration(stats.FsyncNanos.Load()).Seconds(),
		Free:    s.leastFree(),
		Reason:  s.illness(),
	}
	m.Reason = m.Reason[:min(len(m.Reason), maxReason)]
	if leader := s.node.Leader(); leader != raft.None {
		m.Leader = hexID(leader)
	}
	return m
}

// leastFree returns how many bytes are free on the fullest of this member's disks; nil when one of
// them does not tell.
func (s *Server) leastFree() *uint64 {
	var least *uint64
	for _, dir := range s.cfg.Dirs {
		free, err := s.free(dir)
		if err != nil {
			return nil
		}
		if least == nil || free < *least {
			least = &free
		}
	}
	return least
}

// surveyed is a member as a survey shows it.
type surveyed struct {
	memberJSON
	Voter     bool            `json:"voter"`
	Self      bool            `json:"self"`      // it is the one that was asked
	RoundTrip float64         `json:"roundTrip"` // seconds, of the question and its answer; 0 for the asked member
	Status    json.RawMessage `json:"status"`    // a memberStatus; null: it does not answer
}

// surveys remembers the last survey. Requests that come during a survey share it.
type surveys struct {
	mu   sync.Mutex // held while the members are asked; protects all below
	at   time.Time
	last []surveyed
}

// serveMembersStats shows all members: what the membership says, and the status of each.
func (s *Server) serveMembersStats(w *response, r *nethttp.Request) {
	w.Header()["X-Etcd-Cluster-Id"] = s.clusterID
	w.Header().Set("Cache-Control", "no-store")
	sendJSON(w, nethttp.StatusOK, map[string]any{"members": s.survey()})
}

// survey asks all members. It takes surveyPatience at most, and twice that when another survey is
// under way.
func (s *Server) survey() []surveyed {
	s.surveys.mu.Lock()
	defer s.surveys.mu.Unlock()
	if time.Since(s.surveys.at) < surveyAge {
		return s.surveys.last
	}
	all := s.blankSurvey()
	ctx, cancel := context.WithTimeout(s.ending, surveyPatience)
	defer cancel()
	s.cfg.Survey(ctx, func(id uint64, status []byte, trip time.Duration) {
		i := slices.IndexFunc(all, func(m surveyed) bool { return m.ID == hexID(id) })
		if i >= 0 && json.Valid(status) {
			all[i].Status, all[i].RoundTrip = status, trip.Seconds()
		}
	})
	s.surveys.last, s.surveys.at = all, time.Now()
	return all
}

// blankSurvey lists the members by name, with the status of this one alone.
func (s *Server) blankSurvey() (all []surveyed) {
	for _, m := range s.node.Membership().Members {
		shown := surveyed{memberJSON: showMember(m), Voter: !m.Learner, Self: m.ID == s.node.ID()}
		if shown.Self {
			shown.Status = s.Status()
		}
		all = append(all, shown)
	}
	slices.SortFunc(all, func(a, b surveyed) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return all
}

func (s *Server) serveVersion(w *response, r *nethttp.Request) {
	cluster := s.node.Membership().Version
	if cluster == "" {
		cluster = "not_decided"
	}
	sendBareJSON(w, struct {
		Server  string `json:"etcdserver"`
		Cluster string `json:"etcdcluster"`
	}{s.cfg.Version, cluster})
}
