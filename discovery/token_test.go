package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

const tokenPath = "/v2/keys/_etcd/registry/token"

// A registry is a discovery service with one token.
type registry struct {
	mu    sync.Mutex // protects what follows
	size  string     // "": the token is not known
	names []string   // ids, in the order in which they came
	value map[string]string
	news  chan struct{}
	asked []string // requests
}

func newRegistry(size string) *registry {
	return &registry{size: size, value: map[string]string{}, news: make(chan struct{})}
}

func (g *registry) register(id, value string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.names = append(g.names, id)
	g.value[id] = value
	close(g.news)
	g.news = make(chan struct{})
}

func (g *registry) registered() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.names)
}

func (g *registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.asked = append(g.asked, r.Method+" "+r.URL.Path)
	size := g.size
	g.mu.Unlock()
	key := strings.TrimPrefix(r.URL.Path, tokenPath)
	switch {
	case size == "" || key == r.URL.Path:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"errorCode":100,"message":"Key not found","cause":"/_etcd/registry/token","index":153}`)
	case key == "/_config/size":
		g.show(w, map[string]any{"key": key, "value": size})
	case r.Method == "PUT":
		g.put(w, path.Base(key), r.FormValue("value"))
	case r.FormValue("wait") != "":
		g.watch(w, r)
	default:
		g.list(w)
	}
}

// watch tells of the registration that took waitIndex, or of the next one.
func (g *registry) watch(w http.ResponseWriter, r *http.Request) {
	var since int
	fmt.Sscan(r.FormValue("waitIndex"), &since)
	w.(http.Flusher).Flush()
	for {
		g.mu.Lock()
		index, news := 1000+len(g.names), g.news
		g.mu.Unlock()
		if index >= since {
			fmt.Fprintf(w, `{"action":"create","node":{"key":"/x","modifiedIndex":%d}}`, index)
			return
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}

// head sets the index: each registration takes one. g.mu must be held.
func (g *registry) head(w http.ResponseWriter) {
	w.Header().Set("X-Etcd-Index", fmt.Sprint(1000+len(g.names)))
}

func (g *registry) show(w http.ResponseWriter, node any) {
	g.mu.Lock()
	g.head(w)
	g.mu.Unlock()
	json.NewEncoder(w).Encode(map[string]any{"action": "get", "node": node})
}

func (g *registry) put(w http.ResponseWriter, id, value string) {
	g.mu.Lock()
	_, there := g.value[id]
	g.mu.Unlock()
	if there {
		w.WriteHeader(http.StatusPreconditionFailed)
		io.WriteString(w, `{"errorCode":105,"message":"Key already exists","cause":"/x","index":153}`)
		return
	}
	g.register(id, value)
	w.WriteHeader(http.StatusCreated)
	g.show(w, map[string]any{"key": id})
}

// list shows the youngest first, and what is not a member's.
func (g *registry) list(w http.ResponseWriter) {
	g.mu.Lock()
	nodes := []any{map[string]any{"key": tokenPath + "/_config", "dir": true, "createdIndex": 1}}
	for i := len(g.names) - 1; i >= 0; i-- {
		nodes = append(nodes, map[string]any{"key": tokenPath + "/" + g.names[i], "value": g.value[g.names[i]],
			"createdIndex": 10 + i})
	}
	g.head(w) // of this moment
	g.mu.Unlock()
	json.NewEncoder(w).Encode(map[string]any{"action": "get", "node": map[string]any{"key": "/", "dir": true,
		"nodes": nodes}})
}

// founder is a newcomer with a name and a peer URL.
func founder(i int) Newcomer {
	return testNewcomer(fmt.Sprint("m", i), fmt.Sprintf("http://127.0.0.1:%d", i+1)) // where nobody is
}

func TestFoundersFindEachOther(t *testing.T) {
	const size = 5
	token := serve(t, newRegistry(fmt.Sprint(size))) + tokenPath
	plans, errs := make([]Plan, size+2), make([]error, size+2)
	var all sync.WaitGroup
	for i := range plans {
		all.Go(func() { plans[i], errs[i] = founder(i).Token(t.Context(), token, nil) })
	}
	all.Wait()

	founders, proxies := 0, 0
	for i, p := range plans {
		switch {
		case errs[i] != nil || len(p.Cluster.Members) != size || p.Join || !reflect.DeepEqual(p.Cluster,
			plans[0].Cluster):
			t.Errorf("%v: %+v", errs[i], p)
		case p.Proxy:
			proxies++
		case p.Self.Name == fmt.Sprint("m", i) && p.Self.ID == MemberID(p.Self.PeerURLs, token):
			founders++
		}
	}
	if founders != size || proxies != 2 {
		t.Errorf("%d founders, %d proxies", founders, proxies)
	}
}

func TestALatecomerRegistersNothing(t *testing.T) {
	g := newRegistry("1")
	token := serve(t, g) + tokenPath

	first, err1 := founder(0).Token(t.Context(), token, nil)
	late, err2 := founder(1).Token(t.Context(), token, nil)

	if err1 != nil || err2 != nil || first.Proxy || !late.Proxy || late.Cluster.Members[0].ID != first.Self.ID ||
		g.registered() != 1 {
		t.Errorf("%v: %+v; %v: %+v; %d registered", err1, first, err2, late, g.registered())
	}
}

func TestWhoComesAgainHasTheSamePlace(t *testing.T) {
	g := newRegistry("2")
	token := serve(t, g) + tokenPath
	ctx, crash := context.WithCancel(t.Context())
	var log lines
	n := founder(0)
	n.Logger = slog.New(slog.NewTextHandler(&log, nil))
	log.onLine = func(string) { crash() } // as soon as it waits

	_, crashed := n.Token(ctx, token, nil)
	other := make(chan error, 1)
	go func() {
		_, err := founder(1).Token(t.Context(), token, nil)
		other <- err
	}()
	p, err := founder(0).Token(t.Context(), token, nil)

	if !errors.Is(crashed, context.Canceled) || err != nil || p.Self.Name != "m0" || <-other != nil ||
		g.registered() != 2 {
		t.Errorf("%v; %v: %+v; %d registered", crashed, err, p, g.registered())
	}
	if text := log.String(); !strings.Contains(text, "found 1 peer(s), waiting for 1 more") || !strings.Contains(text,
		"m0=http://127.0.0.1:1") {
		t.Errorf("the log: %s", text)
	}
}

// lines is a log that tells of each line.
type lines struct {
	mu     sync.Mutex
	text   strings.Builder
	onLine func(string)
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	l.onLine(string(p))
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// What a service says, or does not say, ends in one short line, and soon. pitfall K6
func TestABadServiceIsOneLine(t *testing.T) {
	elsewhere := serve(t,
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it followed a redirect") }))
	with := func(size string, registrations ...string) http.HandlerFunc {
		g := newRegistry(size)
		for _, r := range registrations {
			id, value, _ := strings.Cut(r, " ")
			g.register(id, value)
		}
		return g.ServeHTTP
	}
	refuse := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
		kind error
		text string
	}{
		{"no token", with(""), ErrNoToken,
			"failed to join discovery cluster (100: Key not found (/_etcd/registry/token) [153])"},
		{"no number", with("three"), ErrBadSize,
			`(discovery: size key is bad: want a number from 1 to 100, found "three")`},
		{"size 0", with("0"), ErrBadSize, `found "0")`},
		{"size 1000", with("1000"), ErrBadSize, `found "1000")`},
		{"a long size", with(strings.Repeat("1", 1<<19)), ErrBadSize, `1111…")`},
		{"an empty registration", with("1", "1 "), ErrRegistration, "want name=url"},
		{"a bad URL", with("1", "1 a=ftp://h:1"), ErrRegistration, "scheme"},
		{"lines", with("1", "1 a=ftp://h:1\nb"), ErrRegistration, "a registration"},
		{"two names", with("1", "1 a=http://h:1,b=http://h:2"), ErrRegistration, "holds 2 names"},
		{"another one's id", with("1", "1 a=http://h:1"), ErrRegistration, `"1" is not the id of "a=http://h:1"`},
		{"no JSON", refuse(200, "<secret>"), ErrBadEndpoint,
			"failed to join discovery cluster (discovery: bad discovery endpoint: not an answer of an etcd"},
		{"other JSON", refuse(200, `{"health":"true"}`), ErrBadEndpoint, "without a node"},
		{"no such page", refuse(404, "<secret>"), ErrBadEndpoint, "status 404 (Not Found)"},
		{"endless", endless, ErrBadEndpoint, "more than 1048576 bytes"},
		{"a redirect to itself",
			func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
			ErrBadEndpoint, "status 302 (Found)"},
		{"a redirect elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		}, ErrBadEndpoint, "status 307"},
		{"auth", refuse(401, `{"errorCode":110,"message":"The request requires user authentication","cause":"Insufficient credentials","index":0}`), ErrForbidden, "(discovery: the service refuses: 110: The request"},
		{"no leader", refuse(500,
			`{"errorCode":300,"message":"Raft Internal Error","cause":"etcdserver: request timed out","index":0}`),
			ErrService, "request timed out"},
		{"a gateway", refuse(502, "<secret>"), ErrService,
			"(discovery: the service does not answer: status 502 (Bad Gateway))"},
		{"breaks off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrService, "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			started := time.Now()

			p, err := testNewcomer("x", self).Token(t.Context(), serve(t, c.h)+tokenPath, nil)

			if !errors.Is(err, c.kind) || !strings.Contains(fmt.Sprint(err), c.text) || !reflect.DeepEqual(p, Plan{}) {
				t.Errorf("got  %v\nwant %s", err, c.text)
			}
			if text := fmt.Sprint(err); strings.Contains(text, "secret") || strings.Contains(text, "\n") ||
				len(text) > 500 {
				t.Errorf("%q", text)
			}
			if d := time.Since(started); d > time.Minute {
				t.Errorf("it took %v", d)
			}
		})
	}
}

