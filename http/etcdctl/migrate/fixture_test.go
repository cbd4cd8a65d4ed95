package migrate

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"etcd2/store"
)

// recorded is what a real server answered before it stopped.
type recorded struct {
	Index       uint64
	Tree        shownNode
	Hidden      map[string]shownNode
	Members     []struct{ ID, Name string }
	Users       json.RawMessage
	Roles       json.RawMessage
	AuthEnabled bool
	Passwords   map[string]string
	ClusterID   string
	RaftIndex   uint64
	RaftTerm    uint64
	AfterStart  struct {
		Index uint64
		Tree  shownNode
	}
	Single struct {
		Index   uint64
		Missing []string
	}
}

// shownNode is a node as the API shows it.
type shownNode struct {
	Key, Value                  string
	Dir                         bool
	Nodes                       []shownNode
	CreatedIndex, ModifiedIndex uint64
	Expiration                  time.Time
}

// unpack unpacks a data directory of a real server, and returns where it is with what the server
// answered. The archives are those of testdata.
func unpack(t testing.TB, name string) (dir string, want *recorded) {
	t.Helper()
	dir, want = t.TempDir(), new(recorded)
	out, err := exec.Command("tar", "-xzf", filepath.Join("testdata", name+".tar.gz"), "-C", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "recorded.json"))
	if err == nil {
		err = json.Unmarshal(b, want)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return dir, want
}

// flat returns all nodes of a tree, one a line.
func flat(list ...shownNode) (lines []string) {
	for _, n := range list {
		if n.Key != "" {
			lines = append(lines, line(n.Key, n.Value, n.Dir, n.CreatedIndex, n.ModifiedIndex, n.Expiration))
		}
		lines = append(lines, flat(n.Nodes...)...)
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

func line(key, value string, dir bool, created, modified uint64, ends time.Time) string {
	text := fmt.Sprintf("%s %q dir=%v %d/%d", key, value, dir, created, modified)
	if !ends.IsZero() {
		text += " until " + ends.UTC().Format(time.RFC3339Nano)
	}
	return text
}

// lines returns all that was recorded about keys.
func (w *recorded) lines() []string {
	all := []shownNode{w.Tree}
	for _, n := range w.Hidden {
		all = append(all, n)
	}
	return flat(all...)
}

// linesOf returns all nodes of a store, also hidden ones.
func linesOf(tree *store.Store) (lines []string) {
	v, _ := tree.Get("/")
	var walk func(n *store.Node)
	walk = func(n *store.Node) {
		for child := range v.All(n) {
			var ends time.Time
			if child.Ends != nil {
				ends = time.Unix(0, child.Ends.Shown)
			}
			lines = append(lines, line(child.Path, child.Value, child.Dir, child.Created, child.Modified, ends))
			walk(child)
		}
	}
	walk(v.Node)
	slices.Sort(lines)
	return lines
}

// same fails the test unless the lines are the expected ones. There may be further hidden nodes,
// which the recording did not ask for.
func same(t *testing.T, got, want []string) {
	t.Helper()
	var b strings.Builder
	for _, l := range got {
		if !slices.Contains(want, l) && !strings.Contains(l, "/_") {
			fmt.Fprintf(&b, "\n+ %.300s", l)
		}
	}
	for _, l := range want {
		if !slices.Contains(got, l) {
			fmt.Fprintf(&b, "\n- %.300s", l)
		}
	}
	if b.Len() > 0 {
		t.Errorf("the tree differs:%.4000s", b.String())
	}
}
