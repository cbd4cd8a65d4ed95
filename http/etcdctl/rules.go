package etcdctl

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"etcd2/http/client"
)

// The limits from which doctor reports something.
const (
	lagEntries   = 10_000 // behind the member with the highest index; less than a second of heavy load
	slowFsync    = 50 * time.Millisecond
	skewedClock  = 5 * time.Second
	nearlyFull   = 0.8 // of the bytes that the tree may take
	expiresSoon  = 30 * 24 * time.Hour
	expiresFirst = 7 * 24 * time.Hour // a certificate that ends before this is wrong, and not only a note
)

// rules are all rules of doctor, the most important first. Each depends only on the checkups and
// the time.
var rules = []func(all []*checkup, now time.Time) []finding{
	fewerThanQuorum, noLeader, twoLeaders, severalClusters, deadURLs, wrongMember, doubleNames, ill, fullTrees, parted,
	lagging, termsApart,
	rottenLogs, slowDisks, oneWay, certificates, neverStarted, starting, withoutVote, severalVersions, loopback,
	clocks, evenNumber,
}

// unanswered returns what is found when no endpoint tells the list of members.
func unanswered(err error) (found []finding) {
	var all *client.ClusterError
	if !errors.As(err, &all) {
		return []finding{{what: "the members can't be listed: " + err.Error(),
			means: "what answers at these endpoints is no etcd, or refuses to tell",
			todo:  "look at --endpoints, and at what runs there"}}
	}
	for _, f := range all.Failures {
		found = append(found, finding{
			what:  "nobody answers at the endpoint " + f.Endpoint + ": " + f.Err.Error(),
			means: "while no member answers, nothing else can be checked",
			todo:  remedy(f.Err),
		})
	}
	return found
}

// remedies tell what to do when a connection fails, by a word of its error.
var remedies = []struct{ word, todo string }{
	{"connection refused",
		"nothing listens there: start the member, or see in its log why it has ended; look whether the port is the " +
			"one of --listen-client-urls"},
	{"no such host", "the name is unknown here: correct the DNS, or what the member advertises " +
		"(--advertise-client-urls)"},
	{"https is spoken there",
		"use an endpoint with https; a member that advertises http there needs another --advertise-client-urls"},
	{"server gave HTTP response",
		"the member speaks plain HTTP there: use an endpoint with http, or give the member --cert-file and --key-file"},
	{"malformed HTTP response", "the server does not speak HTTP there, but perhaps TLS: use an endpoint with https"},
	{"expired", "a certificate has expired: renew it; a member reads its files again by itself"},
	{"signed by unknown authority",
		"the member's certificate comes from an authority that is not trusted here: give its file with --ca-file"},
	{"certificate is valid for", "the member's certificate lacks this name: issue one with it in subjectAltName"},
	{"certificate is not valid for", "the member's certificate lacks this name: issue one with it in subjectAltName"},
	{"certificate required", "the member wants a certificate of its clients: give --cert-file and --key-file"},
	{"bad certificate", "the member refuses the certificate that was shown: look at its authority, its dates, and " +
		"the member's log"},
	{"tls", "the TLS handshake fails: look at the certificates on both sides, and at the member's log"},
	{"no answer within", "it hangs, or packets are lost on the way: look at the member's log, at the firewall, and " +
		"at the load of the machine"},
	{"timeout", "no answer comes back: look at the firewall, and whether the machine is up"},
	{"no route to host", "the machine can't be reached: look whether it is up, and at the network"},
	{"network is unreachable", "the machine can't be reached: look at the network"},
}

func remedy(err error) string {
	for _, r := range remedies {
		if strings.Contains(err.Error(), r.word) {
			return r.todo
		}
	}
	return "look at the member's log, and at the network"
}

// answering returns the members that answer and are not starting.
func answering(all []*checkup) (list []*checkup) {
	for _, k := range all {
		if k.at != "" && !k.starting {
			list = append(list, k)
		}
	}
	return list
}

// voters returns how many members have a vote, by the largest number of learners that one tells.
func voters(all []*checkup) int {
	learners := 0
	for _, k := range all {
		learners = max(learners, k.learners)
	}
	return len(all) - learners
}

