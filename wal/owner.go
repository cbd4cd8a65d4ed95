package wal

import "path/filepath"

// Owner returns the tag of the log in dir, so that it can be opened by who does not know it by heart.
// The error is one of fs.ErrNotExist when there is no log. A nil fs means the operating system's.
func Owner(dir string, fs FS) (Tag, error) {
	segments, err := listSegments(Options{FS: fs}.withDefaults().FS, filepath.Clean(dir))
	if err != nil {
		return Tag{}, err
	}
	return segments[0].tag, nil
}

// First returns the label of the oldest segment: everything from that index on is still in the log.
// It may be called from any goroutine.
func (l *Log) First() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[0].label
}
