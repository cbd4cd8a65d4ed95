package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"etcd2/e2e/pace"
)

// Patroni records in etcd which of several PostgreSQL servers is the primary. It uses etcd as
// serious programs do: it watches, it compares and swaps, and it depends on TTLs.
//
// Everything that can happen to it happens here: a member of etcd2 dies, the primary dies, the
// primary is changed by hand, all of etcd2 is down.
func TestPatroniKeepsOnePrimary(t *testing.T) {
	pace.NeedsLong(t)
	c := startCluster(t, 3, quick...)
	p := c.startPatroni(3)
	first := p.primary()
	p.expectStandbys(2)
	first.sql("create table rows (name text)")
	p.addRow("founded")

	t.Log("the leader of etcd2 dies")
	dead := c.leader()
	dead.kill()
	p.expectRenewals(3)
	if now := p.primary(); now != first {
		t.Errorf("%s is the primary and not %s, which has had no fault", now.name, first.name)
	}
	p.addRow("two members of three")

	t.Log("the primary dies, with two members of three")
	began := time.Now()
	first.kill()
	second := p.primary()
	t.Logf("%s follows %s after %v", second.name, first.name, time.Since(began))
	if second == first {
		t.Fatal("the dead is the primary")
	}
	p.addRow("failed over")
	first.start()
	dead.start()
	p.expectStandbys(2)

	t.Log("the primary is changed by hand, and the leader of etcd2 dies meanwhile")
	leader := c.leader()
	leader.kill()
	third := p.synchronous()
	p.switchover(second, third)
	if now := p.primary(); now != third {
		t.Errorf("%s is the primary, want %s", now.name, third.name)
	}
	p.addRow("switched over")

	t.Log("etcd2 has no majority")
	c.followers()[0].kill()
	eventually(t, "no primary", patience, func() bool { return len(p.primaries()) == 0 })
	eventually(t, "a database that refuses to write", patience, func() bool {
		out, _ := third.psql("select pg_is_in_recovery()")
		return out == "t"
	})
	leader.start()
	p.addRow("back")
}

// A patroni is some nodes of Patroni, each with its PostgreSQL.
type patroni struct {
	c     *cluster
	nodes []*patroniNode
	rows  []string // the rows that were committed
}

// A patroniNode is one process of Patroni and the PostgreSQL that it runs.
type patroniNode struct {
	t                    *testing.T
	name, dir, api, port string
	log                  *logLines
	cmd                  *exec.Cmd
	ended                chan struct{}
}

// startPatroni starts n nodes on a cluster.
func (c *cluster) startPatroni(n int) *patroni {
	c.t.Helper()
	debians(c.t, "patroni")
	debians(c.t, "patronictl")
	if postgresBin() == "" {
		c.t.Skip("this machine has no PostgreSQL")
	}
	p := &patroni{c: c}
	for i := range n {
		p.nodes = append(p.nodes, c.newPatroniNode(fmt.Sprint("p", i)))
	}
	for _, node := range p.nodes {
		node.start()
	}
	return p
}

// postgresBin returns the directory of the newest PostgreSQL's programs; "" when there is none.
func postgresBin() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return ""
	}
	return filepath.Dir(slices.Max(found))
}

