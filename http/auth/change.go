package auth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"etcd2/store"
)

// Refusal is the answer to an administrator whose change is not possible (section 18.4).
type Refusal struct {
	Status  int // of HTTP
	Message string
}

// Error is the message.
func (r *Refusal) Error() string { return r.Message }

func refuse(status int, format string, args ...any) *Refusal {
	return &Refusal{status, fmt.Sprintf(format, args...)}
}

func noUser(name string) *Refusal {
	return refuse(http.StatusNotFound, "auth: User %s does not exist.", name)
}

func noRole(name string) *Refusal {
	return refuse(http.StatusNotFound, "auth: Role %s does not exist.", name)
}

func rootRoleStays() *Refusal {
	return refuse(http.StatusForbidden, "auth: Cannot modify role root: is root role.")
}

// Change is how to get from one state to another, and the answer when that is done. The commands
// are proposed in order. The first is judged by the revision of the State, and each later one by
// the revision that the command before it made.
type Change struct {
	Commands []store.Command
	Status   int    // of HTTP
	Body     any    // sent as JSON; nil: no body
	Did      string // for the log: "user created"
	Name     string // of the user or role
}

// set returns the command that stores v as JSON at dir/name.
func set(dir, name string, v any) store.Command {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // all values are of types that JSON has
	}
	return store.Command{Op: store.OpSet, Space: store.Auth, Path: dir + "/" + name, Value: string(text)}
}

func remove(dir, name string) store.Command {
	return store.Command{Op: store.OpDelete, Space: store.Auth, Path: dir + "/" + name}
}

func turn(to string) store.Command {
	return store.Command{Op: store.OpSet, Space: store.Auth, Path: switchPath, Value: to}
}

// Enable turns access rights on. When there is no role guest it makes one with all rights to keys,
// so that clients without credentials can go on as before.
func (st *State) Enable() (Change, error) {
	c := Change{Status: http.StatusOK, Did: "auth enabled"}
	switch {
	case st.Enabled:
		return c, refuse(http.StatusConflict, "auth: already enabled")
	case st.users[rootName] == nil:
		return c, refuse(http.StatusConflict, "auth: No root user available, please create one")
	case st.roles[guestName] == nil:
		c.Commands = append(c.Commands, set(rolesDir, guestName, Role{guestName, rootRole.Permissions}))
	}
	c.Commands = append(c.Commands, turn(switchOn))
	return c, nil
}

// Disable turns access rights off.
func (st *State) Disable() (Change, error) {
	if !st.Enabled {
		return Change{}, refuse(http.StatusConflict, "auth: already disabled")
	}
	return Change{Commands: []store.Command{turn(switchOff)}, Status: http.StatusOK, Did: "auth disabled"}, nil
}

// GuestMayWrite reports whether, with auth enabled, a caller without credentials may write any key.
func (st *State) GuestMayWrite() bool { return st.guest.root || len(st.guest.write) > 0 }

// UserUpdate is the body of PUT /v2/auth/users/NAME.
type UserUpdate struct {
	User     string   `json:"user"`
	Password string   `json:"password"`
	Roles    []string `json:"roles"`
	Grant    []string `json:"grant"`
	Revoke   []string `json:"revoke"`
}

// namedUser is a user with the names of its roles: the answer to a PUT.
type namedUser struct {
	Name  string   `json:"user"`
	Roles []string `json:"roles"`
}

// PutUser makes or changes the user. It calls hash when there is a password to store. The error is
// that of hash, or a *Refusal.
func (st *State) PutUser(up UserUpdate, hash func() (Secret, error)) (Change, error) {
	updates, old := len(up.Grant)+len(up.Revoke) > 0, st.users[up.User]
	switch {
	case updates && len(up.Roles) > 0:
		return Change{}, refuse(http.StatusBadRequest, "User JSON contains both roles and grant/revoke")
	case len(up.Roles) > 0:
		return createUser(up, old, http.StatusOK, hash)
	case !updates && old == nil:
		return createUser(up, old, http.StatusCreated, hash)
	case old == nil:
		return Change{}, noUser(up.User)
	}
	return old.update(up, hash)
}

func createUser(up UserUpdate, old *User, status int, hash func() (Secret, error)) (c Change, err error) {
	switch {
	case up.Password == "":
		return c, refuse(http.StatusBadRequest, "auth: Cannot create user %s with an empty password", up.User)
	case old != nil:
		return c, refuse(http.StatusConflict, "auth: User %s already exists.", up.User)
	}
	u := User{Name: up.User}
	if len(up.Roles) > 0 {
		u.Roles = up.Roles
	}
	if u.Name == rootName {
		u.Roles = withRoot(u.Roles)
	}
	if u.Secret, err = hash(); err != nil {
		return c, err
	}
	return u.change(status, "user created"), nil
}

