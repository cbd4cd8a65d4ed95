package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "etcd2/e2e/pace" // -long
)

// A fake is a member: it answers /v2/members, and everything else by its handler.
type fake struct {
	*httptest.Server
	peers atomic.Pointer[[]*fake] // who it says the members are
	asked atomic.Int64            // besides for members
	serve http.HandlerFunc
}

// fakes returns n members that know each other.
func fakes(t *testing.T, n int, serve func(i int, w http.ResponseWriter, r *http.Request)) []*fake {
	t.Helper()
	var all []*fake
	for i := range n {
		f := &fake{serve: func(w http.ResponseWriter, r *http.Request) { serve(i, w, r) }}
		f.Server = httptest.NewServer(f)
		t.Cleanup(f.Close)
		all = append(all, f)
	}
	for _, f := range all {
		f.peers.Store(&all)
	}
	return all
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/members" && r.Method == "GET" && r.Header.Get("Via") == "" {
		type member struct {
			ID                   string `json:"id"`
			PeerURLs, ClientURLs []string
		}
		list := []member{}
		for i, p := range *f.peers.Load() {
			list = append(list, member{strconv.Itoa(i + 1), []string{p.URL}, []string{p.URL}})
		}
		json.NewEncoder(w).Encode(map[string]any{"members": list})
		return
	}
	f.asked.Add(1)
	f.serve(w, r)
}

// named returns a handler that answers with the member's number.
func named(i int, w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, i) }

// start starts a proxy of these members, and a server for it.
func start(t *testing.T, members []*fake, change ...func(*Config)) (*Proxy, *httptest.Server) {
	t.Helper()
	c := Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}
	for _, m := range members {
		c.Seeds = append(c.Seeds, m.URL)
	}
	for _, f := range change {
		f(&c)
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(p)
	t.Cleanup(func() { p.Close(); s.CloseClientConnections(); s.Close() })
	<-p.Asked()
	return p, s
}

type reply struct {
	status int
	header http.Header
	body   string
}

// ask sends a request; headers are alternating names and values.
func ask(t *testing.T, method, url, body string, headers ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !check(); {
		if time.Now().After(deadline) {
			t.Fatal("it never comes: " + what)
		}
		<-time.After(time.Millisecond)
	}
}

func TestKeysAreSpreadAndAllElseIsNot(t *testing.T) {
	members := fakes(t, 3, named)
	_, s := start(t, members)

	for range 30 {
		ask(t, "GET", s.URL+"/v2/keys/a", "")
	}
	for i, m := range members {
		if got := m.asked.Swap(0); got != 10 {
			t.Errorf("member %d was asked %d times", i, got)
		}
	}
	first := ask(t, "GET", s.URL+"/v2/stats/self", "").body
	for range 10 {
		if got := ask(t, "POST", s.URL+"/v2/members", "x").body; got != first {
			t.Errorf("%s after %s", got, first)
		}
	}
}

// pitfall J14
func TestHeadersOfOneHopStayThere(t *testing.T) {
	var got http.Header
	var target, host, body string
	members := fakes(t, 1, func(_ int, w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, target, host, body = r.Header, r.RequestURI, r.Host, string(b)
		for _, name := range []string{"Keep-Alive", "Proxy-Authenticate", "X-Etcd-Index", "X-Mine"} {
			w.Header().Set(name, "7")
		}
		w.Header().Set("Connection", "X-Mine")
		w.WriteHeader(412)
	})
	p, s := start(t, members)

	const path = "/v2/keys/a%2Fb%20c?x=%zz&a=1;b=2&prevValue="
	answer := ask(t, "PUT", s.URL+path, "value=1", "Connection", "X-Hop", "X-Hop", "1", "Proxy-Authorization", "1",
		"Te", "trailers",
		"Trailers", "1", "Keep-Alive", "1", "Upgrade", "x", "Authorization", "Basic x", "Content-Type", "a/b", "X-Forwarded-For", "10.0.0.1", "Via", "1.0 other")

	if answer.status != 412 || answer.header.Get("X-Etcd-Index") != "7" || target != path || body != "value=1" ||
		host != strings.TrimPrefix(members[0].URL, "http://") {
		t.Errorf("%+v; %s %s %q", answer, target, host, body)
	}
	for _, name := range []string{"Keep-Alive", "Proxy-Authenticate", "X-Mine"} {
		if answer.header.Get(name) != "" {
			t.Errorf("the answer has %s", name)
		}
	}
	for name, want := range map[string]string{
		"X-Hop": "", "Proxy-Authorization": "", "Te": "", "Trailers": "", "Keep-Alive": "", "Upgrade": "",
		"Connection":    "",
		"Authorization": "Basic x", "Content-Type": "a/b", "X-Forwarded-For": "10.0.0.1, 127.0.0.1",
		"Via": "1.0 other, 1.1 " + p.name,
	} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
}

