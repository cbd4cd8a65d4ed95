package etcdctl

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"etcd2/http/client"
)

var doctorCommand = &command{
	name: "doctor", help: "examine every member, and tell what is wrong and what to do", run: runDoctor,
	more: "It looks at every client URL, at leaders, terms and indices, versions, clocks, disks and certificates, " +
		"and changes nothing.\n" +
		"The status is 5 when something is wrong, and 0 otherwise, even with notes.",
	examples: []example{{"doctor", ""}, {"--endpoints http://10.0.0.1:2379 doctor",
		"any member that answers leads to the others"}},
}

// A checkup is what one member tells at one moment. A zero field means that it did not tell.
type checkup struct {
	id, name string
	urls     []reach
	at       string // the URL that answered and was asked all questions; "": none

	starting bool       // it answers only that it is starting
	tree     [2]float64 // bytes that its tree takes, and may take; 0: not known
	illness  string     // the reason in /health; "": it is healthy
	version  string
	cluster  string // id
	self     string // its own id
	leads    bool
	leader   string // id of the leader that it knows; "": none
	term     uint64
	raft     uint64          // index of the last entry that it has applied
	store    uint64          // store index
	skew     time.Duration   // of its clock, from the clock here
	expires  time.Time       // when the first of its certificates expires
	fsync    time.Duration   // on the average
	learners int             // how many members have no vote
	waiting  []client.Member // learners that run, as far as it knows
	oneWay   []string        // ids of members that it can't connect to, but that connect to it
	apart    []string        // ids of members to which it has no connection
	rotten   int             // reads of its log that failed
}

// A reach is the result of asking at one client URL.
type reach struct {
	url string
	err error
}

func runDoctor(s *session, args []string) error {
	c, err := s.unsynced(healthPatience)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := s.untilInterrupt()
	defer cancel()
	list, err := c.Members.List(ctx)
	if err != nil {
		return s.tellFindings(unanswered(err))
	}
	all := checkups(ctx, c, list, atEndpoints(ctx, c))
	for _, m := range all {
		s.tell(s.stdout, "%s\n", m)
	}
	return s.tellFindings(diagnose(all, time.Now()))
}

// atEndpoints returns the endpoints that were given, by the id of the member that answers there. An
// endpoint may be a tunnel to a member whose own URLs do not work here.
func atEndpoints(ctx context.Context, c *client.Client) map[string]string {
	found := map[string]string{}
	for _, endpoint := range c.Endpoints() {
		if reply, err := c.Ask(ctx, "GET", endpoint, "/v2/stats/self"); err == nil {
			var k checkup
			k.readSelf(reply)
			found[k.self] = endpoint
		}
	}
	return found
}

// checkups examines all members at the same time.
func checkups(ctx context.Context, c *client.Client, list []client.Member, given map[string]string) []*checkup {
	all := make([]*checkup, len(list))
	var group sync.WaitGroup
	for i, m := range list {
		group.Go(func() { all[i] = examine(ctx, c, m, given[m.ID]) })
	}
	group.Wait()
	return all
}

// examine asks one member at its URLs, and then at the endpoint that was given for it, if any. URLs
// to which the password may be sent come first: without a password the member tells less.
func examine(ctx context.Context, c *client.Client, m client.Member, given string) *checkup {
	k := &checkup{id: m.ID, name: m.Name}
	for _, u := range trustedFirst(c.Endpoints(), m.ClientURLs) {
		k.urls = append(k.urls, reach{u, k.knock(ctx, c, u)})
	}
	if k.at == "" && given != "" {
		k.knock(ctx, c, given)
	}
	if k.at == "" || k.starting {
		return k
	}
	for _, q := range questions {
		if reply, err := c.Ask(ctx, q.method, k.at, q.path); err == nil {
			q.read(k, reply)
		}
	}
	return k
}

// trustedFirst returns the URLs, those first to which a password may be sent.
func trustedFirst(given, urls []string) []string {
	trusted := func(u string) bool { return client.MaySendPassword(given, u) }
	first := slices.DeleteFunc(slices.Clone(urls), func(u string) bool { return !trusted(u) })
	return append(first, slices.DeleteFunc(slices.Clone(urls), trusted)...)
}

// knock asks for the version at a URL. The first URL that answers is used for all questions.
func (k *checkup) knock(ctx context.Context, c *client.Client, u string) error {
	reply, err := c.Ask(ctx, "GET", u, "/version")
	if err == nil && k.at == "" {
		k.at = u
		k.readVersion(reply)
	}
	return err
}

// questions are the requests to a member that answers.
var questions = []struct {
	method, path string
	read         func(*checkup, *client.Reply)
}{
	{"GET", "/health", (*checkup).readHealth},
	{"GET", "/v2/members", func(k *checkup, r *client.Reply) {
		k.cluster, k.waiting = r.Header.Get("X-Etcd-Cluster-Id"), learnersIn(r)
	}},
	{"GET", "/v2/stats/self", (*checkup).readSelf},
	{"GET", "/debug/vars", (*checkup).readVars},
	{"HEAD", "/v2/keys/", (*checkup).readIndices},
	{"GET", "/metrics", (*checkup).readMetrics},
}

