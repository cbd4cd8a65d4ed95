/*
Package disk is the file system as a log and its snapshots need it.

# What it is

[FS] and [File] are the few operations that packages wal and snap perform on files and directories,
and [OS] performs them on those of the operating system. They are interfaces, so that a test can use
another file system: that of package disktest, which can be crashed, or one that counts, delays or
fails.

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

A file that must exist as a whole or not at all is made by Create under a temporary name, written,
and synced by Sync. Rename gives it its name, and SyncDir makes the name durable. [Publish] does
these two, and [WriteFile] all of it. [SyncName] makes the name of a directory durable. If the name
exists after a crash, all of the file does. Bytes that WriteAt writes later are durable when Sync
has returned; a crash before that may leave all, some or none of them.

# Invariants

  - Nothing is durable before Sync (of contents and length) or SyncDir (of names) has returned nil.
  - After a Sync that failed, a later Sync that succeeds proves nothing: the system may have dropped
    the bytes in between.
  - Files that were opened for writing have the mode 0600 and directories 0700, whatever they had
    before: no other user may read what a member stores. What this user does not own keeps its mode.
  - There is no position in a file: every read and write states its offset.

# What is left out

There is no truncating, no locking, no mapping, and no direct I/O. Where the system has no fdatasync,
Sync is an fsync, which is as safe and slower. Where it has no fallocate, [File]'s Allocate makes the
file longer without reserving room: then a WriteAt or a Sync may find the disk full.
*/
package disk
