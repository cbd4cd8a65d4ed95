package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"etcd2/e2e/pace"
	"etcd2/raft"
	"etcd2/store"
)

// exchange is a request and its whole answer.
type exchange struct {
	method, target, form string
	status               int
	body                 string
}

func (b *bench) play(exchanges []exchange) {
	b.t.Helper()
	for _, x := range exchanges {
		w := b.do(x.method, x.target, x.form)
		if w.Code != x.status || w.Body.String() != x.body+"\n" {
			b.t.Errorf("%s %s %s\ngot  %d %swant %d %s", x.method, x.target, x.form, w.Code, w.Body, x.status, x.body)
		}
	}
}

func TestLifeOfAKey(t *testing.T) {
	newBench(t).play([]exchange{
		{"GET", "/v2/keys", "", 200, `{"action":"get","node":{"dir":true}}`},
		{"GET", "/v2/keys/a/b", "", 404, `{"errorCode":100,"message":"Key not found","cause":"/a","index":0}`},
		{"PUT", "/v2/keys/a/b", "value=1", 201,
			`{"action":"set","node":{"key":"/a/b","value":"1","modifiedIndex":1,"createdIndex":1}}`},
		{"PUT", "/v2/keys/a/b/", "value=2", 200,
			`{"action":"set","node":{"key":"/a/b","value":"2","modifiedIndex":2,"createdIndex":2},"prevNode":{"key":"/a/b","value":"1","modifiedIndex":1,"createdIndex":1}}`},
		{"GET", "/v2/keys/a/b", "", 200,
			`{"action":"get","node":{"key":"/a/b","value":"2","modifiedIndex":2,"createdIndex":2}}`},
		{"PUT", "/v2/keys/a/b?prevExist=false", "value=3", 412,
			`{"errorCode":105,"message":"Key already exists","cause":"/a/b","index":2}`},
		{"PUT", "/v2/keys/a/b?prevExist=true", "value=", 200,
			`{"action":"update","node":{"key":"/a/b","value":"","modifiedIndex":3,"createdIndex":2},"prevNode":{"key":"/a/b","value":"2","modifiedIndex":2,"createdIndex":2}}`},
		{"PUT", "/v2/keys/a/b?prevIndex=2", "value=4", 412,
			`{"errorCode":101,"message":"Compare failed","cause":"[2 != 3]","index":3}`},
		{"PUT", "/v2/keys/a/b?prevIndex=3", "value=4", 200,
			`{"action":"compareAndSwap","node":{"key":"/a/b","value":"4","modifiedIndex":4,"createdIndex":2},"prevNode":{"key":"/a/b","value":"","modifiedIndex":3,"createdIndex":2}}`},
		{"POST", "/v2/keys/a", "value=q", 201,
			`{"action":"create","node":{"key":"/a/00000000000000000005","value":"q","modifiedIndex":5,"createdIndex":5}}`},
		{"PUT", "/v2/keys/a/_h", "value=h", 201,
			`{"action":"set","node":{"key":"/a/_h","value":"h","modifiedIndex":6,"createdIndex":6}}`},
		{"GET", "/v2/keys?recursive=true&sorted=true", "", 200,
			`{"action":"get","node":{"dir":true,"nodes":[{"key":"/a","dir":true,"nodes":[{"key":"/a/00000000000000000005","value":"q","modifiedIndex":5,"createdIndex":5},{"key":"/a/b","value":"4","modifiedIndex":4,"createdIndex":2}],"modifiedIndex":1,"createdIndex":1}]}}`},
		{"GET", "/v2/keys", "", 200,
			`{"action":"get","node":{"dir":true,"nodes":[{"key":"/a","dir":true,"modifiedIndex":1,"createdIndex":1}]}}`},
		{"DELETE", "/v2/keys/a", "", 403, `{"errorCode":102,"message":"Not a file","cause":"/a","index":6}`},
		{"DELETE", "/v2/keys/a?dir=true", "", 403,
			`{"errorCode":108,"message":"Directory not empty","cause":"/a","index":6}`},
		{"DELETE", "/v2/keys/a/b?prevValue=4", "", 200,
			`{"action":"compareAndDelete","node":{"key":"/a/b","modifiedIndex":7,"createdIndex":2},"prevNode":{"key":"/a/b","value":"4","modifiedIndex":4,"createdIndex":2}}`},
		{"DELETE", "/v2/keys/a?recursive=true", "", 200,
			`{"action":"delete","node":{"key":"/a","dir":true,"modifiedIndex":8,"createdIndex":1},"prevNode":{"key":"/a","dir":true,"modifiedIndex":1,"createdIndex":1}}`},
		{"DELETE", "/v2/keys", "", 400, `{"errorCode":107,"message":"Root is read only","cause":"/","index":8}`},
	})
}

