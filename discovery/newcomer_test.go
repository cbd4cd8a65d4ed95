package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	_ "etcd2/e2e/pace" // -long
	"etcd2/e2e/pipes"
	"etcd2/raft"
)

// fakeCluster answers like the members of a running cluster, at as many URLs as a test wants.
type fakeCluster struct {
	t  *testing.T
	mu sync.Mutex // protects all below

	id      uint64
	members []raft.Member
	added   int
	busy    int // how many times it refuses to add before it does
}

// listen returns the URL of one more server of the cluster.
func (c *fakeCluster) listen() string { return serve(c.t, c) }

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// secretly is serve in a bubble, for a Newcomer that dials with pipes.Dial: by https, since that is
// what a Newcomer's DialTLS is for.
func secretly(t *testing.T, h http.Handler) string {
	t.Helper()
	return strings.Replace(pipes.Serve(t, h), "http:", "https:", 1)
}

func (c *fakeCluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("X-Etcd-Cluster-Id", fmt.Sprintf("%x", c.id))
	if r.URL.Path != "/v2/members" {
		http.NotFound(w, r)
		return
	}
	if r.Method == "POST" {
		c.add(w, r)
		return
	}
	list := []map[string]any{}
	for _, m := range c.members {
		list = append(list, show(m))
	}
	json.NewEncoder(w).Encode(map[string]any{"members": list})
}

func show(m raft.Member) map[string]any {
	return map[string]any{"id": fmt.Sprintf("%x", m.ID), "name": m.Name, "peerURLs": m.PeerURLs,
		"clientURLs": m.ClientURLs}
}

func (c *fakeCluster) add(w http.ResponseWriter, r *http.Request) {
	var m raft.Member
	err := json.NewDecoder(r.Body).Decode(&m)
	switch {
	case err != nil || r.Header.Get("Content-Type") != "application/json":
		w.WriteHeader(http.StatusUnsupportedMediaType)
	case c.busy > 0:
		c.busy--
		w.WriteHeader(http.StatusInternalServerError)
	case slices.ContainsFunc(c.members, func(p raft.Member) bool { return overlap(p.PeerURLs, m.PeerURLs) }):
		w.WriteHeader(http.StatusConflict)
	default:
		c.added++
		m.ID, m.Name = uint64(0xadd0+c.added), ""
		c.members = append(c.members, m)
		w.WriteHeader(http.StatusCreated)
		json.NewEncoder(w).Encode(show(m))
	}
}

func testNewcomer(name string, peerURLs ...string) Newcomer {
	return Newcomer{Name: name, PeerURLs: peerURLs, Logger: slog.New(slog.DiscardHandler),
		timeout: 50 * time.Millisecond, pause: time.Millisecond}
}

