package flags

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"etcd2/discovery"
	_ "etcd2/e2e/pace" // -long
	"etcd2/raft"
)

func TestDefaultsAreThoseOfEtcd(t *testing.T) {
	c, err := Parse(nil, nil)

	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"name": "default", "data-dir": "default.etcd", "snapshot-count": 10_000, "max-snapshots": 5, "max-wals": 5,
		"heartbeat": 100 * time.Millisecond, "election": time.Second, "max-request-bytes": 10 << 20, "history": 100_000,
		"clients": presetClientURLs, "peers": presetPeerURLs,
		"cluster": "default=http://localhost:2380,default=http://localhost:7001",
	}
	got := map[string]any{
		"name": c.Name, "data-dir": c.DataDir, "snapshot-count": c.SnapshotCount, "max-snapshots": c.MaxSnapshots,
		"max-wals":  c.MaxWALs,
		"heartbeat": c.Heartbeat, "election": c.Election, "max-request-bytes": c.MaxRequestBytes,
		"history": c.EventHistory,
		"clients": strings.Join(c.ListenClient, ","), "peers": strings.Join(c.ListenPeer, ","),
		"cluster": c.InitialCluster,
	}
	for key := range want {
		if got[key] != want[key] {
			t.Errorf("%s: got %v, want %v", key, got[key], want[key])
		}
	}
}

func TestTheDefaultClusterFollowsTheName(t *testing.T) {
	c, err := Parse([]string{"--name", "n1"}, nil)

	if err != nil || c.InitialCluster != "n1=http://localhost:2380,n1=http://localhost:7001" || c.DataDir != "n1.etcd" {
		t.Errorf("%v: %s in %s", err, c.InitialCluster, c.DataDir)
	}
}

func TestAMemberWithoutAListBeginsAClusterWhereItIsFound(t *testing.T) {
	c, err := Parse([]string{"--initial-advertise-peer-urls", "http://10.0.0.1:7,http://10.0.0.1:8"}, nil)

	if err != nil || c.InitialCluster != "default=http://10.0.0.1:7,default=http://10.0.0.1:8" ||
		c.given["initial-cluster"] {
		t.Errorf("%v: %s", err, c.InitialCluster)
	}
}

func TestAnEmptyListContradictsNothing(t *testing.T) {
	c, err := Parse([]string{"--initial-cluster=", "--join=http://a:1,http://b:1", "--initial-cluster-state=new"}, nil)

	if err != nil || len(c.Join) != 2 {
		t.Errorf("%v: %q", err, c.Join)
	}
}

func TestDiscoveryIsChosenByItsFlags(t *testing.T) {
	c, err := Parse([]string{"--discovery=https://discovery.etcd.io/t/", "--discovery-proxy=10.0.0.1:3128",
		"--discovery-srv="}, []string{"ETCD_DISCOVERY_FALLBACK=exit"})

	if err != nil || c.Discovery != "https://discovery.etcd.io/t/" ||
		c.DiscoveryProxy.String() != "http://10.0.0.1:3128" || c.Fallback != "exit" {
		t.Errorf("%v: %+v", err, c)
	}
}

func TestCommandLineBeatsEnvironmentBeatsDefault(t *testing.T) {
	environ := []string{"ETCD_NAME=env", "ETCD_SNAPSHOT_COUNT=7", "ETCD_MAX_WALS=", "ETCD_DEBUG=true", "OTHER=x",
		"ETCD_BOGUS=1"}
	c, err := Parse([]string{"-name=line"}, environ)

	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "line" || c.SnapshotCount != 7 || c.MaxWALs != 5 || !c.Debug {
		t.Errorf("name %q, snapshot-count %d, max-wals %d, debug %v", c.Name, c.SnapshotCount, c.MaxWALs, c.Debug)
	}
	want := []string{
		"recognized environment variable ETCD_NAME, but unused: shadowed by corresponding flag",
		"recognized and used environment variable " +
			"ETCD_SNAPSHOT_COUNT=7", "recognized and used environment variable ETCD_DEBUG=true",
	}
	if !slices.Equal(c.Notes, want) || !slices.Equal(c.Warnings,
		[]string{"unrecognized environment variable ETCD_BOGUS"}) {
		t.Errorf("notes %q, warnings %q", c.Notes, c.Warnings)
	}
}

