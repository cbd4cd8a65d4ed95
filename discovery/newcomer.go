package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"etcd2/raft"
)

// Why a newcomer does not find its cluster, or is refused. An error adds the particulars to these
// texts; the table of remedies has the flag and what to do.
var (
	ErrNotListed    = errors.New("this member's name is not listed")
	ErrURLsDiffer   = errors.New("the advertised peer URLs differ from the listed ones")
	ErrOneName      = errors.New("one name has several URLs in the list, of which this member advertises one")
	ErrNoAddress    = errors.New("this is no address that others can reach")
	ErrOtherCluster = errors.New("the peers form another cluster already")
	ErrTwoClusters  = errors.New("these URLs belong to different clusters")
	ErrRemoved      = errors.New("this member was removed from the cluster")
	ErrActive       = errors.New("this member was active before, and its data is gone")
	ErrUnfit        = errors.New("the list is not that of the running cluster")
	ErrNobodyListed = errors.New("nobody but this member is listed")
	ErrURLTaken     = errors.New("a peer URL belongs to another member")
	ErrNameTaken    = errors.New("the name belongs to another member")
	ErrRefused      = errors.New("the cluster refuses to add this member")
	ErrNoRights     = errors.New("at its client URLs the cluster requires a user to add a member")
	ErrNotYet       = errors.New("no running member could add this one")
)

// A Plan says how a member without data begins. It is immutable.
type Plan struct {
	Self    raft.Member     // its id, name and peer URLs
	Cluster raft.Membership // all members, Self among them

	// Join means that the cluster runs already: the log comes from its members, and Cluster only
	// says where they are.
	Join bool

	// Proxy means that the cluster is full: Self is empty, and Cluster is for a proxy.
	Proxy bool
}

// Seeds returns the peer URLs of the other members by id, for the time before this member's log has
// them.
func (p Plan) Seeds() map[uint64][]string {
	seeds := map[uint64][]string{}
	for _, m := range p.Cluster.Members {
		if m.ID != p.Self.ID {
			seeds[m.ID] = m.PeerURLs
		}
	}
	return seeds
}

// A Newcomer is a member without data that looks for its cluster. Its methods may wait for the
// network, and end early with ctx.
//
// A member with an empty directory never takes part under an id that was active before: the
// directory has lost its votes and acknowledged entries (pitfall D10). A member with client URLs
// counts as active, because it publishes them when it starts. When no running member answers, a new
// cluster begins all the same. If the id was active, the others notice when they come, by the
// incarnation of its disk (raft.Member).
type Newcomer struct {
	Name     string
	PeerURLs []string // that it advertises, as ParseURLs returns them
	Logger   *slog.Logger
	Resolver *net.Resolver // for SRV; nil: the machine's

	// DialTLS connects to a member at an https URL, and verifies the member; nil: by the system's
	// authorities.
	DialTLS func(ctx context.Context, network, address string) (net.Conn, error)

	timeout, pause time.Duration // of retry; 0: the constants
}

// How long a newcomer tries again when a cluster does not answer or has no leader, and the time
// between two tries.
const (
	retryTimeout = 30 * time.Second
	retryPause   = 500 * time.Millisecond
)

// New begins a new cluster of the listed members, of which others may have begun already. This
// member must not have been active in it before.
func (n Newcomer) New(ctx context.Context, list, token string) (Plan, error) {
	p, err := n.Listed(ctx, list, token)
	if err != nil {
		return Plan{}, err
	}
	return n.begin(ctx, p)
}

// Listed returns the plan of New, without asking the other members. It asks the DNS only when URLs
// differ as text.
func (n Newcomer) Listed(ctx context.Context, list, token string) (Plan, error) {
	m, err := Static(list, token)
	if err != nil {
		return Plan{}, err
	}
	self, err := Self(ctx, m, n.Name, n.PeerURLs)
	if err == nil && len(m.Members) > 1 {
		err = reachable(m.Members)
	}
	return Plan{Self: self, Cluster: m}, err
}

