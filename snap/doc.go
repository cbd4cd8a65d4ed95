/*
Package snap keeps checksummed snapshot files, written whole or not at all.

# What it is

A directory holds snapshots, each in a file named by the index of the last log entry in it. A
snapshot is a body, which is streamed, and a small meta, which the caller can read before the
body. Only the caller knows what they mean. A snapshot that is listed is complete and durable. If
the disk has damaged it since, that is found before a byte of it is used, and the snapshot before
it is used instead.

# Picture

	DIR/00000000000004d2.snap     the snapshot of the log up to index 1234
	DIR/00000000000009a1.snap
	DIR/7.tmp                     one that is being written or received

	┌────────┬──────┬────────────┬────────────┬───┬─────────┐
	│ header │ meta │ block      │ block      │ … │ trailer │
	└────────┴──────┴────────────┴────────────┴───┴─────────┘
	 index            128 KiB of the body each      size of the body
	    └── sum ─┴──── sum ─────┴──── sum ───────┴──► each continues the one before

The bytes are drawn in format.go.

# Types

	Dir       the directory: Newest, OpenIndex, Create, Receive, Purge
	Writer    a snapshot that is being written; Commit makes it one
	Stream    the same file on its way to an io.Writer, as a backup
	Receiver  a snapshot whose file comes from another member; Commit checks it and
	          gives it its name, Keep leaves it for Resume
	Reader    a snapshot that is being read
	Damage    a file that is not what was written

The file system is a disk.FS, so that tests can crash it and make it fail. Inside, encoder makes the
bytes that Writer and Stream write. aside is the file that Writer and Receiver write under a
temporary name. spot is where a block begins, with the sum that it continues.

# Life of a snapshot

Create begins a file under a temporary name, and writes header and meta. Write fills a block, adds
its length and sum, and writes it. After each MiB the file is synced, so that the log on the same
disk never waits for the sync of a large file. Commit writes the trailer, syncs the file, renames it
and syncs the directory. From then on Newest finds it, and reads it from beginning to end before it
returns it.

Another member gets the file as it is, from Raw. Its Receiver writes those bytes under a temporary
name, checks them as Newest would, and only then gives them the name of a snapshot. When the
transfer breaks, Keep keeps the bytes that have come, and Resume continues with them. Purge removes
snapshots that newer ones replace, as soon as no Reader is open on them.

# Invariants

  - A file whose name ends in .snap was synced as a whole before it had the name, and
    passed every check if it came from another member.
  - Every byte of a file is covered by a checksum. Each sum continues the one before, and the
    trailer ends the file: a file that was cut, even between blocks, is found.
  - A length is used only if it is within bounds: at most 1 MiB for the meta, 128 KiB for a block,
    and never more than the file.
  - A Reader never returns a byte of a block that it has not checked.
  - A file that an open Reader uses is not removed.
  - At most one incomplete transfer is kept, until a restart, another transfer or a second Purge.
  - The first error of an unfinished snapshot ends it. Nothing is tried again.

# What is left out

There is no compression, and no snapshot of only the changes. Damaged files stay until newer sound
ones replace them, so that they can be examined. A snapshot that fails is reported and has no other
effect: the caller decides whether to stop.

In comments, a letter with a number is a row of raft/PITFALLS.md.
*/
package snap
