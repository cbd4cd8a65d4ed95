// Package etcdctl is the command line client: the commands of etcdctl 2.3.8, with the same options,
// outputs and exit statuses, and some more.
//
// # What it is
//
// The binary is this program when its name is etcdctl, or its first argument ctl. It turns a
// command line into calls of [etcd2/http/client], and their results into lines and an exit status.
// Scripts parse these texts, so they are an interface: those of 2.3.8 are kept byte for byte, even
// where they are odd.
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
// completion all use it. An [option] is one flag. [values] are the options of a command line. A
// [session] is one run of the program, with its streams and options. A [failure] is an error with
// an exit status. A [finding] is what doctor found. A [source] is what import copies from: a
// cluster, or a file ([snapshotSource]), which package migrate has read.
//
// # Life of a command
//
// [Run] reads the options before the command, finds the command's row, reads the rest of the line
// with the options of that row, and calls its function. The function first checks the arguments. It
// then calls [session.cluster] for a client, which asks the given endpoints for all members, and
// does its work. Run prints the error that it returns, and turns it into the exit status:
//
//	0   done; help; and, as in 2.3.8, a wrong option or a command that does not exist
//	1   wrong arguments, and errors about members, users, roles and auth
//	2   no endpoint answers when it is asked for the members
//	4   a member refuses, or none answers later
//	5   cluster-health or doctor found something wrong
//
// # Invariants
//
//   - The outputs are those of the specification. (`TestOutputsAreThoseOfEtcdctl`)
//   - An endpoint that was given is asked, even if members advertise another.
//     (`TestASyncedAddressThatIsDeadFallsBack`)
//   - When no endpoint answers, each is named with its reason.
//     (`TestEveryEndpointIsNamedWithItsReason`)
//   - No text from a member moves the cursor of a terminal, or begins a line.
//     (`TestNothingFromAServerControlsATerminal`)
//   - Every command has help with an example that parses. (`TestEveryExampleParses`)
//   - An interrupted import continues when it is started again, and in the end no key is missing.
//     (`TestAnImportGoesOnWhereItWas`)
//   - What etcd has left becomes members of a new cluster, or nothing is made.
//     (`TestMigrateMakesMembersOfWhatEtcdHasLeft`, `TestMigrateMakesNothingOfWhatItRefuses`)
//   - A source that is followed and its copy are the same in the end.
//     (`TestAFollowedSourceThatForgetsIsComparedWith`, `TestChangesOfOneKeyKeepTheirOrder`)
//   - Nothing is imported from a damaged snapshot. (`TestADamagedSnapshotIsRefusedInOneLine`)
//
// # What is left out
//
// import copies keys only; users and roles come with migrate. The list of members is not read from
// /v2/peers, as etcd 0.4 has it.
package etcdctl
