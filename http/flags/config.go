package flags

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"etcd2/discovery"
	"etcd2/http/certs"
	"etcd2/http/proxy"
	"etcd2/raft"
)

// A Config is the configuration of a process, after all checks.
type Config struct {
	Name, DataDir, WALDir         string
	SnapshotCount                 int
	MaxSnapshots, MaxWALs         int // numbers of files kept; MaxSnapshots 0 means all
	Heartbeat, Election           time.Duration
	ListenClient, AdvertiseClient []string
	ListenPeer, AdvertisePeer     []string
	ForceNew                      bool // --force-new-cluster

	// Where its cluster is.
	Join                         []string
	InitialCluster, State, Token string
	Discovery, DiscoverySRV      string
	Fallback                     string   // what to do when the cluster of the discovery URL is full: exit or proxy
	DiscoveryProxy               *url.URL // nil: none

	Proxy      string // off, on or readonly
	ProxyTimes struct{ FailureWait, Refresh, Dial, Write, Read time.Duration }

	Client, Peer    certs.Flags
	CORS, Hosts     []string
	MaxRequestBytes int
	EventHistory    int
	QuotaBytes      int // 0: a quarter of the memory
	Pprof, Page     bool

	Debug       bool
	Levels      map[string]slog.Level // of single packages
	ShowVersion bool
	CheckConfig bool // describe the start, and do nothing

	Notes    []string // log lines about the variables of the environment
	Warnings []string // log lines about values that may not be meant

	addr, bindAddr         string // values of the old flags, IP:PORT
	peerAddr, peerBindAddr string
	strict                 bool
	given                  map[string]bool // flags that were set, by name
}

// Given reports whether a flag was set on the command line or in the environment.
func (c *Config) Given(flag string) bool { return c.given[flag] }

// Parse makes the configuration from the defaults, the environment and the command line; each wins
// over those before it. args does not include the program's name. The error is flag.ErrHelp, or one
// line that names the flag, the value and the remedy.
func Parse(args, environ []string) (*Config, error) {
	c := &Config{
		given:  map[string]bool{},
		Client: certs.Flags{Port: certs.ClientPort},
		Peer:   certs.Flags{Port: certs.PeerPort},
	}
	settings := c.settings()
	for _, s := range settings {
		if err := s.set(s.preset); err != nil {
			panic(fmt.Sprintf("flags: the default of --%s is refused: %v", s.name, err))
		}
	}
	settings = append(settings, c.obsoleteSettings()...)
	if err := c.parse(args, settings); err != nil || c.ShowVersion {
		return c, err
	}
	if err := c.readEnvironment(environ, settings); err != nil {
		return c, err
	}
	if err := c.applyOldForms(); err != nil {
		return c, err
	}
	c.deriveDefaults()
	return c, c.contradiction()
}

// parse applies the command line.
func (c *Config) parse(args []string, settings []setting) error {
	fs := flag.NewFlagSet("etcd2", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.BoolVar(&c.ShowVersion, "version", false, "")
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
		return fmt.Errorf("%q is not a flag: write --name=value", discovery.WithoutPassword(fs.Arg(0)))
	}
	fs.Visit(func(f *flag.Flag) { c.given[f.Name] = true })
	return nil
}

// readEnvironment applies the variables of flags that the command line does
// not set. An empty variable counts as unset.
func (c *Config) readEnvironment(environ []string, settings []setting) error {
	for _, entry := range environ {
		variable, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(variable, "ETCD_") || value == "" {
			continue
		}
		i := slices.IndexFunc(settings, func(s setting) bool { return s.variable() == variable })
		switch {
		case i < 0:
			// the value is not logged: it may be a secret
			c.Warnings = append(c.Warnings, "unrecognized environment variable "+variable)
		case c.given[settings[i].name]:
			c.Notes = append(c.Notes,
				"recognized environment variable "+variable+", but unused: shadowed by corresponding flag")
		default:
			c.Notes = append(c.Notes,
				"recognized and used environment variable "+variable+"="+discovery.WithoutPassword(value))
			if err := settings[i].set(value); err != nil {
				return invalid(value, variable, err)
			}
			c.given[settings[i].name] = true
		}
	}
	return nil
}

// invalid returns the error for a value that is refused; place is where it was given.
func invalid(value, place string, err error) error {
	return fmt.Errorf("invalid value %q for %s: %w", discovery.WithoutPassword(value), place, err)
}

