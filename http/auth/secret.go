package auth

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"
)

// DefaultIterations is what a password costs today, to its owner once and to a thief of the hashes with every guess (OWASP's
// advice for PBKDF2 with HMAC-SHA-256).
const DefaultIterations = 600_000

// Secret is what is stored in place of a password: PBKDF2 with HMAC-SHA-256 of it.
type Secret struct {
	Iterations int    `json:"iterations"`
	Salt       []byte `json:"salt"`
	Key        []byte `json:"key"`
}

const (
	saltBytes = 16
	keyBytes  = sha256.Size
)

// newSecret hashes a password with a salt of its own.
func newSecret(password string, iterations int) (Secret, error) {
	s := Secret{Iterations: iterations, Salt: make([]byte, saltBytes)}
	rand.Read(s.Salt)
	var err error
	if s.Key, err = pbkdf2.Key(sha256.New, password, s.Salt, iterations, keyBytes); err != nil {
		return Secret{}, fmt.Errorf("auth: hash a password: %w", err)
	}
	return s, nil
}

// is reports whether the password is the one hashed, in a time that depends only on the iterations.
func (s *Secret) is(password string) bool {
	key, err := pbkdf2.Key(sha256.New, password, s.Salt, s.Iterations, keyBytes)
	return err == nil && hmac.Equal(key, s.Key)
}

// The bounds of the queue for the one core that hashes: at maxQueue the wait is some seconds.
const (
	maxQueue      = 32
	maxPerAddress = 8 // of them from one address, so that one client does not keep the others out
)

// queue lets one caller after the other hash, so that guessers never take more than one core from consensus (K7).
type queue struct {
	turn chan struct{} // holds the turn

	mu     sync.Mutex // protects what follows
	length int        // of the queue, with who has the turn
	from   map[string]int
}

func newQueue() *queue {
	return &queue{turn: make(chan struct{}, 1), from: map[string]int{}}
}

// enter takes a place for somebody at address, if there is one; leave gives it back.
func (q *queue) enter(address string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.length >= maxQueue || q.from[address] >= maxPerAddress {
		return false
	}
	q.length++
	q.from[address]++
	return true
}

func (q *queue) leave(address string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.length--
	if q.from[address]--; q.from[address] == 0 {
		delete(q.from, address)
	}
}

// Hash returns what is to be stored for a password. It waits for its turn; the error is ctx's, or a *Later when too many wait.
func (k *Keeper) Hash(ctx context.Context, password string) (Secret, error) {
	if !k.queue.enter("") {
		return Secret{}, busy
	}
	defer k.queue.leave("")
	select {
	case k.queue.turn <- struct{}{}:
		defer func() { <-k.queue.turn }()
	case <-ctx.Done():
		return Secret{}, ctx.Err()
	}
	return newSecret(password, k.iterations)
}
