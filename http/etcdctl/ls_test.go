package etcdctl

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// ls counts the children even when a member of etcd ignores the option and lists them.
func TestLsCountsAndTellsWhatIsLeft(t *testing.T) {
	var query, body string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Etcd-Index", "7")
		query = r.URL.RawQuery
		io.WriteString(w, `{"action":"get","node":{"key":"/d","dir":true`+body+`}}`)
	}))
	defer s.Close()
	const nodes, switches = `,"nodes":[{"key":"/d/a","value":"v"},{"key":"/d/b","dir":true}]`, "&quorum=false&recursive=false&sorted=false"
	for _, c := range []struct{ options, body, query, out, errs string }{
		{"--count", `,"count":70`, "count=true" + switches, "70\n", ""},
		{"--count", `,"count":0`, "count=true" + switches, "0\n", ""},
		{"--count", nodes, "count=true" + switches, "2\n", ""},
		{"--limit 2 --after /d/Z/ -p", `,"more":5` + nodes, "after=Z&keysOnly=true&limit=2" + switches, "/d/a\n/d/b/\n",
			"5 more: see --after\n"},
		{"--prefix _ --after x", nodes, "after=x&keysOnly=true&prefix=_" + switches, "/d/a\n/d/b\n", ""},
	} {
		body = c.body

		status, out, errs := ctl(nil, append([]string{"--no-sync", "--endpoints", s.URL, "ls", "/d"},
			words(c.options)...)...)

		if status != 0 || out != c.out || errs != c.errs || query != c.query {
			t.Errorf("%s: status %d, %q, %q, asked %s", c.options, status, out, errs, query)
		}
	}
}
