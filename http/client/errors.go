package client

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	// ErrUnknown is wrapped by the error of a write that was sent and not answered: it may have
	// been executed, or may yet be. Such a write is not repeated elsewhere, unless it has a
	// RequestID.
	ErrUnknown = errors.New("whether the write was executed is not known")

	// ErrBadAnswer is wrapped when somebody answers who does not speak as an etcd.
	ErrBadAnswer = errors.New("not an answer of an etcd")

	// ErrTooLong is wrapped when an answer, or a node of a listing, has more bytes than
	// MaxAnswerBytes of Config.
	ErrTooLong = errors.New("the answer is longer than this client takes")

	// ErrNoCondition is what a comparison with nothing gives: the API has none with the empty
	// value, nor with index 0.
	ErrNoCondition = errors.New("client: there is nothing to compare with")

	// ErrBadKey is wrapped when a key has an element "." or "..", which no server takes.
	ErrBadKey = errors.New("client: not a key")
)

// An Error is a refusal by a member.
type Error struct {
	Code    int    `json:"errorCode"` // of the keys API; 0 in the other parts
	Message string `json:"message"`
	Cause   string `json:"cause"` // the key, mostly
	Index   uint64 `json:"index"` // of the store, at that moment
	Status  int    `json:"-"`     // of HTTP

	foreign bool // it does not come in the form of the API
	unknown bool // the request is a write, and may have been executed all the same
}

// Error returns the text as etcd's tools print it.
func (e *Error) Error() string {
	if e.Code == 0 {
		return e.Message
	}
	return fmt.Sprintf("%d: %s (%s) [%d]", e.Code, e.Message, e.Cause, e.Index)
}

// Is makes errors.Is(err, ErrUnknown) true when the request may have been executed all the same,
// and errors.Is(err, ErrBadAnswer) when it was no etcd who answered.
func (e *Error) Is(target error) bool {
	return target == ErrUnknown && e.unknown || target == ErrBadAnswer && e.foreign
}

// The codes of the keys API that a client may want to tell apart. There are predicates for the
// common ones.
const (
	CodeKeyNotFound    = 100
	CodeCompareFailed  = 101
	CodeNotFile        = 102
	CodeNotDirectory   = 104
	CodeKeyExists      = 105
	CodeRootReadOnly   = 107
	CodeNotEmpty       = 108
	CodeUnauthorized   = 110
	CodeExecuted       = 213 // not of etcd: this RequestID was answered before, and the answer is forgotten
	CodeForgotten      = 214 // not of etcd: not executed now; whether it was before is forgotten
	CodeQuota          = 215 // not of etcd: the tree may not grow, see --quota-bytes
	CodeRaft           = 300
	CodeHistoryCleared = 401
)

// has tells whether err is a refusal with this code.
func has(err error, code int) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// IsKeyNotFound tells whether the key is missing.
func IsKeyNotFound(err error) bool { return has(err, CodeKeyNotFound) }

// IsCompareFailed tells whether the present value or index was not the expected one.
func IsCompareFailed(err error) bool { return has(err, CodeCompareFailed) }

// IsKeyExists tells whether a key was to be created that is there.
func IsKeyExists(err error) bool { return has(err, CodeKeyExists) }

// IsNotFile tells whether a directory stands where a file was wanted.
func IsNotFile(err error) bool { return has(err, CodeNotFile) }

// IsNotEmpty tells whether a directory was not deleted because something is in it.
func IsNotEmpty(err error) bool { return has(err, CodeNotEmpty) }

// IsUnauthorized tells whether the user may not do that, in whatever part of the API.
func IsUnauthorized(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == 401
}

// IsHistoryCleared tells whether a watch asked for events that the member no longer has. Its reader
// must read the keys anew and watch from the index of that on.
func IsHistoryCleared(err error) bool { return has(err, CodeHistoryCleared) }

var clearedCause = regexp.MustCompile(`\[(\d+)/\d+\]$`)

// FirstIndex is, for a history that was cleared, the first index that the member still has; 0 when
// it does not say.
func (e *Error) FirstIndex() uint64 {
	found := clearedCause.FindStringSubmatch(e.Cause)
	if e.Code != CodeHistoryCleared || found == nil {
		return 0
	}
	first, _ := strconv.ParseUint(found[1], 10, 64) // 0 when it is too large
	return first
}

func tooLong(limit int64) error {
	return fmt.Errorf("%w: it has more than %d bytes", ErrTooLong, limit)
}

// A Failure is why one endpoint gave no answer.
type Failure struct {
	Endpoint string
	Err      error
}

// A ClusterError is that no endpoint gave a result.
type ClusterError struct {
	Failures []Failure // in the order in which they were asked
	Unknown  bool      // it is a write, and one of them may have executed it
}

// Error lists the endpoints in one line.
func (e *ClusterError) Error() string {
	var b strings.Builder
	b.WriteString("client: no endpoint gave a result")
	if e.Unknown {
		b.WriteString(", and " + ErrUnknown.Error())
	}
	for i, f := range e.Failures {
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		fmt.Fprintf(&b, "%s: %v", f.Endpoint, f.Err)
	}
	return b.String()
}

// Unwrap leads to the reasons of all endpoints, and to ErrUnknown.
func (e *ClusterError) Unwrap() (all []error) {
	for _, f := range e.Failures {
		all = append(all, f.Err)
	}
	if e.Unknown {
		all = append(all, ErrUnknown)
	}
	return all
}

// orAnswer is the error, or what the last endpoint said when it did say something.
func (e *ClusterError) orAnswer() error {
	var refusal *Error
	if errors.As(e.Failures[len(e.Failures)-1].Err, &refusal) {
		refusal.unknown = e.Unknown
		return refusal
	}
	return e
}

// errSpeaksTLS is what an answer of net/http means that has plainOnTLS for a body. No handler has
// seen the request.
var errSpeaksTLS = errors.New("https is spoken there, and it was asked by http")

const plainOnTLS = "Client sent an HTTP request to an HTTPS server.\n"

// notSent wraps the error of a request that nobody can have got.
type notSent struct{ error }

// Unwrap leads to the reason.
func (n notSent) Unwrap() error { return n.error }