// pitfalls J14, K6
func TestRedirectsAreNotFollowed(t *testing.T) {
	members := fakes(t, 1, func(_ int, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	_, s := start(t, members)

	if a := ask(t, "GET", s.URL+"/v2/keys/a", ""); a.status != 307 || a.header.Get("Location") != "/elsewhere" ||
		members[0].asked.Load() != 1 {
		t.Errorf("%+v", a)
	}
}

// breaks is a handler that closes the connection when it has got the request.
func breaks(w http.ResponseWriter) { panic(http.ErrAbortHandler) }

func TestOnlyWhatMayBeExecutedTwiceIsSentTwice(t *testing.T) {
	for _, c := range []struct {
		method, name string
		status       int
		asked        int64
	}{
		{"GET", "", 200, 2}, {"HEAD", "", 200, 2}, {"PUT", "n", 200, 2},
		{"PUT", "", 502, 1}, {"POST", "", 502, 1}, {"DELETE", "", 502, 1},
	} {
		var asked atomic.Int64
		members := fakes(t, 2, func(_ int, w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) == 1 {
				breaks(w)
			}
		})
		_, s := start(t, members)

		a := ask(t, c.method, s.URL+"/v2/keys/a", "", "X-Etcd-Request-Id", c.name)

		if a.status != c.status || asked.Load() != c.asked {
			t.Errorf("%+v: status %d, asked %d times", c, a.status, asked.Load())
		}
		if c.status == 502 && a.body != `{"message":"proxy: unable to get response from 1 endpoint(s)"}` {
			t.Error(a.body)
		}
	}
}

// Each try carries the index that was known before the first try. A try that is refused for its age
// is repeated, unless another try may have been executed (pitfall L8).
func TestEveryTryCarriesTheIndexOfTheFirst(t *testing.T) {
	for _, c := range []struct {
		name, index string
		broken      int64 // how many tries end without an answer
		status      int
		log         string
	}{
		{"executed", "", 1, 200, "70 70"}, {"may have been executed", "", 1, 410, "70 70"},
		{"not executed", "", 0, 200, "70 90"}, {"with the client's index", "60", 0, 410, "60"},
	} {
		var log []string
		var tries atomic.Int64
		members := fakes(t, 2, func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.Method == "GET" {
				w.Header().Set("X-Raft-Index", "70")
				return
			}
			log = append(log, r.Header.Get("X-Etcd-Request-Index"))
			switch {
			case tries.Add(1) <= c.broken:
				breaks(w)
			case c.name != "executed" && log[len(log)-1] != "90":
				w.Header().Set("X-Raft-Index", "90")
				w.WriteHeader(410)
			}
		})
		_, s := start(t, members)
		ask(t, "GET", s.URL+"/v2/keys/a", "")

		a := ask(t, "PUT", s.URL+"/v2/keys/a", "", "X-Etcd-Request-Id", "n", "X-Etcd-Request-Index", c.index)

		if got := strings.Join(log, " "); a.status != c.status || got != c.log {
			t.Errorf("%s: status %d, after %s", c.name, a.status, got)
		}
	}
}

