package e2e

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The leader's quota counts, at whichever member a write arrives. Members with different quotas
// have the same tree all the same. pitfall J9, pitfall I8
func TestMembersWithDifferentQuotasHaveOneTree(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, quick...)
	quotas := map[*member]int{}
	for i, m := range c.members {
		quotas[m] = 100_000 * (i + 1)
		m.flags = append(m.flags, fmt.Sprint("--quota-bytes=", quotas[m]))
	}
	c.start(c.members...)
	small := url.Values{"value": {"s"}}
	for round := range 3 {
		leader := c.leader()
		fills(t, c, round)
		cost := leader.metric("etcd2_store_tree_bytes")
		if quota := float64(quotas[leader]); cost < quota || round == 0 && cost > quota+20_000 {
			t.Errorf("full at %v bytes, with a leader that allows %v", cost, quota)
		}
		if a := leader.get("/health"); a.status != 200 || !strings.Contains(a.body, "the tree is full") {
			t.Errorf("/health: %d %s", a.status, a.body)
		}
		leader.stop()
		leader.start()
	}
	if a := c.leader().do("PUT", "/v2/keys/fill/0-0", small); a.status != 200 {
		t.Errorf("a smaller value: %d %s", a.status, a.body)
	}
	if a := c.leader().do("DELETE", "/v2/keys/fill?recursive=true", nil); a.status != 200 {
		t.Errorf("delete: %d %s", a.status, a.body)
	}
	if a := c.leader().do("PUT", "/v2/keys/last", small); a.status != 201 {
		t.Errorf("after the delete: %d %s", a.status, a.body)
	}

	eventually(t, "a digest of the same entry at all members", patience, func() bool {
		c.allHaveApplied()
		entries, digests := map[string]bool{}, map[string]string{}
		for _, m := range c.members {
			digest := m.stateDigest()
			entry, _, _ := strings.Cut(digest, " has ")
			entries[entry], digests[digest] = true, m.name
		}
		same := len(entries) == 1 // an election adds an entry
		if same && len(digests) != 1 || digests[""] != "" {
			t.Fatalf("the trees differ: %v", digests)
		}
		return same
	})
}

// fills writes at each member in turn until a write is refused.
func fills(t *testing.T, c *cluster, round int) {
	t.Helper()
	large := url.Values{"value": {strings.Repeat("v", 5000)}}
	for i := range 200 {
		m := c.members[i%len(c.members)]
		switch a := m.do("PUT", fmt.Sprintf("/v2/keys/fill/%d-%d", round, i), large); {
		case a.status == 507 && strings.Contains(a.body, `"errorCode":215`):
			return
		case a.status != 201:
			t.Fatalf("write %d: %d %s", i, a.status, a.body)
		}
	}
	t.Fatal("nothing is refused")
}

// stateDigest returns the digest of the member's state, taken from a backup of it.
func (m *member) stateDigest() string {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "backup")
	if status, out := m.ctl("backup", "--from", m.url, file); status != 0 {
		m.t.Fatalf("backup: %s", out)
	}
	_, out := m.ctl("verify", file)
	return regexp.MustCompile(`entry \d+ has the digest \w+`).FindString(out)
}
