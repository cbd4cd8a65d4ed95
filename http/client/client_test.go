package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	_ "etcd2/e2e/pace" // -long
	"etcd2/e2e/pipes"
)

// serve returns the URL of a server.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// nobody is a URL that nothing listens on.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// newClient returns a client that asks in order.
func newClient(t *testing.T, cfg Config, endpoints ...string) *Client {
	t.Helper()
	cfg.InOrder, cfg.Endpoints = true, endpoints
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.pause = time.Millisecond
	t.Cleanup(c.Close)
	return c
}

// inMemory makes the client connect to listeners of package pipes.
func inMemory(c *Client) *Client {
	c.transport.DialContext = pipes.Dial
	return c
}

// get is what a member answers to a GET of /k.
const get = `{"action":"get","node":{"key":"/k","value":"v","modifiedIndex":7,"createdIndex":6}}` + "\n"

func well(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Etcd-Index", "9")
	io.WriteString(w, get)
}

func refusing(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// hangUp reads the request and closes the connection.
func hangUp(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	panic(http.ErrAbortHandler)
}

func endless(w http.ResponseWriter, r *http.Request) {
	piece := bytes.Repeat([]byte(" "), 1<<16)
	for r.Context().Err() == nil {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

// silent sends nothing until the client closes the connection.
func silent(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// counting counts the requests.
func counting(n *atomic.Int64, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h(w, r)
	}
}

func TestAKeyIsOneKey(t *testing.T) {
	for key, want := range map[string]string{
		"":              "/v2/keys",
		"/":             "/v2/keys/",
		"k":             "/v2/keys/k",
		"/a//b":         "/v2/keys/a/b",
		"/a/":           "/v2/keys/a/",
		"/a%2Fb":        "/v2/keys/a%2Fb",
		"/a?wait=true":  "/v2/keys/a?wait=true",
		"/a#b;c&d+e=f":  "/v2/keys/a#b;c&d+e=f",
		"/two words\n":  "/v2/keys/two words\n",
		"/größe/☃":      "/v2/keys/größe/☃",
		"/\x00\xff":     "/v2/keys/\x00\xff",
		"/...":          "/v2/keys/...",
		"/http://h:1/x": "/v2/keys/http:/h:1/x",
	} {
		var asked *url.URL
		c := newClient(t, Config{},
			serve(t, func(w http.ResponseWriter, r *http.Request) { asked = r.URL; well(w, r) }))

		_, err := c.Get(t.Context(), key, GetOptions{})

		if err != nil || asked.Path != want || asked.RawQuery != "quorum=false&recursive=false&sorted=false" {
			t.Errorf("%q: %v, asked for %v", key, err, asked)
		}
	}
}

func TestNoKeyLeadsOutOfTheTree(t *testing.T) {
	var asked atomic.Int64
	c := newClient(t, Config{}, serve(t, counting(&asked, well)))
	for _, key := range []string{"..", "/a/../b", "/./a", "/a/.."} {
		_, err := c.Set(t.Context(), key, "v", SetOptions{})
		_, watched := c.Watch(key, WatchOptions{}).Next(t.Context())

		if !errors.Is(err, ErrBadKey) || !errors.Is(watched, ErrBadKey) || asked.Load() > 0 {
			t.Errorf("%q: %v, %v, %d requests", key, err, watched, asked.Load())
		}
	}
}

func TestEveryOptionIsSent(t *testing.T) {
	minute := 59*time.Second + time.Millisecond
	is := Condition{Value: "old & new", Index: 5}
	for want, call := range map[string]func(c *Client, ctx context.Context) (*Response, error){
		"GET quorum=false&recursive=false&sorted=false": func(c *Client, ctx context.Context) (*Response,
			error) {
			return c.Get(ctx, "/k", GetOptions{})
		},
		"GET after=b%2Bc&count=true&depth=2&keysOnly=true&limit=5&prefix=b&quorum=false&recursive=false&sorted=false": func(c *Client, ctx context.Context) (*Response, error) {
			return c.Get(ctx, "/k", GetOptions{Limit: 5, After: "b+c", Prefix: "b", KeysOnly: true,
				Count: true, Depth: 2})
		},
		"GET minIndex=3&quorum=true&recursive=true&sorted=true": func(c *Client, ctx context.Context) (*Response,
			error) {
			return c.Get(ctx, "/k", GetOptions{Recursive: true, Sorted: true, Quorum: true, MinIndex: 3})
		},
		"PUT  value=v": func(c *Client, ctx context.Context) (*Response,
			error) {
			return c.Set(ctx, "/k", "v", SetOptions{})
		},
		"PUT noValueOnSuccess=true ttl=60&value= id=name": func(c *Client, ctx context.Context) (*Response, error) {
			return c.Set(ctx, "/k", "", SetOptions{TTL: minute, NoValueOnSuccess: true, RequestID: "name"})
		},
		"PUT prevExist=false value=v": func(c *Client, ctx context.Context) (*Response, error) {
			return c.Create(ctx, "/k", "v", SetOptions{})
		},
		"PUT prevExist=true value=v": func(c *Client, ctx context.Context) (*Response, error) {
			return c.Update(ctx, "/k", "v", SetOptions{TTL: -1})
		},
		"POST  ttl=1&value=v": func(c *Client, ctx context.Context) (*Response, error) {
			return c.CreateInOrder(ctx, "/k", "v", SetOptions{TTL: 1})
		},
		"PUT prevIndex=5 prevValue=old+%26+new&value=v": func(c *Client, ctx context.Context) (*Response, error) {
			return c.CompareAndSwap(ctx, "/k", "v", is, SetOptions{})
		},
		"PUT dir=true&prevExist=false ttl=60": func(c *Client, ctx context.Context) (*Response, error) {
			return c.Mkdir(ctx, "/k", SetOptions{TTL: minute})
		},
		"PUT prevExist=true&refresh=true ttl=60": func(c *Client, ctx context.Context) (*Response, error) {
			return c.Refresh(ctx, "/k", minute, SetOptions{})
		},
		"DELETE ": func(c *Client, ctx context.Context) (*Response,
			error) {
			return c.Delete(ctx, "/k", DeleteOptions{})
		},
		"DELETE prevIndex=5&prevValue=old+%26+new  id=name": func(c *Client, ctx context.Context) (*Response, error) {
			return c.CompareAndDelete(ctx, "/k", is, DeleteOptions{RequestID: "name"})
		},
		"DELETE dir=true": func(c *Client, ctx context.Context) (*Response,
			error) {
			return c.Rmdir(ctx, "/k", DeleteOptions{})
		},
		"DELETE recursive=true": func(c *Client, ctx context.Context) (*Response, error) {
			return c.Delete(ctx, "/k", DeleteOptions{Recursive: true})
		},
	} {
		var got string
		c := newClient(t, Config{}, serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got = strings.TrimRight(r.Method+" "+r.URL.RawQuery+" "+string(body), " ")
			if id := r.Header.Get("X-Etcd-Request-Id"); id != "" {
				got += " id=" + id
			}
			well(w, r)
		}))

		resp, err := call(c, t.Context())

		if err != nil || resp.Index != 9 || strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want),
			" ") {
			t.Errorf("%v, %v\ngot  %s\nwant %s", resp, err, got, want)
		}
	}
}

