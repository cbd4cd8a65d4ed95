package http

import (
	"fmt"
	nethttp "net/http"
	"time"

	"etcd2/raft"
)

// minFree is the room that the disk of a healthy member has: for two files of the log.
const minFree = 64 << 20

// serveHealth answers at once, also while the member hangs.
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

// symptoms are what a member may suffer from, the worst first. A look at one returns "" when it is not there, and waits neither for
// the node nor for its disk.
var symptoms = []func(s *Server) string{
	(*Server).failed, (*Server).leaderless, (*Server).slowFsync, (*Server).slowApply, (*Server).fullDisk,
}

// illness says why the member is not healthy, "" if it is.
func (s *Server) illness() string {
	if s.cfg.front != nil {
		return s.cfg.front.Ill()
	}
	for _, look := range symptoms {
		if reason := look(s); reason != "" {
			return reason
		}
	}
	return ""
}

func (s *Server) failed() string {
	select {
	case <-s.node.Failed():
		return "the member failed: " + s.node.Err().Error()
	default:
		return ""
	}
}

func (s *Server) leaderless() string {
	if s.node.Leader() == raft.None {
		return "no leader is known"
	}
	return ""
}

// slowFsync tells a disk that hangs: a follower behind it still hears its leader.
func (s *Server) slowFsync() string {
	if took := sinceNanos(s.node.Stats().FsyncSince.Load()); took > s.cfg.Election {
		return fmt.Sprintf("an fsync of the log is under way for %v", took.Round(time.Millisecond))
	}
	return ""
}

// slowApply tells a tree that lags behind what is agreed.
func (s *Server) slowApply() string {
	if lag := sinceNanos(s.node.Stats().BehindSince.Load()); lag > s.cfg.Election {
		return fmt.Sprintf("what was committed %v ago is not applied", lag.Round(time.Millisecond))
	}
	return ""
}

// sinceNanos is how long ago a moment of Unix time was; 0 for the moment 0, which stands for none.
func sinceNanos(at int64) time.Duration {
	if at == 0 {
		return 0
	}
	return time.Since(time.Unix(0, at))
}

// fullDisk tells a disk that will soon be full, which stops the member.
func (s *Server) fullDisk() string {
	for _, dir := range s.cfg.Dirs {
		free, err := s.free(dir)
		if err != nil {
			return "the disk can't be looked at: " + err.Error()
		}
		if free < minFree {
			return fmt.Sprintf("the disk of %s is nearly full: %d MiB are free, %d are wanted", dir, free>>20, minFree>>20)
		}
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
