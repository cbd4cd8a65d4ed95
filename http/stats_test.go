package http

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"etcd2/raft"
	"etcd2/store"
)

func TestStoreStatsAreInOrder(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/k", "value=1")
	b.do("GET", "/v2/keys/k", "")
	b.do("GET", "/v2/keys/none", "")
	b.want(b.do("GET", "/v2/stats/store", ""), 200,
		`{"getsSuccess":1,"getsFail":1,"setsSuccess":1,"setsFail":0,"deleteSuccess":0,"deleteFail":0,`+
			`"updateSuccess":0,"updateFail":0,"createSuccess":0,"createFail":0,"compareAndSwapSuccess":0,"compareAndSwapFail":0,`+
			`"compareAndDeleteSuccess":0,"compareAndDeleteFail":0,"expireCount":0,"watchers":0}`)
}

func TestSelfStatsRememberTheLastLeader(t *testing.T) {
	b := newBench(t)
	leader := func() any {
		return decode(t, b.do("GET", "/v2/stats/self", "").Body.String())["leaderInfo"].(map[string]any)["leader"]
	}
	body := b.do("GET", "/v2/stats/self", "").Body.String()
	if !strings.HasPrefix(body, `{"name":"default","id":"7fa0243da41856f2","state":"StateLeader","startTime":"`) ||
		!strings.HasSuffix(body, `"recvAppendRequestCnt":0,"sendAppendRequestCnt":0}`) {
		t.Errorf("%s", body)
	}
	b.want(b.do("GET", "/v2/stats/leader", ""), 200, `{"leader":"7fa0243da41856f2","followers":{}}`)
	b.node.set(func() { b.node.leader = raft.None })
	if got := leader(); got != "7fa0243da41856f2" {
		t.Errorf("without a leader: %v", got)
	}
	b.want(b.do("GET", "/v2/stats/leader", ""), 403, `{"message":"not current leader"}`)
	if got := newLeaderless(t).do("GET", "/v2/stats/self", ""); decode(t,
		got.Body.String())["leaderInfo"].(map[string]any)["leader"] != "" {
		t.Errorf("before any leader: %s", got.Body)
	}
}

func TestLeaderStatsAreInTheFormOfEtcd(t *testing.T) {
	b := newBench(t)
	b.node.peers = map[uint64]raft.PeerStats{
		0xbe1f: {Trips: 25, Dropped: 2, SnapshotsFailed: 1, Current: 400 * time.Microsecond,
			Average:   1100 * time.Microsecond,
			Deviation: 800 * time.Microsecond, Least: 90 * time.Microsecond, Greatest: 4 * time.Millisecond},
		0xa: {},
	}
	const follower = `{"latency":{"current":%v,"average":%v,"standardDeviation":%v,"minimum":%v,"maximum":%v},"counts":{"fail":%d,"success":%d}}`
	b.want(b.do("GET", "/v2/stats/leader", ""), 200, `{"leader":"7fa0243da41856f2","followers":{`+
		`"a":`+fmt.Sprintf(follower, 0, 0, 0, 0, 0, 0, 0)+`,"be1f":`+fmt.Sprintf(follower, 0.4, 1.1, 0.8, 0.09,
		4, 3, 25)+`}}`)
	b.node.set(func() { b.node.leader = 0xa })
	b.want(b.do("GET", "/v2/stats/leader", ""), 403, `{"message":"not current leader"}`)
}

func TestAppendsAreCountedAndTheirRatesAreThoseOfTheRole(t *testing.T) {
	b := newBench(t)
	second := time.Now().Add(-5 * time.Second)
	b.node.stats.AppendsSent.Note(second, 20, 1000)
	b.node.stats.AppendsReceived.Note(second, 30, 5000)
	for leader, want := range map[uint64]string{
		testMember: `"recvAppendRequestCnt":30,"sendAppendRequestCnt":20,"sendPkgRate":2,"sendBandwidthRate":100}`,
		0xa:        `"recvAppendRequestCnt":30,"recvPkgRate":3,"recvBandwidthRate":500,"sendAppendRequestCnt":20}`,
	} {
		b.node.set(func() { b.node.leader = leader })
		if got := b.do("GET", "/v2/stats/self", "").Body.String(); !strings.HasSuffix(got, want) {
			t.Errorf("leader %x: %s, want …%s", leader, got, want)
		}
	}
}

