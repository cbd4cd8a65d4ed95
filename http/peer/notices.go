package peer

import (
	"log"
	"log/slog"
	"sync"
	"time"
)

// noticePause is the time before the same line is logged again. maxNotices is how many lines are
// remembered; further ones are not logged at all, because strangers can make up ids.
const (
	noticePause = 10 * time.Minute
	maxNotices  = 256
)

// notices keeps one line from filling the log.
type notices struct {
	mu   sync.Mutex // protects all below
	seen map[string]notice
}

type notice struct {
	at         time.Time // when it was last logged
	suppressed int       // how often it was not since then
}

// due reports whether the line is to be logged now, and how often it was not since the last time.
func (n *notices) due(line string) (suppressed int, due bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	was, known := n.seen[line]
	if known && now.Sub(was.at) < noticePause {
		was.suppressed++
		n.seen[line] = was
		return 0, false
	}
	if !known && !n.makeRoom(now) {
		return 0, false
	}
	n.seen[line] = notice{at: now}
	return was.suppressed, true
}

// makeRoom forgets old lines. n.mu must be held.
func (n *notices) makeRoom(now time.Time) bool {
	if n.seen == nil {
		n.seen = map[string]notice{}
	}
	for line, was := range n.seen {
		if len(n.seen) < maxNotices {
			break
		}
		if now.Sub(was.at) >= noticePause {
			delete(n.seen, line)
		}
	}
	return len(n.seen) < maxNotices
}

// forget lets the line be logged at once the next time.
func (n *notices) forget(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.seen, line)
}

// quietLog returns a logger for net/http's errors of connections, at level DEBUG: this package logs
// those that matter itself.
func quietLog(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }
