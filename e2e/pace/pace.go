// Package pace has the flags that all packages of tests share. A plain `go test ./...` is for the
// time between two edits. `go test ./... -short` is quicker still, and leaves out tests that start
// processes. `go test ./... -long` runs everything, as continuous integration does.
package pace

import (
	"flag"
	"testing"
	"time"
)

var long = flag.Bool("long", false, "also the tests that take long")

// Long reports whether -long was given. Then loops may be longer and states larger, and tests may
// check bounds of time that a busy machine could miss. Call it after the flags are parsed.
func Long() bool { return *long }

// Pick returns how much of something a test does: little under -short, all of it under -long.
func Pick[T any](short, usual, all T) T {
	switch {
	case *long:
		return all
	case testing.Short():
		return short
	}
	return usual
}

// FuzzTime returns how long an ordinary test mutates the seeds of a fuzz target.
func FuzzTime() time.Duration { return Pick(100*time.Millisecond, 500*time.Millisecond, 5*time.Second) }

// NeedsLong skips a test unless -long was given.
func NeedsLong(t testing.TB) {
	t.Helper()
	if !*long {
		t.Skip("takes long; runs with -long")
	}
}

// LeftOutByShort skips a test if -short was given.
func LeftOutByShort(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short")
	}
}