// titles names members in one line.
func titles(list []*checkup) string {
	var names []string
	for _, k := range list {
		names = append(names, k.title())
	}
	return strings.Join(names, ", ")
}

func fewerThanQuorum(all []*checkup, _ time.Time) []finding {
	quorum, there := voters(all)/2+1, len(answering(all))
	if there >= quorum {
		return nil
	}
	if slices.ContainsFunc(all, (*checkup).knowsLeader) {
		return []finding{{
			note: true,
			what: fmt.Sprintf("%d of %d members answer here, and a leader is known, for which %d are needed", there,
				len(all), quorum),
			means: "the cluster has its quorum; only this machine can't reach the others",
			todo:  "run doctor where the advertised client URLs work; behind a tunnel they may not",
		}}
	}
	return []finding{{
		what: fmt.Sprintf("%d of %d members answer, and %d are needed", there, len(all), quorum),
		means: "nothing can be written while fewer than a quorum run (if they run and only do not answer here, it is " +
			"the network)",
		todo: "start the others again, with their data. When they are lost for good, start one that is left once " +
			"with --force-new-cluster",
	}}
}

// knowsLeader reports whether the member answers and says who leads.
func (k *checkup) knowsLeader() bool { return k.at != "" && (k.leads || k.leader != "") }

func noLeader(all []*checkup, _ time.Time) []finding {
	var without []*checkup
	for _, k := range answering(all) {
		if k.leader == "" && !k.leads {
			without = append(without, k)
		}
	}
	if len(without) == 0 {
		return nil
	}
	f := finding{
		what:  "no leader is known at " + titles(without),
		means: "writes and quorum reads fail there; plain reads return what the member knew last",
		todo: "see that more than half of the members run and reach each other at their peer URLs (member list); an " +
			"election takes a second or two",
	}
	return []finding{f}
}

func twoLeaders(all []*checkup, _ time.Time) []finding {
	var leaders []*checkup
	for _, k := range answering(all) {
		if k.leads {
			leaders = append(leaders, k)
		}
	}
	if len(leaders) < 2 {
		return nil
	}
	terms := ""
	for _, k := range leaders {
		terms += fmt.Sprintf(", term %d of %s", k.term, k.title())
	}
	return []finding{{
		what: fmt.Sprintf("%d members say that they lead%s", len(leaders), terms),
		means: "the one with the lower term is cut off, and will step down; two leaders in one term mean two " +
			"clusters, or a copied data directory",
		todo: "run doctor again; if it stays, stop the member with the lower term, and see that no two members were " +
			"started from one data directory",
	}}
}

func severalClusters(all []*checkup, _ time.Time) []finding {
	ids := map[string]bool{}
	var texts []string
	for _, k := range answering(all) {
		if k.cluster != "" {
			ids[k.cluster] = true
			texts = append(texts, fmt.Sprintf("%s at %s is in %s", k.title(), k.at, k.cluster))
		}
	}
	if len(ids) < 2 {
		return nil
	}
	return []finding{{
		what:  fmt.Sprintf("%d clusters answer: %s", len(ids), strings.Join(texts, "; ")),
		means: "clients that use several members see different data",
		todo: "give every member its own --advertise-client-urls; a member that began a cluster by itself must be " +
			"emptied and started with --join",
	}}
}

func deadURLs(all []*checkup, _ time.Time) (found []finding) {
	for _, k := range all {
		for _, u := range k.urls {
			if u.err == nil {
				continue
			}
			means := "the member is down, or this machine can't reach it; while more than half of the members run, " +
				"the others do without it"
			if k.at != "" {
				means = "the member runs, but clients are told an address that does not work, at least from here"
			}
			found = append(found, finding{what: fmt.Sprintf("%s does not answer at %s: %v", k.title(), u.url, u.err),
				means: means, todo: remedy(u.err)})
		}
	}
	return found
}

func wrongMember(all []*checkup, _ time.Time) (found []finding) {
	for _, k := range answering(all) {
		if k.self != "" && k.self != k.id {
			found = append(found, finding{
				what:  fmt.Sprintf("at %s, the URL of %s, member %s answers", k.at, k.title(), k.self),
				means: "two members advertise one address, or a proxy is in between",
				todo:  "start the member with its own --advertise-client-urls",
			})
		}
	}
	return found
}

