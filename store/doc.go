// Package store is the tree of keys: a pure function of (index, time, command).
//
// # What it is
//
// The state machine behind the log: files and directories, their times to live, the history of what
// happened to them, the requests that may come again, and the watchers. Every replica applies the
// same commands at the same indices and stamps and so comes to the same bytes. There is no clock
// and no file in here, no goroutine but the one that helps Restore while that runs, and no random
// source, but for the places in a hash table, which no answer depends on.
//
// # Picture
//
//	     Apply(index, now, command)                   Get, Watch, Freeze
//	                │ one applier, lock                       │ read lock, briefly
//	  ┌─────────────┼──────────────┬─────────────────┐        │
//	  ▼             ▼              ▼                 ▼        ▼
//	clock         tree          history          watchers    View
//	(wheels)    / ─ a ─ x     … 7 8 9 10 ⊔       / ─ a       the tree as
//	due times       b         events by index       └ wake   it was, no lock
//	                │             │
//	              sums  +       chain  +  window   =   Digest
//	              of hashes     of all    of requests
//
// # Types
//
//   - Command is a write as it travels in the log; Event or Error is what comes of it.
//   - Node is a file or directory. Files never change: a write makes a new one, and tree, events
//     and views share them.
//   - children is what a directory holds: a B-tree by name, whose pages know how many nodes lie
//     below. A Range selects some of them.
//   - weight is what a directory knows of all that is below it: timers, hashes, what it costs.
//   - View is a part of the tree at one moment.
//   - clock and wheel say which node expires next.
//   - window is the last requests that had an id, with their answers; facts are those before them,
//     without.
//   - history is the last events by index; Watcher is a cursor on it, watchers an index of them by
//     path.
//   - Space tells the two trees: the keys, and the users and roles of which only package auth knows
//     what they mean.
//   - awaits are those who wait for an index, whatever happens at it (WaitIndex).
//
// # Life of a command
//
// Apply takes the lock and checks that the entry follows the last one. It moves the clock to the
// entry's stamp and removes what is due, each node as an event of its own. It decodes the command,
// one allocation for path and value. A command with the id of a request that the window knows gets
// the first answer, or an error when that is forgotten, and is not executed. Else it looks the
// operation up in a table. The operation checks what the specification wants checked, and fails
// without a trace, or takes the next index of the store and changes the tree: above walks from the
// root to the parent, copies what a view may see, makes what is missing, marks every directory on
// the way as changed, and corrects its weight. At last record gives the event its
// place in the chain of the digest and in the history, and wakes the watchers that it matches. They
// read the event from the history themselves, when they find the time.
//
// # Invariants
//
//   - applied grows by one with every entry (I6), now never falls, index grows by one with every
//     event.
//   - The history has an entry for each index from first to index.
//   - A node of the tree that expires has exactly one armed timer, and there is no other.
//   - A directory counts the timers below it; its changed is at least that of every directory in it
//     and at least the modified index of every file in it.
//   - What has an epoch before the store's is never written again: directories, pages of children.
//     Whoever takes a view raises the epoch. A write copies what it meets on its way, once.
//   - A command with an id that was executed before changes nothing: neither while its answer is
//     remembered (TestARetryGetsTheFirstAnswer), nor while only the fact is
//     (TestWhatFellOutOfTheWindowIsNotExecutedAgain), nor later, if it has an index from before its
//     first try (TestWhatIsForgottenIsRefused). The window is bounded
//     (TestTheWindowsMemoryIsBounded), the same on every member, and in the snapshot
//     (TestTheWindowKeepsItsBounds, TestTheWindowIsInTheSnapshot). An id is its user's
//     (TestAnIDBelongsToItsUser), and each user has a part of the window that no other one can take
//     (TestNobodyFlushesTheRequestsOfOthers).
//   - A frugal command makes the tree no larger, whatever the limits here
//     (TestMembersWithDifferentQuotasHaveTheSameTree).
//   - A directory's sum is that of the hashes of all nodes below it, the window's that of its
//     requests and facts. Its cost is the memory that they take (TestTheCostIsThatOfTheMemory).
//   - The expiration that a node shows is computed once, from the last offset between wall clock
//     and cluster clock in the log (TestEveryMemberShowsTheSameEnd).
//   - Members that applied the same entries have the same Digest (TestMembersHaveTheSameDigest),
//     others not (TestADifferenceShowsInTheDigest). The bytes that Freeze writes are the same only
//     where Limits are: a member keeps the history that it is told to keep (--event-history), and
//     the digest does not look at it.
//   - A change of users and roles takes an index and raises the revision, and is told nowhere: not
//     in the history, not to a watch, not to a Get (TestUsersAndRolesAreNoKeys). A command that was
//     judged by another revision does nothing (TestACommandJudgedByAnOldRevisionIsRefused).
//   - A tree that another server has left, planted node by node, keeps all of this
//     (TestAPlantedTreeGoesOn).
//   - A watcher's next is at or before the first event that it is to be told and has not been.
//
// # What is left out
//
// Parsing, JSON, who has which rights, the limits on keys and values and what a request id may look
// like belong to http, checksums of files to snap and wal, comparing digests to whoever knows other
// members'. Nodes expire only when Apply is called: the leader asks NextDue when that has to be.
// Directories do not count their nodes. "API section" in a comment means a section of http/API.md,
// "diss." Ongaro's dissertation, letters with numbers a row of raft/PITFALLS.md.
package store
