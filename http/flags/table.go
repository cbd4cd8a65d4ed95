package flags

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

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

// settings is the table of all flags. A new flag is one new row in its group.
func (c *Config) settings() []setting {
	return slices.Concat(
		in("Member", c.memberFlags()),
		in("Cluster", c.clusterFlags()),
		in("Proxy", c.proxyFlags()),
		in("Clients", c.clientFlags()),
		in("TLS", c.tlsFlags()),
		in("Old forms", c.oldFlags()),
		in("Trial", c.trialFlags()),
		in("Logging", c.logFlags()),
	)
}

// in puts rows of the table into a group.
func in(group string, rows []setting) []setting {
	for i := range rows {
		rows[i].group = group
	}
	return rows
}

func (c *Config) memberFlags() []setting {
	return []setting{
		{name: "name", preset: "default", arg: "NAME", set: name(&c.Name),
			help: "name of this member, unique in its cluster"},
		{name: "data-dir", arg: "DIR", set: text(&c.DataDir),
			help: "where everything is kept; empty means NAME.etcd"},
		{name: "wal-dir", arg: "DIR", set: text(&c.WALDir),
			help: "where the log is kept, to give it a disk of its own; empty means inside the data directory"},
		{name: "snapshot-count", preset: "10000", arg: "N", set: number(&c.SnapshotCount, 1, 1<<31-1),
			help: "least number of entries between two snapshots, unless they are many bytes compared with the state"},
		{name: "max-snapshots", preset: "5", arg: "N", set: number(&c.MaxSnapshots, 0, 1<<20),
			help: "snapshot files kept, at least two; 0 keeps all"},
		{name: "max-wals", preset: "5", arg: "N", set: number(&c.MaxWALs, 0, 1<<20),
			help: "log files kept that no restart needs; 0 keeps all"},
		{name: "heartbeat-interval", preset: "100", arg: "MS", set: milliseconds(&c.Heartbeat, 1, 10_000),
			help: "milliseconds between two heartbeats of a leader"},
		{name: "election-timeout", preset: "1000", arg: "MS", set: milliseconds(&c.Election, 5, 49_999),
			help: "milliseconds without a leader before an election; at least five heartbeats, under 50000"},
		{name: "listen-client-urls", preset: presetClientURLs, arg: "URL,...", set: urls(&c.ListenClient),
			help: "where clients are answered"},
		{name: "listen-peer-urls", preset: presetPeerURLs, arg: "URL,...", set: urls(&c.ListenPeer),
			help: "where other members are answered"},
	}
}

func (c *Config) clusterFlags() []setting {
	return []setting{
		{name: "advertise-client-urls", preset: presetClientURLs, arg: "URL,...", set: urls(&c.AdvertiseClient),
			help: "where clients find this member, as the cluster tells them"},
		{name: "initial-advertise-peer-urls", preset: presetPeerURLs, arg: "URL,...", set: urls(&c.AdvertisePeer),
			help: "where other members find this one; when given, the cluster learns it at every start"},
		{name: "initial-cluster", arg: "NAME=URL,...", set: text(&c.InitialCluster),
			help: "the members that begin the cluster; empty means this one alone, at its " +
				"--initial-advertise-peer-urls"},
		{name: "initial-cluster-state", preset: "new", arg: "new|existing", set: choice(&c.State, "new", "existing"),
			help: "whether the listed members begin a cluster, or this one takes the place that a running one has " +
				"made for it (POST /v2/members)"},
		{name: "join", arg: "URL,...", set: optional(urls(&c.Join)),
			help: "running members, at client or peer URLs, that take this one in when it has no data; needs no list"},
		{name: "initial-cluster-token", preset: "etcd-cluster", arg: "TEXT", set: text(&c.Token),
			help: "keeps clusters apart that were begun with the same URLs"},
		{name: "discovery", arg: "URL", set: optional(service(&c.Discovery)),
			help: "where the founders of the cluster find each other: a discovery URL, made for so many members"},
		{name: "discovery-fallback", preset: "proxy", arg: "exit|proxy", set: choice(&c.Fallback, "exit", "proxy"),
			help: "what a member does that comes when there are as many already"},
		{name: "discovery-proxy", arg: "URL", set: optional(proxyURL(&c.DiscoveryProxy)),
			help: "an HTTP proxy on the way to the discovery URL"},
		{name: "discovery-srv", arg: "DOMAIN", set: optional(domain(&c.DiscoverySRV)),
			help: "a domain whose DNS SRV records list the members that begin the cluster: _etcd-server._tcp, and " +
				"_etcd-server-ssl._tcp for https"},
		{name: "strict-reconfig-check", preset: "true", set: toggle(&c.strict),
			help: "accepted for the sake of etcd 2: a change of the membership that would lose the quorum is always " +
				"refused"},
		{name: "force-new-cluster", preset: "false", set: toggle(&c.ForceNew),
			help: "go on from the data as a cluster of this member alone"},
	}
}

