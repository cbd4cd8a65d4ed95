package http

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestHealthIsInstantAndSaysWhy(t *testing.T) {
	b := newBench(t)
	w := b.do("GET", "/health", "")
	b.want(w, 200, `{"health": "true"}`)
	if w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%v", w.Header())
	}
	b.want(newLeaderless(t).do("GET", "/health", ""), 503, `{"health": "false", "reason": "no leader is known"}`+"\n")
	close(b.node.failed)
	b.want(b.do("GET", "/health", ""), 503, `{"health": "false", "reason": "the member failed: short write"}`+"\n")
}

func TestVersionOfServerAndCluster(t *testing.T) {
	b := newBench(t)
	b.want(b.do("GET", "/version", ""), 200, `{"etcdserver":"2.4.0","etcdcluster":"2.4.0"}`)
	b.node.members.Version = ""
	b.want(b.do("GET", "/version", ""), 200, `{"etcdserver":"2.4.0","etcdcluster":"not_decided"}`)
}

// pitfall J10
func TestDebugEndpoints(t *testing.T) {
	closed, open := newBench(t), newBench(t, func(c *Config) { c.Pprof = true })
	for _, p := range []string{"/debug/pprof/", "/debug/pprof", "/debug/pprof/cmdline", "/debug/pprof/symbol", "/debug/pprof/goroutine"} {
		if w := closed.do("GET", p, ""); w.Code != 404 {
			t.Errorf("%s without Pprof: %d", p, w.Code)
		}
		if w := open.do("GET", p, ""); w.Code != 200 {
			t.Errorf("%s with Pprof: %d", p, w.Code)
		}
	}
	w := closed.do("GET", "/debug/vars", "")
	got := decode(t, w.Body.String())
	for _, name := range []string{"cmdline", "memstats", "file_descriptor_limit", "raft.status"} {
		if got[name] == nil {
			t.Errorf("no %s in /debug/vars", name)
		}
	}
	if st := got["raft.status"].(map[string]any); st["raftState"] != "StateLeader" || st["id"] != "7fa0243da41856f2" {
		t.Errorf("raft.status: %v", st)
	}
	if w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("%v", w.Header())
	}
}

func TestLogLevelIsSwitched(t *testing.T) {
	var levels []string
	b := newBench(t, func(c *Config) {
		c.SetLogLevel = func(level string) error {
			if level == "TRACE" {
				return errors.New("not here")
			}
			levels = append(levels, level)
			return nil
		}
	})
	const path = "/config/local/log"
	b.want(b.do("PUT", path, `{"Level":"DEBUG"}`), 204, "")
	b.want(b.do("PUT", path, `{"level":"info"}`), 204, "")
	b.want(b.do("PUT", path, `{"Level":"zork"}`), 400, `{"message":"Invalid log level zork"}`)
	b.want(b.do("PUT", path, `{"Level":"trace"}`), 400, `{"message":"Invalid log level trace"}`)
	b.want(b.do("PUT", path, `{}`), 400, `{"message":"Invalid log level "}`)
	b.want(b.do("PUT", path, `zork`), 400, `{"message":"Invalid json body"}`)
	if fmt.Sprint(levels) != "[DEBUG INFO]" {
		t.Errorf("levels set: %v", levels)
	}
}

var metricLine = regexp.MustCompile(`^([a-z_]+)(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? (\S+)$`)

func TestMetricsAreWellFormedAndCount(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/k", "value=1")
	b.do("GET", "/v2/keys/k", "")
	b.do("GET", "/v2/keys/none", "")
	b.do("PUT", "/v2/keys/k?prevExist=false", "value=1")
	b.node.stats.Fsync.Observe(3e6)

	w := b.do("POST", "/metrics", "")

	text := w.Body.String()
	if w.Header().Get("Content-Type") != "text/plain; version=0.0.4" {
		t.Errorf("%v", w.Header())
	}
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, "# HELP ") || strings.HasPrefix(line, "# TYPE ") {
			continue
		}
		m := metricLine.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("not a sample: %q", line)
			continue
		}
		if v, err := strconv.ParseFloat(m[4], 64); err != nil || math.IsNaN(v) {
			t.Errorf("%q: %v", line, err)
		}
	}
	for _, want := range []string{
		`etcd_http_received_total{method="GET"} 2`,
		`etcd_http_failed_total{method="GET",code="404"} 1`,
		`etcd_http_failed_total{method="PUT",code="412"} 1`,
		`etcd_http_successful_duration_second_count{method="PUT"} 1`,
		`etcd_http_successful_duration_second_bucket{method="PUT",le="+Inf"} 1`,
		`etcd_store_writes_total{action="set"} 1`,
		`etcd_store_writes_failed_total{action="create"} 1`,
		`etcd_store_reads_total{action="get"} 1`,
		`etcd_server_proposal_durations_seconds_count 0`,
		`etcd_wal_fsync_durations_seconds_bucket{le="0.0016"} 0`,
		`etcd_wal_fsync_durations_seconds_bucket{le="0.0032"} 1`,
		`etcd_wal_fsync_durations_seconds_sum 0.003`,
		`etcd_wal_last_index_saved 2`,
		`etcd_server_has_leader 1`,
		`etcd_http_panics_total 0`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	for _, name := range []string{"process_open_fds", "process_resident_memory_bytes", "go_goroutines", "process_max_fds"} {
		if regexp.MustCompile(`\n`+name+` [1-9]`).FindString(text) == "" {
			t.Errorf("%s is not above 0", name)
		}
	}
}