func TestAComparisonWithNothingIsNoWrite(t *testing.T) {
	var asked atomic.Int64
	c := newClient(t, Config{}, serve(t, counting(&asked, well)))

	_, swap := c.CompareAndSwap(t.Context(), "/k", "v", Condition{}, SetOptions{})
	_, del := c.CompareAndDelete(t.Context(), "/k", Condition{}, DeleteOptions{})

	if !errors.Is(swap, ErrNoCondition) || !errors.Is(del, ErrNoCondition) || asked.Load() > 0 {
		t.Errorf("%v, %v, %d requests", swap, del, asked.Load())
	}
}

func TestAnAnswerIsTyped(t *testing.T) {
	c := newClient(t, Config{}, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Etcd-Index", "42")
		w.Header().Set("X-Raft-Index", "99")
		w.Header().Set("X-Etcd-Cluster-Id", "c1")
		io.WriteString(w, `{"action":"get","node":{"key":"/d","dir":true,"nodes":[{"key":"/d/f","value":"","expiration":"2026-01-02T03:04:05.5Z","ttl":7,"modifiedIndex":4,"createdIndex":3}],"modifiedIndex":2,"createdIndex":1}}`)
	}))

	resp, err := c.Get(t.Context(), "/d", GetOptions{})

	ends := time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC)
	file := &Node{Key: "/d/f", Expiration: &ends, TTL: 7, ModifiedIndex: 4, CreatedIndex: 3}
	want := &Response{Action: "get", Node: &Node{Key: "/d", Dir: true, Nodes: []*Node{file}, ModifiedIndex: 2,
		CreatedIndex: 1}, Index: 42, RaftIndex: 99, ClusterID: "c1"}
	if err != nil || !reflect.DeepEqual(resp, want) {
		t.Errorf("%v, %+v", err, resp)
	}
}

