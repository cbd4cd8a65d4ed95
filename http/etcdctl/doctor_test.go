package etcdctl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"etcd2/http/certs/certstest"
	"etcd2/http/client"
)

var today = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// three is a healthy cluster of three members.
func three() (all []*checkup) {
	for i := range 3 {
		u := fmt.Sprintf("https://10.0.0.%d:2379", i+1)
		all = append(all, &checkup{
			id: fmt.Sprint("a", i), name: fmt.Sprint("n", i), urls: []reach{{u, nil}}, at: u,
			version: "2.4.0", cluster: "c", self: fmt.Sprint("a", i), leads: i == 0, leader: "a0",
			term: 3, raft: 20_000 + uint64(i), store: 500, expires: today.AddDate(1, 0, 0), fsync: time.Millisecond,
		})
	}
	return all
}

func down(k *checkup, why string) {
	k.at, k.urls[0].err = "", errors.New(why)
	*k = checkup{id: k.id, name: k.name, urls: k.urls}
}

// learner adds a member without a vote. Only the leader knows how many entries it is behind.
func learner(behind uint64) func(all []*checkup) []*checkup {
	return func(all []*checkup) []*checkup {
		m := client.Member{ID: "a3", Name: "n3", PeerURLs: []string{"http://10.0.0.9:2380"}, Learner: true}
		all[1].learners, all[1].waiting = 1, []client.Member{m}
		m.Behind = &behind
		all[0].learners, all[0].waiting = 1, []client.Member{m}
		k := *all[2]
		k.id, k.self, k.name = "a3", "a3", "n3"
		return append(all, &k)
	}
}

func TestDoctorFindsWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		what  string
		hurt  func(all []*checkup) []*checkup
		wrong string // words of the first finding; "": nothing is found
		note  bool
	}{
		{"nothing", func(all []*checkup) []*checkup { return all }, "", false},
		{"one is down", func(all []*checkup) []*checkup { down(all[2], "connection refused"); return all },
			"member a2 (n2)|https://10.0.0.3:2379: connection refused|start the member", false},
		{"two have one name", func(all []*checkup) []*checkup { all[2].name = "n0"; return all },
			`a0 and a2 are both named "n0"|with a --name of its own`, false},
		{"one can't be called", func(all []*checkup) []*checkup { all[0].oneWay = []string{"a2"}; return all },
			"member a0 (n0) can't call member a2 (n2) at its peer URLs|the peer URLs of member a2 (n2) are " +
				"right", true},
		{"its tree is full", func(all []*checkup) []*checkup { all[1].tree = [2]float64{101, 100}; return all },
			"the tree takes 101 of the 100 bytes of --quota-bytes at member a1 (n1)|delete keys", false},
		{"its tree is nearly full", func(all []*checkup) []*checkup { all[1].tree = [2]float64{81, 100}; return all },
			"the tree takes 81 of the 100 bytes of --quota-bytes at member a1 (n1)|delete keys", true},
		{"its tree has room", func(all []*checkup) []*checkup { all[1].tree = [2]float64{79, 100}; return all }, "",
			false},
		{"two are down", func(all []*checkup) []*checkup {
			down(all[1], "x")
			down(all[2], "x")
			all[0].leads, all[0].leader = false, ""
			return all
		}, "1 of 3 members answer, and 2 are needed|--force-new-cluster", false},
		{"a dead URL besides one that works", func(all []*checkup) []*checkup {
			all[1].urls = append(all[1].urls, reach{"http://other:1", errors.New("lookup other: no such host")})
			return all
		}, "does not answer at http://other:1|address that does not work|DNS", false},
		{"a certificate from strangers", func(all []*checkup) []*checkup {
			down(all[1], "tls: failed to verify certificate: x509: certificate signed by unknown authority")
			return all
		}, "unknown authority|--ca-file", false},
		{"a certificate of yesterday",
			func(all []*checkup) []*checkup { all[1].expires = today.AddDate(0, 0, -1); return all },
			"a certificate that member a1 (n1) shows ends on 2026-06-30|in 0 days|renew", false},
		{"a certificate of the next weeks",
			func(all []*checkup) []*checkup { all[1].expires = today.AddDate(0, 0, 20); return all },
			"ends on 2026-07-21|in 20 days|renew", true},
		{"no leader at one", func(all []*checkup) []*checkup { all[2].leader = ""; return all },
			"no leader is known at member a2 (n2)|writes|peer URLs", false},
		{"two leaders", func(all []*checkup) []*checkup { all[1].leads, all[1].term = true, 4; return all },
			"2 members say that they lead, term 3 of member a0 (n0), term 4 of member a1|lower term", false},
		{"another cluster", func(all []*checkup) []*checkup { all[1].cluster = "d"; return all },
			"2 clusters answer|member a1 (n1) at https://10.0.0.2:2379 is in d|--join", false},
		{"another member", func(all []*checkup) []*checkup { all[1].self = "a2"; return all },
			"the URL of member a1 (n1), member a2 answers|--advertise-client-urls", false},
		{"a full disk", func(all []*checkup) []*checkup {
			all[1].illness = "the disk of /d is nearly " +
				"full"
			return all
		}, "not well: the disk of /d is nearly full|make room", false},
		{"a hanging disk", func(all []*checkup) []*checkup {
			all[1].illness = "an fsync of the log is under way for 3s"
			return all
		}, "under way for 3s|--wal-dir", false},
		{"a slow disk", func(all []*checkup) []*checkup { all[1].fsync = 80 * time.Millisecond; return all },
			"takes 80ms|disk", true},
		{"a rotten disk", func(all []*checkup) []*checkup { all[1].rotten = 2; return all },
			"could not read its own log 2 times|member replace", false},
		{"no connection", func(all []*checkup) []*checkup { all[1].apart = []string{"a2"}; return all },
			"member a1 (n1) has no connection to member a2 (n2)|peer URLs", false},
		{"a laggard", func(all []*checkup) []*checkup { all[1].raft = 7; return all },
			"member a1 (n1) is 19995 entries behind|old data|catching up", false},
		{"a term of its own", func(all []*checkup) []*checkup { all[1].term = 9; return all },
			"different terms: |member a1 (n1) is in term 9|run doctor again", false},
		{"another version", func(all []*checkup) []*checkup { all[1].version = "2.3.8"; return all },
			"different versions: 2.3.8, 2.4.0|oldest", true},
		{"a clock", func(all []*checkup) []*checkup { all[1].skew = -time.Minute; return all },
			"the clock of member a1 (n1) is -1m0s off|NTP", true},
		{"an even number", func(all []*checkup) []*checkup { return all[:2] },
			"2 members with a vote are an even number|survives 0 failures", true},
		{"a loopback address",
			func(all []*checkup) []*checkup { all[1].urls[0].url = "https://localhost:2379"; return all },
			"advertised by member a1 (n1)|themselves", false},
		{"one that was never started", func(all []*checkup) []*checkup {
			all[0].learners = 1
			return append(all, &checkup{id: "a3"})
		}, "member a3 has a place in the cluster, and no member has heard from it|it was never started, or it runs " +
			"and reaches no other member|member remove a3", false},
		{"one that is starting", func(all []*checkup) []*checkup {
			k := all[2]
			*k = checkup{id: k.id, name: k.name, urls: k.urls, at: k.at, starting: true}
			return all
		}, "member a2 (n2) is starting|finds no leader yet|run doctor again", true},
		{"a learner that is starting", func(all []*checkup) []*checkup {
			all = learner(7)(all)
			k := all[3]
			*k = checkup{id: k.id, name: k.name, urls: k.urls, at: k.at, starting: true}
			return all
		}, "no vote yet: it is catching up, 7 entries behind", true},
		{"a learner that catches up", learner(1234),
			"member a3 (n3) has no vote yet: it is catching up, 1234 entries behind|by itself", true},
		{"a learner that has caught up", learner(0),
			"member a3 (n3) has no vote yet: it has caught up|a change of the members that is under way|by " +
				"itself", true},
		{"a learner that has not yet published its URLs", func(all []*checkup) []*checkup {
			all = learner(1234)(all)
			return append(all[:3], &checkup{id: "a3"})
		}, "no vote yet: it is catching up, 1234 entries behind", true},
		{"a learner that was never started", func(all []*checkup) []*checkup {
			all = learner(0)(all)
			all[0].waiting = nil
			return all
		}, "1 of the members have no vote yet: the leader has not heard from them|start them", true},
		{"a learner without a connection", func(all []*checkup) []*checkup {
			all = learner(9)(all)
			all[0].apart, all[3].at = []string{"a3"}, ""
			return all
		},
			"member a3 (n3) has no vote yet: the leader has no connection to it|http://10.0.0.9:2380", true},
		{"a learner that the leader has not heard", func(all []*checkup) []*checkup {
			all = learner(0)(all)
			all[0].waiting[0].Behind = nil
			return all
		}, "member a3 (n3) has no vote yet: the leader has not heard from it since|look at the log", true},
	} {
		found := diagnose(c.hurt(three()), today)

		if c.wrong == "" {
			if len(found) > 0 {
				t.Errorf("%s: %+v", c.what, found)
			}
			continue
		}
		if len(found) == 0 {
			t.Errorf("%s: nothing is found", c.what)
			continue
		}
		f := found[0]
		text := f.what + "\n" + f.means + "\n" + f.todo
		for words := range strings.SplitSeq(c.wrong, "|") {
			if !strings.Contains(text, words) {
				t.Errorf("%s: lacks %q:\n%s", c.what, words, text)
			}
		}
		if f.note != c.note || f.means == "" || f.todo == "" {
			t.Errorf("%s: %+v", c.what, f)
		}
	}
}

