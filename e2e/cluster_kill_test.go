package e2e

import (
	"testing"
)

func TestKillsLoseNothingAcknowledged(t *testing.T) {
	c := startCluster(t, 3, quick...)
	l := c.traffic(6)
	l.flows(300)
	for i := range 3 {
		l.flows(50)
		m := c.leader()
		if i == 1 {
			m = c.followers()[0]
		}
		m.kill()
		l.flows(50)
		m.start()
		t.Log(i, l.longestGap())
	}
	l.check()
	t.Log(len(l.acked), l.retried, len(l.failed))
}
