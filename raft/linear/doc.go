/*
Package linear judges whether a history of calls on a register is linearizable.

# What it is

Clients call a register from many places, and their calls overlap. The history is linearizable when
there is one order of all calls that explains every answer and keeps each call between its beginning
and its end (Herlihy and Wing). [Explains] looks for such an order. The simulation of raft and the
tests of real clusters judge by it. Only tests import this package.

# Picture

	client 1   ├── put 1 ───┤          ├─ get: 1 ─┤
	client 2         ├── put 2 ─────┤
	client 3      ├─ get: 2 ─┤             ├ put 3 ──────────── …    nobody knows

	an order   put 2 · get: 2 · put 1 · get: 1                       put 3 later, or never

# Types

	Op      what a client wants: get, put, compare and swap, delete
	Result  what the client was told
	Call    an Op and its Result, from when to when, and whether the outcome is known

# Life of a judgement

A caller splits its history by key, for keys are independent (Lowe: "Testing for linearizability").
The search places one call after the other, depth first (Wing and Gong). Only a call that began
before any of those left had ended may be next. The search remembers the states that it has tried:
which calls are placed, and the value after them.

A write of unknown outcome may stand anywhere after its beginning, or never have happened. It is
placed only when the next answer can't be explained without it: every answer that depends on a value
tells that value, so a write that no answer shows makes no difference.

# Invariants

  - A history that happened is never rejected.
  - A call that was refused for good must be left out. If it had an effect all the same, a later
    answer tells a value that no call has written, and the history is rejected.
  - The same history has the same judgement after the same work.

# What is left out

Values that are written twice: a caller makes each unique. A reason for a rejection: the caller
prints the history.
*/
package linear