func TestAWriteGoesToAnotherEndpointWhenNobodyHasGotIt(t *testing.T) {
	var bodies sync.Map
	members := fakes(t, 3, func(i int, w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies.Store(string(b), i)
		if i == 1 {
			w.WriteHeader(503) // it is starting
		}
	})
	p, s := start(t, members)
	members[0].Close()

	for i := range 9 {
		if a := ask(t, "PUT", s.URL+"/v2/keys/a", fmt.Sprint("value=", i)); a.status != 200 {
			t.Errorf("%+v", a)
		}
		if got, _ := bodies.Load(fmt.Sprint("value=", i)); got != 2 {
			t.Errorf("write %d was executed by %v", i, got)
		}
	}
	if got := p.endpoints.urls(); len(got) != 2 {
		t.Errorf("available: %q", got)
	}
	a := ask(t, "GET", s.URL+localPath, "")
	if a.status != 200 || !strings.HasPrefix(a.body, `{"endpoints":["http://127.0.0.1:`) || !strings.HasSuffix(a.body,
		"\"]}\n") || a.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%+v", a)
	}
}

// An endpoint that has failed is not tried for a while, and none is forgotten.
func TestTheLastEndpointIsNeverDropped(t *testing.T) {
	members := fakes(t, 2, named)
	p, s := start(t, members, func(c *Config) { c.FailureWait = time.Hour })
	address := members[0].Listener.Addr().String()
	for _, m := range members {
		m.Close()
	}

	first, second := ask(t, "PUT", s.URL+"/v2/keys/a", "value=1"), ask(t, "PUT", s.URL+"/v2/keys/a", "value=1")

	if first.status != 502 || first.body != `{"message":"proxy: unable to get response from 2 endpoint(s)"}` {
		t.Errorf("%+v", first)
	}
	if second.status != 503 || second.body != `{"message":"proxy: zero endpoints currently available"}` ||
		second.header.Get("Content-Type") != "application/json" {
		t.Errorf("%+v", second)
	}
	if a := ask(t, "GET", s.URL+localPath, ""); a.body != "{\"endpoints\":[]}\n" || p.Ill() == "" {
		t.Errorf("%+v, and ill: %q", a, p.Ill())
	}
	if p.endpoints.set(nil, nil) || p.endpoints.set([]string{"ftp://x", "http://", "http://u:p@h:1", "http://h:1/path"},
		nil) {
		t.Error("nothing has taken the place of endpoints")
	}

	again := &fake{serve: func(w http.ResponseWriter, r *http.Request) { named(7, w, r) }}
	again.Server = &httptest.Server{Listener: listen(t, address), Config: &http.Server{Handler: again}}
	again.peers.Store(&members)
	again.Start()
	defer again.Close()
	if a := ask(t, "PUT", s.URL+"/v2/keys/a", "value=1"); a.status != 200 || a.body != "7" || p.Ill() != "" {
		t.Errorf("%+v, and ill: %q", a, p.Ill())
	}
}

// A member that hangs keeps the requests that it has, and gets no others.
func TestOthersArePreferredToAMemberThatHangs(t *testing.T) {
	var hangs atomic.Int64
	hangs.Store(-1)
	free := make(chan struct{})
	members := fakes(t, 2, func(i int, w http.ResponseWriter, r *http.Request) {
		if hangs.CompareAndSwap(-1, int64(i)) {
			<-free
		}
		named(i, w, r)
	})
	p, s := start(t, members, func(c *Config) { c.FailureWait = time.Hour })
	p.slowAfter = time.Millisecond
	stuck := make(chan reply)
	go func() { stuck <- ask(t, "PUT", s.URL+"/v2/keys/a", "value=1") }()
	eventually(t, "one is left alone", func() bool { return len(p.endpoints.urls()) == 1 })
	p.slowAfter = slowAfter // the other one may be slow

	for range 4 {
		if a := ask(t, "GET", s.URL+"/v2/keys/a", ""); a.body == fmt.Sprint(hangs.Load()) {
			t.Errorf("%+v", a)
		}
	}
	close(free)
	if a := <-stuck; a.status != 200 || len(p.endpoints.urls()) != 2 {
		t.Errorf("%+v", a)
	}
}