// nobody is a URL that nothing listens on.
func nobody(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// check compares an error with the wanted text, in which NAME stands for a URL.
func check(t *testing.T, err, kind error, want string, urls map[string]string) {
	t.Helper()
	for name, u := range urls {
		want = strings.ReplaceAll(want, name, u)
	}
	if !errors.Is(err, kind) || err != nil && err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

const self = "http://10.0.0.9:2380"

// A founder asks the others whether the cluster has begun without it. pitfall D10
func TestAFounderHearsWhatTheOthersKnow(t *testing.T) {
	const token = "t"
	for _, c := range []struct {
		name string
		edit func(c *fakeCluster, own *raft.Member)
		kind error
		text string
	}{
		{"they begin, too", func(*fakeCluster, *raft.Member) {}, nil, ""},
		{"they have another cluster", func(c *fakeCluster, _ *raft.Member) { c.id = 0xbad },
			ErrOtherCluster, "the peers form another cluster already: bad at A, where the list and the token make " +
				"CLUSTER"},
		{"they know this one as active",
			func(_ *fakeCluster, own *raft.Member) { own.ClientURLs = []string{"http://10.0.0.9:2379"} },
			ErrActive, "this member was active before, and its data is gone: SELF of cluster CLUSTER, says A"},
		{"they have removed this one", func(_ *fakeCluster, own *raft.Member) { own.ID++ },
			ErrRemoved, "this member was removed from the cluster: SELF from CLUSTER, says A"},
		{"their list is empty", func(c *fakeCluster, _ *raft.Member) { c.members = nil }, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := &fakeCluster{t: t}
			a := cluster.listen()
			list := "x=" + self + ",a=" + a + ",b=" + nobody(t)
			m, err := Static(list, token)
			if err != nil {
				t.Fatal(err)
			}
			own := slices.IndexFunc(m.Members, func(m raft.Member) bool { return m.Name == "x" })
			cluster.id, cluster.members = m.ClusterID, slices.Clone(m.Members)
			c.edit(cluster, &cluster.members[:len(m.Members)][own])

			p, err := testNewcomer("x", self).New(context.Background(), list, token)

			check(t, err, c.kind, c.text, map[string]string{
				" A": " " + a, "SELF": fmt.Sprintf("%x", m.Members[own].ID), "CLUSTER": fmt.Sprintf("%x", m.ClusterID)})
			if err == nil && !reflect.DeepEqual(p, Plan{Self: m.Members[own], Cluster: m}) {
				t.Errorf("the plan is %+v", p)
			}
		})
	}
}

// Who does not answer as a member does cannot keep a cluster from its beginning. pitfall K6
func TestAFounderBeginsWhereNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan struct{})
		asked := make(chan string, 10)
		elsewhere := secretly(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
		peers := map[string]http.HandlerFunc{
			"redirects": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, http.StatusFound) },
			"hangs":     func(_ http.ResponseWriter, r *http.Request) { <-gone },
			"endless":   endless,
			"no id":     func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"members":[{"id":"1"}]}`) },
			"no JSON":   answering("1", "hello"),
			"no list":   answering("1", `{"members":{}}`),
			"id 0":      answering("1", `{"members":[{"id":"0"}]}`),
			"one twice": answering("1", `{"members":[{"id":"1"},{"id":"01"}]}`),
		}
		list := "x=" + self
		for name, h := range peers {
			list += "," + strings.ReplaceAll(name, " ", "") + "=" + secretly(t, h)
		}
		t.Cleanup(func() { close(gone) }) // before the servers are closed
		n := testNewcomer("x", self)
		n.DialTLS = pipes.Dial
		started := time.Now()

		p, err := n.New(t.Context(), list, "t")

		if err != nil || p.Self.Name != "x" || len(p.Seeds()) != len(peers) || p.Join {
			t.Errorf("%v: %+v", err, p)
		}
		if d := time.Since(started); d > surveyTimeout {
			t.Errorf("it took %v", d)
		}
		if len(asked) > 0 {
			t.Errorf("it followed a redirect to %s", <-asked)
		}
	})
}

func answering(cluster, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Etcd-Cluster-Id", cluster)
		io.WriteString(w, body)
	}
}

// endless sends 1 GB, if somebody reads it.
func endless(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Etcd-Cluster-Id", "1")
	piece := []byte(strings.Repeat(" ", 1<<20))
	for range 1 << 10 {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

// The reason of each failure is one short text. pitfall K6
func TestAFailureSaysWhyAndNothingOfTheBody(t *testing.T) {
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
		text string
	}{
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "it answers with status 307"},
		{"an error", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "secret", http.StatusServiceUnavailable) }, "it answers with status 503"},
		{"1 GB", endless, "the answer is longer than this client takes: it has more than 1048576 bytes"},
		{"a page", answering("1", "<secret>"), "not an answer of an etcd: status 200, and a body that is not its JSON"},
		{"a cut answer", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "10") },
			"unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := serve(t, c.h)

			answers, failures := testNewcomer("x", self).survey(context.Background(), []string{u})

			if len(answers) > 0 || len(failures) != 1 || failures[0].Error() != u+": "+c.text {
				t.Errorf("%v, %v", answers, failures)
			}
		})
	}
}

func TestOneWhoHangsIsWaitedForOnlySoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan struct{})
		hanging := secretly(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-gone }))
		quick := secretly(t, &fakeCluster{t: t, id: 1, members: []raft.Member{{ID: 1}}})
		t.Cleanup(func() { close(gone) }) // before the servers are closed
		n := testNewcomer("x", self)
		n.DialTLS = pipes.Dial

		answers, failures := n.survey(t.Context(), []string{hanging, quick})

		if len(answers) != 1 || answers[0].url != quick || len(failures) != 1 ||
			failures[0].Error() != hanging+": no answer in time" {
			t.Errorf("%v, %v", answers, failures)
		}
	})
}

// running is a cluster of two, at URLs of its own.
func running(t *testing.T) (c *fakeCluster, a, b string) {
	c = &fakeCluster{t: t, id: 0xc1}
	a, b = c.listen(), c.listen()
	c.members = []raft.Member{
		{ID: 0xa, Name: "a", PeerURLs: []string{a}, ClientURLs: []string{"http://10.0.0.1:2379"}},
		{ID: 0xb, Name: "b", PeerURLs: []string{b}, ClientURLs: []string{"http://10.0.0.2:2379"}},
	}
	return c, a, b
}

func TestANewcomerTakesThePlaceThatWasMadeForIt(t *testing.T) {
	c, a, b := running(t)
	own := raft.Member{ID: 0x9, PeerURLs: []string{self}}
	c.members = append(c.members, own)

	p, err := testNewcomer("x", self).Existing(context.Background(), "x="+self+",a="+a+",b="+b)

	own.Name = "x"
	if err != nil || !p.Join || p.Cluster.ClusterID != 0xc1 || !reflect.DeepEqual(p.Self, own) {
		t.Errorf("%v: %+v", err, p)
	}
	if want := map[uint64][]string{0xa: {a}, 0xb: {b}}; !reflect.DeepEqual(p.Seeds(), want) {
		t.Errorf("seeds %v, want %v", p.Seeds(), want)
	}
}

func TestTheListOfARunningClusterMustBeItsOwn(t *testing.T) {
	active := []string{"http://10.0.0.9:2379"}
	for _, c := range []struct {
		name, list string // A, B: the members; SELF: this one; NOBODY: nothing listens there
		own        *raft.Member
		kind       error
		text       string
	}{
		{"it was not added", "x=SELF,a=A,b=B", nil, ErrUnfit,
			"the list is not that of the running cluster: by what A says it has not SELF"},
		{"one is not listed", "x=SELF,a=A", &raft.Member{ID: 9, PeerURLs: []string{self}}, ErrUnfit,
			"the list is not that of the running cluster: by what A says it has also B"},
		{"one is listed that is not there", "x=SELF,a=A,b=B,c=http://10.0.0.3:1", &raft.Member{ID: 9,
			PeerURLs: []string{self}}, ErrUnfit,
			"the list is not that of the running cluster: by what A says it has not http://10.0.0.3:1"},
		{"it was active", "x=SELF,a=A,b=B", &raft.Member{ID: 9, Name: "x", PeerURLs: []string{self},
			ClientURLs: active}, ErrActive,
			"this member was active before, and its data is gone: 9 of cluster c1, says A"}, // pitfall D10
		{"its URL is another one's", "x=SELF,a=A,b=B", &raft.Member{ID: 9, Name: "y", PeerURLs: []string{self},
			ClientURLs: active}, ErrURLTaken,
			`a peer URL belongs to another member: SELF is 9, named "y", says A`}, // pitfall D13
		{"its name is another one's", "a=SELF,c=A,b=B", &raft.Member{ID: 9, PeerURLs: []string{self}}, ErrNameTaken,
			`the name belongs to another member: "a" is a at A, says A`}, // pitfall D13
		{"its name is not listed", "y=SELF,a=A,b=B", nil, ErrNotListed, `this member's name is not listed: "x"`},
		{"nobody else is listed", "x=SELF", nil, ErrNobodyListed, "nobody but this member is listed"},
		{"one is nowhere", "x=SELF,b=http://0.0.0.0:1", nil, ErrNoAddress,
			"this is no address that others can reach: http://0.0.0.0:1"},
		{"nobody answers", "x=SELF,b=NOBODY", nil, ErrNotYet,
			"no running member could add this one: NOBODY: dial tcp HOST: connect: connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster, a, _ := running(t)
			b := nobody(t) // only A answers
			cluster.members[1].PeerURLs = []string{b}
			if c.own != nil {
				cluster.members = append(cluster.members, *c.own)
			}
			no := nobody(t)
			urls := map[string]string{"=A": "=" + a, " A": " " + a, "=B": "=" + b, " B": " " + b, "SELF": self,
				"NOBODY": no, "HOST": strings.TrimPrefix(no, "http://")}
			name, list := "x", c.list
			if strings.HasPrefix(list, "a=SELF") {
				name = "a"
			}
			for from, to := range urls {
				list = strings.ReplaceAll(list, from, to)
			}

			_, err := testNewcomer(name, self).Existing(context.Background(), list)

			check(t, err, c.kind, c.text, urls)
		})
	}
}