func TestHeadersOfSuccessAndError(t *testing.T) {
	b := newBench(t)
	ok := b.do("PUT", "/v2/keys/k", "value=1").Header()
	for name, want := range map[string]string{
		"Content-Type": "application/json", "X-Etcd-Cluster-Id": "2f825f7ee614161e", "X-Etcd-Index": "1",
		"X-Raft-Index": "1", "X-Raft-Term": "2",
	} {
		if ok.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, ok.Get(name), want)
		}
	}
	missing := b.do("GET", "/v2/keys/none", "").Header()
	if missing.Get("X-Etcd-Index") != "1" || missing.Get("X-Etcd-Cluster-Id") == "" || missing["X-Raft-Index"] != nil ||
		missing["X-Raft-Term"] != nil {
		t.Errorf("headers of an error: %v", missing)
	}
}

func TestNoValueOnSuccessAnswersTheActionOnly(t *testing.T) {
	b := newBench(t)
	b.play([]exchange{
		{"PUT", "/v2/keys/k?noValueOnSuccess=true", "value=1", 201, `{"action":"set"}`},
		{"PUT", "/v2/keys/k?prevValue=1", "value=2&noValueOnSuccess=true", 200, `{"action":"compareAndSwap"}`},
		{"POST", "/v2/keys/q?noValueOnSuccess=1", "value=2", 201, `{"action":"create"}`},
		{"PUT", "/v2/keys/k?prevExist=true&noValueOnSuccess=t", "value=2", 200, `{"action":"update"}`},
		{"DELETE", "/v2/keys/k?noValueOnSuccess=true", "", 200,
			`{"action":"delete","node":{"key":"/k","modifiedIndex":5,"createdIndex":1},"prevNode":{"key":"/k","value":"2","modifiedIndex":4,"createdIndex":1}}`},
	})
}

func TestTTLCountsByTheClusterClock(t *testing.T) {
	b := newBench(t)
	ttl := func(w *httptest.ResponseRecorder, node string) any {
		return decode(t, w.Body.String())[node].(map[string]any)["ttl"]
	}
	if got := ttl(b.do("PUT", "/v2/keys/k", "ttl=10"), "node"); got != 10.0 {
		t.Errorf("after the write: ttl %v", got)
	}
	b.node.tick(1500 * time.Millisecond)
	if got := ttl(b.do("GET", "/v2/keys/k", ""), "node"); got != 9.0 {
		t.Errorf("1.5 s later: ttl %v, want 9", got)
	}
	b.node.tick(5 * time.Second)
	if got := ttl(b.do("PUT", "/v2/keys/k", "value=2"), "prevNode"); got != 4.0 {
		t.Errorf("of the replaced node: ttl %v, want 4", got)
	}
	b.node.tick(time.Hour)
	event := b.do("GET", "/v2/keys/k?wait=true&waitIndex=2", "")
	if got := ttl(event, "prevNode"); got != 4.0 {
		t.Errorf("an event from history shows ttl %v, want the 4 of its moment", got)
	}
}

