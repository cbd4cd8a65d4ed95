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

// selfStats is the document of /v2/stats/self. The counts and rates of appends between members are left
// out or 0 as long as they are not measured.
type selfStats struct {
	Name       string     `json:"name"`
	ID         string     `json:"id"`
	State      string     `json:"state"`
	StartTime  time.Time  `json:"startTime"`
	LeaderInfo leaderInfo `json:"leaderInfo"`
	Received   uint64     `json:"recvAppendRequestCnt"`
	Sent       uint64     `json:"sendAppendRequestCnt"`
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
	st := s.node.Status()
	sendBareJSON(w, selfStats{
		Name:       s.cfg.Name,
		ID:         hexID(st.ID),
		State:      roleNames[st.Role],
		StartTime:  s.started,
		LeaderInfo: s.leader.update(st),
	})
}

// serveLeaderStats answers at the leader only. The followers' latencies come with the transport that measures them.
func (s *Server) serveLeaderStats(w *response, r *nethttp.Request) {
	st := s.node.Status()
	if st.Role != raft.Leader {
		messageError(w, nethttp.StatusForbidden, "not current leader")
		return
	}
	sendBareJSON(w, struct {
		Leader    string   `json:"leader"`
		Followers struct{} `json:"followers"`
	}{Leader: hexID(st.ID)})
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
