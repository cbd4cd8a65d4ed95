package e2e

import (
	"bufio"
	"crypto/tls"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"etcd2/e2e/pace"
	"etcd2/http/certs/certstest"
)

// watcher is a stream on a connection of its own.
type watcher struct {
	client *http.Client
	lines  chan string // of events; closed when the stream ends
}

// watch begins a stream with a client certificate.
func (s *secured) watch(m *member, shown certstest.Pair) *watcher {
	s.t.Helper()
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true,
		Certificates: []tls.Certificate{shown.TLS(s.t)}}}
	w := &watcher{&http.Client{Transport: transport}, make(chan string, 100)}
	resp, err := w.client.Get(m.url + "/v2/keys/news?wait=true&stream=true&recursive=true")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	go func() {
		for scanner := bufio.NewScanner(resp.Body); scanner.Scan(); {
			w.lines <- scanner.Text()
		}
		close(w.lines)
	}()
	return w
}

// Revocation works without a restart. pitfall K2
func TestWhoIsRevokedWhileConnectedIsCutOffWithinSeconds(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	s := newSecured(t, 3)
	cut := s.members[2]
	cutPair := s.them.Issue(t, cut.name)
	cutPair.Save(t, s.dir, "peer-"+cut.name)
	s.start()
	joe, ann := s.clients.Issue(t, "joe"), s.clients.Issue(t, "ann")
	trusted := []*certstest.Authority{s.clients}
	put := func(m *member, value string) (answer, error) {
		_, a, err := knock(t.Context(), "PUT", m.url+"/v2/keys/news/k", url.Values{"value": {value}},
			trusted, ann.TLS(t))
		return a, err
	}
	arrives := func(w *watcher, value string) {
		t.Helper()
		for line := range w.lines {
			if strings.Contains(line, `"value":"`+value+`"`) {
				return
			}
		}
		t.Fatalf("the watch has ended before %s", value)
	}
	metric := func(m *member, pattern string) bool {
		t.Helper()
		_, a, err := knock(t.Context(), "GET", m.url+"/metrics", nil, trusted, ann.TLS(t))
		return err == nil && regexp.MustCompile(pattern).MatchString(a.body)
	}
	revoked, good := s.watch(s.members[0], joe), s.watch(s.members[0], ann)
	for _, m := range s.members {
		eventually(t, "both others are connected to "+m.name, patience,
			func() bool { return metric(m, `(?s)etcd2_peer_connected\S* 1.*etcd2_peer_connected\S* 1`) })
	}
	if a, err := put(cut, "first"); err != nil || a.status > 201 {
		t.Fatal(err, a)
	}
	arrives(revoked, "first")
	arrives(good, "first")
	before := []int{s.members[0].log.count(), s.members[1].log.count(), cut.log.count()}

	certstest.Write(t, s.dir, "crl.pem", s.clients.Revoke(t, joe))
	certstest.Write(t, s.dir, "peer-crl.pem", s.them.Revoke(t, cutPair))

	for line := range revoked.lines { // until the stream ends
		t.Error(line)
	}
	s.members[0].expectLog(before[0], "ended connections", "CN=joe", "reason=revoked", "port=client")
	for i, m := range s.members[:2] {
		m.expectLog(before[i], "ended connections", "CN="+cut.name, "reason=revoked", "port=peer")
		m.expectLog(before[i], "lost the connection to a member", "no longer accepted", "CN="+cut.name, "was revoked")
		if !metric(m, `etcd2_tls_connections_ended_total\{port="peer",reason="revoked"\} [1-9]`) {
			t.Errorf("%s has not counted it", m.name)
		}
		eventually(t, m.name+" has one other", patience,
			func() bool { return metric(m, `etcd2_peer_connected\S* 1`) && metric(m, `etcd2_peer_connected\S* 0`) })
	}
	cut.expectLog(before[2], "lost the connection to a member", "closed there", "CN="+cut.name, "was revoked")
	cut.expectLog(before[2], "cannot reach a member", "it refuses", "CN="+cut.name)

	// The other two members continue, and so does ann, over her present connection.
	eventually(t, "a write of the two", patience,
		func() bool { a, err := put(s.members[1], "second"); return err == nil && a.status <= 201 })
	arrives(good, "second")
	eventually(t, "the third knows that it is alone", patience, func() bool {
		_, a, err := knock(t.Context(), "GET", cut.url+"/health", nil, trusted, ann.TLS(t))
		return err == nil && strings.Contains(a.body, `"false"`)
	})
	for i, m := range s.members[:2] {
		for _, line := range m.log.since(before[i]) {
			if strings.Contains(line, "ended connections") && !strings.Contains(line, "CN=joe") &&
				!strings.Contains(line, "CN="+cut.name) {
				t.Error(line)
			}
		}
	}
}
