package http

import (
	"encoding/json"
	nethttp "net/http"
	"sync"
	"time"

	"etcd2/raft"
	"etcd2/store"
)

// roleNames are the states of etcd 2, which knows no PreCandidate.
var roleNames = map[raft.Role]string{
	raft.Follower:     "StateFollower",
	raft.PreCandidate: "StateCandidate",
	raft.Candidate:    "StateCandidate",
	raft.Leader:       "StateLeader",
}

// selfStats is the document of /v2/stats/self. Counts and rates are of the appends between members;
// a rate is that of the last ten seconds, and left out when it is 0.
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

// lastLeader remembers a leader over the time without one, since the statistics go on showing it.
type lastLeader struct {
	mu    sync.Mutex // protects all below
	id    uint64
	since time.Time
}

// update takes what is known now and returns what to show.
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

// followerStats is what the leader shows of another member; times are milliseconds.
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

// showFollower counts as a success a message with entries that was read at the other end, and as a
// failure whatever did not get away.
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

// storeStats are the counters of /v2/stats/store in their order.
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

// The conversion in serveStoreStats holds the two types together: a counter that is new in
// store must get its place here.
var _ = store.Stats(storeStats{})

// sendBareJSON sends v without a newline.
func sendBareJSON(w *response, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // v is one of the types of this package
	}
	w.Header()["Content-Type"] = jsonType
	w.Write(b)
}
