package http

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"etcd2/raft"
)

var tokenURL = regexp.MustCompile(`^http://example\.com/discovery/[0-9a-f]{32}$`)

func TestATokenIsAURL(t *testing.T) {
	b := newBench(t)
	seen := map[string]bool{}
	for method, query := range map[string]string{"GET": "?size=5", "PUT": ""} {
		w := b.do(method, "/discovery/new"+query, "")

		token := w.Body.String()
		if w.Code != 200 || !tokenURL.MatchString(token) || seen[token] ||
			w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Fatalf("%d %s", w.Code, token)
		}
		seen[token] = true
		path := strings.TrimPrefix(token, "http://example.com")
		value := map[string]string{"GET": "5", "PUT": "3"}[method]
		for _, p := range []string{path + "/_config/size", "/v2/keys/_etcd/registry" + strings.TrimPrefix(path,
			"/discovery") + "/_config/size"} {
			if w := b.do("GET", p, ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"value":"`+value+`"`) {
				t.Errorf("%s: %d %s", p, w.Code, w.Body)
			}
		}
	}
}

func TestWhatIsBelowATokenAreItsKeys(t *testing.T) {
	b := newBench(t)
	const path, key = "/discovery/t", `"key":"/_etcd/registry/t`
	for _, c := range []struct {
		method, path, form string
		status             int
		text               string
	}{
		{"GET", path, "", 404, `{"errorCode":100,"message":"Key not found","cause":"/_etcd","index":0}`},
		{"PUT", path + "/_config/size?value=1", "", 201, key + `/_config/size","value":"1"`},
		{"PUT", path + "/a%2Fb?prevExist=false", url.Values{"value": {"n=http://h:1"}}.Encode(), 201, key +
			`/a/b","value":"n=http://h:1"`},
		{"PUT", path + "/a?prevExist=false", "", 412, `"errorCode":105`},
		{"GET", path + "?recursive=true", "", 200, key + `/a/b"`},
		{"GET", path + "?wait=true&waitIndex=1&recursive=true", "", 200, key + `/a/b"`},
		{"DELETE", path + "/a?recursive=true", "", 200, `"action":"delete"`},
		{"PATCH", path, "", 405, "Method Not Allowed"},
		{"GET", "/discovery", "", 404, "404 page not found"},
		{"GET", "/discovery/", "", 404, "404 page not found"},
		{"GET", "/discovery/../v2/keys", "", 301, ""},
	} {
		w := b.do(c.method, c.path, c.form, "Content-Type", formType)

		if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
		}
	}
}

func TestABadSizeMakesNoToken(t *testing.T) {
	b := newBench(t)
	for _, query := range []string{"size=", "size=0", "size=-1", "size=101", "size=three", "size=1;size=2", "size=%zz",
		"size=99999999999999999999"} {
		w := b.do("GET", "/discovery/new?"+query, "")
		b.want(w, 400, `{"message":"the size must be a number from 1 to 100"}`)
	}
	if n := b.node.store.Index(); n != 0 {
		t.Errorf("the store is at index %d", n)
	}
}

// Since a GET makes a token, an image in a page of another site could make one, if it were not
// refused. pitfall J8
func TestNoForeignPageMakesAToken(t *testing.T) {
	b := newBench(t, func(c *Config) { c.CORS = []string{"http://friend.example"} })
	for _, c := range []struct {
		method  string
		header  []string
		refused bool
	}{
		{"GET", []string{"Sec-Fetch-Site", "cross-site"}, true},
		{"GET", []string{"Sec-Fetch-Site", "same-site"}, true},
		{"GET", []string{"Origin", "http://evil.example"}, true},
		{"GET", []string{"User-Agent", "Mozilla/5.0"}, true}, // an image, over plain HTTP
		{"GET", []string{"Referer", "http://evil.example/"}, true},
		{"GET", []string{"User-Agent", "Mozilla/5.0", "Sec-Fetch-Site", "none"}, false}, // the address bar
		{"GET", []string{"User-Agent", "Mozilla/5.0", "Sec-Fetch-Site", "same-origin"}, false},
		{"GET", []string{"User-Agent", "Mozilla/5.0", "Origin", "http://friend.example"}, false},
		// the Host of the request
		{"GET", []string{"User-Agent", "Mozilla/5.0", "Origin", "http://example.com"}, false},
		{"GET", []string{"User-Agent", "curl/8.5.0"}, false},
		{"PUT", []string{"User-Agent", "Mozilla/5.0"}, false}, // no browser sends this unasked
	} {
		before := b.node.store.Index()

		w := b.do(c.method, "/discovery/new", "", c.header...)

		refused := w.Code == 403 && strings.HasPrefix(w.Body.String(), `{"message":"cross-origin request refused`)
		if written := b.node.store.Index() > before; refused != c.refused || written == c.refused {
			t.Errorf("%+v: %d %s, written: %v", c, w.Code, w.Body, written)
		}
	}
}

func TestATokenThatCannotBeWrittenIsNotGivenOut(t *testing.T) {
	b := newBench(t)
	b.node.err = raft.ErrNoLeader

	w := b.do("GET", "/discovery/new?size=1", "")

	if w.Code != 500 || !strings.Contains(w.Body.String(), `"errorCode":300`) || strings.Contains(w.Body.String(),
		"discovery/") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTokensAreBounded(t *testing.T) {
	b := newBench(t)
	for i := range maxTokens {
		b.do("PUT", fmt.Sprintf("/v2/keys/_etcd/registry/%d/_config/size?value=1", i), "")
	}

	w := b.do("GET", "/discovery/new", "")

	b.want(w, 503, `{"message":"there are 10000 tokens already: delete some at /v2/keys/_etcd/registry"}`)
}
