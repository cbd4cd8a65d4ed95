package http

import (
	"strings"
	"testing"

	"etcd2/raft"
)

func TestStoreStatsAreInOrder(t *testing.T) {
	b := newBench(t)
	b.do("PUT", "/v2/keys/k", "value=1")
	b.do("GET", "/v2/keys/k", "")
	b.do("GET", "/v2/keys/none", "")
	b.want(b.do("GET", "/v2/stats/store", ""), 200, `{"getsSuccess":1,"getsFail":1,"setsSuccess":1,"setsFail":0,"deleteSuccess":0,"deleteFail":0,`+
		`"updateSuccess":0,"updateFail":0,"createSuccess":0,"createFail":0,"compareAndSwapSuccess":0,"compareAndSwapFail":0,`+
		`"compareAndDeleteSuccess":0,"compareAndDeleteFail":0,"expireCount":0,"watchers":0}`)
}

func TestSelfStatsRememberTheLastLeader(t *testing.T) {
	b := newBench(t)
	leader := func() any {
		return decode(t, b.do("GET", "/v2/stats/self", "").Body.String())["leaderInfo"].(map[string]any)["leader"]
	}
	body := b.do("GET", "/v2/stats/self", "").Body.String()
	if !strings.HasPrefix(body, `{"name":"default","id":"7fa0243da41856f2","state":"StateLeader","startTime":"`) || !strings.HasSuffix(body, `"recvAppendRequestCnt":0,"sendAppendRequestCnt":0}`) {
		t.Errorf("%s", body)
	}
	b.want(b.do("GET", "/v2/stats/leader", ""), 200, `{"leader":"7fa0243da41856f2","followers":{}}`)
	b.node.set(func() { b.node.leader = raft.None })
	if got := leader(); got != "7fa0243da41856f2" {
		t.Errorf("without a leader: %v", got)
	}
	b.want(b.do("GET", "/v2/stats/leader", ""), 403, `{"message":"not current leader"}`)
	if got := newLeaderless(t).do("GET", "/v2/stats/self", ""); decode(t, got.Body.String())["leaderInfo"].(map[string]any)["leader"] != "" {
		t.Errorf("before any leader: %s", got.Body)
	}
}

func newLeaderless(t *testing.T) *bench {
	b := newBench(t)
	b.node.leader = raft.None
	return b
}
