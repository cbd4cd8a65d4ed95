package flags

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"etcd2/http/certs"
)

// A setting is one flag: --name VALUE on the command line, ETCD_NAME=VALUE in the environment.
type setting struct {
	group  string
	name   string
	preset string // default value
	arg    string // kind of the value, for --help; "": a switch, true or false
	help   string
	set    func(value string) error // checks the value and stores it
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

// in assigns rows of the table to a group.
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
			help: "directory of all data; empty means NAME.etcd"},
		{name: "wal-dir", arg: "DIR", set: text(&c.WALDir),
			help: "directory of the log, which may be on a disk of its own; empty means inside the data directory"},
		{name: "snapshot-count", preset: "10000", arg: "N", set: number(&c.SnapshotCount, 1, 1<<31-1),
			help: "least number of entries between two snapshots; fewer when they have many more bytes than the tree"},
		{name: "max-snapshots", preset: "5", arg: "N", set: number(&c.MaxSnapshots, 0, 1<<20),
			help: "snapshot files kept, at least two; 0 keeps all"},
		{name: "max-wals", preset: "5", arg: "N", set: number(&c.MaxWALs, 0, 1<<20),
			help: "log files kept that no restart needs; 0 keeps all"},
		{name: "heartbeat-interval", preset: "100", arg: "MS", set: milliseconds(&c.Heartbeat, 1, 10_000),
			help: "milliseconds between two heartbeats of a leader"},
		{name: "election-timeout", preset: "1000", arg: "MS", set: milliseconds(&c.Election, 5, 49_999),
			help: "milliseconds without a leader before an election; at least five heartbeats, under 50000"},
		{name: "listen-client-urls", preset: presetClientURLs, arg: "URL,...", set: urls(&c.ListenClient),
			help: "URLs at which this process listens for clients"},
		{name: "listen-peer-urls", preset: presetPeerURLs, arg: "URL,...", set: urls(&c.ListenPeer),
			help: "URLs at which this member listens for other members"},
	}
}

func (c *Config) clusterFlags() []setting {
	return []setting{
		{name: "advertise-client-urls", preset: presetClientURLs, arg: "URL,...", set: urls(&c.AdvertiseClient),
			help: "URLs at which clients reach this member; the cluster tells them to clients"},
		{name: "initial-advertise-peer-urls", preset: presetPeerURLs, arg: "URL,...", set: urls(&c.AdvertisePeer),
			help: "URLs at which other members reach this one; when given, the cluster learns them at every start"},
		{name: "initial-cluster", arg: "NAME=URL,...", set: text(&c.InitialCluster),
			help: "the members that a new cluster begins with; empty means this one alone, at its " +
				"--initial-advertise-peer-urls"},
		{name: "initial-cluster-state", preset: "new", arg: "new|existing", set: choice(&c.State, "new", "existing"),
			help: "new: the listed members begin a cluster; existing: this one enters a running cluster, which must " +
				"have added it before (POST /v2/members)"},
		{name: "join", arg: "URL,...", set: optional(urls(&c.Join)),
			help: "client or peer URLs of running members, which add this one to their cluster when it has no data; " +
				"no --initial-cluster is needed"},
		{name: "initial-cluster-token", preset: "etcd-cluster", arg: "TEXT", set: text(&c.Token),
			help: "tells clusters apart that began with the same URLs"},
		{name: "discovery", arg: "URL", set: optional(service(&c.Discovery)),
			help: "discovery URL, at which the members that begin a cluster find each other; it is made for a fixed " +
				"number of them"},
		{name: "discovery-fallback", preset: "proxy", arg: "exit|proxy", set: choice(&c.Fallback, "exit", "proxy"),
			help: "what this process does when the cluster of its discovery URL is full: end, or run as a proxy"},
		{name: "discovery-proxy", arg: "URL", set: optional(proxyURL(&c.DiscoveryProxy)),
			help: "an HTTP proxy through which the discovery URL is reached"},
		{name: "discovery-srv", arg: "DOMAIN", set: optional(domain(&c.DiscoverySRV)),
			help: "a domain whose DNS SRV records list the members that a new cluster begins with: " +
				"_etcd-server._tcp, and _etcd-server-ssl._tcp for https"},
		{name: "strict-reconfig-check", preset: "true", set: toggle(&c.strict),
			help: "accepted for compatibility with etcd 2; with either value, a change of the membership that would " +
				"lose the quorum is refused"},
		{name: "force-new-cluster", preset: "false", set: toggle(&c.ForceNew),
			help: "make of this member's data a cluster of this member alone"},
	}
}