func TestARefusalIsTyped(t *testing.T) {
	const keys = `{"errorCode":%d,"message":"Message","cause":"/k","index":97}`
	for _, c := range []struct {
		status int
		body   string
		is     func(error) bool
		text   string
	}{
		{404, fmt.Sprintf(keys, 100), IsKeyNotFound, "100: Message (/k) [97]"},
		{412, fmt.Sprintf(keys, 101), IsCompareFailed, "101: Message (/k) [97]"},
		{403, fmt.Sprintf(keys, 102), IsNotFile, "102: Message (/k) [97]"},
		{412, fmt.Sprintf(keys, 105), IsKeyExists, "105: Message (/k) [97]"},
		{403, fmt.Sprintf(keys, 108), IsNotEmpty, "108: Message (/k) [97]"},
		{401, fmt.Sprintf(keys, 110), IsUnauthorized, "110: Message (/k) [97]"},
		{400, fmt.Sprintf(keys, 401), IsHistoryCleared, "401: Message (/k) [97]"},
		{401, `{"message":"Insufficient credentials"}`, IsUnauthorized, "Insufficient credentials"},
		{500, fmt.Sprintf(keys, 300), func(err error) bool { return errors.Is(err, ErrUnknown) },
			"300: Message (/k) [97]"},
		{404, "<html>secret</html>", func(err error) bool { return errors.Is(err, ErrBadAnswer) },
			"status 404 (Not Found)"},
	} {
		var asked atomic.Int64
		client := newClient(t, Config{}, serve(t, counting(&asked, refusing(c.status, c.body))))

		_, err := client.Set(t.Context(), "/k", "v", SetOptions{})

		if !c.is(err) || err.Error() != c.text || asked.Load() != 1 {
			t.Errorf("%s: %v (%d requests)", c.body, err, asked.Load())
		}
		known := c.status/100 == 4 && strings.HasPrefix(c.body, "{")
		if errors.Is(err, ErrUnknown) == known {
			t.Errorf("%s: is the outcome unknown?", c.body)
		}
	}
}

func TestTheFirstIndexIsThatOfTheRefusal(t *testing.T) {
	for cause, want := range map[string]uint64{
		"the requested history has been cleared [1007/8]":                  1007,
		"the requested history has been cleared":                           0,
		"[1/2] cleared":                                                    0,
		"the requested history has been cleared [99999999999999999999/8]":  0,
		"the requested history has been cleared [18446744073709551615/88]": 1<<64 - 1,
	} {
		e := &Error{Code: CodeHistoryCleared, Cause: cause}
		if got := e.FirstIndex(); got != want && !(want == 0 && got == 1<<64-1) {
			t.Errorf("%s: %d", cause, got)
		}
	}
}

