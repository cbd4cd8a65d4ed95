package auth

import (
	"context"
	"encoding/base64"
	"log/slog"
	"strings"
	"testing"
	"time"

	"etcd2/store"
)

// world is a keeper that hashes with few rounds, and its store.
type world struct {
	*Keeper
	t     testing.TB
	store *store.Store
	index uint64
	log   strings.Builder
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, store: store.New(store.Limits{})}
	w.Keeper = New(Config{Store: w.store, Logger: slog.New(slog.NewTextHandler(&w.log, nil)), Iterations: 10})
	return w
}

// do applies a change, and fails the test if it is refused.
func (w *world) do(c Change, err error) Change {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, cmd := range c.Commands {
		cmd.Revision = w.store.AuthRevision()
		w.index++
		if e, ok := w.store.Apply(w.index, time.Unix(1, 0), cmd.Append(nil)).(*store.Event); !ok {
			w.t.Fatalf("%+v gives %v", cmd, e)
		}
	}
	return c
}

// user makes a user, whose password is the name with "-pw" behind it.
func (w *world) user(name string, roles ...string) {
	w.t.Helper()
	hash := func() (Secret, error) { return newSecret(name+"-pw", w.iterations) }
	w.do(w.State().PutUser(UserUpdate{User: name, Password: name + "-pw", Roles: roles}, hash))
}

// bcryptUser makes a user whose password etcd 2 has hashed.
func (w *world) bcryptUser(name, password, hash string) {
	w.t.Helper()
	secret := func() (Secret, error) { return ParseBcrypt(hash) }
	w.do(w.State().PutUser(UserUpdate{User: name, Password: password}, secret))
}

// role makes a role; patterns are separated by blanks.
func (w *world) role(name, read, write string) {
	w.t.Helper()
	kv := Patterns{strings.Fields(read), strings.Fields(write)}
	w.do(w.State().PutRole(RoleUpdate{Role: name, Permissions: Permissions{kv}}))
}

// enabled makes the user root and turns auth on.
func (w *world) enabled() *world {
	w.t.Helper()
	w.user(rootName)
	w.do(w.State().Enable())
	return w
}

// header returns the value of Authorization.
func header(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func by(header string) Caller { return Caller{Authorization: []string{header}, Address: "192.0.2.1"} }

// as returns a caller with the password that user gives every user.
func as(name string) Caller {
	if name == "" {
		return Caller{Address: "192.0.2.1"}
	}
	return by(header(name, name+"-pw"))
}

func (w *world) judge(c Caller, need Right) error {
	_, err := w.Judge(context.Background(), c, need)
	return err
}
