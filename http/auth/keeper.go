package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"etcd2/store"
)

// ErrDenied is the one answer to an unknown user, a wrong password and a right that is missing
// (K8).
//
//lint:ignore ST1005 these are the words of the API
var ErrDenied = errors.New("Insufficient credentials")

// Later is the error of a request that may succeed later: there were too many wrong passwords, or
// too many passwords are being hashed.
type Later struct {
	After  time.Duration // when to try again
	Reason string
}

// Error is the reason.
func (l *Later) Error() string { return l.Reason }

var busy = &Later{time.Second, "too many passwords to check"}

// Caller is what a request tells about its sender.
type Caller struct {
	Authorization []string // the values of that header
	Certified     bool     // there is a verified client certificate, and its name counts as a user
	CommonName    string   // of the certificate's subject: the user's name
	Address       string   // without the port
}

// proof says for the log by what the caller is identified.
func (c *Caller) proof() string {
	switch {
	case len(c.Authorization) > 0 && c.Authorization[0] != "":
		return "password"
	case c.Certified:
		return "certificate " + c.CommonName
	}
	return "none"
}

// failure is what proof is for a caller who could not be identified.
func (c *Caller) failure() string {
	if len(c.Authorization) == 1 {
		if _, _, ok := basic(c.Authorization[0]); ok {
			return WrongPassword
		}
	}
	return c.proof()
}

// Verdict says by which state a request was allowed, and to whom.
type Verdict struct {
	State *State // nil: the request was refused
	User  string // for the log
	Proof string // for the log: by what the caller was identified
	Owner string // the user's name, which owns the request's id; "" when there is no user

	rights *rights
}

// May reports whether the caller has another right, judged by the same State.
func (v Verdict) May(need Right) bool {
	if need.Access == Self && v.Owner != "" && v.Owner == need.Path {
		return true
	}
	return v.rights.may(need)
}

// What the log has in place of the name of a caller who is no user.
const (
	whoGuest   = "(guest)"
	whoAnybody = "(anybody: auth is off)"
	whoUnknown = "(unknown)"
)

// WrongPassword is the proof of a caller whose password is not that of the user named. A Keeper
// logs these itself.
const WrongPassword = "wrong password"

// everything is what every caller may do while auth is disabled.
var everything = rights{root: true}

// Config says what a Keeper needs.
type Config struct {
	Store      *store.Store
	Logger     *slog.Logger // nil: slog.Default()
	Iterations int          // of new passwords; 0: DefaultIterations

	// Propose has the commands agreed on and executed. The first is judged by the revision, and
	// each later one by the revision that the command before it made. The error is
	// store.ErrRevision when the revision is not the present one. nil: bcrypt hashes stay as they
	// are.
	Propose func(ctx context.Context, commands []store.Command, revision uint64) error
}

// sum is a keyed hash, of credentials or names: without the key it reveals nothing of them.
type sum [sha256.Size]byte

// Keeper decides who may do what. All methods may be called from any goroutine.
type Keeper struct {
	store      *store.Store
	log        *slog.Logger
	iterations int
	propose    func(context.Context, []store.Command, uint64) error // see Config
	state      atomic.Pointer[State]                                // of the revision that State last saw
	reading    sync.Mutex                                           // held while State reads one from the store

	macs    sync.Pool // of hash.Hash, with a random key of this process
	known   known
	queue   *queue
	guesses guesses
	nobody  Secret // is compared for a name that is no user's
	wrong   rate   // of lines about wrong passwords

	mu     sync.Mutex // protects what follows
	tries  map[question]*try
	hashes map[sum]*hashing // by user and password
}

// New returns a keeper of the users and roles in c.Store.
func New(c Config) *Keeper {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Iterations <= 0 {
		c.Iterations = DefaultIterations
	}
	key := make([]byte, sha256.Size)
	rand.Read(key)
	return &Keeper{
		store: c.Store, log: c.Logger, iterations: c.Iterations, propose: c.Propose,
		macs:    sync.Pool{New: func() any { return hmac.New(sha256.New, key) }},
		known:   known{users: map[sum]knownUser{}},
		queue:   newQueue(),
		guesses: guesses{now: time.Now, table: map[sum]*guess{}},
		nobody:  Secret{Iterations: c.Iterations, Salt: make([]byte, saltBytes), Key: make([]byte, keyBytes)},
		wrong:   rate{every: time.Second, now: time.Now},
		tries:   map[question]*try{},
		hashes:  map[sum]*hashing{},
	}
}

// State returns the state of the store's present revision.
func (k *Keeper) State() *State {
	if st := k.state.Load(); st != nil && st.Revision == k.store.AuthRevision() {
		return st
	}
	k.reading.Lock()
	defer k.reading.Unlock()
	st := k.state.Load()
	if st == nil || st.Revision != k.store.AuthRevision() {
		st = newState(k.store.Auth())
		k.state.Store(st)
	}
	return st
}

// Holds reports whether users and roles are still at the verdict's revision. If so, whatever was
// done since the verdict was allowed (K9).
func (k *Keeper) Holds(v Verdict) bool { return k.store.AuthRevision() == v.State.Revision }

// Judge decides whether the caller has the right. It may wait for a password to be checked, no
// longer than ctx. The error is ErrDenied or a *Later; the verdict then has only what the log says
// of the caller.
func (k *Keeper) Judge(ctx context.Context, c Caller, need Right) (Verdict, error) {
	st := k.State()
	v := Verdict{User: whoAnybody, Proof: c.proof(), rights: &everything}
	if st.Enabled {
		u, err := k.identify(ctx, st, c)
		switch {
		case err != nil:
			return Verdict{User: whoUnknown, Proof: c.failure()}, err
		case u != nil:
			v.User, v.Owner, v.rights = u.Name, u.Name, &u.rights
		default:
			v.User, v.rights = whoGuest, &st.guest
		}
	}
	if !v.May(need) {
		return v, ErrDenied
	}
	v.State = st
	return v, nil
}

// identify returns the user, nil for guest. A header or certificate that names no user gets
// ErrDenied: its sender is not treated as guest.
func (k *Keeper) identify(ctx context.Context, st *State, c Caller) (*User, error) {
	switch {
	case len(c.Authorization) > 1:
		return nil, ErrDenied
	case len(c.Authorization) == 1 && c.Authorization[0] != "":
		return k.check(ctx, st, c.Authorization[0], c.Address)
	case !c.Certified:
		return nil, nil
	}
	if u := st.users[c.CommonName]; u != nil {
		return u, nil
	}
	return nil, ErrDenied
}

// sum returns the keyed hash of texts. Each is hashed with its length, so that ("a", "bc") and
// ("ab", "c") differ.
func (k *Keeper) sum(texts ...string) (s sum) {
	mac := k.macs.Get().(hash.Hash)
	defer k.macs.Put(mac)
	mac.Reset()
	for _, text := range texts {
		var length [8]byte
		for i := range length {
			length[i] = byte(len(text) >> (8 * i))
		}
		mac.Write(length[:])
		mac.Write([]byte(text))
	}
	mac.Sum(s[:0])
	return s
}

// basic returns user and password of a header Authorization; ok is false if it holds none.
func basic(header string) (user, password string, ok bool) {
	scheme, text, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(plain), ":")
}
