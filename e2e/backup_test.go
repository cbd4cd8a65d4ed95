package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"etcd2/discovery"
	"etcd2/e2e/pace"
	"etcd2/raft"
	"etcd2/store"
)

// restoreEnv makes a process of this test restore a backup, so that the process can be killed
// meanwhile. It holds the list of members; the arguments are the file, the token, and NAME=DIR for
// each member.
const restoreEnv = "E2E_RESTORE"

func init() {
	list := os.Getenv(restoreEnv)
	if list == "" {
		return
	}
	var places []raft.Place
	for _, arg := range os.Args[3:] {
		name, dir, _ := strings.Cut(arg, "=")
		places = append(places, raft.Place{Name: name, Dir: dir})
	}
	if _, err := restore(os.Args[1], list, os.Args[2], places); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// restore makes members' directories out of a backup.
func restore(file, list, token string, places []raft.Place) (raft.Snapshot, error) {
	m, err := discovery.Static(list, token)
	if err != nil {
		return raft.Snapshot{}, err
	}
	return raft.Restore(file, raft.RestoreOptions{Cluster: m, Places: places, SegmentBytes: 1 << 20})
}

// backUp saves a backup of a running member, and returns its file and the index that the member
// gave for it.
func (m *member) backUp() (file string, index uint64) {
	m.t.Helper()
	resp, err := client.Get(m.url + "/v2/backup")
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	file = filepath.Join(m.t.TempDir(), "backup")
	f, err := os.Create(file)
	if err == nil {
		_, err = io.Copy(f, resp.Body)
	}
	if err != nil || resp.StatusCode != http.StatusOK || f.Close() != nil {
		m.t.Fatalf("backup of %s: %v, %d", m.name, err, resp.StatusCode)
	}
	return file, answer{header: resp.Header}.index(m.t)
}

// verified returns the tree in a backup or in a data directory, and fails the test when anything in
// it is damaged.
func verified(t *testing.T, path string) *store.Store {
	t.Helper()
	tree := store.New(store.Limits{})
	r, err := raft.Verify(path, raft.VerifyOptions{State: func() raft.StateMachine { return tree }})
	if err != nil || len(r.Faults) > 0 {
		t.Fatalf("%v\n%s", err, &r)
	}
	return tree
}

// restoreTo restores a backup to all members of a cluster that has not started yet.
func (c *cluster) restoreTo(file string) {
	c.t.Helper()
	var places []raft.Place
	for _, m := range c.members {
		places = append(places, raft.Place{Name: m.name, Dir: m.data()})
	}
	if _, err := restore(file, c.founders(), c.t.Name(), places); err != nil {
		c.t.Fatal(err)
	}
}

// A backup is taken from each member while clients write. It holds every write acknowledged before,
// and each client's writes up to some moment. Three new members continue from it.
func TestABackupUnderLoadIsRestoredToThreeMembers(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	c.members[0].put("/_hidden/key", "seen by who knows it")
	lease := c.members[0].put("/lease", "held", "ttl", "600").index(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var acked [3]atomic.Int64
	var writers sync.WaitGroup
	for w := range acked {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("%s/v2/keys/w/%d/%d", c.members[w].url, w, i)
				if a, err := ask(ctx, "PUT", key, map[string][]string{"value": {"x"}}); err != nil ||
					a.status != http.StatusCreated {
					return
				}
				acked[w].Store(int64(i + 1))
			}
		})
	}
	var file string
	var index uint64
	for _, m := range c.members {
		eventually(t, "each client has written more", patience, func() bool {
			return min(acked[0].Load(), acked[1].Load(), acked[2].Load()) > int64(index/6)
		})
		before := [3]int64{acked[0].Load(), acked[1].Load(), acked[2].Load()}
		file, index = m.backUp()
		tree := verified(t, file)
		if tree.Index() != index {
			t.Errorf("%s: the tree is at %d, and the header said %d", m.name, tree.Index(), index)
		}
		for w, n := range before {
			held := keysIn(tree, fmt.Sprint("/w/", w))
			if _, err := tree.Get(fmt.Sprintf("/w/%d/%d", w, held-1)); held < n || err != nil {
				t.Errorf("%s: of client %d's %d keys there are %d, %v", m.name, w, n, held, err)
			}
		}
	}
	stop()
	writers.Wait()

	restored := newCluster(t, 3, quick...) // while the old cluster runs on
	restored.restoreTo(file)
	restored.start(restored.members...)

	for w, m := range restored.members {
		eventually(t, "it has caught up", patience,
			func() bool { return m.get("/v2/keys/?quorum=true").index(t) >= index })
		if a := m.get(fmt.Sprintf("/v2/keys/w/%d/0", w)); a.status != http.StatusOK {
			t.Errorf("%s: %s", m.name, a.body)
		}
		if a := m.get("/v2/keys/_hidden/key"); !strings.Contains(a.body, "seen by who knows it") {
			t.Errorf("%s: %s", m.name, a.body)
		}
		if a := m.get("/v2/keys/lease"); !hasAll(a.body, `"held"`, `"ttl":5`) && !strings.Contains(a.body,
			`"ttl":600`) {
			t.Errorf("%s: %s", m.name, a.body)
		}
		if a := m.get(fmt.Sprintf("/v2/keys/lease?wait=true&waitIndex=%d", lease)); !hasAll(a.body,
			fmt.Sprintf(`"modifiedIndex":%d`, lease)) {
			t.Errorf("%s: the event of %d is %s", m.name, lease, a.body)
		}
		if a := m.put("/after", m.name); a.index(t) <= index {
			t.Errorf("%s: the backup is at %d, and a write behind it at %d", m.name, index, a.index(t))
		}
	}
	if a := c.members[0].get("/v2/keys/after"); a.status != http.StatusNotFound {
		t.Errorf("the old cluster has %s", a.body)
	}
	for _, m := range restored.members {
		m.kill()
		verified(t, m.data())
	}
}

