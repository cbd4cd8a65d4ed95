//go:build race

package raft

// raceEnabled tells whether the race detector is at work: everything is ten times slower.
const raceEnabled = true