// pitfall J13
func TestHugeTTLsNeverEnd(t *testing.T) {
	b := newBench(t)
	for i, ttl := range []string{"9000000000", "9223372036", "9223372037", "18446744073709551615"} {
		b.want(b.do("PUT", fmt.Sprintf("/v2/keys/%d", i), "ttl="+ttl), 201,
			fmt.Sprintf(`{"action":"set","node":{"key":"/%d","value":"","modifiedIndex":%d,"createdIndex":%d}}`+"\n",
				i, i+1, i+1))
	}
}

// pitfall G2
func TestUnknownOutcomesAreNeverA4xx(t *testing.T) {
	for err, cause := range map[error]string{
		raft.ErrUnknown:                      "etcdserver: request timed out",
		context.DeadlineExceeded:             "etcdserver: request timed out",
		raft.ErrNoLeader:                     "etcdserver: request timed out, no leader",
		raft.ErrOverloaded:                   "etcdserver: too many requests",
		raft.ErrStopped:                      "etcdserver: server stopped",
		errors.New("disk"):                   "disk",
		fmt.Errorf("x: %w", raft.ErrUnknown): "etcdserver: request timed out",
	} {
		b := newBench(t)
		b.node.err = err
		for _, r := range [][3]string{{"PUT", "/v2/keys/k", "value=1"}, {"POST", "/v2/keys/k", "value=1"},
			{"DELETE", "/v2/keys/k", ""}, {"GET", "/v2/keys/k?quorum=true", ""}} {
			w := b.do(r[0], r[1], r[2])
			status := 500
			if err == raft.ErrOverloaded { // this one is known: nothing has happened
				status = 503
			}
			if again := w.Header().Get("Retry-After"); (again == "1") != (status == 503) {
				t.Errorf("%v: Retry-After: %q", err, again)
			}
			b.want(w, status, `{"errorCode":300,"message":"Raft Internal Error","cause":"`+cause+`","index":0}`+"\n")
			if w.Header().Get("X-Etcd-Index") != "0" {
				t.Errorf("X-Etcd-Index: %s", w.Header().Get("X-Etcd-Index"))
			}
		}
		if w := b.do("GET", "/v2/keys/k", ""); w.Code != 404 {
			t.Errorf("a plain get needs no node: %d", w.Code)
		}
	}
}

// pitfall G3
func TestAWriteThatIsRepeatedUnderItsNameIsAnsweredAgain(t *testing.T) {
	for _, c := range []struct{ method, target, form string }{
		{"PUT", "/v2/keys/new", "value=1"},
		{"PUT", "/v2/keys/k", "value=2&prevValue=1"},
		{"PUT", "/v2/keys/k", "value=2&prevValue=none"},
		{"PUT", "/v2/keys/new", "value=1&prevExist=false"},
		{"PUT", "/v2/keys/k", "ttl=100&refresh=true"},
		{"POST", "/v2/keys/queue", "value=1"},
		{"DELETE", "/v2/keys/k", ""},
		{"DELETE", "/v2/keys/k?prevValue=1", ""},
		{"DELETE", "/v2/keys/none", ""},
	} {
		b := newBench(t)
		b.do("PUT", "/v2/keys/k", "value=1")
		send := func(id string) *httptest.ResponseRecorder {
			return b.do(c.method, c.target, c.form, requestHeader, id)
		}
		first := send("me:1")
		b.do("PUT", "/v2/keys/other", "value=1")
		index := b.node.store.Index()
		again := send("me:1")

		b.want(again, first.Code, first.Body.String())
		if again.Header().Get("X-Etcd-Index") != first.Header().Get("X-Etcd-Index") || b.node.store.Index() != index {
			t.Errorf("%s %s: %v, then %v; the store went from %d to %d", c.method, c.target, first.Header(),
				again.Header(), index, b.node.store.Index())
		}
		for _, id := range []string{"me:2", ""} { // another name, and none, is another request
			other, before := send(id), b.node.store.Index()
			if other.Body.String() == first.Body.String() && other.Code < 300 {
				t.Errorf("%s %s as %q: %d %s at %d", c.method, c.target, id, other.Code, other.Body, before)
			}
		}
		if c.method == "PUT" {
			w := b.do("PUT", "/v2/keys/else", "value=7", requestHeader, "me:1")
			if got := decode(t, w.Body.String()); w.Code != 400 || got["errorCode"] != 209.0 {
				t.Errorf("the name of another command: %d %s", w.Code, w.Body)
			}
		}
	}
}