func (k *checkup) readVersion(r *client.Reply) {
	var v client.Version
	json.Unmarshal(r.Body, &v) // after an error the version is not known
	k.version = v.Server
	k.starting = r.Status == http.StatusServiceUnavailable && bytes.Contains(r.Body, []byte("is starting"))
	if date, err := time.Parse(time.RFC1123, r.Header.Get("Date")); err == nil {
		k.skew = time.Until(date).Truncate(time.Second)
	}
	if r.TLS != nil {
		for _, c := range r.TLS.PeerCertificates {
			if k.expires.IsZero() || c.NotAfter.Before(k.expires) {
				k.expires = c.NotAfter
			}
		}
	}
}

func (k *checkup) readHealth(r *client.Reply) {
	var v struct {
		Health any
		Reason string
	}
	json.Unmarshal(r.Body, &v)
	if r.Status != 200 || fmt.Sprint(v.Health) != "true" {
		k.illness = v.Reason
		if k.illness == "" {
			k.illness = fmt.Sprintf("status %d of /health, without a reason", r.Status)
		}
	}
}

func (k *checkup) readSelf(r *client.Reply) {
	var v client.SelfStats
	json.Unmarshal(r.Body, &v)
	k.self, k.leads, k.leader = v.ID, v.State == "StateLeader", known(v.LeaderInfo.Leader)
}

// readVars reads the present term and leader. In the statistics of a member, the leader may be a
// former one.
func (k *checkup) readVars(r *client.Reply) {
	var v struct {
		Raft *struct {
			Term uint64 `json:"term"`
			Lead string `json:"lead"`
		} `json:"raft.status"`
	}
	json.Unmarshal(r.Body, &v)
	if v.Raft != nil {
		k.term, k.leader = v.Raft.Term, known(v.Raft.Lead)
	}
}

// known returns the id, or "" when it is zero.
func known(id string) string {
	if strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}

func (k *checkup) readIndices(r *client.Reply) {
	k.raft, _ = strconv.ParseUint(r.Header.Get("X-Raft-Index"), 10, 64)
	k.store, _ = strconv.ParseUint(r.Header.Get("X-Etcd-Index"), 10, 64)
}

var sample = regexp.MustCompile(`^(\w+)(?:\{(?:peer|votes)="(\w+)"\})? ([0-9.e+-]+)$`)

func (k *checkup) readMetrics(r *client.Reply) {
	var sum, count float64
	for line := range bytes.Lines(r.Body) {
		found := sample.FindStringSubmatch(strings.TrimSpace(string(line)))
		if found == nil {
			continue
		}
		value, _ := strconv.ParseFloat(found[3], 64)
		switch found[1] {
		case "etcd_wal_fsync_durations_seconds_sum":
			sum = value
		case "etcd_wal_fsync_durations_seconds_count":
			count = value
		case "etcd_wal_unreadable_total":
			k.rotten = int(value)
		case "etcd2_store_tree_bytes":
			k.tree[0] = value
		case "etcd2_store_tree_max_bytes":
			k.tree[1] = value
		case "etcd_server_members":
			if found[2] == "no" {
				k.learners = int(value)
			}
		case "etcd2_peer_borrowed":
			if value == 1 {
				k.oneWay = append(k.oneWay, found[2])
			}
		case "etcd2_peer_connected":
			if value == 0 {
				k.apart = append(k.apart, found[2])
			}
		}
	}
	if count > 0 {
		k.fsync = time.Duration(sum / count * float64(time.Second))
	}
}

// String describes the member in one line.
func (k *checkup) String() string {
	switch {
	case len(k.urls) == 0 && k.at == "":
		return k.title() + ": has published no client URLs"
	case k.at == "":
		return k.title() + ": does not answer"
	case k.starting:
		return k.title() + " at " + k.at + ": is starting"
	}
	role := "follows " + k.leader
	switch {
	case k.leads:
		role = "leads"
	case k.leader == "":
		role = "knows no leader"
	}
	return fmt.Sprintf("%s at %s: version %s, %s in term %d, raft index %d, store index %d", k.title(), k.at, k.version,
		role, k.term, k.raft, k.store)
}

func (k *checkup) title() string {
	if k.name == "" {
		return "member " + k.id
	}
	return fmt.Sprintf("member %s (%s)", k.id, k.name)
}

// A finding is something that is wrong, or only a note.
type finding struct {
	note  bool // nothing is wrong
	what  string
	means string
	todo  string
}

// tellFindings prints findings, and returns an error when something is wrong.
func (s *session) tellFindings(found []finding) error {
	wrong := 0
	for _, f := range found {
		word := "note"
		if !f.note {
			word = "WRONG"
			wrong++
		}
		s.tell(s.stdout, "\n%s: %s\n  meaning: %s\n  what to do: %s\n", word, f.what, f.means, f.todo)
	}
	if wrong > 0 {
		s.tell(s.stdout, "\nnot all is well: %d wrong, %d to note\n", wrong, len(found)-wrong)
		return &failure{statusUnwell, ""}
	}
	s.tell(s.stdout, "\nall is well: nothing wrong, %d to note\n", len(found))
	return nil
}

// diagnose returns all that the rules find, the notes last.
func diagnose(all []*checkup, now time.Time) (found []finding) {
	var notes []finding
	for _, rule := range rules {
		for _, f := range rule(all, now) {
			if f.note {
				notes = append(notes, f)
			} else {
				found = append(found, f)
			}
		}
	}
	return append(found, notes...)
}