// unprivileged returns the user that runs PostgreSQL, which refuses root; nil for the present user.
func unprivileged(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Skip("there is no user for PostgreSQL: ", err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func (c *cluster) newPatroniNode(name string) *patroniNode {
	t := c.t
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "e2e") // a directory that another user can enter
	if err != nil {
		t.Fatal(err)
	}
	n := &patroniNode{t: t, name: name, dir: dir, log: newLogLines(), api: freeURL(), port: portOf(freeURL())}
	t.Cleanup(n.cleanUp)
	var hosts []string
	for _, m := range c.members {
		hosts = append(hosts, strings.TrimPrefix(m.url, "http://"))
	}
	n.configure(hosts)
	if who := unprivileged(t); who != nil {
		for _, path := range []string{n.dir, n.config()} {
			if err := os.Chown(path, int(who.Uid), int(who.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}

func portOf(u string) string { return u[strings.LastIndex(u, ":")+1:] }

func (n *patroniNode) data() string   { return filepath.Join(n.dir, "data") }
func (n *patroniNode) config() string { return filepath.Join(n.dir, "patroni.yml") }

// configure writes the configuration.
func (n *patroniNode) configure(etcd []string) {
	n.t.Helper()
	f, err := os.Create(n.config())
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	err = template.Must(template.ParseFiles("testdata/patroni.yml")).Execute(f, map[string]any{
		"Name": n.name, "Dir": n.dir, "Data": n.data(), "Bin": postgresBin(), "Etcd": etcd,
		"API": strings.TrimPrefix(n.api, "http://"), "SQL": "127.0.0.1:" + n.port,
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// command is a program that runs as the user of PostgreSQL, and dies with the test.
func (n *patroniNode) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = n.dir
	cmd.Env = append(os.Environ(), "HOME="+n.dir, "LC_ALL=C.UTF-8")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: unprivileged(n.t), Pdeathsig: syscall.SIGKILL}
	return cmd
}

// start starts the process and does not wait for anything.
func (n *patroniNode) start() {
	n.t.Helper()
	cmd := n.command(context.Background(), "patroni", n.config())
	cmd.Stdout, cmd.Stderr = n.log, n.log
	cmd.WaitDelay = patience // PostgreSQL has the same output, and ends later
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	ended := make(chan struct{})
	n.cmd, n.ended = cmd, ended
	go func() {
		cmd.Wait() // its status does not matter
		close(ended)
	}()
}

// kill ends Patroni and PostgreSQL as a power cut would.
func (n *patroniNode) kill() {
	if n.cmd == nil {
		return
	}
	n.cmd.Process.Kill()
	n.signalDatabase(syscall.SIGKILL)
	<-n.ended
}

// signalDatabase signals PostgreSQL, which is no child of the test, and reports whether it was
// running. When its first process is gone, the others end by themselves.
func (n *patroniNode) signalDatabase(s syscall.Signal) bool {
	b, err := os.ReadFile(filepath.Join(n.data(), "postmaster.pid"))
	if err != nil {
		return false
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(first)
	return err == nil && pid > 1 && syscall.Kill(pid, s) == nil
}

// cleanUp ends Patroni, and then PostgreSQL in a way that leaves no shared memory behind.
func (n *patroniNode) cleanUp() {
	if n.t.Failed() {
		n.t.Logf("the last lines of the log of %s:\n%s", n.name, n.log.tail(60))
	}
	if n.cmd != nil {
		n.cmd.Process.Kill()
		n.signalDatabase(syscall.SIGQUIT)
		<-n.ended
		eventually(n.t, "the end of PostgreSQL", patience, func() bool { return !n.signalDatabase(0) })
	}
	os.RemoveAll(n.dir)
}

// psql runs one statement, and returns what it prints.
func (n *patroniNode) psql(statement string) (string, error) {
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	cmd := n.command(ctx, filepath.Join(postgresBin(), "psql"), "-h", "127.0.0.1", "-p", n.port, "-U", "postgres",
		"-XAtqc", statement)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// sql is psql for a statement that must succeed.
func (n *patroniNode) sql(statement string) string {
	n.t.Helper()
	out, err := n.psql(statement)
	if err != nil {
		n.t.Fatalf("%s at %s: %v: %s", statement, n.name, err, out)
	}
	return out
}

// is reports whether a node says that it has a role.
func (n *patroniNode) is(role string) bool {
	ctx, cancel := context.WithTimeout(n.t.Context(), shortly)
	defer cancel()
	a, err := ask(ctx, "GET", n.api+"/"+role, nil)
	return err == nil && a.status == 200
}

// primaries returns the nodes that take themselves for the primary.
func (p *patroni) primaries() (list []*patroniNode) {
	for _, n := range p.nodes {
		if n.is("primary") {
			list = append(list, n)
		}
	}
	return list
}

// primary waits until there is exactly one primary, and etcd2 names it too.
func (p *patroni) primary() (primary *patroniNode) {
	p.c.t.Helper()
	eventually(p.c.t, "a primary", 2*patience, func() bool {
		list := p.primaries()
		if len(list) > 1 { // perhaps one after the other
			list = p.primaries()
		}
		if len(list) > 1 {
			p.c.t.Errorf("%s and %s are primary", list[0].name, list[1].name)
		}
		if len(list) == 0 || p.key("leader").Value != list[0].name {
			return false
		}
		primary = list[0]
		return true
	})
	return primary
}

// synchronous waits for a standby that has everything that was committed, and returns it.
func (p *patroni) synchronous() (standby *patroniNode) {
	p.c.t.Helper()
	eventually(p.c.t, "a synchronous standby", patience, func() bool {
		for _, n := range p.nodes {
			if n.is("sync") && strings.Contains(p.key("sync").Value, `"sync_standby":"`+n.name+`"`) {
				standby = n
			}
		}
		return standby != nil
	})
	return standby
}

// expectStandbys waits until want nodes follow the primary, one of them synchronously.
func (p *patroni) expectStandbys(want int) {
	p.c.t.Helper()
	primary := p.primary()
	eventually(p.c.t, "the standbys", 2*patience, func() bool {
		out, _ := primary.psql("select count(*) from pg_stat_replication where state = 'streaming'")
		return out == strconv.Itoa(want)
	})
	p.synchronous()
}

// key returns one of Patroni's keys, as a running member of etcd2 has it.
func (p *patroni) key(name string) node {
	for _, m := range p.c.running() {
		a, err := m.attempt("GET", "/v2/keys/service/shop/"+name, nil)
		var e event
		if err == nil && a.status == 200 && json.Unmarshal([]byte(a.body), &e) == nil {
			return e.Node
		}
	}
	return node{}
}

// expectRenewals waits until the primary has renewed its key a number of times.
func (p *patroni) expectRenewals(want int) {
	p.c.t.Helper()
	seen := map[uint64]bool{p.key("leader").ModifiedIndex: true}
	eventually(p.c.t, "the primary renews its key", patience, func() bool {
		seen[p.key("leader").ModifiedIndex] = true
		return len(seen) > want
	})
}

// addRow commits a row at the primary, which must have all rows committed before.
func (p *patroni) addRow(name string) {
	t := p.c.t
	t.Helper()
	primary := p.primary()
	eventually(t, "a row: "+name, patience, func() bool {
		_, err := primary.psql("insert into rows values ('" + name + "')")
		if err != nil {
			primary = p.primary() // a node calls itself primary a little before it accepts writes
		}
		return err == nil
	})
	p.rows = append(p.rows, name)
	if got := primary.sql("select string_agg(name, ',') from rows"); got != strings.Join(p.rows, ",") {
		t.Errorf("%s has the rows %s, want %s", primary.name, got, p.rows)
	}
}

// switchover has patronictl make another node the primary.
func (p *patroni) switchover(from, to *patroniNode) {
	t := p.c.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	out, err := from.command(ctx, "patronictl", "-c", from.config(), "switchover", "--master", from.name,
		"--candidate", to.name, "--force").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Successfully switched over") {
		t.Errorf("patronictl: %v\n%s", err, out)
	}
}