func TestNamesOfRequestsAreChecked(t *testing.T) {
	longest := strings.Repeat("x", 128)
	for _, c := range []struct {
		ids  []string
		good bool
	}{
		{nil, true}, {[]string{"!"}, true}, {[]string{"~"}, true}, {[]string{"6ba7b810-9dad-11d1-80b4-00c04fd430c8"},
			true}, {[]string{longest}, true},
		{[]string{""}, false}, {[]string{longest + "x"}, false}, {[]string{"a b"}, false}, {[]string{"a\tb"}, false},
		{[]string{"\u00e9"}, false}, {[]string{"a\x7f"}, false}, {[]string{"\xff"}, false}, {[]string{"a", "b"}, false},
	} {
		for _, method := range keysMethods {
			b := newBench(t)
			r := httptest.NewRequest(method, "/v2/keys/k?recursive=true", nil)
			r.Header[requestHeader] = c.ids
			w := httptest.NewRecorder()
			b.ServeHTTP(w, r)
			refused := strings.Contains(w.Body.String(), "Request-Id")
			if reading := method == "GET" || method == "HEAD"; refused == (c.good || reading) {
				t.Errorf("%s %q: %d %s", method, c.ids, w.Code, w.Body)
			}
			if refused {
				b.want(w, 400, `{"errorCode":209,"message":"Invalid field","cause":"invalid value for \"X-Etcd-Request-Id\"","index":0}`+"\n")
			}
		}
	}
}

func TestIndicesOfRequestsAreChecked(t *testing.T) {
	for index, status := range map[string]int{"0": 201, "7": 201, "18446744073709551615": 201, "-1": 400, "x": 400,
		"18446744073709551616": 400, "1 ": 400} {
		b := newBench(t)
		w := b.do("PUT", "/v2/keys/k", "", requestHeader, "id", indexHeader, index)
		if w.Code != status || status == 400 && !strings.Contains(w.Body.String(), `"errorCode":203,`) {
			t.Errorf("%q: %d %s", index, w.Code, w.Body)
		}
		if w := b.do("PUT", "/v2/keys/k", "", indexHeader, index); w.Code/100 != 2 {
			t.Errorf("%q without a name: %d", index, w.Code)
		}
	}
}

