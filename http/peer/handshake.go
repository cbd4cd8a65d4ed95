package peer

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"etcd2/raft"
)

// The handshake is the head of an HTTP request and of its answer. Both carry the headers of an
// identity.
const (
	streamPath   = "/raft/stream"
	snapshotPath = "/raft/snapshot"
	loanPath     = "/raft/loan"

	protocolName    = "etcd2-raft/1" // the Upgrade header's
	protocolVersion = "1"

	maxURLs     = 16
	maxText     = 200     // bytes that are kept of a text that the other end sent
	maxAnswer   = 4 << 10 // bytes of an answer's body (K6)
	maxHeadSize = 64 << 10
)

// identity is what one end of a connection says about itself, and the id that it expects of the
// other end.
type identity struct {
	id, to, cluster uint64
	incarnation     uint64 // of its disk; 0 when it has none
	protocol        string
	name, version   string
	urls            []string
}

// String returns the identity for log lines.
func (i identity) String() string {
	return fmt.Sprintf("%x %q at %s, incarnation %x, cluster %x", i.id, i.name, strings.Join(i.urls, ","),
		i.incarnation, i.cluster)
}

// put writes the identity into the head of a request or an answer.
func (i identity) writeTo(h http.Header) {
	h.Set("Etcd2-Protocol", protocolVersion)
	h.Set("Etcd2-From", strconv.FormatUint(i.id, 16))
	h.Set("Etcd2-To", strconv.FormatUint(i.to, 16))
	h.Set("Etcd2-Cluster", strconv.FormatUint(i.cluster, 16))
	h.Set("Etcd2-Incarnation", strconv.FormatUint(i.incarnation, 16))
	h.Set("Etcd2-Name", i.name)
	h.Set("Etcd2-Version", i.version)
	h.Set("Etcd2-Peer-Urls", strings.Join(i.urls, ","))
}

// parseIdentity reads what put has written. Ids that can't be read are 0, and URLs that can't be
// called are left out.
func parseIdentity(h http.Header) identity {
	hex := func(name string) uint64 {
		v, err := strconv.ParseUint(h.Get(name), 16, 64)
		if err != nil {
			return 0
		}
		return v
	}
	i := identity{
		id: hex("Etcd2-From"), to: hex("Etcd2-To"), cluster: hex("Etcd2-Cluster"),
		incarnation: hex("Etcd2-Incarnation"),
		protocol:    clip(h.Get("Etcd2-Protocol")), name: clip(h.Get("Etcd2-Name")),
		version: clip(h.Get("Etcd2-Version")),
	}
	i.urls = parseURLs(h.Get("Etcd2-Peer-Urls"))
	return i
}

// parseURLs returns the URLs of a list that can be called.
func parseURLs(list string) (urls []string) {
	for u := range strings.SplitSeq(list, ",") {
		if _, err := parseURL(u); err == nil && len(u) <= maxText && len(urls) < maxURLs {
			urls = append(urls, u)
		}
	}
	return urls
}

// parseURL refuses what can't be a peer URL (K6).
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil:
		return nil, fmt.Errorf("%q is no peer URL", s)
	}
	return u, nil
}

// clip makes a text of the other end fit for a log line.
func clip(s string) string {
	s = s[:min(len(s), maxText)]
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// refusal is a reason why one member refuses another.
type refusal struct {
	reason        string // its name on the wire
	status        int
	cause, remedy string // likely
}

// The refusals. If you add one, add it to the list below, too.
var (
	garbled = &refusal{"garbled", http.StatusBadRequest,
		"what calls, or was called, is no member", "see what else uses the peer URL"}
	otherProtocol = &refusal{"protocol", http.StatusUpgradeRequired,
		"the two programs are too far apart in version, or a proxy between them takes no upgrade to " + protocolName,
		"run versions that follow one another; let members talk without a proxy"}
	otherCluster = &refusal{"cluster", http.StatusPreconditionFailed,
		"the peer URL leads to a member of another cluster, or one of the two has the data of an earlier cluster",
		"correct the peer URL, or clear the data directory of the member that does not belong here"}
	otherMember = &refusal{"to", http.StatusMisdirectedRequest,
		"the peer URL leads to another member than the membership says, or that one lost its data and has a new id",
		"compare the list of members with the URLs that each one listens on; remove a member that lost its data and " +
			"add it again"}
	removed = &refusal{"removed", http.StatusGone,
		"the member was removed from the cluster, and its id can't come " +
			"back", "add it again with an empty data directory, or stop it"}
	emptied = &refusal{"emptied", http.StatusConflict,
		"the member's data directory was emptied, so that it has forgotten what it voted and acknowledged, or " +
			"another process takes its id",
		"remove the member, empty its data directory and add it anew"}
)

var refusals = []*refusal{garbled, otherProtocol, otherCluster, otherMember, removed, emptied}

// final reports whether a refusal is the end of the member that is refused.
func (r *refusal) final() bool { return r == removed || r == emptied }

// check returns why me refuses other; nil if it does not. An unknown id is no reason: this member's
// membership may be older than the other (D8). gone are the ids of removed members, in order. known
// is the incarnation of other that this member knows; 0 when it knows none.
func (me identity) check(other identity, gone []uint64, known uint64) *refusal {
	_, isGone := slices.BinarySearch(gone, other.id)
	switch {
	case other.protocol == "", other.protocol == protocolVersion && other.id == raft.None:
		return garbled
	case other.protocol != protocolVersion:
		return otherProtocol
	case other.cluster != me.cluster:
		return otherCluster
	case isGone:
		return removed
	case other.wasEmptied(known):
		return emptied
	case other.to != me.id, me.to != raft.None && me.to != other.id: // B11
		return otherMember
	}
	return nil
}

// wasEmptied reports whether a member is known to have had another disk than the one that it has
// now (D10).
func (i identity) wasEmptied(known uint64) bool { return known != 0 && known != i.incarnation }

// refused is the error of a handshake that one of the two ends has refused.
type refused struct {
	*refusal
	other identity
	by    string // thisOne or theOther
}

const (
	thisOne  = "this member"
	theOther = "the other member"
)

// Error returns the cause only: logRefusal logs the rest.
func (r *refused) Error() string { return "refused: " + r.cause }

// answer is the body of an error's answer.
type answer struct {
	Reason  string `json:"reason,omitempty"` // of a refusal
	Message string `json:"message"`
}

// sendAnswer answers a request with an error.
func sendAnswer(w http.ResponseWriter, status int, a answer) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Connection", "close")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(a)
}

// readAnswer makes an error of the answer that sendAnswer has sent, or of any other.
func readAnswer(r *http.Response, me identity) error {
	if r.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return keptThere(max(0, offset(r.Header)))
	}
	var a answer
	b, _ := io.ReadAll(io.LimitReader(r.Body, maxAnswer)) // a body that breaks off counts as none
	if json.Unmarshal(b, &a) != nil {
		a = answer{Message: string(b)}
	}
	other := parseIdentity(r.Header)
	i := slices.IndexFunc(refusals, func(f *refusal) bool { return f.reason == a.Reason })
	if i < 0 || other.protocol == "" {
		return fmt.Errorf("answer %d %q", r.StatusCode, clip(a.Message))
	}
	if refusals[i].final() && (other.cluster != me.cluster || other.id != me.to) {
		return fmt.Errorf("answer %d from another cluster or member: %v", r.StatusCode, other)
	}
	return &refused{refusals[i], other, theOther}
}
