package etcdctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"etcd2/http/client"
)

// A fakeTree is a server of the part of the keys API that an import needs.
type fakeTree struct {
	mu     sync.Mutex
	nodes  map[string]client.Node // by key
	writes int                    // so far
	caller string                 // user of the last request, as NAME:PASSWORD
	most   int                    // writes that it accepts; 0: any number
	breaks int                    // children after which the next listing breaks off; 0: none does
	url    string

	denied  string // the source's user may not read this key
	cleared func() // is called at the next watch, which finds the history cleared; nil: watches wait
}

func newFakeTree(t *testing.T) *fakeTree {
	t.Helper()
	tree := &fakeTree{nodes: map[string]client.Node{"": {Dir: true}}}
	s := httptest.NewServer(tree)
	t.Cleanup(s.Close)
	tree.url = s.URL
	return tree
}

func (f *fakeTree) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == "GET" && r.FormValue("wait") == "true" {
		f.watch(w, r)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	name, password, _ := r.BasicAuth()
	f.caller = name + ":" + password
	key := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/v2/keys"), "/")
	switch {
	case r.URL.Path == "/v2/members":
		fmt.Fprintf(w, `{"members":[{"id":"1","name":"a","peerURLs":[],"clientURLs":[%q]}]}`, f.url)
	case r.Method == "GET" && f.denied != "" && r.URL.Path == "/v2/keys"+f.denied:
		w.WriteHeader(401)
		fmt.Fprint(w, `{"errorCode":110,"message":"denied","cause":"","index":1}`)
	case r.Method == "GET":
		f.get(w, key)
	case f.most > 0 && f.writes >= f.most:
		w.WriteHeader(403)
		fmt.Fprintf(w, `{"errorCode":110,"message":"enough","cause":"","index":1}`)
	case r.Method == "DELETE":
		maps.DeleteFunc(f.nodes,
			func(k string, _ client.Node) bool { return k == key || strings.HasPrefix(k, key+"/") })
		fmt.Fprintf(w, `{"action":"delete","node":{"key":%q,"dir":true}}`, key)
	default:
		f.put(w, r, key)
	}
}

// watch refuses once, and then waits.
func (f *fakeTree) watch(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	cleared := f.cleared
	f.cleared = nil
	f.mu.Unlock()
	if cleared == nil {
		w.Header().Set("X-Etcd-Index", "7")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	}
	cleared()
	w.WriteHeader(400)
	fmt.Fprint(w, `{"errorCode":401,"message":"The event in requested index is outdated and cleared","cause":"","index":9}`)
}

