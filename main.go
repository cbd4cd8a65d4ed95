// Command etcd2 is a replicated key-value store with the HTTP API of etcd 2, in
// one static binary.
//
// # What it is
//
// The front door: it turns flags and environment into a configuration, joins
// the packages, and ends them in the right order. No rule of Raft, of the tree
// or of the API is here.
//
// # Picture
//
//	flags, environment ──► config ──► raft.Occupy     no other process in the same directories
//	                                     │
//	                                  ports.Open      before anything stays in them
//	                                     │
//	                       no data? ──► discovery     which cluster, and who in it
//	                                     │
//	                                  raft.Open       log and snapshots, replayed into the store
//	                                     │
//	                                  http.PeerPort   other members
//	                                     │
//	                                  http.Server     clients; READY=1, and from now on WATCHDOG=1
//	                                     │
//	            SIGTERM, SIGINT ──────► shut down     STOPPING=1; in-flight requests, then the log
//
//	--check-config ──► [config.tell]                  the same checks, and what would be done
//	--proxy, or no place left ──► proxy.New ──► http.NewFront instead: no peers, no log
//
// # Types
//
// A [config] is everything that can be chosen, checked. A [setting] is one flag:
// the table in [config.settings] is the whole list, for the command line, the
// environment and --help alike. A [relic] is a flag of earlier releases that does nothing any more. [logs] makes the loggers, one a package,
// and a [sink] writes their lines without ever holding up the caller.
// A [process] is one run: a config with the ports, the loggers and what systemd is told.
//
// # Life of a start
//
// [configure] sets every default, then the environment, then the command line,
// and checks what contradicts what; the first fault ends the start with one
// line and exit status 1, before anything is written. [serve] then occupies the
// directories, before anything is read there ([process.occupy]); opens the
// ports, so that a taken one costs nothing; reads the certificates ([process.secure]); looks for its cluster, if it has no data yet
// ([process.plan]); opens the node, which replays its
// disk and tells the cluster who it is; and only when that is ready answers
// clients, so that none sees a half-replayed tree (C8). Meanwhile and later systemd is told how it goes, if it asked
// ([systemd.Service]). It waits for a signal,
// or for the node to fail: the one way to end with status 1 after a
// start, or with 3 when the cluster has removed this member.
//
// # Invariants
//
//   - One bad flag, one line on standard error, status 1, and nothing on disk.
//     (`TestABadConfigurationIsOneLine`)
//   - Every directory that a process writes in is its own as long as it runs. (`TestTwoServersDoNotShareALog`)
//   - The command line wins over the environment, and that over the default.
//     (`TestCommandLineBeatsEnvironmentBeatsDefault`)
//   - Imports run downward only, as drawn. (`TestImportsRunDownward`)
//
// # What is left out
//
// A configuration file, and reloading: a member is restarted to be changed, but for
// its certificates, which SIGHUP reads at once. A proxy that becomes a member, or a member that becomes a proxy: each begins with a directory of its own.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"etcd2/discovery"
	"etcd2/http"
	"etcd2/http/certs"
	"etcd2/http/etcdctl"
	"etcd2/http/etcdctl/migrate"
	"etcd2/http/peer"
	"etcd2/http/ports"
	"etcd2/http/proxy"
	"etcd2/http/systemd"
	"etcd2/raft"
	"etcd2/store"
)

// version is what this program says it is, to clients and to other members.
const version = "2.4.0"

func main() {
	if args, called := asEtcdctl(os.Args); called {
		os.Exit(etcdctl.Run(args, os.Environ(), os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// asEtcdctl tells whether this process is the command line client, by its name or by the word ctl, and with which arguments.
func asEtcdctl(args []string) ([]string, bool) {
	switch {
	case len(args) > 0 && filepath.Base(args[0]) == "etcdctl":
		return args[1:], true
	case len(args) > 1 && args[1] == "ctl":
		return args[2:], true
	}
	return nil, false
}

// run is main with everything that it touches passed in; it returns the exit status.
func run(args, environ []string, stdout, stderr io.Writer) int {
	out := newSink(stderr)
	defer out.flush()
	err := command(args, environ, stdout, out)
	if err != nil {
		oneLine := strings.ReplaceAll(err.Error(), "\n", "; ")
		fmt.Fprintln(out, "etcd2:", oneLine)
	}
	return status(err)
}

// removed is the exit status of a member that the cluster has removed, which nobody need start again. 2 would be a crash: Go's panics end with it, and
// so does the signal of systemd's watchdog.
const removed = 3

// status is the exit status that an error makes.
func status(err error) int {
	switch {
	case errors.Is(err, raft.ErrRemoved):
		return removed
	case err != nil:
		return 1
	}
	return 0
}

func command(args, environ []string, stdout io.Writer, out *sink) error {
	if len(args) > 0 && args[0] == "dump" {
		return etcdctl.Dump(args[1:], stdout)
	}
	c, err := configure(args, environ)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return printHelp(stdout)
	case err != nil:
		return fmt.Errorf("%w (etcd2 --help lists the flags)", err)
	case c.version:
		return printVersion(stdout)
	}
	l := newLogs(out, c)
	for _, note := range c.notes {
		l.of("main").Info(note)
	}
	for _, warning := range c.warnings {
		l.of("main").Warn(warning)
	}
	if err := c.leftByEtcd(); err != nil {
		return err
	}
	if c.check {
		return c.tell(stdout, l)
	}
	return serve(c, l)
}

// leftByEtcd returns an error when the data directory is one of etcd, which must be converted first.
func (c *config) leftByEtcd() error {
	if c.given["wal-dir"] {
		return migrate.Left(c.dataDir, c.walDir)
	}
	return migrate.Left(c.dataDir, "")
}

func printVersion(w io.Writer) error {
	_, err := fmt.Fprintf(w, "etcd Version: %s\nGit SHA: %s\nGo Version: %s\nGo OS/Arch: %s/%s\n",
		version, revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// revision is the commit that the binary was built from, as far as it knows.
func revision() string {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value[:min(7, len(s.Value))]
			}
		}
	}
	return "unknown"
}

// Serving.

// Time limits on the way out: stopPatience for the requests in flight, and then for the node;
// failPatience for the requests when the node has failed; endPatience for the whole process then.
const (
	stopPatience = 10 * time.Second
	failPatience = 300 * time.Millisecond
	endPatience  = time.Second
)

// A process is one run of this program, as a member or as a proxy.
type process struct {
	*config
	logs    *logs
	log     *slog.Logger // of main
	ports   *ports.Ports
	service *systemd.Service
	home    *raft.Home // the directories
	opened  bool       // a node has them, and closes home when it ends
	member  bool       // one lives in them

	server atomic.Pointer[http.Server] // of clients; nil: the member is starting
}

// serve runs a process until a signal ends it, or it fails.
func serve(c *config, l *logs) error {
	// The first signal ends ctx; a second one, the process.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // a write to a log whose reader has gone fails, and ends nobody
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	p := &process{config: c, logs: l, log: l.of("main"), service: systemd.New(os.Getenv, os.Getpid(), l.of("systemd"))}
	ended := make(chan struct{})
	defer close(ended)
	go p.service.Run(ended)
	if err := p.occupy(); err != nil {
		return c.blameDir(err)
	}
	err := p.run(ctx, hangups)
	if !p.opened {
		err = errors.Join(err, p.home.Close()) // which is the node's otherwise
	}
	return c.blameDir(err)
}

// run is what a process does in directories that are its own.
func (p *process) run(ctx context.Context, hangups <-chan os.Signal) error {
	if err := p.listen(); err != nil {
		return err
	}
	defer p.ports.Close()
	if err := p.secure(ctx); err != nil {
		return err
	}
	go p.rereadAt(ctx, hangups)
	p.ports.RefuseClients()
	if p.isProxy() {
		return p.findAndForward(ctx)
	}
	return p.takePart(ctx)
}

// occupy keeps other processes out of the directories, and looks at who lives there.
func (p *process) occupy() (err error) {
	if p.home, err = raft.Occupy(p.dataDir); err != nil {
		return err
	}
	lived, err := p.home.Lived()
	if err = cmp.Or(err, p.chooseRole(lived, p.log)); err == nil && !p.isProxy() {
		p.member, err = p.home.OccupyLog(p.walDir)
	}
	if err != nil {
		err = errors.Join(err, p.home.Close())
	}
	return err
}

// blameDir says which flag names the directory that an error is about.
func (c *config) blameDir(err error) error {
	var e *raft.DirError
	switch {
	case !errors.As(err, &e):
		return err
	case e.Log && c.given["wal-dir"]:
		return fmt.Errorf("--wal-dir=%s: %w: %s", c.walDir, e.Err, e.Remedy)
	}
	return fmt.Errorf("--data-dir=%s: %w: %s", c.dataDir, e.Err, e.Remedy)
}

// listen opens all ports, but those that systemd has opened. When a preset client port is taken, it is not advertised either.
func (p *process) listen() error {
	handed, err := systemd.Sockets(os.Getenv, os.Getpid())
	if err != nil {
		return err
	}
	p.ports, err = ports.Open(ports.Config{
		Client: p.listenClient, ClientChosen: p.given["listen-client-urls"],
		Peer: p.listenPeer, PeerChosen: p.given["listen-peer-urls"],
		Logger: p.log,
	}, handed)
	if err != nil {
		return err
	}
	if !p.given["listen-client-urls"] && !p.given["advertise-client-urls"] {
		p.advertiseClient = p.ports.ClientURLs
	}
	return nil
}

// secure reads the certificates of both ports, and follows them until ctx ends. The one that a port makes for itself is where etcd 3 has it.
func (p *process) secure(ctx context.Context) (err error) {
	own, log := filepath.Join(p.dataDir, "fixtures"), p.logs.of("certs")
	if p.ports.ClientTLS, err = p.client.Load(filepath.Join(own, "client"), slices.Concat(p.listenClient, p.advertiseClient), log); err != nil {
		return err
	}
	if p.ports.PeerTLS, err = p.peer.Load(filepath.Join(own, "peer"), slices.Concat(p.listenPeer, p.advertisePeer), log); err != nil {
		return err
	}
	go p.ports.ClientTLS.Watch(ctx)
	go p.ports.PeerTLS.Watch(ctx)
	return nil
}

// rereadAt reads the certificates of both ports again at each signal, until ctx ends.
func (p *process) rereadAt(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case s := <-signals:
			p.log.Info("reading the certificates again; nothing else is reloaded", "signal", s)
			p.ports.ClientTLS.Reread()
			p.ports.PeerTLS.Reread()
		case <-ctx.Done():
			return
		}
	}
}