// What an endpoint does wrong, and whether it may have executed the request.
var wrongs = []struct {
	name string
	h    http.HandlerFunc // nil: nobody listens
	sent bool
	text string
}{
	{"nobody", nil, false, "connection refused"},
	{"starting", refusing(503,
		`{"errorCode":300,"message":"Raft Internal Error","cause":"this member is starting","index":0}`), false,
		"300: Raft Internal Error (this member is starting) [0]"},
	{"busy", refusing(429, `{"message":"slow down"}`), false, "slow down"},
	{"hangs up", hangUp, true, "EOF"},
	{"is silent", silent, true, "no answer within 1m0s"},
	{"timed out", refusing(500,
		`{"errorCode":300,"message":"Raft Internal Error","cause":"etcdserver: request timed out","index":0}`), true,
		"300: Raft Internal Error (etcdserver: request timed out) [0]"},
	{"a gateway", refusing(502, "<html>secret</html>"), true, "status 502 (Bad Gateway)"},
	{"speaks TLS", refusing(400, plainOnTLS), false, "https is spoken there, and it was asked by http"},
	{"redirects", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/v2/keys/other", http.StatusTemporaryRedirect)
	}, true, "status 307"}, // pitfall K6
	{"is endless", endless, true, "more than 65536 bytes"}, // pitfall K6
	{"is no etcd", refusing(200, "<html>secret</html>"), true, "not its JSON"},
	{"is no keys API", refusing(200, `{"health":"true"}`), true, "without a node"},
	{"stops in the middle", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.(http.Flusher).Flush()
		silent(w, r)
	}, true, "no answer within 1m0s"},
}

var strict = Config{Timeout: time.Minute, MaxAnswerBytes: 1 << 16}

func TestAReadGoesToTheNextEndpoint(t *testing.T) {
	for _, wrong := range wrongs {
		t.Run(wrong.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := "http://10.255.0.1" // nobody
				if wrong.h != nil {
					first = pipes.Serve(t, wrong.h)
				}
				second := pipes.Serve(t, http.HandlerFunc(well))

				resp, err := inMemory(newClient(t, strict, first, second)).Get(t.Context(), "/k", GetOptions{})
				_, alone := inMemory(newClient(t, strict, first)).Get(t.Context(), "/k", GetOptions{})

				if err != nil || resp.Node.Value != "v" {
					t.Errorf("%v, %v", resp, err)
				}
				if alone == nil || !strings.Contains(alone.Error(), wrong.text) ||
					strings.Contains(alone.Error(), "secret") {
					t.Errorf("alone: %v", alone)
				}
			})
		})
	}
}

// A write is sent to another endpoint only when no server can have executed it, or when it has a
// name. pitfall G3
func TestAWriteIsNeverDoubled(t *testing.T) {
	for _, wrong := range wrongs {
		t.Run(wrong.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := "http://10.255.0.1" // nobody
				if wrong.h != nil {
					first = pipes.Serve(t, wrong.h)
				}
				var asked atomic.Int64
				var names sync.Map
				second := pipes.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					asked.Add(1)
					names.Store(r.Header.Get("X-Etcd-Request-Id"), nil)
					well(w, r)
				}))

				_, err := inMemory(newClient(t, strict, first, second)).CreateInOrder(t.Context(), "/k",
					"v", SetOptions{})
				plain := asked.Load()
				_, named := inMemory(newClient(t, strict, first, second)).CreateInOrder(t.Context(), "/k",
					"v", SetOptions{RequestID: "once"})
				_, known := names.Load("once")

				if wrong.sent && (plain > 0 || !errors.Is(err, ErrUnknown)) || !wrong.sent &&
					(plain != 1 || err != nil) {
					t.Errorf("without a name: %v, and the second endpoint got it %d times", err, plain)
				}
				if named != nil || !known {
					t.Errorf("with a name: %v", named)
				}
			})
		})
	}
}

