/*
Package disktest is a disk for tests: in memory, to be crashed and made to fail.

# What it is

A [Disk] is a disk.FS that remembers what of it was synced. At any moment a test can have a copy of
it as a power cut would leave it, in any of many ways, or as the next process would find it when
only this one ends; and it can make any call fail. The log and the snapshots are tested on it in
every state that it can be brought into. Only tests import this package.

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
	Fate  what becomes, in a crash, of what was not synced

Inside, inode is a file or a directory, and write and rename are its changes that are not yet on
disk.

# Life of a crash

A test sets After and lets a log live on the disk. After is called behind every change, while the
disk stands still. There the test asks Fates for the ways in which a crash may end now, takes
Crash's copy for each, and opens the log on the copy, which has a life of its own and may crash as
well.

# Invariants

  - What was synced survives every crash, and its name if that was synced too.
  - Each write and each name meets its fate alone; of a write, each sector does. The order of calls
    protects nothing.
  - A sector that is written again with the bytes that it has is not lost.
  - A copy sees nothing of what the disk that it was made of does later, nor the reverse.
  - The same calls and the same random source make the same fates.

# What is left out

There are no modes, no links, no positions, and no limit of space: Fault can say that the disk is
full. A file that was removed can still be read by who has it open. Bytes that have been synced
never rot by themselves; a test changes them in Content.
*/
package disktest