// takePart is a member of a cluster, or a proxy when the cluster has no place for one.
func (p *process) takePart(ctx context.Context) error {
	p.ports.ServePeers(p.logs.of("http"))
	p.service.Follow(doing("looking for the cluster"))
	plan, err := p.plan(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	for _, warning := range p.strays(p.ports.ClientURLs, p.ports.PeerURLs, p.self(plan)) {
		p.log.Warn(warning)
	}
	if plan.Proxy {
		p.log.Warn("discovery cluster full, falling back to proxy", "discovery", p.discovery)
		return p.forward(ctx, peerURLs(plan.Cluster))
	}
	if os.Getenv("GOGC") == "" {
		paceGC()
	}
	tree := store.New(store.Limits{Events: p.eventHistory, Tree: cmp.Or(int64(p.quotaBytes), http.DefaultQuota())})
	transport := p.transport(plan)
	p.ports.Connect(transport)
	p.service.Follow(doing("reading " + p.dataDir))
	node, err := p.open(tree, plan, transport)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	go p.endAnyway(node, ended)
	err = p.answer(ctx, node, tree, transport)
	return p.verdict(node, cmp.Or(err, node.Err(), patiently(nil, node.Stop))) // it is stopped in any case
}

// verdict returns what the process ends with when its member has ended with err.
func (p *process) verdict(node *raft.Node, err error) error {
	if errors.Is(err, raft.ErrRemoved) {
		return fmt.Errorf("%w; %s (%x) is no longer in cluster %x, and its data is kept in %s: to come back, empty that directory and start with --join",
			err, p.name, node.ID(), node.Membership().ClusterID, p.dataDir)
	}
	return err
}

// endAnyway is the last resort: it ends the process endPatience after the member has failed, unless
// ended is closed before, since something hangs on the way out.
func (p *process) endAnyway(node *raft.Node, ended <-chan struct{}) {
	select {
	case <-node.Failed():
	case <-ended:
		return
	}
	select {
	case <-ended:
	case <-time.After(endPatience):
		err := p.verdict(node, node.Err())
		p.log.Error("the member has failed, and something hangs on the way out: the process ends without it",
			"err", err)
		p.logs.w.flush()
		os.Exit(status(err))
	}
}

// plan is how a member without data begins. One with data does not ask: there its flags count no more
// (API section 21.1).
func (p *process) plan(ctx context.Context) (plan discovery.Plan, err error) {
	if there, err := p.settled(p.member, p.log); there || err != nil {
		return plan, err
	}
	plan, way, err := p.findCluster(ctx)
	if ctx.Err() != nil {
		return plan, nil // it was not wanted any more
	}
	if plan.Proxy && p.fallback == "exit" {
		err = fmt.Errorf("failed to join discovery cluster (%w)", discovery.ErrFull)
	}
	return plan, p.refusal(way, err)
}

// settled reports whether a member goes on from its data, whatever is said of its cluster.
func (c *config) settled(there bool, log *slog.Logger) (bool, error) {
	switch {
	case !there && c.forceNew:
		return false, fmt.Errorf("--force-new-cluster: there is no member in %s to go on from: give its data as --data-dir", c.dataDir)
	case there && len(c.join) > 0:
		log.Info("--join is ignored: there is a member in the data directory", "data", c.dataDir)
	case there && (c.discovery != "" || c.discoverySRV != ""):
		log.Info("discovery is ignored since a cluster has already been initialized", "data", c.dataDir)
	}
	return there, nil
}

// findCluster looks for the cluster of a member without data; way is the flag that names it.
func (p *process) findCluster(ctx context.Context) (plan discovery.Plan, way string, err error) {
	n := discovery.Newcomer{Name: p.name, PeerURLs: p.advertisePeer, Logger: p.log, DialTLS: p.ports.PeerTLS.DialTLS}
	switch {
	case len(p.join) > 0:
		way = "join"
		plan, err = n.Join(ctx, p.join)
	case p.discovery != "":
		way = "discovery"
		plan, err = n.Token(ctx, p.discovery, p.discoveryProxy)
	case p.discoverySRV != "":
		way = "discovery-srv"
		plan, err = n.SRV(ctx, p.discoverySRV, p.token)
	case p.state == "existing":
		way = "initial-cluster"
		plan, err = n.Existing(ctx, p.initialCluster)
	default:
		way = "initial-cluster"
		plan, err = n.New(ctx, p.initialCluster, p.token)
	}
	return plan, way, err
}

// refusals are what may keep a member without data from its cluster, the flag to blame when it is not the one that named
// the cluster, and the remedy.
var refusals = []struct {
	err    error
	flag   string
	remedy string
}{
	{discovery.ErrNotListed, "", "add it, or give its name as --name"},
	{discovery.ErrURLsDiffer, "initial-advertise-peer-urls", "give the same URLs there and in --initial-cluster"},
	{discovery.ErrOneName, "initial-cluster", "give each member a name of its own there; or, if it is one member, all its URLs as --initial-advertise-peer-urls"},
	{discovery.ErrNoRights, "", "give peer URLs of its members: there a member needs no user"},
	{discovery.ErrNoAddress, "", "give the machine's address, in --initial-advertise-peer-urls, too"},
	{discovery.ErrOtherCluster, "", "give the list and the --initial-cluster-token that it began with, or join it with --join"},
	{discovery.ErrTwoClusters, "", "give URLs of one cluster"},
	{discovery.ErrRemoved, "", "to add it anew, start it with --join instead"},
	{discovery.ErrActive, "", "it has forgotten its votes and may not go on under its old id: remove it (DELETE /v2/members/ID), then start it with --join"},
	{discovery.ErrUnfit, "", "list exactly the members that the cluster has, after adding this one (POST /v2/members); or start it with --join instead"},
	{discovery.ErrNobodyListed, "", "list the running members as well, or start it with --join instead"},
	{discovery.ErrURLTaken, "initial-advertise-peer-urls", "give this member a URL of its own, or remove the other one"},
	{discovery.ErrNameTaken, "name", "give this member a name of its own, or remove the other one"},
	{discovery.ErrRefused, "", "give URLs of members of this program"},
	{discovery.ErrFull, "", "please generate a new discovery token for another cluster, or start this member with --join"},
	{discovery.ErrNoToken, "", "please generate a new discovery token"},
	{discovery.ErrBadSize, "", "set the size of the cluster at the token's _config/size, or generate a new discovery token"},
	{discovery.ErrDuplicateName, "", "give each member a --name of its own, generate a new discovery token, and try to bootstrap again"},
	{discovery.ErrRegistration, "", "please generate a new discovery token, give it to all members as the same text, and try to bootstrap again"},
	{discovery.ErrBadEndpoint, "", "give the URL that a discovery service has made (GET /discovery/new?size=N)"},
	{discovery.ErrForbidden, "", "let everybody read and write below the token's key"},
	{discovery.ErrService, "", "see that it runs and can be reached from here, perhaps with --discovery-proxy"},
	{discovery.ErrDNS, "", "see that the DNS servers of this machine answer"},
	{discovery.ErrNoRecords, "", "let the DNS have records _etcd-server._tcp or _etcd-server-ssl._tcp of this domain"},
	{discovery.ErrBadRecord, "", "let each record name the host and the peer port of a member"},
	{discovery.ErrNotInDNS, "", "give the one peer URL that the DNS has for this member as --initial-advertise-peer-urls, or add its record"},
	{discovery.ErrTwiceInDNS, "", "leave one record for each member"},
	{discovery.ErrNotYet, "", "see that they run, have a leader, and can be reached there"},
}

// refusal says which flag is to blame, and what to do. way is the flag that named the cluster.
func (c *config) refusal(way string, err error) error {
	if err == nil {
		return nil
	}
	values := map[string]string{
		"name": c.name, "initial-cluster": c.initialCluster, "join": strings.Join(c.join, ","),
		"discovery": c.discovery, "discovery-fallback": c.fallback, "discovery-srv": c.discoverySRV,
		"initial-advertise-peer-urls": strings.Join(c.advertisePeer, ","),
	}
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			flag := cmp.Or(r.flag, way)
			return fmt.Errorf("--%s=%s: %w: %s", flag, withoutPassword(values[flag]), err, r.remedy)
		}
	}
	return fmt.Errorf("--%s=%s: %w", way, withoutPassword(values[way]), err)
}

