// Command etcd2 is a replicated key-value store with the HTTP API of etcd 2, in
// one static binary.
//
// # What it is
//
// The wiring: it turns flags and environment into a configuration, connects the packages, and stops
// them in the right order. No rule of Raft, of the tree or of the API is here.
//
// # Picture
//
//	flags, environment ──► flags ───► raft.LockDir    no other process in the same directories
//	                                     │
//	                                  ports.Open      a port that is taken ends the start, with nothing on disk
//	                                     │
//	                       no data? ──► discovery     which cluster, and its members
//	                                     │
//	                                  raft.Open       log and snapshots, replayed into the store
//	                                     │
//	                                  http.PeerPort   other members
//	                                     │
//	                                  http.Server     clients; READY=1, and from now on WATCHDOG=1
//	                                     │
//	            SIGTERM, SIGINT ──────► shut down     STOPPING=1; in-flight requests, then the log
//
//	--check-config ──► flags.Config.Describe          the same checks, and what a start would do
//	--proxy, or a cluster that is full ──► proxy.New ──► http.NewProxy instead: no peers, no log
//
// # Types
//
// A [process] is one run: a [flags.Config], the ports, the loggers and the reports to systemd.
//
// # Life of a start
//
// [flags.Parse] reads the environment and the command line; the first fault ends the start with one
// line and exit status 1, before anything is written. [serve] then occupies the directories, before
// anything is read there ([process.occupy]); opens the ports; reads the certificates
// ([process.secure]); looks for its cluster, if it has no data yet ([process.plan]); and opens the
// node, which replays its disk and tells the cluster its name and URLs. It answers clients when the
// node is ready, so that none sees a half-replayed tree (C8). systemd, if it started the process,
// is told of each step ([systemd.Service]). Then the process waits for a signal, or for the node or
// a listener to fail, and ends with status 1 after a failure, or with 3 when the cluster has
// removed this member.
//
// # Invariants
//
//   - A bad flag gives one line on standard error and status 1, and leaves nothing on disk.
//     (`TestABadConfigurationIsOneLine`)
//   - No two processes write in one directory at the same time.
//     (`TestTwoServersDoNotShareALog`)
//   - Imports run downward only, as drawn. (`TestImportsRunDownward`)
//
// # What is left out
//
// Reloading, except for the certificates, which SIGHUP reads at once. A proxy that becomes a
// member, or a member that becomes a proxy: each needs a directory of its own.
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

// statusRemoved is the exit status of a member that the cluster has removed: there is no use in
// starting it again. It is not 2, which means a crash: Go ends with 2 after a panic, and after the
// SIGABRT of systemd's watchdog.
const statusRemoved = 3

// status returns the exit status for the error that ended the process.
func status(err error) int {
	switch {
	case errors.Is(err, raft.ErrRemoved):
		return statusRemoved
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
	c.Report(l.Logger("main"))
	if err := migrate.Left(c.DataDir, c.GivenWALDir()); err != nil {
		return err // the data of etcd must be converted first
	}
	if c.CheckConfig {
		return c.Describe(stdout, l)
	}
	return serve(c, l)
}

// Serving.

// Time limits of a shutdown.
const (
	stopTimeout = 10 * time.Second       // for the requests in flight, and then for the node
	failTimeout = 300 * time.Millisecond // for the requests in flight, once the node has failed
	exitTimeout = time.Second            // for the whole shutdown, once the node has failed
)

// A process is one run of this program, as a member or as a proxy.
type process struct {
	*flags.Config
	logs    *logs.Logs
	log     *slog.Logger // of main
	ports   *ports.Ports
	service *systemd.Service
	dirs    *raft.Dirs // the directories, which no other process may use
	opened  bool       // dirs has passed to a node, which closes it when it ends
	member  bool       // the directories hold the data of a member

	server atomic.Pointer[http.Server] // answers clients; nil while the member starts
}

// serve runs a process until a signal ends it, or it fails.
func serve(c *flags.Config, l *logs.Logs) error {
	// The first signal ends ctx; a second one, the process.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // a write to a closed standard error fails, but does not end the process
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	p := &process{Config: c, logs: l, log: l.Logger("main"),
		service: systemd.New(os.Getenv, os.Getpid(), l.Logger("systemd"))}
	ended := make(chan struct{})
	defer close(ended)
	go p.service.Run(ended)
	if err := p.occupy(); err != nil {
		return c.Blame(err)
	}
	err := p.run(ctx, hangups)
	if !p.opened {
		err = errors.Join(err, p.dirs.Close()) // otherwise the node closes it
	}
	return c.Blame(err)
}

// run is the rest of serve, once no other process can use the directories.
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
		return p.runProxy(ctx)
	}
	return p.runMember(ctx)
}