// A member that waits for as long as its client has asked does not hang, and its answer is final:
// no other member is asked, even if it has shown a newer tree.
func TestAPollWithATimeoutDoesNotCountAsHanging(t *testing.T) {
	free, began := make(chan struct{}), make(chan int, 2)
	members := fakes(t, 2, func(i int, w http.ResponseWriter, r *http.Request) {
		if agent := r.Header.Get("User-Agent"); agent == "7" {
			w.Header().Set("X-Etcd-Index", agent)
			return
		}
		began <- i
		<-free
		w.Header().Set("X-Etcd-Index", "5")
		w.WriteHeader(http.StatusNoContent)
	})
	p, s := start(t, members)
	answers := make(chan reply)
	asked := func() int64 { return members[0].asked.Load() + members[1].asked.Load() }
	ask(t, "GET", s.URL+"/v2/keys/a", "", "User-Agent", "7")
	p.slowAfter = time.Millisecond
	go func() { answers <- ask(t, "GET", s.URL+"/v2/keys/a?wait=true&timeout=1000", "") }()
	eventually(t, "one waits", func() bool { return asked() == 2 })

	go func() { answers <- ask(t, "PUT", s.URL+"/v2/keys/a", "value=1") }()
	waits, hangs := members[0].URL, members[1].URL
	if got := <-began; got == 1 {
		waits, hangs = hangs, waits
	}
	<-began
	eventually(t, "the other one hangs", func() bool { return !slices.Contains(p.endpoints.urls(), hangs) })
	if !slices.Contains(p.endpoints.urls(), waits) {
		t.Errorf("%q and not %s", p.endpoints.urls(), waits)
	}
	close(free)

	for range 2 {
		if a := <-answers; a.status != 204 || a.header.Get("X-Etcd-Index") != "5" {
			t.Errorf("%+v", a)
		}
	}
	if asked() != 3 {
		t.Errorf("%d requests", asked())
	}
}

func listen(t *testing.T, address string) (l net.Listener) {
	t.Helper()
	eventually(t, "the address is free", func() (free bool) {
		var err error
		l, err = net.Listen("tcp", address)
		return err == nil
	})
	return l
}

func TestAProxyWithoutMembersSaysSo(t *testing.T) {
	_, s := start(t, nil, func(c *Config) { c.Seeds = []string{"http://127.0.0.1:1"} })

	if a := ask(t, "GET", s.URL+"/v2/keys/a", ""); a.status != 503 ||
		a.body != `{"message":"proxy: zero endpoints currently available"}` {
		t.Errorf("%+v", a)
	}
	if a := ask(t, "PUT", s.URL+localPath, ""); a.status != 405 || a.header.Get("Allow") != "GET" {
		t.Errorf("%+v", a)
	}
}

// pitfall J14
func TestAProxyNeverForwardsToItself(t *testing.T) {
	handler := new(atomic.Pointer[Proxy])
	itself := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().ServeHTTP(w, r) }))
	defer itself.Close()
	members := fakes(t, 1, named)
	list := []*fake{members[0], {Server: itself}}
	members[0].peers.Store(&list)
	p, s := start(t, members)
	handler.Store(p)

	for range 4 {
		if a := ask(t, "GET", s.URL+"/v2/keys/a", ""); a.status != 200 || a.body != "0" {
			t.Errorf("%+v", a)
		}
	}
	if got := p.endpoints.urls(); len(got) != 1 || got[0] != members[0].URL {
		t.Errorf("available: %q", got)
	}
	if p.endpoints.set([]string{itself.URL}, []string{itself.URL}) {
		t.Error("its own URL is an endpoint")
	}
	if a := ask(t, "GET", s.URL+"/v2/keys/a", "", "Via", "1.1 "+p.name); a.status != 508 || !strings.Contains(a.body,
		"come from this proxy already") {
		t.Errorf("%+v", a)
	}
}