// open opens the node, whose disk is then replayed into the tree.
func (p *process) open(tree *store.Store, plan discovery.Plan, t raft.Transport) (*raft.Node, error) {
	p.opened = true
	return raft.Open(raft.Config{
		Dir: p.dataDir, WALDir: p.walDir, Home: p.home,
		ID: plan.Self.ID, Bootstrap: plan.Cluster, Join: plan.Join,
		Transport: t, Self: p.self(plan),
		MayForce: p.mayForce, ForceAlone: p.forceNew, ForceURLs: slices.Sorted(slices.Values(p.advertisePeer)),
		Heartbeat: p.heartbeat, Election: p.election, RequestTimeout: p.requestTimeout(),
		SnapshotCount: uint64(p.snapshotCount), MaxSnapshots: p.maxSnapshots, MaxWALs: orAll(p.maxWALs),
		Command: advance, WallCommand: wallClock, Mark: tree.Mark,
		Logger: p.logs.of("raft"),
	}, tree)
}

// mayForce refuses to make a second cluster of a member while the others of the first are a quorum.
func (p *process) mayForce(m raft.Membership, self uint64) error {
	n := discovery.Newcomer{Logger: p.log, DialTLS: p.ports.PeerTLS.DialTLS}
	var names []string
	for _, other := range n.Running(context.Background(), m, self) {
		if !other.Learner {
			names = append(names, fmt.Sprintf("%q at %s", other.Name, strings.Join(other.PeerURLs, ",")))
		}
	}
	voters := len(m.Members)
	for _, member := range m.Members {
		if member.Learner {
			voters--
		}
	}
	if len(names) == 0 || len(names) < voters/2+1 {
		return nil
	}
	return fmt.Errorf("--force-new-cluster: %s answer, and are a quorum of the %d members without this one, which would make a second cluster: "+
		"start it without the flag, and it takes part in the first", strings.Join(names, " and "), voters)
}

// transport carries messages to the other members and from them.
func (p *process) transport(plan discovery.Plan) *peer.Transport {
	return peer.New(peer.Config{
		Name: p.name, URLs: p.self(plan).PeerURLs, Version: version, Seeds: plan.Seeds(),
		Look:    p.lookUp(),
		DialTLS: p.ports.PeerTLS.DialTLS, AnyPeer: p.peer.Auto,
		Heartbeat: p.heartbeat, Logger: p.logs.of("peer"),
		MaxMessageBytes: peer.DefaultMaxMessageBytes + 2*p.maxRequestBytes, // at least two entries go to a member that lags
		Status:          p.status,
	})
}

// status is how this member is, for the others; nil while it starts.
func (p *process) status() []byte {
	if server := p.server.Load(); server != nil {
		return server.Status()
	}
	return nil
}

// lookUp returns what tells where the members are, by the flags that began the cluster; nil when
// none of these is given.
func (p *process) lookUp() func(context.Context) []raft.Member {
	n := discovery.Newcomer{Logger: p.log, DialTLS: p.ports.PeerTLS.DialTLS}
	var way string
	var ask func(context.Context) (raft.Membership, error)
	switch {
	case p.discovery != "":
		way = "discovery"
		ask = func(ctx context.Context) (raft.Membership, error) {
			return n.LookToken(ctx, p.discovery, p.discoveryProxy)
		}
	case p.discoverySRV != "":
		way = "discovery-srv"
		ask = func(ctx context.Context) (raft.Membership, error) { return n.LookSRV(ctx, p.discoverySRV) }
	case p.given["initial-cluster"]:
		way = "initial-cluster"
		ask = func(context.Context) (raft.Membership, error) { return discovery.Static(p.initialCluster, p.token) }
	default:
		return nil
	}
	return func(ctx context.Context) []raft.Member {
		m, err := ask(ctx)
		if err != nil && ctx.Err() == nil {
			p.log.Warn("no member answers, and it can't be looked up where the others are", "err", p.refusal(way, err))
		}
		return m.Members
	}
}

// self is what the member tells the others of itself at every start. With data, its peer URLs are in it only when somebody
// gave them: the default must not take the place of those that the cluster knows.
func (c *config) self(plan discovery.Plan) raft.Member {
	m := raft.Member{Name: c.name, PeerURLs: plan.Self.PeerURLs, ClientURLs: slices.Sorted(slices.Values(c.advertiseClient)), Version: version}
	if c.given["initial-advertise-peer-urls"] {
		m.PeerURLs = slices.Sorted(slices.Values(c.advertisePeer))
	}
	return m
}

// strays says what others will not find this member at, of what it tells them.
func (c *config) strays(clients, peers []string, self raft.Member) []string {
	return slices.Concat(strays("advertise-client-urls", self.ClientURLs, clients), strays("initial-advertise-peer-urls", self.PeerURLs, peers))
}

// strays returns a sentence for each advertised URL that can hardly be meant so, by those at which
// this process listens.
func strays(flag string, advertised, listened []string) (warnings []string) {
	for _, u := range advertised {
		at, _ := url.Parse(u) // it was checked when it was set
		ip := net.ParseIP(at.Hostname())
		samePort := slices.DeleteFunc(slices.Clone(listened), func(l string) bool { return !strings.HasSuffix(l, ":"+at.Port()) })
		why := ""
		switch {
		case ip != nil && ip.IsUnspecified():
			why = "this address stands for every machine: others that are told it will look on their own; give the address of this one"
		case len(samePort) == 0 && (at.Hostname() == "localhost" || ip != nil && ip.IsLoopback()):
			why = "this member does not listen at that port of its machine, but at " + strings.Join(listened, ",") + ": give the URL at which others find it, unless something leads from there to here"
		case len(samePort) > 0 && !slices.ContainsFunc(samePort, func(l string) bool { return certs.Secure(l) == certs.Secure(u) }):
			why = "at that port this member listens with the other scheme, as " + strings.Join(samePort, ",") + ": give the URL with the scheme that is spoken there"
		}
		if why != "" {
			warnings = append(warnings, "--"+flag+"="+u+": "+why)
		}
	}
	return warnings
}

// orAll is a number of files to keep, of which 0 means all.
func orAll(n int) int {
	if n == 0 {
		return math.MaxInt32
	}
	return n
}

// disks are the directories that may be on disks of their own.
func (c *config) disks() []string {
	if c.walDir == "" {
		return []string{c.dataDir}
	}
	return []string{c.dataDir, c.walDir}
}

// ownHosts are the names that this member was told it has: those in its URLs, and those of --host-whitelist.
func (c *config) ownHosts() []string {
	names := slices.Clone(c.hosts)
	for _, u := range slices.Concat(c.listenClient, c.advertiseClient, c.listenPeer, c.advertisePeer) {
		_, name, _ := strings.Cut(u, "://")
		names = append(names, name)
	}
	return names
}

// requestTimeout is how long a request may wait for agreement (API section 16).
func (c *config) requestTimeout() time.Duration { return 5*time.Second + 2*c.election }

// indices is how many indices of the store a change of the membership takes, as
// in etcd 2 (API section 6). So the first write of a new cluster of N gets 2N+2:
// N founders, N names, one version.
var indices = map[raft.ChangeKind]uint64{raft.ChangeAdd: 1, raft.ChangeUpdate: 1, raft.ChangeRemove: 2, raft.ChangeVersion: 1}

// advance is the command that goes into the tree with a change of the
// membership, if any.
func advance(k raft.ChangeKind) []byte {
	count, takes := indices[k]
	if !takes {
		return nil
	}
	command := store.Command{Op: store.OpAdvance, Count: count}
	return command.Append(nil)
}

// wallClock returns the command that tells the tree the leader's wall clock minus the cluster
// clock.
func wallClock(offset time.Duration) []byte {
	command := store.Command{Op: store.OpClock, TTL: offset}
	return command.Append(nil)
}

