package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	_ "etcd2/e2e/pace" // -long
	"etcd2/store"
)

// Hashes made by glibc 2.36 (libxcrypt) and etcd 2.3.8. The last two passwords differ only behind
// the 72nd byte.
var bcryptVectors = []struct{ password, hash string }{
	{"correct horse", "$2a$10$WWkQnenzZgosnVCyXb34BeJ6U0tk0xQDsq92VkmTROR458v7UK7Se"},
	{"päss wörd 世", "$2a$10$IRlPVwcBhrNr8fKBlnU95eMDEbxPmcqU4RmLAJBxT3n582sTr/2Na"},
	{"U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
	{"", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."},
	{"a", "$2b$04$abcdefghijklmnopqrstuuMFdJu9yVgmagVAIC24fOZkaFqd3s9JC"},
	{"päss wörd", "$2y$04$......................tTxojmXiMCwu.gN/rbOSbkS0Emnryki"},
	{strings.Repeat("0123456789", 7) + "ab", "$2a$05$abcdefghijklmnopqrstuucInKr3IboNwd.uyBCOF.k5jbgnj4BlS"},
	{strings.Repeat("0123456789", 7) + "abcdef", "$2a$05$abcdefghijklmnopqrstuucInKr3IboNwd.uyBCOF.k5jbgnj4BlS"},
}

func TestBcryptIsThatOfOthers(t *testing.T) {
	for _, v := range bcryptVectors {
		s, err := ParseBcrypt(v.hash)
		if err != nil || !s.is(v.password) {
			t.Errorf("%q is not the password of %s: %v", v.password, v.hash, err)
		}
		if s.is("x" + v.password) {
			t.Errorf("%q is the password of %s", "x"+v.password, v.hash)
		}
	}
}

// A text that is no hash, and a hash whose check takes more than a second, are refused; one that is
// stored all the same is never computed.
func TestBcryptHashesHaveBounds(t *testing.T) {
	const salt, key = "CCCCCCCCCCCCCCCCCCCCC.", "E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	for _, hash := range []string{
		"", "$2a$05$", "$2x$05$" + salt + key, "$1$05$" + salt + key, "$2a$5$" + salt + key, "$2a$05$" +
			salt + key + "x",
		"$2a$05$" + salt + key[:30], "$2a$05$" + salt + key[:30] + "!", "$2a$03$" + salt + key, "$2a$15$" + salt +
			key, "$2a$99$" + salt + key,
	} {
		if s, err := ParseBcrypt(hash); err == nil || len(hash) > 10 && strings.Contains(err.Error(), salt) {
			t.Errorf("%q is %v, %v", hash, s, err)
		}
	}
	for _, cost := range []int{-1, 1, 15, 62, 1 << 30} {
		if (&Secret{BcryptCost: cost, Salt: make([]byte, saltBytes), Key: make([]byte, 23)}).is("") {
			t.Errorf("a stored hash of cost %d is checked", cost)
		}
	}
	if (&Secret{BcryptCost: 4, Salt: make([]byte, 3)}).is("") {
		t.Error("a hash with a salt of 3 bytes is checked")
	}
}

// renewing has w's keeper execute its own commands; before is called ahead of each.
func (w *world) renewing(before func() error) {
	w.propose = func(_ context.Context, commands []store.Command, revision uint64) error {
		if err := before(); err != nil {
			return err
		}
		if revision != w.store.AuthRevision() {
			return store.ErrRevision
		}
		w.do(Change{Commands: commands}, nil)
		return nil
	}
}

// oldWorld has a user "u" with a role and a hash of bcrypt, in place of the password u-pw.
func oldWorld(t *testing.T) *world {
	w := newWorld(t).enabled()
	w.role("r", "/k", "")
	w.bcryptUser("u", "u-pw", "$2a$04$abcdefghijklmnopqrstuufK1DB.fuzHQA0WQHT/JlzSSbZL6GKsW")
	w.do(w.State().PutUser(UserUpdate{User: "u", Grant: []string{"r"}}, nil))
	return w
}

// login judges a request of u, and waits until all work that it began has ended.
func (w *world) login(t *testing.T, password string) (err error) {
	synctest.Test(t, func(t *testing.T) {
		w.queue = newQueue()
		_, err = w.Judge(context.Background(), by(header("u", password)), anyKey)
		synctest.Wait()
	})
	w.queue = newQueue()
	return err
}

func TestTheFirstRightLoginHashesAnew(t *testing.T) {
	w := oldWorld(t)
	proposed := 0
	w.renewing(func() error { proposed++; return nil })

	if err := w.login(t, "wrong"); err != ErrDenied || proposed > 0 {
		t.Fatalf("a wrong password: %v, %d commands", err, proposed)
	}
	if err := w.login(t, "u-pw"); err != nil {
		t.Fatal(err)
	}

	u := w.State().users["u"]
	if proposed != 1 || u.Secret.BcryptCost != 0 || u.Secret.Iterations != 10 || !u.Secret.is("u-pw") ||
		!slices.Equal(u.Roles, []string{"r"}) {
		t.Errorf("after %d commands u is %+v", proposed, u)
	}
	if w.State().bcryptCost != 0 {
		t.Error("wrong passwords go on costing bcrypt")
	}
	defer w.occupied()() // the new hash is known
	if err := w.judge(by(header("u", "u-pw")), anyKey); err != nil {
		t.Error(err)
	}
	if log := w.log.String(); strings.Contains(log, "u-pw") || !strings.Contains(log, "hashed anew") {
		t.Error(log)
	}
}

// A change that an administrator makes while a password is hashed anew is kept.
func TestHashingAnewLosesNoChange(t *testing.T) {
	secret := func() (Secret, error) { return newSecret("new", 10) }
	for name, c := range map[string]struct {
		change func(*State) (Change, error)
		holds  func(*User) bool
	}{
		"password": {
			func(st *State) (Change, error) { return st.PutUser(UserUpdate{User: "u", Password: "new"}, secret) },
			func(u *User) bool { return u.Secret.is("new") && !u.Secret.is("u-pw") },
		},
		"roles": {
			func(st *State) (Change, error) { return st.PutUser(UserUpdate{User: "u", Grant: []string{"s"}}, nil) },
			func(u *User) bool { return u.Secret.is("u-pw") && u.Secret.BcryptCost == 0 && len(u.Roles) == 2 },
		},
		"deleted": {
			func(st *State) (Change, error) { return st.DeleteUser("u") },
			func(u *User) bool { return u == nil },
		},
	} {
		w := oldWorld(t)
		changed := false
		w.renewing(func() error {
			if !changed {
				changed = true
				w.do(c.change(w.State()))
			}
			return nil
		})

		if err := w.login(t, "u-pw"); err != nil {
			t.Errorf("%s: %v", name, err)
		}

		if u := w.State().users["u"]; !changed || !c.holds(u) {
			t.Errorf("%s: u is %+v", name, u)
		}
	}
}

// Without agreement the user is let in all the same, and the hash stays.
func TestHashingAnewMayFail(t *testing.T) {
	w := oldWorld(t)
	w.renewing(func() error { return errors.New("no leader") })
	if err := w.login(t, "u-pw"); err != nil {
		t.Error(err)
	}
	if u := w.State().users["u"]; u.Secret.BcryptCost != 4 || !strings.Contains(w.log.String(), "no leader") {
		t.Errorf("u is %+v, the log %s", u, w.log.String())
	}
}

// bcrypt looks at 72 bytes, so a longer password is right with any end. If it were hashed anew, a
// mistyped end would become the only right one.
func TestAPasswordThatBcryptCutsIsNotHashedAnew(t *testing.T) {
	w := newWorld(t).enabled()
	w.renewing(func() error { t.Error("it is hashed anew"); return nil })
	v := bcryptVectors[len(bcryptVectors)-1]
	w.bcryptUser("u", v.password, v.hash)
	w.do(w.State().PutUser(UserUpdate{User: "u", Grant: []string{"root"}}, nil))
	if err := w.login(t, v.password+"typo"); err != nil {
		t.Error(err)
	}
}

func BenchmarkBcrypt(b *testing.B) {
	s, _ := ParseBcrypt(bcryptVectors[0].hash)
	for b.Loop() {
		s.is("correct horse")
	}
}