// Each try of a named write carries the index that was known before the first try. A try that is
// refused for its age is repeated, unless another try may have been executed (pitfall L8).
func TestEveryTryCarriesTheIndexOfTheFirst(t *testing.T) {
	var log []string
	var refusing bool
	member := func(name string, unknown bool) string {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			index := r.Header.Get("X-Etcd-Request-Index")
			log = append(log, name+" "+index)
			switch {
			case r.Method == "GET":
				w.Header().Set("X-Raft-Index", "70")
			case unknown:
				w.Header().Set("X-Raft-Index", "80")
				w.WriteHeader(500)
				return
			case refusing && headerNumber(r.Header, "X-Etcd-Request-Index") < 90:
				w.Header().Set("X-Raft-Index", "90")
				w.WriteHeader(410)
				io.WriteString(w, `{"errorCode":214,"message":"Request is too old"}`)
				return
			}
			well(w, r)
		})
	}
	first, second := member("1", true), member("2", false)
	for _, c := range []struct {
		name     string
		refusing bool
		index    uint64
		members  []string
		log      string
		unknown  bool
		err      bool
	}{
		{"executed", false, 0, []string{first, second}, "1 |1 70|2 70", false, false},
		{"may have been executed", true, 0, []string{first, second}, "1 |1 70|2 70", true, true},
		{"not executed", true, 0, []string{second}, "2 |2 70|2 90", false, false},
		{"made before by the caller", true, 60, []string{second}, "2 |2 60", true, true},
	} {
		log, refusing = nil, c.refusing
		client := newClient(t, strict, c.members...)
		client.Get(t.Context(), "/k", GetOptions{})

		_, err := client.Set(t.Context(), "/k", "v", SetOptions{RequestID: "name", RequestIndex: c.index})

		if got := strings.Join(log, "|"); got != c.log || (err != nil) != c.err ||
			errors.Is(err, ErrUnknown) != c.unknown {
			t.Errorf("%s: %v, after %s", c.name, err, got)
		}
	}
}

func TestEveryEndpointHasItsReason(t *testing.T) {
	busy, gone := serve(t, refusing(500, "")), nobody(t)
	c := newClient(t, Config{}, busy, gone)

	_, err := c.Get(t.Context(), "/k", GetOptions{})

	var all *ClusterError
	if !errors.As(err, &all) || len(all.Failures) != 2 || all.Failures[0].Endpoint != busy ||
		all.Failures[1].Endpoint != gone {
		t.Fatalf("%v", err)
	}
	if text := err.Error(); !strings.Contains(text, busy+": status 500") || !strings.Contains(text,
		gone+": dial tcp") || errors.Is(err, ErrUnknown) {
		t.Error(text)
	}
}

func TestTheEndpointThatAnsweredIsAskedFirst(t *testing.T) {
	var dead, live atomic.Int64
	c := newClient(t, Config{}, serve(t, counting(&dead, hangUp)), serve(t, counting(&live, well)))

	for range 5 {
		if _, err := c.Get(t.Context(), "/k", GetOptions{}); err != nil {
			t.Fatal(err)
		}
	}

	if live.Load() != 5 || dead.Load() > 2 { // net/http asks twice when a connection ends
		t.Errorf("%d requests to the dead one, %d to the other", dead.Load(), live.Load())
	}
}

func TestARequestEndsWithItsContext(t *testing.T) {
	var second atomic.Int64
	hangs := make(chan struct{})
	c := newClient(t, Config{Timeout: time.Hour}, serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(hangs)
		silent(w, r)
	}), serve(t, counting(&second, well)))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-hangs; cancel() }()

	_, err := c.Get(ctx, "/k", GetOptions{})

	if !errors.Is(err, context.Canceled) || second.Load() > 0 {
		t.Errorf("%v, and %d requests to the second endpoint", err, second.Load())
	}
}

func TestASlowAnswerIsReadToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inMemory(newClient(t, Config{Timeout: time.Second},
			pipes.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for piece := range slices.Chunk([]byte(get), 6) {
					w.Write(piece)
					w.(http.Flusher).Flush()
					time.Sleep(900 * time.Millisecond)
				}
			}))))

		if _, err := c.Get(t.Context(), "/k", GetOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// members answers with these client URLs.
func members(urls ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/members" {
			well(w, r)
			return
		}
		fmt.Fprintf(w, `{"members":[{"id":"a","clientURLs":["%s"]},{"id":"b","name":"","peerURLs":[],"clientURLs":[]}]}`, strings.Join(urls, `","`))
	}
}

func TestSyncKeepsWhatWasGiven(t *testing.T) {
	elsewhere, far := serve(t, well), nobody(t)
	given := serve(t, members(far, "ftp://h:1", elsewhere+"/", "not a URL"))
	c := newClient(t, Config{}, given)

	synced := c.Sync(t.Context())
	list := c.Endpoints()
	_, err := c.Get(t.Context(), "/k", GetOptions{})
	first := c.Endpoints()[0]

	if synced != nil || !slices.Equal(list, []string{far, elsewhere, given}) || err != nil || first != elsewhere {
		t.Errorf("%v, %v; %v, then %v first", synced, list, err, first)
	}
}