func TestTheOldAddressFlagsSetURLs(t *testing.T) {
	both := "http://localhost:2379 http://localhost:4001"
	peers := "http://localhost:2380 http://localhost:7001"
	own := "default=http://localhost:2380,default=http://localhost:7001"
	for _, c := range []struct {
		args, environ                                string
		advertise, listen, advertisePeer, listenPeer string
		cluster                                      string
	}{
		{"--addr 10.0.0.1:4001", "", "http://10.0.0.1:4001", "http://[::]:4001", peers, peers, own},
		{"--addr=10.0.0.1:4001 --bind-addr=0.0.0.0:4242", "", "http://10.0.0.1:4001", "http://0.0.0.0:4242",
			peers, peers, own},
		{"-bind-addr 10.0.0.1:4001", "", both, "http://10.0.0.1:4001", peers, peers, own},
		{"--peer-addr=[fd00::1]:7001", "", both, both, "http://[fd00::1]:7001", "http://[::]:7001",
			"default=http://[fd00::1]:7001"},
		{"--peer-addr=10.0.0.1:7001 --peer-bind-addr=10.0.0.2:7001 --name a", "", both, both, "http://10.0.0.1:7001",
			"http://10.0.0.2:7001", "a=http://10.0.0.1:7001"},
		{"--peer-addr=10.0.0.1:7001 --initial-cluster=b=http://h:1", "", both, both, "http://10.0.0.1:7001",
			"http://[::]:7001", "b=http://h:1"},
		{"--peer-bind-addr=10.0.0.2:7001", "", both, both, peers, "http://10.0.0.2:7001", own},
		{"--auto-tls --peer-cert-file=x --peer-key-file=y",
			"ETCD_ADDR=10.0.0.1:1 ETCD_PEER_ADDR=10.0.0.1:2 " +
				"ETCD_BIND_ADDR=", "https://10.0.0.1:1", "https://[::]:1", "https://10.0.0.1:2", "https://[::]:2",
			"default=https://10.0.0.1:2"},
		{"--addr= --peer-addr=", "", both, both, peers, peers, own},
	} {
		config, err := Parse(strings.Fields(c.args), strings.Fields(c.environ))
		if err != nil {
			t.Errorf("%s %s: %v", c.args, c.environ, err)
			continue
		}

		for _, list := range []struct {
			name, want string
			got        []string
		}{
			{"advertised to clients", c.advertise, config.AdvertiseClient}, {"listening for clients", c.listen,
				config.ListenClient},
			{"advertised to members", c.advertisePeer, config.AdvertisePeer}, {"listening for members", c.listenPeer,
				config.ListenPeer},
			{"the cluster", c.cluster, []string{config.InitialCluster}},
		} {
			if got := strings.Join(list.got, " "); got != list.want {
				t.Errorf("%s %s: %s: %s, want %s", c.args, c.environ, list.name, got, list.want)
			}
		}
	}
}