func (c *Config) proxyFlags() []setting {
	return []setting{
		{name: "proxy", preset: "off", arg: "off|readonly|on", set: choice(&c.Proxy, "off", "readonly", "on"),
			help: "run as a proxy, which forwards the requests of clients to members; readonly: only those that read"},
		{name: "proxy-failure-wait", preset: "5000", arg: "MS",
			set:  milliseconds(&c.ProxyTimes.FailureWait, 1, 1<<31-1),
			help: "milliseconds before a member that did not answer is tried again"},
		{name: "proxy-refresh-interval", preset: "30000", arg: "MS",
			set:  milliseconds(&c.ProxyTimes.Refresh, 1, 1<<31-1),
			help: "milliseconds between two requests for the list of members"},
		{name: "proxy-dial-timeout", preset: "1000", arg: "MS", set: milliseconds(&c.ProxyTimes.Dial, 1, 1<<31-1),
			help: "time limit for connecting to a member, in milliseconds"},
		{name: "proxy-write-timeout", preset: "5000", arg: "MS", set: milliseconds(&c.ProxyTimes.Write, 1, 1<<31-1),
			help: "time limit for each write to a member, in milliseconds"},
		{name: "proxy-read-timeout", preset: "0", arg: "MS", set: milliseconds(&c.ProxyTimes.Read, 0, 1<<31-1),
			help: "time limit for each read from a member, in milliseconds; 0 means none. Any other value also ends " +
				"watches in which nothing happens for that long"},
	}
}

func (c *Config) clientFlags() []setting {
	return []setting{
		{name: "cors", arg: "ORIGIN,...", set: origins(&c.CORS),
			help: "web origins whose pages may send requests to this process, or * for all"},
		{name: "host-whitelist", arg: "NAME,...", set: hostNames(&c.Hosts),
			help: "host names by which browsers may call this process over plain HTTP, besides IP addresses, " +
				"localhost and the hosts of its URLs; or * for all"},
		{name: "max-request-bytes", preset: "10485760", arg: "BYTES", set: number(&c.MaxRequestBytes, 1, 1<<30),
			help: "greatest length of a request body"},
		{name: "event-history", preset: "100000", arg: "N", set: number(&c.EventHistory, 1, 1<<30),
			help: "number of events kept for watches that begin at a past index"},
		{name: "page", preset: "true", set: toggle(&c.Page),
			help: "serve a page for browsers at /, which shows the cluster and its keys"},
		{name: "quota-bytes", preset: "0", arg: "BYTES", set: number(&c.QuotaBytes, 0, math.MaxInt),
			help: "memory that the tree may take; beyond it, writes that make the tree grow are refused; 0 means a " +
				"quarter of the memory"},
		{name: "enable-pprof", preset: "false", set: toggle(&c.Pprof),
			help: "serve the profiles of Go's net/http/pprof at /debug/pprof"},
	}
}

// tlsFlags are the flags of both ports, which have the same form, and one that only members need.
func (c *Config) tlsFlags() []setting {
	return append(slices.Concat(
		portFlags(certs.ClientPort, "", "clients", &c.Client),
		portFlags(certs.PeerPort, "peer-", "members", &c.Peer)),
		setting{name: "peer-cert-allowed-cn", arg: "NAME,...", set: text(&c.Peer.Names),
			help: "common names of which a member's certificate must have one; needs --peer-client-cert-auth"})
}

