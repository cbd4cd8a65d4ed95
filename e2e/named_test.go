package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"etcd2/e2e/pace"
)

// More requests than the server remembers answers for are sent at full speed, and right afterwards
// all of them once more. TestWhatFellOutOfTheWindowIsNotExecutedAgain shows the same with a small
// window. pitfall L8
func TestNoNamedRequestIsDoneTwice(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	const requests, clients = 10_500, 64
	m := startMember(t)
	post := func(i int) int {
		req, err := http.NewRequestWithContext(t.Context(), "POST", m.url+"/v2/keys/q", strings.NewReader("value=v"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("X-Etcd-Request-Id", fmt.Sprint(i))
		a, err := send(req)
		if err != nil {
			t.Error(err)
		}
		return a.status
	}
	all := func() (statuses [requests]int) {
		var group sync.WaitGroup
		for c := range clients {
			group.Go(func() {
				for i := c; i < requests; i += clients {
					statuses[i] = post(i)
				}
			})
		}
		group.Wait()
		return statuses
	}

	before := m.get("/v2/keys/").index(t)
	first := all()
	again := all()

	told := map[int]int{}
	for i := range requests {
		told[again[i]]++
		if first[i] != http.StatusCreated || again[i] != http.StatusCreated && again[i] != http.StatusGone {
			t.Fatalf("request %d: status %d, and then %d", i, first[i], again[i])
		}
	}
	if done := m.get("/v2/keys/q").index(t) - before; done != requests {
		t.Errorf("%d requests were done, and %d of them a second time", requests, done-requests)
	}
	t.Logf("answered again as the first time: %d; as done before: %d", told[http.StatusCreated], told[http.StatusGone])
}
