package http

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"etcd2/raft"
	"etcd2/store"
)

const (
	self     = `{"id":"7fa0243da41856f2","name":"default","peerURLs":["http://127.0.0.1:2380"],"clientURLs":["http://127.0.0.1:2379"]}`
	urlsJSON = "application/json"
)

func TestMembersAreListed(t *testing.T) {
	b := newBench(t)
	for _, p := range []string{"/v2/members", "/v2/members/"} {
		w := b.do("GET", p, "")
		b.want(w, 200, `{"members":[`+self+`]}`+"\n")
		if h := w.Header(); h.Get("X-Etcd-Cluster-Id") != "2f825f7ee614161e" ||
			h.Get("Content-Type") != "application/json" || h["X-Etcd-Index"] != nil {
			t.Errorf("%v", h)
		}
	}
	b.want(b.do("GET", "/v2/members/leader", ""), 200, self+"\n")
	for _, p := range []string{"leader/", "leader/x", "nosuch", "7fa0243da41856f2"} {
		b.want(b.do("GET", "/v2/members/"+p, ""), 404, `{"message":"Not found"}`)
	}
	b.node.leader = raft.None
	b.want(b.do("GET", "/v2/members/leader", ""), 503, `{"message":"During election"}`)
}

// A voter is shown as etcd 2 shows it, to the byte, and so is a member that was never started.
func TestAMemberWithoutAVoteIsShownWithItsLag(t *testing.T) {
	list := func(name string, progress map[uint64]raft.Progress) string {
		b := newBench(t)
		b.node.index, b.node.progress = 100, progress
		b.node.members.Members = append(b.node.members.Members, raft.Member{ID: 0xb, Name: name,
			PeerURLs: []string{"http://b:1"}, Learner: true})
		return b.do("GET", "/v2/members", "").Body.String()
	}
	for _, c := range []struct {
		what, name string
		progress   map[uint64]raft.Progress
		shown      string
	}{
		{"never started, on a follower", "", nil, ``},
		{"never started, on the leader", "", map[uint64]raft.Progress{0xb: {State: "probe"}}, ``},
		{"started, on a follower", "n2", nil, `,"learner":true`},
		{"while it gets a snapshot", "", map[uint64]raft.Progress{0xb: {State: "snapshot"}},
			`,"learner":true,"behind":100`},
		{"while it catches up", "n2", map[uint64]raft.Progress{0xb: {State: "replicate", Match: 58}},
			`,"learner":true,"behind":42`},
		{"when it has more than is committed", "", map[uint64]raft.Progress{0xb: {State: "replicate", Match: 101}},
			`,"learner":true,"behind":0`},
	} {
		want := `{"members":[` + self + `,{"id":"b","name":"` + c.name + `","peerURLs":["http://b:1"],"clientURLs":[]` +
			c.shown + "}]}\n"
		if got := list(c.name, c.progress); got != want {
			t.Errorf("%s:\n%s, want\n%s", c.what, got, want)
		}
	}
}

// pitfall D9
func TestAddedMemberGetsARandomIDAndNoVote(t *testing.T) {
	b := newBench(t)
	ids := map[uint64]bool{}
	for range 20 {
		w := b.do("POST", "/v2/members/whatever",
			`{"peerURLs":["http://10.0.0.2:2380","http://10.0.0.1:2380"],"name":"ignored"}`, "Content-Type", urlsJSON)
		c := b.node.changes[len(b.node.changes)-1]
		b.want(w, 201, `{"id":"`+hexID(c.Member.ID)+`","name":"","peerURLs":["http://10.0.0.1:2380","http://10.0.0.2:2380"],"clientURLs":[]}`+"\n")
		if c.Kind != raft.ChangeAdd || !c.Member.Learner || c.Member.ID == raft.None || ids[c.Member.ID] {
			t.Fatalf("change %+v", c)
		}
		ids[c.Member.ID] = true
		b.want(b.do("DELETE", "/v2/members/"+hexID(c.Member.ID), ""), 204, "")
	}
	if got := b.node.store.Index(); got != 20*3 {
		t.Errorf("store index %d, want one for each addition and two for each removal", got)
	}
}