func TestADeadSyncedEndpointFallsBackToTheGivenOnes(t *testing.T) {
	given := serve(t, members(nobody(t)))
	c := newClient(t, Config{}, given)

	for range 2 {
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.Set(t.Context(), "/k", "v", SetOptions{})

	if err != nil {
		t.Error(err)
	}
}

func TestSyncDoesNotWeaken(t *testing.T) {
	s := httptest.NewTLSServer(members("http://10.0.0.1:2379", "https://10.0.0.2:2379"))
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c := newClient(t, Config{TLS: &tls.Config{RootCAs: roots}}, s.URL)

	err := c.Sync(t.Context())

	if want := []string{"https://10.0.0.2:2379", s.URL}; err != nil || !slices.Equal(c.Endpoints(), want) {
		t.Errorf("%v: %v", err, c.Endpoints())
	}
}

func TestAPasswordGoesOnlyToAllowedEndpoints(t *testing.T) {
	both := []string{"https://a:1", "http://b:1"}
	for _, c := range []struct {
		given  []string
		target string
		want   bool
	}{
		{[]string{"https://a:1"}, "https://x:1", true},
		{[]string{"https://a:1"}, "http://x:1", false},
		{[]string{"https://a:1"}, "http://a:1", false},
		{[]string{"HTTPS://a:1"}, "http://x:1", false},
		{both, "http://b:1", true},
		{both, "http://x:1", false},
		{[]string{"http://a:1"}, "http://x:1", true},
		{[]string{"http://a:1"}, "https://x:1", true},
	} {
		if got := MaySendPassword(c.given, c.target); got != c.want {
			t.Errorf("given %v, to %s: %v", c.given, c.target, got)
		}
	}
}

// A caller that examines single members may connect to any URL that they advertise.
func TestAPasswordStaysInTLS(t *testing.T) {
	var got []string
	record := func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		io.WriteString(w, "{}")
	}
	plain := serve(t, record)
	s := httptest.NewTLSServer(http.HandlerFunc(record))
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c := newClient(t, Config{TLS: &tls.Config{RootCAs: roots}, Username: "root", Password: "s3cret"}, s.URL)

	for _, u := range []string{plain, s.URL} {
		c.Ask(t.Context(), "GET", u, "/version")
		c.Health(t.Context(), u)
	}

	if len(got) != 4 || got[0]+got[1] != "" || got[2] == "" || got[3] == "" {
		t.Errorf("http got %q, https %q", got[:2], got[2:])
	}
}

func TestAStrangersCertificateIsNotTrusted(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewUnstartedServer(counting(&asked, well))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	c := newClient(t, Config{}, s.URL)

	_, err := c.Set(t.Context(), "/k", "v", SetOptions{})

	if err == nil || asked.Load() > 0 || errors.Is(err, ErrUnknown) {
		t.Errorf("%v, %d requests", err, asked.Load())
	}
}

// No password is in an error or a curl command. pitfall K11
func TestThePasswordGoesToTheServerOnly(t *testing.T) {
	const password = "s3cret&"
	var told strings.Builder
	var users []string
	c := newClient(t, Config{Username: "root", Password: password,
		Debug: func(curl string) { told.WriteString(curl + "\n") }},
		serve(t, func(w http.ResponseWriter, r *http.Request) {
			user, pass, _ := r.BasicAuth()
			body, _ := io.ReadAll(r.Body)
			users = append(users, user+":"+pass+" "+string(body))
			refusing(401, `{"message":"Insufficient credentials"}`)(w, r)
		}))

	_, errSet := c.Set(t.Context(), "/k", "it's", SetOptions{Dir: false, PrevIndex: 3, PrevExist: MustExist})
	errUser := c.Auth.AddUser(t.Context(), "u", password)
	_, errURL := New(Config{Endpoints: []string{"http://root:" + url.QueryEscape(password) + "@h:1"}})
	_, errOdd := New(Config{Endpoints: []string{"http://root:" + password + "%zz@h:1"}})

	if want := []string{"root:" + password + " value=it%27s", "root:" + password +
		` {"user":"u","password":"s3cret\u0026"}`}; !slices.Equal(users, want) {
		t.Errorf("it got %q", users)
	}
	all := fmt.Sprint(told.String(), errSet, errUser, errURL, errOdd)
	if strings.Contains(all, "s3cret") || strings.Contains(all,
		base64.StdEncoding.EncodeToString([]byte("root:"+password))) {
		t.Errorf("it is told: %s", all)
	}
	want := "curl -X PUT '" + c.Endpoints()[0] + "/v2/keys/k?prevExist=true&prevIndex=3' -d \"value=it%27s\"\n" +
		"curl -X PUT -H 'Content-Type: application/json' " + c.Endpoints()[0] + "/v2/auth/users/u -d '…'\n"
	if told.String() != want {
		t.Errorf("got\n%swant\n%s", &told, want)
	}
}

