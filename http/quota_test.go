package http

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"etcd2/store"
)

// A full tree is served, but for what makes it grow, and says so wherever somebody looks.
// pitfall J9
func TestAFullTreeTakesOnlyWhatDoesNotMakeItGrow(t *testing.T) {
	node := newFakeNode(store.Limits{Tree: 10_000})
	b := newBench(t, func(c *Config) { c.Node, c.Store = node, node.store })
	b.do("PUT", "/v2/keys/small", "value=s")
	for b.do("POST", "/v2/keys/big", "value="+strings.Repeat("v", 1000)).Code == 201 {
	}
	index := node.store.Index()

	b.want(b.do("PUT", "/v2/keys/more", "value=x", requestHeader, "id"), 507,
		`{"errorCode":215,"message":"The tree is full","cause":"/more","index":`+fmt.Sprint(index)+"}\n")
	if w := b.do("PUT", "/v2/auth/users/u", `{"user":"u","password":"p"}`, "Content-Type",
		"application/json"); w.Code != 201 {
		t.Errorf("a user: %d %s", w.Code, w.Body)
	}
	w := b.do("GET", "/health", "")
	if want := `^{"health": "true", "reason": "the tree is full, it takes \d+ bytes of the 10000 of --quota-bytes: `; w.Code != 200 ||
		!regexp.MustCompile(want).MatchString(w.Body.String()) {
		t.Errorf("/health: %d %s", w.Code, w.Body)
	}
	if m := b.do("GET", "/metrics", "").Body.String(); !strings.Contains(m, "\netcd2_store_tree_max_bytes 10000\n") {
		t.Error("/metrics does not tell the quota")
	}
	for _, c := range []struct {
		method, target, form string
		status               int
	}{
		{"GET", "/v2/keys/big?recursive=true", "", 200},
		{"PUT", "/v2/keys/small", "value=t", 200},
		{"PUT", "/v2/keys/small", "value=t&ttl=100", 200},
		{"PUT", "/v2/keys/small", "refresh=true&ttl=200&prevExist=true", 200},
		{"PUT", "/v2/keys/small", "value=longer", 507},
		{"PUT", "/v2/keys/small", "value=x&prevExist=false", 412},
		{"DELETE", "/v2/keys/big?recursive=true", "", 200},
		{"PUT", "/v2/keys/small", "value=longer", 200},
	} {
		if w := b.do(c.method, c.target, c.form); w.Code != c.status {
			t.Errorf("%s %s: %d %s", c.method, c.target, w.Code, w.Body)
		}
	}
	if w := b.do("PUT", "/v2/keys/more", "value=x", requestHeader, "id"); w.Code != 201 {
		t.Errorf("the retry gets %d %s", w.Code, w.Body)
	}
	b.want(b.do("GET", "/health", ""), 200, `{"health": "true"}`)
}
