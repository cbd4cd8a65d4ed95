package logs

import (
	"fmt"
	"log/slog"
	"strings"
)

// levels are the level names of etcd 2, for slog.
var levels = map[string]slog.Level{
	"CRITICAL": slog.LevelError + 4,
	"ERROR":    slog.LevelError,
	"WARNING":  slog.LevelWarn,
	"NOTICE":   slog.LevelInfo + 2,
	"INFO":     slog.LevelInfo,
	"DEBUG":    slog.LevelDebug,
	"TRACE":    slog.LevelDebug - 4,
}

// ParseLevel returns the level of a name, in upper or lower case.
func ParseLevel(word string) (level slog.Level, known bool) {
	level, known = levels[strings.ToUpper(word)]
	return level, known
}

// Logs makes the loggers of the packages. All methods may be called from any goroutine.
type Logs struct {
	w      *Sink
	common slog.LevelVar         // of all packages without a level of their own
	own    map[string]slog.Level // by package, from --log-package-levels
}

// New returns loggers that write into w, at level INFO, or DEBUG with debug. own has the levels of
// single packages; the caller must not change it afterwards.
func New(w *Sink, debug bool, own map[string]slog.Level) *Logs {
	l := &Logs{w: w, own: own}
	if debug {
		l.common.Set(slog.LevelDebug)
	}
	return l
}

// Logger returns the logger of one package, which writes one line for each event.
func (l *Logs) Logger(pkg string) *slog.Logger {
	var level slog.Leveler = &l.common
	if own, given := l.own[pkg]; given {
		level = own
	}
	if pkg == "auth" || pkg == "certs" {
		level = unsilenced{level}
	}
	return slog.New(slog.NewTextHandler(l.w, &slog.HandlerOptions{Level: level})).With("pkg", pkg)
}

// unsilenced is the level of a package whose lines are about security: INFO at the highest, so that
// a user who may change levels can't hide what he does.
type unsilenced struct{ slog.Leveler }

// Level returns the level, or INFO if that is lower.
func (u unsilenced) Level() slog.Level { return min(u.Leveler.Level(), slog.LevelInfo) }

// SetLevel changes the level of all packages without a level of their own.
func (l *Logs) SetLevel(word string) error {
	level, known := ParseLevel(word)
	if !known {
		return fmt.Errorf("logs: unknown log level %q", word)
	}
	l.common.Set(level)
	return nil
}

// Lost returns the number of lines that could not be written.
func (l *Logs) Lost() uint64 { return l.w.Lost() }

// Flush returns when all earlier lines are written, or after flushTimeout.
func (l *Logs) Flush() { l.w.Flush() }
