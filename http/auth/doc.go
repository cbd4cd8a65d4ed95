// Package auth is users, roles and permissions: who may do what with the keys of a cluster, and
// with the cluster itself.
//
// # What it is
//
// A Keeper answers one question, which package http asks for every request: may this caller do
// this? It judges by a State: the users, the roles and the switch that turns access rights on, as
// the log has made them, the same on every member. Nothing here changes a State. To change one, a
// method of State returns commands, and package http proposes them.
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
//   - State is the switch, the users and the roles as of one revision. It is read once a revision.
//   - Right is what a request needs; rights are what a caller has; covers is the only place that
//     compares patterns.
//   - Secret is what is stored in place of a password.
//   - known, queue and guesses bound how much of the processor wrong passwords can take.
//   - Change is a list of commands and the answer when they are done; Refusal is the answer when
//     there is nothing to propose.
//   - Verdict is an answer of Judge. It holds for as long as the revision stays the same.
//
// # Life of a password
//
// A PUT sends it once. Hash makes a Secret of it, with a salt of its own, and only the Secret goes
// into the log. The Secret is remembered for a minute, so that a client that hung up before it was
// made finds it at its next try.
//
// Every later request brings the password in the header Authorization. check looks for a keyed hash
// of this header among those that were right before. The key is random, made at every start, and
// never leaves the process, so that memory holds no password for longer than a request. A header
// that is not known is compared by the one goroutine at a time that may hash; it joins an equal one
// that waits already. A right password is then known until the user's Secret changes. A wrong
// password and an unknown user cost the same work, get the same answer, and delay the next try.
//
// A user who came from etcd 2 has a bcrypt hash, of which ParseBcrypt makes a Secret. It is
// compared like the others, in the same queue. After the first right login, renew replaces it by a
// Secret as Hash makes them, with a command in the log.
//
// # Invariants
//
//   - A Verdict is of one State: user, password, roles and patterns of one revision. A command that
//     rests on it names this revision, and Apply refuses the command when it is not the present one
//     (TestAWriteIsDoneByTheRightsOfItsMoment in package http).
//   - A caller with a recursive right to a directory has that right to every key below it
//     (TestNoRightReachesFurtherThanItsKeys).
//   - A request with wrong credentials is never treated as guest (TestNoHeaderMakesAGuest).
//   - No password is in a log, an error, a State or the memory of known; no Secret in what the API
//     shows (TestNoSecretIsShown).
//   - Hashing a password anew undoes no change of users and roles (TestHashingAnewLosesNoChange).
//   - A hash whose client has hung up serves its next try (TestAHashIsFoundAtTheNextTry).
//   - At most one core hashes, and a bounded number of requests wait for it (TestOneCoreHashes,
//     TestTheQueueIsBounded).
//
// # What is left out
//
// HTTP: paths, methods, headers of the answer. TLS, which says whose certificate it is. Tokens.
// "Section" in a comment means a section of http/API.md, "K9" a row of raft/PITFALLS.md.
package auth
