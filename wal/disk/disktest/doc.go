/*
Package disktest is a disk for tests: in memory, to be crashed and made to fail.

# What it is

A [Disk] is a disk.FS that remembers which changes were synced. At any moment a test can copy it as
a power cut would leave it, in any of many ways, or as the next process would find it when only this
one ends. A test can also make any call fail. The log and the snapshots are tested in every state
that such a disk can reach. Only tests import this package.

# Picture

	            a file                                a directory

	seen now    ██████████████████████▒▒▒▒▒▒          a  c          ◄── Kill leaves this
	            ────────────▲─────────▲─────            ▲
	written since Sync ─────┴─────────┘                 └── renamed since SyncDir: b to c
	            ────────────────────────────
	on disk     ██████████                            a  b

	                    └───── Crash: on disk, and what a Fate keeps of the rest

# Types

	Disk  the file system, with Fault and After, which see every call that changes it
	Fate  what a crash does to changes that were not synced

Inside, inode is a file or a directory, and write and rename are its changes that are not yet on
disk.

# Life of a crash

A test sets After and uses a log on the disk. After is called behind every change, while the disk
stands still. There the test calls Fates for the ways in which a crash may end now, and Crash for a
copy of each, and opens the log on the copy. The copy is independent, and may crash as well.

# Invariants

  - What was synced survives every crash, and its name if that was synced too.
  - Each name and each write survives or not independently of the others, and each sector of a write
    does. The order of calls protects nothing.
  - A sector that is written again with the same bytes is not lost.
  - A copy and the disk that it was made of do not see each other's later changes.
  - The same calls and the same random source make the same fates.

# What is left out

There are no modes, no links and no positions. There is no limit of space: Fault can return that the
disk is full. A file that was removed can still be read where it is open. Bytes that were synced
never change by themselves: a test changes them in Content.
*/
package disktest