func TestBadPeerURLsAreRefused(t *testing.T) {
	b := newBench(t)
	for body, message := range map[string]string{
		`{}`:                                `no valid URLs given`,
		`{"peerURLs":null}`:                 `no valid URLs given`,
		`{"peerURLs":["foo"]}`:              `URL scheme must be http or https: foo`,
		`{"peerURLs":["http://127.0.0.1"]}`: `URL address does not have the form "host:port": http://127.0.0.1`,
		`{"peerURLs":["http://a:1","http://b:1/"]}`:  `URL must not contain a path: http://b:1/`,
		`{"peerURLs":["http://a:1/"," HTTP://b:1"]}`: `URL must not contain a path: http://a:1/`,
		`{"peerURLs":["http://a:1","HTTP://a:1"]}`:   `URL is listed twice: http://a:1`,
		`{"peerURLs":["http://u:secret@a:1"]}`:       `the URL of a member has no user and password (@) in it`,
		`{"peerURLs":["http://a:1?x=1"]}`:            `URL must not contain a query or a fragment: http://a:1?x=1`,
		`{"peerURLs":["http://a:1?"]}`:               `URL must not contain a query or a fragment: http://a:1?`,
		`{"peerURLs":["http://a:1#f"]}`:              `URL must not contain a query or a fragment: http://a:1#f`,
		`{"peerURLs":["http://:1"]}`:                 `URL address does not have the form "host:port": http://:1`,
		`{"peerURLs":["http://a:70000"]}`:            `the port of a URL must be at most 65535: http://a:70000`,
		`{"peerURLs":["unix://<x>"]}`:                `URL scheme must be http or https: unix://<x>`,
	} {
		w := b.do("POST", "/v2/members", body, "Content-Type", urlsJSON)
		if got := decode(t, w.Body.String())["message"]; w.Code != 400 || got != message {
			t.Errorf("%s: %d %v", body, w.Code, got)
		}
	}
	for _, body := range []string{"", "{", "[]", `{"peerURLs":"http://a:1"}`, `{"peerURLs":["http://a b:1"]}`,
		`{"peerURLs":["http://[:1"]}`} {
		if w := b.do("POST", "/v2/members", body, "Content-Type", urlsJSON); w.Code != 400 ||
			decode(t, w.Body.String())["message"] == "" {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	b.want(b.do("POST", "/v2/members", "{}", "Content-Type", "application/json; charset=utf-8"), 415,
		`{"message":"Bad Content-Type application/json; charset=utf-8, accept application/json"}`)
	b.want(b.do("POST", "/v2/members", `{"peerURLs":["http://a:1","http://127.0.0.1:2380"]}`, "Content-Type", urlsJSON),
		409, `{"message":"etcdserver: peerURL exists"}`)
	if len(b.node.changes) != 0 {
		t.Errorf("changes: %+v", b.node.changes)
	}
}

func TestMemberIsUpdated(t *testing.T) {
	b := newBench(t)
	b.want(b.do("PUT", "/v2/members/7FA0243DA41856F2", `{"peerURLs":["http://a:1","http://127.0.0.1:2380"]}`,
		"Content-Type", urlsJSON), 204, "")
	if got := b.node.Membership().Members[0].PeerURLs; !slices.Equal(got, []string{"http://127.0.0.1:2380",
		"http://a:1"}) {
		t.Errorf("peer URLs %v", got)
	}
	if got := b.node.store.Index(); got != 1 {
		t.Errorf("store index %d, want 1", got)
	}
	b.want(b.do("PUT", "/v2/members/xyz", "{", "Content-Type", urlsJSON), 404, `{"message":"No such member: xyz"}`)
	b.want(b.do("PUT", "/v2/members/12345", "x=1"), 415,
		`{"message":"Bad Content-Type application/x-www-form-urlencoded, accept application/json"}`)
	b.want(b.do("PUT", "/v2/members/00012345", `{"peerURLs":["http://c:1"]}`, "Content-Type", urlsJSON), 404,
		`{"message":"No such member: 12345"}`)
}

func TestURLOfAnotherMemberIsAConflict(t *testing.T) {
	b := newBench(t)
	b.do("POST", "/v2/members", `{"peerURLs":["http://b:1"]}`, "Content-Type", urlsJSON)
	b.want(b.do("PUT", "/v2/members/7fa0243da41856f2", `{"peerURLs":["http://b:1"]}`, "Content-Type", urlsJSON), 409,
		`{"message":"etcdserver: peerURL exists"}`)
}

func TestMemberIsRemovedForEver(t *testing.T) {
	b := newBench(t)
	const id = "/v2/members/7fa0243da41856f2"
	b.want(b.do("DELETE", id, ""), 204, "")
	b.want(b.do("DELETE", id, ""), 410, `{"message":"Member permanently removed: 7fa0243da41856f2"}`)
	b.want(b.do("PUT", id, `{"peerURLs":["http://b:1"]}`, "Content-Type", urlsJSON), 500,
		`{"message":"Internal Server Error"}`)
	if c := b.node.changes[0]; c.Kind != raft.ChangeRemove || c.Member.ID != testMember {
		t.Errorf("change %+v", c)
	}
	for path, shown := range map[string]string{"12345": "12345", "ABCDEF": "abcdef", "xyz": "xyz", "0": "0", "-1": "-1",
		"0x12":              "0x12",
		"12345678901234567": "12345678901234567", "12345/x": "12345/x", "00000000000012345": "00000000000012345"} {
		b.want(b.do("DELETE", "/v2/members/"+path, ""), 404, `{"message":"No such member: `+shown+`"}`)
	}
	w := b.do("DELETE", "/v2/members/", "")
	b.want(w, 405, "Method Not Allowed\n")
	if h := w.Header(); h["Allow"] != nil || h.Get("X-Etcd-Cluster-Id") == "" {
		t.Errorf("%v", h)
	}
}

// The leader may refuse a change that this member's own check let pass, when another change was
// faster. pitfall D13
func TestRefusalsOfTheLeaderKeepTheirMeaning(t *testing.T) {
	arithmetic := "removing 2 would leave 2 voters, of which 1 answer; 2 are needed to agree on anything"
	const id = "/v2/members/7fa0243da41856f2"
	for _, c := range []struct {
		err     error
		status  int
		message string
	}{
		{raft.ErrMemberExists, 409, "etcdserver: peerURL exists"},
		{raft.ErrMemberUnknown, 404, "No such member: 7fa0243da41856f2"},
		{raft.ErrMemberRemoved, 410, "Member permanently removed: 7fa0243da41856f2"},
		{raft.ErrMembershipFull, 409,
			"etcdserver: the membership, with the ids of all members ever removed, no longer fits into a snapshot"},
		{&raft.QuorumError{Arithmetic: arithmetic}, 409, "etcdserver: " + arithmetic},
		{fmt.Errorf("x: %w", &raft.QuorumError{Arithmetic: arithmetic}), 409, "etcdserver: " + arithmetic},
		{raft.ErrUnknown, 500, "etcdserver: request timed out"},
		{raft.ErrNoLeader, 500, "etcdserver: request timed out, no leader"},
		{errors.New("disk"), 500, "Internal Server Error"},
	} {
		b := newBench(t)
		b.node.changeErr = c.err
		for _, method := range []string{"DELETE", "PUT"} {
			w := b.do(method, id, `{"peerURLs":["http://b:1"]}`, "Content-Type", urlsJSON)
			b.want(w, c.status, `{"message":"`+c.message+`"}`)
			if h := w.Header(); h.Get("X-Etcd-Cluster-Id") != "2f825f7ee614161e" ||
				h.Get("Content-Type") != "application/json" {
				t.Errorf("%v", h)
			}
		}
		if w := b.do("POST", "/v2/members", `{"peerURLs":["http://b:1"]}`,
			"Content-Type", urlsJSON); w.Code != c.status {
			t.Errorf("POST: %d %s, want %d", w.Code, w.Body, c.status)
		}
	}
}

func TestMemberChangesAreJudgedByTheAgreedMembership(t *testing.T) {
	for _, c := range []struct {
		method, target string
		status         int
	}{
		{"POST", "/v2/members", 409},
		{"PUT", "/v2/members/7fa0243da41856f2", 409},
		{"DELETE", "/v2/members/b", 204},
	} {
		b := newBench(t)
		b.node.onRead = func() { // the member of another client, that this one had not applied
			b.node.members.Members = append(b.node.members.Members, raft.Member{ID: 0xb,
				PeerURLs: []string{"http://b:1"}})
		}
		if w := b.do(c.method, c.target, `{"peerURLs":["http://b:1"]}`, "Content-Type", urlsJSON); w.Code != c.status {
			t.Errorf("%s: %d %s", c.method, w.Code, w.Body)
		}
	}
}

// busyNode confirms reads late, and changes never.
type busyNode struct{ *fakeNode }

func (n busyNode) Read(ctx context.Context) error {
	time.Sleep(5 * time.Second)
	return n.fakeNode.Read(ctx)
}

func (n busyNode) Change(ctx context.Context, c raft.Change) (raft.Membership, error) {
	<-ctx.Done()
	return raft.Membership{}, raft.ErrUnknown
}

// pitfall G1
func TestAChangeOfAMemberHasOneDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newFakeNode(store.Limits{})
		b := newBench(t, func(c *Config) { c.Node, c.Store = busyNode{node}, node.store })
		w := <-b.begin(t.Context(), "DELETE", "/v2/members/7fa0243da41856f2")
		b.want(w.ResponseRecorder, 500, `{"message":"etcdserver: request timed out"}`)
		if w.took != DefaultRequestTimeout {
			t.Errorf("after %v", w.took)
		}
	})
}

// pitfall G2
func TestFailedChangeIsA500(t *testing.T) {
	b := newBench(t)
	b.node.err = raft.ErrUnknown
	b.want(b.do("POST", "/v2/members", `{"peerURLs":["http://b:1"]}`, "Content-Type", urlsJSON), 500,
		`{"message":"etcdserver: request timed out"}`)
	b.want(b.do("DELETE", "/v2/members/7fa0243da41856f2", ""), 500, `{"message":"etcdserver: request timed out"}`)
}

func TestMachinesAreAllClientURLsSorted(t *testing.T) {
	b := newBench(t)
	b.node.members.Members = append(b.node.members.Members, raft.Member{ID: 9, ClientURLs: []string{"http://z:1",
		"http://a:1"}}, raft.Member{ID: 10})
	w := b.do("GET", "/v2/machines", "")
	b.want(w, 200, "http://127.0.0.1:2379, http://a:1, http://z:1")
	if w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%v", w.Header())
	}
}
