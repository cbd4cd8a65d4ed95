// Package store is the tree of keys: a pure function of (index, time, command).
//
// # What it is
//
// The state machine behind the log: files and directories, their times to live, the history of what
// happened to them, the requests that a client may repeat, and the watchers. Every replica applies
// the same commands at the same indices and stamps, and so holds the same state. This package reads
// no clock and no file. Its only goroutine is the one that helps Restore while that runs. Its only
// random number seeds a hash table, and no answer depends on it.
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
//   - children are the nodes in one directory: a B-tree by name, whose pages count the nodes below
//     them. A Range selects some of the nodes.
//   - weight is the sum over all nodes below a directory: timers, hashes, memory.
//   - View is a node and all that is below it, as of one moment.
//   - clock and wheel say which node expires next.
//   - window holds the last requests that had an id, with their answers; its facts are the requests
//     before these, without answers.
//   - history holds the last events by index; Watcher is a cursor on it, and watchers find the
//     Watchers of a path.
//   - Space names one of the two trees: the keys, or the users and roles, which only package auth
//     understands.
//   - waiters are the calls of WaitIndex, which wait for an index.
//
// # Life of a command
//
//  1. Apply takes the lock and checks that the entry follows the last one.
//  2. It moves the clock to the entry's stamp and removes the nodes that are due, each by an event
//     of its own.
//  3. It decodes the command, with one allocation for path and value. If the command has the id of
//     a request that the window knows, it is not executed: the client gets the first answer, or an
//     error when that is forgotten.
//  4. It looks the operation up in a table. The operation checks what the specification wants
//     checked. It fails and changes nothing, or takes the next index of the store and changes the
//     tree.
//  5. For the change, writableParent walks from the root to the parent. It copies what a view may
//     see, makes what is missing, marks every directory on the way as changed, and corrects its
//     weight.
//  6. record adds the event to the chain of the digest and to the history, and wakes the watchers
//     that it matches. These read the event from the history, each in its own goroutine.
//
// # Invariants
//
//   - applied grows by one with every entry (I6), index by one with every event; now never falls.
//   - The history has an entry for each index from first to index.
//   - A node that expires has exactly one armed timer while it is in the tree. There are no others.
//   - A directory counts the timers below it; its changed is at least that of every directory in it
//     and at least the modified index of every file in it.
//   - A directory or a page whose epoch is older than the store's is never written again. Taking a
//     view raises the epoch. A write copies each of them that it meets on its way, once.
//   - A request, which is a command with an id, is executed once. A retry changes nothing: neither
//     while the answer is remembered (TestARetryGetsTheFirstAnswer), nor while only the fact is
//     (TestWhatFellOutOfTheWindowIsNotExecutedAgain), nor later, if the request has an index from
//     before its first try (TestWhatIsForgottenIsRefused).
//   - The window is bounded (TestTheWindowsMemoryIsBounded, TestTheWindowKeepsItsBounds), the same
//     on every member, and in the snapshot (TestTheWindowIsInTheSnapshot). An id belongs to its
//     user (TestAnIDBelongsToItsUser), and each user has a part of the window that no other user
//     can take (TestNobodyFlushesTheRequestsOfOthers).
//   - A frugal command makes the tree no larger, whatever the limits of this member
//     (TestMembersWithDifferentQuotasHaveTheSameTree).
//   - A directory's sum is that of the hashes of all nodes below it, the window's that of its
//     requests and facts. A directory's cost is the memory that the nodes below it take
//     (TestTheCostIsThatOfTheMemory).
//   - The expiration that a node shows is computed once, from the last offset between wall clock
//     and cluster clock in the log (TestEveryMemberShowsTheSameEnd).
//   - Members that applied the same entries have the same Digest (TestMembersHaveTheSameDigest),
//     others have different ones (TestADifferenceShowsInTheDigest). The bytes that Freeze writes
//     are the same only where Limits are: each member has its own limits for the history
//     (--event-history), and the digest leaves the history out.
//   - A change of users and roles takes an index and raises the revision. No client sees it: not in
//     the history, not by a watch, not by a Get (TestUsersAndRolesAreNoKeys). A command that was
//     checked against another revision does nothing (TestACommandJudgedByAnOldRevisionIsRefused).
//   - All of this holds for a tree that was planted node by node, from another server's data
//     (TestAPlantedTreeGoesOn).
//   - A watcher's next is at or before the first event that it still has to return.
//
// # What is left out
//
// Parsing, JSON, rights, the limits on keys and values, and the form of a request id belong to
// package http. Checksums of files belong to snap and wal. Package raft compares the digests of the
// members. Nodes expire only when Apply is called: the leader asks NextDue when that has to be.
//
// In comments, "API section" means a section of http/API.md, "diss." Ongaro's dissertation, and a
// letter with a number a row of raft/PITFALLS.md.
package store
