//go:build race

package raft

// raceEnabled reports whether the race detector is on: everything is ten times slower with it.
const raceEnabled = true
