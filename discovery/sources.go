package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"etcd2/raft"
)

// Sources are the flags that say where the cluster of a process is. The first one that is given
// counts, in the order of the fields.
type Sources struct {
	Join     []string // --join: client or peer URLs of running members
	Token    string   // --discovery
	Proxy    *url.URL // --discovery-proxy; nil: none
	Domain   string   // --discovery-srv
	List     string   // --initial-cluster, or its default
	Listed   bool     // --initial-cluster was given
	Existing bool     // --initial-cluster-state: whether the listed members run already
	Cluster  string   // --initial-cluster-token
}

// Find looks for the cluster of a member without data. Its errors are *Refusal, except that of ctx.
func (s Sources) Find(ctx context.Context, n Newcomer) (plan Plan, err error) {
	flag := "initial-cluster"
	switch {
	case len(s.Join) > 0:
		flag = "join"
		plan, err = n.Join(ctx, s.Join)
	case s.Token != "":
		flag = "discovery"
		plan, err = n.Token(ctx, s.Token, s.Proxy)
	case s.Domain != "":
		flag = "discovery-srv"
		plan, err = n.SRV(ctx, s.Domain, s.Cluster)
	case s.Existing:
		plan, err = n.Existing(ctx, s.List)
	default:
		plan, err = n.New(ctx, s.List, s.Cluster)
	}
	return plan, s.refused(n, flag, err)
}

// Full returns the refusal of a member whose discovery URL is full, and that must not be a proxy.
func (s Sources) Full(n Newcomer) error {
	return s.refused(n, "discovery", fmt.Errorf("failed to join discovery cluster (%w)", ErrFull))
}

// ListedPlan returns the plan of Find when only the list says where the cluster is, without asking
// any member.
func (s Sources) ListedPlan(ctx context.Context, n Newcomer) (plan Plan, err error) {
	if s.Existing {
		plan, err = n.ListedExisting(ctx, s.List)
	} else {
		plan, err = n.Listed(ctx, s.List, s.Cluster)
	}
	return plan, s.refused(n, "initial-cluster", err)
}

// Look returns the members of the cluster, for a process that is not one of its founders. Its
// errors are *Refusal, except that of ctx. It ignores Join.
func (s Sources) Look(ctx context.Context, n Newcomer) (m raft.Membership, err error) {
	flag := "initial-cluster"
	switch {
	case s.Token != "":
		flag = "discovery"
		m, err = n.LookToken(ctx, s.Token, s.Proxy)
	case s.Domain != "":
		flag = "discovery-srv"
		m, err = n.LookSRV(ctx, s.Domain)
	default:
		m, err = Static(s.List, s.Cluster)
	}
	return m, s.refused(n, flag, err)
}

// CanLook reports whether a flag says where Look may look.
func (s Sources) CanLook() bool { return s.Token != "" || s.Domain != "" || s.Listed }

// A Refusal is why a process does not find its cluster, or is refused by it.
type Refusal struct {
	Flag, Value string // the flag to correct, and its value without a password
	Err         error  // one of the errors of this package, with particulars
	Remedy      string // what to do; "": not known
}

// Error returns one line.
func (r *Refusal) Error() string {
	text := fmt.Sprintf("--%s=%s: %v", r.Flag, r.Value, r.Err)
	if r.Remedy != "" {
		text += ": " + r.Remedy
	}
	return text
}

// Unwrap returns Err.
func (r *Refusal) Unwrap() error { return r.Err }

// refused adds to an error the flag to correct, and what to do. flag is the one that names the
// cluster.
func (s Sources) refused(n Newcomer, flag string, err error) error {
	if err == nil {
		return nil
	}
	r := &Refusal{Flag: flag, Err: err}
	for _, known := range remedies {
		if errors.Is(err, known.err) {
			r.Flag, r.Remedy = cmp.Or(known.flag, flag), known.remedy
			break
		}
	}
	r.Value = WithoutPassword(map[string]string{
		"name": n.Name, "initial-advertise-peer-urls": strings.Join(n.PeerURLs, ","),
		"join": strings.Join(s.Join, ","), "discovery": s.Token, "discovery-srv": s.Domain, "initial-cluster": s.List,
	}[r.Flag])
	return r
}

// remedies has what to do about each error, and in which flag; "" means the one that names the
// cluster.
var remedies = []struct {
	err    error
	flag   string
	remedy string
}{
	{ErrNotListed, "", "add it, or give its name as --name"},
	{ErrURLsDiffer, "initial-advertise-peer-urls", "give the same URLs there and in --initial-cluster"},
	{ErrOneName, "initial-cluster",
		"give each member a name of its own there; or, if it is one member, all its URLs as " +
			"--initial-advertise-peer-urls"},
	{ErrNoRights, "", "give peer URLs of its members: these require no user"},
	{ErrNoAddress, "", "give the machine's address, in --initial-advertise-peer-urls, too"},
	{ErrOtherCluster, "",
		"give the list and the --initial-cluster-token that it began with, or join it with --join"},
	{ErrTwoClusters, "", "give URLs of one cluster"},
	{ErrRemoved, "", "to add it anew, start it with --join instead"},
	{ErrActive, "",
		"it has lost its votes and may not go on under its old id: remove it (DELETE /v2/members/ID), then " +
			"start it with --join"},
	{ErrUnfit, "",
		"list exactly the members that the cluster has, after adding this one (POST /v2/members); or start it with " +
			"--join instead"},
	{ErrNobodyListed, "", "list the running members as well, or start it with --join instead"},
	{ErrURLTaken, "initial-advertise-peer-urls", "give this member a URL of its own, or remove the other one"},
	{ErrNameTaken, "name", "give this member a name of its own, or remove the other one"},
	{ErrRefused, "", "give URLs of members of this program"},
	{ErrFull, "", "please generate a new discovery token for another cluster, or start this member with --join"},
	{ErrNoToken, "", "please generate a new discovery token"},
	{ErrBadSize, "", "set the size of the cluster at the token's _config/size, or generate a new discovery token"},
	{ErrDuplicateName, "",
		"give each member a --name of its own, generate a new discovery token, and try to bootstrap again"},
	{ErrRegistration, "",
		"please generate a new discovery token, give it to all members as the same text, and try to bootstrap again"},
	{ErrBadEndpoint, "", "give the URL that a discovery service has made (GET /discovery/new?size=N)"},
	{ErrForbidden, "", "let everybody read and write below the token's key"},
	{ErrService, "", "see that it runs and can be reached from here, perhaps with --discovery-proxy"},
	{ErrDNS, "", "see that the DNS servers of this machine answer"},
	{ErrNoRecords, "", "let the DNS have records _etcd-server._tcp or _etcd-server-ssl._tcp of this domain"},
	{ErrBadRecord, "", "let each record name the host and the peer port of a member"},
	{ErrNotInDNS, "",
		"give the one peer URL that the DNS has for this member as --initial-advertise-peer-urls, or add its record"},
	{ErrTwiceInDNS, "", "leave one record for each member"},
	{ErrNotYet, "", "see that they run, have a leader, and can be reached there"},
}
