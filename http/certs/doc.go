// Package certs makes TLS configurations from files, and follows the files when they change.
//
// # What it is
//
// A member has two ports, one for clients and one for members, and each may have a certificate with
// its key, a file of authorities that it trusts, and a list of certificates that those have
// revoked. People replace these files while the member runs. A [Set] notices, uses the new ones
// from the next handshake on, and ends the connections whose certificate is no longer accepted, and
// no others. When a handshake fails, a Set explains what was expected and what was shown. K3 and
// the like are rows of raft/PITFALLS.md.
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
//	Listener, DialTLS ──► bonds ─────────── recheck ─────┴──► endRefused ──► Ended ──► log, metrics
//
// # Types
//
//   - [Files] are the paths of the files of one port; a [FileError] says which file can't be used,
//     and what to do about it.
//   - A [Set] is the certificates of one port. A source is files that belong together, and what
//     they contained when they were last in order.
//   - identity is the certificate that a member shows; trust is its authorities, their lists and
//     the allowed names; state is both at one moment.
//   - list is what one authority has revoked.
//   - bond is a connection whose other end has shown a certificate.
//   - reason is why a handshake failed: a word for the metrics and a sentence for the log.
//
// # Life of a renewal
//
// Somebody writes a new key, and a moment later the new certificate. A handshake in between, or
// Watch, finds that a file has another time, size or inode, reads both files, and sees that they do
// not match. The fault is logged once, and the old pair stays in use. From now on the files are
// read at every look; when the certificate is there the two match, and the next handshake uses
// them. Authorities and lists are a source of their own, so that a broken pair does not keep a
// revocation from taking effect.
//
// # Life of a refusal
//
// crypto/tls verifies chain, time and usage, and keeps the certificates that it has refused in its
// error; trust.check looks at the lists and names. The server of the port passes the error to
// [Set.Refused]. There explain collects what an operator needs: the subject and issuer of the
// certificate, the authorities that this member trusts, the usage or name that is missing, the
// date. The same refusal from the same address is logged once a minute, and counted every time.
//
// # Life of a revocation
//
// After a handshake the connection is registered as a bond until it is closed; requests cost
// nothing for that. Somebody adds a certificate to a list, or removes an authority. Handshakes use
// the new files at once. Connections end later, when the files have been in order and the same for
// settleTime, because a file that is being written may look complete. Then endRefused calls
// trust.recheck for each bond. A chain that leads to an authority that is still trusted only needs
// to be looked up in the lists; any other is verified again. If that fails, the connection ends,
// whatever is under way on it, at this port or where this member has called: a Read returns the
// reason, and the owner has lastWordTime for a last message, such as the bye of a stream of Raft,
// before the connection is closed. If the other end has made the connection, and its certificate is
// not revoked, it has graceTime to close it by itself and call with its new certificate. The log
// has a line for each certificate and machine, and the metrics a count.
//
// # Invariants
//
//   - The files in use were complete and matched each other when they were read.
//     (`TestAChangedPairIsReadWhenItIsWhole`)
//   - A certificate that is valid now is not replaced by one that is not.
//   - Every handshake verifies by the files: there are no session tickets.
//   - A certificate that is no longer accepted soon has no connection.
//     (`TestARevokedCertificateLosesItsConnections`, `TestAConnectionThatWasEndedIsClosedSoon`)
//   - No other connection ends: neither because a file is broken or being written
//     (`TestAFileThatIsBrokenOrBeingWrittenEndsNoConnections`), nor because a certificate expires
//     (`TestExpiryEndsNoConnection`).
//   - A connection that is closed is forgotten. (`TestAClosedConnectionIsForgotten`)
//   - TLS is of version 1.2 or later. (`TestNothingOlderThanTLS12IsSpoken`)
//   - Hosts are verified by subjectAltName, and no handshake asks the DNS (K4). The common name
//     only names a user, for authentication.
//   - Where names are allowed, a certificate with another name is refused.
//     (`TestOnlyMembersWithAllowedNamesAreAccepted`)
//   - Handshakes that fail add a bounded number of lines a minute to the log.
//     (`TestARefusalThatRepeatsDoesNotFillTheLog`)
//   - Keys that are made here are files of mode 0600 in directories of mode 0700.
//
// # What is left out
//
// OCSP, and fetching lists: only files are read. Ending connections when their certificate expires.
// Keys that need a password.
package certs
