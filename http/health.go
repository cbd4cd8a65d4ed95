package http

import (
	nethttp "net/http"

	"etcd2/raft"
)

// serveHealth answers at once: a member is healthy when it can go on and knows a leader.
func (s *Server) serveHealth(w *response, r *nethttp.Request) {
	w.Header()["Content-Type"] = textType
	reason := s.illness()
	if reason == "" {
		w.Write([]byte(`{"health": "true"}`))
		return
	}
	w.WriteHeader(nethttp.StatusServiceUnavailable)
	b := appendString([]byte(`{"health": "false", "reason": `), reason)
	w.Write(append(b, "}\n"...))
}

// illness says why the member is not healthy, "" if it is.
func (s *Server) illness() string {
	select {
	case <-s.node.Failed():
		return "the member failed: " + s.node.Err().Error()
	default:
	}
	if s.node.Leader() == raft.None {
		return "no leader is known"
	}
	return ""
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