// doubleNames finds members with the same name: logs, lists and discovery distinguish members by
// name.
func doubleNames(all []*checkup, _ time.Time) (found []finding) {
	for i, k := range all {
		for _, other := range all[:i] {
			if k.name != "" && k.name == other.name {
				found = append(found, finding{
					what:  fmt.Sprintf("%s and %s are both named %q", other.id, k.id, k.name),
					means: "lists of members and moved addresses use names, so one may be mistaken for the other",
					todo:  "start one of them again with a --name of its own",
				})
			}
		}
	}
	return found
}

// cures tell what to do about an unhealthy member, by a word of the reason that it gives.
var cures = []struct{ word, todo string }{
	{"out of touch", "see that its peer URLs are open to the leader, or the leader's to it: one direction is enough; " +
		"its log says what fails"},
	{"leader", "see that more than half of the members run and reach each other at their peer URLs"},
	{"fsync", "look at the disk: at its errors (dmesg), and at what else writes to it; give the log a disk of its " +
		"own (--wal-dir)"},
	{"nearly full", "make room before the member stops: snapshots are kept by --max-snapshots, files of the log by " +
		"--max-wals"},
	{"not applied", "the machine is too slow for what is written, or busy with something else: look at its load"},
	{"failed", "see the reason in its log, and start it again; a member whose data is damaged must be removed, " +
		"emptied, and added again"},
}

func ill(all []*checkup, _ time.Time) (found []finding) {
	for _, k := range answering(all) {
		if k.illness == "" {
			continue
		}
		f := finding{what: fmt.Sprintf("%s says that it is not well: %s", k.title(), k.illness),
			means: "it may refuse or delay requests, and can't replace a member that fails", todo: "look at its log"}
		for _, c := range cures {
			if strings.Contains(k.illness, c.word) {
				f.todo = c.todo
				break
			}
		}
		found = append(found, f)
	}
	return found
}

// fullTrees finds members whose tree takes more memory than it may, or nearly as much.
func fullTrees(all []*checkup, _ time.Time) (found []finding) {
	for _, k := range answering(all) {
		cost, quota := k.tree[0], k.tree[1]
		if quota == 0 || cost < nearlyFull*quota {
			continue
		}
		found = append(found, finding{
			note: cost <= quota,
			what: fmt.Sprintf("the tree takes %.0f of the %.0f bytes of --quota-bytes at %s", cost, quota, k.title()),
			means: "beyond that, while this member leads, writes that make the tree grow get code 215; deletes and " +
				"smaller values are still done",
			todo: "delete keys, find out which program writes them, or start all members with more memory and a " +
				"higher --quota-bytes",
		})
	}
	return found
}

// parted finds pairs of members that run and have no connection to each other.
func parted(all []*checkup, _ time.Time) (found []finding) {
	for _, k := range answering(all) {
		for _, other := range answering(all) {
			if slices.Contains(k.apart, other.id) {
				found = append(found, finding{
					what:  fmt.Sprintf("%s has no connection to %s, which runs", k.title(), other.title()),
					means: "between the two nothing is replicated, and neither can elect the other",
					todo: "see that the peer URLs of " + other.title() +
						" are right (member list), and open to the others",
				})
			}
		}
	}
	return found
}

// oneWay finds members that can't connect to others, and use connections that those have made.
func oneWay(all []*checkup, _ time.Time) (found []finding) {
	for _, k := range answering(all) {
		for _, other := range answering(all) {
			if slices.Contains(k.oneWay, other.id) {
				found = append(found, finding{
					note: true,
					what: fmt.Sprintf("%s can't call %s at its peer URLs, and talks to it over connections that %s "+
						"makes", k.title(), other.title(), other.title()),
					means: "all works, as long as the other direction does",
					todo: "see that the peer URLs of " + other.title() +
						" are right (member list), open to the others, and that the certificates of both are for " +
						"client and server; the log of " + k.title() + " says what fails",
				})
			}
		}
	}
	return found
}

