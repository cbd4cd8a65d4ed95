package http

import (
	"bytes"
	"maps"
	nethttp "net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"etcd2/http/places"
	"etcd2/raft"
	"etcd2/store"
)

// counters are the figures that this package counts itself. All methods may be called from any
// goroutine.
type counters struct {
	received   [5]atomic.Uint64  // by method, as in keysMethods
	successful [5]raft.Histogram // by method, as received
	panics     atomic.Uint64

	mu     sync.Mutex // protects errors
	errors map[failure]uint64
}

// failure is one kind of keys request that failed.
type failure struct{ method, status int }

func methodIndex(method string) int { return slices.Index(keysMethods, method) }

// failed counts one request that was answered by an error.
func (c *counters) failed(method, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.errors == nil {
		c.errors = map[failure]uint64{}
	}
	c.errors[failure{method, status}]++
}

// failures returns the kinds counted so far, in order, and their counts.
func (c *counters) failures() ([]failure, []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var kinds []failure
	for k := range c.errors {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b failure) int {
		return (a.method-b.method)*1000 + a.status - b.status
	})
	counts := make([]uint64, len(kinds))
	for i, k := range kinds {
		counts[i] = c.errors[k]
	}
	return kinds, counts
}

// family is one row of the table of metrics.
type family struct {
	name, kind, help string
	samples          func(m *scrape)
}