func (c *Config) proxyFlags() []setting {
	return []setting{
		{name: "proxy", preset: "off", arg: "off|readonly|on", set: choice(&c.Proxy, "off", "readonly", "on"),
			help: "be no member, but hand on what clients ask to the members; with readonly, only what reads"},
		{name: "proxy-failure-wait", preset: "5000", arg: "MS",
			set:  milliseconds(&c.ProxyTimes.FailureWait, 1, 1<<31-1),
			help: "milliseconds for which a member is left alone that did not answer"},
		{name: "proxy-refresh-interval", preset: "30000", arg: "MS",
			set:  milliseconds(&c.ProxyTimes.Refresh, 1, 1<<31-1),
			help: "milliseconds between two questions to the members who they are"},
		{name: "proxy-dial-timeout", preset: "1000", arg: "MS", set: milliseconds(&c.ProxyTimes.Dial, 1, 1<<31-1),
			help: "milliseconds for a connection to a member"},
		{name: "proxy-write-timeout", preset: "5000", arg: "MS", set: milliseconds(&c.ProxyTimes.Write, 1, 1<<31-1),
			help: "milliseconds for each piece that is sent to a member"},
		{name: "proxy-read-timeout", preset: "0", arg: "MS", set: milliseconds(&c.ProxyTimes.Read, 0, 1<<31-1),
			help: "milliseconds for each piece that a member sends; 0 means no limit, any other ends watches in " +
				"which nothing happens"},
	}
}

func (c *Config) clientFlags() []setting {
	return []setting{
		{name: "cors", arg: "ORIGIN,...", set: origins(&c.CORS),
			help: "web origins that may ask from a browser, or *"},
		{name: "host-whitelist", arg: "NAME,...", set: hostNames(&c.Hosts),
			help: "names by which browsers may call this member over plain HTTP, besides addresses, localhost and " +
				"the hosts of its URLs; or *"},
		{name: "max-request-bytes", preset: "10485760", arg: "BYTES", set: number(&c.MaxRequestBytes, 1, 1<<30),
			help: "longest request body"},
		{name: "event-history", preset: "100000", arg: "N", set: number(&c.EventHistory, 1, 1<<30),
			help: "events kept for watches of the past"},
		{name: "page", preset: "true", set: toggle(&c.Page),
			help: "show browsers a page of the cluster and its keys at /"},
		{name: "quota-bytes", preset: "0", arg: "BYTES", set: number(&c.QuotaBytes, 0, math.MaxInt),
			help: "memory that the tree may take before writes that make it grow are refused; 0 means a quarter of " +
				"the memory"},
		{name: "enable-pprof", preset: "false", set: toggle(&c.Pprof),
			help: "serve profiles at /debug/pprof"},
	}
}

