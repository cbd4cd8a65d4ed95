package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"etcd2/e2e/pace"
)

// ctlLine is a command line of etcd2 ctl for this member, with longer timeouts than the defaults:
// on a busy machine an answer may take more than a second.
func (m *member) ctlLine(args ...string) []string {
	return append([]string{"ctl", "--endpoints", m.url, "--timeout", (patience / 2).String(),
		"--total-timeout", patience.String()}, args...)
}

// ctl runs the binary as etcd2 ctl, and returns its exit status and all its output.
func (m *member) ctl(args ...string) (status int, output string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, m.ctlLine(args...)...)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(b)
}

func TestDoctorNamesTheMemberThatIsDown(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	eventually(t, "doctor finds nothing", patience, func() bool {
		status, out := c.members[0].ctl("doctor")
		return status == 0 && strings.Contains(out, "all is well: nothing wrong")
	})
	down := without(c.members, c.leader())[0]
	id := down.id()
	down.kill()

	status, out := c.leader().ctl("doctor")

	if status != 5 || !hasAll(out, "WRONG: member "+id+" ("+down.name+") does not answer at "+down.url,
		"connection refused", "start the member", "not all is well") {
		t.Errorf("status %d:\n%s", status, out)
	}
}

// A member that catches up over a slow link has no vote for some time.
func TestAMemberWithoutAVoteIsShownAsOne(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	c := startCluster(t, 3, quick...)
	leader, follower := c.leader(), c.followers()[0]
	for i := range 8 {
		leader.put(fmt.Sprint("/big/", i), strings.Repeat("x", 1<<20))
	}
	fresh := c.newMember()
	id := c.addURL(fresh.reached)
	if status, out := follower.ctl("doctor"); status != 5 ||
		!hasAll(out, "WRONG: member "+id+" has a place in the cluster, and no member has heard from it",
			"note: 1 of the members have no vote yet: the leader has not heard from them") {
		t.Errorf("before it is started: status %d:\n%s", status, out)
	}
	c.members = append(c.members, fresh)
	fresh.founded, fresh.flags = c.founders(), append(fresh.flags, "--initial-cluster-state=existing")
	for _, l := range c.network.around(fresh) {
		l.slow(256 << 10) // it takes half a minute, or until the network heals
	}
	fresh.launch()

	eventually(t, "the leader shows it", patience,
		func() bool { return strings.Contains(leader.get("/v2/members").body, `"learner":true,"behind":`) })
	status, out := follower.ctl("--no-sync", "member", "list")
	if status != 0 || !hasAll(out, id, " hasVote=false behind=") {
		t.Errorf("status %d:\n%s", status, out)
	}
	eventually(t, "doctor finds nothing wrong", patience, func() bool { // a busy machine may be slow
		status, out = follower.ctl("doctor")
		return status == 0
	})
	if !hasAll(out, "note: member "+id, " has no vote yet: it is catching up, ", " entries behind") {
		t.Errorf("it says:\n%s", out)
	}
	c.network.heal()
	fresh.ready()
	fresh.serves()
	if body := leader.get("/v2/members").body; strings.Contains(body, "learner") || strings.Contains(body, "behind") {
		t.Errorf("when it votes: %s", body)
	}
}

func TestAMemberIsReplacedByOneCommand(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	m, old := c.members[0], c.members[2]
	m.put("/k", "v")
	old.kill()
	fresh := c.newMember()

	f := startCtl(m, "member", "replace", old.name, fresh.reached, "--name", fresh.name)
	f.expect("Waiting until member")
	f.expect(`ETCD_INITIAL_CLUSTER_STATE="existing"`)
	fresh.founded, fresh.flags = c.founders()+","+fresh.name+"="+fresh.reached, append(fresh.flags,
		"--initial-cluster-state=existing")
	fresh.start()
	f.expect("Removed member")
	if err := f.cmd.Wait(); err != nil {
		t.Error(err)
	}

	_, list := m.ctl("member", "list")
	if strings.Count(list, "\n") != 3 || strings.Contains(list, "name="+old.name+" ") || !strings.Contains(list,
		"name="+fresh.name+" ") {
		t.Errorf("the members:\n%s", list)
	}
	if _, v := fresh.ctl("--no-sync", "get", "--quorum", "/k"); v != "v\n" {
		t.Errorf("the new member has %q", v)
	}
}

