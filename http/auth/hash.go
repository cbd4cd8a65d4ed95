package auth

import (
	"context"
	"time"
)

// HashPatience is how long a client should wait for Hash: on a busy machine one password may take
// some seconds, and others may be before it in the queue.
const HashPatience = 10 * time.Second

// How many hashes are remembered, and for how long. maxHashes is more than the queue admits, so
// that one of them is always done and can be forgotten.
const (
	maxHashes  = 64
	hashMemory = time.Minute // after it was done
)

var stillHashing = &Later{time.Second, "the password is still being hashed"}

// hashing is the hash of one password of one user. All requests for the same wait for it.
type hashing struct {
	done   chan struct{} // closed when secret and err are set
	secret Secret
	err    error
}

// Hash returns the Secret to store for a password of a user. It waits for its turn, no longer than
// ctx. The error is a *Later when ctx ends, or when too many wait. The work goes on when all
// callers have gone. The Secret is remembered for a minute, under a keyed hash of user and
// password, so that the next try of the same user with the same password finds it.
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

// hash begins to hash a password, or returns the hashing that has begun; nil when too many wait.
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

// forget forgets h, unless name stands for a later hashing by now.
func (k *Keeper) forget(name sum, h *hashing) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.hashes[name] == h {
		delete(k.hashes, name)
	}
}