// families are all metrics; names are those of etcd 2.3 where the meaning is the same (section
// 17.7).
var families = []family{
	{"etcd_http_received_total", "counter", "Keys requests received, by method.", func(m *scrape) {
		for i, method := range keysMethods {
			m.sample(`{method="`+method+`"}`, float64(m.server.metrics.received[i].Load()))
		}
	}},
	{"etcd_http_failed_total", "counter", "Keys requests answered by an error, by method and status.", func(m *scrape) {
		kinds, counts := m.server.metrics.failures()
		for i, k := range kinds {
			m.sample(`{method="`+keysMethods[k.method]+`",code="`+strconv.Itoa(k.status)+`"}`, float64(counts[i]))
		}
	}},
	{"etcd_http_successful_duration_second", "histogram",
		"Time of keys requests that succeeded, watches left out, by method.", func(m *scrape) {
			for i, method := range keysMethods {
				m.histogram(`method="`+method+`"`, &m.server.metrics.successful[i])
			}
		}},
	gauge("etcd_http_connections", "Client connections open.",
		func(m *scrape) float64 { return float64(m.server.conns.Held()) }),
	counter("etcd_http_connections_refused_total", "Client connections over the limit.",
		func(m *scrape) float64 { return float64(m.server.conns.refused.Load()) }),
	counter("etcd_http_connections_left_total", "Client connections whose client left while a request waited.",
		func(m *scrape) float64 { return float64(m.server.conns.left.Load()) }),
	placesOf("etcd2_places_held", "gauge", "Places that clients hold, of those that all addresses share.",
		func(s *places.Stats) float64 { return float64(s.Held) }),
	placesOf("etcd2_places_limit", "gauge", "Bound of etcd2_places_held.",
		func(s *places.Stats) float64 { return float64(s.Max) }),
	placesOf("etcd2_places_addresses", "gauge", "Addresses that hold a place.",
		func(s *places.Stats) float64 { return float64(s.Origins) }),
	placesOf("etcd2_places_refused_total", "counter",
		"Places refused: none was free, or few were and the address had its share.",
		func(s *places.Stats) float64 { return float64(s.Refused) }),
	gauge("etcd_http_requests_in_flight", "Requests being answered, watches left out.",
		func(m *scrape) float64 { return float64(m.server.inFlight.Load()) }),
	gauge("etcd_http_request_bytes", "What they have sent that is in memory, beyond the smallest.",
		func(m *scrape) float64 { return float64(m.server.memory.used.Load()) }),
	gauge("etcd2_http_answers_held_bytes",
		"What the tree and the history have lost, and slow readers of answers may hold.",
		func(m *scrape) float64 { return float64(m.server.slow.held(m.server.store.Freed())) }),
	gauge("etcd2_http_answers_max_held_bytes", "Bound of etcd2_http_answers_held_bytes.",
		func(m *scrape) float64 { return float64(m.server.slow.max) }),
	counter("etcd2_http_answers_ended_total",
		"Answers that were broken off, since their readers were slow and held that much.",
		func(m *scrape) float64 { return float64(m.server.slow.ended.Load()) }),
	counter("etcd_http_panics_total", "Handlers that panicked.",
		func(m *scrape) float64 { return float64(m.server.metrics.panics.Load()) }),

	{"etcd_store_reads_total", "counter", "Reads that succeeded.", func(m *scrape) {
		m.sample(`{action="get"}`, float64(m.store.GetsSuccess))
	}},
	{"etcd_store_reads_failed_total", "counter", "Reads that failed.", func(m *scrape) {
		m.sample(`{action="get"}`, float64(m.store.GetsFail))
	}},
	{"etcd_store_writes_total", "counter", "Writes applied, by action.", func(m *scrape) {
		for _, w := range writes {
			ok, _ := w.counts(&m.store)
			m.sample(`{action="`+w.action+`"}`, float64(ok))
		}
	}},
	{"etcd_store_writes_failed_total", "counter", "Writes refused by the tree, by action.", func(m *scrape) {
		for _, w := range writes {
			_, failed := w.counts(&m.store)
			m.sample(`{action="`+w.action+`"}`, float64(failed))
		}
	}},
	counter("etcd_store_expires_total", "Nodes expired.",
		func(m *scrape) float64 { return float64(m.store.ExpireCount) }),
	counter("etcd_store_watch_requests_total", "Watches begun.",
		func(m *scrape) float64 { return float64(m.store.WatchRequests) }),
	gauge("etcd_store_watchers", "Watches now.", func(m *scrape) float64 { return float64(m.store.Watchers) }),
	gauge("etcd2_store_tree_bytes", "Memory that the tree takes, counted node by node.",
		func(m *scrape) float64 { bytes, _ := m.server.store.Cost(); return float64(bytes) }),
	gauge("etcd2_store_tree_max_bytes", "What it may take before writes that make it grow are refused.",
		func(m *scrape) float64 { _, quota := m.server.store.Cost(); return float64(quota) }),
	{"etcd_store_requests_remembered", "gauge",
		"Named requests that are not executed again, by whether their answer is kept.",
		func(m *scrape) {
			answers, _, facts := m.server.store.Remembered()
			m.sample(`{answer="yes"}`, float64(answers))
			m.sample(`{answer="no"}`, float64(facts))
		}},
	gauge("etcd_store_answer_bytes",
		"Bytes of the kept answers of named requests, by the measure that bounds them.",
		func(m *scrape) float64 {
			_, bytes, _ := m.server.store.Remembered()
			return float64(bytes)
		}),

	gauge("etcd_server_has_leader", "Whether a leader is known, and in touch with this member.",
		func(m *scrape) float64 { return yes(m.status.Leader != raft.None && m.server.stale() == 0) }),
	gauge("etcd2_server_stale_seconds",
		"For how long this member is out of touch with a leader; 0 for less than an election timeout.",
		func(m *scrape) float64 { return m.server.stale().Seconds() }),
	gauge("etcd_server_is_leader", "Whether this member leads.",
		func(m *scrape) float64 { return yes(m.status.Role == raft.Leader) }),
	{"etcd_server_members", "gauge", "Members, with a vote and without one as yet.", func(m *scrape) {
		votes := map[bool]int{}
		for _, p := range m.server.node.Membership().Members {
			votes[!p.Learner]++
		}
		m.sample(`{votes="yes"}`, float64(votes[true]))
		m.sample(`{votes="no"}`, float64(votes[false]))
	}},
	counter("etcd_server_leader_changes_seen_total", "Changes of the leader.",
		func(m *scrape) float64 { return float64(m.raft.LeaderChanges.Load()) }),
	counter("etcd_server_elections_total", "Campaigns begun by this member.",
		func(m *scrape) float64 { return float64(m.raft.Elections.Load()) }),
	gauge("etcd_server_healthy", "Whether /health says so.",
		func(m *scrape) float64 { return yes(m.server.illness() == "") }),
	counter("etcd_server_proposals_total", "Proposals made at this member.",
		func(m *scrape) float64 { return float64(m.raft.Proposals.Load()) }),
	counter("etcd_server_proposals_forwarded_total", "Proposals passed on to a leader elsewhere.",
		func(m *scrape) float64 { return float64(m.raft.Forwarded.Load()) }),
	gauge("etcd_server_pending_proposal_total", "Proposals that wait now.",
		func(m *scrape) float64 { return float64(m.raft.Pending.Load()) }),
	counter("etcd_server_proposal_failed_total", "Proposals without a known result.",
		func(m *scrape) float64 { return float64(m.raft.ProposalsFailed.Load()) }),
	gauge("etcd_server_commit_index", "Index of the last entry committed.",
		func(m *scrape) float64 { return float64(m.status.Commit) }),
	gauge("etcd_server_applied_index", "Index of the last entry applied.",
		func(m *scrape) float64 { return float64(m.status.Applied) }),
	counter("etcd_server_digests_total", "Digests of the state that were those of a majority.",
		func(m *scrape) float64 { return float64(m.raft.Digests.Load()) }),
	gauge("etcd_server_apply_lag", "Entries committed and not applied.",
		func(m *scrape) float64 { return float64(m.status.Commit - min(m.status.Applied, m.status.Commit)) }),
	counter("etcd_server_read_indexes_total", "Linearizable reads asked for at this member.",
		func(m *scrape) float64 { return float64(m.raft.Reads.Load()) }),
	counter("etcd_server_read_indexes_failed_total", "Linearizable reads without an answer.",
		func(m *scrape) float64 { return float64(m.raft.ReadsFailed.Load()) }),
	counter("etcd_server_appends_sent_total", "Messages that replicate entries, sent to all members.",
		func(m *scrape) float64 { return float64(m.raft.AppendsSent.Count()) }),
	counter("etcd_server_appends_received_total", "Messages that replicate entries, received from leaders.",
		func(m *scrape) float64 { return float64(m.raft.AppendsReceived.Count()) }),
	gauge("etcd_server_file_descriptors_used_total", "Descriptors open.",
		func(m *scrape) float64 { return m.proc.files }),
	timing("etcd_server_proposal_durations_seconds", "From proposing to the result.",
		func(s *raft.Stats) *raft.Histogram { return &s.Propose }),
	timing("etcd_server_commit_durations_seconds", "From proposing to commit, at the leader.",
		func(s *raft.Stats) *raft.Histogram { return &s.Commit }),
	timing("etcd_server_apply_durations_seconds", "Applying one batch of entries.",
		func(s *raft.Stats) *raft.Histogram { return &s.Apply }),
	timing("etcd_wal_fsync_durations_seconds", "Writing and syncing one batch of the log.",
		func(s *raft.Stats) *raft.Histogram { return &s.Fsync }),
	gauge("etcd_wal_fsync_running_seconds", "How long the fsync in flight takes already.",
		func(m *scrape) float64 { return sinceNanos(m.raft.FsyncSince.Load()).Seconds() }),
	gauge("etcd_wal_last_index_saved", "Index of the last entry in the log.",
		func(m *scrape) float64 { return float64(m.status.Last) }),
	counter("etcd_wal_unreadable_total", "Reads of old entries that failed: the disk has changed what was written.",
		func(m *scrape) float64 { return float64(m.raft.Unreadable.Load()) }),
	timing("etcd_snapshot_save_total_durations_seconds", "Writing one snapshot.",
		func(s *raft.Stats) *raft.Histogram { return &s.Snapshot }),
	counter("etcd_snapshot_saves_total", "Snapshots written.",
		func(m *scrape) float64 { return float64(m.raft.Snapshots.Load()) }),
	counter("etcd_snapshot_receives_total", "Snapshots received from a leader.",
		func(m *scrape) float64 { return float64(m.raft.Received.Load()) }),

	queue("etcd2_queue_length", "Requests, reads, messages or bytes that wait inside this member.",
		func(q *raft.Queue) int { return q.Length }),
	queue("etcd2_queue_limit", "Bound of etcd2_queue_length.", func(q *raft.Queue) int { return q.Limit }),

	peer("etcd2_peer_borrowed", "gauge", "Whether the member has dialled that connection, since it can't be called.",
		func(s *raft.PeerStats) float64 { return yes(s.Borrowed) }),
	peer("etcd2_peer_connected", "gauge", "Whether there is a connection to the member.",
		func(p *raft.PeerStats) float64 { return yes(p.Connected) }),
	peer("etcd2_peer_sent_total", "counter", "Messages sent to the member.",
		func(p *raft.PeerStats) float64 { return float64(p.Sent) }),
	peer("etcd2_peer_dropped_total", "counter", "Messages to the member that found no connection or no room.",
		func(p *raft.PeerStats) float64 { return float64(p.Dropped) }),
	peer("etcd2_peer_sent_bytes_total", "counter", "Bytes sent to the member.",
		func(p *raft.PeerStats) float64 { return float64(p.SentBytes) }),
	peer("etcd2_peer_received_bytes_total", "counter", "Bytes received from the member.",
		func(p *raft.PeerStats) float64 { return float64(p.ReceivedBytes) }),
	peer("etcd2_peer_snapshots_sent_total", "counter", "Snapshots that the member has taken whole.",
		func(p *raft.PeerStats) float64 { return float64(p.Snapshots) }),
	peer("etcd2_peer_snapshots_failed_total", "counter", "Snapshots that did not reach the member.",
		func(p *raft.PeerStats) float64 { return float64(p.SnapshotsFailed) }),
	peer("etcd2_peer_round_trips_total", "counter", "Messages with entries that the member has read.",
		func(p *raft.PeerStats) float64 { return float64(p.Trips) }),
	peer("etcd2_peer_round_trip_seconds", "gauge", "Time that the last of them took.",
		func(p *raft.PeerStats) float64 { return p.Current.Seconds() }),
	peer("etcd2_peer_shortest_round_trip_seconds", "gauge",
		"Shortest recent round trip: the delay of the link without queues.",
		func(p *raft.PeerStats) float64 { return p.Shortest.Seconds() }),
	peer("etcd2_peer_in_flight_bytes", "gauge", "Bytes sent to the member and not known to be read there.",
		func(p *raft.PeerStats) float64 { return float64(p.InFlight) }),
	peer("etcd2_peer_window_bytes", "gauge", "Bound of etcd2_peer_in_flight_bytes for bulky messages.",
		func(p *raft.PeerStats) float64 { return float64(p.Window) }),
	lane("etcd2_peer_queue_messages", "Messages that wait for the connection to the member.",
		func(l *raft.Lane) int { return l.Messages }),
	lane("etcd2_peer_queue_max_messages", "Bound of etcd2_peer_queue_messages.",
		func(l *raft.Lane) int { return l.MaxMessages }),
	lane("etcd2_peer_queue_bytes", "Bytes of the messages that wait for the connection to the member.",
		func(l *raft.Lane) int { return l.Bytes }),
	lane("etcd2_peer_queue_max_bytes", "Bound of etcd2_peer_queue_bytes.",
		func(l *raft.Lane) int { return l.MaxBytes }),

	{"etcd2_tls_certificate_expiry_timestamp_seconds", "gauge",
		"When each certificate, authority and revocation list ends, in seconds since 1970.", func(m *scrape) {
			m.ports(func(port string, t TLS) {
				t.Expiries(func(file, subject, serial string, end time.Time) {
					m.sample(`{port="`+port+`",file="`+escape(file)+`",subject="`+escape(subject)+
						`",serial="`+serial+`"}`,
						float64(end.Unix()))
				})
			})
		}},
	{"etcd2_tls_handshakes_failed_total", "counter", "TLS handshakes that failed, by port and reason.",
		func(m *scrape) {
			m.ports(func(port string, t TLS) {
				t.Refusals(func(reason string, count uint64) {
					m.sample(`{port="`+port+`",reason="`+reason+`"}`, float64(count))
				})
			})
		}},
	{"etcd2_tls_connections_ended_total", "counter",
		"TLS connections that ended because a certificate is no longer accepted, by port and reason.", func(m *scrape) {
			m.ports(func(port string, t TLS) {
				t.Ended(func(reason string, count uint64) {
					m.sample(`{port="`+port+`",reason="`+reason+`"}`, float64(count))
				})
			})
		}},

	gauge("go_goroutines", "Goroutines now.", func(*scrape) float64 { return float64(runtime.NumGoroutine()) }),
	gauge("go_memstats_alloc_bytes", "Bytes of objects on the heap.",
		func(m *scrape) float64 { return float64(m.memory.Alloc) }),
	counter("go_memstats_alloc_bytes_total", "Bytes ever allocated.",
		func(m *scrape) float64 { return float64(m.memory.TotalAlloc) }),
	gauge("go_memstats_heap_objects", "Objects on the heap.",
		func(m *scrape) float64 { return float64(m.memory.HeapObjects) }),
	gauge("go_memstats_heap_inuse_bytes", "Bytes in heap spans in use.",
		func(m *scrape) float64 { return float64(m.memory.HeapInuse) }),
	gauge("go_memstats_sys_bytes", "Bytes from the system.", func(m *scrape) float64 { return float64(m.memory.Sys) }),
	counter("go_gc_cycles_total", "Collections finished.", func(m *scrape) float64 { return float64(m.memory.NumGC) }),
	counter("go_gc_pause_seconds_total", "Time the world stood still for collections.",
		func(m *scrape) float64 { return time.Duration(m.memory.PauseTotalNs).Seconds() }),
	{"go_info", "gauge", "The Go version.", func(m *scrape) { m.sample(`{version="`+runtime.Version()+`"}`, 1) }},

	counter("process_log_lines_lost_total", "Lines of the log that its reader did not take.",
		func(m *scrape) float64 { return float64(m.server.cfg.LogLinesLost()) }),
	counter("process_cpu_seconds_total", "Time on the processors.", func(m *scrape) float64 { return m.proc.cpu }),
	gauge("process_open_fds", "Descriptors open.", func(m *scrape) float64 { return m.proc.files }),
	gauge("process_max_fds", "Descriptors allowed.", func(*scrape) float64 { return float64(fileLimit()) }),
	gauge("process_resident_memory_bytes", "Memory in RAM.", func(m *scrape) float64 { return m.proc.resident }),
	gauge("process_virtual_memory_bytes", "Address space.", func(m *scrape) float64 { return m.proc.virtual }),
	gauge("process_start_time_seconds", "Start of the server, in seconds since 1970.", func(m *scrape) float64 {
		return float64(m.server.started.UnixNano()) / 1e9
	}),
}

