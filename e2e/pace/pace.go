// Package pace has the flag that all packages of tests share. A plain `go test ./...` is what
// somebody runs between two edits; `go test ./... -short` is quicker still and leaves out what
// starts processes; `go test ./... -long` is everything, as continuous integration runs it.
package pace

import (
	"flag"
	"testing"
	"time"
)

var long = flag.Bool("long", false, "also the tests that take long")

// Long reports whether -long was given: loops may be longer then, states larger, bounds of time
// checked that a busy machine could miss. Call it once the flags are parsed.
func Long() bool { return *long }

// Pick returns how much of something a test does: a little under -short, all of it under -long.
func Pick[T any](short, usual, all T) T {
	switch {
	case *long:
		return all
	case testing.Short():
		return short
	}
	return usual
}

// FuzzTime is for how long an ordinary test mutates the seeds of a fuzz target.
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
