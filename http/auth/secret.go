package auth

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"etcd2/http/places"
)

// DefaultIterations is what a password costs today, to its owner once and to a thief of the hashes
// with every guess (OWASP's advice for PBKDF2 with HMAC-SHA-256).
const DefaultIterations = 600_000

// Secret is what is stored in place of a password: PBKDF2 with HMAC-SHA-256 of it; or the bcrypt
// hash that etcd 2 stored, until its owner logs in (see Keeper.renew).
type Secret struct {
	Iterations int    `json:"iterations"`
	BcryptCost int    `json:"bcryptCost,omitempty"` // not 0: a hash of ParseBcrypt, without Iterations
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

// is reports whether the password is the one hashed, in a time that depends only on the iterations,
// or the cost.
func (s *Secret) is(password string) bool {
	if s.BcryptCost != 0 {
		return s.BcryptCost >= minBcryptCost && s.BcryptCost <= maxBcryptCost && len(s.Salt) == saltBytes &&
			hmac.Equal(bcrypt(password, s.Salt, s.BcryptCost), s.Key)
	}
	key, err := pbkdf2.Key(sha256.New, password, s.Salt, s.Iterations, keyBytes)
	return err == nil && hmac.Equal(key, s.Key)
}

// maxQueue bounds the queue for the one core that hashes: at that length the wait is some seconds.
const maxQueue = 32

// queue lets one caller after the other hash, so that guessers never take more than one core from
// consensus (K7). Its places are for those who wait and for the one who has the turn.
type queue struct {
	places.Places
	turn chan struct{} // holds the turn
}

func newQueue() *queue {
	return &queue{Places: places.Places{Max: maxQueue}, turn: make(chan struct{}, 1)}
}

// Checks returns figures about the passwords being hashed.
func (k *Keeper) Checks() places.Stats { return k.queue.Stats() }
