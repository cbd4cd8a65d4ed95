package http

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"etcd2/raft"
	"etcd2/store"
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

func TestWhatMakesAMemberUnhealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ago := func(d time.Duration) int64 { return time.Now().Add(-d).UnixNano() }
		const gibi = 1 << 30
		for _, c := range []struct {
			name   string
			make   func(b *bench)
			reason string // a pattern; "" for healthy
		}{
			{"nothing", func(b *bench) {}, ""},
			{"an fsync is in flight", func(b *bench) { b.node.stats.FsyncSince.Store(ago(time.Second)) }, ""},
			{"the leader does not hear it", func(b *bench) { b.node.stats.InTouch.Store(ago(3 * time.Second)) },
				`out of touch with the leader for 3[.0-9]*s: what is read here may be old`},
			{"it was heard a moment ago", func(b *bench) { b.node.stats.InTouch.Store(ago(time.Second)) }, ""},
			{"an fsync hangs", func(b *bench) { b.node.stats.FsyncSince.Store(ago(3 * time.Second)) },
				`an fsync of the log is under way for 3[.0-9]*s`},
			{"entries are being applied", func(b *bench) { b.node.stats.BehindSince.Store(ago(time.Second)) }, ""},
			{"the applier does not keep up", func(b *bench) { b.node.stats.BehindSince.Store(ago(5 * time.Second)) },
				`what was committed 5[.0-9]*s ago is not applied`},
			{"there is room", func(b *bench) { b.free = func(string) (uint64, error) { return gibi, nil } }, ""},
			{"just enough room", func(b *bench) { b.free = func(string) (uint64, error) { return minFree, nil } }, ""},
			{"the log's disk is full", func(b *bench) {
				b.free = func(dir string) (uint64,
					error) {
					return map[string]uint64{"/data": gibi, "/log": 3 << 20}[dir], nil
				}
			}, `the disk of /log is nearly full: 3 MiB are free, 64 are wanted`},
			{"there is no disk", func(b *bench) { b.free = raft.FreeBytes },
				`the disk can't be looked at: raft: statfs /data: no such file or directory`},
			{"the worst comes first", func(b *bench) {
				b.node.leader = raft.None
				b.node.stats.FsyncSince.Store(ago(time.Hour))
				b.free = func(string) (uint64, error) { return 0, nil }
			}, `no leader is known`},
		} {
			b := newBench(t, func(c *Config) { c.Election, c.Dirs = 2*time.Second, []string{"/data", "/log"} })
			b.free = func(string) (uint64, error) { return gibi, nil }
			c.make(b)
			w := b.do("GET", "/health", "")
			if c.reason == "" {
				b.want(w, 200, `{"health": "true"}`)
				continue
			}
			if want := regexp.MustCompile(`^\{"health": "false", "reason": "` + c.reason + `"\}\n$`); w.Code != 503 ||
				!want.MatchString(w.Body.String()) {
				t.Errorf("%s: %d %s, want %v", c.name, w.Code, w.Body, want)
			}
		}
	})
}

func TestAMemberOutOfTouchSaysSoWithEachAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.Election = 2 * time.Second })
		age := func(path string) int {
			text := b.do("GET", path, "").Header().Get("X-Etcd-Stale")
			ms, err := strconv.Atoi(text)
			if text != "" && err != nil {
				t.Errorf("%s: %q", path, text)
			}
			return ms
		}
		b.do("PUT", "/v2/keys/k", "value=1")
		paths := []string{"/v2/keys/k", "/v2/keys/none", "/v2/members", "/v2/stats/self", "/version"}

		b.node.stats.InTouch.Store(time.Now().UnixNano())
		for _, path := range paths {
			if ms := age(path); ms != 0 {
				t.Errorf("%s: %d ms", path, ms)
			}
		}
		b.node.stats.InTouch.Store(time.Now().Add(-time.Minute).UnixNano())
		for _, path := range paths {
			if ms := age(path); ms < 60_000 || ms > 90_000 {
				t.Errorf("%s: %d ms", path, ms)
			}
		}
		if text := b.do("GET", "/metrics", "").Body.String(); !strings.Contains(text, "\netcd_server_has_leader 0\n") ||
			strings.Contains(text, "\netcd2_server_stale_seconds 0\n") {
			t.Error("the metrics say that all is well")
		}
	})
}

// hungNode is a member whose loop hangs: whatever asks it waits for ever.
type hungNode struct{ *fakeNode }

func (hungNode) Status() raft.Status { select {} }