// A request that was first made too long ago is refused, and the answer tells the index with which
// it may be made for the first time. A request without an index counts as first made now.
// pitfall G3, pitfall L8
func TestARequestFromBeforeTheWindowIsRefused(t *testing.T) {
	pace.LeftOutByShort(t)
	b := newBench(t, func(c *Config) { c.RequestTimeout = time.Hour }) // to forget takes a while
	post := func(name, index string) *httptest.ResponseRecorder {
		return b.do("POST", "/v2/keys/q", "value=v", requestHeader, name, indexHeader, index)
	}
	first := post("first", "0")
	b.node.forget()
	post("later", "")

	again, other, now := post("first", "0"), post("other", "1"), post("now", "")
	next := post("other", other.Header().Get("X-Raft-Index"))
	slow, known := now, now
	if pace.Long() {
		b.node.onPropose = b.node.forget
		slow = post("slow", "")
		known = post("later", "")
	}

	for _, w := range []*httptest.ResponseRecorder{again, other} {
		if w.Code != 410 || !strings.HasPrefix(w.Body.String(),
			`{"errorCode":214,"message":"Request is too old","cause":"request id \"`) {
			t.Errorf("too old: %d %s", w.Code, w.Body)
		}
	}
	for what, w := range map[string]*httptest.ResponseRecorder{"first": first, "told no index": now,
		"with the index of the refusal": next, "overtaken on its way": slow} {
		if w.Code != 201 {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	if known.Code != 201 {
		t.Errorf("after two times as many: %d %s", known.Code, known.Body)
	}
}

// pitfall G3, pitfall L8
func TestARequestWhoseAnswerIsForgottenIsNotDoneAgain(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/k", "value=v", requestHeader, "name")
	b.do("POST", "/v2/keys/k", "value=v", requestHeader, "refused")
	b.node.tick(time.Hour)

	b.want(b.do("PUT", "/v2/keys/k", "value=v", requestHeader, "name"), 410,
		`{"errorCode":213,"message":"Request was answered before","cause":"request id \"name\" was executed at index 1: the answer is no longer kept, read the key","index":1}`+"\n")
	b.want(b.do("POST", "/v2/keys/k", "value=v", requestHeader, "refused"), 410,
		`{"errorCode":213,"message":"Request was answered before","cause":"request id \"refused\" was refused before: the answer is no longer kept","index":1}`+"\n")
}

// pitfall G2
func TestATimeoutNamesItsLikelyCause(t *testing.T) {
	const other = 0x77
	connected := raft.PeerStats{Connected: true, Since: time.Now().Add(-time.Hour)}
	for _, c := range []struct {
		name   string
		leader uint64
		since  time.Duration // from now on that the leader leads
		peer   raft.PeerStats
		suffix string
	}{
		{"nothing is wrong here", testMember, -time.Minute, connected, ""},
		{"the leader elsewhere is connected", other, -time.Minute, connected, ""},
		{"there is no leader any more", raft.None, 0, connected, ", possibly due to previous leader failure"},
		{"there is another leader since", other, time.Minute, connected, ", possibly due to previous leader failure"},
		{"the leader is not connected", other, -time.Minute, raft.PeerStats{}, ", possibly due to connection lost"},
		{"the leader is connected anew", other, -time.Minute, raft.PeerStats{Connected: true,
			Since: time.Now().Add(time.Minute)}, ", possibly due to connection lost"},
	} {
		b := newBench(t)
		b.node.err, b.node.leader, b.node.peers = raft.ErrUnknown, c.leader, map[uint64]raft.PeerStats{other: c.peer}
		b.node.leaderSince = time.Now().Add(c.since)
		for _, r := range [][3]string{{"PUT", "/v2/keys/k", "value=1"}, {"GET", "/v2/keys/k?quorum=true", ""}} {
			if got := decode(t, b.do(r[0], r[1],
				r[2]).Body.String())["cause"]; got != "etcdserver: request timed out"+c.suffix {
				t.Errorf("%s: %s: %v", c.name, r[0], got)
			}
		}
	}
}

// lostNode never learns the result of a proposal.
type lostNode struct{ *fakeNode }

func (lostNode) Propose(context.Context, []byte) (raft.Result, error) {
	return raft.Result{}, raft.ErrUnknown
}

// pitfall G2
func TestAnUnknownOutcomeIsATimeout(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Node = lostNode{c.Node.(*fakeNode)}
	})
	b.want(b.do("PUT", "/v2/keys/k", "value=1"), 500,
		`{"errorCode":300,"message":"Raft Internal Error","cause":"etcdserver: request timed out","index":0}`+"\n")
}

