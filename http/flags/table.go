package flags

import (
	"bufio"
	"fmt"
	"io"
	"math"
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

// settings is the table of all flags. A new flag is one new line here.
func (c *Config) settings() []setting {
	return []setting{
		{"Member", "name", "default", "NAME", "name of this member, unique in its cluster", name(&c.Name)},
		{"Member", "data-dir", "", "DIR", "where everything is kept; empty means NAME.etcd", text(&c.DataDir)},
		{"Member", "wal-dir", "", "DIR", "where the log is kept, to give it a disk of its own; empty means inside the data directory", text(&c.WALDir)},
		{"Member", "snapshot-count", "10000", "N", "least number of entries between two snapshots, unless they are much compared with the state", number(&c.SnapshotCount, 1, 1<<31-1)},
		{"Member", "max-snapshots", "5", "N", "snapshot files kept, at least two; 0 keeps all", number(&c.MaxSnapshots, 0, 1<<20)},
		{"Member", "max-wals", "5", "N", "log files kept that no restart needs; 0 keeps all", number(&c.MaxWALs, 0, 1<<20)},
		{"Member", "heartbeat-interval", "100", "MS", "milliseconds between two heartbeats of a leader", milliseconds(&c.Heartbeat, 1, 10_000)},
		{"Member", "election-timeout", "1000", "MS", "milliseconds without a leader before an election; at least five heartbeats, under 50000", milliseconds(&c.Election, 5, 49_999)},
		{"Member", "listen-client-urls", presetClientURLs, "URL,...", "where clients are answered", urls(&c.ListenClient)},
		{"Member", "listen-peer-urls", presetPeerURLs, "URL,...", "where other members are answered", urls(&c.ListenPeer)},

		{"Cluster", "advertise-client-urls", presetClientURLs, "URL,...", "where clients find this member, as the cluster tells them", urls(&c.AdvertiseClient)},
		{"Cluster", "initial-advertise-peer-urls", presetPeerURLs, "URL,...", "where other members find this one; when given, the cluster learns it at every start", urls(&c.AdvertisePeer)},
		{"Cluster", "initial-cluster", "", "NAME=URL,...", "the members that begin the cluster; empty means this one alone, at its --initial-advertise-peer-urls", text(&c.InitialCluster)},
		{"Cluster", "initial-cluster-state", "new", "new|existing", "whether the listed members begin a cluster, or this one takes the place that a running one has made for it (POST /v2/members)", choice(&c.State, "new", "existing")},
		{"Cluster", "join", "", "URL,...", "running members, at client or peer URLs, that take this one in when it has no data; needs no list", optional(urls(&c.Join))},
		{"Cluster", "initial-cluster-token", "etcd-cluster", "TEXT", "keeps clusters apart that were begun with the same URLs", text(&c.Token)},
		{"Cluster", "discovery", "", "URL", "where the founders of the cluster find each other: a discovery URL, made for so many members", optional(service(&c.Discovery))},
		{"Cluster", "discovery-fallback", "proxy", "exit|proxy", "what a member does that comes when there are as many already", choice(&c.Fallback, "exit", "proxy")},
		{"Cluster", "discovery-proxy", "", "URL", "an HTTP proxy on the way to the discovery URL", optional(proxyURL(&c.DiscoveryProxy))},
		{"Cluster", "discovery-srv", "", "DOMAIN", "a domain whose DNS SRV records list the members that begin the cluster: _etcd-server._tcp, and _etcd-server-ssl._tcp for https", optional(domain(&c.DiscoverySRV))},
		{"Cluster", "strict-reconfig-check", "true", "", "accepted for the sake of etcd 2: a change of the membership that would lose the quorum is always refused", toggle(&c.strict)},
		{"Cluster", "force-new-cluster", "false", "", "go on from the data as a cluster of this member alone", toggle(&c.ForceNew)},

		{"Proxy", "proxy", "off", "off|readonly|on", "be no member, but hand on what clients ask to the members; with readonly, only what reads", choice(&c.Proxy, "off", "readonly", "on")},
		{"Proxy", "proxy-failure-wait", "5000", "MS", "milliseconds for which a member is left alone that did not answer", milliseconds(&c.ProxyTimes.FailureWait, 1, 1<<31-1)},
		{"Proxy", "proxy-refresh-interval", "30000", "MS", "milliseconds between two questions to the members who they are", milliseconds(&c.ProxyTimes.Refresh, 1, 1<<31-1)},
		{"Proxy", "proxy-dial-timeout", "1000", "MS", "milliseconds for a connection to a member", milliseconds(&c.ProxyTimes.Dial, 1, 1<<31-1)},
		{"Proxy", "proxy-write-timeout", "5000", "MS", "milliseconds for each piece that is sent to a member", milliseconds(&c.ProxyTimes.Write, 1, 1<<31-1)},
		{"Proxy", "proxy-read-timeout", "0", "MS", "milliseconds for each piece that a member sends; 0 means no limit, any other ends watches in which nothing happens", milliseconds(&c.ProxyTimes.Read, 0, 1<<31-1)},

		{"Clients", "cors", "", "ORIGIN,...", "web origins that may ask from a browser, or *", origins(&c.CORS)},
		{"Clients", "host-whitelist", "", "NAME,...", "names by which browsers may call this member over plain HTTP, besides addresses, localhost and the hosts of its URLs; or *", hostNames(&c.Hosts)},
		{"Clients", "max-request-bytes", "10485760", "BYTES", "longest request body", number(&c.MaxRequestBytes, 1, 1<<30)},
		{"Clients", "event-history", "100000", "N", "events kept for watches of the past", number(&c.EventHistory, 1, 1<<30)},
		{"Clients", "page", "true", "", "show browsers a page of the cluster and its keys at /", toggle(&c.Page)},
		{"Clients", "quota-bytes", "0", "BYTES", "memory that the tree may take before writes that make it grow are refused; 0 means a quarter of the memory", number(&c.QuotaBytes, 0, math.MaxInt)},
		{"Clients", "enable-pprof", "false", "", "serve profiles at /debug/pprof", toggle(&c.Pprof)},

		{"TLS", "cert-file", "", "FILE", "certificate for https clients, in PEM, with those between it and its authority; this and the other files are read again when they change", text(&c.Client.Cert)},
		{"TLS", "key-file", "", "FILE", "its key", text(&c.Client.Key)},
		{"TLS", "client-cert-auth", "false", "", "refuse https clients without a certificate of --trusted-ca-file", toggle(&c.Client.ClientAuth)},
		{"TLS", "trusted-ca-file", "", "FILE", "authorities of clients' certificates, in PEM; whoever shows one must show a right one", text(&c.Client.CA)},
		{"TLS", "client-crl-file", "", "FILE", "clients' certificates that were revoked: lists signed by --trusted-ca-file", text(&c.Client.CRL)},
		{"TLS", "auto-tls", "false", "", "serve https clients with a certificate made here, under DATA/fixtures", toggle(&c.Client.Auto)},
		{"TLS", "ca-file", "", "FILE", "old form of --trusted-ca-file with --client-cert-auth", text(&c.Client.OldCA)},
		{"TLS", "peer-cert-file", "", "FILE", "certificate for https among members, which serves in both directions", text(&c.Peer.Cert)},
		{"TLS", "peer-key-file", "", "FILE", "its key", text(&c.Peer.Key)},
		{"TLS", "peer-client-cert-auth", "false", "", "refuse members without a certificate of --peer-trusted-ca-file", toggle(&c.Peer.ClientAuth)},
		{"TLS", "peer-trusted-ca-file", "", "FILE", "authorities of members' certificates; without it, those of the machine are trusted for members that are called", text(&c.Peer.CA)},
		{"TLS", "peer-cert-allowed-cn", "", "NAME,...", "common names of which a member's certificate must have one; needs --peer-client-cert-auth", text(&c.Peer.Names)},
		{"TLS", "peer-crl-file", "", "FILE", "members' certificates that were revoked: lists signed by --peer-trusted-ca-file", text(&c.Peer.CRL)},
		{"TLS", "peer-auto-tls", "false", "", "talk to members with certificates made here: encrypted, but nobody finds out who is at the other end", toggle(&c.Peer.Auto)},
		{"TLS", "peer-ca-file", "", "FILE", "old form of --peer-trusted-ca-file with --peer-client-cert-auth", text(&c.Peer.OldCA)},

		{"Old forms", "addr", "", "IP:PORT", "old form of --advertise-client-urls, which also listens at [::]:PORT", optional(ipPort(&c.addr))},
		{"Old forms", "bind-addr", "", "IP:PORT", "old form of --listen-client-urls", optional(ipPort(&c.bindAddr))},
		{"Old forms", "peer-addr", "", "IP:PORT", "old form of --initial-advertise-peer-urls, which also listens at [::]:PORT", optional(ipPort(&c.peerAddr))},
		{"Old forms", "peer-bind-addr", "", "IP:PORT", "old form of --listen-peer-urls", optional(ipPort(&c.peerBindAddr))},

		{"Trial", "check-config", "false", "", "say what a start with all these flags and variables would do, and end: no port is opened, nobody is asked, nothing is written; status 1 when it would be refused", toggle(&c.CheckConfig)},

		{"Logging", "debug", "false", "", "log at level DEBUG", toggle(&c.Debug)},
		{"Logging", "log-package-levels", "", "PKG=LEVEL,...", "levels of single packages, as raft=DEBUG,http=WARNING", packageLevels(&c.Levels)},
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
