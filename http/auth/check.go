package auth

import (
	"context"
	"crypto/hmac"
	"sync"
	"time"

	"etcd2/http/places"
	"etcd2/store"
)

// maxKnown is how many verified credentials are remembered.
const maxKnown = 10_000

// known remembers credentials that were right, so that a password is hashed once and not with every
// request (K7). It holds no password, only a keyed hash of the header that brought it.
type known struct {
	mu    sync.RWMutex // protects users
	users map[sum]knownUser
}

// knownUser is the user that a credential belongs to, and the hash it was compared with. When the
// user has another hash now, the credential is no longer right.
type knownUser struct {
	name string
	key  []byte
}

// user returns the user of st that the credential belongs to, nil when it is not known or no longer
// right.
func (n *known) user(credential sum, st *State) *User {
	n.mu.RLock()
	was, ok := n.users[credential]
	n.mu.RUnlock()
	if !ok {
		return nil
	}
	if u := st.users[was.name]; u != nil && hmac.Equal(u.Secret.Key, was.key) {
		return u
	}
	return nil
}

// add remembers a credential of u. When the table is full, it forgets any other one.
func (n *known) add(credential sum, u *User) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other := range n.users {
		if len(n.users) < maxKnown {
			break
		}
		delete(n.users, other)
	}
	n.users[credential] = knownUser{u.Name, u.Secret.Key}
}

// question is a credential and the hash that it is compared with.
type question struct {
	credential sum
	key        string
}

// try is one comparison. All requests with the same question wait for it.
type try struct {
	done  chan struct{} // closed when right is known
	right bool
}

// check returns the user whose name and password the header holds.
func (k *Keeper) check(ctx context.Context, st *State, header, address string) (*User, error) {
	credential := k.sum(header)
	if u := k.known.user(credential, st); u != nil {
		return u, nil
	}
	name, password, ok := basic(header)
	if !ok {
		return nil, ErrDenied
	}
	u := st.users[name]
	t, err := k.try(credential, u, guesser{name, password, places.Origin(address), st.bcryptCost})
	if err != nil {
		return nil, err
	}
	select {
	case <-t.done:
	case <-ctx.Done():
		return nil, busy
	}
	if !t.right {
		return nil, ErrDenied
	}
	return u, nil
}

// guesser is a caller that gives a name and a password, not yet checked.
type guesser struct {
	name, password, origin string
	bcryptCost             int // of the State that the caller is judged by
}

// try begins to compare a password with that of u, or joins a comparison with the same question. u
// is nil for a name that is no user's. The work goes on when all callers have gone, so that the
// next request need not begin it anew.
func (k *Keeper) try(credential sum, u *User, g guesser) (*try, error) {
	secret := &k.nobody
	if u != nil && len(u.Secret.Key) > 0 { // without a key, nobody can log in as u
		secret = &u.Secret
	}
	q := question{credential, string(secret.Key)}
	k.mu.Lock()
	defer k.mu.Unlock()
	if t := k.tries[q]; t != nil {
		return t, nil
	}
	one, all := k.sum(g.name, g.origin), k.sum(g.origin)
	if d := k.guesses.wait(one, all); d > 0 {
		return nil, &Later{d, "too many wrong passwords"}
	}
	if !k.queue.Acquire(g.origin) {
		return nil, busy
	}
	t := &try{done: make(chan struct{})}
	k.tries[q] = t
	go func() {
		right, fresh := k.compare(secret, g)
		t.right = right && u != nil
		if t.right {
			k.known.add(credential, u)
			k.guesses.right(one)
		} else {
			k.guesses.failed(one, freeGuesses)
			k.guesses.failed(all, freeAtAll)
			k.noteWrong(u, g.origin)
		}
		k.mu.Lock()
		delete(k.tries, q)
		close(t.done)
		k.mu.Unlock()
		if fresh != nil {
			k.renew(u, fresh, credential)
		}
	}()
	return t, nil
}

// compare waits for its turn, and then hashes the password. The caller has acquired a place in the
// queue, and compare releases it. For a right password whose hash is bcrypt's it also returns the
// Secret to store instead.
func (k *Keeper) compare(secret *Secret, g guesser) (right bool, fresh *Secret) {
	k.queue.turn <- struct{}{}
	defer func() {
		<-k.queue.turn
		k.queue.Release(g.origin)
	}()
	switch right = secret.is(g.password); {
	case !right && g.bcryptCost > 0:
		k.other(secret, g.bcryptCost).is(g.password)
	case right && secret.BcryptCost > 0 && len(g.password) < bcryptBytes && k.propose != nil:
		// A longer password is right with any end: a mistyped one would become the only right one.
		if s, err := newSecret(g.password, k.iterations); err == nil {
			fresh = &s
		}
	}
	return right, fresh
}

// other returns a Secret of nobody, of the other kind than secret: PBKDF2 or bcrypt. While any user
// has a bcrypt hash, a wrong password costs a hash of each kind, so that the time does not tell
// which kind a user has, or whether the user exists.
func (k *Keeper) other(secret *Secret, bcryptCost int) *Secret {
	if secret.BcryptCost > 0 {
		return &k.nobody
	}
	return &Secret{BcryptCost: bcryptCost, Salt: k.nobody.Salt, Key: k.nobody.Key}
}

// renewTime is the longest that a renewal waits for agreement.
const renewTime = 10 * time.Second

// renew stores fresh, through the log, in place of the hash with which u has just logged in. It
// does nothing when the user has another hash by now. Other changes of users and roles made
// meanwhile are kept: they make another revision, and the next round begins with that. When the
// cluster does not agree in time, the next check of the password tries again: after a restart, or
// at another member.
func (k *Keeper) renew(u *User, fresh *Secret, credential sum) {
	ctx, cancel := context.WithTimeout(context.Background(), renewTime)
	defer cancel()
	old, err := u.Secret.Key, error(store.ErrRevision)
	for err == store.ErrRevision {
		st := k.State()
		now := st.users[u.Name]
		if now == nil || !hmac.Equal(now.Secret.Key, old) {
			return
		}
		u = &User{Name: now.Name, Roles: now.Roles, Secret: *fresh}
		err = k.propose(ctx, []store.Command{set(usersDir, u.Name, u)}, st.Revision)
	}
	if err != nil {
		k.log.Warn("auth: a password stays hashed as etcd had it, until a later login", "user", u.Name, "error", err)
		return
	}
	k.known.add(credential, u)
	k.log.Info("auth: a password that etcd had hashed with bcrypt was hashed anew", "user", u.Name)
}

// noteWrong logs a wrong password, at most one a second. A name that is no user's is left out: it
// may be a password that was typed into the wrong field (K11).
func (k *Keeper) noteWrong(u *User, origin string) {
	left, now := k.wrong.next()
	if !now {
		return
	}
	name := "(unknown)"
	if u != nil {
		name = u.Name
	}
	k.log.Warn("auth: wrong password", "user", name, "from", origin, "not logged before", left)
}

// rate lets something happen at most once in every.
type rate struct {
	every time.Duration
	now   func() time.Time

	mu   sync.Mutex // protects what follows
	last time.Time
	left int // how often it was not allowed since last
}

// next reports whether it may happen now, and how often it was not allowed since it last happened.
func (r *rate) next() (left int, may bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if !r.last.IsZero() && now.Sub(r.last) < r.every {
		r.left++
		return 0, false
	}
	left, r.left, r.last = r.left, 0, now
	return left, true
}
