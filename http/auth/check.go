package auth

import (
	"context"
	"crypto/hmac"
	"sync"
	"time"
)

// maxKnown is how many verified credentials are remembered.
const maxKnown = 10_000

// known remembers credentials that were right, so that a password is hashed once and not with every request (K7). It holds no
// password, only a keyed hash of the header that brought it.
type known struct {
	mu    sync.RWMutex // protects users
	users map[sum]knownUser
}

// knownUser is whose the credential is, and what it was compared with: when that is another now, it is forgotten.
type knownUser struct {
	name string
	key  []byte
}

// user returns the user of st that the credential belongs to, nil when it is not known or no longer right.
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

// add remembers a credential of u. When there is no room, any other goes.
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

// try is one comparison, which all who ask the same question wait for.
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
	t, err := k.try(credential, u, guesser{name, password, origin(address)})
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

// guesser is somebody who says who he is.
type guesser struct{ name, password, origin string }

// try begins to compare a password with that of u, nil for somebody unknown, or joins who does. The work goes on
// when those who asked for it have gone, so that it is not done again for the next one.
func (k *Keeper) try(credential sum, u *User, g guesser) (*try, error) {
	secret := &k.nobody
	if u != nil {
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
	if !k.queue.enter(g.origin) {
		return nil, busy
	}
	t := &try{done: make(chan struct{})}
	k.tries[q] = t
	go func() {
		t.right = k.compare(secret, g) && u != nil
		if t.right {
			k.known.add(credential, u)
			k.guesses.right(one)
		} else {
			k.guesses.failed(one, freeGuesses)
			k.guesses.failed(all, freeAtAll)
			k.noteWrong(u, g.origin)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.tries, q)
		close(t.done)
	}()
	return t, nil
}

// compare does the work that a password costs, when it is its turn. The place in the queue is the caller's before, nobody's after.
func (k *Keeper) compare(secret *Secret, g guesser) bool {
	k.queue.turn <- struct{}{}
	defer func() {
		<-k.queue.turn
		k.queue.leave(g.origin)
	}()
	return secret.is(g.password)
}

// noteWrong logs a wrong password, at most one a second. The name of somebody unknown is left out: it may be a password that was
// typed into the wrong field (K11).
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

// rate lets something happen at most once in a time.
type rate struct {
	every time.Duration
	now   func() time.Time

	mu   sync.Mutex // protects what follows
	last time.Time
	left int // not let happen since
}

// next reports whether it may happen now, and how often it was not since the last time.
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
