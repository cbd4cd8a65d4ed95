package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"etcd2/discovery/dnstest"
)

const (
	secure = "SRV _etcd-server-ssl._tcp.example.test."
	plain  = "SRV _etcd-server._tcp.example.test."
)

// hosts are a to c at addresses of nobody, and three peers on this machine.
var hosts = dnstest.Zone{"A a.example.test.": {"127.0.0.2"}, "A b.example.test.": {"127.0.0.3"},
	"A c.example.test.": {"127.0.0.4", "127.0.0.5"}, "AAAA d.example.test.": {"::1"}}

func with(records dnstest.Zone) dnstest.Zone {
	z := dnstest.Zone{}
	for _, part := range []dnstest.Zone{hosts, records} {
		for q, a := range part {
			z[q] = a
		}
	}
	return z
}

func TestTheDNSListsTheFounders(t *testing.T) {
	for _, c := range []struct {
		name    string
		records dnstest.Zone
		own     string // that it advertises
		self    string // its URL in the DNS
		all     string
	}{
		{"plain", dnstest.Zone{plain: {"b.example.test. 1", "a.example.test. 1", "c.example.test. 1"}},
			"http://127.0.0.2:1", "http://a.example.test:1",
			"http://a.example.test:1 http://b.example.test:1 http://c.example.test:1"},
		{"secure", dnstest.Zone{secure: {"a.example.test. 1", "b.example.test. 1"}}, "https://a.example.test:1",
			"https://a.example.test:1", "https://a.example.test:1 https://b.example.test:1"},
		{"both", dnstest.Zone{secure: {"a.example.test. 1"}, plain: {"b.example.test. 1"}}, "http://b.example.test:1",
			"http://b.example.test:1", "https://a.example.test:1 http://b.example.test:1"},
		{"one machine", dnstest.Zone{plain: {"a.example.test. 1", "a.example.test. 2"}}, "http://127.0.0.2:2",
			"http://a.example.test:2", "http://a.example.test:1 http://a.example.test:2"},
		{"two addresses", dnstest.Zone{plain: {"c.example.test. 1"}}, "http://127.0.0.5:1", "http://c.example.test:1",
			"http://c.example.test:1"},
		{"IPv6", dnstest.Zone{plain: {"d.example.test. 1"}}, "http://[::1]:1", "http://d.example.test:1",
			"http://d.example.test:1"},
		{"one twice", dnstest.Zone{plain: {"a.example.test. 1", "A.example.test. 1"}}, "http://a.example.test:1",
			"http://a.example.test:1", "http://a.example.test:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := testNewcomer("me", c.own)
			n.Resolver = with(c.records).Resolver(t)

			p, err := n.SRV(t.Context(), "example.test", "token")

			if err != nil || p.Self.Name != "me" || !reflect.DeepEqual(p.Self.PeerURLs, []string{c.self}) ||
				p.Self.ID != MemberID([]string{c.self}, "token") {
				t.Fatalf("%v: %+v", err, p)
			}
			urls := map[string]bool{}
			for _, m := range p.Cluster.Members {
				urls[m.PeerURLs[0]] = true
				if m.Name != "" || len(m.PeerURLs) != 1 {
					t.Errorf("%+v", m)
				}
			}
			if len(urls) != len(strings.Fields(c.all)) {
				t.Errorf("%v, want %s", urls, c.all)
			}
			for u := range strings.FieldsSeq(c.all) {
				if !urls[u] {
					t.Errorf("%s is missing", u)
				}
			}
		})
	}
}

// All machines begin with the same membership, whoever asks, in whatever order the answers come.
func TestAllReadTheSameOutOfTheDNS(t *testing.T) {
	one := with(dnstest.Zone{plain: {"a.example.test. 1", "b.example.test. 1", "gone.example.test. 1"}}).Resolver(t)
	other := with(dnstest.Zone{plain: {"gone.example.test. 1", "b.example.test. 1", "a.example.test. 1"},
		"A gone.example.test.": {"127.0.0.9"}}).Resolver(t)
	a, b := testNewcomer("a", "http://a.example.test:1"), testNewcomer("b", "http://b.example.test:1")
	a.Resolver, b.Resolver = one, other
	var log strings.Builder
	a.Logger = slog.New(slog.NewTextHandler(&log, nil))

	p, err1 := a.SRV(t.Context(), "example.test", "token")
	q, err2 := b.SRV(t.Context(), "example.test", "token")

	if err1 != nil || err2 != nil || len(p.Cluster.Members) != 3 || !reflect.DeepEqual(p.Cluster, q.Cluster) ||
		p.Self.ID == q.Self.ID {
		t.Errorf("%v, %v:\n%+v\n%+v", err1, err2, p, q)
	}
	if !strings.Contains(log.String(), "http://gone.example.test:1") {
		t.Errorf("nobody is told of the target without an address: %s", &log)
	}
}

func TestABadAnswerOfTheDNSIsOneLine(t *testing.T) {
	for _, c := range []struct {
		name    string
		records dnstest.Zone
		kind    error
		text    string
	}{
		{"no records", dnstest.Zone{}, ErrNoRecords,
			"too many errors querying DNS SRV records: error querying DNS SRV records for _etcd-server-ssl: lookup"},
		{"a failure", dnstest.Zone{secure: {"fail"}, plain: {"fail"}}, ErrDNS,
			"the DNS does not answer: error querying DNS SRV records for _etcd-server-ssl: lookup"},
		{"half a failure", dnstest.Zone{secure: {"fail"}, plain: {"a.example.test. 1"}}, ErrDNS,
			"the DNS does not answer"},
		{"others", dnstest.Zone{plain: {"b.example.test. 1"}}, ErrNotInDNS,
			`cannot find local etcd member "me" in SRV records: it advertises http://127.0.0.2:1, and they have http://b.example.test:1`},
		{"another port", dnstest.Zone{plain: {"a.example.test. 2"}}, ErrNotInDNS, "cannot find local etcd member"},
		{"another scheme", dnstest.Zone{secure: {"a.example.test. 1"}}, ErrNotInDNS,
			"they have https://a.example.test:1"},
		{"the own URL twice", dnstest.Zone{secure: {"a.example.test. 1"}, plain: {"a.example.test. 1"}}, ErrTwiceInDNS,
			"list this member twice: http"},
		{"no target", dnstest.Zone{plain: {". 1"}}, ErrBadRecord, "is not that of a member"},
		{"no port", dnstest.Zone{plain: {"a.example.test. 0"}}, ErrBadRecord, "port 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := testNewcomer("me", "http://127.0.0.2:1")
			n.Resolver = with(c.records).Resolver(t)

			p, err := n.SRV(t.Context(), "example.test", "token")

			if !errors.Is(err, c.kind) || !strings.Contains(fmt.Sprint(err), c.text) || !reflect.DeepEqual(p, Plan{}) {
				t.Errorf("got  %v\nwant %s", err, c.text)
			}
		})
	}
}

func TestASilentDNSIsNotWaitedForForEver(t *testing.T) {
	n := testNewcomer("me", "http://127.0.0.2:1")
	n.Resolver = dnstest.Zone{secure: {"silence"}, plain: {"silence"}}.Resolver(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()

	_, err := n.SRV(ctx, "example.test", "token")

	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrDNS) {
		t.Error(err)
	}
}