func TestAnImportBringsAnotherClustersKeys(t *testing.T) {
	t.Parallel()
	from, to := startMember(t), startMember(t)
	importAll(t, from, to)
}

// startDebians starts Debian's etcd, which needs a flag to speak v2.
func startDebians(t *testing.T, flags ...string) *member {
	t.Helper()
	etcd := debians(t, "etcd")
	m := newMember(t, append(flags, "--enable-v2")...)
	m.wrap = []string{"sh", "-c", `shift; exec "$0" "$@"`, etcd}
	m.start()
	eventually(t, "the etcd of Debian", patience,
		func() bool { return strings.Contains(m.get("/v2/members/leader").body, m.name) })
	return m
}

// An import works from any etcd that speaks v2.
func TestAnImportFromAnEtcdOfDebian(t *testing.T) {
	pace.NeedsLong(t)
	t.Parallel()
	from, to := startDebians(t), startMember(t)
	importAll(t, from, to)
}

// An import that follows the source serves programs that move to another cluster while they write:
// their latest writes are there at once.
func TestAnImportFollowsAnEtcdOfDebian(t *testing.T) {
	t.Parallel()
	from, to := startDebians(t), startMember(t)
	populate(from)
	f := startCtl(to, "import", "--from", from.url, "--follow", "--hidden", "/app/_secret", "--hidden", "/_coreos.com")
	write := func(round int) {
		for i := range 100 {
			from.put(fmt.Sprintf("/moving/d%d/k%d", i%7, i), fmt.Sprint(round))
		}
		from.do("DELETE", "/v2/keys/moving/d1?recursive=true", nil)
		from.do("DELETE", fmt.Sprintf("/v2/keys/moving/d2/k%d", 2+7*round), nil)
		from.do("POST", "/v2/keys/queue", url.Values{"value": {fmt.Sprint(round)}})
		from.put("/app/_secret/key", fmt.Sprint(round))
	}
	write(0)
	f.expect("at index ", "; source is ")
	write(1)
	write(2)
	last := from.put("/moving/last", "x")
	stopped := time.Now()
	eventually(t, "the last change", patience, func() bool { return to.get("/v2/keys/moving/last").status == 200 })
	t.Logf("the last change came after %v", time.Since(stopped).Round(time.Millisecond))
	f.interrupt()
	f.expect("Followed ", " changes")

	if last.status != 201 {
		t.Errorf("status %d", last.status)
	}
	compareTrees(t, from, to)
}

// Keys can be imported from a snapshot that etcd has written, also when etcd no longer runs.
func TestAnImportFromASnapshotOfEtcd(t *testing.T) {
	t.Parallel()
	from, to := startDebians(t, "--snapshot-count=5"), startMember(t)
	populate(from)
	user, err := http.NewRequest("PUT", from.url+"/v2/auth/users/root",
		strings.NewReader(`{"user":"root","password":"x"}`))
	if err == nil {
		_, err = send(user)
	}
	if err != nil {
		t.Fatal(err)
	}
	snapshot := from.snapshotOfNow()

	status, out := to.ctl("import", "--snap", snapshot, "--hidden", "/app/_secret")
	again, nothing := to.ctl("import", "--snap", snapshot, "--hidden", "/app/_secret")

	if status != 0 || !hasAll(out, "Imported 13 keys, 13 written, 0 were there already\nfinished importing 13 keys\n",
		"hidden: /_later:", "has users, 1 of them") {
		t.Errorf("status %d: %s", status, out)
	}
	if again != 0 || !strings.Contains(nothing, "13 keys, 0 written") {
		t.Errorf("the second time: status %d: %s", again, nothing)
	}
	compareTrees(t, from, to)
}

