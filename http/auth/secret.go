package auth

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"etcd2/http/places"
)

// DefaultIterations is how many rounds of PBKDF2 a new password gets, as OWASP advises for
// HMAC-SHA-256. The user's login costs them once; a thief of the hashes pays them for every guess.
const DefaultIterations = 600_000

// Secret is what is stored in place of a password: its hash by PBKDF2 with HMAC-SHA-256, or the
// bcrypt hash that etcd 2 stored, until the user logs in (see Keeper.renew).
type Secret struct {
	Iterations int    `json:"iterations"`
	BcryptCost int    `json:"bcryptCost,omitempty"` // not 0: a bcrypt hash, and Iterations is 0
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

// is reports whether s is the hash of password, in a time that depends only on the iterations or
// the bcrypt cost.
func (s *Secret) is(password string) bool {
	if s.BcryptCost != 0 {
		return s.BcryptCost >= minBcryptCost && s.BcryptCost <= maxBcryptCost && len(s.Salt) == saltBytes &&
			hmac.Equal(bcrypt(password, s.Salt, s.BcryptCost), s.Key)
	}
	key, err := pbkdf2.Key(sha256.New, password, s.Salt, s.Iterations, keyBytes)
	return err == nil && hmac.Equal(key, s.Key)
}

// maxQueue bounds the queue for the one core that hashes; a full one takes some seconds.
const maxQueue = 32

// queue lets one caller after the other hash, so that wrong passwords never take more than one core
// from consensus (K7). Its places are held by the callers that wait and the one that hashes.
type queue struct {
	places.Places
	turn chan struct{} // full while somebody hashes
}

func newQueue() *queue {
	return &queue{Places: places.Places{Max: maxQueue}, turn: make(chan struct{}, 1)}
}

// Checks returns figures of the queue: passwords that wait or are being hashed.
func (k *Keeper) Checks() places.Stats { return k.queue.Stats() }
