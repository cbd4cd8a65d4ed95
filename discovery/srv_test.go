package discovery

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A zone is what a DNS server of a test knows: by question, as "SRV _etcd-server._tcp.example." or "A a.example.", the answers.
type zone map[string][]string

// dns is a DNS server, and the resolver that asks it. silent names are not answered at all; "fail" as an answer is a SERVFAIL.
func dns(t *testing.T, z zone) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		question := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(question)
			if err != nil {
				return
			}
			if reply := z.answer(question[:n]); reply != nil {
				server.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

var dnsTypes = map[uint16]string{1: "A", 28: "AAAA", 33: "SRV"}

// answer makes the reply to one question (RFC 1035, section 4).
func (z zone) answer(q []byte) []byte {
	name, end := "", 12
	for q[end] != 0 {
		name += string(q[end+1:end+1+int(q[end])]) + "."
		end += 1 + int(q[end])
	}
	kind := binary.BigEndian.Uint16(q[end+1:])
	end += 5
	answers, known := z[dnsTypes[kind]+" "+name]
	for other := range z {
		known = known || strings.HasSuffix(other, " "+name)
	}
	status := byte(0x80) // recursion is available
	switch {
	case len(answers) > 0 && answers[0] == "silence":
		return nil
	case len(answers) > 0 && answers[0] == "fail":
		status, answers = 0x82, nil
	case !known:
		status = 0x83
	}
	reply := append([]byte{q[0], q[1], 0x85, status, 0, 1, 0, byte(len(answers)), 0, 0, 0, 0}, q[12:end]...)
	for _, a := range answers {
		data := rdata(kind, a)
		reply = append(reply, 0xc0, 12, byte(kind>>8), byte(kind), 0, 1, 0, 0, 0, 60)
		reply = binary.BigEndian.AppendUint16(reply, uint16(len(data)))
		reply = append(reply, data...)
	}
	return reply
}

// rdata is the data of a record: an address, or "target port" of an SRV.
func rdata(kind uint16, text string) []byte {
	if kind != 33 {
		return netip.MustParseAddr(text).AsSlice()
	}
	var target string
	var port uint16
	fmt.Sscan(text, &target, &port)
	data := binary.BigEndian.AppendUint16([]byte{0, 10, 0, 20}, port)
	for label := range strings.SplitSeq(strings.TrimSuffix(target, "."), ".") {
		data = append(append(data, byte(len(label))), label...)
	}
	return append(data, 0)
}

const (
	secure = "SRV _etcd-server-ssl._tcp.example.test."
	plain  = "SRV _etcd-server._tcp.example.test."
)

// hosts are a to c at addresses of nobody, and three peers on this machine.
var hosts = zone{"A a.example.test.": {"127.0.0.2"}, "A b.example.test.": {"127.0.0.3"}, "A c.example.test.": {"127.0.0.4", "127.0.0.5"}, "AAAA d.example.test.": {"::1"}}

func with(records zone) zone {
	z := zone{}
	for _, part := range []zone{hosts, records} {
		for q, a := range part {
			z[q] = a
		}
	}
	return z
}

func TestTheDNSListsTheFounders(t *testing.T) {
	for _, c := range []struct {
		name    string
		records zone
		own     string // that it advertises
		self    string // its URL in the DNS
		all     string
	}{
		{"plain", zone{plain: {"b.example.test. 1", "a.example.test. 1", "c.example.test. 1"}}, "http://127.0.0.2:1", "http://a.example.test:1",
			"http://a.example.test:1 http://b.example.test:1 http://c.example.test:1"},
		{"secure", zone{secure: {"a.example.test. 1", "b.example.test. 1"}}, "https://a.example.test:1", "https://a.example.test:1", "https://a.example.test:1 https://b.example.test:1"},
		{"both", zone{secure: {"a.example.test. 1"}, plain: {"b.example.test. 1"}}, "http://b.example.test:1", "http://b.example.test:1", "https://a.example.test:1 http://b.example.test:1"},
		{"one machine", zone{plain: {"a.example.test. 1", "a.example.test. 2"}}, "http://127.0.0.2:2", "http://a.example.test:2", "http://a.example.test:1 http://a.example.test:2"},
		{"two addresses", zone{plain: {"c.example.test. 1"}}, "http://127.0.0.5:1", "http://c.example.test:1", "http://c.example.test:1"},
		{"IPv6", zone{plain: {"d.example.test. 1"}}, "http://[::1]:1", "http://d.example.test:1", "http://d.example.test:1"},
		{"one twice", zone{plain: {"a.example.test. 1", "A.example.test. 1"}}, "http://a.example.test:1", "http://a.example.test:1", "http://a.example.test:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := testNewcomer("me", c.own)
			n.Resolver = dns(t, with(c.records))

			p, err := n.SRV(t.Context(), "example.test", "token")

			if err != nil || p.Self.Name != "me" || !reflect.DeepEqual(p.Self.PeerURLs, []string{c.self}) || p.Self.ID != MemberID([]string{c.self}, "token") {
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
	one := dns(t, with(zone{plain: {"a.example.test. 1", "b.example.test. 1", "gone.example.test. 1"}}))
	other := dns(t, with(zone{plain: {"gone.example.test. 1", "b.example.test. 1", "a.example.test. 1"}, "A gone.example.test.": {"127.0.0.9"}}))
	a, b := testNewcomer("a", "http://a.example.test:1"), testNewcomer("b", "http://b.example.test:1")
	a.Resolver, b.Resolver = one, other
	var log strings.Builder
	a.Logger = slog.New(slog.NewTextHandler(&log, nil))

	p, err1 := a.SRV(t.Context(), "example.test", "token")
	q, err2 := b.SRV(t.Context(), "example.test", "token")

	if err1 != nil || err2 != nil || len(p.Cluster.Members) != 3 || !reflect.DeepEqual(p.Cluster, q.Cluster) || p.Self.ID == q.Self.ID {
		t.Errorf("%v, %v:\n%+v\n%+v", err1, err2, p, q)
	}
	if !strings.Contains(log.String(), "http://gone.example.test:1") {
		t.Errorf("nobody is told of the target without an address: %s", &log)
	}
}

func TestABadAnswerOfTheDNSIsOneLine(t *testing.T) {
	for _, c := range []struct {
		name    string
		records zone
		kind    error
		text    string
	}{
		{"no records", zone{}, ErrNoRecords, "too many errors querying DNS SRV records: error querying DNS SRV records for _etcd-server-ssl: lookup"},
		{"a failure", zone{secure: {"fail"}, plain: {"fail"}}, ErrDNS, "the DNS does not answer: error querying DNS SRV records for _etcd-server-ssl: lookup"},
		{"half a failure", zone{secure: {"fail"}, plain: {"a.example.test. 1"}}, ErrDNS, "the DNS does not answer"},
		{"others", zone{plain: {"b.example.test. 1"}}, ErrNotInDNS, `cannot find local etcd member "me" in SRV records: it advertises http://127.0.0.2:1, and they have http://b.example.test:1`},
		{"another port", zone{plain: {"a.example.test. 2"}}, ErrNotInDNS, "cannot find local etcd member"},
		{"another scheme", zone{secure: {"a.example.test. 1"}}, ErrNotInDNS, "they have https://a.example.test:1"},
		{"the own URL twice", zone{secure: {"a.example.test. 1"}, plain: {"a.example.test. 1"}}, ErrTwiceInDNS, "list this member twice: http"},
		{"no target", zone{plain: {". 1"}}, ErrBadRecord, "is not that of a member"},
		{"no port", zone{plain: {"a.example.test. 0"}}, ErrBadRecord, "port 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := testNewcomer("me", "http://127.0.0.2:1")
			n.Resolver = dns(t, with(c.records))

			p, err := n.SRV(t.Context(), "example.test", "token")

			if !errors.Is(err, c.kind) || !strings.Contains(fmt.Sprint(err), c.text) || !reflect.DeepEqual(p, Plan{}) {
				t.Errorf("got  %v\nwant %s", err, c.text)
			}
		})
	}
}

func TestASilentDNSIsNotWaitedForForEver(t *testing.T) {
	n := testNewcomer("me", "http://127.0.0.2:1")
	n.Resolver = dns(t, zone{secure: {"silence"}, plain: {"silence"}})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()

	_, err := n.SRV(ctx, "example.test", "token")

	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrDNS) {
		t.Error(err)
	}
}