func TestAServiceThatIsAwayIsWaitedFor(t *testing.T) {
	g := newRegistry("1")
	down := 3
	token := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down--; down >= 0 {
			http.Error(w, "", http.StatusServiceUnavailable)
			return
		}
		g.ServeHTTP(w, r)
	})) + tokenPath
	n := founder(0)
	n.timeout = time.Minute
	var log strings.Builder
	n.Logger = slog.New(slog.NewTextHandler(&log, nil))

	p, err := n.Token(t.Context(), token, nil)

	if err != nil || p.Self.Name != "m0" {
		t.Errorf("%v: %+v", err, p)
	}
	for _, want := range []string{"cluster status check: error connecting to 127.0.0.1:", "retrying in 1ms",
		"retrying in 2ms", "retrying in 4ms", "found 1 needed peer(s)"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is missing in the log:\n%s", want, &log)
		}
	}
}

func TestNobodyIsToFindANameTwice(t *testing.T) {
	g := newRegistry("2")
	token := serve(t, g) + tokenPath
	twin := founder(1)
	twin.Name = "m0"
	errs := make([]error, 2)
	var both sync.WaitGroup
	for i, n := range []Newcomer{founder(0), twin} {
		both.Go(func() { _, errs[i] = n.Token(t.Context(), token, nil) })
	}
	both.Wait()

	for _, err := range errs {
		if !errors.Is(err, ErrDuplicateName) || !strings.Contains(err.Error(), "token("+token+")") {
			t.Error(err)
		}
	}
}

