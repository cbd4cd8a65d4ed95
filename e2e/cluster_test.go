package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// The timing of clusters in tests that do not depend on the default timing.
const (
	heartbeat = 50 * time.Millisecond
	election  = 500 * time.Millisecond
)

// quick are the flags for this timing.
var quick = []string{
	"--heartbeat-interval=" + strconv.Itoa(int(heartbeat.Milliseconds())),
	"--election-timeout=" + strconv.Itoa(int(election.Milliseconds())),
}

// A cluster is some members and the network between them.
type cluster struct {
	t       *testing.T
	network *network
	members []*member // without those that were removed
	flags   []string
	made    int // members, so far
}

// newCluster prepares n members that found a cluster.
func newCluster(t *testing.T, n int, flags ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, network: newNetwork(t), flags: append([]string{"--initial-cluster-token=" + t.Name()},
		flags...)}
	for range n {
		c.members = append(c.members, c.newMember())
	}
	for _, m := range c.members {
		m.founded = c.founders()
	}
	return c
}

// newMember prepares a member that is in no member list yet.
func (c *cluster) newMember() *member {
	c.t.Helper()
	m := newMember(c.t, c.flags...)
	m.name = fmt.Sprint("m", c.made)
	c.made++
	c.network.join(m)
	return m
}

// founders is the --initial-cluster of the cluster's members.
func (c *cluster) founders() string {
	var pairs []string
	for _, m := range c.members {
		pairs = append(pairs, m.name+"="+m.reached)
	}
	return strings.Join(pairs, ",")
}

// startCluster returns a cluster of n members that has a leader.
func startCluster(t *testing.T, n int, flags ...string) *cluster {
	t.Helper()
	c := newCluster(t, n, flags...)
	c.start(c.members...)
	return c
}

// start starts members at the same time, and waits until all are ready and agree on a leader.
func (c *cluster) start(members ...*member) {
	c.t.Helper()
	for _, m := range members {
		m.launch()
	}
	for _, m := range members {
		m.ready()
	}
	c.leader()
}

// A standing is what a member answers about itself.
type standing struct {
	ID, State  string
	LeaderInfo struct{ Leader string }
}

// shortly is how long a test waits for an answer that may not come.
const shortly = time.Second

// standing asks a member; it may be down, or cut off.
func (m *member) standing() (s standing, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), shortly)
	defer cancel()
	a, err := ask(ctx, "GET", m.url+"/v2/stats/self", nil)
	if err == nil {
		err = json.Unmarshal([]byte(a.body), &s)
	}
	return s, err
}

// id is the member's id, in hex.
func (m *member) id() (id string) {
	m.t.Helper()
	eventually(m.t, "the id of member "+m.name, patience, func() bool {
		s, err := m.standing()
		id = s.ID
		return err == nil
	})
	return id
}

// runs reports whether the member's process is running.
func (m *member) runs() bool {
	if m.cmd == nil {
		return false
	}
	select {
	case <-m.ended:
		return false
	default:
		return true
	}
}

func (c *cluster) running() (list []*member) {
	for _, m := range c.members {
		if m.runs() {
			list = append(list, m)
		}
	}
	return list
}

// leader waits until all that run agree on a leader, and returns it.
func (c *cluster) leader() *member { c.t.Helper(); return c.leaderOf(c.running()...) }

// leaderOf waits until some members agree that one of them leads, and returns it.
func (c *cluster) leaderOf(members ...*member) (leader *member) {
	c.t.Helper()
	eventually(c.t, "a leader that all know", patience, func() bool {
		leader = agreed(members)
		return leader != nil
	})
	return leader
}

// agreed returns the member that all take for the leader, itself included; nil when there is none.
func agreed(members []*member) (leader *member) {
	leads := ""
	for _, m := range members {
		s, err := m.standing()
		named := s.LeaderInfo.Leader
		if err != nil || named == "" || leads != "" && named != leads {
			return nil
		}
		leads = named
		if s.State == "StateLeader" && s.ID == named {
			leader = m
		}
	}
	return leader
}

// allHaveApplied waits until each running member has applied everything that is committed now.
func (c *cluster) allHaveApplied() {
	c.t.Helper()
	now := c.leader().get("/v2/keys/?quorum=true").index(c.t)
	for _, m := range c.running() {
		if a := m.get(fmt.Sprint("/v2/keys/?minIndex=", now)); a.status != 200 {
			c.t.Fatalf("member %s has not applied %d: %d %s", m.name, now, a.status, a.body)
		}
	}
}

