package etcdctl

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"

	"etcd2/http/client"
)

// A fakeTree is a server of the keys API, of the part of it that an import needs.
type fakeTree struct {
	mu     sync.Mutex
	nodes  map[string]client.Node // by key
	writes int                    // so far
	caller string                 // who has asked last, as NAME:PASSWORD
	most   int                    // writes that it takes; 0: any number
	url    string
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
	f.mu.Lock()
	defer f.mu.Unlock()
	name, password, _ := r.BasicAuth()
	f.caller = name + ":" + password
	key := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/v2/keys"), "/")
	switch {
	case r.URL.Path == "/v2/members":
		fmt.Fprintf(w, `{"members":[{"id":"1","name":"a","peerURLs":[],"clientURLs":[%q]}]}`, f.url)
	case r.Method == "GET":
		f.get(w, key)
	case f.most > 0 && f.writes >= f.most:
		w.WriteHeader(403)
		fmt.Fprintf(w, `{"errorCode":110,"message":"enough","cause":"","index":1}`)
	default:
		f.put(w, r, key)
	}
}

func (f *fakeTree) get(w http.ResponseWriter, key string) {
	n, found := f.nodes[key]
	if !found {
		w.WriteHeader(404)
		fmt.Fprintf(w, `{"errorCode":100,"message":"Key not found","cause":%q,"index":7}`, key)
		return
	}
	for k, child := range f.nodes {
		if k != "" && path.Dir("/"+k[1:]) == "/"+strings.TrimPrefix(key, "/") && !strings.HasPrefix(path.Base(k), "_") {
			n.Nodes = append(n.Nodes, &child)
		}
	}
	w.Header().Set("X-Etcd-Index", "7")
	json.NewEncoder(w).Encode(client.Response{Action: "get", Node: &n})
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

// tree is everything in it, without what an import does not bring.
func (f *fakeTree) tree() map[string]string {
	texts := map[string]string{}
	for k, n := range f.nodes {
		texts[k] = fmt.Sprintf("%v %q", n.Dir, n.Value)
	}
	return texts
}

func fullTree(t *testing.T) *fakeTree {
	f := newFakeTree(t)
	f.add(client.Node{Key: "/app", Dir: true}, client.Node{Key: "/app/name", Value: "shop"}, client.Node{Key: "/app/empty", Dir: true},
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
	if out != "Imported 111 keys, 111 written, 0 were there already\n" || !strings.Contains(errs, "up to 42, and the index of this cluster is 7") {
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
	if status != statusWrong || !strings.Contains(errs, "broken off after ") || !strings.Contains(errs, "enough") || !strings.Contains(errs, "start it again") {
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

// Each of the two clusters gets the password of its own user, which is asked for once.
func TestAPasswordGoesWhereItsUserIs(t *testing.T) {
	from, to := newFakeTree(t), newFakeTree(t)
	from.add(client.Node{Key: "/k", Value: "v"})
	var out, errs strings.Builder

	status := Run([]string{"--endpoints", to.url, "--username", "root", "import", "--from", from.url, "--from-username", "reader"}, nil,
		strings.NewReader("here\nthere\nnobody asks for this\n"), &out, &errs)

	if status != 0 || to.caller != "root:here" || from.caller != "reader:there" || strings.Count(out.String(), "Password") != 2 {
		t.Errorf("status %d, %q and %q were sent: %s%s", status, to.caller, from.caller, &out, &errs)
	}
}