// found does what New does, with a membership from any source.
func (n Newcomer) found(ctx context.Context, m raft.Membership) (Plan, error) {
	self, err := Self(ctx, m, n.Name, n.PeerURLs)
	if err != nil {
		return Plan{}, err
	}
	return n.begin(ctx, Plan{Self: self, Cluster: m})
}

// begin returns the plan, unless one of the others knows a reason against it.
func (n Newcomer) begin(ctx context.Context, p Plan) (Plan, error) {
	if len(p.Cluster.Members) == 1 {
		return p, nil
	}
	if err := reachable(p.Cluster.Members); err != nil {
		return Plan{}, err
	}
	answers, _ := n.survey(ctx, othersURLs(p.Cluster, p.Self.ID))
	for _, a := range answers {
		if err := a.allows(p.Cluster.ClusterID, p.Self.ID); err != nil {
			return Plan{}, err
		}
	}
	n.warn(p)
	return p, nil
}

// allows returns an error when one of the others knows a reason why this member may not begin.
func (a *answer) allows(cluster, self uint64) error {
	if a.cluster.ClusterID != cluster {
		return fmt.Errorf("%w: %x at %s, where the list and the token make %x", ErrOtherCluster, a.cluster.ClusterID,
			a.url, cluster)
	}
	m, there := a.cluster.Find(self)
	if !there {
		return fmt.Errorf("%w: %x from %x, says %s", ErrRemoved, self, cluster, a.url)
	}
	return a.inactive(m)
}

func (a *answer) inactive(m raft.Member) error {
	if len(m.ClientURLs) > 0 {
		return fmt.Errorf("%w: %x of cluster %x, says %s", ErrActive, m.ID, a.cluster.ClusterID, a.url)
	}
	return nil
}

// Existing finds this member in a running cluster that has added it (POST /v2/members). The list
// must have all members, this one included; of the names only its own counts.
func (n Newcomer) Existing(ctx context.Context, list string) (Plan, error) {
	p, err := n.ListedExisting(ctx, list)
	if err != nil {
		return Plan{}, err
	}
	return n.retry(ctx, func() (Plan, error) {
		answers, err := n.consult(ctx, othersURLs(p.Cluster, p.Self.ID))
		if err != nil {
			return Plan{}, err
		}
		return n.fit(ctx, p.Cluster, answers)
	})
}

// ListedExisting returns what Existing looks for, by the list alone; its ids are not those of the
// cluster. It asks no member.
func (n Newcomer) ListedExisting(ctx context.Context, list string) (Plan, error) {
	p, err := n.Listed(ctx, list, "")
	if err == nil && len(p.Cluster.Members) == 1 {
		err = ErrNobodyListed
	}
	return p, err
}

// fit returns the plan of the first answer that agrees with the list: a member that lags may not
// know this one yet. No answer may have it as active.
func (n Newcomer) fit(ctx context.Context, m raft.Membership, answers []answer) (plan Plan, err error) {
	for i := range slices.Backward(answers) {
		p, unfit := n.place(ctx, &answers[i])
		switch {
		case errors.Is(unfit, ErrActive):
			return Plan{}, unfit
		case unfit == nil || errors.Is(unfit, errAbsent):
			unfit = cmp.Or(differences(ctx, m.Members, &answers[i]), unfit)
		}
		if unfit == nil {
			plan = p
		} else {
			err = unfit
		}
	}
	if plan.Join {
		return plan, nil
	}
	return Plan{}, err
}