func TestTwoProxiesThatPointAtEachOtherEnd(t *testing.T) {
	var servers [2]*httptest.Server
	var proxies [2]*Proxy
	members := fakes(t, 1, named)
	for i := range 2 {
		proxies[i], servers[i] = start(t, members)
	}
	for i := range 2 {
		proxies[i].endpoints.set([]string{servers[1-i].URL}, nil)
	}

	if a := ask(t, "PUT", servers[0].URL+"/v2/keys/a", "value=1"); a.status != 508 || !strings.Contains(a.body,
		"leads to a proxy") {
		t.Errorf("%+v", a)
	}
}

func TestTheMembershipIsFollowedAndRemembered(t *testing.T) {
	members := fakes(t, 4, named)
	old, young := members[:2], members[2:]
	for _, m := range members {
		m.peers.Store(&old)
	}
	dir := t.TempDir()
	p, s := start(t, old, func(c *Config) { c.Dir, c.RefreshInterval = dir, 5*time.Millisecond })
	file := filepath.Join(dir, "proxy", "cluster")
	holds := func(list []*fake) func() bool {
		return func() bool {
			known, err := Remembered(dir)
			return err == nil && len(known) == 2 && strings.Contains(strings.Join(known, " "), list[0].URL) &&
				strings.Contains(strings.Join(known, " "), list[1].URL)
		}
	}
	eventually(t, "the first members are remembered", holds(old))
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v: %v", err, info.Mode())
	}

	for _, m := range members {
		m.peers.Store(&young)
	}
	eventually(t, "the new members are remembered", holds(young))
	for _, m := range old {
		m.Close()
	}
	if a := ask(t, "PUT", s.URL+"/v2/keys/a", ""); a.body != "2" && a.body != "3" {
		t.Errorf("%+v", a)
	}
	p.Close()

	_, s = start(t, nil, func(c *Config) { c.Dir = dir })
	if a := ask(t, "PUT", s.URL+"/v2/keys/a", ""); a.status != 200 {
		t.Errorf("after a restart: %+v", a)
	}
	if b, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(b), `{"PeerURLs":["http://127.0.0.1:`) {
		t.Errorf("%v: %s", err, b)
	}
}

func TestADamagedFileIsOneLine(t *testing.T) {
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "proxy"), 0o700)
	os.WriteFile(filepath.Join(dir, "proxy", "cluster"), []byte(`{"PeerURLs"`), 0o600)

	if _, err := New(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "delete it") ||
		strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}

// A client does not see the tree of a member that is behind after that of another one.
func TestNoClientSeesAnOlderTree(t *testing.T) {
	var index [3]atomic.Int64
	members := fakes(t, 3, func(i int, w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			index[i].Add(1)
		}
		w.Header().Set("X-Etcd-Index", fmt.Sprint(index[i].Load()))
	})
	_, s := start(t, members)
	for round := range int64(20) {
		for i := range index {
			index[i].Store(10 * (round + 1))
		}
		written := ask(t, "PUT", s.URL+"/v2/keys/a", "value=1").header.Get("X-Etcd-Index")
		for range 3 {
			if got := ask(t, "GET", s.URL+"/v2/keys/a", "").header.Get("X-Etcd-Index"); got != written {
				t.Fatalf("round %d: wrote %s, read %s", round, written, got)
			}
		}
	}
}

// After a restore the indices are smaller, and they count.
func TestSmallerIndicesOfANewHistoryCount(t *testing.T) {
	var index atomic.Int64
	members := fakes(t, 1, func(_ int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Etcd-Index", fmt.Sprint(index.Load()))
	})
	p, s := start(t, members)
	for _, now := range []int64{100, 3, 4} {
		index.Store(now)
		ask(t, "GET", s.URL+"/v2/keys/a", "")
		if got, _ := p.endpoints.newest(); got != uint64(now) {
			t.Errorf("the newest is %d, want %d", got, now)
		}
	}
}