// fakeMember answers what doctor asks.
func fakeMember(t *testing.T, healthy bool) string {
	t.Helper()
	mux := http.NewServeMux()
	var s *httptest.Server
	answer := func(path, format string, args ...any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Etcd-Cluster-Id", "c")
			w.Header().Set("X-Etcd-Index", "5")
			w.Header().Set("X-Raft-Index", "9")
			if path == "/health" && !healthy {
				w.WriteHeader(503)
			}
			fmt.Fprintf(w, format, args...)
		})
	}
	s = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	answer("/version", `{"etcdserver":"2.4.0"}`)
	answer("/health", `{"health": "%v", "reason": "the disk of /data is nearly full"}`, healthy)
	answer("/v2/members", `{"members":[{"id":"a0","name":"n0","peerURLs":["http://10.0.0.1:2380"],"clientURLs":[%q]}]}`,
		s.URL)
	answer("/v2/stats/self", `{"name":"n0","id":"a0","state":"StateLeader","leaderInfo":{"leader":"a0"}}`)
	answer("/debug/vars", `{"raft.status":{"term":4,"lead":"a0"}}`)
	answer("/v2/keys/", ``)
	answer("/metrics", "# TYPE x gauge\netcd_server_members{votes=\"no\"} 0\netcd_wal_fsync_durations_seconds_sum "+
		"0.2\netcd_wal_fsync_durations_seconds_count 2\n")
	return s.URL
}

func TestDoctorAsksEveryMember(t *testing.T) {
	url := fakeMember(t, true)
	status, out, errs := ctl(nil, "--endpoints", url, "doctor")

	if status != 0 || errs != "" || !strings.Contains(out,
		"member a0 (n0) at "+url+": version 2.4.0, leads in term 4, raft index 9, store index 5\n") ||
		!strings.Contains(out, "note: an fsync at member a0 (n0) takes 100ms") || !strings.Contains(out,
		"all is well: nothing wrong, 1 to note\n") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
}

// A member without a published URL does not mean that there is a second machine.
func TestDoctorTakesAClusterOnOneMachineForOne(t *testing.T) {
	all := []*checkup{{id: "a0", urls: []reach{{"http://127.0.0.1:2379", nil}}}, {id: "a1"}}

	if found := loopback(all, today); len(found) > 0 {
		t.Errorf("%+v", found)
	}
}

// Through a tunnel, doctor reaches one member, at a URL that no member advertises. That is no
// reason to advise --force-new-cluster.
func TestDoctorThroughATunnelAdvisesNoForce(t *testing.T) {
	all := three()
	down(all[1], "connection refused")
	down(all[2], "connection refused")
	for _, f := range diagnose(all, today) {
		if strings.Contains(f.todo, "force") {
			t.Errorf("%s: %s", f.what, f.todo)
		}
	}
	url := fakeMember(t, true)
	tunnel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/members" {
			fmt.Fprint(w, `{"members":[{"id":"a0","name":"n0","peerURLs":[],"clientURLs":["http://127.0.0.1:1"]},`+
				`{"id":"a1","name":"n1","peerURLs":[],"clientURLs":["http://127.0.0.1:1"]},{"id":"a2","name":"n2","peerURLs":[],"clientURLs":["http://127.0.0.1:1"]}]}`)
			return
		}
		http.Redirect(w, r, url+r.URL.Path, http.StatusFound)
	}))
	defer tunnel.Close()
	_, out, _ := ctl(nil, "--endpoints", tunnel.URL, "doctor")
	if strings.Contains(out, "member a0 (n0) at") {
		t.Error("a redirect was followed") // pitfall K6
	}
	target := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		host := url
		if r.In.URL.Path == "/v2/members" {
			host = tunnel.URL
		}
		r.Out.URL.Scheme, r.Out.URL.Host = "http", strings.TrimPrefix(host, "http://")
	}})
	defer target.Close()

	_, out, _ = ctl(nil, "--endpoints", target.URL, "doctor")

	for _, want := range []string{"member a0 (n0) at " + target.URL + ": version 2.4.0, leads",
		"note: 1 of 3 members answer here, and a leader is known, for which 2 are needed",
		"the member runs, but clients are told an address that does not work, at least from here"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "force-new-cluster") {
		t.Error(out)
	}
}

