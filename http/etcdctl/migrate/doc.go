// Package migrate reads what etcd has left on disk: the data directories of etcd 2 and of etcd 3
// with its API v2, and single snapshot files of etcd 0.4 and 2.
//
// # What it is
//
// A reader. [Read] makes a store of ours out of the snapshots and logs of stopped members, with all
// indices and expiry times, and says what it left out. [ReadSnapshot] makes one out of a single
// snapshot. Both write nothing: package etcdctl makes new directories of the result, or copies its
// keys to a cluster.
//
// # Picture
//
//	DIR/member/snap/TERM-INDEX.snap ──► snapshot ──► dump ──► Plant ─┐
//	                                                                 ▼
//	DIR/member/wal/SEQ-INDEX.wal ──► frame ──► journal ──► entry ──► store, members
//	                                                                 ▲
//	                              several members: which entries were committed
//
// # Types
//
// A [frame] is a record in a file; its format is drawn there. A [journal] is the log that the
// records make up. A [snapshot] with its dump is the state before the log. A [source] is one
// member's data, a [replay] the state while entries are applied, and a [Result] is what the caller
// gets. A [Damage] is a place in a file that no crash leaves behind.
//
// # Life of a directory
//
// [Read] finds the files and locks the newest one, so that no etcd starts meanwhile. It reads the
// whole log once, with its chain of checksums, and remembers where each entry stands. It takes the
// newest snapshot that belongs to the log, plants its nodes, and applies the committed entries
// after it. A request is applied as a command of package store, since the two agree on what a
// request does. Two things of etcd are imitated: a change of its members takes an index of the
// store, and only SYNC moves the clock.
//
// # Invariants
//
//   - Every real directory gives the tree, the index, the users and the roles that its server
//     answered (TestRealDirectoriesGiveWhatTheirServersAnswered).
//   - Nothing in the directory changes (TestReadingChangesNothing).
//   - Where a crash may have torn the log, it ends; any other flaw is damage, with file and offset
//     (TestATornTailGivesAllThatIsWhole, TestDamageIsRefusedWithItsPlaceAndWhatCouldBeSaved).
//   - A flipped bit is found or harmless, except at the end (TestAFlippedBitIsFoundOrHarmless).
//   - Whatever is in the files, reading ends, in bounded memory (FuzzADirectoryThatIsDamaged,
//     FuzzEntries, FuzzADump).
//   - A server that is started in a directory of etcd names its version
//     (TestWhatEtcdHasLeftIsRecognized).
//   - Of a single member only entries that it knew to be committed are taken, unless it was the
//     only voter (TestOneMemberAloneGivesWhatItKnewToBeCommitted).
//   - In memory are one file of the log, one snapshot, and 40 bytes for each entry.
//
// # What is left out
//
// The keys of the API v3, which etcd keeps in other files. The history of events before the
// snapshot. A user needs a new password if the hash of the old one is of a kind that package auth
// can't check.
package migrate