// occupy keeps other processes out of the directories, and looks whether a member or a proxy has
// left data there, which decides the role of this process.
func (p *process) occupy() (err error) {
	if p.dirs, err = raft.LockDir(p.DataDir); err != nil {
		return err
	}
	lived, err := p.dirs.HadMember()
	if err = cmp.Or(err, p.ChooseRole(lived, p.log)); err == nil && !p.IsProxy() {
		p.member, err = p.dirs.LockLogDir(p.WALDir)
	}
	if err != nil {
		err = errors.Join(err, p.dirs.Close())
	}
	return err
}

// listen opens all ports, except those that systemd has opened. By default the client URLs that are
// advertised are those that could be opened: one of the two default ports may be taken.
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

// secure reads the certificates of both ports. Self-made ones are kept under fixtures in the data
// directory, as in etcd 3.
func (p *process) secure() (err error) {
	own, log := filepath.Join(p.DataDir, "fixtures"), p.logs.Logger("certs")
	client, peer := slices.Concat(p.ListenClient, p.AdvertiseClient), slices.Concat(p.ListenPeer, p.AdvertisePeer)
	if p.ports.ClientTLS, err = p.Client.Load(filepath.Join(own, "client"), client, log); err == nil {
		p.ports.PeerTLS, err = p.Peer.Load(filepath.Join(own, "peer"), peer, log)
	}
	return err
}