func TestAnObsoleteFlagIsWarnedOf(t *testing.T) {
	c, err := Parse([]string{"-snapshot", "--max-result-buffer=1024", "-v", "-vv", "--experimental-gRPC-addr",
		"127.0.0.1:2378", "--strict-reconfig-check=false"},
		[]string{"ETCD_CLUSTER_ACTIVE_SIZE=9", "ETCD_EXPERIMENTAL_GRPC_ADDR=x", "ETCD_CONFIG="})

	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(c.Warnings, "\n")
	for _, name := range []string{"snapshot", "max-result-buffer", "v", "vv", "cluster-active-size"} {
		if want := `flag "-` + name + `" is no longer supported - ignoring.`; strings.Count(all, want) != 1 {
			t.Errorf("no %s in\n%s", want, all)
		}
	}
	if !strings.Contains(all, `flag "-experimental-gRPC-addr" is of the API of etcd 3`) || !strings.Contains(all,
		"--strict-reconfig-check=false is ignored") || len(c.Warnings) != 7 {
		t.Errorf("%d warnings:\n%s", len(c.Warnings), all)
	}
}

// flagsOf238 are all flags of etcd 2.3.8, those of 0.4 that it still takes among them.
const flagsOf238 = `name data-dir wal-dir snapshot-count heartbeat-interval election-timeout listen-peer-urls listen-client-urls max-snapshots max-wals cors
	initial-advertise-peer-urls initial-cluster initial-cluster-state initial-cluster-token advertise-client-urls discovery discovery-fallback discovery-proxy
	discovery-srv strict-reconfig-check proxy proxy-failure-wait proxy-refresh-interval proxy-dial-timeout proxy-write-timeout proxy-read-timeout
	cert-file key-file client-cert-auth trusted-ca-file ca-file peer-cert-file peer-key-file peer-client-cert-auth peer-trusted-ca-file peer-ca-file
	debug log-package-levels force-new-cluster version enable-pprof experimental-v3demo experimental-gRPC-addr experimental-auto-compaction-retention h help
	addr bind-addr peer-addr peer-bind-addr peers peers-file cluster-active-size cluster-remove-delay cluster-sync-interval config force max-result-buffer
	max-retry-attempts peer-heartbeat-interval peer-election-timeout retry-interval snapshot v vv`

// switchesOf238 are those that take no value.
const switchesOf238 = `strict-reconfig-check client-cert-auth peer-client-cert-auth debug force-new-cluster version enable-pprof experimental-v3demo h help
	cluster-active-size cluster-remove-delay cluster-sync-interval config force max-result-buffer max-retry-attempts peer-heartbeat-interval
	peer-election-timeout retry-interval snapshot v vv`

func TestEveryFlagOfEtcdIsKnown(t *testing.T) {
	c := new(Config)
	for name := range strings.FieldsSeq(flagsOf238) {
		args := []string{"--" + name}
		isSwitch := slices.Contains(strings.Fields(switchesOf238), name)
		if !isSwitch {
			args = append(args, "no-such-value")
		}

		_, err := Parse(append(args, "extra"), nil)

		ends := errors.Is(err, flag.ErrHelp) || name == "version" && err == nil
		if text := fmt.Sprint(err); !ends && (strings.Contains(text, "not defined") || strings.Contains(text,
			"needs an argument") || strings.Contains(text, `"no-such-value" is not a flag`)) {
			t.Errorf("--%s: %v", name, err)
		}
		if ends && name != "h" && name != "help" && name != "version" {
			t.Errorf("--%s: %v", name, err)
		}
	}
	for _, r := range slices.Concat(c.obsoleteSettings(), c.settings()) {
		known := slices.Contains(strings.Fields(flagsOf238), r.name)
		if isSwitch := slices.Contains(strings.Fields(switchesOf238), r.name); known && isSwitch != (r.arg == "") {
			t.Errorf("--%s takes a value: %v", r.name, r.arg != "")
		}
	}
}

func TestTheOldFlagOfAuthoritiesMeansClientAuth(t *testing.T) {
	c, err := Parse([]string{"--ca-file=a", "--peer-ca-file=b"}, nil)

	if err != nil || c.Client.CA != "a" || !c.Client.ClientAuth || c.Peer.CA != "b" || !c.Peer.ClientAuth {
		t.Errorf("%v: %+v %+v", err, c.Client, c.Peer)
	}
	if all := strings.Join(c.Warnings, "; "); !strings.Contains(all,
		"--peer-ca-file is the old form of --peer-trusted-ca-file") {
		t.Errorf("the warnings: %s", all)
	}
}