func TestQuorumGetAsksTheNodeFirstAndBeatsWait(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/k", "value=1")
	want := `{"action":"get","node":{"key":"/k","value":"1","modifiedIndex":1,"createdIndex":1}}` + "\n"
	b.want(b.do("GET", "/v2/keys/k?quorum=true", ""), 200, want)
	b.want(b.do("GET", "/v2/keys/k?quorum=true&wait=true", ""), 200, want)
	if b.node.reads != 2 {
		t.Errorf("%d reads through the node, want 2", b.node.reads)
	}
	if b.do("HEAD", "/v2/keys/k?quorum=true", ""); b.node.reads != 2 {
		t.Error("HEAD went through the node")
	}
}

// pitfall J5
func TestKeysHaveALengthAndADepth(t *testing.T) {
	b := newBench(t)
	deep := func(n int) string { return strings.Repeat("/a", n) }
	for _, c := range []struct {
		method, key string
		status      int
	}{
		{"PUT", "/" + strings.Repeat("k", 4000), 201},
		{"PUT", deep(60) + "/x", 201},
		{"PUT", deep(511) + "/x", 201},
		{"PUT", deep(512) + "/x", 400},
		{"POST", deep(511), 201},
		{"POST", deep(512), 400},
		{"GET", deep(511) + "/x?wait=true&waitIndex=1", 200},
		{"GET", deep(512) + "/x?wait=true&waitIndex=1", 400},
		{"PUT", "/" + strings.Repeat("k", maxKeyBytes), 400},
	} {
		w := b.do(c.method, "/v2/keys"+c.key, "value=1")
		if w.Code != c.status {
			t.Errorf("%s of %d bytes: %d %.200s", c.method, len(c.key), w.Code, w.Body)
		}
		if w.Code == 400 && decode(t, w.Body.String())["errorCode"] != 209.0 {
			t.Errorf("%s", w.Body)
		}
	}
}

// pitfall J5
func TestTheDeepestTreeCostsNoMoreThanItsAnswer(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys"+strings.Repeat("/d", store.MaxDepth-1)+"/k", "value=1")
	var w *httptest.ResponseRecorder

	costs := costOf(func() { w = b.do("GET", "/v2/keys?recursive=true", "") })

	if most := uint64(20 * w.Body.Len()); costs > most {
		t.Errorf("%d bytes are allocated for an answer of %d", costs, w.Body.Len())
	}
	if n := strings.Count(w.Body.String(), `"dir":true`); n != store.MaxDepth ||
		!strings.HasSuffix(w.Body.String(), "}}\n") {
		t.Errorf("%d directories in the listing", n)
	}
}

// pieces counts what a listing sends.
type pieces struct {
	*httptest.ResponseRecorder
	largest int
}

func (p *pieces) Write(b []byte) (int, error) {
	p.largest = max(p.largest, len(b))
	return p.ResponseRecorder.Write(b)
}

