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
	name: "doctor", help: "ask every member how it is, and say what is wrong and what to do", run: runDoctor,
	more: "It looks at every client URL, at leaders, terms and indices, versions, clocks, disks and certificates, " +
		"and changes nothing.\n" +
		"The status is 0 when nothing is wrong, and 5 otherwise; notes are not wrong.",
	examples: []example{{"doctor", ""}, {"--endpoints http://10.0.0.1:2379 doctor",
		"any member that answers leads to the others"}},
}

// A checkup is what one member says at one moment. Zero fields are what it does not say.
type checkup struct {
	id, name string
	urls     []reach
	at       string // the URL where it was asked the rest; "": nowhere

	starting bool       // it says so, and nothing else
	tree     [2]float64 // bytes that it takes, and may take; 0: not known
	illness  string     // of /health; "": it is well
	version  string
	cluster  string // id
	self     string // its own id
	leads    bool
	leader   string // id, as it sees it
	term     uint64
	raft     uint64 // index of the last entry that it has applied
	store    uint64
	skew     time.Duration   // of its clock, from ours
	expires  time.Time       // the first certificate that it shows
	fsync    time.Duration   // on the average
	learners int             // members without a vote
	waiting  []client.Member // those of them that run, as far as it knows
	oneWay   []string        // ids of members that it can't call, but that call it
	apart    []string        // ids of members to whom it has no connection
	rotten   int             // reads of its log that failed
}

// A reach is how one client URL answers.
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

// atEndpoints returns the endpoints that were given, by the id of the member that answers there: a
// tunnel leads to a member whose own URLs may not work here.
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

// checkups asks all members at a time.
func checkups(ctx context.Context, c *client.Client, list []client.Member, given map[string]string) []*checkup {
	all := make([]*checkup, len(list))
	var group sync.WaitGroup
	for i, m := range list {
		group.Go(func() { all[i] = examine(ctx, c, m, given[m.ID]) })
	}
	group.Wait()
	return all
}

// examine asks one member at its URLs, and then at the endpoint that was given for it, if one was.
// URLs to which the password may go come first: elsewhere the member tells less.
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

// trustedFirst returns the URLs with those first to which a password may go.
func trustedFirst(given, urls []string) []string {
	trusted := func(u string) bool { return client.MaySendPassword(given, u) }
	first := slices.DeleteFunc(slices.Clone(urls), func(u string) bool { return !trusted(u) })
	return append(first, slices.DeleteFunc(slices.Clone(urls), trusted)...)
}

// knock asks for the version at a URL. The first one that answers is where the member is asked the
// rest.
func (k *checkup) knock(ctx context.Context, c *client.Client, u string) error {
	reply, err := c.Ask(ctx, "GET", u, "/version")
	if err == nil && k.at == "" {
		k.at = u
		k.readVersion(reply)
	}
	return err
}

// questions are what a member is asked that answers.
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
	json.Unmarshal(r.Body, &v) // of whoever says nothing, nothing is known
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

// readVars reads what a member knows now, where its statistics may tell of the last leader that
// there was.
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

// known is an id, "" for that of nobody.
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

// String is the member in one line.
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

// A finding is something that is wrong, or worth to know.
type finding struct {
	note  bool // it is not wrong
	what  string
	means string
	todo  string
}

// tellFindings prints them, and makes them the status.
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

// diagnose is all that the rules find, what is wrong first.
func diagnose(all []*checkup, now time.Time) (found []finding) {
	for _, rule := range rules {
		found = append(found, rule(all, now)...)
	}
	slices.SortStableFunc(found, func(a, b finding) int {
		switch {
		case a.note == b.note:
			return 0
		case b.note:
			return -1
		}
		return 1
	})
	return found
}