// One that lags, and one that lies, do not hide what another one knows. pitfall D10
func TestOneWhoKnowsIsEnough(t *testing.T) {
	known := raft.Member{ID: 9, PeerURLs: []string{self}}
	knows, a, b := running(t)
	lags := &fakeCluster{t: t, id: knows.id, members: slices.Clone(knows.members)}
	c := lags.listen()
	third := raft.Member{ID: 0xd, Name: "d", PeerURLs: []string{c}}
	knows.members = append(knows.members, third, known)
	lags.members = append(lags.members, third)
	list := "x=" + self + ",d=" + c + ",a=" + a + ",b=" + b

	p, err := testNewcomer("x", self).Existing(context.Background(), list)
	knows.members[3].Name, knows.members[3].ClientURLs = "x", []string{"http://10.0.0.9:2379"}
	lags.members = append(lags.members, known)
	_, asExisting := testNewcomer("x", self).Existing(context.Background(), list)
	_, asJoining := testNewcomer("x", self).Join(context.Background(), []string{c})

	if err != nil || p.Self.ID != 9 {
		t.Errorf("%v: %+v", err, p)
	}
	if !errors.Is(asExisting, ErrActive) || !errors.Is(asJoining, ErrActive) {
		t.Errorf("%v; %v", asExisting, asJoining)
	}
}

