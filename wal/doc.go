/*
Package wal is a segmented, checksummed, append-only log of records.

# What it is

A log holds records, each a kind (one byte) and data (bytes), and does not know
what they mean. They are appended in batches, all of a batch or nothing, and when
[Log.Append] returns, the batch is on disk. After a crash [Open] gives back every
batch that was acknowledged, perhaps the one that was being written, and nothing
else; or it says in one line which byte of which file is not what was written.

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

	Log       a log that is open: Append, Read, Release, Bytes, First, Close
	Reader    a place in it, to read on from
	Record    a kind and its data
	Options   what Create and Open need to know: whose log, how large a segment
	Tag       whose log; every segment carries it, and Head reads it
	Repair    the torn tail that Open cut off
	Damage    the error of a byte that is not what was written
	Salvaged  what can be read of a damaged log, or a place where something is missing

The file system is a disk.FS, so that tests can crash it and make it fail.
Inside, header is the beginning of a segment, frame that of a batch; place is
where the next frame goes and what it goes on from; cursor reads a segment
frame by frame; spare is the next segment's file while it is made ready.

# Life of a batch

Append encodes the records into one buffer, behind a frame header that carries
the batch's number, its own offset, and a sum that goes on from the frame
before. One WriteAt puts it where zeros are, one fdatasync makes it durable, and then
readers may see it. When the zeros were written ahead, and are not just room that
the file system has set aside, the fdatasync needs no commit of its journal.

When the segment is half full, a goroutine makes the file of the next one, with its whole
length. If the batches were small so far, it writes it full of zeros, piece by piece, until it is
done or the file is needed. The batch that does not fit any more becomes the first of
the next segment: header, preamble and batch are written into the spare in one
write, synced, and only then is the file renamed to its name and the directory
synced. A crash before that leaves a spare in any state, which Open removes; a crash after it, a
segment whose bytes behind the last batch read as zeros, whether or not they were written.
The old segment gets a seal, which says that another follows, and is never written to again.

After a crash, Open walks over the frames up to the first place where none is.
In the last segment that may be zeros; or a batch whose write was cut short, which is
zeroed before anything is written over it; or it may be damage. tail tells them apart: a
batch is begun only after the one before it was synced, so a bad frame that a good
one follows was once whole. Close writes an empty frame, the mark, behind
the last batch, and so after a clean stop each batch has one that follows it.

# Invariants

  - A file whose name ends in .wal is complete: its header and its first frame were
    synced before it had the name. Numbers go up by one without a gap.
  - A frame's header is believed only when its CRC is right, and that is
    seeded with the CRC of the segment's header and covers the frame's own offset: bytes of another
    segment, another log or another place never pass. No length is used before.
  - Batch numbers go up by one, and payload sums go on from one another, through
    all segments: a batch or a segment that is missing, doubled or swapped breaks the chain.
  - Only the last frame of the last segment can be torn, never the first frame of
    a segment. Everything else that is wrong is damage, and damage is never repaired.
  - What Open has replayed is durable when it returns, whatever the page cache had
    made of it: it writes the last frame again, and syncs the file and the names.
  - Segments are removed oldest first, and each removal is durable before the next.
  - Salvage changes nothing, and calls sound only what was written
    (TestSalvageGoesOnBehindEveryFlippedBit).
  - The first error of a write, a sync, a rename ends the log: every later call
    returns it, and nothing is tried again.
  - Behind the last batch of a segment there is always room for a mark and a seal.
  - A log that is not appended to writes nothing.

# What is left out

There is no locking of the directory: a log must have one process, and its caller sees to that.
Files in the directory that are not the log's are left alone.
There is no compression and no encryption. Closed segments that Open's From leaves behind
are checked for their place in the sequence when the log is opened, their contents only when
they are read. The last batch before an unclean stop can't be told from a torn
one when the disk damages just that one; what a disk does to earlier ones is found. A SyncDir
that failed is trusted when a later process repeats it with success, since a
file system whose journal fails allows no more changes. Segments are not reused: what an
old one holds would have to be told from a torn batch.
*/
package wal
