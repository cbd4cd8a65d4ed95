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
//	flags, environment ──► flags ───► raft.Occupy     no other process in the same directories
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
//	--check-config ──► flags.Config.Tell              the same checks, and what would be done
//	--proxy, or no place left ──► proxy.New ──► http.NewFront instead: no peers, no log
//
// # Types
//
// A [process] is one run: a [flags.Config] with the ports, the loggers and what systemd is told.
//
// # Life of a start
//
// [flags.Parse] reads the environment and the command line; the first fault ends the start with one
// line and exit status 1, before anything is written. [serve] then occupies the directories, before
// anything is read there ([process.occupy]); opens the ports, so that a taken one costs nothing;
// reads the certificates ([process.secure]); looks for its cluster, if it has no data yet
// ([process.plan]); opens the node, which replays its disk and tells the cluster who it is; and
// only when that is ready answers clients, so that none sees a half-replayed tree (C8). Meanwhile
// and later systemd is told how it goes, if it asked ([systemd.Service]). It waits for a signal, or
// for the node to fail: the one way to end with status 1 after a start, or with 3 when the cluster
// has removed this member.
//
// # Invariants
//
//   - One bad flag, one line on standard error, status 1, and nothing on disk.
//     (`TestABadConfigurationIsOneLine`)
//   - Every directory that a process writes in is its own as long as it runs.
//     (`TestTwoServersDoNotShareALog`)
//   - Imports run downward only, as drawn. (`TestImportsRunDownward`)
//
// # What is left out
//
// Reloading, but for the certificates, which SIGHUP reads at once. A proxy that becomes a member,
// or a member that becomes a proxy: each begins with a directory of its own.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"etcd2/discovery"
	"etcd2/http"
	"etcd2/http/etcdctl"
	"etcd2/http/etcdctl/migrate"
	"etcd2/http/flags"
	"etcd2/http/logs"
	"etcd2/http/peer"
	"etcd2/http/ports"
	"etcd2/http/proxy"
	"etcd2/http/systemd"
	"etcd2/raft"
	"etcd2/store"
)

