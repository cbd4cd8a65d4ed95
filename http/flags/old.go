package flags

import (
	"cmp"
	"fmt"
	"net"

	"etcd2/http/certs"
)

// An obsoleteFlag is a flag of etcd that does nothing here.
type obsoleteFlag struct {
	name string
	arg  bool   // it has a value; otherwise it is a switch
	gone string // why it is ignored; "": it is refused
}

const (
	unsupported = "is no longer supported"
	ofV3        = "is of the API of etcd 3, which is not here"
)

// obsoleteFlags is the table of all flags of etcd 0.4 to 2.3 that do nothing here.
var obsoleteFlags = []obsoleteFlag{
	{"cluster-active-size", false, unsupported},
	{"cluster-remove-delay", false, unsupported},
	{"cluster-sync-interval", false, unsupported},
	{"config", false, unsupported},
	{"force", false, unsupported},
	{"max-result-buffer", false, unsupported},
	{"max-retry-attempts", false, unsupported},
	{"peer-heartbeat-interval", false, unsupported},
	{"peer-election-timeout", false, unsupported},
	{"retry-interval", false, unsupported},
	{"snapshot", false, unsupported},
	{"v", false, unsupported},
	{"vv", false, unsupported},
	{"experimental-v3demo", false, ofV3},
	{"experimental-gRPC-addr", true, ofV3},
	{"experimental-auto-compaction-retention", true, ofV3},
	{"peers", true, ""},
	{"peers-file", true, ""},
}

// obsoleteSettings returns the obsolete flags as settings that warn, or refuse their value.
func (c *Config) obsoleteSettings() (list []setting) {
	for _, r := range obsoleteFlags {
		s := setting{name: r.name, set: func(string) error {
			c.Warnings = append(c.Warnings, fmt.Sprintf("flag \"-%s\" %s - ignoring.", r.name, r.gone))
			return nil
		}}
		if r.arg {
			s.arg = "VALUE"
		}
		if r.gone == "" {
			s.set = func(string) error {
				return fmt.Errorf("flag \"-%s\" is no longer supported: give the members as --initial-cluster, or "+
					"some of them as --join", r.name)
			}
		}
		list = append(list, s)
	}
	return list
}

// applyOldForms puts the values of --addr and its like into the flags that have replaced them. The
// port of an address that is advertised is also listened at, on all addresses of the machine,
// unless another flag says where to listen.
func (c *Config) applyOldForms() error {
	return cmp.Or(
		c.applyOldForm("addr", c.addr, "advertise-client-urls", &c.AdvertiseClient, &c.Client),
		c.applyOldForm("peer-addr", c.peerAddr, "initial-advertise-peer-urls", &c.AdvertisePeer, &c.Peer),
		c.applyOldBind("bind-addr", c.bindAddr, "addr", c.addr, "listen-client-urls", &c.ListenClient, &c.Client),
		c.applyOldBind("peer-bind-addr", c.peerBindAddr, "peer-addr", c.peerAddr, "listen-peer-urls", &c.ListenPeer,
			&c.Peer),
	)
}

// applyOldForm sets the URLs of a flag to the address of the old flag that it has replaced.
func (c *Config) applyOldForm(old, address, flag string, urls *[]string, tls *certs.Flags) error {
	switch {
	case address == "":
		return nil
	case c.given[flag]:
		return fmt.Errorf("set only one of flags -%s and -%s", flag, old)
	}
	*urls, c.given[flag] = []string{tls.Scheme() + "://" + address}, true
	return nil
}

func (c *Config) applyOldBind(bind, bound, old, address, flag string, urls *[]string, tls *certs.Flags) error {
	if bound == "" && address != "" {
		_, port, _ := net.SplitHostPort(address) // it was checked when it was set
		bind, bound = old, net.JoinHostPort("::", port)
	}
	return c.applyOldForm(bind, bound, flag, urls, tls)
}