func TestHugeListingsAreSentInPieces(t *testing.T) {
	b := newBench(t)
	for i := range 5000 {
		b.do("PUT", fmt.Sprintf("/v2/keys/d/%05d", i), "value="+strings.Repeat("v", 100))
	}
	w := &pieces{ResponseRecorder: httptest.NewRecorder()}

	b.ServeHTTP(w, httptest.NewRequest("GET", "/v2/keys/d", nil))

	if w.largest > 2*bufferSize {
		t.Errorf("a piece of %d bytes", w.largest)
	}
	var got struct {
		Node struct {
			Nodes []struct{ Key string }
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for i, n := range got.Node.Nodes {
		if n.Key != fmt.Sprintf("/d/%05d", i) {
			t.Fatalf("child %d is %s", i, n.Key)
		}
	}
	if len(got.Node.Nodes) != 5000 {
		t.Errorf("%d children", len(got.Node.Nodes))
	}
}

// An error that quotes two values, and a list of many users, take no more memory than one piece.
// pitfall J11
func TestLongErrorsAndListsOfUsersAreSentInPieces(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/k", "value="+strings.Repeat("v", 1<<20))
	for i := range 150 {
		b.user(fmt.Sprint(strings.Repeat("u", 1000), i))
	}
	swap := httptest.NewRequest("PUT", "/v2/keys/k?prevValue=x", strings.NewReader("value=y"))
	swap.Header.Set("Content-Type", formType)
	for _, r := range []*http.Request{swap, httptest.NewRequest("GET", "/v2/auth/users", nil)} {
		w := &pieces{ResponseRecorder: httptest.NewRecorder()}

		b.ServeHTTP(w, r)

		if n := w.Body.Len(); w.largest > 2*bufferSize || n <= 2*bufferSize || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: a piece of %d of %d bytes", r.URL, w.largest, n)
		}
	}
}

// A value sent in pieces prints as it would in one piece: no piece breaks a character, and each
// byte that is not UTF-8 is replaced as usual. pitfall J11
func TestHugeValuesAreSentInPieces(t *testing.T) {
	for name, unit := range map[string]string{
		"plain": "v", "two bytes": "é", "three": "x€", "four": "😀", "escaped": "<\n>", "broken": "\xff\x80",
		"continued": "\x80", "cut": "\xf0\x9f\x98", "mixed": "a\xf0\x9f\x98\x80\x80é\xe2\x82",
	} {
		value := strings.Repeat(unit, 200_000/len(unit))
		b := newBench(t)
		for _, method := range []string{"PUT", "PUT", "GET"} { // the second PUT answers with two values
			r := httptest.NewRequest(method, "/v2/keys/k", strings.NewReader(url.Values{"value": {value}}.Encode()))
			r.Header.Set("Content-Type", formType)
			w := &pieces{ResponseRecorder: httptest.NewRecorder()}

			b.ServeHTTP(w, r)

			if w.largest > 2*bufferSize {
				t.Errorf("%s: %s: a piece of %d bytes", name, method, w.largest)
			}
			var got struct{ Node, PrevNode struct{ Value string } }
			want, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || !strings.Contains(w.Body.String(),
				`"value":`+string(want)) {
				t.Errorf("%s: %s: not the value: %v, %.200s", name, method, err, w.Body)
			}
		}
	}
}

// goneWriter is a client that hung up.
type goneWriter struct {
	*httptest.ResponseRecorder
	writes int
}

func (w *goneWriter) Write([]byte) (int, error) {
	w.writes++
	return 0, errors.New("connection reset")
}

func TestListingStopsWhenTheClientIsGone(t *testing.T) {
	b := newBench(t)
	for i := range 3000 {
		b.do("PUT", fmt.Sprintf("/v2/keys/d/%05d", i), "value="+strings.Repeat("v", 100))
	}
	w := &goneWriter{ResponseRecorder: httptest.NewRecorder()}
	b.ServeHTTP(w, httptest.NewRequest("GET", "/v2/keys/d", nil))
	if w.writes != 1 {
		t.Errorf("%d pieces offered", w.writes)
	}
}

// pitfall I12
func TestHeaderAndBodyAreOfOneMoment(t *testing.T) {
	b := newBench(t)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				c := store.Command{Op: store.OpSet, Path: "/d/" + strconv.Itoa(i%50), Value: "x"}
				b.node.Propose(context.Background(), c.Append(nil))
			}
		}
	})
	for range 300 {
		w := b.do("GET", "/v2/keys/d?recursive=true", "")
		if w.Code == 404 {
			continue
		}
		var got struct {
			Node struct {
				Nodes []struct{ ModifiedIndex uint64 }
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		index, _ := strconv.ParseUint(w.Header().Get("X-Etcd-Index"), 10, 64)
		newest := uint64(0)
		for _, n := range got.Node.Nodes {
			newest = max(newest, n.ModifiedIndex)
		}
		if newest != index {
			t.Fatalf("X-Etcd-Index %d, newest node %d", index, newest)
		}
	}
	close(stop)
	writer.Wait()
}
