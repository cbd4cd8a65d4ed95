// Package migrate reads what etcd has left on disk: the data directories of etcd 2, and of etcd 3
// with its API v2.
//
// # What it is
//
// A reader. It makes a store of ours out of the snapshots and logs of stopped members, with all
// indices and ends, and says what it left out. It writes nothing: package etcdctl makes the new
// directories of what is read here.
//
// # Picture
//
//	DIR/member/snap/TERM-INDEX.snap ──► Snapshot ──► Dump ──► Plant ─┐
//	                                                                 ▼
//	DIR/member/wal/SEQ-INDEX.wal ──► frame ──► journal ──► entry ──► store, members
//	                                                                 ▲
//	                              several members: which entries were agreed on
//
// # Types
//
// A frame is a record in a file, whose format is drawn there. A journal is the log that the records
// make up. A [Snapshot] and its [Dump] are the state before. A source is one member's data, a
// replay the state while entries are applied, and a [Result] what comes of it. A [Damage] is a
// place that no crash leaves behind.
//
// # Life of a directory
//
// [Read] finds the files and locks the newest, so that no etcd starts meanwhile. It reads the whole
// log once, with its chain of checksums, and remembers where each entry stands. It takes the newest
// snapshot that belongs to the log, plants its nodes, and applies the entries behind it that were
// agreed on. A request is applied as a command of package store, since the two agree on what a
// request does. What only etcd has is counted: a change of its members takes an index, and SYNC
// alone moves the clock.
//
// # Invariants
//
//   - Every real directory gives the tree, the index, the users and the roles that its server
//     answered (TestRealDirectoriesGiveWhatTheirServersAnswered).
//   - Nothing in the directory changes (TestReadingChangesNothing).
//   - Where a crash may have torn the log it ends; any other flaw is damage, with file and offset
//     (TestATornTailGivesAllThatIsWhole, TestDamageIsRefusedWithItsPlaceAndWhatCouldBeSaved).
//   - A flipped bit is found or harmless, but at the very end (TestAFlippedBitIsFoundOrHarmless).
//   - Whatever is in the files, reading ends, in bounded memory (FuzzADirectoryThatIsDamaged,
//     FuzzEntries, FuzzADump).
//   - A server that is started in such a directory says what it is
//     (TestWhatEtcdHasLeftIsRecognized).
//   - Of one member nothing is taken that it did not know to be agreed on, unless it was alone
//     (TestOneMemberAloneGivesWhatItKnewToBeAgreedOn).
//   - In memory are one file of the log, one snapshot, and 40 bytes for each entry.
//
// # What is left out
//
// The keys of the API v3, which are elsewhere. The history of events before the snapshot. Users
// whose password has a hash that package auth can't check have to set it anew.
package migrate
