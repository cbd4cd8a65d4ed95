package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"etcd2/http/auth"
	"etcd2/store"
)

// The directories at the top of etcd's store.
const (
	topCluster = "/0"
	topKeys    = "/1"
	topAuth    = "/2"

	versionKey = topCluster + "/version"
)

// A replay applies the log of etcd to a store of ours. It belongs to one goroutine.
type replay struct {
	tree    *store.Store
	at      position // of the last entry that was applied
	now     int64    // the time of the last SYNC: nothing else moves the store's clock
	padded  bool     // names made in order have 20 digits
	version string   // of the cluster: "2.3.0"; "": etcd 2.0 has none
	members members
	hasAuth bool // the directory of users and roles exists, perhaps empty
	scratch []byte

	v3       int // operations of the API v3
	doubtful int // updates with a comparison, which etcd before 2.0.10 ignored
}

// newReplay begins with the store of a snapshot, or with an empty one for nil.
func newReplay(s *snapshot) (*replay, error) {
	r := &replay{tree: store.New(store.Limits{}), members: newMembers()}
	if s == nil {
		return r, nil
	}
	index := dumpIndex(s.dump)
	r.tree, r.at = store.Continue(store.Limits{}, index), s.at
	said, err := readDump(s.dump, r.plant)
	if err == nil && (said != index || index > 1<<62) {
		err = fmt.Errorf("the store index in it is %d, and another one at the end is %d", said, index)
	}
	for _, id := range s.voters {
		r.members.voters[id] = true
	}
	return r, err
}

// split returns the top directory of a path, and the path below it.
func split(path string) (top, below string) {
	if at := strings.IndexByte(path[1:], '/'); at >= 0 {
		return path[:at+1], path[at+1:]
	}
	return path, "/"
}

// plant adds a node of a snapshot.
func (r *replay) plant(n store.Node) error {
	top, below := split(n.Path)
	switch {
	case top == topCluster:
		if n.Path == versionKey {
			r.version = n.Value
		}
		r.members.set(n.Path, n.Value)
		return nil
	case top == topAuth && below == "/":
		r.hasAuth = true
	case below == "/":
	case top == topAuth:
		n.Path, n.Value, n.Ends = below, authValue(below, n.Value), nil
		return r.tree.Plant(store.Auth, n)
	case top == topKeys:
		n.Path = below
		return r.tree.Plant(store.Keys, n)
	default:
		return fmt.Errorf("%q is no directory of etcd 2", top)
	}
	return nil
}

// runAs sets the version of the program that ran last. It applied the log at its start, by its own
// rules, also the entries that an older version had written.
func (r *replay) runAs(version string) {
	major, minor := 0, 0
	fmt.Sscanf(version, "%d.%d", &major, &minor)
	r.padded = major > 2 || major == 2 && minor >= 2
}

// entry applies one entry.
func (r *replay) entry(e entry) error {
	r.at = e.position
	switch {
	case len(e.data) == 0:
		return r.apply(nil)
	case e.change:
		c, isOne := decodeChange(e.data)
		if !isOne {
			return errors.New("it is no change of the members")
		}
		return r.advance(r.members.change(c))
	}
	q, isOne := decodeRequest(e.data)
	if !isOne {
		return r.internal(e.data)
	}
	return r.request(&q)
}

// internal applies a request of etcd 3. Few of them change the store of the API v2.
func (r *replay) internal(b []byte) error {
	var v2, version []byte
	attributes := false
	whole := fields(b, func(f field) bool {
		switch f.id {
		case 2:
			v2 = f.text
		case 1300:
			fields(f.text, func(f field) bool { version = f.text; return true })
		case 1301:
			attributes = true
		}
		return true
	})
	switch {
	case !whole:
		return errors.New("it is no request")
	case v2 != nil:
		q, isOne := decodeRequest(v2)
		if !isOne {
			return errors.New("it is no request of the API v2")
		}
		return r.request(&q)
	case version != nil:
		r.version = string(version)
		return r.advance(1)
	case attributes:
		return r.advance(1)
	}
	r.v3++
	return r.apply(nil)
}

// request applies a request of the API v2.
func (r *replay) request(q *request) error {
	switch top, below := split(q.path); {
	case q.method == "QGET":
		return r.apply(nil)
	case q.method == "SYNC":
		r.now = max(r.now, q.time)
		return r.apply(nil)
	case top == topCluster && below != "/":
		return r.advance(r.cluster(q))
	case top == topAuth && below == "/":
		made := !r.hasAuth && r.tree.AuthRevision() == 0 && q.dir && q.method == "PUT"
		r.hasAuth = r.hasAuth || made
		return r.advance(count(made))
	case top == topAuth:
		q.value, q.expiration = authValue(below, q.value), 0
		return r.key(q, store.Auth, below)
	case top == topKeys:
		return r.key(q, store.Keys, below)
	}
	return r.apply(nil) // etcd refuses requests for a top directory
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// cluster reads a value that a member writes about itself or the cluster. It returns by how much
// that advances the store index.
func (r *replay) cluster(q *request) int {
	switch {
	case q.method != "PUT":
		return 0
	case q.path == versionKey:
		r.version = q.value
	case !r.members.set(q.path, q.value):
		return count(r.version == "") // etcd 2.0 sets it all the same
	}
	return 1
}

// key applies a request for keys, or for users and roles.
func (r *replay) key(q *request, space store.Space, path string) error {
	q.path = path
	c := q.command(r.now, r.tree.Index()+1, r.padded)
	c.Space, c.Revision = space, r.tree.AuthRevision()
	if c.Op == store.OpCompareAndSwap && q.hasExist && r.version == "" {
		r.doubtful++
	}
	return r.apply(&c)
}

// advance applies an entry that advances the store index, and changes no keys.
func (r *replay) advance(indices int) error {
	if indices == 0 {
		return r.apply(nil)
	}
	return r.apply(&store.Command{Op: store.OpAdvance, Count: uint64(indices)})
}

// apply applies a command, or an entry without one. A request that fails is no error: it failed in
// etcd, too.
func (r *replay) apply(c *store.Command) error {
	r.scratch = r.scratch[:0]
	if c != nil {
		r.scratch = c.Append(r.scratch)
	}
	switch answer := r.tree.Apply(r.at.index, time.Unix(0, r.now), r.scratch).(type) {
	case *store.Error:
		if answer.Code == store.CodeRaft {
			return fmt.Errorf("no store of ours takes %.200q: %w", c.Path, answer)
		}
	case error:
		return answer
	}
	return nil
}

// authValue returns what package auth stores for a value of etcd. Users have another form. If the
// hash of a password can't be checked here, the user can't log in.
func authValue(path, value string) string {
	var old struct {
		User     string   `json:"user"`
		Password string   `json:"password"`
		Roles    []string `json:"roles"`
	}
	if !strings.HasPrefix(path, usersPrefix) || json.Unmarshal([]byte(value), &old) != nil {
		return value
	}
	secret, err := auth.ParseBcrypt(old.Password)
	if err != nil {
		secret = auth.Secret{}
	}
	text, _ := json.Marshal(auth.User{Name: old.User, Roles: old.Roles, Secret: secret})
	return string(text)
}

// usersPrefix is how the paths of users begin, in both programs.
const usersPrefix = "/users/"