func lagging(all []*checkup, _ time.Time) (found []finding) {
	var most uint64
	for _, k := range all {
		most = max(most, k.raft)
	}
	for _, k := range all {
		if k.raft > 0 && k.raft+lagEntries < most {
			found = append(found, finding{
				what:  fmt.Sprintf("%s is %d entries behind", k.title(), most-k.raft),
				means: "plain reads there show old data, and if another member fails, writes wait for this one",
				todo: "run doctor again: if the number falls, the member is catching up; if not, look at its disk, " +
					"its load, and its link to the leader",
			})
		}
	}
	return found
}

func termsApart(all []*checkup, _ time.Time) []finding {
	var texts []string
	terms := map[uint64]bool{}
	for _, k := range answering(all) {
		if k.term > 0 {
			terms[k.term] = true
			texts = append(texts, fmt.Sprintf("%s is in term %d", k.title(), k.term))
		}
	}
	if len(terms) < 2 {
		return nil
	}
	return []finding{{
		what:  "the members are in different terms: " + strings.Join(texts, ", "),
		means: "an election is under way, or a member does not hear the others",
		todo:  "run doctor again; if it stays, look at the peer URLs of the member that is alone with its term",
	}}
}

func rottenLogs(all []*checkup, _ time.Time) (found []finding) {
	for _, k := range all {
		if k.rotten > 0 {
			found = append(found, finding{
				what:  fmt.Sprintf("%s could not read its own log %d times", k.title(), k.rotten),
				means: "its disk has changed what was written",
				todo:  "replace the disk: etcdctl member replace, with a member on another one",
			})
		}
	}
	return found
}

func slowDisks(all []*checkup, _ time.Time) (found []finding) {
	for _, k := range all {
		if k.fsync > slowFsync {
			found = append(found, finding{
				note: true,
				what: fmt.Sprintf("an fsync at %s takes %v on the average", k.title(),
					k.fsync.Round(time.Millisecond)),
				means: "a write waits for a quorum of disks, and for the disk of the member that answers",
				todo:  "use a faster disk, or one that is not shared; give the log a disk of its own (--wal-dir)",
			})
		}
	}
	return found
}

func certificates(all []*checkup, now time.Time) (found []finding) {
	for _, k := range all {
		left := k.expires.Sub(now)
		if k.expires.IsZero() || left > expiresSoon {
			continue
		}
		found = append(found, finding{
			note: left > expiresFirst,
			what: fmt.Sprintf("a certificate that %s shows ends on %s", k.title(),
				k.expires.UTC().Format(time.RFC3339)),
			means: fmt.Sprintf("in %d days clients will refuse to talk to it", max(0, int(left.Hours()/24))),
			todo:  "renew it; a member reads its files again by itself",
		})
	}
	return found
}

func neverStarted(all []*checkup, _ time.Time) (found []finding) {
	for _, k := range all {
		if len(k.urls) == 0 && !heard(all, k.id) {
			found = append(found, finding{
				what: k.title() + " has a place in the cluster, and no member has heard from it",
				means: "it was never started, or it runs and reaches no other member. " +
					"Members of etcd 2 count it for the quorum all the same; those of etcd2 give it no vote before " +
					"it has caught up",
				todo: "start it with --initial-cluster-state existing; if it runs, see in its log which members it " +
					"does not reach, and that its peer URLs are right (member list); " +
					"or give up its place: etcdctl member remove " + k.id,
			})
		}
	}
	return found
}

func starting(all []*checkup, _ time.Time) (found []finding) {
	for _, k := range all {
		if k.starting && !heard(all, k.id) {
			found = append(found, finding{
				note:  true,
				what:  k.title() + " is starting",
				means: "it reads its data, or finds no leader yet; it can't replace a member that fails",
				todo:  "run doctor again; if that stays, look at its log",
			})
		}
	}
	return found
}

// heard reports whether a member is known to run without a vote. Such a member has not yet
// published its client URLs.
func heard(all []*checkup, id string) bool {
	return slices.ContainsFunc(all, func(k *checkup) bool {
		return slices.ContainsFunc(k.waiting, func(m client.Member) bool { return m.ID == id })
	})
}