// differences returns an error that names the members that are only in the list, and those that are
// only in the answer.
func differences(ctx context.Context, listed []raft.Member, a *answer) error {
	var wrong []string
	for _, m := range listed {
		if !hasURLs(ctx, a.cluster.Members, m.PeerURLs) {
			wrong = append(wrong, "not "+strings.Join(m.PeerURLs, ","))
		}
	}
	for _, m := range a.cluster.Members {
		if !hasURLs(ctx, listed, m.PeerURLs) {
			wrong = append(wrong, "also "+strings.Join(m.PeerURLs, ","))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return fmt.Errorf("%w: by what %s says it has %s", ErrUnfit, a.url, strings.Join(wrong, ", "))
}

func hasURLs(ctx context.Context, members []raft.Member, peerURLs []string) bool {
	return slices.ContainsFunc(members, func(m raft.Member) bool { return sameURLs(ctx, m.PeerURLs, peerURLs) })
}

// Join asks running members, at client or peer URLs, to add this one to their cluster. If they have
// added it before and it never started, as after a crash, it takes that place.
func (n Newcomer) Join(ctx context.Context, urls []string) (Plan, error) {
	if err := reachable([]raft.Member{{PeerURLs: n.PeerURLs}}); err != nil {
		return Plan{}, err
	}
	return n.retry(ctx, func() (Plan, error) {
		answers, err := n.consult(ctx, urls)
		if err != nil {
			return Plan{}, err
		}
		p, err := n.place(ctx, &answers[0])
		switch {
		case errors.Is(err, errAbsent):
			return n.requestPlaces(ctx, answers)
		case err != nil:
			return Plan{}, err
		}
		return p, n.confirm(ctx, p)
	})
}

var errAbsent = errors.New("no member has the peer URLs of this one")

// place finds this member in an answer, by its peer URLs; errAbsent when no member has them.
func (n Newcomer) place(ctx context.Context, a *answer) (Plan, error) {
	plan, err := Plan{}, errAbsent
	for _, m := range a.cluster.Members {
		same := sameURLs(ctx, m.PeerURLs, n.PeerURLs)
		active := a.inactive(m)
		switch {
		case same && active != nil && m.Name == n.Name:
			return Plan{}, active
		case same && active == nil:
			m.Name = n.Name
			plan, err = Plan{Self: m, Join: true}, nil
		case same || overlap(m.PeerURLs, n.PeerURLs):
			return Plan{}, fmt.Errorf("%w: %s is %x, named %q, says %s", ErrURLTaken, strings.Join(m.PeerURLs, ","),
				m.ID, m.Name, a.url)
		case m.Name == n.Name:
			return Plan{}, fmt.Errorf("%w: %q is %x at %s, says %s", ErrNameTaken, m.Name, m.ID,
				strings.Join(m.PeerURLs, ","), a.url)
		}
	}
	plan.Cluster = a.cluster
	return plan, err
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(u string) bool { return slices.Contains(b, u) })
}

// requestPlaces asks one member after the other to add this one, until it finds itself in the
// answer.
func (n Newcomer) requestPlaces(ctx context.Context, answers []answer) (Plan, error) {
	var failures []error
	for i := range answers {
		u := answers[i].url
		status, err := n.requestPlace(ctx, u)
		switch {
		case err != nil:
		case status == http.StatusCreated:
			var p Plan
			if p, err = n.look(ctx, u); err == nil {
				return p, nil
			}
		// another change came first, maybe an earlier try of this one; or there is no leader
		case status == http.StatusConflict || status/100 == 5:
			err = fmt.Errorf("it refuses for now, with status %d", status)
		case status == http.StatusUnauthorized:
			return Plan{}, fmt.Errorf("%w: %s answers with status %d", ErrNoRights, u, status)
		default:
			return Plan{}, fmt.Errorf("%w: %s answers with status %d", ErrRefused, u, status)
		}
		failures = append(failures, fmt.Errorf("%s: %w", u, err))
	}
	return Plan{}, fmt.Errorf("%w: %w", ErrNotYet, errors.Join(failures...))
}

// look finds this member in the cluster that has just added it.
func (n Newcomer) look(ctx context.Context, u string) (Plan, error) {
	a, err := n.requestMembers(ctx, u)
	if err != nil {
		return Plan{}, err
	}
	return n.place(ctx, &a)
}

// confirm asks all other members whether this one was active, when it was added by an earlier try:
// the answer that says so may be of a member that lags.
func (n Newcomer) confirm(ctx context.Context, p Plan) error {
	answers, _ := n.survey(ctx, othersURLs(p.Cluster, p.Self.ID))
	for _, a := range answers {
		if a.cluster.ClusterID != p.Cluster.ClusterID {
			continue // a member of another cluster
		}
		if m, there := a.cluster.Find(p.Self.ID); there {
			if err := a.inactive(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// consult asks the members of a running cluster. At least one must answer, and all that do must be
// in the same cluster.
func (n Newcomer) consult(ctx context.Context, urls []string) ([]answer, error) {
	answers, failures := n.survey(ctx, urls)
	if len(answers) == 0 {
		return nil, fmt.Errorf("%w: %w", ErrNotYet, errors.Join(failures...))
	}
	for _, a := range answers {
		if first := answers[0]; a.cluster.ClusterID != first.cluster.ClusterID {
			return nil, fmt.Errorf("%w: %s to %x, %s to %x", ErrTwoClusters, first.url, first.cluster.ClusterID, a.url,
				a.cluster.ClusterID)
		}
	}
	return answers, nil
}

// retry calls try until it gives a plan or a permanent error, or until retryTimeout has passed.
func (n Newcomer) retry(ctx context.Context, try func() (Plan, error)) (Plan, error) {
	deadline := time.Now().Add(cmp.Or(n.timeout, retryTimeout))
	for told := false; ; told = true {
		p, err := try()
		switch {
		case err == nil:
			n.warn(p)
			return p, nil
		case !errors.Is(err, ErrNotYet) && !errors.Is(err, ErrDNS) || time.Now().After(deadline):
			return Plan{}, err
		case !told:
			n.Logger.Warn("no cluster for this member yet; trying again", "until", deadline, "err", oneLine(err))
		}
		select {
		case <-time.After(cmp.Or(n.pause, retryPause)):
		case <-ctx.Done():
			return Plan{}, ctx.Err()
		}
	}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// Running returns the other members that answer at one of their peer URLs, and have this one in
// their cluster.
func (n Newcomer) Running(ctx context.Context, m raft.Membership, self uint64) (running []raft.Member) {
	answers, _ := n.survey(ctx, othersURLs(m, self))
	for _, p := range m.Members {
		if slices.ContainsFunc(answers, func(a answer) bool {
			_, knows := a.cluster.Find(self)
			return p.ID != self && knows && a.cluster.ClusterID == m.ClusterID && slices.Contains(p.PeerURLs, a.url)
		}) {
			running = append(running, p)
		}
	}
	return running
}

// othersURLs returns the peer URLs of all members but one.
func othersURLs(m raft.Membership, self uint64) (urls []string) {
	for _, p := range m.Members {
		if p.ID != self {
			urls = append(urls, p.PeerURLs...)
		}
	}
	return urls
}

// PeerURLs returns the peer URLs of all members.
func PeerURLs(m raft.Membership) []string { return othersURLs(m, raft.None) }

// reachable refuses URLs with an unspecified address, such as 0.0.0.0: other machines can't reach a
// member there.
func reachable(members []raft.Member) error {
	for _, m := range members {
		for _, u := range m.PeerURLs {
			if address(u).IsUnspecified() {
				return fmt.Errorf("%w: %s", ErrNoAddress, u)
			}
		}
	}
	return nil
}

// warn warns when this member can be reached only on its machine, and the others are not all there.
func (n Newcomer) warn(p Plan) {
	if allLocal(p.Self.PeerURLs) && !allLocal(othersURLs(p.Cluster, p.Self.ID)) {
		n.Logger.Warn("other machines cannot reach this member at the peer URLs that it advertises",
			"urls", p.Self.PeerURLs)
	}
}

func allLocal(urls []string) bool {
	return !slices.ContainsFunc(urls, func(u string) bool { return !address(u).IsLoopback() })
}

// MayForce refuses to make a cluster of the member self alone while other members of its cluster m
// answer and are a quorum.
func (n Newcomer) MayForce(m raft.Membership, self uint64) error {
	var names []string
	for _, other := range n.Running(context.Background(), m, self) {
		if !other.Learner {
			names = append(names, fmt.Sprintf("%q at %s", other.Name, strings.Join(other.PeerURLs, ",")))
		}
	}
	voters := 0
	for _, member := range m.Members {
		if !member.Learner {
			voters++
		}
	}
	if len(names) == 0 || len(names) < voters/2+1 {
		return nil
	}
	return fmt.Errorf("--force-new-cluster: %s answer, and are a quorum of the %d members without this one, "+
		"which would make a second cluster: start it without the flag, and it takes part in the first",
		strings.Join(names, " and "), voters)
}