// runMember runs a member of a cluster, or a proxy when the cluster that discovery finds is full.
func (p *process) runMember(ctx context.Context) error {
	p.ports.ServePeers(p.logs.Logger("http"))
	p.service.Follow(systemd.Starting("looking for the cluster"))
	plan, err := p.plan(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	for _, warning := range p.AdvertiseWarnings(p.ports.ClientURLs, p.ports.PeerURLs, p.Self(plan)) {
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
	p.service.Follow(systemd.Starting("reading " + p.DataDir))
	node, err := p.open(tree, plan, transport)
	if err != nil {
		return err
	}
	http.ExpectState(0)
	ended := make(chan struct{})
	defer close(ended)
	go p.exitIfStuck(node, ended)
	err = p.answer(ctx, node, tree, transport)
	return p.verdict(node, cmp.Or(err, node.Err(), stopInTime(nil, node.Stop))) // the node is stopped in any case
}

// verdict returns the error of the process whose member has ended with err.
func (p *process) verdict(node *raft.Node, err error) error {
	if errors.Is(err, raft.ErrRemoved) {
		return fmt.Errorf("%w; %s (%x) is no longer in cluster %x, and its data is kept in %s: to come back, empty "+
			"that directory and start with --join",
			err, p.Name, node.ID(), node.Membership().ClusterID, p.DataDir)
	}
	return err
}

// exitIfStuck is the last resort against a shutdown that hangs: it ends the process exitTimeout
// after the member has failed, unless ended is closed before.
func (p *process) exitIfStuck(node *raft.Node, ended <-chan struct{}) {
	select {
	case <-node.Failed():
	case <-ended:
		return
	}
	select {
	case <-ended:
	case <-time.After(exitTimeout):
		err := p.verdict(node, node.Err())
		p.log.Error("the member has failed, and the shutdown hangs: the process exits without finishing it", "err", err)
		p.logs.Flush()
		os.Exit(status(err))
	}
}

// plan returns how a member without data begins. It is empty for a member with data, which ignores
// the flags that say where its cluster is (API section 21.1).
func (p *process) plan(ctx context.Context) (plan discovery.Plan, err error) {
	if resumes, err := p.Resumes(p.member, p.log); resumes || err != nil {
		return plan, err
	}
	n := p.newcomer()
	plan, err = p.Sources().Find(ctx, n)
	if ctx.Err() != nil {
		return plan, nil // a signal has ended the search
	}
	if plan.Proxy && p.Fallback == "exit" {
		err = p.Sources().Full(n)
	}
	return plan, err
}

// newcomer describes this member to the search for its cluster.
func (p *process) newcomer() discovery.Newcomer {
	return discovery.Newcomer{Name: p.Name, PeerURLs: p.AdvertisePeer, Logger: p.log, DialTLS: p.ports.PeerTLS.DialTLS}
}

// open opens the node, which then replays its disk into the tree.
func (p *process) open(tree *store.Store, plan discovery.Plan, t raft.Transport) (*raft.Node, error) {
	p.opened = true
	return raft.Open(raft.Config{
		Dir: p.DataDir, WALDir: p.WALDir, Dirs: p.dirs,
		ID: plan.Self.ID, Bootstrap: plan.Cluster, Join: plan.Join,
		Transport: t, Self: p.Self(plan),
		MayForce: p.newcomer().MayForce, ForceAlone: p.ForceNew,
		ForceURLs: slices.Sorted(slices.Values(p.AdvertisePeer)),
		Heartbeat: p.Heartbeat, Election: p.Election, RequestTimeout: p.RequestTimeout(),
		SnapshotCount: uint64(p.SnapshotCount), MaxSnapshots: p.MaxSnapshots, MaxWALs: p.MaxWALs,
		Command: http.ChangeCommand, WallCommand: http.WallCommand, Mark: tree.Mark,
		Expect: http.ExpectState, Logger: p.logs.Logger("raft"),
	}, tree)
}

// transport makes what carries messages to and from the other members.
func (p *process) transport(plan discovery.Plan) *peer.Transport {
	return peer.New(peer.Config{
		Name: p.Name, URLs: p.Self(plan).PeerURLs, Version: flags.Version, Seeds: plan.Seeds(),
		Look:    p.lookUp(),
		DialTLS: p.ports.PeerTLS.DialTLS, AnyPeer: p.Peer.Auto,
		Heartbeat: p.Heartbeat, Logger: p.logs.Logger("peer"),
		// so that at least two entries fit into a message to a member that lags
		MaxMessageBytes: peer.DefaultMaxMessageBytes + 2*p.MaxRequestBytes,
		Status:          p.status,
	})
}

// status returns this member's status for the other members; nil while it starts.
func (p *process) status() []byte {
	if server := p.server.Load(); server != nil {
		return server.Status()
	}
	return nil
}

// lookUp returns a function that looks up where the members are, by the flags with which the
// cluster began; nil when none of these flags is given.
func (p *process) lookUp() func(context.Context) []raft.Member {
	if !p.Sources().CanLook() {
		return nil
	}
	return func(ctx context.Context) []raft.Member {
		m, err := p.Sources().Look(ctx, p.newcomer())
		if err != nil && ctx.Err() == nil {
			p.log.Warn("no member answers, and looking up where the others are has failed", "err", err)
		}
		return m.Members
	}
}

// answer serves clients, as soon as the node is ready, until ctx ends, the node fails or a listener
// does. It returns the error of a listener only: the caller asks the node for its own.
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
	p.warnOfUnservedURLs(node)
	p.log.Info("serving", "name", p.Name, "version", flags.Version, "clients", p.AdvertiseClient,
		"peers", p.ports.PeerURLs, "data", p.DataDir)
	return p.serveClients(ctx, server, systemd.Serving(node, server.OutOfTouch), node.Failed())
}

// warnOfUnservedURLs warns when other members call this one at URLs where it does not listen.
func (p *process) warnOfUnservedURLs(node *raft.Node) {
	self, _ := node.Membership().Find(node.ID())
	if unserved := p.UnservedPeerURLs(self.PeerURLs, p.ports.PeerURLs); len(unserved) > 0 {
		p.log.Warn("other members call this one at peer URLs that lead to none of its listeners, unless something in "+
			"between forwards them",
			"called", unserved, "listening", p.ports.PeerURLs, "remedy", "give --listen-peer-urls and "+
				"--initial-advertise-peer-urls that fit each other")
	}
}

// clientPort returns what the client ports of a member and of a proxy have in common.
func (p *process) clientPort() http.Config {
	return http.Config{
		Logger: p.logs.Logger("http"), Security: p.logs.Logger("auth"),
		SetLogLevel: p.logs.SetLevel, LogLinesLost: p.logs.Lost,
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
	if late := stopInTime(failed, server.Shutdown); late != nil {
		p.log.Warn("some requests in flight did not end in time and are abandoned", "err", late)
	}
	return err
}

// stopInTime calls stop with a context that ends after stopTimeout, or failTimeout after failed is
// closed, if that is earlier.
func stopInTime(failed <-chan struct{}, stop func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	go func() {
		select {
		case <-failed:
			time.AfterFunc(failTimeout, cancel)
		case <-ctx.Done():
		}
	}()
	return stop(ctx)
}

// runProxy runs a process that is a proxy from its start.
func (p *process) runProxy(ctx context.Context) error {
	seeds, err := p.Seeds(ctx, p.newcomer())
	if ctx.Err() != nil {
		return nil // a signal has ended the search
	}
	if err != nil {
		return err
	}
	return p.forward(ctx, seeds)
}

// forward serves clients with the answers of members, until ctx ends or a listener fails.
func (p *process) forward(ctx context.Context, seeds []string) error {
	p.ports.DropPeers()
	relay, err := proxy.New(proxy.Config{
		Dir: p.DataDir, Seeds: seeds, Own: p.OwnURLs(),
		FailureWait: p.ProxyTimes.FailureWait, RefreshInterval: p.ProxyTimes.Refresh,
		DialTimeout: p.ProxyTimes.Dial, WriteTimeout: p.ProxyTimes.Write, ReadTimeout: p.ProxyTimes.Read,
		DialTLS: p.ports.ClientTLS.DialTLS, PeerDialTLS: p.ports.PeerTLS.DialTLS,
		Logger: p.logs.Logger("proxy"),
	})
	if err != nil {
		return err
	}
	defer relay.Close()
	server, err := http.NewProxy(p.clientPort(), http.Backend{
		Handler: relay, ReadOnly: p.Proxy == "readonly", Ill: relay.Ill, Metrics: relay.Metrics, End: relay.Close,
	})
	if err != nil {
		return err
	}
	select {
	case <-relay.Asked():
	case <-time.After(seedTimeout):
	case <-ctx.Done():
		return nil
	}
	p.log.Info("serving as a proxy", "version", flags.Version, "clients", p.ListenClient,
		"readonly", p.Proxy == "readonly", "data", p.DataDir)
	status := func() systemd.Condition { return systemd.Condition{Status: cmp.Or(relay.Ill(), "proxy")} }
	return p.serveClients(ctx, server, status, nil)
}

// seedTimeout is how long a proxy waits for its first look at the cluster to end before it reports
// that it is ready. Until it knows a member, it answers clients with an error.
const seedTimeout = 3 * time.Second
