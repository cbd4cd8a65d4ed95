package flags

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"etcd2/discovery"
	"etcd2/http/certs"
	"etcd2/http/logs"
	"etcd2/raft"
)

// Describe writes what a start would do, and returns the error that would end it. It calls the code
// that the start itself uses, but opens no port, asks no member and writes no file.
func (c *Config) Describe(w io.Writer, l *logs.Logs) error {
	there, err := raft.Exists(c.DataDir, c.WALDir)
	if err := cmp.Or(err, c.ChooseRole(there, l.Logger("main"))); err != nil {
		return c.Blame(err)
	}
	list := func(urls []string) string { return strings.Join(urls, ",") }
	c.line(w, "name", "%s", c.Name)
	if c.IsProxy() {
		c.line(w, "role", "proxy (%s)", c.Proxy)
		c.line(w, "clients", "listening at %s", list(c.ListenClient))
	} else {
		c.line(w, "role", "member")
		c.line(w, "clients", "listening at %s; advertised as %s", list(c.ListenClient), list(c.AdvertiseClient))
		c.line(w, "members", "listening at %s; advertised as %s", list(c.ListenPeer), list(c.AdvertisePeer))
	}
	if err := c.describeData(w, there); err != nil {
		return err
	}
	plan, err := c.describeCluster(w, there, l.Logger("main"))
	if err != nil {
		return err
	}
	for _, warning := range c.AdvertiseWarnings(c.ListenClient, c.ListenPeer, c.Self(plan)) {
		if !c.IsProxy() {
			l.Logger("main").Warn(warning)
		}
	}
	err = cmp.Or(
		c.describeCertificates(w, &c.Client, c.ListenClient, c.AdvertiseClient, l),
		c.describeCertificates(w, &c.Peer, c.ListenPeer, c.AdvertisePeer, l))
	if err == nil {
		c.line(w, "verdict", "no fault found; ports, other members and writing to the disk were not tried")
	}
	return err
}

func (c *Config) line(w io.Writer, what, format string, args ...any) {
	fmt.Fprintf(w, "%-14s%s\n", what+":", fmt.Sprintf(format, args...))
}

// describeData writes what the directories hold. A damaged snapshot is no error: a member starts
// all the same if its log is good.
func (c *Config) describeData(w io.Writer, there bool) error {
	if !there {
		c.line(w, "data", "%s: no data of a member yet", c.DataDir)
		c.line(w, "log", "%s: no log yet", c.WALDir)
		return nil
	}
	r, err := raft.Verify(c.DataDir, raft.VerifyOptions{WALDir: c.WALDir})
	if err != nil {
		return err
	}
	c.line(w, "data", "%s: the data of a member", c.DataDir)
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

// describeCluster writes which cluster it will be in, as far as that is known without asking
// another machine.
func (c *Config) describeCluster(w io.Writer, there bool, log *slog.Logger) (plan discovery.Plan, err error) {
	if there, err = c.Resumes(there, log); err != nil {
		return plan, err
	}
	n := discovery.Newcomer{Name: c.Name, PeerURLs: c.AdvertisePeer, Logger: log}
	switch {
	case there:
		c.line(w, "cluster", "the one that the data belongs to; flags that name another are ignored")
	case c.IsProxy() && len(c.Join) == 0 && c.Discovery == "" && c.DiscoverySRV == "":
		c.line(w, "cluster", "the one that a proxy has remembered in %s, or else %s", c.DataDir, c.InitialCluster)
	case len(c.Join) > 0:
		c.line(w, "cluster", "asked for at %s", strings.Join(c.Join, ","))
	case c.Discovery != "" || c.DiscoverySRV != "":
		c.line(w, "cluster", "asked for at %s", cmp.Or(c.Discovery, "the DNS for "+c.DiscoverySRV))
	default:
		if plan, err = c.Sources().ListedPlan(context.Background(), n); err != nil {
			return plan, err
		}
		if c.State == "existing" {
			c.line(w, "cluster", "a running one, which must have added this member: %s", c.InitialCluster)
			break
		}
		c.line(w, "cluster", "begins as %x, with %d members: %s", plan.Cluster.ClusterID, len(plan.Cluster.Members),
			c.InitialCluster)
	}
	return plan, nil
}

// describeCertificates writes which certificates a port has, and when they expire.
func (c *Config) describeCertificates(w io.Writer, f *certs.Flags, listened, advertised []string, l *logs.Logs) error {
	if f.Auto {
		c.line(w, "certificates", "%s port: self-made, in %s, renewed automatically", f.Port,
			filepath.Join(c.DataDir, "fixtures", f.Port))
		return nil
	}
	set, err := f.Load("", slices.Concat(listened, advertised), l.Logger("certs"))
	if err != nil {
		return err
	}
	set.Expiries(func(file, subject, _ string, end time.Time) {
		c.line(w, "certificates", "%s port: %s, %s, until %s", f.Port, file, subject, end.UTC().Format(time.RFC3339))
	})
	return nil
}