// The first endpoint has all changes of users that were made through this proxy; others may lag.
func TestAUserThatAMemberDoesNotKnowYetIsNotRefused(t *testing.T) {
	var knows atomic.Int64
	members := fakes(t, 3, func(i int, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/auth/users/u" {
			knows.Store(int64(i))
		} else if int(knows.Load()) != i {
			w.WriteHeader(401)
		}
	})
	_, s := start(t, members)
	ask(t, "PUT", s.URL+"/v2/auth/users/u", "{}")

	for range 6 {
		if a := ask(t, "PUT", s.URL+"/v2/keys/a", "value=1"); a.status != 200 {
			t.Errorf("%+v", a)
		}
	}
}

// Members with https peer URLs may advertise http client URLs all the same.
func TestAPasswordIsNotForwardedOutOfTLS(t *testing.T) {
	var leaked, served atomic.Int64
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header["Authorization"]) > 0 || r.URL.Path == "/v2/auth/users/u" {
			leaked.Add(1)
		}
		served.Add(1)
		w.WriteHeader(401) // which has a request sent on, too
	}))
	defer plain.Close()
	advertised := []string{plain.URL}
	var secure *httptest.Server
	secure = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Via") != "" {
			w.Header().Set("X-Etcd-Index", "5")
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"members": []any{map[string]any{
			"id": "1", "peerURLs": []string{secure.URL}, "clientURLs": advertised}}})
	}))
	defer secure.Close()
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return (&tls.Dialer{Config: secure.Client().Transport.(*http.Transport).TLSClientConfig}).DialContext(ctx,
			network, address)
	}
	given := func(c *Config) { c.Seeds, c.DialTLS, c.PeerDialTLS = []string{secure.URL}, dial, dial }

	_, s := start(t, nil, given)
	a := ask(t, "GET", s.URL+"/v2/keys/a", "", "Authorization", "Basic cm9vdDpwdw==")
	b := ask(t, "PUT", s.URL+"/v2/auth/users/u", `{"user":"u","password":"pw"}`)
	ask(t, "GET", s.URL+"/v2/keys/a", "")
	advertised = append(advertised, secure.URL)
	_, s = start(t, nil, given)
	for range 4 {
		if a := ask(t, "GET", s.URL+"/v2/keys/a", "", "Authorization", "Basic cm9vdDpwdw=="); a.status != 200 {
			t.Errorf("%+v", a)
		}
	}

	if a.status != 503 || b.status != 503 || !strings.Contains(a.body, "https only") || leaked.Load() > 0 ||
		served.Load() == 0 {
		t.Errorf("%+v, %+v, %d of %d requests had a password", a, b, leaked.Load(), served.Load())
	}
}

// A wait is a watch that a client has begun.
type wait struct {
	body   *bufio.Reader
	header http.Header
	cancel context.CancelFunc
}

func watch(t *testing.T, url string, headers ...string) *wait {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &wait{bufio.NewReader(resp.Body), resp.Header, cancel}
}

