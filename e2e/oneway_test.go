package e2e

import (
	"crypto/x509"
	"net/url"
	"slices"
	"strings"
	"testing"

	"etcd2/http/certs/certstest"
)

// filter keeps the first member of each pair from dialling the second.
func (n *network) filter(pairs ...[2]*member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.filtered = map[[2]*member]bool{}
	for _, p := range pairs {
		n.filtered[p] = true
	}
}

// pitfall L16
func TestOneDirectionOfCallingIsEnough(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		which func(odd, other *member) [2]*member
	}{
		{"a member that can call nobody", func(odd, other *member) [2]*member { return [2]*member{odd, other} }},
		{"a member that nobody can call", func(odd, other *member) [2]*member { return [2]*member{other, odd} }},
	} {
		cl := newCluster(t, 3, quick...)
		odd := cl.members[2]
		cl.network.filter(c.which(odd, cl.members[0]), c.which(odd, cl.members[1]))

		cl.start(cl.members...)
		odd.serves()
		cl.members[0].put("/k", c.name)
		if a := odd.get("/v2/keys/k?quorum=true"); !hasAll(a.body, c.name) {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}

		cl.members[0].kill() // now the odd member is needed for a quorum
		odd.serves()
		cl.members[1].serves()
	}
}

// One member has a certificate for servers only: other members refuse it when that member dials,
// and accept it when they dial.
func TestAPeerCertificateOfOneUsageIsEnough(t *testing.T) {
	t.Parallel()
	s := newSecured(t, 3)
	odd := s.members[2]
	s.them.Issue(t, odd.name, certstest.Used(x509.ExtKeyUsageServerAuth)).Save(t, s.dir, "peer-"+odd.name)
	joe, trusted := s.clients.Issue(t, "joe").TLS(t), []*certstest.Authority{s.clients}

	s.start()

	for _, m := range s.members {
		_, a, err := knock(t.Context(), "PUT", m.url+"/v2/keys/"+m.name, url.Values{"value": {"x"}}, trusted, joe)
		if err != nil || a.status > 201 {
			t.Errorf("%s: %v: %d %s", m.name, err, a.status, a.body)
		}
	}
	_, a, err := knock(t.Context(), "GET", odd.url+"/v2/keys/m0", nil, trusted, joe)
	if err != nil || a.status != 200 {
		t.Errorf("%v: %d %s", err, a.status, a.body)
	}
	odd.expectLog(0, "others will refuse this member's certificate", "flag=--peer-cert-file",
		"lacks the usage clientAuth", "remedy=")
}

// pitfall L16
func TestAMemberOutOfTouchSaysSo(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick...)
	odd := c.followers()[0]
	stale := func() string { return odd.get("/v2/keys/").header.Get("X-Etcd-Stale") }
	if was := stale(); was != "" {
		t.Errorf("it is out of touch for %s ms", was)
	}
	since := odd.log.count()

	for _, m := range without(c.members, odd) {
		c.network.link(odd, m).cut() // so that the others do not hear it
	}
	eventually(t, "an answer that is marked as old", patience, func() bool { return stale() != "" })
	// a short disturbance may have come first
	eventually(t, "/health is false", patience, func() bool { return odd.get("/health").status == 503 })
	odd.expectLog(since, "out of touch with the cluster")

	c.network.heal()
	eventually(t, "an answer that is not marked", patience, func() bool { return stale() == "" })
	odd.expectLog(since, "in touch with the leader again")
}

func TestPeerURLsWhereNobodyListensAreToldAtTheStart(t *testing.T) {
	t.Parallel()
	m := newMember(t)
	m.reached = freeURL()
	m.founded = m.name + "=" + m.reached

	m.start()
	m.expectLog(0, "level=WARN", "--initial-advertise-peer-urls="+m.reached, m.peer)
	m.stop()
	m.bare, m.flags = true, slices.DeleteFunc(m.arguments(), func(arg string) bool {
		return strings.HasPrefix(arg, "--initial-")
	})
	since := m.log.count()
	m.start() // the membership has the members

	m.expectLog(since, "level=WARN", "lead to none of its listeners", "called=["+m.reached+"]",
		"listening=["+m.peer+"]")
}