// writes are the actions that change the tree, each with a function that picks its counts.
var writes = []struct {
	action string
	counts func(s *store.Stats) (succeeded, failed uint64)
}{
	{"set", func(s *store.Stats) (uint64, uint64) { return s.SetsSuccess, s.SetsFail }},
	{"create", func(s *store.Stats) (uint64, uint64) { return s.CreateSuccess, s.CreateFail }},
	{"update", func(s *store.Stats) (uint64, uint64) { return s.UpdateSuccess, s.UpdateFail }},
	{"compareAndSwap", func(s *store.Stats) (uint64, uint64) { return s.CompareAndSwapSuccess, s.CompareAndSwapFail }},
	{"delete", func(s *store.Stats) (uint64, uint64) { return s.DeleteSuccess, s.DeleteFail }},
	{"compareAndDelete", func(s *store.Stats) (uint64,
		uint64) {
		return s.CompareAndDeleteSuccess, s.CompareAndDeleteFail
	}},
}

func counter(name, help string, value func(m *scrape) float64) family {
	return family{name, "counter", help, func(m *scrape) { m.sample("", value(m)) }}
}

func gauge(name, help string, value func(m *scrape) float64) family {
	return family{name, "gauge", help, func(m *scrape) { m.sample("", value(m)) }}
}

