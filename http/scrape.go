package http

import (
	"bytes"
	nethttp "net/http"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"etcd2/raft"
	"etcd2/store"
)

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

// newScrape looks at the process.
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

// process is what the system says about this process; what it doesn't say is 0.
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

// pages reads the first two numbers of /proc/self/statm, in bytes.
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