// snapshotOfNow writes to an etcd until it logs that it has saved a snapshot of its present state,
// or a later one, and returns the file.
func (m *member) snapshotOfNow() string {
	m.t.Helper()
	const saved = "saved snapshot at index "
	var now, made uint64
	if _, err := fmt.Sscan(m.put("/_later", "x").header.Get("X-Raft-Index"), &now); err != nil {
		m.t.Fatal(err)
	}
	eventually(m.t, "a snapshot", patience, func() bool {
		m.put("/_later", "x")
		for _, line := range m.log.since(0) {
			if _, index, found := strings.Cut(line, saved); found {
				fmt.Sscan(index, &made)
			}
		}
		return made >= now
	})
	files, err := filepath.Glob(filepath.Join(m.data(), "member", "snap", fmt.Sprintf("*-%016x.snap", made)))
	if err != nil || len(files) != 1 {
		m.t.Fatalf("%v: %v", err, files)
	}
	return files[0]
}

// populate makes keys of every kind.
func populate(m *member) {
	m.put("/app/name", "shop & <co>", "ttl", "1000")
	m.put("/app/_secret/key", "xyzzy")
	m.put("/_coreos.com/fleet/unit", "u")
	m.do("PUT", "/v2/keys/lease?dir=true&ttl=500", nil)
	m.put("/lease/holder", "me")
	m.do("PUT", "/v2/keys/empty?dir=true", nil)
	m.do("POST", "/v2/keys/queue", url.Values{"value": {"first"}})
	m.do("POST", "/v2/keys/queue", url.Values{"value": {"second"}})
}

func importAll(t *testing.T, from, to *member) {
	t.Helper()
	populate(from)

	status, out := to.ctl("import", "--from", from.url, "--hidden", "/app/_secret")
	again, nothing := to.ctl("import", "--from", from.url, "--hidden", "/app/_secret")

	if status != 0 || !strings.Contains(out, "Imported 13 keys, 13 written, 0 were there already") {
		t.Errorf("status %d: %s", status, out)
	}
	if again != 0 || !strings.Contains(nothing, "13 keys, 0 written") {
		t.Errorf("the second time: status %d: %s", again, nothing)
	}
	compareTrees(t, from, to)
}

// compareTrees compares what populate makes.
func compareTrees(t *testing.T, from, to *member) {
	t.Helper()
	for _, key := range []string{"", "/app/_secret", "/_coreos.com"} {
		path := "/v2/keys" + key + "?recursive=true&sorted=true"
		if got, want := outline(t, to.get(path)), outline(t, from.get(path)); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", key, got, want)
		}
	}
}

// outline returns a tree without the attributes that an import does not bring.
func outline(t *testing.T, a answer) string {
	t.Helper()
	type node struct {
		Key   string  `json:"key"`
		Value string  `json:"value"`
		TTL   int     `json:"ttl"`
		Nodes []*node `json:"nodes"`
	}
	var event struct{ Node *node }
	if err := json.Unmarshal([]byte(a.body), &event); err != nil {
		t.Fatal(err)
	}
	var trim func(n *node)
	trim = func(n *node) {
		n.TTL = (n.TTL + 50) / 100 // to hundreds of seconds
		slices.SortFunc(n.Nodes, func(a, b *node) int { return strings.Compare(a.Key, b.Key) })
		for _, child := range n.Nodes {
			trim(child)
		}
	}
	trim(event.Node)
	b, err := json.Marshal(event.Node)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestABenchmarkLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	for _, what := range []string{"put", "get --quorum", "watch"} {
		args := append([]string{"bench"}, strings.Fields(what+" --clients 4 --total 40")...)
		status, out := m.ctl(args...)

		if status != 0 || !hasAll(out, "4 clients, 40 done in ", " 0 failed", "latency:  50% ") {
			t.Errorf("%s: status %d: %s", what, status, out)
		}
	}
	if a := m.get("/v2/keys/_bench"); a.status != 404 {
		t.Errorf("left behind: %s", a.body)
	}
}