func TestACertificateThatNobodySeesIsWarnedOf(t *testing.T) {
	for args, want := range map[string]string{
		"--cert-file=x --key-file=y": "--cert-file",
		"--peer-auto-tls":            "--peer-auto-tls",
		"--client-cert-auth --trusted-ca-file=z --cert-file=x --key-file=y " +
			"--listen-client-urls=https://a:1,http://b:1 --advertise-client-urls=https://a:1": "http://b:1",
		"--auto-tls --listen-client-urls=https://a:1 " +
			"--advertise-client-urls=https://a:1": "",
	} {
		c, err := Parse(strings.Fields(args), nil)
		if err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(c.Warnings, "; "); !strings.Contains(all, want) || (all == "") != (want == "") {
			t.Errorf("%s: %q", args, all)
		}
	}
}

// A restart without the flag leaves the cluster with the peer URLs that it knows.
func TestPeerURLsAreAdvertisedOnlyWhenGiven(t *testing.T) {
	for _, c := range []struct {
		args, environ []string
		want          string
	}{
		{nil, nil, "[]"},
		{[]string{"--listen-peer-urls=http://a:1"}, nil, "[]"},
		{[]string{"--initial-advertise-peer-urls=http://b:1,http://a:1"}, nil, "[http://a:1 http://b:1]"},
		{nil, []string{"ETCD_INITIAL_ADVERTISE_PEER_URLS=http://a:1"}, "[http://a:1]"},
	} {
		config, err := Parse(c.args, c.environ)
		if err != nil {
			t.Fatal(err)
		}

		withData := config.Self(discovery.Plan{})

		if fmt.Sprint(withData.PeerURLs) != c.want || len(withData.ClientURLs) == 0 {
			t.Errorf("%v %v: %+v", c.args, c.environ, withData)
		}
	}
}