// watched is a member whose watches get what is sent on the channel, and end when it is closed.
func watched(t *testing.T) (m *fake, events chan string, open *atomic.Int64) {
	events, open = make(chan string), new(atomic.Int64)
	m = fakes(t, 1, func(_ int, w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Add(-1)
		w.Header().Set("X-Etcd-Index", "5")
		w.(http.Flusher).Flush()
		for {
			select {
			case e, more := <-events:
				if !more {
					return
				}
				io.WriteString(w, e)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})[0]
	return m, events, open
}

func TestAWatchSendsItsHeadAndEveryEventAtOnce(t *testing.T) {
	m, events, open := watched(t)
	_, s := start(t, []*fake{m})
	w := watch(t, s.URL+"/v2/keys/a?wait=true&stream=true&waitIndex=3") // returns when the head is there

	if w.header.Get("X-Etcd-Index") != "5" {
		t.Error(w.header)
	}
	for i := range 3 {
		events <- fmt.Sprintln("event", i)
		if line, err := w.body.ReadString('\n'); err != nil || line != fmt.Sprintln("event", i) {
			t.Fatalf("%q %v", line, err)
		}
	}
	w.cancel()
	eventually(t, "the member's watch ends with its client", func() bool { return open.Load() == 0 })
}

func TestAWatchEndsWithTheProxy(t *testing.T) {
	for _, query := range []string{"wait=true", "wait=true&waitIndex=7"} {
		m, _, open := watched(t)
		p, s := start(t, []*fake{m})
		w := watch(t, s.URL+"/v2/keys/a?"+query)

		p.Close()

		if _, err := w.body.ReadByte(); err == nil {
			t.Error("an event that never was")
		}
		eventually(t, "the member's watch ends", func() bool { return open.Load() == 0 })
	}
}

func TestIdenticalLongPollsShareOneWatch(t *testing.T) {
	m, events, open := watched(t)
	p, s := start(t, []*fake{m})
	var all []*wait
	for range 50 {
		all = append(all, watch(t, s.URL+"/v2/keys/a?wait=true&recursive=true&waitIndex=7"))
	}
	if open.Load() != 1 || m.asked.Load() != 1 || p.polls.count() != 1 {
		t.Errorf("%d watches, %d requests", open.Load(), m.asked.Load())
	}
	all[0].cancel() // the one that began it

	events <- "half of "
	late := watch(t, s.URL+"/v2/keys/a?wait=true&recursive=true&waitIndex=7")
	events <- "it\n"
	close(events)
	for _, w := range append(all[1:], late) {
		if b, err := io.ReadAll(w.body); err != nil || string(b) != "half of it\n" ||
			w.header.Get("X-Etcd-Index") != "5" {
			t.Fatalf("%q %v %v", b, err, w.header)
		}
	}
	eventually(t, "nothing is kept", func() bool { return p.polls.count() == 0 })
}

func TestASharedWatchEndsWithItsLastClient(t *testing.T) {
	m, _, open := watched(t)
	_, s := start(t, []*fake{m})
	var all []*wait
	for range 3 {
		all = append(all, watch(t, s.URL+"/v2/keys/a?wait=true&waitIndex=7"))
	}
	all[0].cancel()
	all[1].cancel()
	again := watch(t, s.URL+"/v2/keys/a?wait=true&waitIndex=7")
	if open.Load() != 1 || m.asked.Load() != 1 {
		t.Errorf("%d watches, %d requests", open.Load(), m.asked.Load())
	}
	all[2].cancel()
	again.cancel()
	eventually(t, "the member's watch ends", func() bool { return open.Load() == 0 })
}

func TestOnlyWhatIsTheSameForAllIsShared(t *testing.T) {
	const poll = "/v2/keys/a?wait=true&waitIndex=7"
	for _, c := range []struct {
		path    string
		headers []string
		shared  bool
	}{
		{poll, nil, true},
		{poll + "&stream=false", nil, false},             // another text
		{"/v2/keys/b?wait=true&waitIndex=7", nil, false}, // another key
		{poll, []string{"Authorization", "Basic x"}, false},
		{poll, []string{"User-Agent", "another"}, true},
	} {
		m, _, open := watched(t)
		_, s := start(t, []*fake{m})
		watch(t, s.URL+poll)
		watch(t, s.URL+c.path, c.headers...)

		if got := open.Load() == 1; got != c.shared {
			t.Errorf("%+v: shared is %v", c, got)
		}
	}
	for _, path := range []string{
		"/v2/keys/a?wait=true", "/v2/keys/a?wait=true&waitIndex=0", "/v2/keys/a?wait=true&waitIndex=x",
		"/v2/keys/a?wait=true&waitIndex=7&stream=true", "/v2/keys/a?waitIndex=7",
		"/v2/keys/a?wait=true&waitIndex=7&timeout=9", "/v2/stats/self?wait=true&waitIndex=7",
	} {
		if got := shared(httptest.NewRequest("GET", path, nil)); got != "" {
			t.Errorf("%s is shared", path)
		}
	}
	if shared(httptest.NewRequest("GET", poll, strings.NewReader("stream=true"))) != "" ||
		shared(httptest.NewRequest("PUT", poll, nil)) != "" {
		t.Error("what has a body, or writes, is shared")
	}
	r := httptest.NewRequest("GET", poll, nil)
	if r.Header.Set("Accept", "text/event-stream"); shared(r) != "" {
		t.Error("server-sent events are shared")
	}
}

func TestASlowReaderOfASharedWatchHarmsNobodyElse(t *testing.T) {
	m, events, _ := watched(t)
	_, s := start(t, []*fake{m})
	const path = "/v2/keys/a?wait=true&waitIndex=7"
	slow, quick := watch(t, s.URL+path), watch(t, s.URL+path)

	large := strings.Repeat("x", 32<<20) // more than all buffers on the way hold
	go func() { events <- large; close(events) }()
	if b, err := io.ReadAll(quick.body); err != nil || len(b) != len(large) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if b, err := io.ReadAll(slow.body); err != nil || len(b) != len(large) {
		t.Errorf("the slow one: %d bytes, %v", len(b), err)
	}
}

func TestATimeLimitEndsASilentConnection(t *testing.T) {
	m, _, open := watched(t)
	_, s := start(t, []*fake{m}, func(c *Config) { c.ReadTimeout = 500 * time.Millisecond })
	w := watch(t, s.URL+"/v2/keys/a?wait=true")

	if _, err := io.ReadAll(w.body); err == nil {
		t.Error("it has an end of its own")
	}
	eventually(t, "the member's watch ends", func() bool { return open.Load() == 0 })
}

func TestATryWithoutAnAnswerIsBounded(t *testing.T) {
	hangs := Dial(func(ctx context.Context, network, address string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	p, s := start(t, fakes(t, 1, named), func(c *Config) { c.DialTLS, c.DialTimeout = hangs, 20*time.Millisecond })
	p.endpoints.set([]string{"https://127.0.0.1:1"}, nil)

	if a := ask(t, "PUT", s.URL+"/v2/keys/a", "value=1"); a.status != 502 || !strings.Contains(a.body,
		"from 1 endpoint") {
		t.Errorf("%+v", a)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestABodyThatCannotBeReadIsReported(t *testing.T) {
	p, _ := start(t, fakes(t, 1, named))
	w := httptest.NewRecorder()

	p.ServeHTTP(w, httptest.NewRequest("PUT", "/v2/keys/a", failing{}))

	if w.Code != 500 || w.Body.String() != `{"message":"proxy: failed to read request body: unexpected EOF"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// noted is a connection that records the deadlines.
type noted struct {
	net.Conn
	read, write int
}

func (c *noted) Read(b []byte) (int, error)         { return 0, io.EOF }
func (c *noted) Write(b []byte) (int, error)        { return len(b), nil }
func (c *noted) SetReadDeadline(time.Time) error    { c.read++; return nil }
func (c *noted) SetWriteDeadline(t time.Time) error { c.write++; return nil }

// An idle connection is read all the time: that wait before a request does not count against the
// time limit of the answer.
func TestAnAnswerHasTheWholeTimeLimit(t *testing.T) {
	inner := &noted{}
	c := &timedConn{inner, time.Second, time.Second}

	c.Write([]byte("request"))

	if inner.read != 1 || inner.write != 1 {
		t.Errorf("%d deadlines for reading, %d for writing", inner.read, inner.write)
	}
	unlimited := &noted{}
	c = &timedConn{unlimited, 0, 0}
	c.Write([]byte("request"))
	c.Read(nil)
	if unlimited.read+unlimited.write != 0 {
		t.Errorf("%+v", unlimited)
	}
}
