package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// lateness is how long after its time a key may still be there. An expiry is an entry of the log,
// so it may take as long as a write.
const lateness = 50 * time.Millisecond

// pitfall I1
func TestKeysExpireNeverEarlyAndHardlyLateUnderLoad(t *testing.T) {
	bounded := measured(t)
	m := startMember(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go newLoad(m).run(ctx, 4)

	calmly(t, func() (wrong string) {
		stop := m.probeWrites()
		late := expiries(t, m, 40)
		slowest := stop()
		if late[0] < 0 {
			t.Fatalf("a key expired %v early", -late[0])
		}
		if bounded && late[len(late)-1] > max(lateness, 2*slowest) {
			wrong = fmt.Sprintf("keys expired up to %v late (median %v), and no write took more than %v",
				late[len(late)-1], late[len(late)/2], slowest)
		}
		return wrong
	})
}

// expiries sets keys that live for a second, and returns how late each expired, in ascending order.
func expiries(t *testing.T, m *member, keys int) (late []time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	events := stream(t, ctx, m.url+"/v2/keys/ttl?wait=true&stream=true&recursive=true")
	due := map[string]time.Time{}
	for i := range keys {
		key := fmt.Sprint("/ttl/k", i)
		before := time.Now()
		m.put(key, "v", "ttl", "1")
		due[key] = before.Add(time.Second)
		<-time.After(5 * time.Millisecond)
	}
	for e := range events {
		if e.Action == "expire" {
			late = append(late, time.Since(due[e.Node.Key]))
		}
		if len(late) == keys {
			slices.Sort(late)
			return late
		}
	}
	t.Fatalf("only %d of %d keys expired", len(late), keys)
	return nil
}

// stream delivers the events of a watch until the watch or the context ends.
func stream(t *testing.T, ctx context.Context, target string) <-chan event {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", target, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan event, 1024)
	go func() {
		defer resp.Body.Close()
		defer close(events)
		decoder := json.NewDecoder(bufio.NewReader(resp.Body))
		for {
			var e event
			if decoder.Decode(&e) != nil {
				return
			}
			events <- e
		}
	}()
	return events
}

func TestKeysExpireAlthoughNobodyWrites(t *testing.T) {
	bounded := measured(t)
	m := startMember(t)
	calmly(t, func() (wrong string) {
		late := expiries(t, m, 1)[0]

		if late < 0 {
			t.Errorf("the key expired %v early", -late)
		}
		if a := m.get("/v2/keys/ttl/k0"); a.status != 404 {
			t.Errorf("after its expiry: %d %s", a.status, a.body)
		}
		if bounded && late > 2*lateness {
			wrong = fmt.Sprintf("the key expired %v late", late)
		}
		return wrong
	})
}

func TestAnIdleServerWritesAndSaysNothing(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	m.put("/k", "v")
	lines, bytes := m.log.count(), m.bytesWritten()

	<-time.After(3 * time.Second)

	if now := m.bytesWritten(); now != bytes {
		t.Errorf("it wrote %d bytes while nothing happened", now-bytes)
	}
	if said := m.log.since(lines); len(said) > 0 {
		t.Errorf("it said, while nothing happened: %q", said)
	}
}

// bytesWritten returns how many bytes the process has sent to the disk so far.
func (m *member) bytesWritten() (n int64) {
	m.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", m.cmd.Process.Pid))
	if err != nil {
		m.t.Skip("this system does not count a process's writes:", err)
	}
	_, after, found := strings.Cut(string(b), "\nwrite_bytes: ")
	if _, err := fmt.Sscan(after, &n); err != nil || !found {
		m.t.Fatalf("no write_bytes in %q", b)
	}
	return n
}

// Every member shows the same expiration of a key in every answer, also after a restart and under
// another leader. pitfall L9
func TestEveryMemberShowsTheSameExpiration(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, append(quick, "--snapshot-count=5")...)
	for i := range 10 {
		c.members[i%3].put(fmt.Sprintf("/k%d", i), "", "ttl", "1000")
	}
	told := c.members[0].get("/v2/keys/k9?wait=true&waitIndex=1").body
	shown := regexp.MustCompile(`"expiration":"[^"]+"`)
	list := func(m *member) string { return fmt.Sprint(shown.FindAllString(m.get("/v2/keys/").body, -1)) }
	c.allHaveApplied()
	want := list(c.members[0])
	if strings.Count(want, "expiration") != 10 || !strings.Contains(want, shown.FindString(told)) {
		t.Fatalf("listed %s, told %s", want, told)
	}
	same := func(when string) {
		t.Helper()
		for _, m := range c.members {
			if got := list(m); got != want {
				t.Errorf("%s, %s shows\n%s\nand not\n%s", when, m.name, got, want)
			}
		}
	}

	same("at first")
	leader := c.leader()
	leader.stop()
	c.start(leader)
	leader.serves()
	c.allHaveApplied()
	same("after a restart of the leader")
	c.members[0].put("/other", "")
	c.allHaveApplied()
	same("after a write")

	end, err := time.Parse(`"expiration":"`+time.RFC3339Nano+`"`, shown.FindString(want))
	if left := time.Until(end); err != nil || left < 900*time.Second || left > 1001*time.Second {
		t.Errorf("the end is in %v: %v", left, err)
	}
}
