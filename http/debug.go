package http

import (
	"encoding/json"
	"errors"
	"io"
	nethttp "net/http"
	"net/http/pprof"
	"runtime"
	"slices"
	"strings"

	"etcd2/http/auth"
	"etcd2/raft"
)

// raftVars is the part of /debug/vars about consensus.
type raftVars struct {
	ID       string                   `json:"id"`
	Term     uint64                   `json:"term"`
	Vote     string                   `json:"vote"`
	Commit   uint64                   `json:"commit"`
	Lead     string                   `json:"lead"`
	State    string                   `json:"raftState"`
	Progress map[string]raft.Progress `json:"progress"`
}

func showRaft(st raft.Status) raftVars {
	v := raftVars{
		ID: hexID(st.ID), Term: st.Term, Vote: hexID(st.Vote), Commit: st.Commit,
		Lead: hexID(st.Leader), State: roleNames[st.Role], Progress: map[string]raft.Progress{},
	}
	for id, p := range st.Progress {
		v.Progress[hexID(id)] = p
	}
	return v
}

// serveVars shows the process from inside, for debugging.
func (s *Server) serveVars(w *response, r *nethttp.Request) {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	b, err := json.MarshalIndent(map[string]any{
		"cmdline":               s.cfg.Args,
		"memstats":              &memory,
		"file_descriptor_limit": fileLimit(),
		"raft.status":           showRaft(s.node.Status()),
	}, "", " ")
	if err != nil {
		panic(err) // all values are of types that JSON has
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Write(append(b, '\n'))
}

// servePprof hands /debug/pprof/ to the profiler of the standard library.
func (s *Server) servePprof(w *response, r *nethttp.Request) {
	switch strings.TrimPrefix(r.URL.Path, "/debug/pprof/") {
	case "cmdline":
		w.Header()["Content-Type"] = textType
		io.WriteString(w, strings.Join(s.cfg.Args, "\x00"))
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
}

// logLevels are etcd 2's names of the levels.
var logLevels = []string{"CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG", "TRACE"}

// serveLogLevel changes the level of this member's log (section 17.8). The lines of Config.Security
// are logged at every level.
func (s *Server) serveLogLevel(w *response, r *nethttp.Request) {
	permit := s.permit(r, auth.Right{Access: auth.Admin})
	if !s.allowed(w, permit) {
		return
	}
	var body struct{ Level string }
	switch _, err := s.readJSON(w, r, &body); {
	case errors.Is(err, errOverBudget):
		tooBusy(w, err.Error())
		return
	case err != nil:
		messageError(w, nethttp.StatusBadRequest, "Invalid json body")
		return
	}
	level := strings.ToUpper(body.Level)
	if !slices.Contains(logLevels, level) || s.cfg.SetLogLevel(level) != nil {
		messageError(w, nethttp.StatusBadRequest, "Invalid log level "+body.Level)
		return
	}
	s.security.Info("http: log level changed", append([]any{"level", level}, permit.callerAttrs()...)...)
	w.WriteHeader(nethttp.StatusNoContent)
}