// answer serves clients, as soon as the node is ready, until ctx ends, the node
// fails or a listener does. The caller asks the node whether it has failed.
func (p *process) answer(ctx context.Context, node *raft.Node, tree *store.Store, others *peer.Transport) error {
	p.service.Follow(replaying(node))
	select {
	case <-node.Ready():
	case <-node.Failed():
		return nil
	case err := <-p.ports.Ended():
		return err
	case <-ctx.Done():
		return nil
	}
	c := p.clientPort()
	c.Node, c.Store, c.Name, c.Version = node, tree, p.name, version
	c.Election, c.RequestTimeout, c.Dirs = p.election, p.requestTimeout(), p.disks()
	c.ClientCertAuth, c.Survey = p.client.ClientAuth, others.Survey
	server, err := http.New(c)
	if err != nil {
		return err
	}
	p.server.Store(server)
	p.warnOfMissedURLs(node)
	p.log.Info("serving", "name", p.name, "version", version, "clients", p.advertiseClient, "peers", p.ports.PeerURLs, "data", p.dataDir)
	return p.serveClients(ctx, server, p.serving(node, server), node.Failed())
}

// warnOfMissedURLs tells when the other members call this one where it does not listen. Of URLs that
// were given strays may have said it.
func (p *process) warnOfMissedURLs(node *raft.Node) {
	self, _ := node.Membership().Find(node.ID())
	called := self.PeerURLs
	if p.given["initial-advertise-peer-urls"] { // the cluster may not have learnt them yet
		called = slices.DeleteFunc(slices.Clone(p.advertisePeer), func(u string) bool {
			return len(strays("", []string{u}, p.ports.PeerURLs)) > 0
		})
	}
	if missed := ports.Misses(called, p.ports.PeerURLs); len(missed) > 0 {
		p.log.Warn("other members call this one at peer URLs that lead to none of its listeners, unless something in between forwards them",
			"called", missed, "listening", p.ports.PeerURLs, "remedy", "give --listen-peer-urls and --initial-advertise-peer-urls that fit each other")
	}
}

// clientPort is what a member's client port and a proxy's have in common.
func (p *process) clientPort() http.Config {
	return http.Config{
		Logger: p.logs.of("http"), Security: p.logs.of("auth"), SetLogLevel: p.logs.setLevel, LogLinesLost: p.logs.w.lost.Load,
		CORS: p.cors, Hosts: p.ownHosts(), Pprof: p.pprof, Page: p.page, Args: shownArgs(os.Args), MaxRequestBytes: int64(p.maxRequestBytes),
		TLS: p.ports.ClientTLS, PeerTLS: p.ports.PeerTLS,
	}
}

// serveClients lets server answer until ctx or a listener ends, or failed is closed. Then it stops accepting, ends watches, and waits
// for the requests in flight.
func (p *process) serveClients(ctx context.Context, server *http.Server, look func() systemd.Condition, failed <-chan struct{}) (err error) {
	p.ports.Serve(server)
	p.service.Follow(look)
	p.service.Ready()
	select {
	case <-ctx.Done():
	case <-failed:
	case err = <-p.ports.Ended():
	}
	p.log.Info("stopping", "signal", ctx.Err() != nil)
	p.service.Stopping()
	if late := patiently(failed, server.Shutdown); late != nil {
		p.log.Warn("some requests in flight do not end; going on without them", "err", late)
	}
	return err
}

// patiently gives a part of the program stopPatience to stop, but only failPatience once failed is
// closed.
func patiently(failed <-chan struct{}, stop func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	go func() {
		select {
		case <-failed:
			time.AfterFunc(failPatience, cancel)
		case <-ctx.Done():
		}
	}()
	return stop(ctx)
}

// The conditions that systemd is told of, one after the other. The first two end by themselves, or are over when another member comes:
// to start anew would be to begin them again.

func doing(status string) func() systemd.Condition {
	return func() systemd.Condition { return systemd.Condition{Status: status} }
}

func replaying(node *raft.Node) func() systemd.Condition {
	return func() systemd.Condition {
		index, _ := node.Applied()
		what, since := node.Stuck()
		return systemd.Condition{Status: fmt.Sprintf("replaying the log, now at %d", index), Doing: what, For: since}
	}
}

func (p *process) serving(node *raft.Node, server *http.Server) func() systemd.Condition {
	return func() systemd.Condition {
		what, since := node.Stuck()
		status := role(node.ID(), node.Leader(), node.Membership())
		if ill := server.OutOfTouch(); ill != "" {
			status += "; " + ill
		}
		return systemd.Condition{Status: status, Doing: what, For: since}
	}
}

// role is what a member is in its cluster, in words.
func role(self, leader uint64, cluster raft.Membership) string {
	text := "no leader"
	switch leader {
	case raft.None:
	case self:
		text = "leader"
	default:
		m, _ := cluster.Find(leader) // one that is unknown here has no name
		text = "follower of " + cmp.Or(m.Name, strconv.FormatUint(leader, 16))
	}
	if len(cluster.Members) == 1 {
		return text + ", the only member"
	}
	return fmt.Sprintf("%s, one of %d members", text, len(cluster.Members))
}

// Proxy.

// chooseRole makes this process what its data directory is one of, whatever the flags say.
func (c *config) chooseRole(member bool, log *slog.Logger) error {
	wasProxy, err := proxy.Exists(c.dataDir)
	switch {
	case err != nil:
		return err
	case member && wasProxy:
		return fmt.Errorf("invalid datadir. Both member and proxy directories exist: %s: delete the one that is not wanted", c.dataDir)
	case member && c.isProxy():
		log.Warn("--proxy is ignored: there is a member in the data directory; for a proxy give it another one", "data", c.dataDir)
		c.proxy = "off"
	case wasProxy && c.forceNew:
		return fmt.Errorf("--force-new-cluster: there is a proxy in %s: give the data of a member as --data-dir", c.dataDir)
	case wasProxy && !c.isProxy():
		log.Warn("this is a proxy, since there is one in the data directory; for a member give it another one", "data", c.dataDir)
		c.proxy = "on"
	}
	if c.isProxy() {
		c.listenPeer = nil
	}
	return nil
}

func (c *config) isProxy() bool { return c.proxy != "off" }

