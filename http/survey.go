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
)

// surveyPatience bounds the wait for the other members. surveyAge is how old a survey may be that
// is shown: however many look at a cluster, its members are asked no more often.
const (
	surveyPatience = 500 * time.Millisecond
	surveyAge      = 100 * time.Millisecond
)

// maxReason bounds the reason of a status, in bytes. A status goes between members in one frame.
const maxReason = 250

// memberStatus is how a member is by its own words.
type memberStatus struct {
	Version string  `json:"version"`
	Leader  string  `json:"leader"` // its id; "": none is known
	Term    uint64  `json:"term"`
	Commit  uint64  `json:"commitIndex"`
	Applied uint64  `json:"appliedIndex"`
	Index   uint64  `json:"storeIndex"`
	Fsync   float64 `json:"lastFsync"` // seconds
	Free    *uint64 `json:"diskFree"`  // bytes, of the fullest disk; null: it can't be looked at
	Reason  string  `json:"reason"`    // why /health is false; "": it is true
}

// Status is how this member is, for the surveys of others. It waits for no goroutine of the node,
// but may wait for a disk, as /health does.
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

// leastFree returns how many bytes the fullest of this member's disks has; nil when one can't be
// looked at.
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
	RoundTrip float64         `json:"roundTrip"` // seconds; of the question to it, 0 for itself
	Status    json.RawMessage `json:"status"`    // a memberStatus; null: it does not answer
}

// surveys remembers the last one, and has those that ask at the same time share one.
type surveys struct {
	mu   sync.Mutex // held while the members are asked; protects all below
	at   time.Time
	last []surveyed
}

// serveMembersStats shows all members: what the membership says, and how each one is.
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
	all := s.surveyBlank()
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

// surveyBlank lists the members by name, with the status of this one alone.
func (s *Server) surveyBlank() (all []surveyed) {
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
