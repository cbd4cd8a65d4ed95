// Package auth is users, roles and permissions: who may do what with the keys of a cluster, and
// with the cluster itself.
//
// # What it is
//
// A Keeper that answers one question, put by package http with every request: may this caller do
// this? What it answers by is a State: the users, the roles and the switch, as the log has made
// them, the same on every member. Nothing here changes a State: to change one is to propose
// commands, which the methods of State write down and http proposes.
//
// # Picture
//
//	request ──► Caller, Right                                   PUT /v2/auth/users/u
//	                │                                                    │
//	              Judge ◄── State ◄── store.Auth, when the revision   State.PutUser ──► Change: commands, answer
//	                │         of the last one is not the present one             │
//	     ┌──────────┴─────────┐                                           proposed, judged by
//	  identify               may                                          the State's revision
//	  │    │    │             │
//	guest  CN  password     patterns
//	             │
//	      known ─┴─ guesses ── queue ── PBKDF2, bcrypt ──► renew
//
// # Types
//
//   - State is the switch, User and Role as of one revision. It is read once a revision.
//   - Right is what a request needs; rights are what somebody has; covers is the one rule that
//     compares patterns.
//   - Secret is what is stored of a password.
//   - known, queue and guesses are what stands between a guesser and the processor.
//   - Change is commands and the answer that they earn, Refusal the answer without commands.
//   - Verdict is an answer of Judge, good for as long as the revision stays.
//
// # Life of a password
//
// PUT sends it once. Hash makes a Secret of it, with a salt of its own, and only that goes into the
// log. A client that has gone before it was made finds it at its next try, for a minute. A request
// brings it again in the header Authorization. check looks a keyed hash of the header up among
// those that were right before: the key is made up at every start and never leaves the process, so
// that memory holds no password for longer than a request. One that is not known is compared in the
// one queue for the one core that hashes, and joins an equal one that waits there already. Right,
// it is known until the user's Secret is another. Wrong, or of nobody, it has cost the same work,
// gets the same answer, and makes the next try wait.
//
// A user who came from etcd 2 has a hash of bcrypt, of which ParseBcrypt makes a Secret. It is
// compared like the others, in the same queue. When it was right the first time, renew has it
// replaced by one of Hash's kind, by a command in the log.
//
// # Invariants
//
//   - A Verdict is of one State: user, password, roles and patterns of one revision. Who acts on it
//     says which, and Apply refuses another (TestAWriteIsDoneByTheRightsOfItsMoment in package
//     http).
//   - What a recursive right covers, it covers for every key below
//     (TestNoRightReachesFurtherThanItsKeys).
//   - No credential is taken for guest (TestNoHeaderMakesAGuest).
//   - No password is in a log, an error, a State or the memory of known; no Secret in what the API
//     shows (TestNoSecretIsShown).
//   - To hash a password anew undoes no change of users and roles (TestHashingAnewLosesNoChange).
//   - A hash that nobody waits for any more is not made in vain (TestAHashIsFoundAtTheNextTry).
//   - One core at most hashes, and a bounded number waits for it (TestOneCoreHashes,
//     TestTheQueueIsBounded).
//
// # What is left out
//
// HTTP: paths, methods, headers of the answer. TLS, which says whose certificate it is. Tokens.
// "Section" in a comment means a section of http/API.md, "K9" a row of raft/PITFALLS.md.
package auth
