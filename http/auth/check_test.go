package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"etcd2/store"
)

var anyKey = Right{Access: Read, Path: "/k"}

// occupied takes the turn to hash, so that nothing is hashed before the returned function is
// called.
func (w *world) occupied() (release func()) {
	w.queue.turn <- struct{}{}
	return func() { <-w.queue.turn }
}

// pitfall K7
func TestAPasswordIsHashedOnce(t *testing.T) {
	w := newWorld(t).enabled()
	if err := w.judge(as("root"), anyKey); err != nil {
		t.Fatal(err)
	}
	defer w.occupied()() // from now on hashing takes for ever

	for range 100 {
		if err := w.judge(as("root"), anyKey); err != nil {
			t.Fatal(err)
		}
	}
	w.role("unrelated", "/x", "") // another revision, the same password
	if err := w.judge(as("root"), anyKey); err != nil {
		t.Error(err)
	}
}

// pitfall K7, pitfall K9
func TestAPasswordIsForgottenWhenItChanges(t *testing.T) {
	w := newWorld(t).enabled()
	w.user("u", "root")
	if err := w.judge(as("u"), anyKey); err != nil {
		t.Fatal(err)
	}
	secret := func() (Secret, error) { return newSecret("new", w.iterations) }

	w.do(w.State().PutUser(UserUpdate{User: "u", Password: "new"}, secret))

	if err := w.judge(as("u"), anyKey); err != ErrDenied {
		t.Errorf("the old password: %v", err)
	}
	if err := w.judge(by(header("u", "new")), anyKey); err != nil {
		t.Errorf("the new password: %v", err)
	}
	w.do(w.State().DeleteUser("u"))
	if err := w.judge(by(header("u", "new")), anyKey); err != ErrDenied {
		t.Errorf("a user who is gone: %v", err)
	}
	w.user("u")
	if err := w.judge(by(header("u", "new")), anyKey); err != ErrDenied {
		t.Errorf("another user of the name: %v", err)
	}
}

func TestWhatIsKnownIsBounded(t *testing.T) {
	var n known
	n.users = map[sum]knownUser{}
	for i := range maxKnown + 100 {
		n.add(sum{byte(i), byte(i >> 8)}, &User{Name: "u"})
	}
	if len(n.users) != maxKnown {
		t.Errorf("%d are known", len(n.users))
	}
}

// Equal questions are answered together: a client that opens 50 connections costs one hash, not 50.
// pitfall K7
func TestEqualPasswordsAreComparedTogether(t *testing.T) {
	w := newWorld(t).enabled()
	synctest.Test(t, func(t *testing.T) {
		w.queue = newQueue()
		release := w.occupied()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := w.Judge(context.Background(), as("root"), anyKey); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if w.queue.Held() != 1 {
			t.Errorf("%d wait for the core", w.queue.Held())
		}
		release()
		all.Wait()
	})
}

// pitfall K7
func TestOneCoreHashes(t *testing.T) {
	w := newWorld(t).enabled()
	synctest.Test(t, func(t *testing.T) {
		w.queue = newQueue()
		release := w.occupied()
		var done atomic.Int64
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				c := as(fmt.Sprint("user", i))
				c.Address = fmt.Sprint(i)
				w.Judge(context.Background(), c, anyKey)
				done.Add(1)
			})
		}
		all.Go(func() {
			w.Hash(context.Background(), "u", "new")
			done.Add(1)
		})
		synctest.Wait()
		if done.Load() != 0 || w.queue.Held() != 11 {
			t.Errorf("%d are done while another one hashes, %d wait", done.Load(), w.queue.Held())
		}
		release()
		all.Wait()
	})
	if w.queue.Held() != 0 || len(w.tries) != 0 {
		t.Errorf("%+v, %v stay behind", w.queue.Stats(), w.tries)
	}
}