func (hungNode) Read(context.Context) error { select {} }

func TestHealthAsksNobodyWhoMayHang(t *testing.T) {
	node := newFakeNode(store.Limits{})
	b := newBench(t, func(c *Config) { c.Node, c.Store, c.Dirs = hungNode{node}, node.store, []string{t.TempDir()} })
	if w := b.do("GET", "/health", ""); w.Code != 200 && !strings.Contains(w.Body.String(), "nearly full") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
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
	for _, p := range []string{"/debug/pprof/", "/debug/pprof", "/debug/pprof/cmdline", "/debug/pprof/symbol",
		"/debug/pprof/goroutine"} {
		if w := closed.do("GET", p, ""); w.Code != 404 {
			t.Errorf("%s without Pprof: %d", p, w.Code)
		}
		if w := open.do("GET", p, ""); w.Code != 200 {
			t.Errorf("%s with Pprof: %d", p, w.Code)
		}
	}
	open.want(open.do("GET", "/debug/pprof/cmdline", ""), 200, "etcd2\x00--name=m")
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

var metricLine = regexp.MustCompile(`^([a-z0-9_]+)(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? (\S+)$`)

func TestMetricsAreWellFormedAndCount(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/k", "value=1")
	b.do("GET", "/v2/keys/k", "")
	b.do("GET", "/v2/keys/none", "")
	b.do("PUT", "/v2/keys/k?prevExist=false", "value=1")
	b.node.stats.Fsync.Observe(3e6)
	b.node.stats.Reads.Store(7)
	b.node.stats.Forwarded.Store(3)
	b.node.stats.FsyncSince.Store(time.Now().Add(-time.Hour).UnixNano())
	b.node.stats.AppendsSent.Note(time.Now(), 4, 100)
	b.node.peers = map[uint64]raft.PeerStats{
		0xb: {Connected: true, Borrowed: true, Sent: 10, Dropped: 2, SentBytes: 1000, ReceivedBytes: 500, Snapshots: 1,
			SnapshotsFailed: 4, Trips: 9, Current: 1500 * time.Microsecond,
			Shortest: time.Millisecond, InFlight: 20, Window: 30, Urgent: raft.Lane{Messages: 1, MaxMessages: 2,
				Bytes: 3, MaxBytes: 4}, Bulky: raft.Lane{Bytes: 7}},
		0xa: {},
	}

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
		`etcd_server_is_leader 1`,
		`etcd_server_healthy 0`,
		`etcd_server_apply_lag 0`,
		`etcd_server_read_indexes_total 7`,
		`etcd_server_proposals_forwarded_total 3`,
		`etcd_server_appends_sent_total 4`,
		"etcd2_peer_connected{peer=\"a\"} 0\netcd2_peer_connected{peer=\"b\"} 1",
		"etcd2_peer_borrowed{peer=\"a\"} 0\netcd2_peer_borrowed{peer=\"b\"} 1",
		`etcd2_peer_sent_total{peer="b"} 10`,
		`etcd2_peer_dropped_total{peer="b"} 2`,
		`etcd2_peer_sent_bytes_total{peer="b"} 1000`,
		`etcd2_peer_received_bytes_total{peer="b"} 500`,
		`etcd2_peer_snapshots_sent_total{peer="b"} 1`,
		`etcd2_peer_snapshots_failed_total{peer="b"} 4`,
		`etcd2_peer_round_trips_total{peer="b"} 9`,
		`etcd2_peer_round_trip_seconds{peer="b"} 0.0015`,
		`etcd2_peer_shortest_round_trip_seconds{peer="b"} 0.001`,
		`etcd2_peer_in_flight_bytes{peer="b"} 20`,
		`etcd2_peer_window_bytes{peer="b"} 30`,
		`etcd2_peer_queue_messages{peer="b",lane="urgent"} 1`,
		`etcd2_peer_queue_max_messages{peer="b",lane="urgent"} 2`,
		`etcd2_peer_queue_bytes{peer="b",lane="urgent"} 3`,
		`etcd2_peer_queue_bytes{peer="b",lane="bulky"} 7`,
		`etcd2_peer_queue_max_bytes{peer="b",lane="urgent"} 4`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	for _, name := range []string{"process_open_fds", "process_resident_memory_bytes", "go_goroutines",
		"process_max_fds", "etcd_wal_fsync_running_seconds"} {
		if regexp.MustCompile(`\n`+name+` [1-9]`).FindString(text) == "" {
			t.Errorf("%s is not above 0", name)
		}
	}
}