func TestADirectoryStaysWhatItIs(t *testing.T) {
	for _, c := range []struct {
		member, proxy bool
		flags, want   string // want is off, on, readonly or the words of an error
	}{
		{false, false, "", "off"},
		{false, false, "--proxy=readonly", "readonly"},
		{true, false, "--proxy=on", "off"},
		{false, true, "", "on"},
		{false, true, "--listen-client-urls=http://127.0.0.1:1", "on"},
		{false, true, "--proxy=readonly", "readonly"},
		{false, true, "--force-new-cluster", "--force-new-cluster proxy"},
		{true, true, "--proxy=on", "invalid datadir. Both member and proxy directories exist"},
	} {
		dir := t.TempDir()
		var made error
		if c.proxy {
			made = os.Mkdir(filepath.Join(dir, "proxy"), 0o700)
		}
		if c.member {
			_, err := raft.Found(raft.NewFrozen(raft.Snapshot{Index: 1, Term: 1}, func(io.Writer) error { return nil }),
				raft.RestoreOptions{
					Cluster: raft.Membership{Members: []raft.Member{{ID: 1, Name: "m"}}},
					Places:  []raft.Place{{Name: "m", Dir: dir}}, SegmentBytes: 1 << 16,
				})
			made = errors.Join(made, err)
		}
		config, err := Parse(append(strings.Fields(c.flags), "--data-dir="+dir), nil)
		if err := errors.Join(made, err); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		there, err := raft.Exists(dir, "")
		err = cmp.Or(err, config.ChooseRole(there, slog.New(slog.DiscardHandler)))

		got := config.Proxy
		if err != nil {
			got = err.Error()
		}
		if !hasWords(got, c.want) {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func hasWords(text, words string) bool {
	for word := range strings.FieldsSeq(words) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

func TestAProxyAdvertisesNothing(t *testing.T) {
	for _, flags := range []string{"--proxy=on", "--discovery=http://h:1/t"} {
		c, err := Parse([]string{flags, "--listen-client-urls=http://127.0.0.1:1", "--proxy-read-timeout=7"}, nil)
		if err != nil || c.ProxyTimes.Read != 7*time.Millisecond || c.ProxyTimes.FailureWait != 5*time.Second ||
			c.ProxyTimes.Refresh != 30*time.Second || c.ProxyTimes.Dial != time.Second ||
			c.ProxyTimes.Write != 5*time.Second {
			t.Errorf("%s: %v: %+v", flags, err, c.ProxyTimes)
		}
	}
}

func TestAnAdvertisedURLThatLeadsNowhereIsWarnedOf(t *testing.T) {
	for _, c := range []struct{ advertised, listened, want string }{
		{"http://localhost:2380", "http://localhost:2380", ""},
		{"http://db.example:443", "http://0.0.0.0:2380", ""}, // something in between may lead there
		{"http://10.0.0.1:2380", "http://0.0.0.0:2380", ""},
		{"http://localhost:2380", "http://0.0.0.0:12380,http://127.0.0.1:1",
			"--f=http://localhost:2380: this member does not listen at that port of its machine, " +
				"but at http://0.0.0.0:12380,http://127.0.0.1:1: give the URL at which others reach it, unless " +
				"something forwards connections from there to here"},
		{"http://127.0.0.1:2379", "https://0.0.0.0:2379",
			"--f=http://127.0.0.1:2379: at that port this member listens with the other scheme, " +
				"as https://0.0.0.0:2379: give the URL with that scheme"},
		{"http://127.0.0.1:2379", "https://0.0.0.0:2379,http://10.0.0.1:2379", ""},
		{"http://0.0.0.0:2379", "http://0.0.0.0:2379",
			"--f=http://0.0.0.0:2379: this address means every machine to itself: whoever is told it will call its " +
				"own machine; give the address of this one"},
		{"http://[::]:2379", "http://0.0.0.0:2379",
			"--f=http://[::]:2379: this address means every machine to itself: whoever is told it will call its own " +
				"machine; give the address of this one"},
	} {
		if got := strings.Join(advertiseWarnings("f", strings.Split(c.advertised, ","), strings.Split(c.listened, ",")),
			"|"); got != c.want {
			t.Errorf("%s at %s:\n%s\nwant\n%s", c.advertised, c.listened, got, c.want)
		}
	}
}

func TestHelpListsEveryFlagInItsGroup(t *testing.T) {
	var out strings.Builder
	if err := Help(&out); err != nil {
		t.Fatal(err)
	}
	for _, s := range new(Config).settings() {
		_, group, found := strings.Cut(out.String(), "\n"+s.group+"\n")
		group, _, _ = strings.Cut(group, "\n\n")
		if !found || !strings.Contains(group, "  --"+s.name+" "+s.arg+"\n") {
			t.Errorf("--%s is not listed under %s", s.name, s.group)
		}
	}
	if _, err := Parse([]string{"--help"}, nil); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help gives %v", err)
	}
}

func TestTheReadmeListsEveryFlag(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(b)
	settings := new(Config).settings()
	for _, row := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)").FindAllStringSubmatch(readme, -1) {
		if !slices.ContainsFunc(settings, func(s setting) bool { return s.name == row[1] }) {
			t.Errorf("the README's table of flags has a row for --%s, which is none", row[1])
		}
	}
	for _, s := range settings {
		name := strings.ReplaceAll(strings.TrimSpace(s.name+" "+s.arg), "|", `\|`)
		row := "| `--" + name + "` | " + code(s.preset) + " | " + s.help + " |"
		if !strings.Contains(readme, row) {
			t.Errorf("the README's table of flags lacks the row\n%s", row)
		}
	}
}

// code is a text as code in Markdown.
func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
