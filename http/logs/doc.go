// Package logs writes the log: one line an event, on standard error.
//
// # What it is
//
// Loggers of the standard library (log/slog), one a package, whose levels can be changed while they
// are used; and the one place where their lines are written.
//
// # Picture
//
//	raft, http, …  ──► [Logs.Of] ──► level ──► [Sink] ──► a goroutine ──► standard error
//	                                             │
//	                                             └─ full: the line is lost, and counted
//
// # Types
//
// [Logs] makes the loggers. A [Sink] writes their lines, and never holds up the caller.
//
// # Life of a line
//
// A package logs it. When its level is high enough it is queued, and written by the goroutine of
// the sink. A reader that stands still, as a pipe whose other end is stopped, holds up that
// goroutine alone: the queue fills, and what finds no room in it is lost. The end of the process
// waits for the rest of the queue, though not for long.
//
// # Invariants
//
//   - Nobody who logs waits for a reader. (`TestALogThatNobodyReadsHoldsUpNobody`)
//   - Lines about security pass at every level. (`TestLinesAboutSecurityPassAtEveryLevel`)
//
// # What is left out
//
// Files, their rotation, and forwarding: journald and its like do that.
package logs
