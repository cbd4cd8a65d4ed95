package http

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"etcd2/raft"
	"etcd2/store"
)

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