// Callers beyond the bound for all, or for one address, are told to come again. A known password is
// not concerned. pitfall K7
func TestTheQueueIsBounded(t *testing.T) {
	w := newWorld(t).enabled()
	if err := w.judge(as("root"), anyKey); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w.queue = newQueue()
		release := w.occupied()
		var all sync.WaitGroup
		told := map[string]int{}
		var mu sync.Mutex
		for i := range 100 {
			all.Go(func() {
				c := as(fmt.Sprint("user", i))
				c.Address = fmt.Sprint("address", i%20)
				if i < 40 {
					c.Address = "one"
				}
				_, err := w.Judge(context.Background(), c, anyKey)
				if later, ok := err.(*Later); ok && later.After > 0 {
					mu.Lock()
					told[c.Address]++
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		if w.queue.Held() != maxQueue || told["one"] < 40-maxQueue*3/4 {
			t.Errorf("%+v, told %v", w.queue.Stats(), told)
		}
		if _, err := w.Judge(context.Background(), as("root"), anyKey); err != nil {
			t.Errorf("who is known: %v", err)
		}
		release()
		all.Wait()
	})
}

// A caller that leaves or runs out of time does not wait on; the comparison goes on and is
// remembered.
func TestWhoWaitsMayGo(t *testing.T) {
	w := newWorld(t).enabled()
	synctest.Test(t, func(t *testing.T) {
		w.queue = newQueue()
		release := w.occupied()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := w.Judge(ctx, as("root"), anyKey); err != busy {
			t.Errorf("%v", err)
		}
		if _, err := w.Hash(ctx, "u", "p"); err != stillHashing {
			t.Errorf("%v", err)
		}
		release()
		synctest.Wait()
		defer w.occupied()()
		if _, err := w.Judge(context.Background(), as("root"), anyKey); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// An unknown user costs as much as a wrong password: one hash, or one of each kind while both kinds
// are stored. pitfall K8
func TestAnUnknownUserCostsAsMuch(t *testing.T) {
	w := newWorld(t)
	w.iterations, w.nobody.Iterations = 5_000, 5_000
	w.enabled()
	costsAlike(t, w, "root", "nobody")
	none := func() (Secret, error) { return Secret{}, nil } // of a hash that can't be checked
	w.do(w.State().PutUser(UserUpdate{User: "none", Password: "?"}, none))
	costsAlike(t, w, "none", "nobody")
	w.iterations, w.nobody.Iterations = 100, 100
	w.bcryptUser("old", "U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW")
	costsAlike(t, w, "root", "nobody")
	costsAlike(t, w, "old", "nobody")
}

// costsAlike checks that a wrong password of each of two users takes the same time.
func costsAlike(t *testing.T, w *world, names ...string) {
	t.Helper()
	least := [2]time.Duration{time.Hour, time.Hour}
	ratio := 0.0
	for i := 0; i < 15 || i < 300 && (ratio > 1.5 || ratio < 1/1.5); i++ { // more when others use the machine
		for kind, name := range names {
			c := by(header(name, fmt.Sprint("wrong", i)))
			c.Address = fmt.Sprint(names, i, kind)
			began := time.Now()
			if err := w.judge(c, anyKey); err != ErrDenied {
				t.Fatal(err)
			}
			least[kind] = min(least[kind], time.Since(began))
		}
		ratio = float64(least[0]) / float64(least[1])
	}
	if ratio > 1.5 || ratio < 1/1.5 {
		t.Errorf("a wrong password of %s takes %v, of %s %v", names[0], least[0], names[1], least[1])
	}
}

// Wrong passwords make the next try wait longer and longer, for this user name at this address,
// whether the user exists or not. Others, and other addresses, are not delayed. pitfall K12
func TestGuessersWait(t *testing.T) {
	for _, name := range []string{"root", "nobody"} {
		w := newWorld(t).enabled()
		now := time.Unix(1000, 0)
		w.guesses.now = func() time.Time { return now }
		guess := func(i int) error { return w.judge(by(header(name, fmt.Sprint("wrong", i))), anyKey) }
		for i := range freeGuesses + 1 {
			if err := guess(i); err != ErrDenied {
				t.Fatalf("%s, guess %d: %v", name, i, err)
			}
		}
		var waits []string
		for i := range 9 {
			later, ok := guess(100 + i).(*Later)
			if !ok {
				t.Fatalf("%s, guess %d is let through", name, 100+i)
			}
			waits = append(waits, later.After.String())
			now = now.Add(later.After)
			if err := guess(200 + i); err != ErrDenied {
				t.Fatalf("%s, guess %d: %v", name, 200+i, err)
			}
		}
		if got := strings.Join(waits, " "); got != "1s 2s 4s 8s 16s 32s 1m0s 1m0s 1m0s" {
			t.Errorf("%s: waits are %s", name, got)
		}
		elsewhere := as("root")
		elsewhere.Address = "192.0.2.2"
		if err := w.judge(elsewhere, anyKey); err != nil {
			t.Errorf("%s: the owner elsewhere: %v", name, err)
		}
		if err := w.judge(as(""), anyKey); err != nil {
			t.Errorf("%s: guest: %v", name, err)
		}
		now = now.Add(forgetGuess)
		if err := w.judge(as("root"), anyKey); err != nil {
			t.Errorf("%s: after a while: %v", name, err)
		}
	}
}

// An address that tries many names waits as well, and the table stays bounded.
// pitfall K12
func TestGuessersOfNamesWait(t *testing.T) {
	w := newWorld(t).enabled()
	now := time.Unix(1000, 0)
	w.guesses.now = func() time.Time { return now }
	tries := 0
	for w.judge(by(header(fmt.Sprint("user", tries), "123456")), anyKey) == ErrDenied {
		tries++
	}
	if tries != freeAtAll+1+graceBurst {
		t.Errorf("%d tries", tries)
	}
	for i := range maxGuesses + 10 {
		now = now.Add(time.Microsecond)
		w.guesses.failed(sum{1, byte(i), byte(i >> 8)}, 0)
	}
	if len(w.guesses.table) != maxGuesses || w.guesses.table[sum{1}] != nil {
		t.Errorf("the table has %d entries", len(w.guesses.table))
	}
}

// Many users share an address: one of them who guesses does not delay the others.
// pitfall K12
func TestARightPasswordIsNotDelayedByTheGuessesOfOthers(t *testing.T) {
	w := newWorld(t).enabled()
	w.user("joe")
	now := time.Unix(1000, 0)
	w.guesses.now = func() time.Time { return now }
	for i := range freeAtAll + 2 {
		w.judge(by(header(fmt.Sprint("user", i), "123456")), anyKey)
	}
	mistyped := func(i int) error { return w.judge(by(header("joe", fmt.Sprint("wrong", i))), anyKey) }
	for i := range graceGuesses - 1 {
		if err := mistyped(i); err != ErrDenied {
			t.Fatalf("mistyped: %v", err)
		}
	}

	if _, isLater := w.judge(as("joe"), anyKey).(*Later); isLater {
		t.Error("a right password must wait for what others have tried")
	}

	for i := range graceGuesses {
		mistyped(100 + i)
	}
	if _, isLater := mistyped(200).(*Later); !isLater {
		t.Error("one user may be guessed on and on while the address must wait")
	}
}

// An address that tries many names guesses no faster than one try each graceEvery, however long it
// goes on. pitfall K12
func TestGuessesByManyNamesHaveARate(t *testing.T) {
	w := newWorld(t).enabled()
	now := time.Unix(1000, 0)
	w.guesses.now = func() time.Time { return now }
	tried := 0
	const seconds, aSecond = 300, 4
	for i := range seconds * aSecond {
		if w.judge(by(header(fmt.Sprint("user", i), "123456")), anyKey) == ErrDenied {
			tried++
		}
		now = now.Add(time.Second / aSecond)
	}
	const most = freeAtAll + 1 + graceBurst + seconds
	if tried > most+seconds/int(longestDelay/time.Second) || tried < seconds {
		t.Errorf("%d guesses in %d seconds, want %d at most", tried, seconds, most)
	}
}

// Wrong passwords are logged, once a second, without the password and without a name that nobody
// has. pitfall K11, pitfall K12
func TestWrongPasswordsAreLoggedNowAndThen(t *testing.T) {
	w := newWorld(t).enabled()
	now := time.Unix(1000, 0)
	w.wrong.now = func() time.Time { return now }
	for i := range 5 {
		w.judge(by(header("root", fmt.Sprint("hunter2-", i))), anyKey)
	}
	now = now.Add(time.Second)
	w.judge(by(header("hunter2", "x")), anyKey)
	w.judge(by("hunter2"), anyKey)
	got := w.log.String()
	if strings.Count(got, "\n") != 2 || !strings.Contains(got, `user=root from=192.0.2.1 "not logged before"=0`) ||
		!strings.Contains(got, `user=(unknown) from=192.0.2.1 "not logged before"=4`) {
		t.Error(got)
	}
	if strings.Contains(got, "hunter2") {
		t.Errorf("there is a secret in %s", got)
	}
}

// No password is in what the API shows or in what the log and the snapshot hold, and no hash is in
// what the API shows. pitfall K11
func TestNoSecretIsShown(t *testing.T) {
	w := newWorld(t).enabled()
	st := w.State()
	user, err := st.User("root")
	if err != nil {
		t.Fatal(err)
	}
	secret := func() (Secret, error) { return newSecret("hunter2", w.iterations) }
	c := w.do(st.PutUser(UserUpdate{User: "u", Password: "hunter2"}, secret))
	for _, v := range []any{slices.Collect(st.Users()), user, c.Body} {
		shown, _ := json.Marshal(v)
		for _, word := range []string{"-pw", "hunter2", "secret", "salt", "key", "iterations"} {
			if strings.Contains(string(shown), word) {
				t.Errorf("%q is in %s", word, shown)
			}
		}
	}
	stored := c.Commands[0]
	if strings.Contains(stored.Value, "hunter2") || !strings.Contains(stored.Value, `"iterations":10,`) {
		t.Errorf("stored is %s", stored.Value)
	}
	if text := store.Describe(stored.Append(nil)); strings.Contains(text, "salt") {
		t.Errorf("described as %s", text)
	}
	if DefaultIterations < 600_000 || New(Config{Store: w.store}).iterations != DefaultIterations {
		t.Error("a password costs less than OWASP wants")
	}
}

// Equal passwords have different hashes, and each hash accepts only its own password.
func TestASecretIsOfItsPassword(t *testing.T) {
	a, _ := newSecret("p", 10)
	b, _ := newSecret("p", 10)
	if string(a.Key) == string(b.Key) || string(a.Salt) == string(b.Salt) {
		t.Error("two hashes of one password are the same")
	}
	for password, want := range map[string]bool{"p": true, "": false, "P": false, "pp": false, "p ": false} {
		if a.is(password) != want {
			t.Errorf("%q: %v", password, !want)
		}
	}
	if (&Secret{Iterations: 10}).is("") {
		t.Error("an empty secret has a password")
	}
}

func BenchmarkJudge(b *testing.B) {
	w := newWorld(b).enabled()
	for name, c := range map[string]Caller{"guest": as(""), "password": as("root")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Judge(context.Background(), c, anyKey); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
