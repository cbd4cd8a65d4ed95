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

// Tell writes what a start would do, and returns the error that would end it. Both follow from the
// code that the start itself goes by. No port is opened, no member asked, and nothing written.
func (c *Config) Tell(w io.Writer, l *logs.Logs) error {
	there, err := raft.Exists(c.DataDir, c.WALDir)
	if err := cmp.Or(err, c.ChooseRole(there, l.Of("main"))); err != nil {
		return c.Blame(err)
	}
	list := func(urls []string) string { return strings.Join(urls, ",") }
	c.line(w, "name", "%s", c.Name)
	if c.IsProxy() {
		c.line(w, "role", "proxy (%s)", c.Proxy)
		c.line(w, "clients", "answered at %s", list(c.ListenClient))
	} else {
		c.line(w, "role", "member")
		c.line(w, "clients", "answered at %s; told to come to %s", list(c.ListenClient), list(c.AdvertiseClient))
		c.line(w, "members", "answered at %s; told to come to %s", list(c.ListenPeer), list(c.AdvertisePeer))
	}
	if err := c.tellData(w, there); err != nil {
		return err
	}
	plan, err := c.tellCluster(w, there, l.Of("main"))
	if err != nil {
		return err
	}
	for _, warning := range c.Strays(c.ListenClient, c.ListenPeer, c.Self(plan)) {
		if !c.IsProxy() {
			l.Of("main").Warn(warning)
		}
	}
	err = cmp.Or(c.tellCertificates(w, &c.Client, c.ListenClient, c.AdvertiseClient, l), c.tellCertificates(w, &c.Peer,
		c.ListenPeer, c.AdvertisePeer, l))
	if err == nil {
		c.line(w, "verdict", "nothing here keeps it from starting; ports, other members and the disk were not tried")
	}
	return err
}

func (c *Config) line(w io.Writer, what, format string, args ...any) {
	fmt.Fprintf(w, "%-14s%s\n", what+":", fmt.Sprintf(format, args...))
}

// tellData writes which directory holds what. A damaged snapshot does not keep a member from
// starting, as long as its log is good.
func (c *Config) tellData(w io.Writer, there bool) error {
	if !there {
		c.line(w, "data", "%s: no member so far", c.DataDir)
		c.line(w, "log", "%s: none so far", c.WALDir)
		return nil
	}
	r, err := raft.Verify(c.DataDir, raft.VerifyOptions{WALDir: c.WALDir})
	if err != nil {
		return err
	}
	c.line(w, "data", "%s: a member", c.DataDir)
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
func (c *Config) tellCluster(w io.Writer, there bool, log *slog.Logger) (plan discovery.Plan, err error) {
	if there, err = c.Settled(there, log); err != nil {
		return plan, err
	}
	n := discovery.Newcomer{Name: c.Name, PeerURLs: c.AdvertisePeer, Logger: log}
	switch {
	case there:
		c.line(w, "cluster", "the one of the data; of the flags only addresses count")
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
			c.line(w, "cluster", "a running one that has a place for this member: %s", c.InitialCluster)
			break
		}
		c.line(w, "cluster", "begins as %x, with %d members: %s", plan.Cluster.ClusterID, len(plan.Cluster.Members),
			c.InitialCluster)
	}
	return plan, nil
}

// tellCertificates writes which certificates a port has, and until when they are good.
func (c *Config) tellCertificates(w io.Writer, f *certs.Flags, listened, advertised []string, l *logs.Logs) error {
	if f.Auto {
		c.line(w, "certificates", "%s port: one of its own, in %s, renewed by itself", f.Port, filepath.Join(c.DataDir,
			"fixtures", f.Port))
		return nil
	}
	set, err := f.Load("", slices.Concat(listened, advertised), l.Of("certs"))
	if err != nil {
		return err
	}
	set.Expiries(func(file, subject, _ string, end time.Time) {
		c.line(w, "certificates", "%s port: %s, %s, until %s", f.Port, file, subject, end.UTC().Format(time.RFC3339))
	})
	return nil
}
