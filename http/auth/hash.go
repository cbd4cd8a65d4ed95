package auth

import (
	"context"
	"time"
)

// HashPatience is how long somebody should wait for Hash: on a busy machine one password may take
// some seconds, and others may come before it.
const HashPatience = 10 * time.Second

// How many hashes are remembered, and for how long. It is more than the queue takes from Hash, so
// that one of them is always done.
const (
	maxHashes  = 64
	hashMemory = time.Minute // after it was done
)

var stillHashing = &Later{time.Second, "the password is still being hashed"}

// hashing is the hash of one password of one user, which all who ask for the same wait for.
type hashing struct {
	done   chan struct{} // closed when the others are known
	secret Secret
	err    error
}

// Hash returns what is to be stored for a password of a user. It waits for its turn, no longer than
// ctx. The error is a *Later when ctx ends, or when too many wait. The work goes on when those who
// asked for it have gone, and what came of it is remembered for a minute, so that the next try of
// the same user with the same password finds it. No password is remembered, but its keyed hash.
func (k *Keeper) Hash(ctx context.Context, user, password string) (Secret, error) {
	h := k.hash(user, password)
	if h == nil {
		return Secret{}, busy
	}
	select {
	case <-h.done:
		return h.secret, h.err
	case <-ctx.Done():
		return Secret{}, stillHashing
	}
}

// hash begins to hash a password, unless somebody has done so; nil when too many wait.
func (k *Keeper) hash(user, password string) *hashing {
	name := k.sum(user, password)
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.hashes[name]; h != nil {
		return h
	}
	if !k.queue.Acquire("") {
		return nil
	}
	k.forgetOne()
	h := &hashing{done: make(chan struct{})}
	k.hashes[name] = h
	go func() {
		k.queue.turn <- struct{}{}
		h.secret, h.err = newSecret(password, k.iterations)
		<-k.queue.turn
		k.queue.Release("")
		close(h.done)
		time.AfterFunc(hashMemory, func() { k.forget(name, h) })
	}()
	return h
}

// forgetOne forgets one hash that is done, when there are too many. k.mu must be held.
func (k *Keeper) forgetOne() {
	for name, h := range k.hashes {
		if len(k.hashes) < maxHashes {
			return
		}
		select {
		case <-h.done:
			delete(k.hashes, name)
		default:
		}
	}
}

// forget forgets a hash, unless another one has its place.
func (k *Keeper) forget(name sum, h *hashing) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.hashes[name] == h {
		delete(k.hashes, name)
	}
}
