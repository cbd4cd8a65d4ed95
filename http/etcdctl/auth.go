package etcdctl

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"etcd2/http/client"
)

var rolesOption = option{name: "roles", arg: "ROLE,...", check: text, help: "the roles"}

var accessOptions = []option{
	{name: "path", arg: "PATTERN", check: text, help: "a key, or a prefix of keys followed by a *"},
	{name: "read", help: "reading"},
	{name: "write", help: "writing"},
	{name: "readwrite", help: "both"},
}

var authCommands = []*command{
	{name: "user", help: "users and their roles", family: []*command{
		{
			name: "add", args: "NAME[:PASSWORD]", help: "make a user; asks for the password if it is not given",
			examples: []example{{"user add root", ""}, {"user add alice:secret", ""}}, run: aboutUser(addUser),
		},
		{name: "get", args: "NAME", help: "print the roles of a user", examples: []example{{"user get alice", ""}},
			run: aboutUser(getUser)},
		{name: "list", help: "list the users", examples: []example{{"user list", ""}}, run: listNames(client.Auth.Users,
			func(u client.User) string { return u.Name })},
		{name: "remove", args: "NAME", help: "remove a user", examples: []example{{"user remove alice", ""}},
			run: aboutUser(removeUser)},
		{
			name: "grant", args: "NAME", help: "give roles to a user", options: []option{rolesOption},
			examples: []example{{"user grant alice --roles reader,writer", ""}},
			run:      aboutUser(changeRoles(client.Auth.GrantRoles)),
		},
		{
			name: "revoke", args: "NAME", help: "take roles from a user", options: []option{rolesOption},
			examples: []example{{"user revoke alice --roles writer", ""}},
			run:      aboutUser(changeRoles(client.Auth.RevokeRoles)),
		},
		{name: "passwd", args: "NAME", help: "change the password of a user",
			examples: []example{{"user passwd alice", ""}}, run: aboutUser(changePassword)},
	}},
	{name: "role", help: "roles and what they may do", family: []*command{
		{name: "add", args: "NAME", help: "make a role without permissions",
			examples: []example{{"role add reader", ""}}, run: aboutRole(addRole)},
		{name: "get", args: "NAME", help: "print what a role may do", examples: []example{{"role get reader", ""}},
			run: aboutRole(getRole)},
		{name: "list", help: "list the roles", examples: []example{{"role list", ""}}, run: listNames(client.Auth.Roles,
			func(r client.Role) string { return r.Name })},
		{name: "remove", args: "NAME", help: "remove a role", examples: []example{{"role remove reader", ""}},
			run: aboutRole(removeRole)},
		{
			name: "grant", args: "NAME", help: "add permissions to a role", options: accessOptions,
			examples: []example{{"role grant reader --path '/app/*' --read", ""}},
			run:      aboutRole(changeAccess(client.Auth.Grant)),
		},
		{
			name: "revoke", args: "NAME", help: "take permissions from a role", options: accessOptions,
			examples: []example{{"role revoke writer --path '/app/*' --readwrite", ""}},
			run:      aboutRole(changeAccess(client.Auth.Revoke)),
		},
	}},
	{name: "auth", help: "turn users and roles on and off", family: []*command{
		{
			name: "enable", help: "check the rights of users from now on", more: "There must be a user root.",
			examples: []example{{"auth enable", ""}}, run: switchAuth(client.Auth.Enable, "Enabled"),
		},
		{
			name: "disable", help: "let everybody do everything",
			examples: []example{{"-u root:secret auth disable", ""}}, run: switchAuth(client.Auth.Disable, "Disabled"),
		},
	}},
}

var errNoArguments = &failure{statusWrong, "No arguments accepted"}

// about returns the function of a command whose one argument is the name of a user or role.
func about(missing string, f func(s *session, a client.Auth, name string) error) func(*session, []string) error {
	return func(s *session, args []string) error {
		if len(args) != 1 {
			return &failure{statusWrong, missing}
		}
		return s.auth(func(a client.Auth) error { return f(s, a, args[0]) })
	}
}

func aboutUser(f func(s *session, a client.Auth, name string) error) func(*session, []string) error {
	return about("Please provide a username", f)
}

func aboutRole(f func(s *session, a client.Auth, name string) error) func(*session, []string) error {
	return about("Please provide a role name", f)
}

// auth calls f with the cluster's users and roles.
func (s *session) auth(f func(client.Auth) error) error {
	c, err := s.cluster()
	if err != nil {
		return err
	}
	return bare(f(c.Auth))
}

// missing reports whether there is no such user or role.
func missing(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Status == 404
}

func addUser(s *session, a client.Auth, name string) (err error) {
	name, password, given := strings.Cut(name, ":")
	switch _, err := a.User(s.ctx, name); {
	case err == nil:
		return &failure{statusWrong, fmt.Sprintf("User %s already exists", name)}
	case !missing(err):
		return err
	}
	if !given {
		if password, err = s.ask("New password: "); err != nil {
			return err
		}
	}
	err = s.patiently(func(ctx context.Context) error { return a.AddUser(ctx, name, password) })
	return s.done(err, "User %s created\n", name)
}