func TestDoctorEndsWithStatus5WhenNotAllIsWell(t *testing.T) {
	status, out, _ := ctl(nil, "--endpoints", fakeMember(t, false), "doctor")
	if status != statusUnwell || !strings.Contains(out,
		"WRONG: member a0 (n0) says that it is not well: the disk of /data is nearly full") {
		t.Errorf("status %d: %s", status, out)
	}

	status, out, _ = ctl(nil, "--endpoints", "http://127.0.0.1:1", "doctor")
	if status != statusUnwell || !strings.Contains(out, "WRONG: nobody answers at the endpoint http://127.0.0.1:1") ||
		!strings.Contains(out, "start the member") {
		t.Errorf("status %d: %s", status, out)
	}
}

// A member that reads its data, or waits for its vote, answers all requests with that reason.
func TestDoctorKnowsAMemberThatIsStarting(t *testing.T) {
	starting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, `{"message":"this member is starting"}`, http.StatusServiceUnavailable)
	}))
	defer starting.Close()
	list := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"members":[{"id":"a0","name":"n0","peerURLs":[],"clientURLs":[%q]}]}`, starting.URL)
	}))
	defer list.Close()

	_, out, _ := ctl(nil, "--endpoints", list.URL, "doctor")

	if !strings.Contains(out, "member a0 (n0) at "+starting.URL+": is starting\n") || strings.Contains(out,
		"not well") || strings.Contains(out, "no leader is known") {
		t.Error(out)
	}
}

// A member of an https cluster that also advertises http gets no password there, and is asked at
// its https URL.
func TestAPasswordOfAnHTTPSClusterStaysInTLS(t *testing.T) {
	dir, ca := t.TempDir(), certstest.NewAuthority(t, "CA")
	authorities := certstest.Write(t, dir, "ca.pem", ca.PEM())
	var leaked, told atomic.Int64
	var plain, secure *httptest.Server
	member := func(w http.ResponseWriter, r *http.Request) {
		counter := map[bool]*atomic.Int64{true: &told, false: &leaked}[r.TLS != nil]
		if r.Header.Get("Authorization") != "" {
			counter.Add(1)
		}
		w.Header().Set("X-Etcd-Cluster-Id", "c")
		fmt.Fprintf(w, `{"members":[{"id":"a","name":"n","peerURLs":[],"clientURLs":[%q,%q]}],"etcdserver":"2.4.0","health":"true",`+
			`"id":"a","state":"StateLeader","action":"get","node":{"key":"/k","value":"v"}}`, plain.URL, secure.URL)
	}
	plain = httptest.NewServer(http.HandlerFunc(member))
	defer plain.Close()
	secure = httptest.NewUnstartedServer(http.HandlerFunc(member))
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, "server", certstest.For("127.0.0.1")).TLS(t)}}
	secure.StartTLS()
	defer secure.Close()

	for _, command := range []string{"doctor", "cluster-health", "member list", "get /k"} {
		told.Store(0)
		line := "-u root:pw --ca-file " + authorities + " --endpoints " + secure.URL + " " + command
		status, out, errs := ctl(nil, strings.Fields(line)...)

		if leaked.Load() > 0 || told.Load() == 0 || status == statusUnreachable {
			t.Errorf("%s: %d requests by http had the password, %d by https; status %d: %s%s",
				command, leaked.Load(), told.Load(), status, out, errs)
		}
		if command == "doctor" && !strings.Contains(out, "member a (n) at "+secure.URL) {
			t.Errorf("it asked elsewhere: %s", out)
		}
	}
}
