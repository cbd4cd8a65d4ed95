// Package logs writes the log: one line an event, on standard error.
//
// # What it is
//
// Loggers of the standard library (log/slog), one for each package, whose levels can be changed
// while they are used; and the goroutine that writes their lines.
//
// # Picture
//
//	raft, http, …  ──► [Logs.Logger] ──► level ──► [Sink] ──► a goroutine ──► standard error
//	                                             │
//	                                             └─ queue full: the line is lost, and counted
//
// # Types
//
// [Logs] makes the loggers. A [Sink] writes their lines, and never makes the caller wait.
//
// # Life of a line
//
// A package logs it. If its level is high enough, it is queued, and the goroutine of the sink
// writes it. When nobody reads standard error, such as a pipe whose other end is stopped, only that
// goroutine waits: the queue fills, and further lines are lost. The end of the process waits for
// the rest of the queue, but at most for flushTimeout.
//
// # Invariants
//
//   - Logging never waits for a reader. (`TestALogThatNobodyReadsHoldsUpNobody`)
//   - Lines about security are written at every level. (`TestLinesAboutSecurityPassAtEveryLevel`)
//
// # What is left out
//
// Files, their rotation, and forwarding: journald and similar programs do that.
package logs