// Shown returns the arguments of a process without passwords.
func Shown(args []string) (shown []string) {
	for _, arg := range args {
		flag, value, found := strings.Cut(arg, "=")
		if found && strings.HasPrefix(flag, "-") {
			arg = flag + "=" + discovery.WithoutPassword(value)
		}
		shown = append(shown, discovery.WithoutPassword(arg))
	}
	return shown
}

// deriveDefaults fills in the defaults that follow from other flags.
func (c *Config) deriveDefaults() {
	if c.DataDir == "" {
		c.DataDir = c.Name + ".etcd"
	}
	if c.WALDir == "" {
		c.WALDir = filepath.Join(c.DataDir, "member", "wal")
	}
	if c.InitialCluster == "" {
		delete(c.given, "initial-cluster") // an empty list counts as not given
		var members []string
		for _, u := range c.AdvertisePeer {
			members = append(members, c.Name+"="+u)
		}
		c.InitialCluster = strings.Join(members, ",")
	}
	if c.MaxWALs == 0 {
		c.MaxWALs = math.MaxInt32
	}
}

// contradiction returns what is wrong between flags that are right one by one.
func (c *Config) contradiction() error {
	found := c.Discovery != "" || c.DiscoverySRV != ""
	switch {
	case c.Discovery != "" && c.DiscoverySRV != "", found && c.given["initial-cluster"]:
		return errors.New(`multiple discovery or bootstrap flags are set. Choose one of "initial-cluster", "discovery" or "discovery-srv"`)
	case found && (len(c.Join) > 0 || c.State == "existing"):
		return errors.New("--discovery and --discovery-srv begin a new cluster, --join and " +
			"--initial-cluster-state=existing enter a running one; give one of them")
	case c.given["listen-client-urls"] && !c.given["advertise-client-urls"] && c.bindAddr == "" && !c.mayBeProxy():
		return errors.New("--listen-client-urls needs --advertise-client-urls: give the URLs under which clients " +
			"reach this member")
	case len(c.Join) > 0 && c.given["initial-cluster"]:
		return errors.New("--join and --initial-cluster contradict each other: a member that joins learns from the " +
			"cluster which members it has; give one of them")
	case len(c.Join) > 0 && c.State == "existing":
		return errors.New("--join and --initial-cluster-state=existing contradict each other: the first adds this " +
			"member to the cluster, the second expects that it was added before; give one of them")
	case filepath.Clean(c.WALDir) == filepath.Clean(c.DataDir):
		return fmt.Errorf("--wal-dir=%s is the data directory: give the log a directory of its own, or leave the "+
			"flag out", c.WALDir)
	case c.Election < 5*c.Heartbeat:
		return fmt.Errorf("--election-timeout=%d is less than five times --heartbeat-interval=%d: give at least %d",
			c.Election.Milliseconds(), c.Heartbeat.Milliseconds(), 5*c.Heartbeat.Milliseconds())
	}
	if !c.strict {
		c.Warnings = append(c.Warnings,
			"--strict-reconfig-check=false is ignored: a change that would lose the quorum is always refused")
	}
	client, err := c.Client.Check(c.ListenClient)
	peer, peerErr := c.Peer.Check(c.ListenPeer)
	if c.IsProxy() { // it has no peer port; its certificate for peers is for calling them
		peer, peerErr = nil, nil
	} else {
		c.Peer.ClientCA = c.Client.CA
	}
	c.Warnings = append(c.Warnings, slices.Concat(client, peer)...)
	return cmp.Or(err, peerErr)
}

// mayBeProxy reports whether this process is or may become a proxy, which advertises no URLs.
func (c *Config) mayBeProxy() bool {
	if there, err := proxy.Exists(c.DataDir); err == nil && there {
		return true
	}
	return c.IsProxy() || c.Discovery != "" && c.Fallback == "proxy"
}

// IsProxy reports whether this process is a proxy.
func (c *Config) IsProxy() bool { return c.Proxy != "off" }

// ChooseRole makes this process a member or a proxy, whichever has left its data in the directory,
// whatever the flags say; in an empty directory the flags decide. member says whether the data of a
// member is there.
func (c *Config) ChooseRole(member bool, log *slog.Logger) (err error) {
	c.Proxy, err = proxy.Role(c.DataDir, c.Proxy, member, c.ForceNew, log)
	if c.IsProxy() {
		c.ListenPeer = nil
	}
	return err
}