func TestANewcomerAsksToBeTakenIn(t *testing.T) {
	c, a, b := running(t)

	p, err := testNewcomer("x", self).Join(context.Background(), []string{nobody(t), b})

	want := raft.Member{ID: 0xadd1, Name: "x", PeerURLs: []string{self}}
	if err != nil || !p.Join || p.Cluster.ClusterID != 0xc1 || !reflect.DeepEqual(p.Self, want) || c.added != 1 {
		t.Errorf("%v: %+v", err, p)
	}
	if want := map[uint64][]string{0xa: {a}, 0xb: {b}}; !reflect.DeepEqual(p.Seeds(), want) {
		t.Errorf("seeds %v, want %v", p.Seeds(), want)
	}
}

// A crash between being taken in and writing that down leaves no second place behind.
func TestJoiningAgainTakesTheSamePlace(t *testing.T) {
	c, a, _ := running(t)

	first, err1 := testNewcomer("x", self).Join(context.Background(), []string{a})
	again, err2 := testNewcomer("x", self).Join(context.Background(), []string{a})

	if err1 != nil || err2 != nil || !reflect.DeepEqual(first, again) || c.added != 1 {
		t.Errorf("%v, %v: %+v, then %+v", err1, err2, first, again)
	}
}

func TestJoiningWaitsUntilThereIsALeader(t *testing.T) {
	c, a, b := running(t)
	c.busy = 5
	n := testNewcomer("x", self)
	n.timeout = time.Minute
	var log strings.Builder
	n.Logger = slog.New(slog.NewTextHandler(&log, nil))

	p, err := n.Join(context.Background(), []string{a, b})

	if err != nil || p.Self.ID != 0xadd1 {
		t.Errorf("%v: %+v", err, p)
	}
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(),
		a+": it refuses for now, with status 500; "+b) {
		t.Errorf("the log: %s", &log)
	}
}