// followers returns the running members except the leader.
func (c *cluster) followers() []*member { c.t.Helper(); return without(c.running(), c.leader()) }

// term returns the latest term that the running members know.
func (c *cluster) term() (latest uint64) {
	c.t.Helper()
	for _, m := range c.running() {
		latest = max(latest, m.term())
	}
	return latest
}

// term returns the term of a member; 0 when it does not answer.
func (m *member) term() (term uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), shortly)
	defer cancel()
	if a, err := ask(ctx, "GET", m.url+"/v2/keys/", nil); err == nil {
		term, _ = strconv.ParseUint(a.header.Get("X-Raft-Term"), 10, 64)
	}
	return term
}

// A listed member is one in a member's list.
type listed struct {
	ID, Name   string
	PeerURLs   []string
	ClientURLs []string
}

// list returns the member list as a member knows it.
func (m *member) list() []listed {
	m.t.Helper()
	var l struct{ Members []listed }
	a := m.get("/v2/members")
	if err := json.Unmarshal([]byte(a.body), &l); err != nil {
		m.t.Fatalf("%v: %d %s", err, a.status, a.body)
	}
	return l.Members
}

// askMembers sends a member one request about members, with a body in JSON.
func (m *member) askMembers(method, path, body string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, m.url+"/v2/members"+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	return send(req)
}

// insist repeats a change of the membership until a member answers that it is made, or was made
// before. It is refused while another change is under way, and an answer may be lost.
func (c *cluster) insist(method, path, body string, made ...int) {
	c.t.Helper()
	eventually(c.t, method+" /v2/members"+path+" "+body, patience, func() bool {
		return slices.ContainsFunc(c.running(), func(m *member) bool {
			a, err := m.askMembers(method, path, body)
			return err == nil && slices.Contains(made, a.status)
		})
	})
}

// addURL adds a member with a peer URL, and returns its id.
func (c *cluster) addURL(peer string) (id string) {
	c.t.Helper()
	c.insist("POST", "", fmt.Sprintf(`{"peerURLs":[%q]}`, peer), http.StatusCreated, http.StatusConflict)
	eventually(c.t, "it is listed", patience, func() bool {
		for _, l := range c.leader().list() {
			if slices.Contains(l.PeerURLs, peer) {
				id = l.ID
			}
		}
		return id != ""
	})
	return id
}

// removeID removes a member.
func (c *cluster) removeID(id string) {
	c.t.Helper()
	c.insist("DELETE", "/"+id, "", http.StatusNoContent, http.StatusGone)
}

// add makes a new member part of the cluster, and starts it.
func (c *cluster) add() *member {
	c.t.Helper()
	m := c.newMember()
	c.addURL(m.reached)
	c.members = append(c.members, m)
	m.founded = c.founders()
	m.flags = append(m.flags, "--initial-cluster-state=existing")
	m.start()
	return m
}

// remove removes a member from the cluster; its process may keep running.
func (c *cluster) remove(m *member) {
	c.t.Helper()
	id := m.id()
	c.members = without(c.members, m)
	c.removeID(id)
}

// wipe deletes the data of a member that is not running.
func (m *member) wipe() {
	m.t.Helper()
	if err := os.RemoveAll(m.data()); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) pause()  { m.signal(syscall.SIGSTOP) }
func (m *member) resume() { m.signal(syscall.SIGCONT) }

// attempt sends a request that may not be answered.
func (m *member) attempt(method, path string, form url.Values) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), shortly)
	defer cancel()
	return ask(ctx, method, m.url+path, form)
}

// serves waits until a member acknowledges writes.
func (m *member) serves() {
	m.t.Helper()
	eventually(m.t, "a write at "+m.name, patience, func() bool {
		a, err := m.attempt("PUT", "/v2/keys/serves", url.Values{"value": {m.name}})
		return err == nil && a.status <= 201
	})
}

// A traffic is clients that write keys, each a new one, at any running member, while these may
// fail. A write that fails is tried once more at another member.
type traffic struct {
	c      *cluster
	wait   time.Duration // for an answer
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex // protects what follows
	targets []*member
	next    int
	sent    map[string]string // key → value
	acked   map[string]uint64 // key → modifiedIndex; 0 when tried twice
	last    time.Time         // of the last acknowledgement
	gap     time.Duration     // the longest time between two acknowledgements
	retried int
	failed  []string // both times
}

// traffic starts clients that write. Without -long they pause between writes, and leave the machine
// some time for the tests that run beside them.
func (c *cluster) traffic(clients int) *traffic { return c.trafficThatWaits(shortly, clients) }