func TestAPlaceKeepsItsName(t *testing.T) {
	g := newRegistry("1")
	token := serve(t, g) + tokenPath
	if _, err := founder(0).Token(t.Context(), token, nil); err != nil {
		t.Fatal(err)
	}
	renamed := founder(0)
	renamed.Name = "other"

	_, err := renamed.Token(t.Context(), token, nil)

	if !errors.Is(err, ErrRegistration) || !strings.Contains(err.Error(),
		`"m0=http://127.0.0.1:1", where "other=http://127.0.0.1:1" is to be`) {
		t.Error(err)
	}
}

// Who has registered and was active, and has no data any more, does not begin anew. pitfall D10
func TestARegisteredMemberThatLostItsDataIsRefused(t *testing.T) {
	c, a, _ := running(t)
	g := newRegistry("2")
	token := serve(t, g) + tokenPath
	n := founder(0)
	g.register(fmt.Sprintf("%x", MemberID(n.PeerURLs, token)), "m0="+n.PeerURLs[0])
	g.register(fmt.Sprintf("%x", MemberID([]string{a}, token)), "a="+a)
	m, err := Static("m0="+n.PeerURLs[0]+",a="+a, token)
	if err != nil {
		t.Fatal(err)
	}
	c.id, c.members = m.ClusterID, m.Members
	for i := range c.members {
		c.members[i].ClientURLs = []string{"http://10.0.0.9:2379"}
	}

	_, err = n.Token(t.Context(), token, nil)

	if !errors.Is(err, ErrActive) || !strings.Contains(err.Error(),
		`member "m0" has previously registered with discovery service token (`+token+")") {
		t.Error(err)
	}
}

func TestDiscoveryGoesThroughTheProxy(t *testing.T) {
	passed := make(chan string, 10)
	proxy := serve(t, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { passed <- r.In.URL.String() }})
	service := serve(t, newRegistry("1"))
	via, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}

	_, err = founder(0).Token(t.Context(), service+tokenPath, via)

	if err != nil || len(passed) < 3 ||
		<-passed != service+tokenPath+"/_config/size?quorum=false&recursive=false&sorted=false" {
		t.Errorf("%v, %d requests passed", err, len(passed))
	}
}

func TestADiscoveryURLHasATokenAndNothingElse(t *testing.T) {
	for text, want := range map[string]string{
		"http://h:1/v2/keys/t":         "",
		"https://discovery.etcd.io/t/": "",
		"http://h:1":                   "no token",
		"http://h:1/":                  "no token",
		"http://h:1/a/../b":            "no token",
		"http://h:1//t":                "no token",
		"h:1/t":                        "want a URL",
		"t":                            "want a URL",
		"http:///t":                    "want a URL",
		"http://[::1/t":                "want a URL",
		"ftp://h:1/t":                  "scheme",
		"http://u:secret@h:1/t":        "nothing in the URL but",
		"http://h:1/t?size=3":          "nothing in the URL but",
		"http://h:1/t#x":               "nothing in the URL but",
	} {
		_, err := ParseService(text)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