// A shell that has loaded the completion script completes a word by asking the binary.
func TestShellsCompleteWords(t *testing.T) {
	startsProcesses(t)
	t.Parallel()
	bin := ours(t, "etcdctl")
	for shell, script := range map[string]string{
		"bash": `source <(etcdctl completion bash)
			try() { COMP_WORDS=(etcdctl "$@"); COMP_CWORD=$#; _etcdctl etcdctl; echo ${COMPREPLY[@]}; }
			try -o json member re; try member rep; try get --so; try exec`,
		// A zsh function that is loaded at its first call, and prints the completions that it
		// offers.
		"zsh": `etcdctl completion zsh > $ZDOTDIR/_etcdctl; fpath=($ZDOTDIR); autoload _etcdctl; compadd() { shift; echo $@; }
			try() { words=(etcdctl "$@"); CURRENT=$#words; _etcdctl; }
			try -o json member re; try member rep; try get --so; try exec`,
		"fish": `etcdctl completion fish | source
			function try; echo (complete -C "etcdctl $argv" | sort -r); end
			try -o json member re; try member rep; try get --so; try exec`,
	} {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("%s is not installed", shell)
			}
			cmd := exec.Command(path, "-c", script)
			dir := t.TempDir()
			cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "ZDOTDIR=" + dir}

			out, err := cmd.CombinedOutput()

			got := strings.ReplaceAll(string(out), "replace remove", "remove replace")
			if err != nil || got != "remove replace\nreplace\n--sort\nexec-watch\n" {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestTheReadmesEtcdctlDoesWhatItSays(t *testing.T) {
	t.Parallel()
	commands := readTutorial(t, "etcdctl")
	if len(commands) < 10 {
		t.Fatalf("only %d commands", len(commands))
	}
	m := startMember(t)
	shell := &shell{t: t, m: m, dir: t.TempDir(), env: []string{
		"ETCDCTL_ENDPOINTS=" + m.url, "PATH=" + ours(t, "etcdctl") + ":" + os.Getenv("PATH"),
	}}
	for _, c := range commands {
		shell.run(c)
	}
}

func TestABackupGoesFromAMemberToAFileToAMember(t *testing.T) {
	t.Parallel()
	m := startMember(t)
	m.put("/k", "v")
	dir := t.TempDir()
	file, data := filepath.Join(dir, "monday.backup"), filepath.Join(dir, "data")
	line := func(want string, args ...string) {
		t.Helper()
		if status, out := m.ctl(args...); status != 0 || !strings.Contains(out, want) {
			t.Fatalf("%v: status %d: %s", args, status, out)
		}
	}

	line("Saved a backup to "+file+", as of store index 4", "backup", "--from", m.url, file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a backup has password hashes: %v, %v", err, info.Mode())
	}
	line("digest", "verify", file)
	line("Restored 1 of 1 members", "restore", file, "--data-dir", data, "--initial-cluster", m.founded)
	line("digest", "verify", data)
	m.put("/k", "later")
	m.kill()
	line("Copied "+m.data(), "backup", "--data-dir", m.data(), "--backup-dir", filepath.Join(dir, "copy"))
	m.flags = append(m.flags, "--data-dir="+data)
	m.start()
	line("v\n", "get", "/k")

	b, err := os.ReadFile(file)
	if err == nil {
		b[len(b)/2] ^= 1
		err = os.WriteFile(file, b, 0o600)
	}
	if status, out := m.ctl("verify", file); err != nil || status != 1 || !strings.Contains(out, file) {
		t.Errorf("%v: of a backup with a wrong bit: status %d: %s", err, status, out)
	}
	for _, args := range [][]string{{"backup"}, {"backup", "--from", m.url}, {"restore", file}, {"verify"},
		{"restore", file, "--data-dir", filepath.Join(dir, "x")}} {
		if status, out := m.ctl(args...); status != 1 {
			t.Errorf("%v: status %d: %s", args, status, out)
		}
	}
}
