package flags

import (
	"cmp"
	"fmt"
	"net"

	"etcd2/http/certs"
)

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
	{"cluster-active-size", false, unsupported}, {"cluster-remove-delay", false, unsupported}, {"cluster-sync-interval",
		false, unsupported},
	{"config", false, unsupported}, {"force", false, unsupported}, {"max-result-buffer", false,
		unsupported}, {"max-retry-attempts", false, unsupported},
	{"peer-heartbeat-interval", false, unsupported}, {"peer-election-timeout", false, unsupported}, {"retry-interval",
		false, unsupported},
	{"snapshot", false, unsupported}, {"v", false, unsupported}, {"vv", false, unsupported},
	{"experimental-v3demo", false, ofV3}, {"experimental-gRPC-addr", true,
		ofV3}, {"experimental-auto-compaction-retention", true, ofV3},
	{"peers", true, ""}, {"peers-file", true, ""},
}

// relics are the flags that do nothing, as settings that say so.
func (c *Config) relics() (list []setting) {
	for _, r := range relics {
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

// takeOldForms brings --addr and its like to the form of today. An address that is advertised is
// listened at as well, at all addresses of the machine, unless it is said where.
func (c *Config) takeOldForms() error {
	return cmp.Or(
		c.takeOldForm("addr", c.addr, "advertise-client-urls", &c.AdvertiseClient, &c.Client),
		c.takeOldForm("peer-addr", c.peerAddr, "initial-advertise-peer-urls", &c.AdvertisePeer, &c.Peer),
		c.takeOldBind("bind-addr", c.bindAddr, "addr", c.addr, "listen-client-urls", &c.ListenClient, &c.Client),
		c.takeOldBind("peer-bind-addr", c.peerBindAddr, "peer-addr", c.peerAddr, "listen-peer-urls", &c.ListenPeer,
			&c.Peer),
	)
}

// takeOldForm takes one flag's address over into the URLs of the flag that has replaced it.
func (c *Config) takeOldForm(old, address, flag string, urls *[]string, tls *certs.Flags) error {
	switch {
	case address == "":
		return nil
	case c.given[flag]:
		return fmt.Errorf("set only one of flags -%s and -%s", flag, old)
	}
	*urls, c.given[flag] = []string{tls.Scheme() + "://" + address}, true
	return nil
}

func (c *Config) takeOldBind(bind, bound, old, address, flag string, urls *[]string, tls *certs.Flags) error {
	if bound == "" && address != "" {
		_, port, _ := net.SplitHostPort(address) // it was checked when it was set
		bind, bound = old, net.JoinHostPort("::", port)
	}
	return c.takeOldForm(bind, bound, flag, urls, tls)
}