func (c *Config) tlsFlags() []setting {
	return []setting{
		{name: "cert-file", arg: "FILE", set: text(&c.Client.Cert),
			help: "certificate for https clients, in PEM, with those between it and its authority; this and the " +
				"other files are read again when they change"},
		{name: "key-file", arg: "FILE", set: text(&c.Client.Key),
			help: "its key"},
		{name: "client-cert-auth", preset: "false", set: toggle(&c.Client.ClientAuth),
			help: "refuse https clients without a certificate of --trusted-ca-file"},
		{name: "trusted-ca-file", arg: "FILE", set: text(&c.Client.CA),
			help: "authorities of clients' certificates, in PEM; whoever shows one must show a right one"},
		{name: "client-crl-file", arg: "FILE", set: text(&c.Client.CRL),
			help: "clients' certificates that were revoked: lists signed by --trusted-ca-file"},
		{name: "auto-tls", preset: "false", set: toggle(&c.Client.Auto),
			help: "serve https clients with a certificate made here, under DATA/fixtures"},
		{name: "ca-file", arg: "FILE", set: text(&c.Client.OldCA),
			help: "old form of --trusted-ca-file with --client-cert-auth"},
		{name: "peer-cert-file", arg: "FILE", set: text(&c.Peer.Cert),
			help: "certificate for https among members, which serves in both directions"},
		{name: "peer-key-file", arg: "FILE", set: text(&c.Peer.Key),
			help: "its key"},
		{name: "peer-client-cert-auth", preset: "false", set: toggle(&c.Peer.ClientAuth),
			help: "refuse members without a certificate of --peer-trusted-ca-file"},
		{name: "peer-trusted-ca-file", arg: "FILE", set: text(&c.Peer.CA),
			help: "authorities of members' certificates; without it, those of the machine are trusted for members " +
				"that are called"},
		{name: "peer-cert-allowed-cn", arg: "NAME,...", set: text(&c.Peer.Names),
			help: "common names of which a member's certificate must have one; needs --peer-client-cert-auth"},
		{name: "peer-crl-file", arg: "FILE", set: text(&c.Peer.CRL),
			help: "members' certificates that were revoked: lists signed by --peer-trusted-ca-file"},
		{name: "peer-auto-tls", preset: "false", set: toggle(&c.Peer.Auto),
			help: "talk to members with certificates made here: encrypted, but nobody finds out who is at the " +
				"other end"},
		{name: "peer-ca-file", arg: "FILE", set: text(&c.Peer.OldCA),
			help: "old form of --peer-trusted-ca-file with --peer-client-cert-auth"},
	}
}

func (c *Config) oldFlags() []setting {
	return []setting{
		{name: "addr", arg: "IP:PORT", set: optional(ipPort(&c.addr)),
			help: "old form of --advertise-client-urls, which also listens at [::]:PORT"},
		{name: "bind-addr", arg: "IP:PORT", set: optional(ipPort(&c.bindAddr)),
			help: "old form of --listen-client-urls"},
		{name: "peer-addr", arg: "IP:PORT", set: optional(ipPort(&c.peerAddr)),
			help: "old form of --initial-advertise-peer-urls, which also listens at [::]:PORT"},
		{name: "peer-bind-addr", arg: "IP:PORT", set: optional(ipPort(&c.peerBindAddr)),
			help: "old form of --listen-peer-urls"},
	}
}

func (c *Config) trialFlags() []setting {
	return []setting{
		{name: "check-config", preset: "false", set: toggle(&c.CheckConfig),
			help: "say what a start with all these flags and variables would do, and end: no port is opened, nobody " +
				"is asked, nothing is written; status 1 when it would be refused"},
	}
}

func (c *Config) logFlags() []setting {
	return []setting{
		{name: "debug", preset: "false", set: toggle(&c.Debug),
			help: "log at level DEBUG"},
		{name: "log-package-levels", arg: "PKG=LEVEL,...", set: packageLevels(&c.Levels),
			help: "levels of single packages, as raft=DEBUG,http=WARNING"},
	}
}

// variable is the flag's name in the environment.
func (s setting) variable() string {
	return "ETCD_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// Help writes the text of --help: every flag, by groups, with its default.
func Help(w io.Writer) error {
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
	for _, s := range new(Config).settings() {
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
