// Package etcdctl is the command line client: what etcdctl 2.3.8 does, said and answered in the
// same words, and what its users wanted besides.
//
// # What it is
//
// The binary is this program when it is called etcdctl, or with ctl as its first argument. It turns
// a command line into calls of [etcd2/http/client], and what they return into lines and an exit
// status. People type it and scripts parse it, so the texts are an interface: those of 2.3.8 are
// kept to the letter, with the oddities that scripts may have learnt.
//
// # Picture
//
//	args ──► parse ──► global options │ command │ its options │ its arguments
//	                        │              │
//	           endpoints, TLS, user        │  one row of the table
//	                        ▼              ▼
//	                    session ──────► run ──► client ──► members
//	                        ▲              │
//	                        └── failure ◄──┘   one text on standard error, one status
//
// # Types
//
// A [command] is a row of the table in commands.go, or a family of rows; parsing, --help and shell
// completion are all made of it. An [option] is one flag. [values] are what was given. A [session]
// is one run of the program: its streams, its options, and the client that is made when a command
// asks for it. A [failure] is an error that knows its exit status. A [finding] is what doctor
// found. A [source] is what import copies from: a cluster, or a file ([snapshotSource]), which
// package migrate has read.
//
// # Life of a command
//
// [Run] reads the options before the command, finds its row, reads the rest by that, and calls its
// function. That checks the arguments before anybody is asked, calls [session.cluster] for a
// client, which first learns all members from the endpoints that were given, and then does its
// work. Whatever it returns, Run prints, and makes a status of:
//
//	0   done; help; and, as in 2.3.8, a wrong option or a command that does not exist
//	1   wrong arguments, and what goes wrong with members, users, roles and auth
//	2   no endpoint answers when the members are asked for
//	4   a member refuses, or none answers later on
//	5   cluster-health or doctor has found that not all is well
//
// # Invariants
//
//   - The outputs are those of the specification. (`TestOutputsAreThoseOfEtcdctl`)
//   - An endpoint that was given is asked, even if members advertise another.
//     (`TestASyncedAddressThatIsDeadFallsBack`)
//   - When nobody answers, each endpoint is named with its reason.
//     (`TestEveryEndpointIsNamedWithItsReason`)
//   - Nothing that a member says moves the cursor of a terminal, or begins a line.
//     (`TestNothingFromAServerControlsATerminal`)
//   - Every command has help with an example that parses. (`TestEveryExampleParses`)
//   - An import that is broken off is gone on with, and in the end no key is missing.
//     (`TestAnImportGoesOnWhereItWas`)
//   - What etcd has left becomes members of a new cluster, or nothing is made.
//     (`TestMigrateMakesMembersOfWhatEtcdHasLeft`, `TestMigrateMakesNothingOfWhatItRefuses`)
//   - A source that is followed and its copy are the same in the end.
//     (`TestAFollowedSourceThatForgetsIsComparedWith`, `TestChangesOfOneKeyKeepTheirOrder`)
//   - Of a snapshot that is damaged nothing is imported. (`TestADamagedSnapshotIsRefusedInOneLine`)
//
// # What is left out
//
// Users and roles of etcd 2 in import, which brings keys; migrate brings them, too. /v2/peers of
// 0.4 in place of the list of members.
package etcdctl
