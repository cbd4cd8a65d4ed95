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
	// been executed, or may still be. Such a write is not sent to another endpoint, unless it has a
	// RequestID.
	ErrUnknown = errors.New("whether the write was executed is not known")

	// ErrBadAnswer is wrapped when an answer does not come from an etcd.
	ErrBadAnswer = errors.New("not an answer of an etcd")

	// ErrTooLong is wrapped when an answer, an event, or a node of a listing has more bytes than
	// MaxAnswerBytes of Config.
	ErrTooLong = errors.New("the answer is longer than this client takes")

	// ErrNoCondition is the error of a comparison with a zero Condition: the API can't compare with
	// the empty value or with index 0.
	ErrNoCondition = errors.New("client: there is nothing to compare with")

	// ErrBadKey is wrapped when a key has an element "." or "..", which no server accepts.
	ErrBadKey = errors.New("client: not a key")
)

// An Error is a refusal by a member.
type Error struct {
	Code    int    `json:"errorCode"` // of the keys API; 0 in the other parts
	Message string `json:"message"`
	Cause   string `json:"cause"` // the key, mostly
	Index   uint64 `json:"index"` // of the store, at that moment
	Status  int    `json:"-"`     // of HTTP

	foreign bool // the answer has not the form of the API
	unknown bool // the request is a write, and may have been executed nevertheless
}

// Error returns the text as etcd's tools print it.
func (e *Error) Error() string {
	if e.Code == 0 {
		return e.Message
	}
	return fmt.Sprintf("%d: %s (%s) [%d]", e.Code, e.Message, e.Cause, e.Index)
}

// Is makes errors.Is(err, ErrUnknown) true when the request may have been executed nevertheless,
// and errors.Is(err, ErrBadAnswer) when the answer is not that of an etcd.
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
	CodeExecuted       = 213 // not of etcd: this RequestID was executed before, and the answer is forgotten
	CodeForgotten      = 214 // not of etcd: not executed now; whether it was before is forgotten
	CodeQuota          = 215 // not of etcd: the tree may not grow, see --quota-bytes
	CodeRaft           = 300
	CodeHistoryCleared = 401
)

// has reports whether err is a refusal with this code.
func has(err error, code int) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// IsKeyNotFound reports whether the key is missing.
func IsKeyNotFound(err error) bool { return has(err, CodeKeyNotFound) }

// IsCompareFailed reports whether the value or the index was not the expected one.
func IsCompareFailed(err error) bool { return has(err, CodeCompareFailed) }

// IsKeyExists reports whether a key was not created because it exists.
func IsKeyExists(err error) bool { return has(err, CodeKeyExists) }

// IsNotFile reports whether there is a directory where a file was expected.
func IsNotFile(err error) bool { return has(err, CodeNotFile) }

// IsNotEmpty reports whether a directory was not deleted because it is not empty.
func IsNotEmpty(err error) bool { return has(err, CodeNotEmpty) }

// IsUnauthorized reports whether the user may not do that, in any part of the API.
func IsUnauthorized(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == 401
}

// IsHistoryCleared reports whether a watch asked for events that the member no longer has. The
// caller must read the keys again, and watch from the index of that answer on.
func IsHistoryCleared(err error) bool { return has(err, CodeHistoryCleared) }

var clearedCause = regexp.MustCompile(`\[(\d+)/\d+\]$`)

// FirstIndex returns, for IsHistoryCleared, the index of the first event that the member still has;
// 0 when the answer does not tell.
func (e *Error) FirstIndex() uint64 {
	found := clearedCause.FindStringSubmatch(e.Cause)
	if e.Code != CodeHistoryCleared || found == nil {
		return 0
	}
	first, _ := strconv.ParseUint(found[1], 10, 64) // the largest number when it is too large
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

// A ClusterError is the error of a request for which no endpoint gave a result.
type ClusterError struct {
	Failures []Failure // in the order in which they were asked
	Unknown  bool      // the request is a write, and one of them may have executed it
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

// Unwrap returns the errors of all endpoints, and ErrUnknown.
func (e *ClusterError) Unwrap() (all []error) {
	for _, f := range e.Failures {
		all = append(all, f.Err)
	}
	if e.Unknown {
		all = append(all, ErrUnknown)
	}
	return all
}

// orRefusal returns the refusal of the last endpoint if it answered, and the whole error otherwise.
func (e *ClusterError) orRefusal() error {
	var refusal *Error
	if errors.As(e.Failures[len(e.Failures)-1].Err, &refusal) {
		refusal.unknown = e.Unknown
		return refusal
	}
	return e
}

// errSpeaksTLS stands for an answer of net/http with the body plainOnTLS. No handler has seen the
// request.
var errSpeaksTLS = errors.New("https is spoken there, and it was asked by http")

const plainOnTLS = "Client sent an HTTP request to an HTTPS server.\n"

// A notSent wraps the error of a request that no server can have received.
type notSent struct{ error }

// Unwrap returns the reason.
func (n notSent) Unwrap() error { return n.error }