func timing(name, help string, histogram func(s *raft.Stats) *raft.Histogram) family {
	return family{name, "histogram", help, func(m *scrape) { m.histogram("", histogram(m.raft)) }}
}

// queue returns a family with a sample for each of the member's queues.
func queue(name, help string, value func(q *raft.Queue) int) family {
	return family{name, "gauge", help, func(m *scrape) {
		for _, q := range m.status.Queues {
			m.sample(`{queue="`+q.Name+`",unit="`+q.Unit+`"}`, float64(value(&q)))
		}
	}}
}

// placesOf returns a family with a sample for each kind of place.
func placesOf(name, kind, help string, value func(s *places.Stats) float64) family {
	return family{name, kind, help, func(m *scrape) {
		for _, p := range m.server.shared() {
			m.sample(`{of="`+p.kind+`"}`, value(&p.Stats))
		}
	}}
}

// sharedPlaces are the figures of one kind of place.
type sharedPlaces struct {
	kind string
	places.Stats
}

// shared returns the figures of all kinds of places. A proxy counts no watches, and checks no
// passwords.
func (s *Server) shared() []sharedPlaces {
	list := []sharedPlaces{{"connections", s.conns.Stats()}, {"streams", s.streams.Stats()}}
	if s.keeper != nil {
		list = append(list, sharedPlaces{"watches", s.watchers.Stats()}, sharedPlaces{"passwords", s.keeper.Checks()})
	}
	return list
}