func newLeaderless(t *testing.T) *bench {
	b := newBench(t)
	b.node.leader = raft.None
	return b
}

// surveyOf returns the members of an answer of /v2/stats/members.
func (b *bench) surveyOf() (members []struct {
	ID, Name  string
	Voter     bool
	Self      bool
	RoundTrip float64
	Status    *memberStatus
}) {
	b.t.Helper()
	w := b.do("GET", "/v2/stats/members", "")
	var shown struct{ Members json.RawMessage }
	if w.Code != 200 || json.Unmarshal(w.Body.Bytes(), &shown) != nil || json.Unmarshal(shown.Members,
		&members) != nil {
		b.t.Fatalf("%d %s", w.Code, w.Body)
	}
	return members
}

func TestASurveyShowsEveryMemberAndHowItIs(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Version = "2.4.0"
		c.Survey = func(_ context.Context, visit func(uint64, []byte, time.Duration)) {
			visit(0xa, []byte(`{"version":"2.4.1","leader":"b","term":7,"commitIndex":9,"appliedIndex":8,"reason":"no room"}`), 2*time.Millisecond)
			visit(0xb, []byte(`{"version":"2.`), time.Millisecond)
			visit(0xf, []byte(`{}`), time.Millisecond)
		}
	})
	b.node.members.Members = append(b.node.members.Members, raft.Member{ID: 0xa, Name: "a", Learner: true},
		raft.Member{ID: 0xb, Name: "b"})
	b.node.stats.Term.Store(3)
	b.node.stats.FsyncNanos.Store(int64(4 * time.Millisecond))
	b.do("PUT", "/v2/keys/k", "value=1")

	all := b.surveyOf()

	if len(all) != 3 || all[0].Name != "a" || all[1].Name != "b" || all[2].Name != "default" {
		t.Fatalf("%+v", all)
	}
	if a := all[0]; a.Voter || a.Self || a.RoundTrip != 0.002 || a.Status == nil || a.Status.Term != 7 ||
		a.Status.Reason != "no room" {
		t.Errorf("a: %+v %+v", a, a.Status)
	}
	if b := all[1]; b.Status != nil || !b.Voter {
		t.Errorf("a member whose answer is cut off: %+v", b)
	}
	own := all[2].Status
	if own == nil || !all[2].Self || own.Leader != "7fa0243da41856f2" || own.Term != 3 || own.Index != 1 ||
		own.Fsync != 0.004 || own.Version != "2.4.0" {
		t.Errorf("itself: %+v", own)
	}
}

func TestAStatusAsksNobodyWhoMayHang(t *testing.T) {
	node := newFakeNode(store.Limits{})
	b := newBench(t, func(c *Config) { c.Node, c.Store = hungNode{node}, node.store })
	if all := b.surveyOf(); len(all) != 1 || all[0].Status == nil {
		t.Errorf("%+v", all)
	}
}

func TestSurveysAtTheSameTimeAreOne(t *testing.T) {
	var asked atomic.Int32
	b := newBench(t, func(c *Config) {
		c.Survey = func(ctx context.Context, _ func(uint64, []byte, time.Duration)) { asked.Add(1) }
	})
	begun := time.Now()
	var looking sync.WaitGroup
	for range 50 {
		looking.Go(func() { b.surveyOf() })
	}
	looking.Wait()
	if n, most := asked.Load(), 1+int32(time.Since(begun)/surveyAge); n > most {
		t.Errorf("the members were asked %d times, more than %d", n, most)
	}
}

func TestAStatusFitsAFrame(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Dirs = []string{"/data"} })
	b.free = func(string) (uint64, error) { return 0, errorText(strings.Repeat("\x01", 3000)) }
	if said := b.Status(); len(said) > 2<<10 || !json.Valid(said) {
		t.Errorf("%d bytes: %s", len(said), said)
	}
}

type errorText string

func (e errorText) Error() string { return string(e) }