// update grants before it revokes. A user made without roles has null in place of a list, and an
// empty list after its first update. So the first update is a change even if it grants and revokes
// nothing (section 18.4).
func (u *User) update(up UserUpdate, hash func() (Secret, error)) (c Change, err error) {
	next := User{Name: u.Name, Secret: u.Secret, Roles: asSet(u.Roles)}
	for _, role := range up.Grant {
		if slices.Contains(next.Roles, role) {
			return c, refuse(http.StatusConflict, "auth: Granting duplicate role %s for user %s", role, u.Name)
		}
		next.Roles = append(next.Roles, role)
	}
	for _, role := range up.Revoke {
		at := slices.Index(next.Roles, role)
		if at < 0 {
			return c, refuse(http.StatusConflict, "auth: Revoking ungranted role %s for user %s", role, u.Name)
		}
		next.Roles = slices.Delete(next.Roles, at, at+1)
	}
	next.Roles = asSet(next.Roles)
	if up.Password == "" && same(next.Roles, u.Roles) {
		return c, refuse(http.StatusBadRequest, "auth: User not updated. Use grant/revoke/password to update the user.")
	}
	if up.Password != "" {
		if next.Secret, err = hash(); err != nil {
			return c, err
		}
	}
	return next.change(http.StatusOK, "user changed"), nil
}

func (u *User) change(status int, did string) Change {
	return Change{
		Commands: []store.Command{set(usersDir, u.Name, u)},
		Status:   status, Body: namedUser{u.Name, u.Roles}, Did: did, Name: u.Name,
	}
}

// asSet returns the list sorted, without doubles, and never nil.
func asSet(list []string) []string {
	set := append([]string{}, list...)
	slices.Sort(set)
	return slices.Compact(set)
}

// same reports whether two lists print alike.
func same(a, b []string) bool { return slices.Equal(a, b) && (a == nil) == (b == nil) }

// DeleteUser removes a user.
func (st *State) DeleteUser(name string) (Change, error) {
	switch {
	case name == rootName && st.Enabled:
		return Change{}, refuse(http.StatusForbidden, "auth: Cannot delete root user while auth is enabled.")
	case st.users[name] == nil:
		return Change{}, refuse(http.StatusNotFound, "auth: User %s does not exist", name)
	}
	return Change{Commands: []store.Command{remove(usersDir, name)}, Status: http.StatusOK, Did: "user deleted",
		Name: name}, nil
}

// RoleUpdate is the body of PUT /v2/auth/roles/NAME.
type RoleUpdate struct {
	Role        string       `json:"role"`
	Permissions Permissions  `json:"permissions"`
	Grant       *Permissions `json:"grant,omitempty"`
	Revoke      *Permissions `json:"revoke,omitempty"`
}

// PutRole makes or changes the role. Its error is a *Refusal.
func (st *State) PutRole(up RoleUpdate) (Change, error) {
	creates, old := up.Grant.empty() && up.Revoke.empty(), st.roles[up.Role]
	switch {
	case !creates && !up.Permissions.empty():
		return Change{}, refuse(http.StatusBadRequest, "Role JSON contains both permissions and grant/revoke")
	case up.Role == rootName:
		return Change{}, rootRoleStays()
	case creates && old != nil:
		return Change{}, refuse(http.StatusConflict, "auth: Role %s already exists.", up.Role)
	case creates:
		role := Role{up.Role, up.Permissions}
		return role.change(http.StatusCreated, "role created", up), nil
	case old == nil:
		return Change{}, noRole(up.Role)
	}
	return old.update(up)
}

// update grants before it revokes.
func (r *Role) update(up RoleUpdate) (c Change, err error) {
	var grant, revoke Patterns
	if up.Grant != nil {
		grant = up.Grant.KV
	}
	if up.Revoke != nil {
		revoke = up.Revoke.KV
	}
	next, have := Role{Name: r.Name}, r.Permissions.KV
	kv := &next.Permissions.KV
	if kv.Read, err = merge("read", have.Read, grant.Read, revoke.Read); err != nil {
		return c, err
	}
	if kv.Write, err = merge("write", have.Write, grant.Write, revoke.Write); err != nil {
		return c, err
	}
	if same(kv.Read, have.Read) && same(kv.Write, have.Write) {
		return c, refuse(http.StatusBadRequest, "auth: Role not updated. Use grant/revoke to update the role.")
	}
	return next.change(http.StatusOK, "role changed", next), nil
}

// merge returns the patterns of have and grant without those of revoke. To revoke a pattern that is
// not there is no error; to grant one that is there is a *Refusal.
func merge(kind string, have, grant, revoke []string) ([]string, error) {
	list := asSet(have)
	for _, p := range grant {
		if slices.Contains(list, p) {
			return nil, refuse(http.StatusConflict, "auth: Granting duplicate %s permission %s", kind, p)
		}
		list = append(list, p)
	}
	list = slices.DeleteFunc(list, func(p string) bool { return slices.Contains(revoke, p) })
	return asSet(list), nil
}

func (r *Role) change(status int, did string, body any) Change {
	return Change{Commands: []store.Command{set(rolesDir, r.Name, r)}, Status: status, Body: body, Did: did,
		Name: r.Name}
}

// DeleteRole removes a role; users keep its name.
func (st *State) DeleteRole(name string) (Change, error) {
	switch {
	case name == rootName:
		return Change{}, rootRoleStays()
	case st.roles[name] == nil:
		return Change{}, refuse(http.StatusNotFound, "auth: Role %s doesn't exist.", name)
	}
	return Change{Commands: []store.Command{remove(rolesDir, name)}, Status: http.StatusOK, Did: "role deleted",
		Name: name}, nil
}