// Resumes reports whether a member goes on from its data. It then ignores the flags that say where
// its cluster is, and logs which.
func (c *Config) Resumes(hasData bool, log *slog.Logger) (bool, error) {
	switch {
	case !hasData && c.ForceNew:
		return false, fmt.Errorf("--force-new-cluster: %s has no data of a member: give its data directory as "+
			"--data-dir", c.DataDir)
	case hasData && len(c.Join) > 0:
		log.Info("--join is ignored: the data directory has the data of a member", "data", c.DataDir)
	case hasData && (c.Discovery != "" || c.DiscoverySRV != ""):
		log.Info("discovery is ignored since a cluster has already been initialized", "data", c.DataDir)
	}
	return hasData, nil
}

// Self returns what the member tells the others about itself at every start. A member with data
// tells peer URLs only when they were given: the default must not replace those that the cluster
// knows.
func (c *Config) Self(plan discovery.Plan) raft.Member {
	clientURLs := slices.Sorted(slices.Values(c.AdvertiseClient))
	m := raft.Member{Name: c.Name, PeerURLs: plan.Self.PeerURLs, ClientURLs: clientURLs, Version: Version}
	if c.given["initial-advertise-peer-urls"] {
		m.PeerURLs = slices.Sorted(slices.Values(c.AdvertisePeer))
	}
	return m
}

// AdvertiseWarnings returns a sentence for each URL in self at which others will hardly reach this
// member, which listens at the URLs clients and peers.
func (c *Config) AdvertiseWarnings(clients, peers []string, self raft.Member) []string {
	return slices.Concat(
		advertiseWarnings("advertise-client-urls", self.ClientURLs, clients),
		advertiseWarnings("initial-advertise-peer-urls", self.PeerURLs, peers))
}

// Sources returns what the flags say about where the cluster is.
func (c *Config) Sources() discovery.Sources {
	return discovery.Sources{
		Join: c.Join, Token: c.Discovery, Proxy: c.DiscoveryProxy, Domain: c.DiscoverySRV,
		List: c.InitialCluster, Listed: c.given["initial-cluster"], Existing: c.State == "existing", Cluster: c.Token,
	}
}

// Seeds returns the URLs at which a proxy looks for the cluster at first. A proxy that remembers
// its cluster asks nobody for them: they are those of --initial-cluster, or none.
func (c *Config) Seeds(ctx context.Context, n discovery.Newcomer) ([]string, error) {
	known, err := proxy.Remembered(c.DataDir)
	switch {
	case err != nil:
		return nil, err
	case len(known) > 0 && !c.given["initial-cluster"]:
		return nil, nil
	case len(c.Join) > 0:
		return c.Join, nil
	}
	m, err := c.Sources().Look(ctx, n)
	return discovery.PeerURLs(m), err
}

// Disks returns the directories that may be on different disks.
func (c *Config) Disks() []string {
	if c.WALDir == "" {
		return []string{c.DataDir}
	}
	return []string{c.DataDir, c.WALDir}
}

// OwnHosts returns the host names of this process: those in its URLs, and those of
// --host-whitelist.
func (c *Config) OwnHosts() []string {
	names := slices.Clone(c.Hosts)
	for _, u := range slices.Concat(c.ListenClient, c.AdvertiseClient, c.ListenPeer, c.AdvertisePeer) {
		_, name, _ := strings.Cut(u, "://")
		names = append(names, name)
	}
	return names
}

// OwnURLs returns the URLs at which this process itself answers clients.
func (c *Config) OwnURLs() []string {
	if c.given["advertise-client-urls"] {
		return slices.Concat(c.ListenClient, c.AdvertiseClient)
	}
	return c.ListenClient
}

// RequestTimeout returns how long a request may wait for agreement (API section 16).
func (c *Config) RequestTimeout() time.Duration { return 5*time.Second + 2*c.Election }

// GivenWALDir returns --wal-dir, or "" when it was not given.
func (c *Config) GivenWALDir() string {
	if c.Given("wal-dir") {
		return c.WALDir
	}
	return ""
}

// Report logs the notes and the warnings.
func (c *Config) Report(log *slog.Logger) {
	for _, note := range c.Notes {
		log.Info(note)
	}
	for _, warning := range c.Warnings {
		log.Warn(warning)
	}
}

// Blame adds to an error about a directory the flag that names the directory.
func (c *Config) Blame(err error) error {
	var e *raft.DirError
	switch {
	case !errors.As(err, &e):
		return err
	case e.Log && c.given["wal-dir"]:
		return fmt.Errorf("--wal-dir=%s: %w: %s", c.WALDir, e.Err, e.Remedy)
	}
	return fmt.Errorf("--data-dir=%s: %w: %s", c.DataDir, e.Err, e.Remedy)
}