// etcdctl 2.3.8 sends the three switches of a read even when they are off, and prints them without
// quotes.
func TestTheCurlLineOfAReadIsThatOfEtcd2(t *testing.T) {
	var told strings.Builder
	c := newClient(t, Config{Debug: func(curl string) { fmt.Fprintln(&told, curl) }}, serve(t, well))

	c.Get(t.Context(), "/k", GetOptions{})
	c.Get(t.Context(), "/a&b", GetOptions{Quorum: true})

	want := "curl -X GET URL/v2/keys/k?quorum=false&recursive=false&sorted=false\n" +
		"curl -X GET 'URL/v2/keys/a&b?quorum=true&recursive=false&sorted=false'\n"
	if got := strings.ReplaceAll(told.String(), c.Endpoints()[0], "URL"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestABadConfigurationIsRefused(t *testing.T) {
	for endpoint, want := range map[string]string{
		"":                   "want http://HOST:PORT",
		"ftp://h:1":          "scheme",
		"http://h:1/v2":      "nothing after",
		"http://h:1?x=y":     "nothing after",
		"http://u:p@h:1":     "user name",
		"http://":            "want http://HOST:PORT",
		"http://[::1:2379":   "want http://HOST:PORT",
		"http://h:\x7f":      "want http://HOST:PORT",
		"unix:///run/socket": "want http://HOST:PORT",
	} {
		if _, err := New(Config{Endpoints: []string{endpoint}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a client without an endpoint")
	}
	if _, err := New(Config{Endpoints: []string{"h"}, KeysPath: "keys"}); err == nil {
		t.Error("keys at no path")
	}
	c, err := New(Config{Endpoints: []string{" 127.0.0.1:2379", "http://127.0.0.1:2379/", "h"}, InOrder: true})
	if want := []string{"http://127.0.0.1:2379", "http://h"}; err != nil || !slices.Equal(c.Endpoints(), want) {
		t.Errorf("%v: %v", err, c.Endpoints())
	}
}

func TestKeysPathMakesAPartOfTheTreeTheWhole(t *testing.T) {
	var asked []string
	h := func(w http.ResponseWriter, r *http.Request) { asked = append(asked, r.URL.Path); well(w, r) }
	for _, path := range []string{"/discovery/token", "/discovery/token/", "/"} {
		c := newClient(t, Config{KeysPath: path}, serve(t, h))
		for _, key := range []string{"", "_config/size"} {
			if _, err := c.Get(t.Context(), key, GetOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}

	want := []string{"/discovery/token", "/discovery/token/_config/size", "/discovery/token",
		"/discovery/token/_config/size", "/", "/_config/size"}
	if !slices.Equal(asked, want) {
		t.Errorf("%q", asked)
	}
}

// The client waits longer only for a server that hashes a password.
func TestAChangeOfUsersIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inMemory(newClient(t, Config{Timeout: time.Second},
			pipes.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-time.After(9 * time.Second):
				case <-r.Context().Done():
				}
			}))))

		errUser := c.Auth.AddUser(t.Context(), "u", "pw")
		errSwitch := c.Auth.Enable(t.Context())
		_, errSet := c.Set(t.Context(), "/k", "v", SetOptions{})
		_, errUsers := c.Auth.Users(t.Context())

		if errUser != nil || errSwitch != nil || errSet == nil || errUsers == nil {
			t.Errorf("%v, %v, %v, %v", errUser, errSwitch, errSet, errUsers)
		}
	})
}
