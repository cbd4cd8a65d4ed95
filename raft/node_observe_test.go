package raft

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestAMemberThatTheLeaderDoesNotHearIsToldSo(t *testing.T) {
	leader := newLeader(t, 3)
	answers := func(id uint64) {
		say(t, leader, Message{Kind: HeartbeatAnswer, From: id, Term: leader.term, Round: leader.lead.round})
	}
	unheard := func() (ids []uint64) {
		for _, m := range only(Heartbeat, pass(t, leader, leader.HeartbeatTicks)) {
			if m.Reject {
				ids = append(ids, m.To)
			}
		}
		return ids
	}
	for range leader.ElectionTicks {
		answers(2)
		pass(t, leader, 1)
	}
	answers(2)
	silent := unheard()
	answers(3)
	none := unheard()

	if len(silent) != 1 || silent[0] != 3 || len(none) != 0 {
		t.Errorf("unheard were %x, and then %x", silent, none)
	}
}

func TestAMemberIsInTouchWhileItHearsTheLeaderAndIsHeard(t *testing.T) {
	c := newMember(3, 1)
	beat := func(unheard bool) { say(t, c, Message{Kind: Heartbeat, From: 2, Term: 2, Round: 1, Reject: unheard}) }
	for i, step := range []struct {
		do   func()
		want bool
	}{
		{func() {}, false},
		{func() { beat(false) }, true},
		{func() { pass(t, c, 1) }, false},
		{func() { beat(true) }, false},
		{func() { beat(false) }, true},
		{func() { beat(true); say(t, c, Message{Kind: Append, From: 3, Term: 3, Index: 1, LogTerm: 1}) }, true},
		{func() { pass(t, c, 3*c.ElectionTicks) }, false},
	} {
		if step.do(); c.inTouch() != step.want {
			t.Errorf("step %d: in touch: %v", i, !step.want)
		}
	}
	if leader := newLeader(t, 3); !leader.inTouch() {
		t.Error("a leader is not in touch")
	}
}

func TestTheLogTellsOnceAMinuteThatAMemberIsOutOfTouch(t *testing.T) {
	var log bytes.Buffer
	n := &Node{Config: Config{Election: time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil))},
		epoch: time.Now(), loopState: loopState{core: newMember(3, 1)}}
	lines := func(text string) int { return strings.Count(log.String(), text) }
	hear := func() { n.core.step(Message{Kind: Heartbeat, From: 2, To: 1, Term: 2}) }
	hear()
	n.observeContact(n.epoch.Add(time.Second))
	touched := n.stats.InTouch.Load()
	n.core.tick()

	for s := 2; s <= 124; s++ {
		n.observeContact(n.epoch.Add(time.Duration(s) * time.Second))
	}

	if lines("out of touch with the cluster") != 3 || touched != n.epoch.Add(time.Second).UnixNano() ||
		n.stats.InTouch.Load() != touched {
		t.Errorf("at %d:\n%s", touched, &log)
	}
	hear()
	n.observeContact(n.epoch.Add(125 * time.Second))
	if lines("in touch with the leader again") != 1 || n.stats.InTouch.Load() == touched {
		t.Errorf("%s", &log)
	}
}
