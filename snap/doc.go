/*
Package snap keeps checksummed snapshot files, written whole or not at all.

# What it is

A directory holds snapshots, each in a file of its own that is named by the index
of the last log entry in it. A snapshot is a body, which is streamed, and a little meta
that the caller needs before it reads the body; what they mean is the caller's business. A
snapshot that can be seen is complete and durable. One that the disk has damaged since is
found before a byte of it is used, and the one before it takes its place.

# Picture

	DIR/00000000000004d2.snap     the snapshot of the log up to index 1234
	DIR/00000000000009a1.snap
	DIR/7.tmp                     one that is being written or received

	┌────────┬──────┬────────────┬────────────┬───┬─────────┐
	│ header │ meta │ block      │ block      │ … │ trailer │
	└────────┴──────┴────────────┴────────────┴───┴─────────┘
	 index            128 KiB of the body each      size of the body
	    └── sum ─┴──── sum ─────┴──── sum ───────┴──► each goes on from the one before

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
bytes that Writer and Stream write; aside is the file that both Writer and Receiver write before it
has a name; spot is where a block begins and the sum that it goes on from.

# Life of a snapshot

Create begins a file aside and writes header and meta. Write fills a block, seals it
with its length and sum, and writes it; after each MiB the file is synced, so that
the log on the same disk never waits for the sync of a large file. Commit writes the trailer,
syncs, renames the file to its name and syncs the directory. From then on Newest finds it, after it
has read it from beginning to end. Another member gets the file as it is, by
Raw; its Receiver writes those bytes aside, reads them as Newest would, and only then names
them. When the transfer breaks, Keep leaves what has come, and Resume goes on with it. Purge removes
what newer snapshots have made superfluous, as soon as no Reader is open on it.

# Invariants

  - A file whose name ends in .snap was synced as a whole before it had the name, and
    passed every check if it came from elsewhere.
  - Every byte of a file is covered by a checksum. Sums go on from block to block, and the
    trailer ends the file: a file that was cut, even between blocks, is found.
  - No length is used before it is bounded: at most 1 MiB for the meta, 128 KiB for a block,
    and never more than the file.
  - A Reader never returns a byte of a block that it has not checked.
  - A file that an open Reader uses is not removed.
  - One file that came in part is kept at most: not over a restart, another transfer or a second
    Purge.
  - The first error of an unfinished snapshot ends it; nothing is tried again.

# What is left out

There is no compression, and no snapshot that holds only what has changed. Damaged files are left in
place until newer sound ones make them superfluous, for whoever wants to look at them. A failed
snapshot is reported and costs nothing else; whether to stop is the caller's decision.
*/
package snap