// patiently calls f with a context for --total-timeout and the time that a server may need to hash
// a password. The time that the user took to type it does not count.
func (s *session) patiently(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx),
		client.HashPatience+s.global.duration("total-timeout"))
	defer cancel()
	return f(ctx)
}

// done prints what was done, unless there was an error.
func (s *session) done(err error, format string, args ...any) error {
	if err == nil {
		s.tell(s.stdout, format, args...)
	}
	return err
}

func getUser(s *session, a client.Auth, name string) error {
	u, err := a.User(s.ctx, name)
	if err != nil {
		return err
	}
	s.tell(s.stdout, "User: %s\nRoles: ", u.Name)
	for _, r := range u.Roles {
		s.tell(s.stdout, " %s", r) // two blanks after the colon, as 2.3.8
	}
	fmt.Fprintln(s.stdout)
	return nil
}

func removeUser(s *session, a client.Auth, name string) error {
	return s.done(a.RemoveUser(s.ctx, name), "User %s removed\n", name)
}

// changePassword looks the user up first, since the API would make one that is missing.
func changePassword(s *session, a client.Auth, name string) error {
	if _, err := a.User(s.ctx, name); err != nil {
		return err
	}
	password, err := s.ask("New password: ")
	if err != nil {
		return err
	}
	err = s.patiently(func(ctx context.Context) error { return a.SetPassword(ctx, name, password) })
	return s.done(err, "Password updated\n")
}

func changeRoles(change func(client.Auth, context.Context, string, []string) error) func(*session, client.Auth,
	string) error {
	return func(s *session, a client.Auth, name string) error {
		roles := s.opts.text("roles")
		if roles == "" {
			return &failure{statusWrong, "No roles specified; please use `-roles`"}
		}
		return s.done(change(a, s.ctx, name, strings.Split(roles, ",")), "User %s updated\n", name)
	}
}

func addRole(s *session, a client.Auth, name string) error {
	switch _, err := a.Role(s.ctx, name); {
	case err == nil:
		return &failure{statusWrong, fmt.Sprintf("Role %s already exists", name)}
	case !missing(err):
		return err
	}
	return s.done(a.AddRole(s.ctx, name), "Role %s created\n", name)
}

func getRole(s *session, a client.Auth, name string) error {
	r, err := a.Role(s.ctx, name)
	if err != nil {
		return err
	}
	s.tell(s.stdout, "Role: %s\n", r.Name)
	s.showPatterns("KV Read:", r.Permissions.KV.Read)
	s.showPatterns("KV Write:", r.Permissions.KV.Write)
	return nil
}

func (s *session) showPatterns(title string, patterns []string) {
	fmt.Fprintln(s.stdout, title)
	for _, p := range patterns {
		s.tell(s.stdout, "\t%s\n", p)
	}
}

func removeRole(s *session, a client.Auth, name string) error {
	return s.done(a.RemoveRole(s.ctx, name), "Role %s removed\n", name)
}

func changeAccess(change func(client.Auth, context.Context, string, client.Access) error) func(*session, client.Auth,
	string) error {
	return func(s *session, a client.Auth, name string) error {
		access, err := s.access()
		if err != nil {
			return err
		}
		return s.done(change(a, s.ctx, name, access), "Role %s updated\n", name)
	}
}

// access returns the permissions of the options of role grant and role revoke.
func (s *session) access() (client.Access, error) {
	path, read, write, both := s.opts.text("path"), s.opts.on("read"), s.opts.on("write"), s.opts.on("readwrite")
	chosen := 0
	for _, b := range []bool{read, write, both} {
		if b {
			chosen++
		}
	}
	switch {
	case path == "":
		return client.Access{}, &failure{statusWrong, "No path specified; please use `-path`"}
	case !strings.HasPrefix(path, "/"):
		return client.Access{}, &failure{statusWrong, fmt.Sprintf("Not canonical path; please use `-path=/%s`", path)}
	case chosen != 1:
		return client.Access{}, &failure{statusWrong, "Please specify exactly one of -read, -write or -readwrite"}
	}
	var a client.Access
	if read || both {
		a.Read = []string{path}
	}
	if write || both {
		a.Write = []string{path}
	}
	return a, nil
}

// listNames prints the names of all users or of all roles.
func listNames[T any](list func(client.Auth, context.Context) ([]T, error), name func(T) string) func(*session,
	[]string) error {
	return func(s *session, args []string) error {
		if len(args) > 0 {
			return errNoArguments
		}
		return s.auth(func(a client.Auth) error {
			all, err := list(a, s.ctx)
			for _, one := range all {
				s.tell(s.stdout, "%s\n", name(one))
			}
			return err
		})
	}
}

func switchAuth(turn func(client.Auth, context.Context) error, state string) func(*session, []string) error {
	return func(s *session, args []string) error {
		if len(args) > 0 {
			return errNoArguments
		}
		return s.auth(func(a client.Auth) error {
			err := s.patiently(func(ctx context.Context) error { return turn(a, ctx) })
			return s.done(err, "Authentication %s\n", state)
		})
	}
}