func (f *fakeTree) get(w http.ResponseWriter, key string) {
	n, found := f.nodes[key]
	if !found {
		w.WriteHeader(404)
		fmt.Fprintf(w, `{"errorCode":100,"message":"Key not found","cause":%q,"index":7}`, key)
		return
	}
	for _, k := range slices.Sorted(maps.Keys(f.nodes)) {
		child := f.nodes[k]
		if k != "" && path.Dir("/"+k[1:]) == "/"+strings.TrimPrefix(key, "/") && !strings.HasPrefix(path.Base(k), "_") {
			n.Nodes = append(n.Nodes, &child)
		}
	}
	w.Header().Set("X-Etcd-Index", "7")
	answer := fmt.Appendf(nil, `{"action":"get","node":%s}`, inOrder(&n))
	if f.breaks > 0 && len(n.Nodes) > f.breaks {
		cut := bytes.Index(answer, fmt.Appendf(nil, `{"key":%q`, n.Nodes[f.breaks].Key))
		f.breaks += 10 // so that the client makes progress
		w.Write(answer[:cut])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	w.Write(answer)
}

// inOrder returns the JSON of a node with its fields in the order of etcd.
func inOrder(n *client.Node) []byte {
	b := fmt.Appendf(nil, `{"key":%q,"value":%q,"dir":%v,"ttl":%d`, n.Key, n.Value, n.Dir, n.TTL)
	for i, child := range n.Nodes {
		b = append(append(b, []string{`,"nodes":[`, ","}[min(i, 1)]...), inOrder(child)...)
	}
	if len(n.Nodes) > 0 {
		b = append(b, ']')
	}
	return append(b, `,"modifiedIndex":1,"createdIndex":1}`...)
}

func (f *fakeTree) put(w http.ResponseWriter, r *http.Request, key string) {
	f.writes++
	n := client.Node{Key: key, Dir: r.FormValue("dir") == "true", Value: r.FormValue("value")}
	fmt.Sscan(r.FormValue("ttl"), &n.TTL)
	f.nodes[key] = n
	for dir := path.Dir(key); dir != "/"; dir = path.Dir(dir) {
		if _, there := f.nodes[dir]; !there {
			f.nodes[dir] = client.Node{Key: dir, Dir: true}
		}
	}
	json.NewEncoder(w).Encode(client.Response{Action: "set", Node: &n})
}

func (f *fakeTree) add(nodes ...client.Node) {
	for _, n := range nodes {
		f.nodes[n.Key] = n
	}
}

// tree returns everything in it that an import copies.
func (f *fakeTree) tree() map[string]string {
	texts := map[string]string{}
	for k, n := range f.nodes {
		texts[k] = fmt.Sprintf("%v %q", n.Dir, n.Value)
	}
	return texts
}

func fullTree(t *testing.T) *fakeTree {
	f := newFakeTree(t)
	f.add(client.Node{Key: "/app", Dir: true}, client.Node{Key: "/app/name", Value: "shop"},
		client.Node{Key: "/app/empty", Dir: true},
		client.Node{Key: "/lease", Dir: true, TTL: 500}, client.Node{Key: "/lease/holder", Value: "a", TTL: 100},
		client.Node{Key: "/q", Dir: true}, client.Node{Key: "/q/00000000000000000042", Value: "job"},
		client.Node{Key: "/app/_hidden", Dir: true}, client.Node{Key: "/app/_hidden/x", Value: "y"},
		client.Node{Key: "/_coreos.com", Dir: true}, client.Node{Key: "/_coreos.com/fleet", Value: "z"})
	for i := range 100 {
		f.add(client.Node{Key: fmt.Sprintf("/app/k%d", i), Value: fmt.Sprint(i)})
	}
	return f
}

func TestAnImportBringsEverything(t *testing.T) {
	from, to := fullTree(t), newFakeTree(t)
	to.add(client.Node{Key: "/mine", Value: "stays"})

	status, out, errs := ctl(nil, "--endpoints", to.url, "import", "--from", from.url, "--hidden", "/app/_hidden")

	want := from.tree()
	want["/mine"] = `false "stays"`
	if status != 0 || !maps.Equal(to.tree(), want) {
		t.Errorf("status %d, %d of %d nodes: %s%s", status, len(to.nodes), len(want), out, errs)
	}
	if out != "Imported 111 keys, 111 written, 0 were there already\n" || !strings.Contains(errs,
		"up to 42, and the index of this cluster is 7") {
		t.Errorf("%q %q", out, errs)
	}
	if dir, file := to.nodes["/lease"].TTL, to.nodes["/lease/holder"].TTL; dir != 500 || file != 100 {
		t.Errorf("times to live: %d and %d", dir, file)
	}
}

func TestAnImportGoesOnWhereItWas(t *testing.T) {
	from, to := fullTree(t), newFakeTree(t)
	line := []string{"--endpoints", to.url, "import", "-c", "3", "--from", from.url, "--hidden", "/app/_hidden"}
	to.most = 50

	status, _, errs := ctl(nil, line...)
	if status != statusWrong || !strings.Contains(errs, "broken off after ") || !strings.Contains(errs, "enough") ||
		!strings.Contains(errs, "start it again") {
		t.Errorf("status %d: %s", status, errs)
	}
	to.most = 0
	status, out, errs := ctl(nil, line...)

	if status != 0 || !maps.Equal(to.tree(), from.tree()) || to.writes != 111 {
		t.Errorf("status %d, %d writes in all, %d nodes: %s%s", status, to.writes, len(to.nodes), out, errs)
	}
	if _, out, _ := ctl(nil, line...); out != "Imported 111 keys, 0 written, 111 were there already\n" {
		t.Error(out)
	}
}

// A source whose listings break is asked for the rest, as often as needed.
func TestAnImportOutlivesListingsThatBreak(t *testing.T) {
	from, to := fullTree(t), newFakeTree(t)
	from.breaks = 3

	status, out, errs := ctl(nil, "--endpoints", to.url, "import", "--from", from.url, "--hidden", "/app/_hidden")

	if status != 0 || !maps.Equal(to.tree(), from.tree()) ||
		out != "Imported 111 keys, 111 written, 0 were there already\n" {
		t.Errorf("status %d, %d nodes: %s%s", status, len(to.nodes), out, errs)
	}
}

// The bound is for a single node, so starting again does not help.
func TestAnImportTellsThatAValueIsTooLong(t *testing.T) {
	i := &importer{}

	err := new(session).imported(i, fmt.Errorf("/k: %w: it has more than 7 bytes", client.ErrTooLong))

	if text := err.Error(); !strings.Contains(text, "more than 7 bytes\none key has a value of that size") ||
		strings.Contains(text, "goes on where it was") {
		t.Error(text)
	}
}

func TestAnImportSaysWhatItCannotDo(t *testing.T) {
	from, to := fullTree(t), newFakeTree(t)
	for line, want := range map[string]string{
		"--snap x.snap":                         "cannot read snapshot file x.snap: no such file",
		"--snap . --from " + from.url:           "not both",
		"--snap .":                              "cannot read snapshot file .: is a directory",
		"":                                      "--from URL",
		"--from " + from.url + " -c 0":          "-c N",
		"--from http://127.0.0.1:1":             "connection refused",
		"--from a/b":                            "nothing after HOST:PORT",
		"--from " + from.url + " --key /x":      "there is no key /x",
		"--from " + from.url + " --hidden /_no": "there is no key /_no",
	} {
		status, _, errs := ctl(nil, append([]string{"--endpoints", to.url, "import"}, strings.Fields(line)...)...)

		if status != statusWrong || !strings.Contains(errs, want) {
			t.Errorf("%s: status %d, %q lacks %q", line, status, errs, want)
		}
	}
}

// Keys that a source lists outside of the requested one are not written.
func TestAnImportTakesOnlyWhatItAskedFor(t *testing.T) {
	child := func(key string) string {
		return `{"key":"/app","dir":true,"nodes":[{"key":"` + key + `","value":"evil"}]}`
	}
	for answer, named := range map[string]string{
		child("/production/db/password"):       "/production/db/password",
		child("/application"):                  "/application",
		child("/app/sub/k"):                    "/app/sub/k",
		child("/app/../k"):                     "/app/../k",
		child("/app/"):                         "/app/",
		child("/app"):                          "/app",
		`{"key":"/production","value":"evil"}`: "/production",
	} {
		to := newFakeTree(t)
		from := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"action":"get","node":%s}`, answer)
		}))

		status, out, errs := ctl(nil, "--endpoints", to.url, "import", "--from", from.URL, "--key", "/app")

		delete(to.nodes, "/app") // which was asked for
		if status != statusWrong || len(to.nodes) != 1 || !strings.Contains(errs, fmt.Sprintf("%q", named)) {
			t.Errorf("%s: status %d, %d nodes: %s%s", answer, status, len(to.nodes)-1, out, errs)
		}
		from.Close()
	}
}

func TestAKeyIsWrittenInOneForm(t *testing.T) {
	from, to := fullTree(t), newFakeTree(t)

	for _, key := range []string{"app/", "//app", "/"} {
		if status, _, errs := ctl(nil, "--endpoints", to.url, "import", "--from", from.url, "--key", key); status != 0 {
			t.Errorf("%s: status %d: %s", key, status, errs)
		}
	}
}

// Each of the two clusters gets the password of its own user. The user is asked once for each.
func TestAPasswordGoesWhereItsUserIs(t *testing.T) {
	from, to := newFakeTree(t), newFakeTree(t)
	from.add(client.Node{Key: "/k", Value: "v"})
	var out, errs strings.Builder

	status := Run([]string{"--endpoints", to.url, "--username", "root", "import", "--from", from.url, "--from-username",
		"reader"}, nil,
		strings.NewReader("here\nthere\nnobody asks for this\n"), &out, &errs)

	if status != 0 || to.caller != "root:here" || from.caller != "reader:there" || strings.Count(out.String(),
		"Password") != 2 {
		t.Errorf("status %d, %q and %q were sent: %s%s", status, to.caller, from.caller, &out, &errs)
	}
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("filed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctl(nil, "--endpoints", to.url, "import", "--from", from.url, "--from-username", "reader",
		"--from-password-file", file)
	if from.caller != "reader:filed" || to.caller != ":" {
		t.Errorf("with a file, %q and %q were sent", to.caller, from.caller)
	}
}

// A caller is a stream that calls a function for each text that has certain words.
type caller struct {
	strings.Builder
	words string
	call  func()
}

func (c *caller) Write(b []byte) (int, error) {
	if strings.Contains(string(b), c.words) {
		c.call()
	}
	return c.Builder.Write(b)
}

// Changes that the source has forgotten are found by a comparison. Only what the source had is
// deleted.
func TestAFollowedSourceThatForgetsIsComparedWith(t *testing.T) {
	from, to := fullTree(t), newFakeTree(t)
	to.add(client.Node{Key: "/mine", Value: "stays"}, client.Node{Key: "/app/zz", Value: "stays"})
	copied := make(chan struct{})
	from.cleared = func() {
		<-copied
		from.mu.Lock()
		defer from.mu.Unlock()
		maps.DeleteFunc(from.nodes,
			func(k string, _ client.Node) bool { return k == "/app/k7" || strings.HasPrefix(k, "/q") })
		from.add(client.Node{Key: "/app/k8", Value: "changed"}, client.Node{Key: "/new", Value: "x"})
		delete(from.nodes, "/app/empty")
		from.add(client.Node{Key: "/app/empty", Value: "a file now"})
	}
	to.mu.Lock()
	to.nodes["/app"] = client.Node{Key: "/app", Dir: true}
	to.mu.Unlock()
	times := 0
	errs := &caller{words: "at index 7; source is 7", call: func() {
		if times++; times == 1 {
			close(copied)
			return
		}
		syscall.Kill(os.Getpid(), syscall.SIGINT)
	}}
	var out strings.Builder

	status := Run([]string{"--endpoints", to.url, "import", "--from", from.url, "--follow", "--hidden", "/app/_hidden"},
		nil, strings.NewReader(""), &out, errs)

	want := from.tree()
	want["/mine"], want["/app/zz"] = `false "stays"`, `false "stays"`
	if status != 0 || !maps.Equal(to.tree(), want) || times != 2 {
		t.Errorf("status %d, caught up %d times, %d of %d nodes: %s%s", status, times, len(to.nodes),
			len(want), &out, errs)
		for k, v := range want {
			if to.tree()[k] != v {
				t.Errorf("%s: %s, want %s", k, to.tree()[k], v)
			}
		}
	}
}

// The copy is newer than the first events. In the end both are the same, whatever the order of the
// writes.
func TestChangesOfOneKeyKeepTheirOrder(t *testing.T) {
	to := newFakeTree(t)
	c, err := client.New(client.Config{Endpoints: []string{to.url}})
	if err != nil {
		t.Fatal(err)
	}
	i := &importer{ctx: t.Context(), to: &cluster{Client: c}, room: make(chan struct{}, 10)}
	event := func(action, key, value string, dir bool) *client.Response {
		return &client.Response{Action: action, Node: &client.Node{Key: key, Value: value, Dir: dir}}
	}

	err = i.replayAll([]*client.Response{
		event("set", "/a", "1", false), event("set", "/a", "2", false), event("delete", "/a", "", false),
		event("create", "/a", "", true), event("set", "/a/b", "3", false), event("set", "/c", "4", false),
		event("delete", "/a", "", true), event("set", "/a", "5", false), event("expire", "/c", "", false),
	})

	if want := map[string]string{"": `true ""`, "/a": `false "5"`}; err != nil || !maps.Equal(to.tree(), want) {
		t.Errorf("%v: %v", err, to.tree())
	}
}

// It is enough when the user of the source has rights to the keys that are copied.
func TestAPartOfASourceIsFollowed(t *testing.T) {
	from, to := fullTree(t), newFakeTree(t)
	from.denied = "/"
	errs := &caller{words: "at index 7; source is 7", call: func() { syscall.Kill(os.Getpid(), syscall.SIGINT) }}
	var out strings.Builder

	status := Run([]string{"--endpoints", to.url, "import", "--from", from.url, "--follow", "--key", "/app"}, nil,
		strings.NewReader(""), &out, errs)

	if status != 0 || len(to.nodes) != 104 {
		t.Errorf("status %d, %d nodes: %s%s", status, len(to.nodes), &out, errs)
	}
}
