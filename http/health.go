package http

import (
	"fmt"
	nethttp "net/http"
	"time"

	"etcd2/raft"
)

// minFree is how many bytes are free on a healthy member's disk: room for two files of the log.
const minFree = 64 << 20

// serveHealth answers at once, also while the member hangs.
func (s *Server) serveHealth(w *response, r *nethttp.Request) {
	w.Header()["Content-Type"] = textType
	healthy, reason := true, s.fullTree()
	if ill := s.illness(); ill != "" {
		healthy, reason = false, ill
		w.WriteHeader(nethttp.StatusServiceUnavailable)
	}
	if reason == "" {
		w.Write([]byte(`{"health": "true"}`))
		return
	}
	b := appendString(fmt.Appendf(nil, `{"health": "%v", "reason": `, healthy), reason)
	w.Write(append(b, "}\n"...))
}

// fullTree says that the tree is larger than its quota; "" if it is not. It is no illness:
// everything is served but writes that make the tree grow.
func (s *Server) fullTree() string {
	if s.cfg.backend != nil {
		return ""
	}
	cost, quota := s.store.Cost()
	if quota == 0 || cost <= quota {
		return ""
	}
	return fmt.Sprintf("the tree is full, it takes %d bytes of the %d of --quota-bytes: "+
		"while this member leads, writes that make it grow are refused", cost, quota)
}

// symptoms are the checks of /health, the worst symptom first. A check returns "" when there is
// nothing wrong, and waits neither for the node nor for an fsync.
var symptoms = []func(s *Server) string{
	(*Server).failed, (*Server).leaderless, (*Server).OutOfTouch, (*Server).slowFsync, (*Server).slowApply,
	(*Server).fullDisk,
}

// illness says why the member is not healthy; "" if it is healthy.
func (s *Server) illness() string {
	if s.cfg.backend != nil {
		return s.cfg.backend.Ill()
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

// OutOfTouch says for how long this member and a leader have not heard each other; "" for less than
// an election timeout. A member that is out of touch may lack new entries.
func (s *Server) OutOfTouch() string {
	if age := s.stale(); age > 0 {
		return fmt.Sprintf("out of touch with the leader for %v: what is read here may be old",
			age.Round(time.Millisecond))
	}
	return ""
}

// stale returns for how long this member has been out of touch with a leader; 0 for less than an
// election timeout.
func (s *Server) stale() time.Duration {
	if d := sinceNanos(s.node.Stats().InTouch.Load()); d > s.cfg.Election {
		return d
	}
	return 0
}

// slowFsync says that the log's disk hangs. OutOfTouch does not see that: a follower whose disk
// hangs still hears its leader.
func (s *Server) slowFsync() string {
	if took := sinceNanos(s.node.Stats().FsyncSince.Load()); took > s.cfg.Election {
		return fmt.Sprintf("an fsync of the log is under way for %v", took.Round(time.Millisecond))
	}
	return ""
}

// slowApply says that the tree lags behind what is committed.
func (s *Server) slowApply() string {
	if lag := sinceNanos(s.node.Stats().BehindSince.Load()); lag > s.cfg.Election {
		return fmt.Sprintf("what was committed %v ago is not applied", lag.Round(time.Millisecond))
	}
	return ""
}

// sinceNanos returns the time since at, in nanoseconds of Unix time; 0 if at is 0.
func sinceNanos(at int64) time.Duration {
	if at == 0 {
		return 0
	}
	return time.Since(time.Unix(0, at))
}

// fullDisk says that a disk is nearly full; a full one stops the member.
func (s *Server) fullDisk() string {
	for _, dir := range s.cfg.Dirs {
		free, err := s.free(dir)
		if err != nil {
			return "the disk can't be looked at: " + err.Error()
		}
		if free < minFree {
			return fmt.Sprintf("the disk of %s is nearly full: %d MiB are free, %d are wanted", dir,
				free>>20, minFree>>20)
		}
	}
	return ""
}
