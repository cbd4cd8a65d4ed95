/*
Package disk is the file system as a log and its snapshots need it.

# What it is

[FS] and [File] are the few operations that packages wal and snap perform on files and directories,
and [OS] performs them on the operating system's. They are an interface so that a test can put
another file system in its place: one that can be crashed, as that of package disktest, or one that
counts, delays or fails.

# Picture

	wal      snap
	  └──┬────┘
	  FS, File
	  ┌──┴──────────┐
	  OS      disktest.Disk
	  │             │
	a disk     memory: it can be crashed and made to fail

# Types

	FS    Open, Create, OpenRW, Rename, Remove, Mkdir, ReadDir, SyncDir
	File  ReadAt, WriteAt, Allocate, Sync, Size, Close
	OS    the FS of the operating system

# Life of a file

A file that is to be there as a whole or not at all is made by Create under a name that nobody looks
for, written, and synced by Sync. Rename gives it its name, and SyncDir makes the name durable:
[Publish] is the two, and [WriteFile] all of it. [SyncName] does it for a directory. Whoever finds
the name after a crash finds all of the file. What is written later, by OpenRW and WriteAt, is
durable when Sync has returned, and until then may be there, in part there, or not.

# Invariants

  - Nothing is durable before Sync (of contents and length) or SyncDir (of names) has returned nil.
  - A Sync that failed says nothing about any later one: what was not written may be forgotten by
    then.
  - Files that were opened for writing have the mode 0600 and directories 0700, whatever they had
    before: what a member stores is for its own eyes. What this user does not own keeps its mode.
  - There is no position in a file: every read and write says its offset.

# What is left out

There is no truncating, no locking, no mapping, and no way around the page cache: nobody here needs
them. Where the system has no fdatasync, Sync is an fsync, which is as safe and slower. Where it has
no fallocate, [File]'s Allocate makes the file longer and sets no room aside: then a WriteAt or a
Sync may find the disk full.
*/
package disk