func keysIn(tree *store.Store, dir string) (n int64) {
	v, err := tree.Get(dir)
	if err != nil {
		return 0
	}
	for range v.Children(v.Node) {
		n++
	}
	return n
}

// A restore is killed at any moment. No directory then holds a part of a member that a server would
// start with.
func TestAKilledRestoreLeavesNothingThatStarts(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	m := startMember(t)
	for i := range 4 {
		m.put(fmt.Sprint("/k", i), strings.Repeat("x", 1<<20))
	}
	file, _ := m.backUp()
	m.stop()
	c := newCluster(t, 3)
	began := time.Now()
	c.restoreTo(file)
	whole := time.Since(began)
	seen := map[string]int{}
	for round := range 10 {
		args := []string{file, t.Name()}
		dir, err := os.MkdirTemp("", "e2e")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		for _, m := range c.members {
			args = append(args, m.name+"="+filepath.Join(dir, m.name))
		}
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), restoreEnv+"="+c.founders())
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(rand.Int64N(int64(whole * 3 / 2))))
		cmd.Process.Kill()
		cmd.Wait() // an error only says that it was killed
		for _, m := range c.members {
			data := filepath.Join(dir, m.name)
			there, err := raft.Exists(data, "")
			switch {
			case err != nil && !strings.Contains(err.Error(), "interrupted"):
				t.Errorf("round %d: %v", round, err)
			case err != nil:
				seen["refused"]++
			case there:
				verified(t, data)
				seen["whole"]++
			default:
				seen["nothing"]++
			}
		}
	}
	t.Log(seen)
	c.start(c.members...)
	if a := c.members[1].get("/v2/keys/k3"); len(a.body) < 1<<20 {
		t.Errorf("%.200s", a.body)
	}
}

func TestAnUnfinishedRestoreIsRefusedInOneLine(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	if err := os.MkdirAll(filepath.Join(m.data(), "member.unfinished"), 0o700); err != nil {
		t.Fatal(err)
	}
	if line := m.refused(); !hasAll(line, "interrupted", "member.unfinished") {
		t.Error(line)
	}
}

// As with `etcdctl backup` of etcd 2, the copy of a data directory, made while its member runs,
// starts as a cluster of its own.
func TestACopiedDirectoryStartsWithForceNewCluster(t *testing.T) {
	t.Parallel()
	m := startMember(t, "--snapshot-count=1")
	m.put("/a", "1")
	again := newMember(t)
	if _, err := raft.Backup(m.data(), "", again.data(), ""); err != nil {
		t.Fatal(err)
	}
	if line := again.refused(); !hasAll(line, "is a backup", "--force-new-cluster") {
		t.Error(line)
	}
	again.flags = []string{"--force-new-cluster"}
	again.start()
	if a := again.get("/v2/keys/a"); a.status != http.StatusOK || again.id() == m.id() {
		t.Errorf("%d %s", a.status, a.body)
	}
	again.stop()
	again.flags = nil
	again.start()
	again.put("/a", "2")
	if a := m.get("/v2/keys/a"); !strings.Contains(a.body, `"1"`) {
		t.Errorf("the original has %s", a.body)
	}
}