func TestWhoMayNotJoin(t *testing.T) {
	active := []string{"http://10.0.0.9:2379"}
	for _, c := range []struct {
		name, own, url string
		there          raft.Member
		busy           int
		kind           error
		text           string
	}{
		{"active before", "x", self, raft.Member{ID: 9, Name: "x", PeerURLs: []string{self}, ClientURLs: active},
			0, ErrActive,
			"this member was active before, and its data is gone: 9 of cluster c1, says A"}, // pitfall D10
		{"another one's URL", "x", self, raft.Member{ID: 9, Name: "y", PeerURLs: []string{self}, ClientURLs: active},
			0, ErrURLTaken,
			`a peer URL belongs to another member: SELF is 9, named "y", says A`}, // pitfall D13
		{"one of another one's URLs", "x", self, raft.Member{ID: 9, PeerURLs: []string{self, "http://h:1"}},
			0, ErrURLTaken,
			`a peer URL belongs to another member: SELF,http://h:1 is 9, named "", says A`},
		{"another one's name", "b", self, raft.Member{ID: 9}, 0, ErrNameTaken,
			`the name belongs to another member: "b" is b at B, says A`}, // pitfall D13
		{"no address", "x", "http://[::]:2380", raft.Member{ID: 9}, 0, ErrNoAddress,
			"this is no address that others can reach: http://[::]:2380"},
		{"never a leader", "x", self, raft.Member{ID: 9}, 1e9, ErrNotYet,
			"no running member could add this one: A: it refuses for now, with status 500"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster, a, b := running(t)
			cluster.members, cluster.busy = append(cluster.members, c.there), c.busy

			_, err := testNewcomer(c.own, c.url).Join(context.Background(), []string{a})

			check(t, err, c.kind, c.text, map[string]string{" A": " " + a, " B": " " + b, "SELF": self})
			if cluster.added > 0 {
				t.Error("it was added")
			}
		})
	}
}

func TestJoiningIsRefusedForGood(t *testing.T) {
	for status, want := range map[int]error{http.StatusUnauthorized: ErrNoRights, http.StatusForbidden: ErrRefused} {
		c, _, _ := running(t)
		u := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "POST" {
				http.Error(w, "secret", status)
				return
			}
			c.ServeHTTP(w, r)
		}))

		_, err := testNewcomer("x", self).Join(context.Background(), []string{u})

		check(t, err, want, fmt.Sprintf("%v: %s answers with status %d", want, u, status), nil)
	}
}

func TestURLsOfTwoClustersAreNotJoined(t *testing.T) {
	_, a, _ := running(t)
	other, b, _ := running(t)
	other.id = 0xc2

	_, err := testNewcomer("x", self).Join(context.Background(), []string{a, b})

	check(t, err, ErrTwoClusters, "these URLs belong to different clusters: "+a+" to c1, "+b+" to c2", nil)
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	n := testNewcomer("x", self)
	n.timeout, n.pause = time.Hour, time.Hour
	busy := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { cancel() }))

	_, err := n.Join(ctx, []string{busy})

	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAMemberOfOtherMachinesIsWarnedOfALocalAddress(t *testing.T) {
	for _, c := range []struct {
		own, other string
		warned     bool
	}{
		{"http://localhost:1", "http://10.0.0.1:1", true},
		{"http://127.0.0.1:1", "http://a.example:1", true},
		{"http://127.0.0.1:1", "http://localhost:2", false},
		{"http://10.0.0.2:1", "http://10.0.0.1:1", false},
	} {
		var log strings.Builder
		n := testNewcomer("x", c.own)
		n.Logger = slog.New(slog.NewTextHandler(&log, nil))

		n.warn(Plan{Self: raft.Member{ID: 1, PeerURLs: n.PeerURLs},
			Cluster: raft.Membership{Members: []raft.Member{{ID: 2, PeerURLs: []string{c.other}}}}})

		if (log.Len() > 0) != c.warned {
			t.Errorf("%s among %s: %s", c.own, c.other, &log)
		}
	}
}
