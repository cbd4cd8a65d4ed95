// Package certs makes TLS configurations of files, and of the files as they are now.
//
// # What it is
//
// A member has two ports, one for clients and one for members, and each may have a certificate with
// its key, a file of authorities that it trusts, and a list of what those have revoked. People
// replace these files while the member runs; a [Set] notices, and goes by the new ones from the
// next handshake on, and ends the connections of who would not be accepted any more, and no others.
// When a handshake fails, a Set says why in words that name what was wanted and what was there.
// "K3" and the like is a row of raft/PITFALLS.md.
//
// # Picture
//
//	 cert, key ──► source ──► identity ─┐                ┌──► Server ──► a listener's handshakes
//	                                    ├──► state ──────┤
//	authorities, ► source ──► trust ────┘   as of now    ├──► Client, DialTLS ──► calls to members
//	revoked           ▲                                  │
//	                  │                                  ├──► Expiries ──► metrics, log
//	             Watch, or a handshake:                  │
//	             have the files changed?                 ├──► explain ──► Refused, Refusals ──► log, metrics
//	                                                     │
//	Listener, DialTLS ──► bonds ──────────── judge ──────┴──► sever ──► Ended ──► log, metrics
//
// # Types
//
//   - [Files] say where everything is; a [FileError] which of them is no good, and what to do.
//   - A [Set] is one port's. source is files that are understood together, and their last good
//     meaning.
//   - identity is what a member shows, trust whom it believes, state both at one moment.
//   - list is what one authority has revoked.
//   - bond is a connection that rests on a certificate of the other end.
//   - reason is why a handshake failed: a word for the metrics and a sentence for a person.
//
// # Life of a renewal
//
// Somebody writes a new key, and a moment later the new certificate. A handshake in between, or
// Watch, finds that a file is another one by its time, size or inode, reads both, and sees that
// they do not fit. The log is told once; the old pair, which is in memory, goes on. Since something
// is wrong the files are read every time now, and when the certificate has come the two fit: the
// next handshake gets them. Authorities and lists have a source of their own, so a pair that is
// broken for long does not keep anybody from being revoked.
//
// # Life of a refusal
//
// crypto/tls judges by chain, time and usage, and keeps the certificates that it has refused in its
// error; trust.check judges by the lists. The listener's owner gives the error to [Set.Refused].
// There explain looks for what a person needs: whose certificate it is, who issued it and whom this
// member trusts, which usage or name is missing, what date. The same from the same address is
// logged once a minute, and counted every time.
//
// # Life of a revocation
//
// A handshake that is accepted makes a bond of its connection, until that is closed; requests cost
// nothing for it. Somebody adds a certificate to a list, or takes an authority out: handshakes go
// by it at once. When the files have been in order and the same for a moment (settle), since what
// is being written may look whole, sever has trust.judge look at each bond. A chain that leads to
// an authority that is trusted still need only be looked up in the lists; any other is verified
// anew. Whoever fails loses the connection, whatever is under way on it, at this port or where this
// member has called: who reads it learns why, and has a second for a last word, as a stream of Raft
// says bye, before it is closed. Who has called, and is not revoked, may go first (courtesy): it
// ends the connection by itself, and calls with its new certificate. The log has a line for each
// certificate and machine, and the metrics a number.
//
// # Invariants
//
//   - What is in force was whole and fitted when it was read.
//     (`TestAChangedPairIsReadWhenItIsWhole`)
//   - A certificate that is valid gives way to none that isn't.
//   - Every handshake is judged by the files: there are no session tickets.
//   - Whoever is accepted no more has no connection soon after.
//     (`TestWhoIsRevokedLosesTheConnectionsThatItHas`, `TestAConnectionThatWasEndedIsClosedSoon`)
//   - No other connection ends: not for a file that is broken or being written
//     (`TestAFileThatIsBrokenOrBeingWrittenEndsNoConnections`), nor for time.
//   - A connection that is closed is forgotten. (`TestWhoIsGoneIsNotKept`)
//   - TLS 1.2 at the least. (`TestNothingOlderThanTLS12IsSpoken`)
//   - A name is one of subjectAltName, and no handshake asks the DNS (K4). The common name is a
//     user's, for who wants to know.
//   - Where names are wanted, nobody of another name is talked to.
//     (`TestOnlyMembersOfTheRightNamesAreTalkedTo`)
//   - Whoever floods a port with handshakes that fail gets a bounded number of lines.
//     (`TestARefusalThatRepeatsDoesNotFillTheLog`)
//   - Keys that are made here are files of mode 0600 in directories of mode 0700.
//
// # What is left out
//
// OCSP, and fetching lists: a file is all that is looked at. A certificate that expires while it is
// in use keeps its connections, as TLS servers have it. Keys that need a password.
package certs