// withoutVote finds the members that wait for their vote, as the leader tells. Without a leader no
// member gets a vote.
func withoutVote(all []*checkup, _ time.Time) (found []finding) {
	for _, k := range answering(all) {
		if !k.leads {
			continue
		}
		f := finding{note: true, means: "a new member gets all data first; it does not count for the quorum before"}
		for _, m := range k.waiting {
			why, todo := k.keepsWaiting(m)
			f.what, f.todo = fmt.Sprintf("%s has no vote yet: %s", (&checkup{id: m.ID, name: m.Name}).title(),
				why), todo
			found = append(found, f)
		}
		if unheard := k.learners - len(k.waiting); unheard > 0 {
			f.what = fmt.Sprintf("%d of the members have no vote yet: the leader has not heard from them", unheard)
			f.todo = "start them, and see that their peer URLs are right and open to the leader (member list)"
			found = append(found, f)
		}
	}
	return found
}

// keepsWaiting returns why the leader k has not given a vote to a learner, and what to do.
func (k *checkup) keepsWaiting(m client.Member) (why, todo string) {
	switch {
	case slices.Contains(k.apart, m.ID):
		return "the leader has no connection to it",
			"see that it runs, and that the leader can reach its peer URLs: " + strings.Join(m.PeerURLs, ", ")
	case m.Behind == nil:
		return "the leader has not heard from it since it leads",
			"run doctor again; if that stays, look at the log of both"
	case *m.Behind > 0:
		return fmt.Sprintf("it is catching up, %d entries behind", *m.Behind),
			"nothing: it gets its vote by itself. " +
				"If the number does not fall, look at its disk, its load, and its link to the leader"
	}
	return "it has caught up, and its turn comes after a change of the members that is under way",
		"nothing: it gets its vote by itself. If that takes long, see that more than half of the members run"
}

func severalVersions(all []*checkup, _ time.Time) []finding {
	var versions []string
	for _, k := range answering(all) {
		if k.version != "" && !slices.Contains(versions, k.version) {
			versions = append(versions, k.version)
		}
	}
	if len(versions) < 2 {
		return nil
	}
	slices.Sort(versions)
	return []finding{{
		note:  true,
		what:  "the members are of different versions: " + strings.Join(versions, ", "),
		means: "the cluster uses only what the oldest version supports",
		todo:  "complete the upgrade, one member at a time",
	}}
}

// loopback finds advertised addresses that mean, on each machine, that machine.
func loopback(all []*checkup, _ time.Time) []finding {
	var local []*checkup
	advertise := 0 // members with any client URL
	for _, k := range all {
		advertise += min(1, len(k.urls))
		if slices.ContainsFunc(k.urls, func(u reach) bool { return isLoopback(u.url) }) {
			local = append(local, k)
		}
	}
	if len(local) == 0 || len(local) == advertise {
		return nil // a cluster on one machine is fine
	}
	return []finding{{
		what:  "a loopback address is advertised by " + titles(local),
		means: "clients on other machines are sent to themselves",
		todo:  "start it with --advertise-client-urls that others can reach",
	}}
}

func isLoopback(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Hostname() == "localhost" || strings.HasPrefix(u.Hostname(), "127.") ||
		u.Hostname() == "::1")
}

func clocks(all []*checkup, _ time.Time) (found []finding) {
	for _, k := range answering(all) {
		if k.skew.Abs() > skewedClock {
			found = append(found, finding{
				note: true,
				what: fmt.Sprintf("the clock of %s is %v off from the one here", k.title(), k.skew),
				means: "members of etcd 2 expire keys too early or too late; those of etcd2 use the cluster's clock " +
					"for keys, but their own for certificates and logs",
				todo: "let NTP set the clocks of all machines, this one too",
			})
		}
	}
	return found
}

func evenNumber(all []*checkup, _ time.Time) []finding {
	n := voters(all)
	if n%2 == 1 {
		return nil
	}
	return []finding{{
		note: true,
		what: fmt.Sprintf("%d members with a vote are an even number", n),
		means: fmt.Sprintf("the cluster survives %d failures, as one of %d members would, and has one member more "+
			"that can fail", (n-1)/2, n-1),
		todo: "add one member, or remove one",
	}}
}
