package store

import (
	"errors"
	"fmt"
	"net/http"
)

// ErrVersion is wrapped by what Apply returns for a command written by another version of this
// package. The member must stop: skipping the command would make its tree differ from the others'
// (I7).
var ErrVersion = errors.New("the command was written by another version of this program")

// fatal is an error of Apply after which the caller must stop. raft.Fatal distinguishes it from the
// result of a command.
type fatal struct{ error }

// Fatal returns true.
func (fatal) Fatal() bool { return true }

// Unwrap returns the error, which wraps ErrVersion.
func (f fatal) Unwrap() error { return f.error }

// ErrRevision is what Apply returns for a command that was checked against users and roles that
// have changed since. Nothing was done: the caller may check the command once more and propose it
// again (K9).
var ErrRevision = errors.New("store: users or roles have changed meanwhile")

// ErrFellBehind ends a watcher when the history has dropped events that it still had to return.
var ErrFellBehind = errors.New("store: the watcher fell behind the event history")

// The codes of the keys API (API section 11).
const (
	CodeKeyNotFound    = 100
	CodeCompareFailed  = 101
	CodeNotFile        = 102
	CodeNotDirectory   = 104
	CodeKeyExists      = 105
	CodeRootReadOnly   = 107
	CodeNotEmpty       = 108
	CodeUnauthorized   = 110
	CodePrevValue      = 201
	CodeTTL            = 202
	CodeIndex          = 203
	CodeField          = 209
	CodeForm           = 210
	CodeRefreshValue   = 211
	CodeRefreshTTL     = 212
	CodeExecuted       = 213 // not of etcd: see once
	CodeForgotten      = 214 // not of etcd: see once
	CodeQuota          = 215 // not of etcd: see Mark
	CodeRaft           = 300
	CodeLeaderElection = 301
	CodeHistoryCleared = 401
)

// codes has the message and the HTTP status of each code. A code that is not here is a bad request.
var codes = map[int]struct {
	message string
	status  int
}{
	CodeKeyNotFound:    {"Key not found", http.StatusNotFound},
	CodeCompareFailed:  {"Compare failed", http.StatusPreconditionFailed},
	CodeNotFile:        {"Not a file", http.StatusForbidden},
	CodeNotDirectory:   {"Not a directory", http.StatusBadRequest},
	CodeKeyExists:      {"Key already exists", http.StatusPreconditionFailed},
	CodeRootReadOnly:   {"Root is read only", http.StatusBadRequest},
	CodeNotEmpty:       {"Directory not empty", http.StatusForbidden},
	CodeUnauthorized:   {"The request requires user authentication", http.StatusUnauthorized},
	CodePrevValue:      {"PrevValue is Required in POST form", http.StatusBadRequest},
	CodeTTL:            {"The given TTL in POST form is not a number", http.StatusBadRequest},
	CodeIndex:          {"The given index in POST form is not a number", http.StatusBadRequest},
	CodeField:          {"Invalid field", http.StatusBadRequest},
	CodeForm:           {"Invalid POST form", http.StatusBadRequest},
	CodeRefreshValue:   {"Value provided on refresh", http.StatusBadRequest},
	CodeRefreshTTL:     {"A TTL must be provided on refresh", http.StatusBadRequest},
	CodeExecuted:       {"Request was answered before", http.StatusGone},
	CodeForgotten:      {"Request is too old", http.StatusGone},
	CodeQuota:          {"The tree is full", http.StatusInsufficientStorage},
	CodeRaft:           {"Raft Internal Error", http.StatusInternalServerError},
	CodeLeaderElection: {"During Leader Election", http.StatusInternalServerError},
	CodeHistoryCleared: {"The event in requested index is outdated and cleared", http.StatusBadRequest},
}

// Error is an error of the keys API (API section 11). Index is that of the store at that moment.
type Error struct {
	Code  int
	Cause string
	Index uint64
}

// Error returns code, message, cause and index in one line.
func (e *Error) Error() string {
	return fmt.Sprintf("store: %d %s: %s (at index %d)", e.Code, e.Message(), e.Cause, e.Index)
}

// Message returns the text of the code.
func (e *Error) Message() string { return codes[e.Code].message }

// Status returns the HTTP status of the code.
func (e *Error) Status() int {
	if c, ok := codes[e.Code]; ok {
		return c.status
	}
	return http.StatusBadRequest
}

// fail returns an error with the present index. s.mu must be held.
func (s *Store) fail(code int, cause string) *Error {
	return &Error{Code: code, Cause: cause, Index: s.index}
}