func main() {
	if args, called := etcdctl.Called(os.Args); called {
		os.Exit(etcdctl.Run(args, os.Environ(), os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is main with everything that it touches passed in; it returns the exit status.
func run(args, environ []string, stdout, stderr io.Writer) int {
	out := logs.NewSink(stderr)
	defer out.Flush()
	err := command(args, environ, stdout, out)
	if err != nil {
		oneLine := strings.ReplaceAll(err.Error(), "\n", "; ")
		fmt.Fprintln(out, "etcd2:", oneLine)
	}
	return status(err)
}

// removed is the exit status of a member that the cluster has removed, which nobody need start
// again. 2 would be a crash: Go's panics end with it, and so does the signal of systemd's watchdog.
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

func command(args, environ []string, stdout io.Writer, out *logs.Sink) error {
	if len(args) > 0 && args[0] == "dump" {
		return etcdctl.Dump(args[1:], stdout)
	}
	c, err := flags.Parse(args, environ)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return flags.Help(stdout)
	case err != nil:
		return fmt.Errorf("%w (etcd2 --help lists the flags)", err)
	case c.ShowVersion:
		return flags.PrintVersion(stdout)
	}
	l := logs.New(out, c.Debug, c.Levels)
	for _, note := range c.Notes {
		l.Of("main").Info(note)
	}
	for _, warning := range c.Warnings {
		l.Of("main").Warn(warning)
	}
	if err := leftByEtcd(c); err != nil {
		return err
	}
	if c.CheckConfig {
		return c.Tell(stdout, l)
	}
	return serve(c, l)
}

// leftByEtcd returns an error when the data directory is one of etcd, which must be converted
// first.
func leftByEtcd(c *flags.Config) error {
	if c.Given("wal-dir") {
		return migrate.Left(c.DataDir, c.WALDir)
	}
	return migrate.Left(c.DataDir, "")
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
	*flags.Config
	logs    *logs.Logs
	log     *slog.Logger // of main
	ports   *ports.Ports
	service *systemd.Service
	home    *raft.Home // the directories
	opened  bool       // a node has them, and closes home when it ends
	member  bool       // one lives in them

	server atomic.Pointer[http.Server] // of clients; nil: the member is starting
}

// serve runs a process until a signal ends it, or it fails.
func serve(c *flags.Config, l *logs.Logs) error {
	// The first signal ends ctx; a second one, the process.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // a write to a log whose reader has gone fails, and ends nobody
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	p := &process{Config: c, logs: l, log: l.Of("main"), service: systemd.New(os.Getenv, os.Getpid(), l.Of("systemd"))}
	ended := make(chan struct{})
	defer close(ended)
	go p.service.Run(ended)
	if err := p.occupy(); err != nil {
		return c.Blame(err)
	}
	err := p.run(ctx, hangups)
	if !p.opened {
		err = errors.Join(err, p.home.Close()) // which is the node's otherwise
	}
	return c.Blame(err)
}

// run is what a process does in directories that are its own.
func (p *process) run(ctx context.Context, hangups <-chan os.Signal) error {
	if err := p.listen(); err != nil {
		return err
	}
	defer p.ports.Close()
	if err := p.secure(); err != nil {
		return err
	}
	p.ports.FollowCertificates(ctx, hangups, p.log)
	p.ports.RefuseClients()
	if p.IsProxy() {
		return p.findAndForward(ctx)
	}
	return p.takePart(ctx)
}

// occupy keeps other processes out of the directories, and looks at who lives there.
func (p *process) occupy() (err error) {
	if p.home, err = raft.Occupy(p.DataDir); err != nil {
		return err
	}
	lived, err := p.home.Lived()
	if err = cmp.Or(err, p.ChooseRole(lived, p.log)); err == nil && !p.IsProxy() {
		p.member, err = p.home.OccupyLog(p.WALDir)
	}
	if err != nil {
		err = errors.Join(err, p.home.Close())
	}
	return err
}

// listen opens all ports, but those that systemd has opened. When a preset client port is taken, it
// is not advertised either.
func (p *process) listen() error {
	handed, err := systemd.Sockets(os.Getenv, os.Getpid())
	if err != nil {
		return err
	}
	p.ports, err = ports.Open(ports.Config{
		Client: p.ListenClient, ClientChosen: p.Given("listen-client-urls"),
		Peer: p.ListenPeer, PeerChosen: p.Given("listen-peer-urls"),
		Logger: p.log,
	}, handed)
	if err != nil {
		return err
	}
	if !p.Given("listen-client-urls") && !p.Given("advertise-client-urls") {
		p.AdvertiseClient = p.ports.ClientURLs
	}
	return nil
}

// secure reads the certificates of both ports. One that a port makes for itself is where etcd 3 has
// it.
func (p *process) secure() (err error) {
	own, log := filepath.Join(p.DataDir, "fixtures"), p.logs.Of("certs")
	if p.ports.ClientTLS, err = p.Client.Load(filepath.Join(own, "client"), slices.Concat(p.ListenClient,
		p.AdvertiseClient), log); err != nil {
		return err
	}
	if p.ports.PeerTLS, err = p.Peer.Load(filepath.Join(own, "peer"), slices.Concat(p.ListenPeer, p.AdvertisePeer),
		log); err != nil {
		return err
	}
	return nil
}

// takePart is a member of a cluster, or a proxy when the cluster has no place for one.
func (p *process) takePart(ctx context.Context) error {
	p.ports.ServePeers(p.logs.Of("http"))
	p.service.Follow(systemd.Doing("looking for the cluster"))
	plan, err := p.plan(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	for _, warning := range p.Strays(p.ports.ClientURLs, p.ports.PeerURLs, p.Self(plan)) {
		p.log.Warn(warning)
	}
	if plan.Proxy {
		p.log.Warn("discovery cluster full, falling back to proxy", "discovery", p.Discovery)
		return p.forward(ctx, discovery.PeerURLs(plan.Cluster))
	}
	http.PaceCollector()
	tree := store.New(store.Limits{Events: p.EventHistory, Tree: cmp.Or(int64(p.QuotaBytes), http.DefaultQuota())})
	transport := p.transport(plan)
	p.ports.Connect(transport)
	p.service.Follow(systemd.Doing("reading " + p.DataDir))
	node, err := p.open(tree, plan, transport)
	if err != nil {
		return err
	}
	http.ExpectState(0)
	ended := make(chan struct{})
	defer close(ended)
	go p.endAnyway(node, ended)
	err = p.answer(ctx, node, tree, transport)
	return p.verdict(node, cmp.Or(err, node.Err(), patiently(nil, node.Stop))) // it is stopped in any case
}

// verdict returns what the process ends with when its member has ended with err.
func (p *process) verdict(node *raft.Node, err error) error {
	if errors.Is(err, raft.ErrRemoved) {
		return fmt.Errorf("%w; %s (%x) is no longer in cluster %x, and its data is kept in %s: to come back, empty "+
			"that directory and start with --join",
			err, p.Name, node.ID(), node.Membership().ClusterID, p.DataDir)
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
		p.logs.Flush()
		os.Exit(status(err))
	}
}

// plan is how a member without data begins. One with data does not ask: there its flags count no
// more (API section 21.1).
func (p *process) plan(ctx context.Context) (plan discovery.Plan, err error) {
	if there, err := p.Settled(p.member, p.log); there || err != nil {
		return plan, err
	}
	n := p.newcomer()
	plan, err = p.Sources().Find(ctx, n)
	if ctx.Err() != nil {
		return plan, nil // it was not wanted any more
	}
	if plan.Proxy && p.Fallback == "exit" {
		err = p.Sources().Full(n)
	}
	return plan, err
}

// newcomer is who looks for the cluster.
func (p *process) newcomer() discovery.Newcomer {
	return discovery.Newcomer{Name: p.Name, PeerURLs: p.AdvertisePeer, Logger: p.log, DialTLS: p.ports.PeerTLS.DialTLS}
}

// open opens the node, whose disk is then replayed into the tree.
func (p *process) open(tree *store.Store, plan discovery.Plan, t raft.Transport) (*raft.Node, error) {
	p.opened = true
	return raft.Open(raft.Config{
		Dir: p.DataDir, WALDir: p.WALDir, Home: p.home,
		ID: plan.Self.ID, Bootstrap: plan.Cluster, Join: plan.Join,
		Transport: t, Self: p.Self(plan),
		MayForce: p.newcomer().MayForce, ForceAlone: p.ForceNew,
		ForceURLs: slices.Sorted(slices.Values(p.AdvertisePeer)),
		Heartbeat: p.Heartbeat, Election: p.Election, RequestTimeout: p.RequestTimeout(),
		SnapshotCount: uint64(p.SnapshotCount), MaxSnapshots: p.MaxSnapshots, MaxWALs: p.MaxWALs,
		Command: http.ChangeCommand, WallCommand: http.WallCommand, Mark: tree.Mark,
		Expect: http.ExpectState, Logger: p.logs.Of("raft"),
	}, tree)
}

// transport carries messages to the other members and from them.
func (p *process) transport(plan discovery.Plan) *peer.Transport {
	return peer.New(peer.Config{
		Name: p.Name, URLs: p.Self(plan).PeerURLs, Version: flags.Version, Seeds: plan.Seeds(),
		Look:    p.lookUp(),
		DialTLS: p.ports.PeerTLS.DialTLS, AnyPeer: p.Peer.Auto,
		Heartbeat: p.Heartbeat, Logger: p.logs.Of("peer"),
		// at least two entries go to a member that lags
		MaxMessageBytes: peer.DefaultMaxMessageBytes + 2*p.MaxRequestBytes,
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
	if !p.Sources().CanLook() {
		return nil
	}
	return func(ctx context.Context) []raft.Member {
		m, err := p.Sources().Look(ctx, p.newcomer())
		if err != nil && ctx.Err() == nil {
			p.log.Warn("no member answers, and it can't be looked up where the others are", "err", err)
		}
		return m.Members
	}
}

// answer serves clients, as soon as the node is ready, until ctx ends, the node
// fails or a listener does. The caller asks the node whether it has failed.
func (p *process) answer(ctx context.Context, node *raft.Node, tree *store.Store, others *peer.Transport) error {
	p.service.Follow(systemd.Replaying(node))
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
	c.Node, c.Store, c.Name, c.Version = node, tree, p.Name, flags.Version
	c.Election, c.RequestTimeout, c.Dirs = p.Election, p.RequestTimeout(), p.Disks()
	c.ClientCertAuth, c.Survey = p.Client.ClientAuth, others.Survey
	server, err := http.New(c)
	if err != nil {
		return err
	}
	p.server.Store(server)
	p.warnOfMissedURLs(node)
	p.log.Info("serving", "name", p.Name, "version", flags.Version, "clients", p.AdvertiseClient,
		"peers", p.ports.PeerURLs, "data", p.DataDir)
	return p.serveClients(ctx, server, systemd.Serving(node, server.OutOfTouch), node.Failed())
}

// warnOfMissedURLs tells when the other members call this one where it does not listen.
func (p *process) warnOfMissedURLs(node *raft.Node) {
	self, _ := node.Membership().Find(node.ID())
	if missed := p.Missed(self.PeerURLs, p.ports.PeerURLs); len(missed) > 0 {
		p.log.Warn("other members call this one at peer URLs that lead to none of its listeners, unless something in "+
			"between forwards them",
			"called", missed, "listening", p.ports.PeerURLs, "remedy", "give --listen-peer-urls and "+
				"--initial-advertise-peer-urls that fit each other")
	}
}

// clientPort is what a member's client port and a proxy's have in common.
func (p *process) clientPort() http.Config {
	return http.Config{
		Logger: p.logs.Of("http"), Security: p.logs.Of("auth"), SetLogLevel: p.logs.SetLevel, LogLinesLost: p.logs.Lost,
		CORS: p.CORS, Hosts: p.OwnHosts(), Pprof: p.Pprof, Page: p.Page, Args: flags.Shown(os.Args),
		MaxRequestBytes: int64(p.MaxRequestBytes),
		TLS:             p.ports.ClientTLS, PeerTLS: p.ports.PeerTLS,
	}
}

// serveClients lets server answer until ctx or a listener ends, or failed is closed. Then it stops
// accepting, ends watches, and waits for the requests in flight.
func (p *process) serveClients(ctx context.Context, server *http.Server, look func() systemd.Condition,
	failed <-chan struct{}) (err error) {
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

// findAndForward is a proxy from its start.
func (p *process) findAndForward(ctx context.Context) error {
	seeds, err := p.Seeds(ctx, p.newcomer())
	if ctx.Err() != nil {
		return nil // it was not wanted any more
	}
	if err != nil {
		return err
	}
	return p.forward(ctx, seeds)
}

// forward serves clients with the answers of members, until ctx ends or a listener does.
func (p *process) forward(ctx context.Context, seeds []string) error {
	p.ports.DropPeers()
	relay, err := proxy.New(proxy.Config{
		Dir: p.DataDir, Seeds: seeds, Own: p.OwnURLs(),
		FailureWait: p.ProxyTimes.FailureWait, RefreshInterval: p.ProxyTimes.Refresh,
		DialTimeout: p.ProxyTimes.Dial, WriteTimeout: p.ProxyTimes.Write, ReadTimeout: p.ProxyTimes.Read,
		DialTLS: p.ports.ClientTLS.DialTLS, PeerDialTLS: p.ports.PeerTLS.DialTLS,
		Logger: p.logs.Of("proxy"),
	})
	if err != nil {
		return err
	}
	defer relay.Close()
	server, err := http.NewFront(p.clientPort(), http.Front{
		Handler: relay, ReadOnly: p.Proxy == "readonly", Ill: relay.Ill, Metrics: relay.Metrics, End: relay.Close,
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
	p.log.Info("serving as a proxy", "version", flags.Version, "clients", p.ListenClient,
		"readonly", p.Proxy == "readonly", "data", p.DataDir)
	status := func() systemd.Condition { return systemd.Condition{Status: cmp.Or(relay.Ill(), "proxy")} }
	return p.serveClients(ctx, server, status, nil)
}

// seedPatience is how long a proxy waits for the cluster before it says that it is ready: whoever
// comes later than that is told that there is none.
const seedPatience = 3 * time.Second
