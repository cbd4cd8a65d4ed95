package http

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"etcd2/raft"
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