// portFlags are the flags of one port, whose names begin with prefix. others is a word for those
// that connect to the port.
func portFlags(port, prefix, others string, f *certs.Flags) []setting {
	authorities := "--" + prefix + "trusted-ca-file"
	return []setting{
		{name: prefix + "cert-file", arg: "FILE", set: text(&f.Cert),
			help: "certificate that is shown to " + others + ", in PEM, followed by those between it and its " +
				"authority; this and the other files are read again when they change"},
		{name: prefix + "key-file", arg: "FILE", set: text(&f.Key),
			help: "private key of --" + prefix + "cert-file"},
		{name: prefix + "client-cert-auth", preset: "false", set: toggle(&f.ClientAuth),
			help: "refuse " + others + " that show no certificate of " + authorities},
		{name: prefix + "trusted-ca-file", arg: "FILE", set: text(&f.CA),
			help: "authorities of the certificates of " + others + ", in PEM: a certificate that is shown must be " +
				"from one of these; without it nobody is asked for one, and this machine's authorities are trusted " +
				"for the members that are called"},
		{name: port + "-crl-file", arg: "FILE", set: text(&f.CRL),
			help: "revoked certificates of " + others + ": lists signed by " + authorities},
		{name: prefix + "auto-tls", preset: "false", set: toggle(&f.Auto),
			help: "show " + others + " a certificate made here, under DATA/fixtures: connections are encrypted, but " +
				"no authority vouches for this end"},
		{name: prefix + "ca-file", arg: "FILE", set: text(&f.OldCA),
			help: "old form of " + authorities + " with --" + prefix + "client-cert-auth"},
	}
}

func (c *Config) oldFlags() []setting {
	return []setting{
		{name: "addr", arg: "IP:PORT", set: optional(ipPort(&c.addr)),
			help: "old form of --advertise-client-urls; also listens at [::]:PORT, unless told where to listen"},
		{name: "bind-addr", arg: "IP:PORT", set: optional(ipPort(&c.bindAddr)),
			help: "old form of --listen-client-urls"},
		{name: "peer-addr", arg: "IP:PORT", set: optional(ipPort(&c.peerAddr)),
			help: "old form of --initial-advertise-peer-urls; also listens at [::]:PORT, unless told where to listen"},
		{name: "peer-bind-addr", arg: "IP:PORT", set: optional(ipPort(&c.peerBindAddr)),
			help: "old form of --listen-peer-urls"},
	}
}

func (c *Config) trialFlags() []setting {
	return []setting{
		{name: "check-config", preset: "false", set: toggle(&c.CheckConfig),
			help: "print what a start with these flags and variables would do, and end with status 1 if the start " +
				"would be refused; opens no port, asks no other machine, and writes nothing"},
	}
}

func (c *Config) logFlags() []setting {
	return []setting{
		{name: "debug", preset: "false", set: toggle(&c.Debug),
			help: "log at level DEBUG"},
		{name: "log-package-levels", arg: "PKG=LEVEL,...", set: packageLevels(&c.Levels),
			help: "log levels of single packages, such as raft=DEBUG,http=WARNING"},
	}
}

// variable returns the flag's name in the environment.
func (s setting) variable() string {
	return "ETCD_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// Help writes the text of --help: every flag, by groups, with its default.
func Help(w io.Writer) error {
	out := bufio.NewWriter(w)
	out.WriteString(`etcd2 is a replicated key-value store with the HTTP API of etcd 2.

usage: etcd2 [--FLAG VALUE]...   run a member
       etcd2 ctl COMMAND...      run a command of etcdctl; a link named etcdctl does the same
       etcd2 dump DIR            print the log and the snapshots of a data directory
       etcd2 --check-config ...  print what a start with these flags would do
       etcd2 --version           print the version
       etcd2 --help              print this text

Every flag may also be given in the environment, as ETCD_DATA_DIR for --data-dir.
The command line wins. The exit status is 0 after SIGTERM or SIGINT, 1 after a
failure, and 3 when the cluster has removed this member.
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
	for _, r := range obsoleteFlags {
		if r.gone != "" {
			out.WriteString(" --" + r.name)
		}
	}
	out.WriteString("\n")
	return out.Flush()
}
