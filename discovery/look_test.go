package discovery

import (
	"errors"
	"testing"

	"etcd2/discovery/dnstest"
	"etcd2/raft"
)

func TestAnOnlookerWaitsForAllAndRegistersNothing(t *testing.T) {
	g := newRegistry("2")
	token := serve(t, g) + tokenPath
	looker := founder(0) // its URLs may be a member's
	type result struct {
		m   raft.Membership
		err error
	}
	found := make(chan result)
	look := func() { m, err := looker.LookToken(t.Context(), token, nil); found <- result{m, err} }
	go look()
	for i := range 2 {
		go founder(i).Token(t.Context(), token, nil)
	}

	r := <-found

	if r.err != nil || len(r.m.Members) != 2 || g.registered() != 2 {
		t.Errorf("%+v, %d registered", r, g.registered())
	}
	go look() // a full cluster is fine
	if r := <-found; r.err != nil || len(r.m.Members) != 2 || g.registered() != 2 {
		t.Errorf("%+v, %d registered", r, g.registered())
	}
	if _, err := looker.LookToken(t.Context(), serve(t, newRegistry(""))+tokenPath, nil); !errors.Is(err, ErrNoToken) {
		t.Error(err)
	}
}

func TestAnOnlookerNeedNotBeInTheDNS(t *testing.T) {
	looker := testNewcomer("me", "http://127.0.0.9:9")
	looker.Resolver = with(dnstest.Zone{plain: {"a.example.test. 1", "b.example.test. 1"}}).Resolver(t)

	m, err := looker.LookSRV(t.Context(), "example.test")

	if err != nil || len(m.Members) != 2 {
		t.Errorf("%v: %+v", err, m)
	}
	looker.Resolver = with(dnstest.Zone{}).Resolver(t)
	if m, err := looker.LookSRV(t.Context(), "example.test"); !errors.Is(err, ErrNoRecords) {
		t.Errorf("%v: %+v", err, m)
	}
}
