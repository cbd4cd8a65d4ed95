package client

import (
	"context"
	"encoding/json"
	"time"
)

// Auth is the part of a Client for users, roles and rights. Once auth is on, all methods except
// Enabled need the rights of root.
type Auth struct{ c *Client }

// A User has roles, and a password, which no answer contains.
type User struct {
	Name  string
	Roles []string // by name
}

// A Role is what its users may read and write.
type Role struct {
	Name        string      `json:"role"`
	Permissions Permissions `json:"permissions"`
}

// Permissions are patterns of keys: a key, or a prefix of keys followed by a *.
type Permissions struct {
	KV Access `json:"kv"`
}

// Access is what may be read, and what may be written.
type Access struct {
	Read  []string `json:"read"`
	Write []string `json:"write"`
}

const authPath = "/v2/auth/"

// HashPatience is the longest silence of an endpoint during a change of users and roles, if that is
// longer than Timeout of Config: a server hashes the new password and that of root, and on a slow
// or busy machine each takes seconds.
const HashPatience = 10 * time.Second

// Enabled reports whether auth is on.
func (a Auth) Enabled(ctx context.Context) (bool, error) {
	var v struct {
		Enabled *bool `json:"enabled"`
	}
	err := a.get(ctx, "enable", &v, func() bool { return v.Enabled != nil })
	return err == nil && *v.Enabled, err
}

// Enable turns auth on. There must be a user root.
func (a Auth) Enable(ctx context.Context) error { return a.send(ctx, "PUT", "enable", nil) }

// Disable turns auth off.
func (a Auth) Disable(ctx context.Context) error { return a.send(ctx, "DELETE", "enable", nil) }

// Users returns all users, ordered by name.
func (a Auth) Users(ctx context.Context) ([]User, error) {
	var v struct {
		Users []userJSON `json:"users"`
	}
	if err := a.get(ctx, "users", &v, always); err != nil {
		return nil, err
	}
	users := []User{}
	for _, u := range v.Users {
		users = append(users, u.user())
	}
	return users, nil
}

// User returns one user.
func (a Auth) User(ctx context.Context, name string) (User, error) {
	var v userJSON
	err := a.get(ctx, "users/"+name, &v, func() bool { return v.Name != "" })
	return v.user(), err
}

// userJSON is a user as the API shows it: with names of roles, or with whole roles.
type userJSON struct {
	Name  string            `json:"user"`
	Roles []json.RawMessage `json:"roles"`
}

func (u userJSON) user() User {
	user := User{Name: u.Name, Roles: []string{}}
	for _, raw := range u.Roles {
		var role Role
		if json.Unmarshal(raw, &role.Name) == nil || json.Unmarshal(raw, &role) == nil {
			user.Roles = append(user.Roles, role.Name)
		}
	}
	return user
}

// A userChange without Grant and Revoke makes the user, or gives an existing one a new password.
type userChange struct {
	Name     string   `json:"user"`
	Password string   `json:"password,omitempty"`
	Roles    []string `json:"roles,omitempty"`
	Grant    []string `json:"grant,omitempty"`
	Revoke   []string `json:"revoke,omitempty"`
}

// AddUser makes a user without roles. If the user exists, it sets the password.
func (a Auth) AddUser(ctx context.Context, name, password string) error {
	return a.changeUser(ctx, userChange{Name: name, Password: password})
}

// SetPassword gives a user a new password. If the user does not exist, it makes it.
func (a Auth) SetPassword(ctx context.Context, name, password string) error {
	return a.AddUser(ctx, name, password)
}

// GrantRoles gives roles to a user.
func (a Auth) GrantRoles(ctx context.Context, name string, roles []string) error {
	return a.changeUser(ctx, userChange{Name: name, Grant: roles})
}

// RevokeRoles takes roles from a user.
func (a Auth) RevokeRoles(ctx context.Context, name string, roles []string) error {
	return a.changeUser(ctx, userChange{Name: name, Revoke: roles})
}

func (a Auth) changeUser(ctx context.Context, u userChange) error {
	return a.send(ctx, "PUT", "users/"+u.Name, u)
}

// RemoveUser removes a user.
func (a Auth) RemoveUser(ctx context.Context, name string) error {
	return a.send(ctx, "DELETE", "users/"+name, nil)
}

// Roles returns all roles, ordered by name.
func (a Auth) Roles(ctx context.Context) ([]Role, error) {
	var v struct {
		Roles []Role `json:"roles"`
	}
	err := a.get(ctx, "roles", &v, func() bool { return v.Roles != nil })
	return v.Roles, err
}

// Role returns one role.
func (a Auth) Role(ctx context.Context, name string) (Role, error) {
	var v Role
	err := a.get(ctx, "roles/"+name, &v, func() bool { return v.Name != "" })
	return v, err
}

// A roleChange without Grant and Revoke makes the role.
type roleChange struct {
	Name        string       `json:"role"`
	Permissions *Permissions `json:"permissions,omitempty"`
	Grant       *Permissions `json:"grant,omitempty"`
	Revoke      *Permissions `json:"revoke,omitempty"`
}

// AddRole makes a role without permissions.
func (a Auth) AddRole(ctx context.Context, name string) error {
	return a.changeRole(ctx, roleChange{Name: name, Permissions: &Permissions{KV: Access{Read: []string{},
		Write: []string{}}}})
}

// Grant adds permissions to a role.
func (a Auth) Grant(ctx context.Context, role string, access Access) error {
	return a.changeRole(ctx, roleChange{Name: role, Grant: &Permissions{KV: access}})
}

// Revoke takes permissions from a role.
func (a Auth) Revoke(ctx context.Context, role string, access Access) error {
	return a.changeRole(ctx, roleChange{Name: role, Revoke: &Permissions{KV: access}})
}

func (a Auth) changeRole(ctx context.Context, r roleChange) error {
	return a.send(ctx, "PUT", "roles/"+r.Name, r)
}

// RemoveRole removes a role. Users keep its name.
func (a Auth) RemoveRole(ctx context.Context, name string) error {
	return a.send(ctx, "DELETE", "roles/"+name, nil)
}

func (a Auth) get(ctx context.Context, path string, v any, sense func() bool) error {
	_, err := a.c.json(ctx, &request{method: "GET", path: authPath + path}, v, sense)
	return err
}

func always() bool { return true }

// send sends a request whose answer says only that it is done. Its body may hold a password.
func (a Auth) send(ctx context.Context, method, path string, v any) error {
	r := &request{method: method, path: authPath + path, secret: true, patience: HashPatience}
	if v != nil {
		body, err := json.Marshal(v)
		if err != nil {
			return err
		}
		r.json = body
	}
	_, err := a.c.do(ctx, r)
	return err
}
