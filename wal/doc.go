/*
Package wal is a segmented, checksummed, append-only log of records.

# What it is

A log holds records, each a kind (one byte) and data (bytes), and does not know
what they mean. Records are appended in batches. When [Log.Append] returns, all of the
batch is on disk. After a crash, [Open] replays every batch that was acknowledged, perhaps
the one that was being written, and nothing else. If it can't, its error says in one line
which byte of which file is not what was written.

# Picture

	DIR/0000000000000001-0000000000000000.wal     a segment: number, label
	DIR/0000000000000002-00000000000004d2.wal
	DIR/0000000000000003-00000000000009a1.wal     the last one: batches go here
	DIR/0000000000000004.tmp                      the spare: not yet a segment

	┌────────┬──────────┬───────┬───────┬───────┬──────┬───────────────────────┐
	│ header │ preamble │ batch │ batch │ batch │ mark │ zeros                 │
	│        │ + batch  │       │       │       │      │                       │
	└────────┴──────────┴───────┴───────┴───────┴──────┴───────────────────────┘
	 synced before the   one frame, one write,   of a     written ahead of small
	 file has its name   one fdatasync each      clean    batches, and otherwise
	                                             stop     room that reads as zeros

The bytes are drawn where they are defined: a record in record.go, a frame in
frame.go, a segment's header in segment.go.

# Types

	Log       a log that is open: Append, Reader, Release, Bytes, First, Close
	Reader    a place in it, to read on from
	Record    a kind and its data
	Options   the parameters of Create and Open
	Tag       the owner of the log; every segment carries it, and Head reads it
	Repair    the torn tail that Open cut off
	Damage    the error of a byte that is not what was written
	Salvaged  what can be read of a damaged log, or a place where something is missing

The file system is a disk.FS, so that tests can crash it and make it fail.
Inside, header is the beginning of a segment, and frame that of a batch. place is
where the next frame goes, with the number and the sum that it continues. cursor reads
a segment frame by frame. spare is the next segment's file while it is prepared.

# Life of a batch

Append encodes the records into one buffer, behind a frame header with the batch's
number, its own offset, and a sum that continues that of the frame before. One WriteAt
writes it over zeros, one fdatasync makes it durable, and then readers may see it. When
the zeros had been written, and were not just room that the file system had set aside,
the fdatasync needs no commit of the file system's journal.

When the segment is half full, a goroutine makes the file of the next one, with its whole
length. If the batches were small so far, it fills the file with zeros, piece by piece, until
it is done or the file is needed. The first batch that does not fit into the old segment
begins the new one. Header, preamble and batch are written into the spare by one write, and
synced. Only then the file gets its name, and the directory is synced. A crash before that
leaves a spare in any state, which Open removes. A crash after it leaves a segment whose bytes
behind the last batch read as zeros, whether or not zeros were written there. The old segment
gets a seal, which says that another one follows, and is never written to again.

After a crash, Open reads the frames up to the first place where there is none. In the last
segment it finds one of three things there: zeros; a batch whose write was cut short, which it
zeroes before anything is written over it; or damage. tail distinguishes them: a batch is
begun only after the one before it was synced, so a bad frame with a good one behind it was
whole once. Close writes an empty frame, the mark, behind the last batch: so after a clean
stop every batch has a frame behind it.

# Invariants

  - A file whose name ends in .wal is complete: its header and its first frame were
    synced before it had the name. Numbers go up by one without a gap.
  - A frame's header, with its length, is used only if its CRC is right. The CRC is seeded with
    that of the segment's header and covers the frame's own offset: bytes of another segment,
    another log or another place never pass.
  - Batch numbers go up by one, and each payload sum continues the one before, through all
    segments: a batch or a segment that is missing, doubled or swapped breaks the chain.
  - Only the last frame of the last segment can be torn, never the first frame of
    a segment. Everything else that is wrong is damage, and damage is never repaired.
  - What Open has replayed is durable when it returns, even if the page cache alone held it:
    Open writes the last frame again, and syncs the file and the names.
  - Segments are removed oldest first, and each removal is durable before the next.
  - Salvage changes nothing, and reports no record as sound that was not written
    (TestSalvageGoesOnBehindEveryFlippedBit).
  - The first error of a write, a sync or a rename ends the log: every later call
    returns that error, and nothing is tried again.
  - Behind the last batch of a segment there is always room for a mark and a seal.
  - The log writes only while batches are appended, and when it is closed.

# What is left out

The directory is not locked: the caller makes sure that only one process uses the log. Files in
the directory that are not the log's are left alone. There is no compression and no encryption.

Of segments before Options.From, Open checks the headers and their sequence. Their contents are
checked when they are read. If the disk damages the last batch before an unclean stop, that batch
looks like a torn one; damage of earlier batches is found. When a SyncDir fails and a later process
repeats it with success, the log relies on that: a file system whose journal has failed allows no
more changes. Segments are not reused: their old batches would have to be distinguished from torn
ones.

In comments, a letter with a number is a row of raft/PITFALLS.md.
*/
package wal
