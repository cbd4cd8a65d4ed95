package auth

import (
	"encoding/json"
	"iter"
	"maps"
	"path"
	"slices"

	"etcd2/store"
)

// The paths in the space store.Auth: a node for the switch, and one for each user and role. The
// value of a user's or role's node is its JSON.
const (
	switchPath = "/enabled"
	usersDir   = "/users"
	rolesDir   = "/roles"

	switchOn, switchOff = "true", "false"
)

// The names with a meaning. The user root always has the role root, which is built in and may do
// everything. The role guest says what requests without credentials may do.
const (
	rootName  = "root"
	guestName = "guest"
)

// User is a user as it is stored.
type User struct {
	Name   string   `json:"user"`
	Roles  []string `json:"roles"` // nil for a user made without roles and never changed (section 18.4)
	Secret Secret   `json:"secret"`

	rights rights // of all its roles together
}

// Role is a role as it is stored, and as the API shows it.
type Role struct {
	Name        string      `json:"role"`
	Permissions Permissions `json:"permissions"`
}

// Permissions are what a role may do.
type Permissions struct {
	KV Patterns `json:"kv"`
}

// Patterns are the keys that may be read and written; see covers. A nil list was never given, and
// prints as null.
type Patterns struct {
	Read  []string `json:"read"`
	Write []string `json:"write"`
}

// empty reports whether p is nil or has no pattern.
func (p *Permissions) empty() bool {
	return p == nil || len(p.KV.Read)+len(p.KV.Write) == 0
}

// rootRole is the role root as the API shows it.
var rootRole = &Role{rootName, Permissions{Patterns{Read: []string{"/*"}, Write: []string{"/*"}}}}

// State is the switch, the users and the roles as of one revision. It is immutable.
type State struct {
	Revision uint64 // see store.AuthRevision
	Enabled  bool

	users map[string]*User
	roles map[string]*Role // without root
	guest rights

	bcryptCost int // the highest cost of a user's bcrypt hash; 0: no user has one
}

// newState reads the state from a view of store.Auth.
func newState(v store.View, revision uint64) *State {
	st := &State{Revision: revision, users: map[string]*User{}, roles: map[string]*Role{}}
	for n := range v.All(v.Node) {
		switch n.Path {
		case switchPath:
			st.Enabled = n.Value != switchOff
		case usersDir:
			readAll(v, n, st.users)
		case rolesDir:
			readAll(v, n, st.roles)
		}
	}
	for _, u := range st.users {
		if u.Name == rootName {
			u.Roles = withRoot(u.Roles)
		}
		u.rights = st.rightsOf(u.Roles...)
		st.bcryptCost = max(st.bcryptCost, u.Secret.BcryptCost)
	}
	st.guest = st.rightsOf(guestName)
	return st
}

// readAll reads the users or roles in a directory into a map by name. It leaves out a value that is
// not JSON of a T, so that it gives nobody a right: only a later version could have written it.
func readAll[T any](v store.View, dir *store.Node, into map[string]*T) {
	for n := range v.All(dir) {
		item := new(T)
		if json.Unmarshal([]byte(n.Value), item) == nil {
			into[path.Base(n.Path)] = item
		}
	}
}

// withRoot returns roles with root among them.
func withRoot(roles []string) []string {
	if slices.Contains(roles, rootName) {
		return roles
	}
	return append(slices.Clone(roles), rootName)
}

// role returns a role that exists, or nil.
func (st *State) role(name string) *Role {
	if name == rootName {
		return rootRole
	}
	return st.roles[name]
}

// rightsOf is the union of the rights of roles. A role that does not exist gives none.
func (st *State) rightsOf(roles ...string) (r rights) {
	for _, name := range roles {
		if name == rootName {
			r.root = true
		} else if role := st.roles[name]; role != nil {
			r.read = append(r.read, role.Permissions.KV.Read...)
			r.write = append(r.write, role.Permissions.KV.Write...)
		}
	}
	return r
}

// shownUser is a user with whole roles, as GET shows it.
type shownUser struct {
	Name  string  `json:"user"`
	Roles []*Role `json:"roles,omitempty"`
}

// show returns the user with those of its roles that exist, and the first role that does not; ""
// when all exist.
func (st *State) show(u *User) (shown shownUser, missing string) {
	shown.Name = u.Name
	for _, name := range u.Roles {
		if role := st.role(name); role != nil {
			shown.Roles = append(shown.Roles, role)
		} else if missing == "" {
			missing = name
		}
	}
	return shown, missing
}

// Users is what GET /v2/auth/users shows: all users by name, null when there is none.
func (st *State) Users() iter.Seq[any] {
	return func(yield func(any) bool) {
		for _, name := range slices.Sorted(maps.Keys(st.users)) {
			if shown, _ := st.show(st.users[name]); !yield(shown) {
				return
			}
		}
	}
}

// User is what GET shows of one user. Its error is a *Refusal.
func (st *State) User(name string) (any, error) {
	u := st.users[name]
	if u == nil {
		return nil, noUser(name)
	}
	shown, missing := st.show(u)
	if missing != "" {
		return nil, noRole(missing)
	}
	return shown, nil
}

// Roles is what GET /v2/auth/roles shows: all roles by name, root among them.
func (st *State) Roles() iter.Seq[any] {
	names := slices.Sorted(maps.Keys(st.roles))
	at, _ := slices.BinarySearch(names, rootName)
	return func(yield func(any) bool) {
		for _, name := range slices.Insert(names, at, rootName) {
			if !yield(st.role(name)) {
				return
			}
		}
	}
}

// Role is what GET shows of one role. Its error is a *Refusal.
func (st *State) Role(name string) (any, error) {
	if role := st.role(name); role != nil {
		return role, nil
	}
	return nil, noRole(name)
}