// findAndForward is a proxy from its start.
func (p *process) findAndForward(ctx context.Context) error {
	seeds, err := p.seeds(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	return p.forward(ctx, seeds)
}

// seeds are the peer URLs at which a proxy may find the cluster for the first time. One that remembers it looks no further than its flags.
func (p *process) seeds(ctx context.Context) ([]string, error) {
	known, err := proxy.Remembered(p.dataDir)
	if err != nil {
		return nil, err
	}
	n := discovery.Newcomer{Logger: p.log, DialTLS: p.ports.PeerTLS.DialTLS}
	var m raft.Membership
	way := "initial-cluster"
	switch {
	case len(known) > 0 && !p.given["initial-cluster"]:
		return nil, nil
	case len(p.join) > 0:
		return p.join, nil
	case p.discovery != "":
		way = "discovery"
		m, err = n.LookToken(ctx, p.discovery, p.discoveryProxy)
	case p.discoverySRV != "":
		way = "discovery-srv"
		m, err = n.LookSRV(ctx, p.discoverySRV)
	default:
		m, err = discovery.Static(p.initialCluster, p.token)
	}
	if ctx.Err() != nil {
		return nil, nil // it was not wanted any more
	}
	return peerURLs(m), p.refusal(way, err)
}

func peerURLs(m raft.Membership) (urls []string) {
	for _, p := range m.Members {
		urls = append(urls, p.PeerURLs...)
	}
	return urls
}

// forward serves clients with the answers of members, until ctx ends or a listener does.
func (p *process) forward(ctx context.Context, seeds []string) error {
	p.ports.DropPeers()
	relay, err := proxy.New(proxy.Config{
		Dir: p.dataDir, Seeds: seeds, Own: p.ownURLs(),
		FailureWait: p.proxyTimes.failureWait, RefreshInterval: p.proxyTimes.refresh,
		DialTimeout: p.proxyTimes.dial, WriteTimeout: p.proxyTimes.write, ReadTimeout: p.proxyTimes.read,
		DialTLS: p.ports.ClientTLS.DialTLS, PeerDialTLS: p.ports.PeerTLS.DialTLS,
		Logger: p.logs.of("proxy"),
	})
	if err != nil {
		return err
	}
	defer relay.Close()
	server, err := http.NewFront(p.clientPort(), http.Front{
		Handler: relay, ReadOnly: p.proxy == "readonly", Ill: relay.Ill, Metrics: relay.Metrics, End: relay.Close,
	})
	if err != nil {
		return err
	}
	select {
	case <-relay.Asked():
	case <-time.After(seedPatience):
	case <-ctx.Done():
		return nil
	}
	p.log.Info("serving as a proxy", "version", version, "clients", p.listenClient, "readonly", p.proxy == "readonly", "data", p.dataDir)
	status := func() systemd.Condition { return systemd.Condition{Status: cmp.Or(relay.Ill(), "proxy")} }
	return p.serveClients(ctx, server, status, nil)
}

// ownURLs are those at which this process itself answers clients.
func (c *config) ownURLs() []string {
	if c.given["advertise-client-urls"] {
		return slices.Concat(c.listenClient, c.advertiseClient)
	}
	return c.listenClient
}

// seedPatience is how long a proxy waits for the cluster before it says that it is ready: whoever comes later than that is told
// that there is none.
const seedPatience = 3 * time.Second

// A trial of the configuration.

// tell writes what a start would do, and returns the error that would end it. Both follow from the
// code that the start itself goes by. No port is opened, no member asked, and nothing written.
func (c *config) tell(w io.Writer, l *logs) error {
	there, err := raft.Exists(c.dataDir, c.walDir)
	if err := cmp.Or(err, c.chooseRole(there, l.of("main"))); err != nil {
		return c.blameDir(err)
	}
	list := func(urls []string) string { return strings.Join(urls, ",") }
	c.line(w, "name", "%s", c.name)
	if c.isProxy() {
		c.line(w, "role", "proxy (%s)", c.proxy)
		c.line(w, "clients", "answered at %s", list(c.listenClient))
	} else {
		c.line(w, "role", "member")
		c.line(w, "clients", "answered at %s; told to come to %s", list(c.listenClient), list(c.advertiseClient))
		c.line(w, "members", "answered at %s; told to come to %s", list(c.listenPeer), list(c.advertisePeer))
	}
	if err := c.tellData(w, there); err != nil {
		return err
	}
	plan, err := c.tellCluster(w, there, l.of("main"))
	if err != nil {
		return err
	}
	for _, warning := range c.strays(c.listenClient, c.listenPeer, c.self(plan)) {
		if !c.isProxy() {
			l.of("main").Warn(warning)
		}
	}
	err = cmp.Or(c.tellCertificates(w, &c.client, c.listenClient, c.advertiseClient, l), c.tellCertificates(w, &c.peer, c.listenPeer, c.advertisePeer, l))
	if err == nil {
		c.line(w, "verdict", "nothing here keeps it from starting; ports, other members and the disk were not tried")
	}
	return err
}

func (c *config) line(w io.Writer, what, format string, args ...any) {
	fmt.Fprintf(w, "%-14s%s\n", what+":", fmt.Sprintf(format, args...))
}

// tellData writes which directory holds what. A damaged snapshot does not keep a member from
// starting, as long as its log is good.
func (c *config) tellData(w io.Writer, there bool) error {
	if !there {
		c.line(w, "data", "%s: no member so far", c.dataDir)
		c.line(w, "log", "%s: none so far", c.walDir)
		return nil
	}
	r, err := raft.Verify(c.dataDir, raft.VerifyOptions{WALDir: c.walDir})
	if err != nil {
		return err
	}
	c.line(w, "data", "%s: a member", c.dataDir)
	for _, found := range r.Found {
		c.line(w, "data", "%s", found)
	}
	for i := range r.Faults {
		if filepath.Ext(r.Faults[i].File) != ".snap" {
			return &r.Faults[i]
		}
		c.line(w, "data", "FAULT %v", &r.Faults[i])
	}
	return nil
}

// tellCluster writes which cluster it will be, as far as that is known without asking anybody.
func (c *config) tellCluster(w io.Writer, there bool, log *slog.Logger) (plan discovery.Plan, err error) {
	if there, err = c.settled(there, log); err != nil {
		return plan, err
	}
	n := discovery.Newcomer{Name: c.name, PeerURLs: c.advertisePeer, Logger: log}
	switch {
	case there:
		c.line(w, "cluster", "the one of the data; of the flags only addresses count")
	case c.isProxy() && len(c.join) == 0 && c.discovery == "" && c.discoverySRV == "":
		c.line(w, "cluster", "the one that a proxy has remembered in %s, or else %s", c.dataDir, c.initialCluster)
	case len(c.join) > 0:
		c.line(w, "cluster", "asked for at %s", strings.Join(c.join, ","))
	case c.discovery != "" || c.discoverySRV != "":
		c.line(w, "cluster", "asked for at %s", cmp.Or(c.discovery, "the DNS for "+c.discoverySRV))
	case c.state == "existing":
		if plan, err = n.ListedExisting(context.Background(), c.initialCluster); err != nil {
			return plan, c.refusal("initial-cluster", err)
		}
		c.line(w, "cluster", "a running one that has a place for this member: %s", c.initialCluster)
	default:
		if plan, err = n.Listed(context.Background(), c.initialCluster, c.token); err != nil {
			return plan, c.refusal("initial-cluster", err)
		}
		c.line(w, "cluster", "begins as %x, with %d members: %s", plan.Cluster.ClusterID, len(plan.Cluster.Members), c.initialCluster)
	}
	return plan, nil
}

// tellCertificates writes which certificates a port has, and until when they are good.
func (c *config) tellCertificates(w io.Writer, f *certs.Flags, listened, advertised []string, l *logs) error {
	if f.Auto {
		c.line(w, "certificates", "%s port: one of its own, in %s, renewed by itself", f.Port, filepath.Join(c.dataDir, "fixtures", f.Port))
		return nil
	}
	set, err := f.Load("", slices.Concat(listened, advertised), l.of("certs"))
	if err != nil {
		return err
	}
	set.Expiries(func(file, subject, _ string, end time.Time) {
		c.line(w, "certificates", "%s port: %s, %s, until %s", f.Port, file, subject, end.UTC().Format(time.RFC3339))
	})
	return nil
}

// Memory.

// The heap may grow by spareHeap bytes and spareShare percent of what lives in it before the garbage collector runs. Its
// own rule, 100 percent, has it run all the time over a small tree, and doubles the memory of a large one.
const (
	spareHeap  = 12 << 20
	spareShare = 60
)

// paceGC sets that, and again after every run of the collector, for the heap that it found. The
// percentage counts for stacks and globals, too, and for 4 MiB at least (package runtime: "GOGC").
func paceGC() {
	found := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(found)
	live, base := found[0].Value.Uint64(), uint64(0)
	for _, s := range found {
		base += s.Value.Uint64()
	}
	debug.SetGCPercent(int((spareHeap + live*spareShare/100) * 100 / max(base, 4<<20)))
	type garbage struct{ _ *garbage }
	runtime.AddCleanup(new(garbage), func(struct{}) { paceGC() }, struct{}{})
}

// Configuration.

// A config is everything that can be chosen, after all checks.
type config struct {
	name, dataDir, walDir                 string
	snapshotCount                         int
	maxSnapshots, maxWALs                 int // files kept; 0 means all
	heartbeat, election                   time.Duration
	listenClient, advertiseClient         []string
	listenPeer, advertisePeer, join       []string
	initialCluster, state, token          string
	discovery, discoverySRV               string
	fallback                              string   // what a member does that its discovery URL has no place for
	discoveryProxy                        *url.URL // nil: none
	cors, hosts                           []string
	maxRequestBytes                       int
	eventHistory                          int
	quotaBytes                            int // 0: by the memory
	pprof, page, debug, forceNew, version bool
	check                                 bool // say what would be done, and do nothing
	client, peer                          certs.Flags
	addr, bindAddr                        string // of etcd 0.4, IP:PORT
	peerAddr, peerBindAddr                string
	strict                                bool
	proxy                                 string // off, on or readonly
	proxyTimes                            struct{ failureWait, refresh, dial, write, read time.Duration }
	levels                                map[string]slog.Level

	given    map[string]bool // flags that somebody set, by name
	notes    []string        // what the log should tell about the environment
	warnings []string        // what it should tell about the flags
}

// A setting is one flag: --name VALUE on the command line, ETCD_NAME=VALUE in
// the environment. One without an arg is a switch.
type setting struct {
	group  string
	name   string
	preset string
	arg    string // what the value is, for --help
	help   string
	set    func(value string) error // checks and stores
}

const (
	presetClientURLs = "http://localhost:2379,http://localhost:4001"
	presetPeerURLs   = "http://localhost:2380,http://localhost:7001"
)

// settings is the table of all flags. A new flag is one new line here.
func (c *config) settings() []setting {
	return []setting{
		{"Member", "name", "default", "NAME", "name of this member, unique in its cluster", name(&c.name)},
		{"Member", "data-dir", "", "DIR", "where everything is kept; empty means NAME.etcd", text(&c.dataDir)},
		{"Member", "wal-dir", "", "DIR", "where the log is kept, to give it a disk of its own; empty means inside the data directory", text(&c.walDir)},
		{"Member", "snapshot-count", "10000", "N", "least number of entries between two snapshots, unless they are 64 MiB", number(&c.snapshotCount, 1, 1<<31-1)},
		{"Member", "max-snapshots", "5", "N", "snapshot files kept, at least two; 0 keeps all", number(&c.maxSnapshots, 0, 1<<20)},
		{"Member", "max-wals", "5", "N", "log files kept that no restart needs; 0 keeps all", number(&c.maxWALs, 0, 1<<20)},
		{"Member", "heartbeat-interval", "100", "MS", "milliseconds between two heartbeats of a leader", milliseconds(&c.heartbeat, 1, 10_000)},
		{"Member", "election-timeout", "1000", "MS", "milliseconds without a leader before an election; at least five heartbeats, under 50000", milliseconds(&c.election, 5, 49_999)},
		{"Member", "listen-client-urls", presetClientURLs, "URL,...", "where clients are answered", urls(&c.listenClient)},
		{"Member", "listen-peer-urls", presetPeerURLs, "URL,...", "where other members are answered", urls(&c.listenPeer)},

		{"Cluster", "advertise-client-urls", presetClientURLs, "URL,...", "where clients find this member, as the cluster tells them", urls(&c.advertiseClient)},
		{"Cluster", "initial-advertise-peer-urls", presetPeerURLs, "URL,...", "where other members find this one; when given, the cluster learns it at every start", urls(&c.advertisePeer)},
		{"Cluster", "initial-cluster", "", "NAME=URL,...", "the members that begin the cluster; empty means this one alone, at its --initial-advertise-peer-urls", text(&c.initialCluster)},
		{"Cluster", "initial-cluster-state", "new", "new|existing", "whether the listed members begin a cluster, or this one takes the place that a running one has made for it (POST /v2/members)", choice(&c.state, "new", "existing")},
		{"Cluster", "join", "", "URL,...", "running members, at client or peer URLs, that take this one in when it has no data; needs no list", optional(urls(&c.join))},
		{"Cluster", "initial-cluster-token", "etcd-cluster", "TEXT", "keeps clusters apart that were begun with the same URLs", text(&c.token)},
		{"Cluster", "discovery", "", "URL", "where the founders of the cluster find each other: a discovery URL, made for so many members", optional(service(&c.discovery))},
		{"Cluster", "discovery-fallback", "proxy", "exit|proxy", "what a member does that comes when there are as many already", choice(&c.fallback, "exit", "proxy")},
		{"Cluster", "discovery-proxy", "", "URL", "an HTTP proxy on the way to the discovery URL", optional(proxyURL(&c.discoveryProxy))},
		{"Cluster", "discovery-srv", "", "DOMAIN", "a domain whose DNS SRV records list the members that begin the cluster: _etcd-server._tcp, and _etcd-server-ssl._tcp for https", optional(domain(&c.discoverySRV))},
		{"Cluster", "strict-reconfig-check", "true", "", "accepted for the sake of etcd 2: a change of the membership that would lose the quorum is always refused", toggle(&c.strict)},
		{"Cluster", "force-new-cluster", "false", "", "go on from the data as a cluster of this member alone", toggle(&c.forceNew)},

		{"Proxy", "proxy", "off", "off|readonly|on", "be no member, but hand on what clients ask to the members; with readonly, only what reads", choice(&c.proxy, "off", "readonly", "on")},
		{"Proxy", "proxy-failure-wait", "5000", "MS", "milliseconds for which a member is left alone that did not answer", milliseconds(&c.proxyTimes.failureWait, 1, 1<<31-1)},
		{"Proxy", "proxy-refresh-interval", "30000", "MS", "milliseconds between two questions to the members who they are", milliseconds(&c.proxyTimes.refresh, 1, 1<<31-1)},
		{"Proxy", "proxy-dial-timeout", "1000", "MS", "milliseconds for a connection to a member", milliseconds(&c.proxyTimes.dial, 1, 1<<31-1)},
		{"Proxy", "proxy-write-timeout", "5000", "MS", "milliseconds for each piece that is sent to a member", milliseconds(&c.proxyTimes.write, 1, 1<<31-1)},
		{"Proxy", "proxy-read-timeout", "0", "MS", "milliseconds for each piece that a member sends; 0 means no limit, any other ends watches in which nothing happens", milliseconds(&c.proxyTimes.read, 0, 1<<31-1)},

		{"Clients", "cors", "", "ORIGIN,...", "web origins that may ask from a browser, or *", origins(&c.cors)},
		{"Clients", "host-whitelist", "", "NAME,...", "names by which browsers may call this member over plain HTTP, besides addresses, localhost and the hosts of its URLs; or *", hostNames(&c.hosts)},
		{"Clients", "max-request-bytes", "10485760", "BYTES", "longest request body", number(&c.maxRequestBytes, 1, 1<<30)},
		{"Clients", "event-history", "100000", "N", "events kept for watches of the past", number(&c.eventHistory, 1, 1<<30)},
		{"Clients", "page", "true", "", "show browsers a page of the cluster and its keys at /", toggle(&c.page)},
		{"Clients", "quota-bytes", "0", "BYTES", "memory that the tree may take before writes that make it grow are refused; 0 means a quarter of the memory", number(&c.quotaBytes, 0, math.MaxInt)},
		{"Clients", "enable-pprof", "false", "", "serve profiles at /debug/pprof", toggle(&c.pprof)},

		{"TLS", "cert-file", "", "FILE", "certificate for https clients, in PEM, with those between it and its authority; this and the other files are read again when they change", text(&c.client.Cert)},
		{"TLS", "key-file", "", "FILE", "its key", text(&c.client.Key)},
		{"TLS", "client-cert-auth", "false", "", "refuse https clients without a certificate of --trusted-ca-file", toggle(&c.client.ClientAuth)},
		{"TLS", "trusted-ca-file", "", "FILE", "authorities of clients' certificates, in PEM; whoever shows one must show a right one", text(&c.client.CA)},
		{"TLS", "client-crl-file", "", "FILE", "clients' certificates that were revoked: lists signed by --trusted-ca-file", text(&c.client.CRL)},
		{"TLS", "auto-tls", "false", "", "serve https clients with a certificate made here, under DATA/fixtures", toggle(&c.client.Auto)},
		{"TLS", "ca-file", "", "FILE", "old form of --trusted-ca-file with --client-cert-auth", text(&c.client.OldCA)},
		{"TLS", "peer-cert-file", "", "FILE", "certificate for https among members, which serves in both directions", text(&c.peer.Cert)},
		{"TLS", "peer-key-file", "", "FILE", "its key", text(&c.peer.Key)},
		{"TLS", "peer-client-cert-auth", "false", "", "refuse members without a certificate of --peer-trusted-ca-file", toggle(&c.peer.ClientAuth)},
		{"TLS", "peer-trusted-ca-file", "", "FILE", "authorities of members' certificates; without it, those of the machine are trusted for members that are called", text(&c.peer.CA)},
		{"TLS", "peer-cert-allowed-cn", "", "NAME,...", "common names of which a member's certificate must have one; needs --peer-client-cert-auth", text(&c.peer.Names)},
		{"TLS", "peer-crl-file", "", "FILE", "members' certificates that were revoked: lists signed by --peer-trusted-ca-file", text(&c.peer.CRL)},
		{"TLS", "peer-auto-tls", "false", "", "talk to members with certificates made here: encrypted, but nobody finds out who is at the other end", toggle(&c.peer.Auto)},
		{"TLS", "peer-ca-file", "", "FILE", "old form of --peer-trusted-ca-file with --peer-client-cert-auth", text(&c.peer.OldCA)},

		{"Old forms", "addr", "", "IP:PORT", "old form of --advertise-client-urls, which also listens at [::]:PORT", optional(ipPort(&c.addr))},
		{"Old forms", "bind-addr", "", "IP:PORT", "old form of --listen-client-urls", optional(ipPort(&c.bindAddr))},
		{"Old forms", "peer-addr", "", "IP:PORT", "old form of --initial-advertise-peer-urls, which also listens at [::]:PORT", optional(ipPort(&c.peerAddr))},
		{"Old forms", "peer-bind-addr", "", "IP:PORT", "old form of --listen-peer-urls", optional(ipPort(&c.peerBindAddr))},

		{"Trial", "check-config", "false", "", "say what a start with all these flags and variables would do, and end: no port is opened, nobody is asked, nothing is written; status 1 when it would be refused", toggle(&c.check)},

		{"Logging", "debug", "false", "", "log at level DEBUG", toggle(&c.debug)},
		{"Logging", "log-package-levels", "", "PKG=LEVEL,...", "levels of single packages, as raft=DEBUG,http=WARNING", packageLevels(&c.levels)},
	}
}

// A relic is a flag that does nothing any more.
type relic struct {
	name string
	arg  bool   // it has a value; without one it is a switch
	gone string // why it is ignored; empty: it is refused
}

const (
	unsupported = "is no longer supported"
	ofV3        = "is of the API of etcd 3, which is not here"
)

// relics is the table of all flags of etcd 0.4 to 2.3 that do nothing here.
var relics = []relic{
	{"cluster-active-size", false, unsupported}, {"cluster-remove-delay", false, unsupported}, {"cluster-sync-interval", false, unsupported},
	{"config", false, unsupported}, {"force", false, unsupported}, {"max-result-buffer", false, unsupported}, {"max-retry-attempts", false, unsupported},
	{"peer-heartbeat-interval", false, unsupported}, {"peer-election-timeout", false, unsupported}, {"retry-interval", false, unsupported},
	{"snapshot", false, unsupported}, {"v", false, unsupported}, {"vv", false, unsupported},
	{"experimental-v3demo", false, ofV3}, {"experimental-gRPC-addr", true, ofV3}, {"experimental-auto-compaction-retention", true, ofV3},
	{"peers", true, ""}, {"peers-file", true, ""},
}

// relics are the flags that do nothing, as settings that say so.
func (c *config) relics() (list []setting) {
	for _, r := range relics {
		s := setting{name: r.name, set: func(string) error {
			c.warnings = append(c.warnings, fmt.Sprintf("flag \"-%s\" %s - ignoring.", r.name, r.gone))
			return nil
		}}
		if r.arg {
			s.arg = "VALUE"
		}
		if r.gone == "" {
			s.set = func(string) error {
				return fmt.Errorf("flag \"-%s\" is no longer supported: give the members as --initial-cluster, or some of them as --join", r.name)
			}
		}
		list = append(list, s)
	}
	return list
}

// configure makes the configuration of defaults, environment and command line,
// each beaten by the next.
func configure(args, environ []string) (*config, error) {
	c := &config{given: map[string]bool{}, client: certs.Flags{Port: certs.ClientPort}, peer: certs.Flags{Port: certs.PeerPort}}
	settings := c.settings()
	for _, s := range settings {
		if err := s.set(s.preset); err != nil {
			panic(fmt.Sprintf("main: the default of --%s is refused: %v", s.name, err))
		}
	}
	settings = append(settings, c.relics()...)
	if err := c.parse(args, settings); err != nil || c.version {
		return c, err
	}
	if err := c.readEnvironment(environ, settings); err != nil {
		return c, err
	}
	if err := c.takeOldForms(); err != nil {
		return c, err
	}
	c.deriveDefaults()
	return c, c.contradiction()
}

// parse applies the command line.
func (c *config) parse(args []string, settings []setting) error {
	fs := flag.NewFlagSet("etcd2", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.BoolVar(&c.version, "version", false, "")
	var refused error
	for _, s := range settings {
		set := func(value string) error {
			err := s.set(value)
			if err != nil {
				refused = invalid(value, "flag -"+s.name, err)
			}
			return err
		}
		if s.arg == "" {
			fs.BoolFunc(s.name, s.help, set)
		} else {
			fs.Func(s.name, s.help, set)
		}
	}
	if err := fs.Parse(args); err != nil {
		return cmp.Or(refused, err)
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%q is not a flag: write --name=value", withoutPassword(fs.Arg(0)))
	}
	fs.Visit(func(f *flag.Flag) { c.given[f.Name] = true })
	return nil
}

// readEnvironment applies the variables of flags that the command line does
// not set. An empty variable counts as unset.
func (c *config) readEnvironment(environ []string, settings []setting) error {
	for _, entry := range environ {
		variable, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(variable, "ETCD_") || value == "" {
			continue
		}
		i := slices.IndexFunc(settings, func(s setting) bool { return s.variable() == variable })
		switch {
		case i < 0:
			c.warnings = append(c.warnings, "unrecognized environment variable "+variable) // its value may be somebody's secret
		case c.given[settings[i].name]:
			c.notes = append(c.notes, "recognized environment variable "+variable+", but unused: shadowed by corresponding flag")
		default:
			c.notes = append(c.notes, "recognized and used environment variable "+variable+"="+withoutPassword(value))
			if err := settings[i].set(value); err != nil {
				return invalid(value, variable, err)
			}
			c.given[settings[i].name] = true
		}
	}
	return nil
}

// invalid is the error of a value that set refuses; place is where it was given.
func invalid(value, place string, err error) error {
	return fmt.Errorf("invalid value %q for %s: %w", withoutPassword(value), place, err)
}

// withoutPassword returns the value of a flag with xxxxx for the user and the password that may be in it:
// all before the last @, if there is a colon.
func withoutPassword(value string) string {
	end := strings.LastIndexByte(value, '@')
	if end < 0 || !strings.Contains(value[:end], ":") {
		return value
	}
	return "xxxxx" + value[end:]
}

// shownArgs are the arguments of this process without passwords.
func shownArgs(args []string) (shown []string) {
	for _, arg := range args {
		flag, value, found := strings.Cut(arg, "=")
		if found && strings.HasPrefix(flag, "-") {
			arg = flag + "=" + withoutPassword(value)
		}
		shown = append(shown, withoutPassword(arg))
	}
	return shown
}

// variable is the flag's name in the environment.
func (s setting) variable() string {
	return "ETCD_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// takeOldForms brings --addr and its like to the form of today. An address that is advertised is listened at as well, at all addresses of
// the machine, unless it is said where.
func (c *config) takeOldForms() error {
	return cmp.Or(
		c.takeOldForm("addr", c.addr, "advertise-client-urls", &c.advertiseClient, &c.client),
		c.takeOldForm("peer-addr", c.peerAddr, "initial-advertise-peer-urls", &c.advertisePeer, &c.peer),
		c.takeOldBind("bind-addr", c.bindAddr, "addr", c.addr, "listen-client-urls", &c.listenClient, &c.client),
		c.takeOldBind("peer-bind-addr", c.peerBindAddr, "peer-addr", c.peerAddr, "listen-peer-urls", &c.listenPeer, &c.peer),
	)
}

// takeOldForm takes one flag's address over into the URLs of the flag that has replaced it.
func (c *config) takeOldForm(old, address, flag string, urls *[]string, tls *certs.Flags) error {
	switch {
	case address == "":
		return nil
	case c.given[flag]:
		return fmt.Errorf("set only one of flags -%s and -%s", flag, old)
	}
	*urls, c.given[flag] = []string{tls.Scheme() + "://" + address}, true
	return nil
}

func (c *config) takeOldBind(bind, bound, old, address, flag string, urls *[]string, tls *certs.Flags) error {
	if bound == "" && address != "" {
		_, port, _ := net.SplitHostPort(address) // it was checked when it was set
		bind, bound = old, net.JoinHostPort("::", port)
	}
	return c.takeOldForm(bind, bound, flag, urls, tls)
}

// deriveDefaults fills in the defaults that follow from other flags.
func (c *config) deriveDefaults() {
	if c.dataDir == "" {
		c.dataDir = c.name + ".etcd"
	}
	if c.walDir == "" {
		c.walDir = filepath.Join(c.dataDir, "member", "wal")
	}
	if c.initialCluster == "" {
		delete(c.given, "initial-cluster") // an empty list is none
		var members []string
		for _, u := range c.advertisePeer {
			members = append(members, c.name+"="+u)
		}
		c.initialCluster = strings.Join(members, ",")
	}
}

// contradiction returns what is wrong between flags that are right one by one.
func (c *config) contradiction() error {
	found := c.discovery != "" || c.discoverySRV != ""
	switch {
	case c.discovery != "" && c.discoverySRV != "", found && c.given["initial-cluster"]:
		return errors.New(`multiple discovery or bootstrap flags are set. Choose one of "initial-cluster", "discovery" or "discovery-srv"`)
	case found && (len(c.join) > 0 || c.state == "existing"):
		return errors.New("--discovery and --discovery-srv begin a new cluster, --join and --initial-cluster-state=existing enter a running one; give one of them")
	case c.given["listen-client-urls"] && !c.given["advertise-client-urls"] && c.bindAddr == "" && !c.mayBeProxy():
		return errors.New("--listen-client-urls needs --advertise-client-urls: give the URLs under which clients reach this member")
	case len(c.join) > 0 && c.given["initial-cluster"]:
		return errors.New("--join and --initial-cluster contradict each other: a member that joins is told who is in the cluster; give one of them")
	case len(c.join) > 0 && c.state == "existing":
		return errors.New("--join and --initial-cluster-state=existing contradict each other: one makes a place in the cluster, the other takes one that was made; give one of them")
	case filepath.Clean(c.walDir) == filepath.Clean(c.dataDir):
		return fmt.Errorf("--wal-dir=%s is the data directory: give the log a directory of its own, or leave the flag out", c.walDir)
	case c.election < 5*c.heartbeat:
		return fmt.Errorf("--election-timeout=%d is less than five times --heartbeat-interval=%d: give at least %d",
			c.election.Milliseconds(), c.heartbeat.Milliseconds(), 5*c.heartbeat.Milliseconds())
	}
	if !c.strict {
		c.warnings = append(c.warnings, "--strict-reconfig-check=false is ignored: a change that would lose the quorum is always refused")
	}
	client, err := c.client.Check(c.listenClient)
	peer, peerErr := c.peer.Check(c.listenPeer)
	if c.isProxy() { // it listens for no peers, and its certificate is for asking them
		peer, peerErr = nil, nil
	} else {
		c.peer.ClientCA = c.client.CA
	}
	c.warnings = append(c.warnings, slices.Concat(client, peer)...)
	return cmp.Or(err, peerErr)
}

// mayBeProxy tells that nobody need know where this process is.
func (c *config) mayBeProxy() bool {
	if there, err := proxy.Exists(c.dataDir); err == nil && there {
		return true
	}
	return c.isProxy() || c.discovery != "" && c.fallback == "proxy"
}

// The kinds of values: each returns what checks a value and stores it.

func text(p *string) func(string) error {
	return func(v string) error { *p = v; return nil }
}

func name(p *string) func(string) error {
	return func(v string) error {
		if v == "" || strings.ContainsAny(v, "=, \t\n") {
			return errors.New("want a name without blank, comma or equals sign")
		}
		*p = v
		return nil
	}
}

func number(p *int, least, most int) func(string) error {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < least || n > most {
			return fmt.Errorf("want a whole number from %d to %d", least, most)
		}
		*p = n
		return nil
	}
}

func milliseconds(p *time.Duration, least, most int) func(string) error {
	var ms int
	check := number(&ms, least, most)
	return func(v string) error {
		err := check(v)
		if err == nil {
			*p = time.Duration(ms) * time.Millisecond
		}
		return err
	}
}

func toggle(p *bool) func(string) error {
	return func(v string) (err error) {
		if *p, err = strconv.ParseBool(v); err != nil {
			return errors.New("want true or false")
		}
		return nil
	}
}

func choice(p *string, values ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(values, v) {
			return errors.New("want " + strings.Join(values, " or "))
		}
		*p = v
		return nil
	}
}

func urls(p *[]string) func(string) error {
	return func(v string) (err error) {
		*p, err = discovery.ParseURLs(v)
		return err
	}
}

// ipPort is an address as etcd 0.4 has them.
func ipPort(p *string) func(string) error {
	return func(v string) error {
		host, port, err := net.SplitHostPort(strings.TrimSpace(v))
		n, notNumber := strconv.Atoi(port)
		switch {
		case err != nil:
			return fmt.Errorf("%w: want IP:PORT", err)
		case net.ParseIP(host) == nil:
			return errors.New("bad IP in address specification: want IP:PORT")
		case notNumber != nil || n < 1 || n > 65535:
			return errors.New("bad port in address specification: want IP:PORT")
		}
		*p = net.JoinHostPort(host, port)
		return nil
	}
}

// optional lets a value be empty.
func optional(set func(string) error) func(string) error {
	return func(v string) error {
		if v == "" {
			return nil
		}
		return set(v)
	}
}

func service(p *string) func(string) error {
	return func(v string) error {
		*p = v // as it is: the ids of the members depend on every character
		_, err := discovery.ParseService(v)
		return err
	}
}

// proxyURL is that of an HTTP proxy; http:// may be left out.
func proxyURL(p **url.URL) func(string) error {
	return func(v string) (err error) {
		if !strings.Contains(v, "://") {
			v = "http://" + v
		}
		if *p, err = url.Parse(v); err != nil || (*p).Hostname() == "" || (*p).Scheme != "http" && (*p).Scheme != "https" {
			return errors.New("want http://HOST:PORT")
		}
		return nil
	}
}

func domain(p *string) func(string) error {
	return func(v string) error {
		if len(v) > 253 || strings.Trim(strings.ToLower(v), "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			return errors.New("want a domain, as example.com")
		}
		*p = v
		return nil
	}
}

func origins(p *[]string) func(string) error {
	return func(v string) error {
		*p = nil
		for origin := range strings.SplitSeq(v, ",") {
			u, err := url.Parse(origin)
			if err != nil || origin != "" && origin != "*" && (u.Host == "" || u.Scheme+"://"+u.Host != origin) {
				return errors.New("want origins as http://HOST, separated by commas, or *")
			}
			if origin != "" {
				*p = append(*p, origin)
			}
		}
		return nil
	}
}

func hostNames(p *[]string) func(string) error {
	return func(v string) error {
		*p = nil
		for name := range strings.SplitSeq(v, ",") {
			if strings.ContainsAny(name, "/ \t") || strings.Contains(name, "*") && name != "*" {
				return errors.New("want names as db.example.com, separated by commas, or *")
			}
			if name != "" {
				*p = append(*p, name)
			}
		}
		return nil
	}
}

func packageLevels(p *map[string]slog.Level) func(string) error {
	return func(v string) error {
		*p = map[string]slog.Level{}
		for pair := range strings.SplitSeq(v, ",") {
			if pair == "" {
				continue
			}
			pkg, word, _ := strings.Cut(pair, "=")
			level, known := levels[strings.ToUpper(word)]
			if !known {
				return errors.New("want PACKAGE=LEVEL, with a level of CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG or TRACE")
			}
			(*p)[pkg] = level
		}
		return nil
	}
}

// Help.

func printHelp(w io.Writer) error {
	out := bufio.NewWriter(w)
	out.WriteString(`etcd2 is a replicated key-value store with the HTTP API of etcd 2.

usage: etcd2 [--FLAG VALUE]...   run a member
       etcd2 ctl COMMAND...      be etcdctl, as a link of that name is
       etcd2 dump DIR            print the log and the snapshots of a data directory
       etcd2 --check-config ...  say what a member with these flags would do
       etcd2 --version           print the version
       etcd2 --help              print this text

Every flag may also be given in the environment, as ETCD_DATA_DIR for --data-dir.
The command line wins. A signal ends it with status 0, a failure with 1, and
being removed from the cluster with 3.
`)
	group := ""
	for _, s := range new(config).settings() {
		if s.group != group {
			group = s.group
			fmt.Fprintf(out, "\n%s\n", group)
		}
		fmt.Fprintf(out, "  --%s %s\n", s.name, s.arg)
		fmt.Fprintf(out, "        %s\n", s.help)
		if s.preset != "" {
			fmt.Fprintf(out, "        default: %s\n", s.preset)
		}
	}
	out.WriteString("\nIgnored with a warning\n ")
	for _, r := range relics {
		if r.gone != "" {
			out.WriteString(" --" + r.name)
		}
	}
	out.WriteString("\n")
	return out.Flush()
}

// Logging.

// levels are the level names of etcd 2, for slog.
var levels = map[string]slog.Level{
	"CRITICAL": slog.LevelError + 4,
	"ERROR":    slog.LevelError,
	"WARNING":  slog.LevelWarn,
	"NOTICE":   slog.LevelInfo + 2,
	"INFO":     slog.LevelInfo,
	"DEBUG":    slog.LevelDebug,
	"TRACE":    slog.LevelDebug - 4,
}

// logs makes the loggers of the packages. All methods may be called from any goroutine.
type logs struct {
	w      *sink
	common slog.LevelVar         // of all packages without a level of their own
	own    map[string]slog.Level // from --log-package-levels
}

func newLogs(w *sink, c *config) *logs {
	l := &logs{w: w, own: c.levels}
	if c.debug {
		l.common.Set(slog.LevelDebug)
	}
	return l
}

// of returns the logger of one package: one line an event.
func (l *logs) of(pkg string) *slog.Logger {
	var level slog.Leveler = &l.common
	if own, given := l.own[pkg]; given {
		level = own
	}
	if pkg == "auth" || pkg == "certs" {
		level = unsilenced{level}
	}
	return slog.New(slog.NewTextHandler(l.w, &slog.HandlerOptions{Level: level})).With("pkg", pkg)
}

// unsilenced is the level of a package whose lines are about security: INFO at the most, so that
// nobody who may change levels does anything unseen.
type unsilenced struct{ slog.Leveler }

// Level returns the level, or INFO if that is lower.
func (u unsilenced) Level() slog.Level { return min(u.Leveler.Level(), slog.LevelInfo) }

// setLevel changes the level of all packages that have none of their own.
func (l *logs) setLevel(word string) error {
	level, known := levels[strings.ToUpper(word)]
	if !known {
		return fmt.Errorf("main: unknown log level %q", word)
	}
	l.common.Set(level)
	return nil
}

// A sink writes the lines of the log to w, from a goroutine of its own: a reader that is gone, or
// that stands still, costs lines and holds up nobody. All methods may be called from any goroutine.
type sink struct {
	w       io.Writer
	lines   chan []byte   // that wait; what finds no room is lost
	written chan struct{} // answers a nil line
	lost    atomic.Uint64 // lines that w did not take
}

// Bounds of a sink: lines that wait for the reader, and how long the end of the process does.
const (
	sinkLines    = 4096
	sinkPatience = 300 * time.Millisecond
)

func newSink(w io.Writer) *sink {
	s := &sink{w: w, lines: make(chan []byte, sinkLines), written: make(chan struct{}, 1)}
	go s.run()
	return s
}

// Write takes one line, and never fails.
func (s *sink) Write(line []byte) (int, error) {
	select {
	case s.lines <- bytes.Clone(line):
	default:
		s.lost.Add(1)
	}
	return len(line), nil
}

// run writes lines for as long as the process lives.
func (s *sink) run() {
	for line := range s.lines {
		if line == nil {
			s.written <- struct{}{}
			continue
		}
		if _, err := s.w.Write(line); err != nil {
			s.lost.Add(1)
		}
	}
}

// flush returns when w has all lines from before, or does not take them in time.
func (s *sink) flush() {
	late := time.After(sinkPatience)
	select {
	case s.lines <- nil:
	case <-late:
		return
	}
	select {
	case <-s.written:
	case <-late:
	}
}