func (c *cluster) trafficThatWaits(wait time.Duration, clients int) *traffic {
	every := 10 * time.Millisecond
	if pace.Long() {
		every = time.Nanosecond
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &traffic{c: c, wait: wait, cancel: cancel, targets: c.running(), sent: map[string]string{},
		acked: map[string]uint64{}, last: time.Now()}
	c.t.Cleanup(l.stop)
	for i := range clients {
		l.done.Go(func() {
			for n, tick := i, time.Tick(every); ctx.Err() == nil; n++ {
				l.write(n)
				<-tick
			}
		})
	}
	return l
}

// stop ends the clients, each after its present write.
func (l *traffic) stop() {
	l.cancel()
	l.done.Wait()
}

// aim sets the members that the clients use from now on.
func (l *traffic) aim(members []*member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.targets = members
}

func (l *traffic) target(n int) *member {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.targets[n%len(l.targets)]
}

func (l *traffic) write(n int) {
	l.mu.Lock()
	l.next++
	key, value := fmt.Sprintf("/load/%06d", l.next), fmt.Sprint(l.next)
	l.sent[key] = value
	l.mu.Unlock()
	index, err := putWithin(l.wait, l.target(n), key, value)
	again := err != nil
	if again {
		first := err
		index = 0
		if _, err = putWithin(l.wait, l.target(n+1), key, value); err != nil {
			err = fmt.Errorf("%s: %w; %w", key, first, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if again {
		l.retried++
	}
	if err != nil {
		l.failed = append(l.failed, err.Error())
		return
	}
	now := time.Now()
	l.acked[key] = index
	l.gap, l.last = max(l.gap, now.Sub(l.last)), now
}

// putAt writes a new key, and returns its index.
func putAt(m *member, key, value string) (uint64, error) { return putWithin(shortly, m, key, value) }

func putWithin(wait time.Duration, m *member, key, value string) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	a, err := ask(ctx, "PUT", m.url+"/v2/keys"+key, url.Values{"value": {value}})
	if err != nil {
		return 0, fmt.Errorf("at %s: %w", m.name, err)
	}
	if a.status > 201 {
		return 0, fmt.Errorf("at %s: %d %s", m.name, a.status, a.body)
	}
	var e event
	return e.Node.ModifiedIndex, errors.Join(json.Unmarshal([]byte(a.body), &e))
}

// acknowledged returns the number of acknowledged writes.
func (l *traffic) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// flows waits until a number of further writes are acknowledged.
func (l *traffic) flows(more int) {
	l.c.t.Helper()
	want := l.acknowledged() + more
	eventually(l.c.t, fmt.Sprint(more, " more writes"), patience, func() bool { return l.acknowledged() >= want })
}

// longestGap returns the longest time without an acknowledgement since its last call.
func (l *traffic) longestGap() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	gap := max(l.gap, time.Since(l.last))
	l.gap, l.last = 0, time.Now()
	return gap
}

// report logs the clients' results; it is called after check.
func (l *traffic) report() {
	l.c.t.Helper()
	l.c.t.Logf("%d writes acknowledged, %d tried twice, %d in vain", len(l.acked), l.retried, len(l.failed))
}

// check stops the clients, and compares every running member with the acknowledged writes.
func (l *traffic) check() {
	t := l.c.t
	t.Helper()
	l.stop()
	for _, m := range l.c.running() {
		present := map[string]node{}
		for _, n := range decode(t, m.get("/v2/keys/load?quorum=true")).Node.Nodes {
			present[n.Key] = n
		}
		lost := 0
		for key, index := range l.acked {
			n := present[key]
			if n.Value != l.sent[key] || index != 0 && n.ModifiedIndex != index {
				if lost++; lost < 5 {
					t.Errorf("%s was acknowledged at %d, and is now, at %s, %+v", key, index, m.name, n)
				}
			}
		}
		if lost > 0 {
			t.Errorf("%s has lost %d of %d acknowledged writes", m.name, lost, len(l.acked))
		}
		for key, n := range present {
			if n.Value != l.sent[key] {
				t.Errorf("%s=%s was never sent", key, n.Value)
			}
		}
	}
}

// calmly repeats a round until the round finds nothing wrong, at most six times. Other programs may
// use this machine and delay a member by an election timeout.
func calmly(t *testing.T, round func() (wrong string)) {
	t.Helper()
	wrong := ""
	for range 6 {
		if wrong = round(); wrong == "" {
			return
		}
		t.Log(wrong)
	}
	t.Error("six times out of six: ", wrong)
}