// peer returns a family with a sample for each of the other members.
func peer(name, kind, help string, value func(p *raft.PeerStats) float64) family {
	return family{name, kind, help, func(m *scrape) {
		for _, id := range slices.Sorted(maps.Keys(m.peers)) {
			p := m.peers[id]
			m.sample(`{peer="`+hexID(id)+`"}`, value(&p))
		}
	}}
}

// lane returns a gauge with a sample for each of the two lanes to each other member.
func lane(name, help string, value func(l *raft.Lane) int) family {
	return family{name, "gauge", help, func(m *scrape) {
		for _, id := range slices.Sorted(maps.Keys(m.peers)) {
			p := m.peers[id]
			m.sample(`{peer="`+hexID(id)+`",lane="urgent"}`, float64(value(&p.Urgent)))
			m.sample(`{peer="`+hexID(id)+`",lane="bulky"}`, float64(value(&p.Bulky)))
		}
	}}
}

// ports calls f for each of the two ports.
func (m *scrape) ports(f func(port string, t TLS)) {
	f("client", m.server.cfg.TLS)
	f("peer", m.server.cfg.PeerTLS)
}

// escape replaces the characters that the value of a label can't hold as they are.
var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace

// yes returns b as Prometheus writes it, 1 or 0.
func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// scrape is one look at everything that is measured, and the text made of it.
type scrape struct {
	server *Server
	store  store.Stats
	status raft.Status
	raft   *raft.Stats
	peers  map[uint64]raft.PeerStats
	memory runtime.MemStats
	proc   process

	text []byte
	name string // of the family being written
}

