package wal

import (
	"cmp"
	"fmt"
	"path/filepath"

	"etcd2/wal/disk"
)

// Open replays the log in dir from o.From on, in order, and returns it ready for Append. It repairs
// a torn tail and nothing else: see tail and mend. An error of replay stops it, and is returned
// with file and offset.
func Open(dir string, o Options, replay func(Record) error) (*Log, Repair, error) {
	o = o.withDefaults()
	l := &Log{fs: o.FS, dir: filepath.Clean(dir), options: o}
	var err error
	if l.segments, err = listSegments(l.fs, l.dir); err != nil {
		return nil, Repair{}, err
	}
	if first := l.segments[0]; first.tag != o.Tag {
		return nil, Repair{}, fmt.Errorf("wal: open: %s: offset 40: the log belongs to %x, not to %x",
			filepath.Join(l.dir, first.name()), first.tag, o.Tag)
	}
	if err := l.tidy(); err != nil {
		return nil, Repair{}, fmt.Errorf("wal: open: %w", err)
	}
	torn, err := l.replay(o.From, replay)
	if err != nil {
		return nil, Repair{}, err
	}
	return l, torn, nil
}

// tidy makes the directory private (H13) and removes files that never became segments.
func (l *Log) tidy() error {
	if err := l.fs.Mkdir(l.dir); err != nil {
		return err
	}
	names, err := l.fs.ReadDir(l.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !isAside(name) {
			continue
		}
		if err := l.fs.Remove(filepath.Join(l.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// replay reads the log from label from on and makes it ready for Append.
func (l *Log) replay(from uint64, replay func(Record) error) (Repair, error) {
	segments, err := l.durable(from)
	if err != nil {
		return Repair{}, err
	}
	visit := func(file string, offset int64, r Record) error {
		if err := replay(r); err != nil {
			return fmt.Errorf("wal: replay: %s: offset %d: %w", file, offset, err)
		}
		return nil
	}
	if err := readClosed(l.fs, l.dir, segments, visit); err != nil {
		return Repair{}, err
	}
	return l.openLast(visit)
}

// openLast replays the last segment, mends its tail, and keeps its file open.
func (l *Log) openLast(visit visitor) (torn Repair, err error) {
	last := &l.segments[len(l.segments)-1]
	path := filepath.Join(l.dir, last.name())
	if l.file, err = l.fs.OpenRW(path); err != nil {
		return torn, fmt.Errorf("wal: open: %w", err)
	}
	c := newCursor(*last, l.file, path, last.first(), last.size)
	torn, err = c.tail(visit)
	if err == nil {
		err = l.makeDurable(c, torn)
	}
	if err != nil {
		return Repair{}, cmp.Or(err, l.file.Close())
	}
	l.at, l.marked, last.end = c.at, c.empty, c.at.offset
	return torn, nil
}

// makeDurable makes durable all that was replayed.
func (l *Log) makeDurable(c *cursor, torn Repair) error {
	err := c.mend(torn)
	if err == nil {
		err = l.syncNames()
	}
	if err != nil {
		return fmt.Errorf("wal: open: %w", err)
	}
	return nil
}

// syncNames makes durable the names of the segments and that of the directory: the process before
// may have been killed before it did.
func (l *Log) syncNames() error {
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	return disk.SyncName(l.fs, l.dir)
}