// serveMetrics writes the table of metrics in Prometheus' text format, version 0.0.4.
func (s *Server) serveMetrics(w *response, r *nethttp.Request) {
	m := newScrape(s)
	m.store, m.status, m.raft, m.peers = s.store.Stats(), s.node.Status(), s.node.Stats(), s.node.Peers()
	for i := range families {
		m.family(&families[i])
	}
	m.send(w)
}

// newScrape returns a scrape with the figures of the process.
func newScrape(s *Server) *scrape {
	m := &scrape{server: s, proc: readProcess()}
	runtime.ReadMemStats(&m.memory)
	return m
}

func (m *scrape) send(w *response) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	w.Write(m.text)
}

func (m *scrape) family(f *family) {
	m.name = f.name
	m.text = append(m.text, "# HELP "+f.name+" "+f.help+"\n# TYPE "+f.name+" "+f.kind+"\n"...)
	f.samples(m)
}

// sample writes one line; labels come with their braces.
func (m *scrape) sample(labels string, v float64) {
	m.line(m.name, labels, strconv.FormatFloat(v, 'g', -1, 64))
}

func (m *scrape) line(name, labels, value string) {
	m.text = append(m.text, name+labels+" "+value+"\n"...)
}

// histogram writes the lines of one histogram; labels come without braces.
func (m *scrape) histogram(labels string, h *raft.Histogram) {
	cumulative, count, sum := h.Snapshot()
	prefix, braced := "{", ""
	if labels != "" {
		prefix, braced = "{"+labels+",", "{"+labels+"}"
	}
	for i, bound := range raft.HistogramBounds {
		le := prefix + `le="` + strconv.FormatFloat(bound, 'g', -1, 64) + `"}`
		m.line(m.name+"_bucket", le, strconv.FormatUint(cumulative[i], 10))
	}
	m.line(m.name+"_bucket", prefix+`le="+Inf"}`, strconv.FormatUint(count, 10))
	m.line(m.name+"_sum", braced, strconv.FormatFloat(sum, 'g', -1, 64))
	m.line(m.name+"_count", braced, strconv.FormatUint(count, 10))
}

// process has figures of the system about this process; 0 for those that it does not tell.
type process struct {
	cpu               float64 // seconds
	files             float64
	resident, virtual float64 // bytes
}

func readProcess() (p process) {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil {
		p.cpu = time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	}
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		p.files = float64(len(files))
	}
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		p.virtual, p.resident = pages(statm)
	}
	return p
}

// pages reads the first two numbers of /proc/self/statm, which count pages, and returns bytes.
func pages(statm []byte) (virtual, resident float64) {
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return 0, 0
	}
	size := float64(os.Getpagesize())
	v, _ := strconv.ParseFloat(string(fields[0]), 64)
	r, _ := strconv.ParseFloat(string(fields[1]), 64)
	return v * size, r * size
}
